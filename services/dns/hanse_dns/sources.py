"""What the compiler reads, taken from the messages and objects of the other services.

Pure functions from what is stored to what `hanse_dns.compiler` takes. Whatever has no bearing on names is
dropped here, so that a change of it is no change. What cannot be read raises ValueError or a HanseError,
which the follower takes for unknown; what a member reports may have any shape and size.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from hanse.api.syncer.v1 import sync_state_pb2
from hanse.federation.clusters import is_reachable
from hanse.federation.records import decode_cluster, decode_sync_state
from hanse.federation.tracing import traceparent_of
from hanse.kube.engine import unreadable
from hanse.kube.model import untrusted
from hanse.kube.model.objects import is_deleting, mapping
from hanse.store import KeyValue, keys
from hanse_dns.compiler import ClusterView, Presence
from hanse_dns.names import is_answer

GONE = frozenset({sync_state_pb2.REMOVING, sync_state_pb2.REMOVED, sync_state_pb2.CONFLICT})
"""Phases in which a cluster has nothing of ours to send people to."""


@dataclass(frozen=True, slots=True)
class ServiceIntent:
    """A federated Service: whether it is to have names, and the trace that its last change belongs to."""

    named: bool
    uid: str
    traceparent: str = ""


def cluster_view(kv: KeyValue) -> ClusterView:
    """Return a cluster as `registry` stores it. Raises ValueError."""
    message = decode_cluster(kv)
    return ClusterView(
        name=keys.last_segment(kv.key),
        region=message.region,
        zones=tuple(message.zones),
        reachable=is_reachable(message),
    )


def service_intent(kv: KeyValue) -> ServiceIntent:
    """Return a Service as `apiserver` stores it. One that is being deleted loses its names first."""
    stored, why = unreadable.decode(keys.ObjectKey.parse(kv.key), kv.value)
    if why:
        raise ValueError(why)
    metadata = stored["metadata"]
    return ServiceIntent(
        named=mapping(stored, "spec").get("type") == "LoadBalancer" and not is_deleting(stored),
        uid=metadata.get("uid", ""),
        traceparent=traceparent_of(stored),
    )


def presence(kv: KeyValue) -> Presence | None:
    """Return a Service in one cluster as `syncer` stores it; None if there is nothing of ours.

    What no DNS message can carry is no address, whatever the member says. Raises ValueError.
    """
    state = decode_sync_state(kv)
    if state.phase in GONE:
        return None
    if why := untrusted.too_large(state.status):
        raise ValueError(why)
    status = orjson.loads(state.status) if state.status else {}
    found = (entry.get("ip") or entry.get("hostname") for entry in untrusted.addresses(status))
    return Presence(
        addresses=tuple(sorted({address for address in found if address and is_answer(address)})),
        ready_endpoints=sum(zone.ready for zone in state.ready_endpoints),
        uid=state.object.uid,
    )
