"""What members do to objects that they were given: undo what is put right, store other values than were sent.

Owns two laws. A member that stores other values, by an admission webhook say, does not have what the
federation's object says: the difference is a condition, `ValuesRewritten`. An object is contested when a
member, or somebody in it, undoes again and again what is put right there. The syncer counts repairs that
follow each other (`SyncState.contention`) and waits longer before each; from `CONTESTED_AFTER` of them on the
object is contested, which is a condition that everybody can see. It is over when what was put right has
stayed so for longer than the last wait.

Pure. Next: `hanse_syncer.act.repairs`, which counts and waits.
"""

from __future__ import annotations

from typing import Final

from hanse.api.syncer.v1.sync_state_pb2 import SyncState

VALUES_REWRITTEN: Final = "ValuesRewritten"
"""Type of the condition, and reason in the sync state."""
CONTESTED: Final = "Contested"
"""Type of the condition, and reason in the sync state."""
CONTESTED_AFTER: Final = 3
"""Repairs in a row: one undoes a slip, two can be a race; three are somebody's intent."""


def is_contested(state: SyncState) -> bool:
    """Return whether the object is put right again and again in the state's cluster."""
    return state.contention.repairs >= CONTESTED_AFTER
