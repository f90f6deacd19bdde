"""Objects at rest: envelopes that only holders of a key open, under their own name, unchanged."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.errors import ConfigError, DataLossError
from hanse.security.envelope import MAGIC, UNREADABLE, is_sealed, outline, reason, shown
from hanse.security.keyring import new_key
from hanse.security.sealing import ObjectSealer, check_kinds, kinds_to_seal
from hanse.store import Compare, Get, MemoryStore, Put, keys
from hanse.store.sealed import SealedStore

KEY = keys.ObjectKey("", "secrets", "shop", "db").key()
OTHER = keys.ObjectKey("", "secrets", "shop", "other").key()
PLAIN = keys.ObjectKey("", "configmaps", "shop", "c").key()
SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {
        "name": "db",
        "namespace": "shop",
        "uid": "u",
        "labels": {"tier": "backend"},
        "annotations": {
            "hanse.dev/traceparent": "00-1",
            "kubectl.kubernetes.io/last-applied-configuration": "the plaintext",
        },
        "managedFields": [{"manager": "me"}],
    },
    "type": "Opaque",
    "data": {"password": "dGhlIHBsYWludGV4dA=="},
}
ENCODED = orjson.dumps(SECRET)
RING = new_key()

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def sealer(*ring: Any, kinds: tuple[str, ...] = ("secrets",)) -> ObjectSealer:
    """A sealer with these keys, or with the usual one."""
    return ObjectSealer(ring or (RING,), kinds=kinds)


def test_what_is_sealed_shows_names_and_labels_and_no_value() -> None:
    """The outline has what the scheduler needs; no data, and no annotations of others."""
    sealed = sealer().seal(KEY, ENCODED)
    assert b"plaintext" not in sealed
    assert b"dGhlIH" not in sealed
    assert orjson.loads(shown(sealed)) == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": "db",
            "namespace": "shop",
            "uid": "u",
            "labels": {"tier": "backend"},
            "annotations": {
                "hanse.dev/traceparent": "00-1",
                "kubectl.kubernetes.io/last-applied-configuration": "",
            },
        },
        "type": "",
        "data": {"password": ""},
    }
    assert sealer().open(KEY, sealed) == ENCODED
    assert shown(ENCODED) == ENCODED


@given(st.dictionaries(st.text(), values, max_size=4))
def test_any_object_comes_back_as_it_was(obj: dict[str, Any]) -> None:
    """Sealing loses nothing, whatever the object has."""
    obj = {**obj, "metadata": {"name": "x"}}
    encoded = orjson.dumps(obj)
    assert sealer().open(KEY, sealer().seal(KEY, encoded)) == encoded
    shape = outline(obj)
    assert shape.keys() == obj.keys() | {"apiVersion", "kind"}


@given(st.data())
def test_no_changed_byte_goes_unnoticed(data: st.DataObject) -> None:
    """An envelope in which anything was changed or cut off is corrupt, and opens to nothing else."""
    sealed = sealer().seal(KEY, ENCODED)
    at = data.draw(st.integers(len(MAGIC), len(sealed) - 1))
    if data.draw(st.booleans()):
        broken = sealed[:at]
    else:
        broken = sealed[:at] + bytes([sealed[at] ^ data.draw(st.integers(1, 255))]) + sealed[at + 1 :]
    with pytest.raises(DataLossError):
        sealer().open(KEY, broken)


@given(st.binary(max_size=40) | st.integers(0, 400))
async def test_whatever_is_stored_as_an_envelope_can_be_read_past(rest: bytes | int) -> None:
    """One that was cut off, or never was one, is unreadable and left alone; those beside it are read."""
    sealed = sealer().seal(KEY, ENCODED)
    broken = MAGIC + rest if isinstance(rest, bytes) else sealed[: max(rest, len(MAGIC))]
    inner = MemoryStore()
    await inner.put(OTHER, broken)
    await inner.put(KEY, sealed)
    store = SealedStore(inner, sealer())
    found = {kv.key: kv.value for kv in (await store.range("objects/")).items}
    assert found[KEY] == ENCODED
    assert reason(found[OTHER]) is not None
    await store.sweep()
    left = await inner.get(OTHER)
    assert left is not None
    assert left.value == broken


def test_what_cannot_be_opened_always_has_a_reason() -> None:
    """Even if it is stored so: with no reason it would count as readable."""
    for stored in (UNREADABLE, UNREADABLE + b"\0\0\0\0{}"):
        why = reason(stored)
        assert why is not None
        assert why[0]


def test_an_envelope_cannot_be_put_under_another_name() -> None:
    """Who can write to etcd cannot show one Secret as another."""
    with pytest.raises(DataLossError, match="another name"):
        sealer().open(OTHER, sealer().seal(KEY, ENCODED))


def test_an_unknown_key_is_named() -> None:
    """The message says which key is missing."""
    with pytest.raises(DataLossError, match=f"key {RING.id}, which the key file does not have"):
        sealer(new_key()).open(KEY, sealer().seal(KEY, ENCODED))


@pytest.mark.parametrize(
    "kind", ["services", "deployments.apps", "clusters.hanse.dev", "", "a/b", "namespaces", "jobs.batch"]
)
def test_kinds_that_others_must_read_cannot_be_sealed(kind: str) -> None:
    """The name server reads Services, the scheduler replicas and policies: sealing those is wrong input."""
    with pytest.raises(ConfigError, match="sealed_kinds"):
        check_kinds([kind])
    check_kinds(["secrets", "configmaps", "widgets.example.org", "leases.coordination.k8s.io"])


@pytest.mark.parametrize(
    "kind", ["secret", "Secrets", "secrets.", " secrets", "secrets.core", "widgets.Example.org"]
)
def test_a_word_that_would_seal_nothing_is_refused(kind: str) -> None:
    """Else Secrets would be plain, and nobody would notice."""
    with pytest.raises(ConfigError, match="sealed_kinds"):
        check_kinds([kind])


def test_secrets_are_sealed_whatever_else_is_named() -> None:
    """Naming another kind does not have them written plain at the next start."""
    assert kinds_to_seal(("widgets.example.org",)) == ("secrets", "widgets.example.org")
    assert kinds_to_seal(("widgets.example.org", "secrets")) == ("secrets", "widgets.example.org")
    assert kinds_to_seal(()) == ()


async def test_all_ways_in_seal_and_all_ways_out_open() -> None:
    """Put, transactions, lists, gets and watches: plain to whoever has the key, sealed in the store."""
    inner = MemoryStore()
    store = SealedStore(inner, sealer())
    first = await store.put(KEY, ENCODED)
    await store.put(PLAIN, b'{"data":1}')
    await store.txn([Compare.mod(KEY, first)], [Put(KEY, ENCODED), Put(OTHER, ENCODED)])
    for key in (KEY, OTHER):
        raw = await inner.get(key)
        assert raw is not None
        assert is_sealed(raw.value)
    plain = await inner.get(PLAIN)
    assert plain is not None
    assert plain.value == b'{"data":1}'
    got = await store.get(KEY)
    assert got is not None
    assert got.value == ENCODED
    listed = await store.range("objects/")
    assert [kv.value for kv in listed.items] == [b'{"data":1}', ENCODED, ENCODED]
    failed = await store.txn([Compare.mod(KEY, 1)], [Put(KEY, b"{}")], [Get(KEY)])
    assert failed.responses[0] is not None
    assert failed.responses[0].items[0].value == ENCODED
    async with aclosing(store.watch("objects/", start_revision=first, prev=True)) as watch:
        seen = [event async for batch in _until(watch, 4) for event in batch.events]
    assert {event.kv.value for event in seen} == {ENCODED, b'{"data":1}'}
    assert [e.prev.value for e in seen if e.prev] == [ENCODED]
    await store.close()


async def _until(watch: Any, events: int) -> Any:
    seen = 0
    async with asyncio.timeout(10):
        async for batch in watch:
            seen += len(batch.events)
            yield batch
            if seen >= events:
                return


async def test_what_cannot_be_opened_is_a_reason_and_stays() -> None:
    """Without the key an object is neither absent nor empty, and nothing writes over it."""
    inner = MemoryStore()
    await SealedStore(inner, sealer()).put(KEY, ENCODED)
    raw = await inner.get(KEY)
    for without in (sealer(new_key()), ObjectSealer()):
        store = SealedStore(inner, without)
        listed = await store.range("objects/")
        told = reason(listed.items[0].value)
        assert told is not None
        assert f"sealed with key {RING.id}, which the key file does not have" in told[0]
        assert orjson.loads(told[1])["metadata"]["uid"] == "u"
        assert await store.sweep() == 0
    assert await inner.get(KEY) == raw


async def test_the_sweep_seals_what_older_releases_wrote() -> None:
    """Plain Secrets are readable, and sealed by the sweep; what changed meanwhile is left to its writer."""
    inner = MemoryStore()
    for key in (KEY, OTHER, PLAIN):
        await inner.put(key, ENCODED)
    store = SealedStore(inner, sealer())
    assert [kv.value for kv in (await store.range("objects/")).items] == [ENCODED] * 3
    await inner.delete(OTHER)
    assert await store.sweep() == 1
    raw = await inner.get(KEY)
    assert raw is not None
    assert is_sealed(raw.value)
    await store.range("objects/")
    assert await store.sweep() == 0, "what is sealed is not written again"


async def test_the_sweep_follows_the_ring_and_the_setting() -> None:
    """A new first key seals again what the old one sealed; a kind taken out of the setting is plain again."""
    inner = MemoryStore()
    await SealedStore(inner, sealer()).put(KEY, ENCODED)
    new = new_key()
    rotated = SealedStore(inner, sealer(new, RING))
    await rotated.range("objects/")
    assert await rotated.sweep() == 1
    only = SealedStore(inner, sealer(new))
    found = await only.get(KEY)
    assert found is not None
    assert found.value == ENCODED
    plain = SealedStore(inner, sealer(new, kinds=()))
    await plain.range("objects/")
    assert await plain.sweep() == 1
    raw = await inner.get(KEY)
    assert raw is not None
    assert raw.value == ENCODED
