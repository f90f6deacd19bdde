"""When a change of a federated object counts as observed: pure.

`observedGeneration` is what `kubectl rollout status` and `kubectl wait` look at first. It is the generation
of the federated object only when the scheduler has decided on that generation, every counted cluster has had
it applied, and each member's own controller has observed what was applied.

Next: `hanse_apiserver.aggregate.workloads`.
"""

from __future__ import annotations

from collections.abc import Sequence

from hanse.kube.model import untrusted
from hanse.kube.model.objects import Object, mapping
from hanse_apiserver.aggregate.members import Decision, Member


def generation_of(obj: Object) -> int:
    """Return metadata.generation; 0 if there is none."""
    value = mapping(obj, "metadata").get("generation")
    return value if type(value) is int else 0


def observed_by(member: Member, obj: Object, decision: Decision, *, told: bool = False) -> int:
    """Return the newest generation of the federated object that a member has certainly observed.

    `told` is for kinds whose controller always says what it has observed: where it says nothing, it has seen
    nothing.
    """
    generation = generation_of(obj)
    if not member.phase or member.phase == "Removed":
        return max(0, generation - 1)
    applied = min(member.applied_generation, generation)
    acted = member.placement_revision
    if applied and acted and decision.revision and acted < decision.revision:
        return applied - 1
    seen = member.status.get("observedGeneration", 0 if told else None)
    if applied and seen is not None and untrusted.generation(seen) < member.member_generation:
        return applied - 1
    return applied


def observed_generation(
    members: Sequence[Member], obj: Object, decision: Decision, *, told: bool = False
) -> int:
    """Return the generation that the scheduler and every counted member have observed; `told` as above."""
    seen = [observed_by(m, obj, decision, told=told) for m in members if m.counted]
    return min([decision.generation, generation_of(obj), *seen])
