"""The KMS v2 protocol: what is checked, and that what a plugin does wrong is unknown and not absent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hanse.api.kms.v2 import kms_pb2 as pb
from hanse.errors import ConfigError, DataLossError, UnavailableError
from hanse.process.settings import check_socket
from hanse.security import kms
from hanse.security.credentials import Sealer
from hanse.security.envelope import reason
from hanse.security.keyring import new_key
from hanse.security.kms import KmsRing, fault
from hanse.security.sealing import ObjectSealer
from hanse.store import MemoryStore
from hanse.store.keys import ObjectKey
from hanse.store.sealed import SealedStore
from tests.support.stores.follow import following
from tests.support.stores.kms import Plugin, PluginServer
from tests.support.waiting import until

KEY = ObjectKey("", "secrets", "shop", "db").key()
ENCODED = (
    b'{"apiVersion":"v1","kind":"Secret","metadata":{"name":"db","namespace":"shop"},"data":{"a":"eA=="}}'
)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[PluginServer]:
    """A plugin that works."""
    async with PluginServer(tmp_path) as found:
        yield found


@asynccontextmanager
async def polled(socket: str, **values: Any) -> AsyncIterator[KmsRing]:
    """A ring that has asked once."""
    ring = KmsRing(socket, **values)
    await ring.poll()
    try:
        yield ring
    finally:
        await ring.close()


async def test_what_one_process_seals_another_opens(server: PluginServer) -> None:
    """Each has a data key of its own; the envelope has what the plugin needs to decrypt it."""
    async with polled(server.socket) as first, polled(server.socket) as second:
        sealed = Sealer(first).seal("eu-west", b"token")
        assert b"key-1" in sealed
        assert b"version.plugin.example.org" in sealed
        other = Sealer(second)
        with pytest.raises(UnavailableError):
            other.open("eu-west", sealed)
        other = Sealer(second)
        second._wanted.clear()
        await other.fetch([sealed])
        assert other.open("eu-west", sealed) == b"token"
        assert not other.needs_resealing("eu-west", sealed)
        with pytest.raises(DataLossError):
            other.open("us-east", sealed)
        assert server.plugin.calls.count("Encrypt") == 2


async def test_another_key_makes_another_data_key(server: PluginServer) -> None:
    """What the old one sealed is stale, and still opens."""
    async with polled(server.socket) as ring:
        sealer = Sealer(ring)
        told: list[bool] = []
        ring.subscribe(lambda: told.append(True))
        sealed = sealer.seal("a", b"x")
        await ring.poll()
        assert not told, "the same key id keeps the data key"
        server.plugin.turn("key-2")
        await ring.poll()
        assert told
        assert sealer.needs_resealing("a", sealed)
        assert sealer.open("a", sealed) == b"x"
        assert b"key-2" in sealer.seal("a", b"x")


async def test_a_plugin_that_is_away(server: PluginServer) -> None:
    """What was opened is opened; what seals does so for a while, and then refuses with the plugin's name."""
    async with polled(server.socket, write_seconds=3600.0) as ring:
        sealer = Sealer(ring)
        sealed = sealer.seal("a", b"x")
        await server.stop()
        await ring.poll()
        assert "UNAVAILABLE" in ring.problem
        assert sealer.open("a", sealer.seal("a", b"y")) == b"y"
        assert ring._state is not None
        ring._state = replace(ring._state, until=0.0)  # an hour later
        assert sealer.open("a", sealed) == b"x"
        with pytest.raises(UnavailableError, match=str(server.path)) as raised:
            sealer.seal("a", b"z")
        assert raised.value.reason == kms.UNAVAILABLE
        await server.start()
        async with asyncio.timeout(10):
            while ring.problem:
                await ring.poll()
        assert sealer.open("a", sealer.seal("a", b"z")) == b"z"


def _long(plugin: Plugin) -> None:
    plugin.encrypted = pb.EncryptResponse(ciphertext=b"x" * 1025, key_id="key-1")


def _huge(plugin: Plugin) -> None:
    plugin.encrypted = pb.EncryptResponse(ciphertext=b"x" * (1 << 20), key_id="key-1")


def _other_id(plugin: Plugin) -> None:
    plugin.encrypted = pb.EncryptResponse(ciphertext=b"x", key_id="key-9")


def _bad_annotation(plugin: Plugin) -> None:
    plugin.encrypted = pb.EncryptResponse(ciphertext=b"x", key_id="key-1", annotations={"nodots": b""})


def _set(**values: Any) -> Callable[[Plugin], None]:
    def change(plugin: Plugin) -> None:
        for name, value in values.items():
            setattr(plugin, name, value)

    return change


WRONG: dict[str, tuple[Callable[[Plugin], None], str]] = {
    "unhealthy": (_set(healthz="the HSM is on fire"), "the HSM is on fire"),
    "another version": (_set(version="v1beta1"), "v1beta1"),
    "no key id": (_set(status_key_id=""), "key id is empty"),
    "a long key id": (_set(status_key_id="k" * 1025), "1025 bytes"),
    "ids that differ": (_other_id, "key-9"),
    "nothing encrypted": (_set(encrypted=pb.EncryptResponse(key_id="key-1")), "ciphertext is empty"),
    "no key id encrypted": (_set(encrypted=pb.EncryptResponse(ciphertext=b"x")), "key id is empty"),
    "a long ciphertext": (_long, "1025 bytes"),
    "a huge answer": (_huge, "RESOURCE_EXHAUSTED"),
    "a bad annotation": (_bad_annotation, "nodots"),
    "other bytes": (_set(plaintext=b"x" * 32), "to something else"),
    "no message": (_set(garbled=True), "Status: its answer cannot be read"),
    "few bytes": (_set(plaintext=b"x"), "to something else"),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_plugin_that_does_wrong_seals_nothing(server: PluginServer, wrong: str) -> None:
    """Each is said, nothing is sealed with it, and all is well once the plugin is."""
    change, words = WRONG[wrong]
    change(server.plugin)
    async with polled(server.socket) as ring:
        assert words in ring.problem
        with pytest.raises(UnavailableError, match=str(server.path)):
            Sealer(ring).seal("a", b"x")
        good = Plugin()
        vars(server.plugin).update(vars(good))
        await ring.poll()
        assert ring.problem == ""
        assert Sealer(ring).open("a", Sealer(ring).seal("a", b"x")) == b"x"


@pytest.mark.parametrize("lie", [b"x" * 32, b"x", b"", b"x" * (1 << 20)])
async def test_a_lie_about_a_data_key_is_unknown(server: PluginServer, lie: bytes) -> None:
    """A wrong data key is not taken for the right one: nothing is called corrupt, and it is asked again."""
    async with polled(server.socket) as first, polled(server.socket) as second:
        sealed = Sealer(first).seal("a", b"x")
        server.plugin.plaintext = lie
        await Sealer(second).fetch([sealed])
        with pytest.raises(UnavailableError, match="KMS plugin"):
            Sealer(second).open("a", sealed)
        server.plugin.plaintext = None
        told = asyncio.Event()
        second.subscribe(told.set)
        running = asyncio.create_task(second.run(lambda: None))
        try:
            async with asyncio.timeout(10):
                await told.wait()
            assert Sealer(second).open("a", sealed) == b"x"
        finally:
            running.cancel()


async def test_who_wants_a_data_key_waits_for_who_asks(server: PluginServer) -> None:
    """Of many at once the plugin is asked once, and all can open."""
    async with polled(server.socket) as first, polled(server.socket) as ring:
        sealed = Sealer(first).seal("a", b"x")
        server.plugin.calls.clear()

        async def read() -> bytes:
            await Sealer(ring).fetch([sealed])
            return Sealer(ring).open("a", sealed)

        assert await asyncio.gather(*(read() for _ in range(3))) == [b"x"] * 3
        assert server.plugin.calls == ["Decrypt"]


async def test_who_was_refused_meanwhile_is_told(server: PluginServer) -> None:
    """Who opens while another asks is told when there is an answer; else nobody is."""
    async with polled(server.socket) as first, polled(server.socket) as second, polled(server.socket) as ring:
        one, two = Sealer(first).seal("a", b"x"), Sealer(second).seal("a", b"y")
        told: list[bool] = []
        ring.subscribe(lambda: told.append(True))
        await Sealer(ring).fetch([one])
        assert not told
        fetching = asyncio.create_task(Sealer(ring).fetch([two]))
        await asyncio.sleep(0)
        with pytest.raises(UnavailableError, match="it is being asked"):
            Sealer(ring).open("a", two)
        await fetching
        assert told == [True]
        assert Sealer(ring).open("a", two) == b"y"


async def test_a_plugin_that_hangs_is_waited_for_once(
    server: PluginServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For all that it is asked about, by however many."""
    monkeypatch.setattr(kms, "TIMEOUT", 0.3)
    async with polled(server.socket) as ring, polled(server.socket) as third:
        sealed = [Sealer(third).seal("a", b"x")]
        for key in ("key-2", "key-3"):
            server.plugin.turn(key)
            await third.poll()
            sealed.append(Sealer(third).seal("a", b"x"))
        server.plugin.hang = True
        server.plugin.calls.clear()
        await asyncio.gather(*(Sealer(ring).fetch([each]) for each in sealed))
        assert server.plugin.calls == ["Decrypt"]
        assert "DEADLINE_EXCEEDED" in ring.problem
        for each in sealed:
            with pytest.raises(UnavailableError):
                Sealer(ring).open("a", each)
        await ring.poll()
        await Sealer(ring).fetch(sealed)
        assert server.plugin.calls == ["Decrypt", "Status"]


async def test_the_keys_of_a_file_open_what_they_have_sealed(server: PluginServer) -> None:
    """A key file beside the plugin is for the change: the plugin seals."""
    key = new_key()
    before = Sealer([key]).seal("a", b"x")
    async with polled(server.socket, keys=[key]) as ring:
        sealer = Sealer(ring)
        assert sealer.open("a", before) == b"x"
        assert sealer.needs_resealing("a", before)
        after = sealer.seal("a", b"x")
    with pytest.raises(DataLossError, match="no such plugin is set"):
        Sealer([key]).open("a", after)


async def test_sealed_objects_come_back_with_the_plugin(server: PluginServer) -> None:
    """Unreadable while it is away, never absent; listed again by those who follow when it is back."""
    inner = MemoryStore()
    async with polled(server.socket) as ring:
        await SealedStore(inner, ObjectSealer(ring, kinds=["secrets"])).put(KEY, ENCODED)
    raw = await inner.get(KEY)
    await server.stop()
    ring = KmsRing(server.socket)
    await ring.poll()
    store = SealedStore(inner, ObjectSealer(ring, kinds=["secrets"]))
    running = asyncio.create_task(ring.run(lambda: None))

    def decode(kv: Any) -> bytes:
        if reason(kv.value) is not None:
            raise ValueError("unreadable")
        return bytes(kv.value)

    try:
        async with following(store, "objects/", decode) as objects:
            assert KEY in objects.broken
            assert sum(store.in_use().values()) == 1
            with pytest.raises(UnavailableError, match="KMS plugin"):
                await store.put(KEY, ENCODED)
            assert await inner.get(KEY) == raw
            await server.start()
            await until(lambda: KEY in objects, seconds=20)
            assert objects.get(KEY) == ENCODED
            assert not store.unreadable
            server.plugin.turn("key-2")
            await ring.poll()
            assert store.stale == {KEY}
            assert await store.sweep() == 1
            assert [name.id for name in store.in_use()] in (["key-1"], ["key-2"])
            await until(lambda: [name.id for name in store.in_use()] == ["key-2"])
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await ring.close()


@pytest.mark.parametrize("socket", ["/run/kms.sock", "unix://kms.sock", "http://x", "unix:///" + "x" * 120])
def test_a_socket_that_is_none(socket: str) -> None:
    """Is a mistake in a setting."""
    with pytest.raises(ConfigError, match="secrets_kms_socket"):
        check_socket(socket, setting="secrets_kms_socket")


def test_annotations_are_bounded() -> None:
    """As kube-apiserver bounds them."""
    answer = pb.EncryptResponse(ciphertext=b"x", key_id="k", annotations={"a.example.org": b"x" * 32768})
    assert "annotations have" in fault(answer)
    answer = pb.EncryptResponse(ciphertext=b"x", key_id="k", annotations={"a.example.org.": b"x"})
    assert fault(answer) == ""
