"""A federated object, as the syncer reads it from the store.

Owns `Intent`, which keeps the object encoded, with what decisions need of it, and its decoder. Pure.

Next: `hanse_syncer.federation.state`, which keeps it; `hanse_syncer.decide.plan` for what follows from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from hanse.federation import belongings
from hanse.federation.propagation import placeable
from hanse.federation.tracing import traceparent_of
from hanse.kube.engine import unreadable
from hanse.kube.engine.lifecycle import ORPHAN
from hanse.kube.model.objects import is_deleting
from hanse.store import KeyValue, keys


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
