"""Secrets at rest: no plaintext in etcd's files, and nothing lost with the key."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from hanse_scheduler.state.records import ObjectRecord
from hanse_scheduler.state.records import decode_object as scheduler_decode
from hanse_syncer.federation.state import FederationState

from hanse.security.envelope import is_sealed
from hanse.security.keyring import Key, KeyRing, add_key, create_key_file, promote_key, read_keys, remove_keys
from hanse.security.sealing import ObjectSealer, sealed_with
from hanse.store import EtcdStore, MemoryStore
from hanse.store.keys import ObjectKey
from hanse.store.sealed import SealedStore
from tests.apiserver.world import World, namespace
from tests.support.stores.etcd import EtcdServer
from tests.support.stores.kms import PluginServer
from tests.support.waiting import until

SECRETS = "/api/v1/namespaces/shop/secrets"
KEY = ObjectKey("", "secrets", "shop", "db").key()
PLAINTEXT = "correct-horse-battery-staple"


def secret(name: str = "db", value: str = PLAINTEXT, **metadata: Any) -> dict[str, Any]:
    """A Secret as kubectl applies it: with its manifest in an annotation."""
    applied = orjson.dumps({"stringData": {"password": value}}).decode()
    annotations = {"kubectl.kubernetes.io/last-applied-configuration": applied}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": "shop", "annotations": annotations, **metadata},
        "stringData": {"password": value},
    }


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    """A key file as `hanse up` makes it."""
    create_key_file(tmp_path / "secrets.key")
    return str(tmp_path / "secrets.key")


@asynccontextmanager
async def serving(store: MemoryStore | EtcdStore, **settings: Any) -> AsyncIterator[World]:
    """An apiserver over a store that outlives it."""
    async with World(store, **settings) as world:
        yield world


async def _sealed(store: MemoryStore | EtcdStore) -> None:
    """Wait for the sweep."""
    async with asyncio.timeout(10):
        while True:
            found = await store.get(KEY)
            if found is not None and is_sealed(found.value):
                return
            await asyncio.sleep(0.01)


async def test_no_plaintext_is_in_etcds_files(tmp_path: Path, key_file: str) -> None:
    """What is written, changed, patched and deleted as a Secret is in no file of etcd in any encoding."""
    with EtcdServer(tmp_path / "etcd") as server:
        store = await EtcdStore.connect([server.endpoint])
        async with serving(store, secrets_key_file=key_file) as world:
            await world.create("/api/v1/namespaces", namespace())
            await world.create(SECRETS, secret())
            changed = secret(value=PLAINTEXT + "-2")
            answer = await world.call("PUT", f"{SECRETS}/db", changed)
            assert answer.status == 200, answer
            patch = {"stringData": {"more": PLAINTEXT}}
            merge = "application/merge-patch+json"
            assert (await world.call("PATCH", f"{SECRETS}/db", patch, content_type=merge)).status == 200
            await world.create(SECRETS, secret("gone"))
            assert (await world.call("DELETE", f"{SECRETS}/gone")).status == 200
            got = await world.get(f"{SECRETS}/db")
            assert base64.b64decode(got["data"]["password"]).decode() == PLAINTEXT + "-2"
            assert PLAINTEXT in str(got["metadata"]["annotations"])
            marker = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "marker"}}
            await world.create("/api/v1/namespaces/shop/configmaps", {**marker, "data": {"a": "find-me"}})
        await store.close()
        server.stop()
        files = [path.read_bytes() for path in (tmp_path / "etcd").rglob("*") if path.is_file()]
    assert any(b"find-me" in content for content in files), "the files are those with the data"
    for text in (PLAINTEXT.encode(), base64.b64encode(PLAINTEXT.encode())[:-4]):
        assert not any(text in content for content in files)


async def test_secrets_from_before_are_served_and_sealed(key_file: str) -> None:
    """What an older release stored plain is read, and sealed by the start; its generation stays."""
    store = MemoryStore()
    async with serving(store) as world:
        await world.create("/api/v1/namespaces", namespace())
        before = await world.create(SECRETS, secret())
    plain = await store.get(KEY)
    assert plain is not None
    assert not is_sealed(plain.value)
    async with serving(store, secrets_key_file=key_file) as world:
        await _sealed(store)
        after = await world.get(f"{SECRETS}/db")
        assert after["data"] == before["data"]
        assert after["metadata"]["uid"] == before["metadata"]["uid"]


async def test_without_the_key_a_secret_is_kept_and_nothing_else_stops(key_file: str, tmp_path: Path) -> None:
    """A key that is missing makes Secrets unreadable, not absent: none is deleted or written over, and all is
    back with the key."""
    store = MemoryStore()
    async with serving(store, secrets_key_file=key_file) as world:
        await world.create("/api/v1/namespaces", namespace())
        before = await world.create(SECRETS, secret())
    raw = await store.get(KEY)
    create_key_file(tmp_path / "other.key")
    async with serving(store, secrets_key_file=str(tmp_path / "other.key")) as world:
        shown = await world.get(f"{SECRETS}/db")
        assert "which the key file does not have" in shown["metadata"]["annotations"]["hanse.dev/unreadable"]
        assert shown["metadata"]["uid"] == before["metadata"]["uid"]
        assert "data" not in shown
        answer = await world.call("POST", SECRETS, secret(value="x"))
        assert answer.status >= 400, answer
        answer = await world.call("PUT", f"{SECRETS}/db", secret(value="x"))
        assert answer.status >= 400, answer
        await world.create(SECRETS, secret("fresh"))
    assert await store.get(KEY) == raw
    async with serving(store, secrets_key_file=key_file) as world:
        assert (await world.get(f"{SECRETS}/db"))["data"] == before["data"]
    async with serving(store, secrets_key_file=str(tmp_path / "other.key")) as world:
        answer = await world.call("DELETE", f"{SECRETS}/db")
        assert answer.status == 200, answer


async def test_the_scheduler_decides_by_the_outline_and_the_syncer_opens(key_file: str) -> None:
    """Labels, uid and instructions are there for the scheduler without a key; the syncer has the whole."""
    store = MemoryStore()
    async with serving(store, secrets_key_file=key_file) as world:
        await world.create("/api/v1/namespaces", namespace())
        selector = {"federation.alpha.kubernetes.io/cluster-selector": "[]", "note": PLAINTEXT}
        made = secret(labels={"tier": "db"}) | {"stringData": {"password": PLAINTEXT}}
        made["metadata"]["annotations"] = selector
        await world.create(SECRETS, made)
    raw = await store.get(KEY)
    assert raw is not None
    record = scheduler_decode(raw)
    assert isinstance(record, ObjectRecord)
    assert record.propagates
    assert record.reduced["metadata"]["labels"] == {"tier": "db"}
    assert record.reduced["metadata"]["annotations"] == {
        "federation.alpha.kubernetes.io/cluster-selector": "[]"
    }
    path = KEY.partition("/")[2]
    async with FederationState(SealedStore(store, ObjectSealer.from_file(key_file))) as syncer:
        intent = syncer.intent(path)
        assert intent is not None
        assert base64.b64decode(intent.object()["data"]["password"]).decode() == PLAINTEXT
    async with FederationState(SealedStore(store, ObjectSealer())) as syncer:
        assert syncer.intent(path) is None
        assert KEY in syncer.intents.broken


def _has_key(ring: KeyRing, key: Key) -> bool:
    return key in ring.keys


async def _sealed_by(store: MemoryStore, key_id: str) -> None:
    async with asyncio.timeout(20):
        while True:
            found = await store.get(KEY)
            name = sealed_with(found.value) if found is not None else None
            if name is not None and name.id == key_id:
                return
            await asyncio.sleep(0.05)


async def test_a_key_is_rotated_while_two_apiservers_serve(key_file: str) -> None:
    """One of them seals again; neither is started again."""
    store = MemoryStore()
    path = Path(key_file)
    old = read_keys(path)[0]
    async with (
        serving(store, secrets_key_file=key_file, shared=True) as one,
        serving(store, secrets_key_file=key_file, shared=True) as two,
    ):
        await one.create("/api/v1/namespaces", namespace())
        before = await one.create(SECRETS, secret())
        new = add_key(path)
        for world in (one, two):
            ring = world.apiserver._keys.ring
            await until(partial(_has_key, ring, new))
        promote_key(path, new.id)
        await _sealed_by(store, new.id)
        remove_keys(path, [old.id])
        for world in (one, two):
            ring = world.apiserver._keys.ring
            await until(lambda ring=ring: ring.keys == (new,))  # type: ignore[misc]
            found = await world.get(f"{SECRETS}/db")
            assert found["data"] == before["data"]
            assert found["metadata"]["uid"] == before["metadata"]["uid"]


async def test_a_kms_plugin_keeps_the_key(key_file: str, tmp_path: Path) -> None:
    """From a key file to a plugin; without it other kinds are served, Secrets are unreadable, and a new one
    is refused with the plugin's name; with it all is back by itself."""
    store = MemoryStore()
    async with serving(store, secrets_key_file=key_file) as world:
        await world.create("/api/v1/namespaces", namespace())
        before = await world.create(SECRETS, secret())
    async with PluginServer(tmp_path) as plugin:
        async with serving(store, secrets_key_file=key_file, secrets_kms_socket=plugin.socket):
            await _sealed_by(store, "key-1")
        async with serving(store, secrets_kms_socket=plugin.socket) as world:
            assert (await world.get(f"{SECRETS}/db"))["data"] == before["data"]
            plugin.plugin.turn("key-2")
        await plugin.stop()
        raw = await store.get(KEY)
        async with serving(store, secrets_kms_socket=plugin.socket) as world:
            shown = await world.get(f"{SECRETS}/db")
            assert "KMS plugin" in shown["metadata"]["annotations"]["hanse.dev/unreadable"]
            answer = await world.call("POST", SECRETS, secret("fresh"))
            assert answer.status == 503, answer
            assert plugin.socket in str(answer.body)
            assert (await world.call("PUT", f"{SECRETS}/db", secret(value="x"))).status >= 400
            marker = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "marker"}}
            await world.create("/api/v1/namespaces/shop/configmaps", {**marker, "data": {"a": "b"}})
            assert await store.get(KEY) == raw
            assert plugin.socket in world.apiserver._keys.problem
            await plugin.start()
            await _sealed_by(store, "key-2")
            await world.create(SECRETS, secret("fresh"))
            async with asyncio.timeout(10):
                while True:
                    if (await world.get(f"{SECRETS}/db")).get("data") == before["data"]:
                        break
                    await asyncio.sleep(0.05)
