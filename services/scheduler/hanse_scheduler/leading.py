"""One scheduler decides at a time: elect, decide while leading, stop, elect again.

Owns `PlacementController`, the life of the control loop. Each leadership has its own queue and reconciler, so
nothing of a lost one can write; what still is in flight is refused by the fence. A new leader first catches
up with all that its predecessor wrote, then looks at every object once; what has not changed is not written.

Concurrency: one event loop; `run` is one task, and owns all tasks below it.

Next: `hanse_scheduler.placing.reconciler` for one object, `hanse_scheduler.service` for what people ask for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Self

from hanse.background import OwnedTasks
from hanse.control import Controller, WorkQueue
from hanse.control.leading import lead
from hanse.errors import UnavailableError
from hanse.federation.events import EventRecorder
from hanse.process.telemetry import get_logger
from hanse.store import Store
from hanse.store.batch import BatchWriter
from hanse.store.election import Leadership
from hanse_scheduler.placing.evaluator import Evaluator
from hanse_scheduler.placing.reconciler import PlacementReconciler
from hanse_scheduler.state.scheduler_state import SchedulerState

ELECTION = "scheduler"
_log = get_logger(__name__)


class PlacementController:
    """Campaigns, and decides while it leads. `identity` is unique among schedulers.

    An async context manager that runs it and resigns at the end; or use `run()` in a task group.
    """

    def __init__(
        self,
        *,
        store: Store,
        state: SchedulerState,
        evaluator: Evaluator,
        clock: Callable[[], float],
        identity: str,
        ttl: int = 10,
        workers: int = 128,
        recorder: EventRecorder | None = None,
    ) -> None:
        """`ttl` is the leader lease's, in seconds; `workers` how many objects are in work at once."""
        self._store = store
        self._state = state
        self._evaluator = evaluator
        self._clock = clock
        self._identity = identity
        self._ttl = ttl
        self._workers = workers
        self._recorder = recorder
        self._reconciler: PlacementReconciler | None = None
        self._tasks = OwnedTasks()
        self._task: asyncio.Task[None] | None = None
        self.leading = asyncio.Event()
        """Set while this process leads."""
        self.queue: WorkQueue | None = None
        """The queue of the current leadership, None while another leads."""

    @property
    def reconciler(self) -> PlacementReconciler:
        """Return the leader's reconciler. Raises UnavailableError while another leads."""
        if self._reconciler is None:
            raise UnavailableError(
                "this scheduler does not lead: send the request to the one that does, or again later",
                reason="NOT_LEADER",
                retry_after=1.0,
            )
        return self._reconciler

    async def __aenter__(self) -> Self:
        self._task = self._tasks.start(self.run(), name="scheduler", told=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        task, self._task = self._task, None
        if task is None:
            return
        await self._tasks.close()
        if not task.cancelled():
            task.result()

    async def run(self) -> None:
        """Campaign and lead, again and again, until cancelled; then resign."""
        await self._state.follower.synced()
        await lead(
            self._store,
            election=ELECTION,
            identity=self._identity,
            ttl=self._ttl,
            while_leading=self._lead,
        )

    async def _lead(self, leadership: Leadership) -> None:
        writer = BatchWriter(self._store, max_ops=100)
        reconciler = PlacementReconciler(
            writer=writer,
            state=self._state,
            leadership=leadership,
            evaluator=self._evaluator,
            clock=self._clock,
            recorder=self._recorder,
        )
        queue = WorkQueue("placements")
        controller = Controller("scheduler", reconciler, queue, workers=self._workers)
        await self._state.follower.current()
        self._state.lead(lambda path, urgent: queue.add(path, urgent=urgent))
        self._reconciler, self.queue = reconciler, queue
        self.leading.set()
        _log.info("leading", identity=self._identity, objects=len(queue))
        try:
            await controller.run()
        finally:
            self.leading.clear()
            self._reconciler, self.queue = None, None
            self._state.rest()
            queue.clear()
            queue.close()
