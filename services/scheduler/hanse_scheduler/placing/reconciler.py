"""From a path to its stored placement: read the state, decide, write if the decision differs.

Owns the write: one transaction that compares the object's and the placement's revisions with those that were
decided on, and the leader's fence; many of them travel together. A write that loses its compares is decided
again on what is there then.

Concurrency: one event loop; the controller never gives one path to two tasks. A `Reconciler` belongs to one
leadership and writes nothing once that is lost.

Next: `hanse_scheduler.state.scheduler_state` for what is read, `hanse_scheduler.leading` for who runs this.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from opentelemetry import metrics

from hanse.api.scheduler.v1.placement_pb2 import Placement
from hanse.control import Request, Result
from hanse.errors import ConflictError, FailedPreconditionError, NotFoundError, UnavailableError
from hanse.federation.events import EventRecorder
from hanse.process.telemetry import DURATION_BUCKETS, get_logger, inject_traceparent, span_from_traceparent
from hanse.store import Compare, Delete, Put
from hanse.store.batch import BatchWriter
from hanse.store.election import Leadership
from hanse.store.keys import OBJECTS, PLACEMENTS
from hanse_scheduler.decide.decision import PlacementDecision
from hanse_scheduler.placing import events
from hanse_scheduler.placing.evaluator import Evaluator
from hanse_scheduler.state.scheduler_state import SchedulerState

UNREADABLE_SECONDS = 5.0
"""When to look again while a cluster or a policy cannot be read."""

_ATTEMPTS = 5
_log = get_logger(__name__)


class PlacementReconciler:
    """Keeps placements what they should be. `clock` returns seconds since the epoch."""

    def __init__(
        self,
        *,
        writer: BatchWriter,
        state: SchedulerState,
        leadership: Leadership,
        evaluator: Evaluator,
        clock: Callable[[], float],
        recorder: EventRecorder | None = None,
    ) -> None:
        self._writer = writer
        self._state = state
        self._leadership = leadership
        self._evaluator = evaluator
        self._clock = clock
        self._recorder = recorder
        meter = metrics.get_meter("hanse")
        self._writes = meter.create_counter(
            "hanse.placement.writes", unit="{placement}", description="Placements written or deleted."
        )
        self._duration = meter.create_histogram(
            "hanse.placement.write.duration",
            unit="s",
            description="Time from a decision to its storage.",
            explicit_bucket_boundaries_advisory=DURATION_BUCKETS,
        )

    async def reconcile(self, request: Request) -> Result | None:
        """Decide for the path `request.key` and store what differs; return when time alone changes it."""
        path = request.key
        for _ in range(_ATTEMPTS):
            if self._leadership.lost.is_set() or self._state.unreadable(path):
                return None
            if self._state.record(path) is None:
                if await self._forget(path):
                    return None
                continue
            if self._state.unreadable_influence(path):
                return Result(requeue_after=UNREADABLE_SECONDS)
            self._state.deciding(path)
            decision = await self._evaluator.decide(path)
            if decision is None:
                continue
            if not decision.changed or await self._store_decision(path, decision):
                self._state.decided(path)
                return self._again(decision)
        raise ConflictError(f"{path} keeps changing while it is decided on; it is tried again")

    async def change(self, path: str, *, rebalance: bool = False, evict: str = "") -> Placement:
        """Decide once with the request of a person, store that, and return the placement.

        Raises NotFoundError without such an object, FailedPreconditionError if it cannot be decided on.
        """
        for _ in range(_ATTEMPTS):
            if self._state.record(path) is None:
                raise NotFoundError(
                    f"there is no object {path}: name one that exists", metadata={"object": path}
                )
            if unreadable := self._state.unreadable_influence(path):
                raise FailedPreconditionError(
                    f"{unreadable} cannot be read, and {path} is placed by it, so it is not moved: "
                    "see the log"
                )
            decision = await self._evaluator.decide(path, rebalance=rebalance, evict=evict)
            if decision is None:
                continue
            if decision.placement is None:
                raise FailedPreconditionError(f"{path} is not placed anywhere: there is nothing to move")
            if decision.placement.error:
                raise FailedPreconditionError(f"{path} cannot be decided on: {decision.placement.error}")
            if not decision.changed or await self._store_decision(path, decision):
                stored = self._state.placement(path)
                result = Placement()
                result.CopyFrom(decision.placement)
                result.revision = stored.revision if stored else 0
                return result
            if self._leadership.lost.is_set():
                raise UnavailableError("this scheduler does not lead any more: send the request again")
        raise ConflictError(f"{path} keeps changing while it is decided on: send the request again")

    def _again(self, decision: PlacementDecision) -> Result | None:
        if not math.isfinite(decision.reconsider_at):
            return None
        return Result(requeue_after=max(0.0, decision.reconsider_at - self._clock()))

    async def _store_decision(self, path: str, decision: PlacementDecision) -> bool:
        """Write the decision, which was made just now; return False if what it was made on has changed."""
        record = self._state.record(path)
        if record is None:
            return False
        object_revision = self._state.object_revision(path)
        known = self._state.placement(path)
        placement = decision.placement
        compares = [
            Compare.mod(f"{OBJECTS}/{path}", object_revision),
            Compare.mod(f"{PLACEMENTS}/{path}", known.revision if known else 0),
            self._leadership.fence(),
        ]
        started = self._clock()
        span = span_from_traceparent("schedule", record.traceparent, attributes={"hanse.object": path})
        with self._state.writing(path), span:
            if placement is None:
                result = await self._writer.commit(compares, [Delete(f"{PLACEMENTS}/{path}")])
            else:
                placement.traceparent = inject_traceparent() or placement.traceparent
                put = Put(f"{PLACEMENTS}/{path}", placement.SerializeToString(deterministic=True))
                result = await self._writer.commit(compares, [put])
        if not result.succeeded:
            await self._catch_up(result.revision)
            return False
        self._duration.record(self._clock() - started)
        self._writes.add(1)
        self._state.wrote(path, placement, result.revision)
        if self._recorder is not None and placement is not None:
            events.record(self._recorder, record.reduced, known.value if known else None, placement)
        return True

    async def _forget(self, path: str) -> bool:
        """Delete the placement of an object that is gone; return False if it is not gone after all."""
        known = self._state.placement(path)
        if known is None:
            return True
        compares = [
            Compare.absent(f"{OBJECTS}/{path}"),
            Compare.mod(f"{PLACEMENTS}/{path}", known.revision),
            self._leadership.fence(),
        ]
        with self._state.writing(path):
            result = await self._writer.commit(compares, [Delete(f"{PLACEMENTS}/{path}")])
        if not result.succeeded:
            await self._catch_up(result.revision)
            return False
        self._writes.add(1)
        self._state.wrote(path, None, result.revision)
        return True

    async def _catch_up(self, revision: int) -> None:
        if not self._leadership.lost.is_set():
            await self._state.objects.reached(revision, 10.0)
