"""The Job controller: Pods until enough of them have succeeded.

Pods succeed by themselves after a while (`hanse_simulator.controllers.kubelet`); what has failed counts
towards backoffLimit without a delay between tries. Indexed Jobs, suspension, activeDeadlineSeconds and
ttlSecondsAfterFinished are as in Kubernetes. Pods are counted as long as they exist: there is no tracking
finalizer. Next: `hanse_simulator.workloads.jobrules`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from hanse.control import Request, Result
from hanse.kube.kinds.kubernetes import batch
from hanse.kube.model.objects import Object, is_deleting, mapping, sequence
from hanse_simulator.controllers import pods as pod_rules
from hanse_simulator.controllers.conditions import set_condition, without
from hanse_simulator.controllers.loops import Loop, controlled_by, itself, split
from hanse_simulator.workloads import jobrules
from hanse_simulator.workloads.ownership import claim
from hanse_simulator.world import JOBS, PODS, ClusterContext, is_true, parse_time, seconds_until


class Jobs:
    """Runs Jobs to their end."""

    def __init__(self, world: ClusterContext) -> None:
        self._world = world

    def loop(self) -> Loop:
        """Return the controller."""
        return Loop(batch.JOB.plural, self, {JOBS: itself, PODS: controlled_by(batch.JOB.name)})

    async def reconcile(self, request: Request) -> Result | None:
        """Make or delete Pods, and write the status."""
        await self._world.fresh()
        job = self._world.get(JOBS, *split(request.key))
        if job is None or is_deleting(job):
            return None
        if jobrules.is_finished(job):
            return await self._clean_up(job)
        pods = await claim(self._world, job, PODS)
        plan = jobrules.plan(job, pods)
        failed = self._failure(job, plan)
        if failed or plan.complete or plan.suspended:
            await self._delete([p for p in pods if pod_rules.is_active(p)])
        else:
            await self._delete(plan.surplus)
            await asyncio.gather(*(self._world.create(PODS, self._pod(job, i)) for i in plan.missing))
        await self._world.fresh()
        pods = self._world.owned(job, PODS)
        await self._world.set_status(JOBS, job, self._status(job, pods, failed=failed))
        return self._deadline(job)

    async def _delete(self, pods: Iterable[Object]) -> None:
        await asyncio.gather(*(self._world.delete(PODS, pod) for pod in pods))

    @staticmethod
    def _pod(job: Object, index: int | None) -> Object:
        template = pod_rules.template_of(job)
        if index is None:
            return pod_rules.from_template(template, owner=job)
        text = {jobrules.INDEX: str(index)}
        pod = pod_rules.from_template(template, owner=job, labels=text, annotations=text)
        metadata = {**pod["metadata"], "generateName": f"{job['metadata']['name']}-{index}-"}
        return {**pod, "metadata": metadata}

    def _failure(self, job: Object, plan: jobrules.JobStep) -> tuple[str, str] | None:
        """Return reason and message if a Job has failed; None if it has not."""
        spec = mapping(job, "spec")
        if plan.failed > int(spec.get("backoffLimit", 6)):
            return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
        started, limit = mapping(job, "status").get("startTime"), spec.get("activeDeadlineSeconds")
        late = limit and started and seconds_until(parse_time(started), limit, self._world.now()) <= 0
        if late and not plan.complete and not plan.suspended:
            return "DeadlineExceeded", "Job was active longer than specified deadline"
        return None

    def _status(self, job: Object, pods: list[Object], *, failed: tuple[str, str] | None) -> dict[str, Any]:
        plan, now = jobrules.plan(job, pods), self._world.stamp()
        old = mapping(job, "status")
        conditions: list[dict[str, Any]] = list(sequence(old, "conditions"))
        status: dict[str, Any] = {"ready": sum(pod_rules.is_ready(p) for p in pods if _runs(p))}
        counts = {
            "active": sum(_runs(p) for p in pods), "succeeded": plan.succeeded, "failed": plan.failed,
            "terminating": sum(is_deleting(p) for p in pods),
        }  # fmt: skip
        if not plan.suspended:
            status["startTime"] = old.get("startTime") or now
        if plan.suspended or is_true(job, "Suspended"):
            conditions = set_condition(
                conditions, "Suspended", status=plan.suspended, now=now,
                reason="JobSuspended" if plan.suspended else "JobResumed",
                message="Job suspended" if plan.suspended else "Job resumed",
            )  # fmt: skip
        if failed:
            for kind in ("FailureTarget", "Failed"):
                conditions = set_condition(
                    conditions, kind, status=True, reason=failed[0], message=failed[1], now=now
                )
        elif plan.complete:
            for kind in ("SuccessCriteriaMet", "Complete"):
                conditions = set_condition(
                    without(conditions, kind), kind, status=True, reason="CompletionsReached",
                    message="Reached expected number of succeeded pods", now=now,
                )  # fmt: skip
            status["completionTime"] = now
        status |= {name: count for name, count in counts.items() if count}
        if plan.completed_indexes:
            status["completedIndexes"] = plan.completed_indexes
        if conditions:
            status["conditions"] = conditions
        return {**status, "uncountedTerminatedPods": {}}

    def _deadline(self, job: Object) -> Result | None:
        limit = mapping(job, "spec").get("activeDeadlineSeconds")
        started = mapping(job, "status").get("startTime")
        if not limit or mapping(job, "spec").get("suspend"):
            return None
        begun = parse_time(started) if started else self._world.now()
        return Result(requeue_after=max(0.0, seconds_until(begun, limit, self._world.now())) + 0.01)

    async def _clean_up(self, job: Object) -> Result | None:
        """Delete a finished Job whose time is over."""
        ttl = mapping(job, "spec").get("ttlSecondsAfterFinished")
        if ttl is None:
            return None
        ended = parse_time(jobrules.finished_at(job) or job["metadata"]["creationTimestamp"])
        wait = seconds_until(ended, ttl, self._world.now())
        if wait > 0:
            return Result(requeue_after=wait)
        await self._world.delete(JOBS, job, propagation="Foreground")
        return None


def _runs(pod: Object) -> bool:
    return pod_rules.is_active(pod)
