"""Key rings that change while a service runs: in which order it is safe, and what changes nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hanse_apiserver.resealing import keep_sealed
from hanse_registry.resealing import Resealer

from hanse.security.credentials import Sealer
from hanse.security.envelope import reason
from hanse.security.keyring import (
    Key,
    KeyName,
    add_key,
    create_key_file,
    new_key,
    promote_key,
    read_keys,
    remove_keys,
    write_keys,
)
from hanse.security.rings import RingKeeper
from hanse.security.sealing import ObjectSealer
from hanse.store import Compare, MemoryStore, keys
from hanse.store.keys import ObjectKey
from hanse.store.sealed import SealedStore
from tests.support.stores.follow import following
from tests.support.waiting import SECONDS, until

ENCODED = (
    b'{"apiVersion":"v1","kind":"Secret","metadata":{"name":"db","namespace":"shop"},"data":{"a":"eA=="}}'
)


def key_of(name: str) -> str:
    """Where a Secret is stored."""
    return ObjectKey("", "secrets", "shop", name).key()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A key file with one key."""
    create_key_file(tmp_path / "secrets.key")
    return tmp_path / "secrets.key"


class Instance:
    """A service with a ring of the file `path`, over a store."""

    def __init__(self, path: Path, inner: MemoryStore) -> None:
        self.told: list[str] = []
        self.keeper = RingKeeper("secrets", key_file=str(path), tell=self.told.append)
        self.store = SealedStore(inner, ObjectSealer(self.keeper.ring, kinds=["secrets"]))
        self.keeper.follow_use(self.store.in_use, lambda: len(self.store.unreadable))

    async def readable(self, name: str) -> bool:
        """Whether it opens a Secret."""
        found = await self.store.get(key_of(name))
        assert found is not None
        return reason(found.value) is None


async def test_a_rotation_over_two_instances_is_readable_at_each_step(path: Path) -> None:
    """They see each file at different times: last before first, so that what one seals the other opens."""
    inner = MemoryStore()
    one, two = Instance(path, inner), Instance(path, inner)
    old = read_keys(path)[0]

    async def both_write_and_read() -> None:
        for name, writer in (("one", one), ("two", two)):
            await writer.store.put(key_of(name), ENCODED)
        for each in (one, two):
            assert await each.readable("one")
            assert await each.readable("two")

    await both_write_and_read()
    new = add_key(path)
    one.keeper.look()
    await both_write_and_read()
    two.keeper.look()
    await both_write_and_read()
    promote_key(path, new.id)
    one.keeper.look()
    await both_write_and_read()
    two.keeper.look()
    await both_write_and_read()
    await one.store.range("objects/")
    assert await one.store.sweep(pace=0) == 0, "both were written with the new key"
    await two.store.range("objects/")
    assert set(one.store.in_use()) == {KeyName(new.id)}
    remove_keys(path, {old.id})
    one.keeper.look()
    await both_write_and_read()
    two.keeper.look()
    await both_write_and_read()
    assert two.keeper.ring.keys == (new,)


async def test_first_at_once_is_what_the_order_is_for(path: Path) -> None:
    """A new key that is first before all can read with it is unreadable for the late ones, until they can."""
    inner = MemoryStore()
    one, two = Instance(path, inner), Instance(path, inner)
    promote_key(path, add_key(path).id)
    one.keeper.look()
    await one.store.put(key_of("one"), ENCODED)
    assert not await two.readable("one")
    two.keeper.look()
    assert await two.readable("one")


def _decode(kv: Any) -> bytes:
    if reason(kv.value) is not None:
        raise ValueError("unreadable")
    return bytes(kv.value)


async def test_what_came_before_its_key_is_listed_again_with_it(path: Path) -> None:
    """Nobody has to write it, or to start again."""
    inner = MemoryStore()
    one, two = Instance(path, inner), Instance(path, inner)
    async with following(two.store, "objects/", _decode) as objects:
        promote_key(path, add_key(path).id)
        one.keeper.look()
        await one.store.put(key_of("one"), ENCODED)
        await until(lambda: key_of("one") in objects.broken)
        two.keeper.look()
        await until(lambda: key_of("one") in objects)
        assert objects.get(key_of("one")) == ENCODED
        assert not objects.broken


def _cut(path: Path, keys: tuple[Key, ...]) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def _empty(path: Path, keys: tuple[Key, ...]) -> None:
    path.write_bytes(b"")


def _open(path: Path, keys: tuple[Key, ...]) -> None:
    path.chmod(0o644)


def _gone(path: Path, keys: tuple[Key, ...]) -> None:
    path.unlink()


def _other(path: Path, keys: tuple[Key, ...]) -> None:
    write_keys(path, [new_key()])


def _changed(path: Path, keys: tuple[Key, ...]) -> None:
    write_keys(path, [Key(keys[0].id, new_key().secret)])


def _restored(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    path.chmod(0o600)


WRONG = {
    "cut short": (_cut, "line 1: it must be ID:KEY"),
    "empty": (_empty, "there is no key in"),
    "readable by others": (_open, "run chmod 600"),
    "gone": (_gone, "cannot read the key file"),
    "without the key in use": (_other, "lacks keys that are in use"),
    "another key by the same id": (_changed, "lacks keys that are in use"),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_ring_that_cannot_be_used_changes_nothing(path: Path, wrong: str) -> None:
    """The keys of before hold; what is wrong is told with the file, until it is right again."""
    change, words = WRONG[wrong]
    one = Instance(path, MemoryStore())
    before = read_keys(path)
    content = path.read_bytes()  # noqa: ASYNC240
    await one.store.put(key_of("one"), ENCODED)
    await one.store.range("objects/")
    change(path, before)
    for _ in range(2):
        one.keeper.look()
        assert one.keeper.ring.keys == before
        assert words in one.told[-1]
        assert str(path) in one.told[-1]
        assert await one.readable("one")
        await one.store.put(key_of("one"), ENCODED)
    _restored(path, content)
    one.keeper.look()
    assert one.told[-1] == ""


async def test_a_key_may_go_when_nothing_is_sealed_with_it(path: Path) -> None:
    """Refused while something is, taken by itself once nothing is."""
    one = Instance(path, MemoryStore())
    old = read_keys(path)[0]
    await one.store.put(key_of("one"), ENCODED)
    await one.store.range("objects/")
    new = new_key()
    write_keys(path, [new])
    one.keeper.look()
    assert f"{old.id} (1 sealed with it)" in one.told[-1]
    await one.store.delete(key_of("one"))
    await one.store.range("objects/")
    one.keeper.look()
    assert one.keeper.ring.keys == (new,)
    assert one.told[-1] == ""


async def test_a_mounted_secret_is_noticed_when_its_link_turns(tmp_path: Path) -> None:
    """Kubernetes writes a new directory and renames a symbolic link onto `..data`."""
    for name in ("..1", "..2"):
        (tmp_path / name).mkdir()
        create_key_file(tmp_path / name / "secrets.key")
    write_keys(
        tmp_path / "..2" / "secrets.key",
        [*read_keys(tmp_path / "..1" / "secrets.key"), *read_keys(tmp_path / "..2" / "secrets.key")],
    )
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "secrets.key").symlink_to("..data/secrets.key")
    keeper = RingKeeper("secrets", key_file=str(tmp_path / "secrets.key"))
    running = asyncio.create_task(keeper.run())
    try:
        (tmp_path / "..tmp").symlink_to("..2")
        (tmp_path / "..tmp").rename(tmp_path / "..data")
        await until(lambda: len(keeper.ring.keys) == 2)
    finally:
        running.cancel()


async def test_objects_are_sealed_again_at_a_pace_and_go_on(path: Path) -> None:
    """A sweep that was stopped leaves the rest for the next; what another wrote meanwhile stays his."""
    inner = MemoryStore()
    one = Instance(path, inner)
    for number in range(20):
        await one.store.put(key_of(f"s{number}"), ENCODED)
    await one.store.range("objects/")
    new = add_key(path)
    promote_key(path, new.id)
    one.keeper.look()
    assert len(one.store.stale) == 20
    sweep = asyncio.create_task(one.store.sweep(pace=0.02))
    await asyncio.sleep(0.1)
    sweep.cancel()
    await asyncio.gather(sweep, return_exceptions=True)
    assert 10 < len(one.store.stale) < 20, "it is slow"
    await one.store.put(key_of("s19"), ENCODED.replace(b"eA==", b"eQ=="))
    await one.store.sweep(pace=0)
    await one.store.range("objects/")
    assert one.store.in_use() == {KeyName(new.id): 20}
    found = await one.store.get(key_of("s19"))
    assert found is not None
    assert b"eQ==" in found.value


async def test_what_is_no_object_does_not_end_sealing(path: Path) -> None:
    """It stays as it is, and all others are sealed."""
    inner = MemoryStore()
    junk = {"a": b"junk", "b": b"[]", "d": b""}
    for name, value in {**junk, "c": ENCODED, "e": ENCODED}.items():
        await inner.put(key_of(name), value)
    one = Instance(path, inner)
    running = asyncio.create_task(keep_sealed(one.store, inner, identity="one"))
    try:
        await one.store.range("objects/")
        await until(lambda: one.store.in_use().total() == 0 and not one.store.stale)
        await one.store.range("objects/")
        assert one.store.in_use().total() == 2
        for name, value in junk.items():
            found = await inner.get(key_of(name))
            assert found is not None
            assert found.value == value
        assert not running.done()
    finally:
        running.cancel()


async def test_sealing_goes_on_after_any_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that nobody has thought of."""
    inner = MemoryStore()
    one = Instance(path, inner)
    sweep, tried = one.store.sweep, []

    async def failing(*fence: Compare) -> int:
        tried.append(1)
        if len(tried) == 1:
            raise TypeError("a mistake")
        return await sweep(*fence)

    monkeypatch.setattr(one.store, "sweep", failing)
    running = asyncio.create_task(keep_sealed(one.store, inner, identity="one"))
    try:
        await until(lambda: len(tried) == 2, seconds=10)
        assert not running.done()
    finally:
        running.cancel()


async def test_one_instance_writes_at_a_time(path: Path) -> None:
    """Without the fence of the one that is elected nothing is written."""
    one = Instance(path, MemoryStore())
    await one.store.put(key_of("one"), ENCODED)
    await one.store.range("objects/")
    promote_key(path, add_key(path).id)
    one.keeper.look()
    assert await one.store.sweep(Compare.exists("elections/sealing/1"), pace=0) == 0
    await one.store.range("objects/")
    assert await one.store.sweep(Compare.absent("elections/sealing/1"), pace=0) == 1


async def test_credentials_are_sealed_again(path: Path) -> None:
    """By the registry that leads; what is broken, or whose key is gone, is left as it is."""
    store = MemoryStore()
    keeper = RingKeeper("credentials", key_file=str(path))
    sealer = Sealer(keeper.ring)
    for name in ("a", "b", "c"):
        await store.put(keys.credential(name), sealer.seal(name, name.encode()))
    await store.put(keys.credential("broken"), b"?")
    lost = Sealer([new_key()]).seal("lost", b"x")
    await store.put(keys.credential("lost"), lost)
    new = add_key(path)
    promote_key(path, new.id)
    async with following(store, "credentials/", lambda kv: kv.value) as credentials:
        resealer = Resealer(store, credentials, sealer)
        fence = Compare.absent("elections/registry/x")
        running = asyncio.create_task(resealer.run(fence, pace=0.0))
        keeper.look()
        try:
            async with asyncio.timeout(SECONDS):
                while True:
                    found = [credentials.get(keys.credential(name)) for name in ("a", "b", "c")]
                    if not any(sealer.needs_resealing("x", sealed or b"") for sealed in found):
                        break
                    await asyncio.sleep(0.01)
        finally:
            running.cancel()
        remove_keys(path, {key.id for key in keeper.ring.keys} - {new.id})
        keeper.look()
        for name, sealed in zip(("a", "b", "c"), found, strict=True):
            assert sealer.open(name, sealed or b"") == name.encode()
        assert credentials.get(keys.credential("lost")) == lost
        assert credentials.get(keys.credential("broken")) == b"?"
        assert await resealer.reseal(fence) == 0


async def test_a_key_file_that_could_not_be_read_is_read_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it has not changed since: the error was not the file's."""
    keeper = RingKeeper("secrets", key_file=str(path))
    add_key(path)
    with monkeypatch.context() as broken:
        broken.setattr(Path, "read_bytes", lambda _: (_ for _ in ()).throw(OSError("the disk is away")))
        keeper.look()
        assert "the disk is away" in keeper.problem
    keeper.look()
    assert keeper.problem == ""
    assert len(keeper.ring.keys) == 2


def test_a_key_file_stays_its_owners_and_where_it_is(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root rotates the keys of a service that is not root's; a link to the file stays a link."""
    owners: list[tuple[int, int]] = []
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("os.fchown", lambda _, uid, gid: owners.append((uid, gid)))
    link = path.with_name("link.key")
    link.symlink_to(path.name)
    new = add_key(link)
    assert link.is_symlink()
    assert read_keys(path)[-1] == new
    assert owners == [(path.stat().st_uid, path.stat().st_gid)]
