"""Parked keys and objects in flight: what waits for a member, and what its watch says meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import cast

import pytest
from hanse_syncer.act.state_recorder import UNREACHABLE
from hanse_syncer.cluster.connection import MemberConnection
from hanse_syncer.cluster.in_flight import InFlight
from hanse_syncer.cluster.parking import ParkedKeys, ParkingReconciler
from hanse_syncer.member.behaviour import REASON
from hanse_syncer.member.client import LinkDownError
from hypothesis import given
from hypothesis import strategies as st

from hanse.control.reconcile import Result
from hanse.kube.client.bounds import MisbehavingMemberError
from tests.support.waiting import until

WEB = "core/configmaps/default/web"


@dataclass
class FakeSession:
    """The state of a link."""

    up: bool = True
    losses: int = 0
    misbehaviour: list[str] = field(default_factory=list)

    refusal: str = ""

    def lost(self, error: LinkDownError) -> None:
        """The member did not answer."""
        self.up = False
        self.losses += 1

    def misbehaved(self, error: MisbehavingMemberError) -> None:
        """The member answered too much."""
        self.up = False
        self.misbehaviour.append(error.message)


@dataclass
class FakeReconciler:
    """Reconciles by doing what it was told: it returns a result or raises."""

    outcome: Result | LinkDownError | None = None
    seen: list[str] = field(default_factory=list)
    unreached: list[tuple[str, str, str]] = field(default_factory=list)
    waits: asyncio.Event | None = None

    async def reconcile(self, path: str) -> Result | None:
        """Return or raise the outcome, when nothing holds it back."""
        self.seen.append(path)
        if self.waits is not None:
            await self.waits.wait()
        if isinstance(self.outcome, LinkDownError):
            raise self.outcome
        return self.outcome

    def unreachable(self, path: str, message: str, *, reason: str) -> None:
        """Note what is written down."""
        self.unreached.append((path, message, reason))


class Link:
    """A parking reconciler of cluster a, and what it stands on."""

    def __init__(self) -> None:
        self.queued: list[str] = []
        self.session = FakeSession()
        self.reconciler = FakeReconciler()
        self.open = True
        self.misbehaviour = ""
        self.parked = ParkedKeys(self.queued.append)
        self.connection = self.connect()
        self.parking = ParkingReconciler(
            "a",
            self.parked,
            current=lambda: self.connection if self.open else None,
            latest=lambda: self.connection,
            misbehaviour=lambda: self.misbehaviour,
        )

    def connect(self) -> MemberConnection:
        """Make another connection of the same fakes."""
        return cast(MemberConnection, _Connection(self.session, self.reconciler))


@dataclass(frozen=True)
class _Connection:
    session: FakeSession
    reconciler: FakeReconciler


def link_down(cause: BaseException | None = None) -> LinkDownError:
    """An answer that did not come, because of `cause`."""
    error = LinkDownError("cluster a did not answer")
    error.__cause__ = cause
    return error


async def test_a_member_that_answers_has_its_objects_reconciled() -> None:
    """What the reconciler returns is passed on, and nothing is parked."""
    link = Link()
    link.reconciler.outcome = Result(requeue_after=3.0)
    assert await link.parking.reconcile(WEB) == Result(requeue_after=3.0)
    assert (link.reconciler.seen, len(link.parked)) == ([WEB], 0)


async def test_a_member_that_is_down_is_not_asked() -> None:
    """The key is parked and the state says that it waits; nothing is sent."""
    link = Link()
    link.session.up = False
    assert await link.parking.reconcile(WEB) is None
    assert link.reconciler.seen == []
    assert link.reconciler.unreached == [(WEB, "cluster a does not answer", UNREACHABLE)]
    assert len(link.parked) == 1


async def test_what_a_member_did_is_said_while_it_is_left_alone() -> None:
    """The reason is that it misbehaves, with the finding as the message."""
    link = Link()
    link.session.up, link.misbehaviour = False, "its list has no end"
    await link.parking.reconcile(WEB)
    assert link.reconciler.unreached == [(WEB, "its list has no end", REASON)]


async def test_a_refused_credential_is_said_while_it_lasts() -> None:
    """In the member's words, with a reason of its own."""
    link = Link()
    link.session.up, link.session.refusal = False, "cluster a refuses the credential: Unauthorized"
    await link.parking.reconcile(WEB)
    assert link.reconciler.unreached == [(WEB, link.session.refusal, "CredentialRefused")]


async def test_between_two_connections_the_newest_says_what_waits() -> None:
    """No connection is open; before the first one there is nobody who could write anything down."""
    link = Link()
    link.open = False
    await link.parking.reconcile(WEB)
    assert link.reconciler.unreached == [(WEB, "cluster a does not answer", UNREACHABLE)]
    before = ParkingReconciler(
        "a", link.parked, current=lambda: None, latest=lambda: None, misbehaviour=lambda: ""
    )
    assert await before.reconcile("core/configmaps/default/other") is None
    assert len(link.parked) == 2


async def test_no_answer_parks_the_key_and_has_the_member_asked() -> None:
    """The member is probed by the session; the key comes back when it answers."""
    link = Link()
    link.reconciler.outcome = link_down()
    assert await link.parking.reconcile(WEB) is None
    assert (link.session.losses, link.queued) == (1, [])
    link.parked.release()
    assert (link.queued, len(link.parked)) == ([WEB], 0)


async def test_too_much_of_an_answer_ends_the_session() -> None:
    """It is no lost link: the session is told what the member did."""
    link = Link()
    link.reconciler.outcome = link_down(MisbehavingMemberError("it sent too much"))
    await link.parking.reconcile(WEB)
    assert (link.session.misbehaviour, link.session.losses) == (["it sent too much"], 0)
    assert len(link.parked) == 1


async def test_a_connection_that_was_replaced_meanwhile_takes_nothing_down() -> None:
    """The next one has released the parked keys already, so this key is queued at once."""
    link = Link()
    link.reconciler.outcome = link_down()
    link.reconciler.waits = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(link.parking.reconcile(WEB))
        await until(lambda: link.reconciler.seen, what="the reconcile is under way")
        link.connection = link.connect()
        link.reconciler.waits.set()
    assert running.result() is None
    assert (link.queued, link.session.losses, len(link.parked)) == ([WEB], 0, 0)


@given(st.lists(st.sampled_from(["park a", "park b", "park c", "release"])))
def test_each_parked_key_is_queued_once_by_the_next_release(steps: list[str]) -> None:
    """However often it was parked; in order; and what was queued is parked no more."""
    queued: list[str] = []
    parked = ParkedKeys(queued.append)
    expected: set[str] = set()
    for step in steps:
        action, _, key = step.partition(" ")
        if action == "park":
            parked.park(key)
            expected.add(key)
        else:
            queued.clear()
            parked.release()
            assert queued == sorted(expected)
            expected.clear()
        assert len(parked) == len(expected)


def test_a_key_that_is_parked_while_others_are_queued_waits_for_the_next_time() -> None:
    """Queueing may park again at once: that is not an endless loop."""
    rounds: list[str] = []

    def add(key: str) -> None:
        rounds.append(key)
        parked.park(key)

    parked = ParkedKeys(add)
    parked.park("a")
    parked.release()
    assert (rounds, len(parked)) == (["a"], 1)


def test_what_is_said_of_an_object_in_flight_is_held_back() -> None:
    """The last word counts, after the reconcile, and once."""
    heard: list[int] = []
    in_flight = InFlight()
    with in_flight.reconciling("a"):
        assert in_flight.defer("a", lambda: heard.append(1))
        assert in_flight.defer("a", lambda: heard.append(2))
        assert not in_flight.defer("b", lambda: heard.append(3))
        assert heard == []
    assert heard == [2]
    assert not in_flight.defer("a", lambda: heard.append(4))
    with in_flight.reconciling("a"):
        pass
    assert heard == [2]


def test_a_reconcile_that_fails_holds_nothing_back_for_ever() -> None:
    """Whatever ends it, what was said meanwhile is heard."""
    heard: list[str] = []
    in_flight = InFlight()

    def fail() -> None:
        with in_flight.reconciling("a"):
            in_flight.defer("a", lambda: heard.append("a"))
            raise LinkDownError("gone")

    with pytest.raises(LinkDownError):
        fail()
    assert heard == ["a"]


def test_what_is_heard_sees_the_object_out_of_flight() -> None:
    """The notification may ask for the object to be queued, and is not held back again."""
    answers: list[bool] = []
    in_flight = InFlight()
    with in_flight.reconciling("a"):
        in_flight.defer("a", lambda: answers.append(in_flight.defer("a", lambda: None)))
    assert answers == [False]
