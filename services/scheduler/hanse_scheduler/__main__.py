"""Runs the scheduler: only wires."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from contextlib import AsyncExitStack
from typing import Any

from hanse.api.federation.v1.federation_service_pb2_grpc import FederationServiceStub
from hanse.api.scheduler.v1.scheduler_service_pb2_grpc import add_SchedulerServiceServicer_to_server
from hanse.federation.events import EventRecorder, event_sender
from hanse.rpc import RpcChannel, RpcServer
from hanse.security.revocation import DenyList
from hanse.service.runtime import Runtime, run
from hanse.store import EtcdStore
from hanse_scheduler import metrics
from hanse_scheduler.leading import Scheduler
from hanse_scheduler.placing.evaluator import Evaluator
from hanse_scheduler.placing.events import COMPONENT
from hanse_scheduler.service import POLICY, SchedulerServicer
from hanse_scheduler.settings import SchedulerSettings
from hanse_scheduler.state.world import World


async def serve(runtime: Runtime[SchedulerSettings]) -> None:
    """Decide and serve until told to stop."""
    settings = runtime.settings
    async with AsyncExitStack() as stack:
        store = await EtcdStore.connect(
            settings.etcd_endpoints, prefix=settings.etcd_prefix, tls=settings.etcd_tls
        )
        stack.push_async_callback(store.close)
        runtime.follow_fullness(store)
        world = await stack.enter_async_context(World(store, clock=time.time))
        recorder = await _recorder(runtime, stack) if settings.apiserver_endpoint else None
        evaluator = Evaluator(store=store, world=world, rules=settings.rules, clock=time.time)
        scheduler = Scheduler(
            store=store,
            world=world,
            evaluator=evaluator,
            clock=time.time,
            identity=f"{socket.gethostname()}-{os.getpid()}",
            ttl=settings.leader_ttl,
            workers=settings.workers,
            recorder=recorder,
        )
        metrics.observe(runtime.telemetry.meter, world=world, scheduler=scheduler)
        await world.follower.synced()
        servicer = SchedulerServicer(store=store, world=world, evaluator=evaluator, scheduler=scheduler)
        server = RpcServer(
            listen=settings.listen,
            tls=settings.tls,
            policy=POLICY,
            telemetry=runtime.telemetry,
            health=runtime.health,
            deny_list=DenyList(settings.deny_list_file, authorities=[settings.tls_ca]),
        )
        server.add(add_SchedulerServiceServicer_to_server, servicer)
        await stack.enter_async_context(server)
        work = asyncio.create_task(scheduler.run(), name="scheduler")
        stack.push_async_callback(_end, work)
        runtime.tasks.create_task(world.follower.failed(), name="world")
        runtime.ready({"grpc": server.address})
        stopping = asyncio.create_task(runtime.stopping.wait(), name="stopping")
        stack.push_async_callback(_end, stopping)
        await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()


async def _end(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])


async def _recorder(runtime: Runtime[SchedulerSettings], stack: AsyncExitStack) -> EventRecorder:
    settings = runtime.settings
    channel = RpcChannel(
        settings.apiserver_endpoint,
        tls=settings.tls,
        server_name=settings.apiserver_name,
        telemetry=runtime.telemetry,
    )
    await stack.enter_async_context(channel)
    send = event_sender(FederationServiceStub(channel), component=COMPONENT)
    recorder = EventRecorder(send, component=COMPONENT)
    runtime.tasks.create_task(recorder.run(), name="events")
    return recorder


if __name__ == "__main__":
    sys.exit(run("scheduler", SchedulerSettings, serve))
