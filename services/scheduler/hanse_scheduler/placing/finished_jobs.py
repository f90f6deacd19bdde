"""The federation's own ttlSecondsAfterFinished: a Job that has ended is deleted when its time is over.

Owns when that is, and the deletion: in the foreground and of that very uid, as Kubernetes' controller does
it. Only the leader collects. A Job of which nobody knows whether it has ended stays.

Concurrency: called by the reconciler, for one path at a time. Next: `hanse.federation.jobs.job_work`, which
says when a Job has ended.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from hanse.api.federation.v1.federation_service_pb2 import FOREGROUND, DeleteObjectRequest
from hanse.api.federation.v1.federation_service_pb2_grpc import FederationServiceStub
from hanse.api.scheduler.v1.placement_pb2 import Placement
from hanse.errors import ConflictError, HanseError, NotFoundError
from hanse.federation.jobs.job_work import JobEnding, ended_at, ending_of
from hanse.kube.kinds.kubernetes import batch
from hanse.kube.model.objects import Object, is_deleting, mapping
from hanse.paths import resource_of
from hanse.process.telemetry import get_logger
from hanse_scheduler.times import seconds_of

_log = get_logger(__name__)

RETRY_SECONDS: Final = 5.0
"""When a deletion is tried again that the apiserver could not take."""
DeleteObject: TypeAlias = Callable[[str, str], Awaitable[object]]
"""Deletes the object with a path and a uid. Raises HanseError."""


def object_deleter(stub: FederationServiceStub) -> DeleteObject:
    """Return what has the apiserver delete an object, after what depends on it."""

    async def delete(path: str, uid: str) -> object:
        request = DeleteObjectRequest(name=f"objects/{path}", uid=uid, propagation=FOREGROUND)
        return await stub.DeleteObject(request)

    return delete


def expires_at(obj: Object, placement: Placement) -> float:
    """Return when a Job is to be deleted, in seconds since the epoch; inf for one that stays, or has not
    ended."""
    spec = mapping(obj, "spec")
    ttl, completions = spec.get("ttlSecondsAfterFinished"), spec.get("completions")
    if type(ttl) is not int or is_deleting(obj):
        return math.inf
    wanted = completions if type(completions) is int else None
    if ending_of(placement.runs, completions=wanted) not in (JobEnding.COMPLETE, JobEnding.FAILED):
        return math.inf
    return (ended_at(placement.runs) or seconds_of(placement.update_time)) + ttl


class FinishedJobCollector:
    """Deletes Jobs whose time is over. `clock` returns seconds since the epoch."""

    def __init__(self, delete: DeleteObject, *, clock: Callable[[], float]) -> None:
        self._delete = delete
        self._clock = clock

    async def collect(self, path: str, obj: Object, placement: Placement | None) -> float:
        """Delete the Job at `path` if its time is over; return when to look again, inf for never.

        `obj` and `placement` are as they are stored now.
        """
        if placement is None or resource_of(path) != batch.JOB.group_plural:
            return math.inf
        when = expires_at(obj, placement)
        if when > self._clock():
            return when
        uid = str(mapping(obj, "metadata").get("uid", ""))
        try:
            await self._delete(path, uid)
        except (NotFoundError, ConflictError):
            return math.inf  # it is gone, or another one has its name
        except HanseError as error:
            _log.warning("a finished Job is not deleted yet", object=path, error=str(error))
            return self._clock() + RETRY_SECONDS
        _log.info("a finished Job is deleted: its ttlSecondsAfterFinished is over", object=path)
        return math.inf
