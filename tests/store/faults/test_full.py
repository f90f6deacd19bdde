"""An etcd whose quota is used up: what still works, who waits, who says so, and how it gets room again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from hanse.errors import STORE_FULL, HanseError, PermissionDeniedError, ResourceExhaustedError
from hanse.process.settings import ServiceSettings
from hanse.process.telemetry import setup
from hanse.store import Compare, Election, Get, Put
from hanse.store.admin.maintenance import StoreStatus
from hanse.store.admin.upkeep import AGAIN_SECONDS, RESERVE, History, Limits, Upkeep
from hanse.store.etcd.fullness import REMEDY, Fullness
from tests.store.contract import DEADLINE, events
from tests.support.stores.small_etcd import SmallEtcd, small_etcd
from tests.support.waiting import until

QUOTA = 8 << 20
MIB = 1 << 20


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[SmallEtcd]:
    """An etcd with a small quota."""
    async with small_etcd(tmp_path / "etcd", quota=QUOTA) as running:
        yield running


async def test_what_a_full_etcd_takes(small: SmallEtcd) -> None:
    """Reads, watches, leases that are there and deletes go on; what writes and what grants a lease is refused
    with STORE_FULL and the remedy."""
    revision = await small.store.put("a", b"1")
    lease = await small.store.grant(5)
    await small.fill()
    for refused in (
        small.store.put("b", b""),
        small.store.txn([Compare.absent("b")], [Put("b", b"")]),
        small.store.txn([Compare.absent("a")], [Put("a", b"")], [Get("a")]),
        small.store.grant(5),
        small.store.grant_once(5),
    ):
        with pytest.raises(ResourceExhaustedError, match="compact and defragment") as caught:
            await refused
        assert caught.value.reason == STORE_FULL
        assert caught.value.retry_after is None, "kubectl would wait for it instead of saying so"
    assert await small.store.get("a") is not None
    async with aclosing(small.store.watch("a", start_revision=revision)) as watch:
        assert await small.store.delete("a")
        assert [event[0] for event in await events(watch, 2)] == ["put", "delete"]
    assert not lease.lost.is_set()
    await lease.revoke()


async def test_a_candidate_waits_for_room(small: SmallEtcd) -> None:
    """An election in a full store ends nobody: the candidate leads once there is room."""
    await small.fill()
    campaign = asyncio.create_task(Election(small.store, "e", "one", ttl=5).campaign())
    await asyncio.sleep(0.2)
    assert not campaign.done()
    assert await upkeep_of(small).make_room()
    async with asyncio.timeout(DEADLINE):
        await (await campaign).resign()


def upkeep_of(small: SmallEtcd) -> Upkeep:
    """What looks after a real etcd."""
    return Upkeep(small.maintenance, revision=small.store.revision, quota=QUOTA)


async def test_room_is_made_of_history(small: SmallEtcd) -> None:
    """An etcd that is full of history is compacted and defragmented, and its alarm is taken back."""
    await small.fill()
    before = await small.maintenance.status()
    upkeep = upkeep_of(small)
    assert await upkeep.make_room()
    after = await small.maintenance.status()
    assert not after.full
    assert after.size < before.size / 2
    await small.store.put("b", b"x" * MIB)
    assert upkeep.status is not None
    assert upkeep.status.version


async def test_an_etcd_that_is_full_of_what_is_wanted_stays_so(small: SmallEtcd) -> None:
    """Nothing that is stored is given up; what an expendable part gives up makes room."""
    await small.fill(history=False)
    upkeep = upkeep_of(small)
    stored = (await small.store.range("")).count
    await upkeep.make_room()
    assert (await small.store.range("")).count == stored

    async def give_up() -> int:
        keys = [kv.key for kv in (await small.store.range("fill/", keys_only=True)).items]
        return sum([await small.store.delete(key) for key in keys])

    if (await small.maintenance.status()).full:
        upkeep = Upkeep(small.maintenance, revision=small.store.revision, quota=QUOTA, give_up=give_up)
        assert await upkeep.make_room()
    await small.store.put("b", b"x")


async def test_fullness_is_told_and_taken_back(small: SmallEtcd) -> None:
    """Who must say so hears at once, and hears when it is over."""
    told: list[str] = [""]
    following = asyncio.create_task(Fullness(small.store, told.append, ask_seconds=0.1).run())
    try:
        await small.fill()
        await until(lambda: told[-1] == REMEDY)
        assert await upkeep_of(small).make_room()
        await until(lambda: told[-1] == "")
    finally:
        following.cancel()
        await asyncio.wait([following])


async def test_old_history_is_compacted(small: SmallEtcd) -> None:
    """Whoever runs etcd: history older than the setting goes, and what is newer stays."""
    first = await small.store.put("a", b"1")
    await small.store.put("a", b"2")
    upkeep = Upkeep(small.maintenance, revision=small.store.revision, compact_seconds=0.2)
    await upkeep._look()
    await asyncio.sleep(0.3)
    newest = await small.store.put("a", b"3")
    await upkeep._look()
    with pytest.raises(HanseError, match="compacted"):
        await small.store.get("a", revision=first)
    kv = await small.store.get("a", revision=newest - 1)
    assert kv is not None
    assert kv.value == b"2"


# Without an etcd.


class FakeEtcd:
    """An etcd that is as full as it is told, and does what its answers say."""

    def __init__(self, *, size: int, in_use: int, full: bool = False) -> None:
        self.size, self.in_use, self.full = size, in_use, full
        self.history = 0
        self.done: list[str] = []
        self.denies: frozenset[str] = frozenset()

    async def status(self) -> StoreStatus:
        """As it is."""
        alarms = frozenset({"NOSPACE"}) if self.full else frozenset[str]()
        return StoreStatus("3.5.1", self.size, self.in_use, alarms=alarms)

    def _do(self, step: str) -> None:
        if step in self.denies:
            raise PermissionDeniedError("permission denied")
        self.done.append(step)

    async def compact(self, revision: int) -> None:
        """Free the history."""
        self._do("compact")
        self.in_use -= self.history
        self.history = 0

    async def defragment(self) -> None:
        """Give back what is free."""
        self._do("defragment")
        self.size = self.in_use

    async def disarm(self) -> None:
        """Take back the alarm."""
        self._do("disarm")
        self.full = False

    async def revision(self) -> int:
        """It moves on."""
        return 100 + len(self.done)


def kept(etcd: FakeEtcd, told: list[str] | None = None, *, quota: int = 100 * MIB) -> Upkeep:
    """What looks after it."""
    tell = told.append if told is not None else (lambda _: None)
    return Upkeep(etcd, revision=etcd.revision, quota=quota, tell=tell)


async def test_each_step_is_taken_only_if_needed() -> None:
    """Compaction, defragmentation and disarming of an etcd that is full; nothing of one that is not."""
    etcd = FakeEtcd(size=100 * MIB, in_use=99 * MIB, full=True)
    etcd.history = 60 * MIB
    upkeep = kept(etcd)
    assert await asyncio.gather(*(upkeep.make_room() for _ in range(5))) == [True] * 5
    assert etcd.done == ["compact", "defragment", "disarm"], "those who ask at once share an attempt"
    assert await upkeep.make_room()
    assert etcd.done == ["compact", "defragment", "disarm"]


async def test_an_attempt_in_vain_is_not_repeated_at_once() -> None:
    """A flood of deletes does not defragment over and over."""
    etcd = FakeEtcd(size=100 * MIB, in_use=100 * MIB, full=True)
    upkeep = kept(etcd)
    assert not await upkeep.make_room()
    done = list(etcd.done)
    assert "disarm" not in done, "it would be raised again at once"
    assert not await upkeep.make_room()
    assert etcd.done == done
    assert AGAIN_SECONDS > 1


async def test_growth_is_refused_before_etcd_is_full() -> None:
    """The last tenth of the quota is for deletes and the services; a user's write says what to do."""
    told: list[str] = []
    etcd = FakeEtcd(size=89 * MIB, in_use=89 * MIB)
    upkeep = kept(etcd, told)
    upkeep.check_room(1 << 40)  # nothing is known yet
    await upkeep._look()
    assert told[-1] == ""
    upkeep.check_room(MIB // 2)
    with pytest.raises(ResourceExhaustedError, match="When etcd is full") as caught:
        upkeep.check_room(MIB)
    assert caught.value.reason == STORE_FULL
    upkeep.check_room(-5)
    etcd.in_use = etcd.size = int(100 * MIB * (1 - RESERVE))
    await upkeep._look()
    assert upkeep.tight
    assert "only deletes are taken" in told[-1]
    with pytest.raises(ResourceExhaustedError):
        upkeep.check_room(1)


async def test_without_a_quota_nothing_is_refused() -> None:
    """What is unknown refuses nothing: etcd's own alarm decides."""
    etcd = FakeEtcd(size=1 << 40, in_use=1 << 40)
    upkeep = kept(etcd, quota=0)
    await upkeep._look()
    upkeep.check_room(1 << 40)
    assert not upkeep.tight


async def test_who_may_not_maintain_says_so() -> None:
    """An etcd that refuses is told of with the step and the remedy, and the other steps are tried."""
    told: list[str] = []
    etcd = FakeEtcd(size=100 * MIB, in_use=99 * MIB, full=True)
    etcd.history, etcd.denies = 60 * MIB, frozenset({"defragment"})
    upkeep = kept(etcd, told)
    await upkeep._look()
    assert etcd.done == ["compact"]
    assert "does not let this service defragment" in told[-1]
    assert "etcd_maintenance_cert" in told[-1]
    assert STORE_FULL in told[-1]


async def test_a_database_that_nears_its_quota_is_tidied_up() -> None:
    """Free space is given back before the quota is reached."""
    etcd = FakeEtcd(size=80 * MIB, in_use=40 * MIB)
    upkeep = kept(etcd)
    assert not await upkeep._look()
    assert "defragment" in etcd.done
    assert etcd.size == 40 * MIB


def test_the_limits() -> None:
    """What is near, full, and worth a defragmentation."""
    limits = Limits(100)
    assert not limits.near(StoreStatus("", 74, 0))
    assert limits.near(StoreStatus("", 75, 0))
    assert limits.near(StoreStatus("", 1, 0, alarms=frozenset({"NOSPACE"})))
    assert limits.worth_defragmenting(StoreStatus("", 50, 45))
    assert not limits.worth_defragmenting(StoreStatus("", 50, 46))
    assert limits.grown_out(StoreStatus("", 90, 80), 10)
    assert limits.grown_out(StoreStatus("", 95, 10))
    assert not limits.grown_out(StoreStatus("", 94, 89))
    assert limits.fits(StoreStatus("", 99, 99))
    assert not limits.fits(StoreStatus("", 100, 1))
    assert Limits(0).fits(StoreStatus("", 1 << 50, 0))
    assert not Limits(0).near(StoreStatus("", 1 << 50, 0))


def test_history_is_kept_by_its_age() -> None:
    """The newest revision that was there at a moment, and nothing before the first that was seen."""
    history = History()
    assert history.older_than(5) == 0
    for moment, revision in ((1, 10), (2, 20), (3, 20), (4, 40)):
        history.note(moment, revision)
    assert history.older_than(0.5) == 0
    assert history.older_than(1.5) == 10
    assert history.older_than(3.5) == 20
    assert history.older_than(9) == 40


async def test_what_is_known_is_measured() -> None:
    """Size, use, quota, fragmentation and the alarm are metrics, once etcd has answered."""
    telemetry = setup("test", ServiceSettings(), install=False)
    etcd = FakeEtcd(size=100 * MIB, in_use=25 * MIB, full=True)
    etcd.denies = frozenset({"compact", "defragment", "disarm"})
    upkeep = Upkeep(etcd, revision=etcd.revision, quota=200 * MIB, meter=telemetry.meter)
    assert b"hanse_etcd" not in telemetry.render_metrics()[0]
    await upkeep._look()
    text = telemetry.render_metrics()[0].decode()
    found = dict(line.split(" ") for line in text.splitlines() if line.startswith("hanse_etcd"))
    assert {name: float(value) for name, value in found.items()} == {
        "hanse_etcd_db_size_bytes": 100 * MIB,
        "hanse_etcd_db_in_use_bytes": 25 * MIB,
        "hanse_etcd_quota_bytes": 200 * MIB,
        "hanse_etcd_db_fragmentation": 0.75,
        "hanse_etcd_full": 1,
        "hanse_etcd_reserve_reached": 0,
        "hanse_etcd_maintenance_denied": 1,
    }
