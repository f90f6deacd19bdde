"""The connection to a member: for which credential it is, what ends it, and a member that is left alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from hanse_syncer.cluster.connection import MemberConnection
from hanse_syncer.cluster.connector import MemberConnector
from hanse_syncer.federation.state import FederationState
from hanse_syncer.member.behaviour import Behaviour

from hanse.api.registry.v1.cluster_pb2 import ApiCatalogue, ApiResource
from hanse.errors import DataLossError
from hanse.kube.client.bounds import MisbehavingMemberError
from hanse.security.credentials import Sealer
from hanse.security.keyring import new_key
from tests.support.waiting import until


class FakeSession:
    """Runs until cancelled, or until it is told to fail."""

    def __init__(self) -> None:
        self.up = True
        self.running = False
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Run."""
        self.running = True
        try:
            await self._failure
        finally:
            self.running = False

    def fail(self, error: Exception) -> None:
        """End with an error."""
        self._failure.set_exception(error)


@dataclass
class FakeContext:
    """Takes in what is served."""

    served: list[list[str]] = field(default_factory=list)

    def serve(self, resources: Iterable[ApiResource]) -> None:
        """Note the names of the resources."""
        self.served.append([each.resource for each in resources])


@dataclass(frozen=True)
class FakeConnection:
    """What the connector needs of a connection."""

    session: FakeSession = field(default_factory=FakeSession)
    context: FakeContext = field(default_factory=FakeContext)


@dataclass
class FakeFederationState:
    """What is stored of cluster a."""

    sealed: bytes | None = None
    served: ApiCatalogue | None = None

    def credential(self, cluster: str) -> bytes | None:
        """The sealed credential."""
        assert cluster == "a"
        return self.sealed

    def catalogue(self, cluster: str) -> ApiCatalogue | None:
        """What it serves."""
        assert cluster == "a"
        return self.served


class FakeBehaviour:
    """Leaves a member alone for a while."""

    def __init__(self) -> None:
        self.pause = 0.0
        self.found: list[str] = []

    def misbehaved(self, error: MisbehavingMemberError) -> float:
        """Note what it did."""
        self.found.append(error.message)
        return self.pause


class Bench:
    """A connector of cluster a and what it stands on."""

    def __init__(self) -> None:
        self.sealer = Sealer([new_key()])
        self.federation = FakeFederationState()
        self.behaviour = FakeBehaviour()
        self.made: list[FakeConnection] = []
        self.opened: list[bool] = []
        self.refuse = 0
        self.connector = MemberConnector(
            "a",
            federation=cast(FederationState, self.federation),
            sealer=self.sealer,
            behaviour=cast(Behaviour, self.behaviour),
            connect=self._connect,
            opened=self._opened,
        )

    def _connect(self, sealed: bytes) -> MemberConnection:
        if self.refuse:
            self.refuse -= 1
            raise DataLossError("the stored credential of cluster a cannot be read")
        self.made.append(FakeConnection())
        return cast(MemberConnection, self.made[-1])

    def _opened(self, connection: MemberConnection, first: bool) -> None:
        session: Any = connection.session
        assert session is self.made[-1].session
        assert session.running, "it is told of a session that runs"
        assert self.connector.current() is connection
        self.opened.append(first)

    def store(self, credential: bytes) -> None:
        """Store a credential, sealed again."""
        self.federation.sealed = self.sealer.seal("a", credential)
        self.connector.cluster_changed()

    async def connected(self, times: int) -> FakeConnection:
        """Wait until a connection was opened for the time that is given."""
        await until(lambda: len(self.opened) >= times, what=f"connection {times} is open")
        return self.made[-1]

    async def turns(self) -> None:
        """Let the connector do whatever it has to do now."""
        for _ in range(20):
            await asyncio.sleep(0)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the connector."""
        task = asyncio.create_task(self.connector.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()


async def test_a_credential_opens_a_connection() -> None:
    """There is none before; the first one is told as such."""
    bench = Bench()
    assert (bench.connector.current(), bench.connector.latest()) == (None, None)
    async with bench.running():
        await bench.turns()
        assert bench.connector.current() is None
        bench.store(b"one")
        connection = await bench.connected(1)
        assert bench.opened == [True]
        current: Any = bench.connector.current()
        assert current is connection
    assert bench.connector.current() is None
    assert not connection.session.running


async def test_another_credential_ends_the_connection() -> None:
    """The next one is not the first: all that is known of the member is looked at again."""
    bench = Bench()
    bench.store(b"one")
    async with bench.running():
        first = await bench.connected(1)
        bench.store(b"two")
        second = await bench.connected(2)
        assert bench.opened == [True, False]
        assert (first.session.running, second.session.running) == (False, True)


async def test_what_was_only_sealed_again_is_the_same_credential() -> None:
    """A rotation of keys ends no connection."""
    bench = Bench()
    bench.store(b"one")
    async with bench.running():
        await bench.connected(1)
        bench.store(b"one")
        await bench.turns()
        assert (len(bench.made), bench.opened) == (1, [True])


async def test_what_cannot_be_opened_is_not_known_to_be_another() -> None:
    """This syncer may not have its key yet: it goes on with what it has, and looks again with the key."""
    bench = Bench()
    bench.store(b"one")
    async with bench.running():
        await bench.connected(1)
        bench.federation.sealed = Sealer([new_key()]).seal("a", b"two")
        bench.connector.cluster_changed()
        await bench.turns()
        assert bench.opened == [True]
        bench.store(b"two")
        await bench.connected(2)


async def test_a_credential_that_is_gone_ends_the_connection() -> None:
    """The cluster has left; the newest connection is still there to say what waits for it."""
    bench = Bench()
    bench.store(b"one")
    async with bench.running():
        connection = await bench.connected(1)
        bench.federation.sealed = None
        bench.connector.cluster_changed()
        await until(lambda: not connection.session.running, what="the session is over")
        latest: Any = bench.connector.latest()
        assert latest is connection
        assert bench.connector.current() is None


@pytest.mark.parametrize("broken", ["sealed", "read"])
async def test_a_credential_that_cannot_be_used_waits_for_another(broken: str) -> None:
    """It ends nothing: another one may be better."""
    bench = Bench()
    if broken == "sealed":
        bench.federation.sealed = b"junk"
    else:
        bench.refuse = 1
        bench.store(b"one")
    async with bench.running():
        await bench.turns()
        assert (bench.opened, bench.connector.current()) == ([], None)
        bench.store(b"two")
        await bench.connected(1)
        assert bench.opened == [True]


async def test_a_member_that_misbehaves_is_connected_to_again_later() -> None:
    """Its session ends; after the pause there is another one, for the same credential."""
    bench = Bench()
    bench.store(b"one")
    async with bench.running():
        connection = await bench.connected(1)
        connection.session.fail(MisbehavingMemberError("its list has no end"))
        await bench.connected(2)
    assert bench.behaviour.found == ["its list has no end"]
    assert bench.opened == [True, False]


async def test_another_credential_ends_the_pause() -> None:
    """It may be of another server; the same one sealed again is no reason."""
    bench = Bench()
    bench.behaviour.pause = 3600.0
    bench.store(b"one")
    async with bench.running():
        connection = await bench.connected(1)
        connection.session.fail(MisbehavingMemberError("its list has no end"))
        await until(lambda: bench.behaviour.found, what="it is left alone")
        bench.store(b"one")
        await bench.turns()
        assert len(bench.opened) == 1
        bench.store(b"two")
        await bench.connected(2)


async def test_what_is_not_the_members_fault_is_raised() -> None:
    """A defect of our own ends the connector, and with it the controller of the cluster."""
    bench = Bench()
    bench.store(b"one")
    running = asyncio.create_task(bench.connector.run())
    connection = await bench.connected(1)
    connection.session.fail(RuntimeError("a defect"))
    with pytest.RaisesGroup(RuntimeError):
        await running


def _serves(*names: str) -> ApiCatalogue:
    return ApiCatalogue(resources=[ApiResource(resource=name) for name in names])


async def test_each_catalogue_is_taken_in_once() -> None:
    """Every connection starts with what is known; the same catalogue wakes nobody again."""
    bench = Bench()
    bench.federation.served = _serves("configmaps")
    bench.store(b"one")
    async with bench.running():
        first = await bench.connected(1)
        bench.connector.cluster_changed()
        await bench.turns()
        assert first.context.served == [["configmaps"]]
        bench.federation.served = _serves("configmaps", "widgets")
        bench.connector.cluster_changed()
        await until(lambda: len(first.context.served) == 2, what="the catalogue is taken in")
        assert first.context.served[-1] == ["configmaps", "widgets"]
        bench.store(b"two")
        second = await bench.connected(2)
        assert second.context.served == [["configmaps", "widgets"]]


async def test_nothing_is_known_of_a_member_without_a_catalogue() -> None:
    """Nobody has looked yet what it serves."""
    bench = Bench()
    bench.store(b"one")
    async with bench.running():
        connection = await bench.connected(1)
        assert connection.context.served == []
