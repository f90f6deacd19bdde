"""The entries of a placement while its object moves: what each cluster has now, and what it has in the end.

Owns `take_step`, which writes the next step of a move into the entries that say where the object is to be,
and adds those of clusters that it leaves and that keep it until then.

The entries that it is given were made for this decision and are changed; those of the placement before are
not. Next: `hanse_scheduler.handshake.moves`, `hanse_scheduler.handshake.builder`.
"""

from __future__ import annotations

from collections.abc import Mapping

from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement
from hanse_scheduler.handshake.moves import MoveStep
from hanse_scheduler.reasons import Refusal
from hanse_scheduler.trace import DecisionTrace


def take_step(
    step: MoveStep,
    entries: dict[str, ClusterPlacement],
    *,
    placed: Mapping[str, ClusterPlacement],
    refused: dict[str, Refusal],
    divided: bool,
    revision: int,
) -> None:
    """Let `entries` and `refused` say what the step says.

    `placed` has the entries of the placement before, which was written at `revision`.
    """
    for name, refusal in step.refused.items():
        del entries[name]
        refused[name] = refusal
    for name, entry in entries.items():
        if name in step.counts:
            _arrive(step, entry, before=placed.get(name), divided=divided, revision=revision)
    for name in step.leaving:
        entries[name] = _leave(step, placed[name], why=refused.pop(name), divided=divided)


def note_step(step: MoveStep, entries: Mapping[str, ClusterPlacement], trace: DecisionTrace) -> None:
    """Note how far the move is, and what each cluster has meanwhile."""
    if step.note:
        trace.note("move", step.note)
    for name, entry in sorted(entries.items()):
        if entry.leaving:
            trace.note("move", entry.message, cluster=name)
        elif entry.HasField("target_replicas"):
            trace.note("move", f"has {entry.replicas} of {entry.target_replicas} replicas", cluster=name)


def _arrive(
    step: MoveStep,
    entry: ClusterPlacement,
    *,
    before: ClusterPlacement | None,
    divided: bool,
    revision: int,
) -> None:
    name = entry.cluster
    count = step.counts[name]
    if divided and count != entry.replicas:
        entry.target_replicas = entry.replicas
        entry.replicas = count
    if name not in step.bases:
        return
    entry.base_replicas = step.bases[name]
    goes_on = (
        before is not None
        and not before.suspended
        and before.HasField("base_replicas")
        and before.base_replicas == entry.base_replicas
        and before.overrides == entry.overrides
    )
    if not goes_on:  # what was said of it by then tells nothing of what it gets now
        entry.after_revision = revision


def _leave(step: MoveStep, before: ClusterPlacement, *, why: Refusal, divided: bool) -> ClusterPlacement:
    reason, message = why
    name = before.cluster
    entry = ClusterPlacement(
        cluster=name,
        reason=reason,
        overrides=before.overrides,
        leaving=True,
        after_revision=before.after_revision,
    )
    if divided:
        entry.replicas, entry.target_replicas = step.counts[name], 0
        entry.message = f"{message}; it keeps {entry.replicas} replicas until as many are ready elsewhere"
    else:
        entry.message = f"{message}; it is kept here until it is ready elsewhere"
        if before.HasField("replicas"):
            entry.replicas = before.replicas
    if name in step.bases:
        entry.base_replicas = step.bases[name]
    return entry
