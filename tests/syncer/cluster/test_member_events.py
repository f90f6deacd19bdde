"""What a member reports, made into keys of the queue: what is known already queues nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from hanse_syncer.act.request import TransientState
from hanse_syncer.cluster.connection import MemberConnection
from hanse_syncer.cluster.in_flight import InFlight
from hanse_syncer.cluster.member_events import REPORT_WINDOW_SECONDS, MemberEventHandler
from hanse_syncer.decide.plan import Seen
from hanse_syncer.federation.state import FederationState
from hanse_syncer.orphans.scanner import OrphanScanner
from hanse_syncer.report.state_table import SyncStateTable

from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.api.syncer.v1.sync_state_pb2 import SyncState, ZoneEndpoints
from hanse.control.queue import WorkQueue
from hanse.store import BatchWriter, Compare, MemoryStore

WEB = "core/configmaps/default/web"
SERVICE = "core/services/default/web"


@dataclass
class FakeSession:
    """What a link shows."""

    up: bool = True
    shown: set[str] = field(default_factory=set)
    ready: list[ZoneEndpoints] | None = None

    def shows(self, path: str) -> bool:
        """Whether the member has the object."""
        return path in self.shown

    def endpoints(self, namespace: str, service: str) -> list[ZoneEndpoints] | None:
        """The ready endpoints."""
        assert (namespace, service) == ("default", "web")
        return self.ready


class FakeContext:
    """What is kept of objects."""

    def __init__(self) -> None:
        self.transients: dict[str, TransientState] = {}

    def transient(self, path: str) -> TransientState:
        """What is kept of one object."""
        return self.transients.setdefault(path, TransientState())


@dataclass(frozen=True)
class FakeConnection:
    """What the handler needs of a connection."""

    session: FakeSession
    context: FakeContext


class FakeOrphans:
    """Notes what the orphan scanner is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def consider(self, path: str) -> None:
        """It may be an orphan."""
        self.told.append(("consider", path))

    def changed(self, path: str) -> None:
        """It changed."""
        self.told.append(("changed", path))

    def scan_soon(self) -> None:
        """Everything may have changed."""
        self.told.append(("scan_soon", ""))


@dataclass
class FakeFederationState:
    """What the federation has at a path."""

    intents: set[str] = field(default_factory=set)
    placements: set[str] = field(default_factory=set)

    def intent(self, path: str) -> object | None:
        """An intent, if there is one."""
        return path if path in self.intents else None

    def tombstone(self, path: str) -> object | None:
        """Nothing was deleted."""
        return None

    def placement(self, path: str) -> object | None:
        """A placement, if there is one."""
        return path if path in self.placements else None


class Bench:
    """A handler of cluster a, and what it stands on."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.session, self.context = FakeSession(), FakeContext()
        self.open: bool | None = True
        self.queue = WorkQueue("test")
        self.orphans, self.federation, self.in_flight = FakeOrphans(), FakeFederationState(), InFlight()
        self.states = SyncStateTable(
            BatchWriter(MemoryStore(), spacing=0.0), "a", fence=lambda: Compare.exists("lease")
        )
        connection: Any = FakeConnection(self.session, self.context)
        self.handler = MemberEventHandler(
            federation=cast(FederationState, self.federation),
            states=self.states,
            queue=self.queue,
            orphans=cast(OrphanScanner, self.orphans),
            in_flight=self.in_flight,
            latest=lambda: cast(MemberConnection, connection) if self.open is not None else None,
            current=lambda: cast(MemberConnection, connection) if self.open else None,
            monotonic=lambda: self.now,
        )

    def applied(self, paths: Iterable[str] = (WEB,), phase: sync.SyncPhase.ValueType = sync.APPLIED) -> None:
        """Have sync states of objects with uid u in resourceVersion 1."""
        self.states.load(
            [(path, SyncState(phase=phase, member_uid="u", member_resource_version="1")) for path in paths]
        )

    async def queued(self) -> list[str]:
        """Take what is in the queue."""
        found: list[str] = []
        while len(self.queue):
            key = await self.queue.get()
            self.queue.done(key)
            found.append(key)
        return found


@pytest.fixture
async def bench() -> Bench:
    """A handler."""
    return Bench()


async def test_what_the_state_says_already_queues_nothing(bench: Bench) -> None:
    """That is the echo of an apply, or a list of what is known."""
    bench.applied()
    bench.handler.changed(WEB, Seen("u", "1"), {"kind": "ConfigMap"})
    assert await bench.queued() == []
    assert bench.context.transients == {}


@pytest.mark.parametrize("seen", [Seen("u", "2"), Seen("other", "1")])
async def test_another_version_or_object_is_queued_with_what_came(bench: Bench, seen: Seen) -> None:
    """The whole object is kept until it is compared."""
    bench.applied()
    bench.handler.changed(WEB, seen, {"kind": "ConfigMap"})
    assert await bench.queued() == [WEB]
    assert bench.context.transients[WEB].live == {"kind": "ConfigMap"}
    assert bench.context.transients[WEB].queued_at == bench.now


async def test_an_object_that_changes_all_the_time_is_queued_a_few_times_a_second(bench: Bench) -> None:
    """The newest object is kept; the key comes when the window is over."""
    bench.applied()
    bench.handler.changed(WEB, Seen("u", "2"), {"number": 2})
    assert await bench.queued() == [WEB]
    bench.now += REPORT_WINDOW_SECONDS / 2
    bench.handler.changed(WEB, Seen("u", "3"), {"number": 3})
    assert await bench.queued() == []
    assert bench.context.transients[WEB].live == {"number": 3}
    bench.now += REPORT_WINDOW_SECONDS
    bench.handler.changed(WEB, Seen("u", "4"), {"number": 4})
    assert WEB in await bench.queued()


@pytest.mark.parametrize("closed", [False, True])
async def test_nothing_is_kept_of_a_member_that_is_away(bench: Bench, closed: bool) -> None:
    """The object would be old when it is looked at."""
    bench.applied()
    if closed:
        bench.open = False
    else:
        bench.session.up = False
    bench.handler.changed(WEB, Seen("u", "2"), {"kind": "ConfigMap"})
    assert await bench.queued() == [WEB]
    assert bench.context.transients[WEB].live is None


async def test_before_the_first_connection_nobody_reports(bench: Bench) -> None:
    """What comes without one is left."""
    bench.applied()
    bench.open = None
    bench.handler.changed(WEB, Seen("u", "2"), None)
    assert await bench.queued() == []


@pytest.mark.parametrize("known", ["intents", "placements"])
async def test_what_the_federation_knows_is_reconciled_though_it_has_no_state(
    bench: Bench, known: str
) -> None:
    """It is placed here and new, or was restored."""
    getattr(bench.federation, known).add(WEB)
    bench.handler.changed(WEB, Seen("u", "1"), None)
    assert await bench.queued() == [WEB]
    assert bench.orphans.told == []


async def test_what_nothing_explains_is_for_the_orphan_scanner(bench: Bench) -> None:
    """It is never queued: there is nothing that it should be."""
    bench.handler.changed(WEB, Seen("u", "1"), None)
    assert await bench.queued() == []
    assert bench.orphans.told == [("consider", WEB)]


@pytest.mark.parametrize(
    ("phase", "queued"), [(sync.APPLIED, [WEB]), (sync.REMOVING, [WEB]), (sync.REMOVED, [])]
)
async def test_what_vanished_is_asked_for_unless_it_was_to(
    bench: Bench, phase: sync.SyncPhase.ValueType, queued: list[str]
) -> None:
    """The orphan scanner is told in any case: it may be on the report."""
    bench.applied(phase=phase)
    bench.handler.vanished(WEB)
    assert await bench.queued() == queued
    assert bench.orphans.told == [("changed", WEB)]


async def test_what_vanished_without_a_state_queues_nothing(bench: Bench) -> None:
    """Nothing is known of it that could be wrong."""
    bench.handler.vanished(WEB)
    assert await bench.queued() == []


async def test_what_is_said_of_an_object_in_flight_is_judged_by_the_state_after_it(bench: Bench) -> None:
    """The echo of the write that is under way queues nothing; what came after it does."""
    bench.applied()
    with bench.in_flight.reconciling(WEB):
        bench.handler.changed(WEB, Seen("u", "2"), None)
        bench.states.load([(WEB, SyncState(phase=sync.APPLIED, member_uid="u", member_resource_version="2"))])
    assert await bench.queued() == []
    with bench.in_flight.reconciling(WEB):
        bench.handler.changed(WEB, Seen("u", "3"), None)
        assert await bench.queued() == []
    assert await bench.queued() == [WEB]
    with bench.in_flight.reconciling(WEB):
        bench.handler.vanished(WEB)
        assert bench.orphans.told == []
    assert await bench.queued() == [WEB]


async def test_what_a_list_lacks_is_asked_for_by_name(bench: Bench) -> None:
    """Of the resource that was listed, what should be there and is not shown; nothing follows from it yet."""
    shown, lacking = f"{WEB}-shown", f"{WEB}-lacking"
    bench.applied([shown, lacking, SERVICE])
    bench.session.shown.add(shown)
    bench.handler.listed("core/configmaps/")
    assert await bench.queued() == [lacking]
    assert bench.orphans.told == [("scan_soon", "")]


async def test_what_was_removed_is_missing_from_no_list(bench: Bench) -> None:
    """It is as it should be."""
    bench.applied(phase=sync.REMOVED)
    bench.handler.listed("core/configmaps/")
    assert await bench.queued() == []


async def test_a_list_of_a_connection_that_is_over_says_nothing(bench: Bench) -> None:
    """The next one lists again."""
    bench.applied()
    bench.open = False
    bench.handler.listed("core/configmaps/")
    assert await bench.queued() == []


async def test_endpoints_go_into_the_state_of_their_service(bench: Bench) -> None:
    """The Service is not reconciled for that; what is not known changes nothing."""
    bench.applied([SERVICE])
    bench.handler.endpoints_changed("default", "web")
    before = bench.states.get(SERVICE)
    assert before is not None
    assert not before.ready_endpoints
    bench.session.ready = [ZoneEndpoints(zone="1", ready=2)]
    bench.handler.endpoints_changed("default", "web")
    after = bench.states.get(SERVICE)
    assert after is not None
    assert [(each.zone, each.ready) for each in after.ready_endpoints] == [("1", 2)]
    assert await bench.queued() == []


@pytest.mark.parametrize("why", ["removed", "unknown", "closed"])
async def test_endpoints_of_a_service_that_is_not_there_are_nobodys(bench: Bench, why: str) -> None:
    """No state comes into being by them."""
    bench.session.ready = [ZoneEndpoints(zone="1", ready=2)]
    if why != "unknown":
        bench.applied([SERVICE], sync.REMOVED if why == "removed" else sync.APPLIED)
    bench.open = why != "closed"
    before = bench.states.get(SERVICE)
    bench.handler.endpoints_changed("default", "web")
    assert bench.states.get(SERVICE) == before
