"""The scheduler, wired: what `python -m hanse_scheduler` runs.

Owns `serve`: what the scheduler is made of, and the order of its start. Concurrency: that of
`hanse.service.shell`. Next: `hanse_scheduler.leading`.
"""

from __future__ import annotations

import time

from hanse.api.scheduler.v1.scheduler_service_pb2_grpc import add_SchedulerServiceServicer_to_server
from hanse.federation.events import EventRecorder, event_sender
from hanse.service.shell import ServiceShell
from hanse_scheduler import metrics
from hanse_scheduler.leading import PlacementController
from hanse_scheduler.placing.evaluator import Evaluator
from hanse_scheduler.placing.events import COMPONENT
from hanse_scheduler.placing.finished_jobs import FinishedJobCollector, object_deleter
from hanse_scheduler.service import POLICY, SchedulerServicer
from hanse_scheduler.settings import SchedulerSettings
from hanse_scheduler.state.scheduler_state import SchedulerState


async def serve(shell: ServiceShell[SchedulerSettings]) -> None:
    """Decide and serve until told to stop."""
    settings = shell.settings
    store = await shell.connect_store()
    state = await shell.enter(SchedulerState(store, clock=time.time))
    recorder = collector = None
    if settings.apiserver_endpoint:
        apiserver = await shell.apiserver()
        send = event_sender(apiserver, component=COMPONENT)
        collector = FinishedJobCollector(object_deleter(apiserver), clock=time.time)
        recorder = EventRecorder(send, component=COMPONENT)
        shell.start(recorder.run(), name="events")
    evaluator = Evaluator(store=store, state=state, rules=settings.rules, clock=time.time)
    scheduler = PlacementController(
        store=store,
        state=state,
        evaluator=evaluator,
        clock=time.time,
        identity=shell.identity,
        ttl=settings.leader_ttl,
        workers=settings.workers,
        recorder=recorder,
        collector=collector,
    )
    metrics.observe(shell.telemetry.meter, state=state, scheduler=scheduler)
    await state.follower.synced()
    servicer = SchedulerServicer(store=store, state=state, evaluator=evaluator, scheduler=scheduler)
    server = await shell.serve(add_SchedulerServiceServicer_to_server, servicer, policy=POLICY)
    shell.start(state.follower.failed(), name="state")
    shell.start(scheduler.run(), name="scheduler")
    await shell.until_stopped({"grpc": server.address})
