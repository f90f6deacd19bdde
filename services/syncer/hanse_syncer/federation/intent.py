"""A federated object, as the syncer reads it from the store.

Owns `Intent`, which keeps the object encoded, with what decisions need of it, its decoder, and what stands
for an object that is deleted. Pure.

Next: `hanse_syncer.federation.state`, which keeps it; `hanse_syncer.decide.plan` for what follows from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from hanse.api.federation.v1.tombstone_pb2 import LeftCopy, Tombstone
from hanse.federation import belongings
from hanse.federation.propagation import placeable
from hanse.federation.tracing import traceparent_of
from hanse.kube.engine import unreadable
from hanse.kube.engine.lifecycle import ORPHAN
from hanse.kube.model.objects import api_version, is_deleting
from hanse.store import KeyValue, keys
from hanse.well_known import MANAGED_BY_LABEL


@dataclass(frozen=True, slots=True)
class Intent:
    """One federated object: its encoded form and what decisions need of it."""

    encoded: bytes = field(repr=False)
    revision: int
    uid: str
    generation: int
    deleting: bool
    orphan: bool
    api_version: str
    kind: str
    traceparent: str
    belongs: str = ""
    """Why it belongs to each cluster itself; empty if it does not. The scheduler knows where its owner is."""
    sealed: bool = False
    """Whether it is sealed in etcd: what a cluster says of it may have values, and is not written down."""

    def object(self) -> dict[str, Any]:
        """Return the whole object, decoded."""
        decoded: dict[str, Any] = orjson.loads(self.encoded)
        return decoded


def decode_intent(kv: KeyValue) -> Intent | None:
    """Return the intent stored under objects/; None for what never goes to members. Raises ValueError."""
    key = keys.ObjectKey.parse(kv.key)
    if not placeable(key.group, key.resource):
        return None
    obj, why = unreadable.decode(key, kv.value)
    if why:
        raise ValueError(why)
    metadata = obj["metadata"]
    return Intent(
        encoded=kv.value,
        revision=kv.mod_revision,
        uid=str(metadata.get("uid") or ""),
        generation=int(metadata.get("generation") or 0),
        deleting=is_deleting(obj),
        orphan=ORPHAN in (metadata.get("finalizers") or ()),
        api_version=str(obj["apiVersion"]),
        kind=str(obj["kind"]),
        traceparent=traceparent_of(obj),
        belongs=belongings.of(
            key.group, key.resource, obj, controlled=belongings.operators_owner(obj) is None
        ),
        sealed=kv.sealed,
    )


def deleted_intent(tombstone: Tombstone, copy: LeftCopy) -> Intent:
    """Return what stands for the deleted objects of a tombstone where one has left `copy`: an object that is
    being deleted, with as much of it as its removal needs.

    What the removal finds is said of the object that the copy is of. That it is gone confirms the tombstone
    and is said of the object that was deleted last.
    """
    reference = tombstone.object
    version = api_version(reference.group, reference.version)
    labels = {MANAGED_BY_LABEL: copy.managed_by} if copy.managed_by else {}
    metadata = {"name": reference.name, "uid": copy.uid, "labels": labels}
    if reference.namespace:
        metadata["namespace"] = reference.namespace
    return Intent(
        encoded=orjson.dumps({"apiVersion": version, "kind": reference.kind, "metadata": metadata}),
        revision=0,
        uid=copy.uid,
        generation=0,
        deleting=True,
        orphan=copy.orphan,
        api_version=version,
        kind=reference.kind,
        traceparent=tombstone.traceparent,
        belongs=belongings.by_name(
            reference.group, reference.resource, namespace=reference.namespace, name=reference.name
        ),
        sealed=tombstone.sealed,
    )
