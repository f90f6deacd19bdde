"""What a Job needs next, from its spec and its Pods. Pure functions.

Next: `hanse_simulator.workloads.jobs`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hanse.kube.model.objects import Object, annotations_of, is_deleting, mapping, sequence
from hanse.numbers import whole_number
from hanse_simulator.controllers.pods import deletion_order, is_active, phase
from hanse_simulator.world import is_true

INDEX = "batch.kubernetes.io/job-completion-index"


@dataclass(frozen=True, slots=True)
class JobStep:
    """What a Job has and needs.

    `missing` has an entry for each Pod to make, its index or None where Pods have none; `surplus` are Pods to
    delete. `completed_indexes` is as in the status: "0,2-4".
    """

    succeeded: int
    failed: int
    complete: bool
    suspended: bool
    missing: tuple[int | None, ...] = ()
    surplus: tuple[Object, ...] = ()
    completed_indexes: str = ""


def plan(job: Object, pods: Sequence[Object]) -> JobStep:
    """Return what a Job with these Pods needs."""
    spec = mapping(job, "spec")
    parallelism = int(spec.get("parallelism", 1))
    suspended = bool(spec.get("suspend"))
    active = [p for p in pods if is_active(p)]
    succeeded = [p for p in pods if phase(p) == "Succeeded"]
    failed = sum(phase(p) == "Failed" for p in pods)
    if spec.get("completionMode") == "Indexed":
        return _indexed(
            int(spec.get("completions") or 0), parallelism, active, succeeded, failed=failed,
            suspended=suspended,
        )  # fmt: skip
    completions = spec.get("completions")
    if completions is None:
        # A work queue: it is done when one has succeeded and none runs any more.
        complete = bool(succeeded) and not active
        wanted = len(active) if succeeded else parallelism
    else:
        complete = len(succeeded) >= int(completions)
        wanted = min(parallelism, max(0, int(completions) - len(succeeded)))
    waiting = sum(is_deleting(p) and phase(p) not in ("Succeeded", "Failed") for p in pods)
    missing = max(0, wanted - len(active) - waiting)
    surplus = tuple(sorted(active, key=deletion_order)[: max(0, len(active) - wanted)])
    return JobStep(len(succeeded), failed, complete, suspended, (None,) * missing, surplus)


def _indexed(
    completions: int,
    parallelism: int,
    active: Sequence[Object],
    succeeded: Sequence[Object],
    *,
    failed: int,
    suspended: bool,
) -> JobStep:
    done = {i for p in succeeded if 0 <= (i := _index(p)) < completions}
    busy = {_index(p) for p in active}
    free = [i for i in range(completions) if i not in done and i not in busy]
    missing = tuple(free[: max(0, parallelism - len(active))])
    surplus = tuple(sorted(active, key=deletion_order)[: max(0, len(active) - parallelism)])
    return JobStep(len(done), failed, len(done) >= completions, suspended, missing, surplus, intervals(done))


def intervals(indexes: Iterable[int]) -> str:
    """Return numbers as text with runs joined: 0,2-4."""
    parts: list[list[int]] = []
    for index in sorted(indexes):
        if parts and parts[-1][1] == index - 1:
            parts[-1][1] = index
        else:
            parts.append([index, index])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in parts)


def _index(pod: Object) -> int:
    text = annotations_of(pod).get(INDEX, "")
    return -1 if (number := whole_number(text)) is None else number


def is_finished(job: Object) -> bool:
    """Report whether a Job is complete or has failed."""
    return is_true(job, "Complete") or is_true(job, "Failed")


def finished_at(job: Object) -> str:
    """Return when a Job finished; "" if it has not."""
    for condition in sequence(job, "status", "conditions"):
        if condition.get("type") in ("Complete", "Failed") and condition.get("status") == "True":
            return str(condition.get("lastTransitionTime") or "")
    return ""
