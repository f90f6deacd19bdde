"""Objects that are large as JSON: stored packed, read as they were written, and bounded on their way out."""

from __future__ import annotations

import os
import zlib
from base64 import b64encode
from contextlib import aclosing
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.errors import InvalidArgumentError
from hanse.security.envelope import MAX_OBJECT_BYTES, PACKED_FROM, packed, unpacked
from hanse.security.keyring import new_key
from hanse.security.sealing import ObjectSealer
from hanse.store import MAX_REQUEST_BYTES, Compare, EtcdStore, Get, MemoryStore, Put, Store
from hanse.store.sealed import SealedStore
from tests.support.stores.etcd import EtcdServer

KEY = "objects/core/configmaps/shop/large"
MIB = 1024 * 1024
ESCAPED = '"\\\n' * (MIB // 3)
"""A MiB of text that JSON makes twice as long."""


def encoded(data: str = ESCAPED, **more: Any) -> bytes:
    """An object as JSON."""
    return orjson.dumps({"kind": "ConfigMap", "metadata": {"name": "large"}, "data": {"a": data}, **more})


@given(st.text(max_size=200), st.integers(0, 40_000))
def test_what_is_packed_comes_back(text: str, times: int) -> None:
    """Each JSON of an object, of whatever size; a small one is the very value that is stored."""
    value = encoded(text * min(times, 3 * MIB // max(1, len(text.encode()))))
    stored = packed(value)
    assert unpacked(stored) == value
    if len(value) < PACKED_FROM or len(value) > MAX_OBJECT_BYTES:
        assert stored is value
    else:
        assert not stored.startswith(b"{")


@pytest.mark.parametrize(
    "text", ["\x01" * MIB, ESCAPED, b64encode(os.urandom(MIB)).decode(), "\u4e00" * (MIB // 3)]
)
def test_a_mebibyte_of_data_fits_into_a_request(text: str) -> None:
    """However long JSON makes it, unless a member could not take the JSON either."""
    value = encoded(text)
    assert len(value) > MAX_OBJECT_BYTES or len(packed(value)) < MAX_REQUEST_BYTES * 0.9


def test_what_would_yield_too_much_is_not_unpacked() -> None:
    """Nor what is broken: it is given as it is, which is no JSON."""
    head = packed(encoded())[:4]
    bomb = head + zlib.compress(b"{" + b" " * (4 * MAX_OBJECT_BYTES))
    assert unpacked(bomb) is bomb
    for broken in (head, head + b"x", packed(encoded())[:-9]):
        assert unpacked(broken) is broken


async def test_readers_of_a_store_see_json(store: Store) -> None:
    """By get, list, transaction and watch, with what was there before."""
    first, second = encoded(), encoded(more=1)
    assert len(first) > MAX_REQUEST_BYTES
    revision = await store.put(KEY, first)
    found = await store.get(KEY)
    assert found is not None
    assert found.value == first
    assert [kv.value for kv in (await store.range("objects/")).items] == [first]
    done = await store.txn([Compare.mod(KEY, revision)], [Put(KEY, second)], [Get(KEY)])
    lost = await store.txn([Compare.mod(KEY, revision)], [Put(KEY, first)], [Get(KEY)])
    assert (done.succeeded, lost.succeeded) == (True, False)
    assert lost.responses[0] is not None
    assert lost.responses[0].items[0].value == second
    async with aclosing(store.watch("objects/", start_revision=revision, prev=True)) as batches:
        seen = [event async for batch in _two(batches) for event in batch.events]
    assert [event.kv.value for event in seen] == [first, second]
    assert seen[1].prev is not None
    assert seen[1].prev.value == first


async def _two(batches: Any) -> Any:
    events = 0
    async for batch in batches:
        yield batch
        events += len(batch.events)
        if events >= 2:
            return


async def test_only_large_objects_are_packed(etcd: EtcdServer) -> None:
    """What is small, and what is no object, is in etcd as it is; so is what cannot be stored, nowhere."""
    store = await EtcdStore.connect([etcd.endpoint], prefix="/packing")
    raw = await EtcdStore.connect([etcd.endpoint], prefix="/packing/objects")
    try:
        small = encoded("x")
        await store.put(KEY, encoded())
        await store.put(f"{KEY}-small", small)
        await store.put("clusters/eu", small + b" " * PACKED_FROM)
        there = {kv.key: kv.value for kv in (await raw.range("core/")).items}
        assert there["core/configmaps/shop/large"].startswith(b"HZ1\n")
        assert there["core/configmaps/shop/large-small"] == small
        found = await store.get("clusters/eu")
        assert found is not None
        assert found.value.endswith(b" ")
        with pytest.raises(InvalidArgumentError, match="larger than the") as refused:
            await store.put(KEY, encoded(os.urandom(MIB).hex() + "x" * MIB))
        assert refused.value.reason == "REQUEST_TOO_LARGE"
    finally:
        await store.close()
        await raw.close()


async def test_what_is_sealed_is_packed_before() -> None:
    """Encrypted it would be as large as it is, and would not fit."""
    inner, key = MemoryStore(), "objects/core/secrets/shop/large"
    store = SealedStore(inner, ObjectSealer([new_key()], kinds=["secrets"]))
    value = orjson.dumps(
        {"kind": "Secret", "metadata": {"name": "large"}, "data": {"a": b64encode(b"\0" * MIB).decode()}}
    )
    await store.put(key, value)
    there, found = await inner.get(key), await store.get(key)
    assert there is not None
    assert found is not None
    assert len(there.value) < len(value) // 10
    assert (found.value, found.sealed) == (value, True)
    await store.close()
