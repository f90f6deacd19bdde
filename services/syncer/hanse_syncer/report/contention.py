"""What a sync state says of an object that is put right again and again: by whom, how often, since when.

Owns the content of `SyncState.contention`, the words for it, and who undid a repair. Pure.

Next: `hanse.federation.contention` for when an object is contested, `hanse_syncer.report.transitions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.api.syncer.v1.sync_state_pb2 import Contention, SyncState
from hanse.federation.contention import CONTESTED, is_contested
from hanse.kube.model.untrusted import mapping, mappings, text
from hanse.well_known import FIELD_MANAGER

MAX_MANAGER: Final = 128
"""Longest name of a field manager, in characters; Kubernetes takes no longer one."""


def undone_by(live: Mapping[str, Any]) -> str:
    """Return the field manager that changed the object last, besides us and writers of its status; "" if
    unknown.
    """
    others = [
        (text(entry.get("time")), text(entry.get("manager"), MAX_MANAGER))
        for entry in mappings(mapping(live.get("metadata")).get("managedFields"))
        if entry.get("manager") != FIELD_MANAGER and not entry.get("subresource")
    ]
    return max(others, default=("", ""))[1]


def contention(
    before: SyncState | None, *, repairs: int, now: datetime, repaired: bool, manager: str, removed: bool
) -> Contention:
    """Return what is known of `repairs` in a row. `repaired`: the last of them is made now."""
    known = before.contention if before is not None else Contention()
    result = Contention(repairs=repairs, manager=manager, removed=removed)
    if repaired:
        result.last_time.FromDatetime(now)
    else:
        result.last_time.CopyFrom(known.last_time)
    if repairs > 1 and known.HasField("first_time"):
        result.first_time.CopyFrom(known.first_time)
    else:
        result.first_time.CopyFrom(result.last_time)
    return result


def mark(state: SyncState) -> None:
    """Say of a state that its object is contested, if it is. Such an object is not healthy."""
    if is_contested(state):
        state.reason = CONTESTED
        state.message = words(state.contention)
        state.health = sync.DEGRADED


def words(found: Contention) -> str:
    """Return the sentence that says who undoes what, how often, since when."""
    who = f"field manager {found.manager}" if found.manager else "somebody in the cluster"
    deed = "removes it" if found.removed else "changes it"
    since = found.first_time.ToDatetime(tzinfo=UTC)
    return (
        f"{who} {deed} again each time that it is put right: {found.repairs} times since "
        f"{since:%Y-%m-%d %H:%M:%S} UTC. It is put right less and less often; stop that, or change the object"
    )
