"""Ready endpoints of a Service by zone, from the EndpointSlices of one member.

Owns the counting. Pure functions. Next: `hanse_syncer.report`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from hanse.api.syncer.v1.sync_state_pb2 import ZoneEndpoints

SERVICE_NAME_LABEL: Final = "kubernetes.io/service-name"


def ready_endpoints(slices: Iterable[Mapping[str, Any]]) -> list[ZoneEndpoints]:
    """Count the ready endpoints by zone, sorted by zone.

    An endpoint whose `ready` is not said counts as ready (discovery.k8s.io/v1). One that is in several
    slices, as every pod of a dual-stack Service is, counts once.
    """
    zones: dict[str, set[str]] = {}
    for piece in slices:
        for endpoint in piece.get("endpoints") or ():
            if (endpoint.get("conditions") or {}).get("ready") is False:
                continue
            addresses = endpoint.get("addresses") or [""]
            identity = str((endpoint.get("targetRef") or {}).get("uid") or addresses[0])
            zones.setdefault(str(endpoint.get("zone") or ""), set()).add(identity)
    return [ZoneEndpoints(zone=zone, ready=len(zones[zone])) for zone in sorted(zones)]
