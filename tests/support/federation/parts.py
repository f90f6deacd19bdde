"""The services of a federation, each in this process over the store that it is given.

Owns `syncing`, `scheduling` and `naming`, of which each runs one service within its `async with`.

Concurrency: what runs has tasks in the test's event loop, and ends them when it is left. Next:
`tests.support.federation.federation`, which switches them on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

import dns.asyncquery
import dns.message
from hanse_dns.controller import Compilation, Compiler
from hanse_dns.serving.answering import Answering
from hanse_dns.serving.server import NameServer
from hanse_dns.settings import DnsSettings
from hanse_scheduler.decide.inputs import Rules
from hanse_scheduler.leading import PlacementController
from hanse_scheduler.placing.evaluator import Evaluator
from hanse_scheduler.state.scheduler_state import SchedulerState
from hanse_syncer.cluster.dependencies import SyncerDependencies
from hanse_syncer.decide.render import ManifestRenderer
from hanse_syncer.federation.state import FederationState
from hanse_syncer.report.metrics import SyncerMetrics
from hanse_syncer.report.state_loader import SyncStateLoader
from hanse_syncer.sharing import Sharing
from opentelemetry.metrics import NoOpMeter

from hanse.backoff import Backoff
from hanse.federation.events import EventRecorder
from hanse.security.credentials import Sealer
from hanse.store import BatchWriter, Store
from tests.support.federation.records import Clock
from tests.support.waiting import SECONDS

DEADLINE = SECONDS
DNS_SETTINGS = DnsSettings()


@dataclass(frozen=True)
class SchedulerPart:
    """One scheduler."""

    state: SchedulerState
    scheduler: PlacementController
    evaluator: Evaluator

    async def settled(self) -> None:
        """Wait until it has seen everything and has nothing to do."""
        async with asyncio.timeout(DEADLINE):
            await self.state.follower.current()
            queue = self.scheduler.queue
            while queue is not None and not queue.idle:  # noqa: ASYNC110 - a queue tells nobody
                await asyncio.sleep(0.005)
            await self.state.follower.current()


@asynccontextmanager
async def scheduling(
    store: Store,
    *,
    clock: Clock,
    identity: str,
    rules: Rules | None = None,
    recorder: EventRecorder | None = None,
    lead: bool = True,
) -> AsyncIterator[SchedulerPart]:
    """Run a scheduler; it leads when this is entered, unless told not to wait for that."""
    async with AsyncExitStack() as stack:
        state = await stack.enter_async_context(SchedulerState(store, clock=clock))
        evaluator = Evaluator(store=store, state=state, rules=rules or Rules(), clock=clock)
        scheduler = PlacementController(
            store=store, state=state, evaluator=evaluator, clock=clock, identity=identity, recorder=recorder
        )
        await state.follower.synced()
        await stack.enter_async_context(scheduler)
        if lead:
            async with asyncio.timeout(DEADLINE):
                await scheduler.leading.wait()
        yield SchedulerPart(state, scheduler, evaluator)


@asynccontextmanager
async def syncing(
    store: Store,
    *,
    sealer: Sealer,
    record: Callable[[bytes], Awaitable[None]],
    identity: str,
    timeout: float,
    orphan_interval: float,
) -> AsyncIterator[Sharing]:
    """Run a syncer; leaving stops it in order. `record` takes its Events."""
    async with AsyncExitStack() as stack:
        state = await stack.enter_async_context(FederationState(store))
        group = await stack.enter_async_context(asyncio.TaskGroup())
        events = EventRecorder(record, component="hanse-syncer", host=identity, quiet=60.0, per_second=1000)
        background = group.create_task(events.run())
        federation_id = await state.federation_id()
        dependencies = SyncerDependencies(
            store=store,
            writer=BatchWriter(store, spacing=0.0),
            federation=state,
            sealer=sealer,
            federation_id=federation_id,
            renderer=ManifestRenderer(federation_id),
            loader=SyncStateLoader(store),
            events=events,
            metrics=SyncerMetrics(NoOpMeter("test")),
            request_seconds=timeout,
            report_window=0.05,
            pauses=Backoff(base=0.2, limit=1.0),
            orphan_interval=orphan_interval,
            orphan_settle=0.1,
        )
        sharing = Sharing(dependencies, identity=identity, lease_seconds=2)
        stop = asyncio.Event()
        running = group.create_task(sharing.run(stop))
        try:
            yield sharing
        finally:
            stop.set()
            background.cancel()
            if running.cancelling() == 0:
                await asyncio.wait([running], timeout=15)


@dataclass(frozen=True)
class NamesPart:
    """Answers to questions about names, over UDP."""

    answering: Answering
    server: NameServer

    async def ask(self, name: str) -> dns.message.Message:
        """Return what the name server says."""
        query = dns.message.make_query(name, "A")
        return await dns.asyncquery.udp(query, "127.0.0.1", 5, self.server.port)

    async def addresses(self, name: str) -> list[str]:
        """Return the addresses of a name, sorted."""
        return sorted(item.to_text() for group in (await self.ask(name)).answer for item in group)

    async def until(self, name: str, expected: list[str]) -> None:
        """Wait until a name has these addresses; fail after a while with those that it has."""
        found: list[str] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(DEADLINE):
                while (found := await self.addresses(name)) != expected:  # noqa: ASYNC110 - asks over the network
                    await asyncio.sleep(0.01)
        assert found == expected


@asynccontextmanager
async def compiling(store: Store, *, identity: str) -> AsyncIterator[None]:
    """Run the half of the dns service that compiles names."""
    compilation = Compilation(store, DNS_SETTINGS)
    compiler = Compiler(store=store, settings=DNS_SETTINGS, compilation=compilation, identity=identity)
    tasks = [asyncio.create_task(compilation.follower.run()), asyncio.create_task(compiler.run())]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def naming(store: Store) -> AsyncIterator[NamesPart]:
    """Run the half of the dns service that answers, for the zone example.org."""
    answering = Answering(store, zone="example.org", name_server="ns", address="127.0.0.1", negative_ttl=5)
    async with answering.follower, NameServer(answering.respond, host="127.0.0.1", port=0) as server:
        await answering.follower.synced()
        yield NamesPart(answering, server)
