"""Conditions that the federation itself sets on an object, whatever its kind: pure.

They are there only while there is something to say, and come before those of the kind:

- `Delivered` is False while a member does not have the object as it is to be: it refused it, has another one
  of that name, or an override does not fit. Its reason is the first member's, the message has their words.
- `Placed` is False while replicas have no cluster, or the scheduler cannot decide.
- `Contested` is True while a member undoes what is put right there, again and again.
- `ValuesRewritten` is True while a member has stored other values than it was sent.

Next: `hanse_apiserver.aggregate.fold`, which adds them to what the kind's rule gives.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from hanse.federation.contention import CONTESTED, VALUES_REWRITTEN
from hanse.kube.model.objects import Object
from hanse_apiserver.aggregate.conditions import UNPLACED
from hanse_apiserver.aggregate.members import Decision, Member

PLACED = "Placed"
DELIVERED = "Delivered"
_REFUSED = frozenset({"Failed", "Conflict"})
"""Phases of what a member does not take as it is to be."""
_REASON = re.compile(r"[A-Za-z](?:[A-Za-z0-9_,:]*[A-Za-z0-9_])?")
"""What a reason of a condition may be; a member may say anything."""
_SHOWN = 4
"""Members whose words a message has."""


def federation_conditions(members: Sequence[Member], decision: Decision, now: str) -> list[Object]:
    """Return the conditions of the federation; `now` is the time to give them."""
    times = {"lastTransitionTime": now} if now else {}
    return [{**condition, **times} for condition in _conditions(members, decision)]


def _conditions(members: Sequence[Member], decision: Decision) -> Iterator[Object]:
    if refused := [m for m in members if m.counted and m.reachable and m.phase in _REFUSED]:
        reason = refused[0].reason if _REASON.fullmatch(refused[0].reason) else "Refused"
        yield _condition(DELIVERED, status="False", reason=reason, message=_words(refused))
    if decision.error:
        yield _condition(PLACED, status="False", reason="PlacementFailed", message=decision.error)
    elif decision.unplaced:
        message = f"{decision.shortage}; `hanse explain` says why"
        yield _condition(PLACED, status="False", reason=UNPLACED, message=message)
    if contested := [m for m in members if m.counted and m.contested]:
        yield _condition(CONTESTED, status="True", reason="RepairedAgainAndAgain", message=_words(contested))
    if changed := [m for m in members if m.counted and m.reason == VALUES_REWRITTEN]:
        message = _words(changed)
        yield _condition(VALUES_REWRITTEN, status="True", reason="ChangedOnAdmission", message=message)


def _words(members: Sequence[Member]) -> str:
    """Return what the first few members say, and how many more there are."""
    words = "; ".join(f"{m.cluster}: {m.message or m.reason or m.phase}" for m in members[:_SHOWN])
    more = len(members) - _SHOWN
    return f"{words}; and {more} more" if more > 0 else words


def _condition(kind: str, *, status: str, reason: str, message: str) -> Object:
    return {"type": kind, "status": status, "reason": reason, "message": message}
