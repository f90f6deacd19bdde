"""The store over an etcd that is killed, hangs, is cut off, compacted or replaced."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from hanse.errors import OUTCOME_UNKNOWN, CompactedError, FailedPreconditionError, UnavailableError
from hanse.store import Collection, Compare, Election, EtcdStore, Follower, KeyValue, Put
from tests.store.contract import DEADLINE, Seen, collect, events
from tests.support.machine.proxy import Proxy
from tests.support.stores.etcd import EtcdServer
from tests.support.stores.follow import following
from tests.support.waiting import SECONDS, until


@pytest.fixture
async def direct(own_etcd: EtcdServer) -> AsyncIterator[EtcdStore]:
    """A store that is connected to an etcd of the test's own."""
    store = await EtcdStore.connect([own_etcd.endpoint])
    yield store
    await store.close()


@pytest.fixture
async def proxy(own_etcd: EtcdServer) -> AsyncIterator[Proxy]:
    """A proxy in front of that etcd."""
    async with Proxy(own_etcd.endpoint) as proxy:
        yield proxy


@pytest.fixture
async def cut_off(proxy: Proxy) -> AsyncIterator[EtcdStore]:
    """A store behind the proxy, which gives up after 3 seconds."""
    store = await EtcdStore.connect([proxy.endpoint], operation_timeout=3)
    yield store
    await proxy.mend()
    await store.close()


async def test_a_watch_loses_and_repeats_nothing_over_kills(own_etcd: EtcdServer, direct: EtcdStore) -> None:
    """While writers go on, etcd is killed and started three times: a watch sees exactly what history has."""
    start = await direct.revision() + 1
    stop = asyncio.Event()
    acknowledged: dict[str, int] = {}
    reasons: set[str] = set()

    async def write(writer: int) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            key = f"w/{writer}/{number}"
            try:
                done = await direct.txn([Compare.absent(key)], [Put(key, b"x"), Put(f"w/{writer}", b"")])
                acknowledged[key] = done.revision
            except UnavailableError as error:
                reasons.add(error.reason)

    async def read() -> list[Seen]:
        async with aclosing(direct.watch("w/", start_revision=start)) as watch:
            return await collect(watch, lambda seen: bool(seen) and seen[-1][1] == "w/end")

    reading = asyncio.create_task(read())
    writing = [asyncio.create_task(write(n)) for n in range(4)]
    for kills in range(1, 4):
        enough = 100 * kills
        await until(lambda enough=enough: len(acknowledged) > enough)  # type: ignore[misc]
        own_etcd.kill()
        await asyncio.sleep(0.1)  # The writers run into it.
        await asyncio.to_thread(own_etcd.start)
    await until(lambda: len(acknowledged) > 400)
    stop.set()
    async with asyncio.timeout(DEADLINE):
        await asyncio.gather(*writing)
        await direct.put("w/end", b"")
        seen = await reading

    assert reasons <= {OUTCOME_UNKNOWN}, "it waits for etcd to return unless in doubt"
    async with aclosing(direct.watch("w/", start_revision=start)) as watch:
        history = await events(watch, len(seen))
    assert seen == history
    revisions = {s[1]: s[3] for s in seen}
    assert {key: revisions.get(key) for key in acknowledged} == acknowledged
    assert len({(s[1], s[3]) for s in seen}) == len(seen)
    listed = await direct.range("w/")
    assert {kv.key: kv.mod_revision for kv in listed.items} == revisions


async def test_an_operation_waits_for_etcd_to_return(own_etcd: EtcdServer, direct: EtcdStore) -> None:
    """What was certainly not sent is sent once etcd is back, reads and writes alike."""
    await direct.put("a", b"1")
    own_etcd.kill()
    with pytest.raises(UnavailableError):  # notice that the connection is gone
        await asyncio.wait_for(_until_down(direct), SECONDS)
    calls = [asyncio.create_task(direct.put("b", b"2")), asyncio.create_task(direct.get("a"))]
    await asyncio.sleep(0.3)
    assert not any(call.done() for call in calls)
    await asyncio.to_thread(own_etcd.start)
    async with asyncio.timeout(DEADLINE):
        await asyncio.gather(*calls)
    kv = await direct.get("b")
    assert kv is not None
    assert kv.version == 1


async def _until_down(store: EtcdStore) -> None:
    quick = store._channel
    timeout, quick._timeout = quick._timeout, 0.1
    try:
        await store.get("a")
    finally:
        quick._timeout = timeout


async def test_etcd_that_is_slow_to_connect_to_is_reached(own_etcd: EtcdServer) -> None:
    """A connection may take longer than what lies between two tries."""
    async with Proxy(own_etcd.endpoint, delay=0.6) as slow:
        store = await EtcdStore.connect([slow.endpoint], prefix="/test")
        try:
            assert await store.revision() >= 1
        finally:
            await store.close()


async def test_etcd_that_stays_away_is_unavailable(proxy: Proxy, cut_off: EtcdStore) -> None:
    """After the operation timeout both reads and writes fail; a write that was never sent says so."""
    await proxy.cut()
    with pytest.raises(UnavailableError):
        await cut_off.get("a")
    began = time.monotonic()
    with pytest.raises(UnavailableError) as caught:
        await cut_off.put("a", b"1")
    assert caught.value.reason == "UNAVAILABLE"
    assert proxy.endpoint in str(caught.value)
    assert 2 < time.monotonic() - began < 8


async def test_connecting_to_nothing_fails_with_the_address() -> None:
    """connect raises when no etcd answers in time, and says where it looked."""
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1"):
        await EtcdStore.connect(["127.0.0.1:1"], operation_timeout=0.3)


async def test_a_write_whose_answer_is_lost_has_an_unknown_outcome(
    proxy: Proxy, cut_off: EtcdStore, direct: EtcdStore
) -> None:
    """It was done, nobody said so: the store neither claims nor repeats it."""
    proxy.mute()
    creating = asyncio.create_task(cut_off.txn([Compare.absent("a")], [Put("a", b"1")]))
    async with asyncio.timeout(DEADLINE):
        while await direct.get("a") is None:  # noqa: ASYNC110 - polls a store
            await asyncio.sleep(0.01)
    await proxy.cut()
    await proxy.mend()
    with pytest.raises(UnavailableError) as caught:
        await creating
    assert caught.value.reason == OUTCOME_UNKNOWN
    kv = await direct.get("a")
    assert kv is not None
    assert kv.version == 1


async def test_a_guarded_write_that_was_lost_is_sent_again(
    proxy: Proxy, cut_off: EtcdStore, direct: EtcdStore
) -> None:
    """A transaction that cannot happen twice is retried when its connection breaks, and happens once."""
    revision = await direct.put("a", b"1")
    proxy.swallow()
    updating = asyncio.create_task(cut_off.txn([Compare.mod("a", revision)], [Put("a", b"2")]))
    await asyncio.sleep(0.2)
    await proxy.cut()
    await proxy.mend()
    assert (await updating).succeeded
    kv = await direct.get("a")
    assert kv is not None
    assert (kv.value, kv.version) == (b"2", 2)


async def test_a_guarded_write_whose_answer_is_lost_is_not_called_a_conflict(
    proxy: Proxy, cut_off: EtcdStore, direct: EtcdStore
) -> None:
    """If the retry finds its compare lost, that may be by its own first attempt: the outcome is unknown."""
    revision = await direct.put("a", b"1")
    proxy.mute()
    updating = asyncio.create_task(cut_off.txn([Compare.mod("a", revision)], [Put("a", b"2")]))
    async with asyncio.timeout(DEADLINE):
        while (await direct.revision()) == revision:  # noqa: ASYNC110 - polls a store
            await asyncio.sleep(0.01)
    await proxy.cut()
    await proxy.mend()
    with pytest.raises(UnavailableError) as caught:
        await updating
    assert caught.value.reason == OUTCOME_UNKNOWN


async def test_a_watch_that_was_cut_off_resumes(proxy: Proxy, cut_off: EtcdStore, direct: EtcdStore) -> None:
    """What happened meanwhile is delivered, once."""
    start = await direct.put("w/0", b"")
    async with aclosing(cut_off.watch("w/", start_revision=start)) as watch:
        assert len(await events(watch, 1)) == 1
        await proxy.cut()
        for number in range(1, 4):
            await direct.put(f"w/{number}", b"")
        await direct.delete("w/1")
        pending = asyncio.create_task(events(watch, 4))
        await proxy.mend()
        assert [(s[0], s[1]) for s in await pending] == [
            ("put", "w/1"),
            ("put", "w/2"),
            ("put", "w/3"),
            ("delete", "w/1"),
        ]


async def test_a_watch_that_was_compacted_while_cut_off_says_so(
    proxy: Proxy, cut_off: EtcdStore, direct: EtcdStore
) -> None:
    """Mid-stream, a resume below the compaction raises; a deletion at it is not passed over in silence."""
    start = await direct.put("w/a", b"")
    async with aclosing(cut_off.watch("w/", start_revision=start)) as watch:
        await events(watch, 1)
        await proxy.cut()
        await direct.delete("w/a")
        deleted = await direct.revision()
        await direct.compact(deleted)
        pending = asyncio.create_task(events(watch, 1))
        await proxy.mend()
        with pytest.raises(CompactedError) as caught:
            await pending
        assert caught.value.compact_revision == deleted


async def test_a_follower_survives_compaction_while_cut_off(
    proxy: Proxy, cut_off: EtcdStore, direct: EtcdStore
) -> None:
    """It lists again and tells the difference, deletions included; while cut off it forgets nothing."""
    for key in ("m/same", "m/changed", "m/deleted"):
        await direct.put(key, b"old")
    told: list[tuple[str, bytes | None, bytes | None]] = []
    async with following(cut_off, "m/", _value) as things:
        things.subscribe(lambda key, old, new, _: told.append((key, old, new)))
        await proxy.cut()
        await direct.put("m/changed", b"new")
        await direct.delete("m/deleted")
        await direct.put("m/added", b"new")
        await direct.compact(await direct.revision())
        assert things.get("m/deleted") == b"old"
        await proxy.mend()
        await things.reached(await direct.revision())
        assert sorted(told, key=lambda change: change[0]) == [
            ("m/added", None, b"new"),
            ("m/changed", b"old", b"new"),
            ("m/deleted", b"old", None),
        ]


async def test_a_hanging_etcd_does_not_hang_callers(own_etcd: EtcdServer) -> None:
    """An etcd that is stopped with its connections open makes calls fail after the operation timeout."""
    store = await EtcdStore.connect([own_etcd.endpoint], operation_timeout=1)
    await store.put("a", b"1")
    own_etcd.pause()
    try:
        with pytest.raises(UnavailableError) as read:
            await store.get("a")
        with pytest.raises(UnavailableError) as written:
            await store.put("a", b"2")
    finally:
        own_etcd.resume()
    assert (read.value.reason, written.value.reason) == ("UNAVAILABLE", OUTCOME_UNKNOWN)
    assert await store.get("a") is not None
    await store.close()


async def test_a_lease_counts_as_lost_when_etcd_is_out_of_reach(
    proxy: Proxy, cut_off: EtcdStore, direct: EtcdStore
) -> None:
    """Its holder stops by itself, and another is elected."""
    leader = await Election(cut_off, "e", "one", ttl=2).campaign()
    second = asyncio.create_task(Election(direct, "e", "two", ttl=2).campaign())
    await proxy.cut()
    async with asyncio.timeout(DEADLINE):
        await leader.lost.wait()
        successor = await second
    assert successor.identity == "two"
    assert not (await direct.txn([leader.fence()], [Put("x", b"")])).succeeded
    await successor.resign()


async def test_a_lease_survives_a_restart_of_etcd(own_etcd: EtcdServer, direct: EtcdStore) -> None:
    """A short outage costs nobody the leadership."""
    leader = await Election(direct, "e", "one", ttl=20).campaign()
    own_etcd.kill()
    await asyncio.to_thread(own_etcd.start)
    assert (await direct.txn([leader.fence()], [Put("x", b"")])).succeeded
    assert not leader.lost.is_set()
    await leader.resign()


async def test_an_etcd_that_was_replaced_is_not_believed(own_etcd: EtcdServer, direct: EtcdStore) -> None:
    """If history went back, a watch and a follower stop instead of concluding that all is deleted."""
    for number in range(20):
        await direct.put("m/a", b"%d" % number)
    things = Collection("m/", _value)
    follower = Follower(direct, things)
    running = asyncio.create_task(follower.run())
    await follower.synced()
    async with aclosing(direct.watch("m/", start_revision=await direct.revision())) as watch:
        await events(watch, 1)
        pending = asyncio.create_task(events(watch, 1))
        own_etcd.kill()
        shutil.rmtree(own_etcd.directory / "data")
        await asyncio.to_thread(own_etcd.start)
        with pytest.raises(FailedPreconditionError) as caught:
            await pending
        assert caught.value.reason == "REVISION_REGRESSED"
        with pytest.raises(FailedPreconditionError):
            await follower.reached(1000)
        assert things.get("m/a") == b"19"
        with pytest.raises(FailedPreconditionError):
            await running


async def test_mutual_tls(tmp_path: Path) -> None:
    """With TLS files the store connects; without them it does not."""
    from hanse.security.pki import CertificateAuthority

    files = CertificateAuthority.create().ensure_local(tmp_path, "etcd", common_name="etcd")
    with EtcdServer(tmp_path / "etcd", tls=(files.ca, files.cert, files.key)) as server:
        store = await EtcdStore.connect([f"https://{server.endpoint}"], tls=files)
        start = await store.put("a", b"1")
        async with aclosing(store.watch("", start_revision=start)) as watch:
            assert len(await events(watch, 1)) == 1
        await store.close()
        with pytest.raises(UnavailableError):
            await EtcdStore.connect([server.endpoint], operation_timeout=0.5)


async def test_several_endpoints_survive_the_loss_of_one(own_etcd: EtcdServer, proxy: Proxy) -> None:
    """With one of two endpoints gone, the store goes on."""
    store = await EtcdStore.connect([own_etcd.endpoint, proxy.endpoint])
    await store.put("a", b"1")
    await proxy.cut()
    for _ in range(10):
        assert await store.get("a") is not None
    await store.close()


async def test_prefixes_keep_federations_apart(own_etcd: EtcdServer) -> None:
    """Two stores with different prefixes do not see each other, even where one prefix begins the other."""
    one = await EtcdStore.connect([own_etcd.endpoint], prefix="/hanse")
    two = await EtcdStore.connect([own_etcd.endpoint], prefix="/hanse2/")
    await one.put("a", b"1")
    await two.put("a", b"2")
    assert [kv.value for kv in (await one.range("")).items] == [b"1"]
    assert [kv.value for kv in (await two.range("")).items] == [b"2"]
    assert (await one.status()).version.count(".") == 2
    await one.close()
    await two.close()


def _value(kv: KeyValue) -> bytes:
    return kv.value


@pytest.mark.parametrize("more", [0, 3, 10])
async def test_an_etcd_that_lost_its_last_writes_is_not_believed(
    own_etcd: EtcdServer, proxy: Proxy, cut_off: EtcdStore, more: int
) -> None:
    """Though it has come as far again, with other writes, before a watch is back: what the watch has told is
    not there, so it stops instead of going on as if it was."""
    direct = await EtcdStore.connect([own_etcd.endpoint])
    await direct.put("m/a", b"kept")
    await direct.close()
    own_etcd.stop()
    shutil.copytree(own_etcd.directory / "data", own_etcd.directory / "copy")
    await asyncio.to_thread(own_etcd.start)
    first = await cut_off.revision() + 1
    async with aclosing(cut_off.watch("m/", start_revision=first)) as watch:
        direct = await EtcdStore.connect([own_etcd.endpoint])
        for number in range(3):
            await direct.put(f"m/lost-{number}", b"")
        await events(watch, 3)
        last = await direct.revision()
        await direct.close()
        pending = asyncio.create_task(events(watch, more + 1))
        await proxy.cut()
        own_etcd.kill()
        shutil.rmtree(own_etcd.directory / "data")
        (own_etcd.directory / "copy").rename(own_etcd.directory / "data")
        await asyncio.to_thread(own_etcd.start)
        direct = await EtcdStore.connect([own_etcd.endpoint])
        while await direct.revision() < last + more:
            await direct.put("m/other" if more else "elsewhere", b"")
        await proxy.mend()
        with pytest.raises(FailedPreconditionError) as caught:
            async with asyncio.timeout(DEADLINE):
                await pending
        assert caught.value.reason == "REVISION_REGRESSED"
        await direct.close()


async def test_a_watch_whose_last_event_is_compacted_goes_on(
    proxy: Proxy, cut_off: EtcdStore, direct: EtcdStore
) -> None:
    """It cannot be proven then that the history is the same; what is left is that nothing was missed."""
    first = await direct.put("w/a", b"1")
    async with aclosing(cut_off.watch("w/", start_revision=first)) as watch:
        assert await events(watch, 1) == [("put", "w/a", b"1", first)]
        later = 0
        for _ in range(5):
            later = await direct.put("elsewhere", b"")
        async with asyncio.timeout(DEADLINE):
            while (await anext(watch)).revision < later:
                pass
        await direct.compact(later)
        for _ in range(2):
            await proxy.cut()
            await proxy.mend()
            second = await direct.put("w/a", b"2")
            assert await events(watch, 1) == [("put", "w/a", b"2", second)]
