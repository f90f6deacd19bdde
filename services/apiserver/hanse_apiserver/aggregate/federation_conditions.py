"""Conditions that the federation itself sets on an object, whatever its kind: pure.

They are there only while there is something to say:

- `Placed` is False while replicas have no cluster, or the scheduler cannot decide.
- `Contested` is True while a member undoes what is put right there, again and again.
- `ValuesRewritten` is True while a member has stored other values than it was sent.

Next: `hanse_apiserver.aggregate.fold`, which adds them to what the kind's rule gives.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hanse.federation.contention import CONTESTED, VALUES_REWRITTEN
from hanse.kube.model.objects import Object
from hanse_apiserver.aggregate.conditions import UNPLACED
from hanse_apiserver.aggregate.members import Decision, Member

PLACED = "Placed"


def federation_conditions(members: Sequence[Member], decision: Decision, now: str) -> list[Object]:
    """Return the conditions of the federation; `now` is the time to give them."""
    times = {"lastTransitionTime": now} if now else {}
    return [{**condition, **times} for condition in _conditions(members, decision)]


def _conditions(members: Sequence[Member], decision: Decision) -> Iterator[Object]:
    if decision.error:
        yield _condition(PLACED, status="False", reason="PlacementFailed", message=decision.error)
    elif decision.unplaced:
        message = f"{decision.shortage}; `hanse explain` says why"
        yield _condition(PLACED, status="False", reason=UNPLACED, message=message)
    if contested := [m for m in members if m.counted and m.contested]:
        message = _words(contested)
        yield _condition(CONTESTED, status="True", reason="RepairedAgainAndAgain", message=message)
    if changed := [m for m in members if m.counted and m.reason == VALUES_REWRITTEN]:
        message = _words(changed)
        yield _condition(VALUES_REWRITTEN, status="True", reason="ChangedOnAdmission", message=message)


def _words(members: Sequence[Member]) -> str:
    words = "; ".join(f"{m.cluster}: {m.message}" for m in members[:4])
    return words + (f"; and {len(members) - 4} more" if len(members) > 4 else "")


def _condition(kind: str, *, status: str, reason: str, message: str) -> Object:
    return {"type": kind, "status": status, "reason": reason, "message": message}
