"""Ready endpoints of a Service by zone, from the EndpointSlices of one member.

Owns the counting. Pure functions. Next: `hanse_syncer.report.transitions`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from hanse.api.syncer.v1.sync_state_pb2 import ZoneEndpoints
from hanse.kube.model.objects import Object
from hanse.kube.model.untrusted import MAX_WORD, mapping, mappings, text

SERVICE_NAME_LABEL: Final = "kubernetes.io/service-name"
MAX_ZONES: Final = 256
"""Zones in which the endpoints of one Service in one cluster are counted apart."""


def counted(endpoint: Mapping[str, Any]) -> Object:
    """Return no more of an endpoint than is counted, of bounded size whatever a member says."""
    addresses = endpoint.get("addresses")
    first = text(addresses[0], MAX_WORD) if isinstance(addresses, list) and addresses else ""
    return {
        "addresses": [first],
        "conditions": {"ready": mapping(endpoint.get("conditions")).get("ready") is not False},
        "targetRef": {"uid": text(mapping(endpoint.get("targetRef")).get("uid"), MAX_WORD)},
        "zone": text(endpoint.get("zone"), MAX_WORD),
    }


def ready_endpoints(slices: Iterable[Mapping[str, Any]]) -> list[ZoneEndpoints]:
    """Return the numbers of ready endpoints, sorted by zone.

    An endpoint whose `ready` is not said counts as ready (discovery.k8s.io/v1). One that is in several
    slices, as every pod of a dual-stack Service is, counts once. Slices may have any shape: what is no
    endpoint does not count, and those of more than MAX_ZONES zones count as of no zone.
    """
    zones: dict[str, set[str]] = {}
    for piece in slices:
        for endpoint in mappings(piece.get("endpoints")):
            if mapping(endpoint.get("conditions")).get("ready") is False:
                continue
            addresses = endpoint.get("addresses")
            first = text(addresses[0]) if isinstance(addresses, list) and addresses else ""
            identity = text(mapping(endpoint.get("targetRef")).get("uid")) or first
            zone = text(endpoint.get("zone"), MAX_WORD)
            zones.setdefault(zone if zone in zones or len(zones) < MAX_ZONES else "", set()).add(identity)
    return [ZoneEndpoints(zone=zone, ready=len(zones[zone])) for zone in sorted(zones)]
