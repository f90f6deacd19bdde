"""Keys that are not UTF-8, which another tool has written below the prefix: they stop nobody."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from hanse.errors import InvalidArgumentError
from hanse.store import EtcdStore, keys
from hanse.store.mirror import Mirror
from hanse.telemetry import _JsonRenderer
from tests.support.etcd import EtcdServer

BAD = ("clusters/\udcff", "clusters/a\udcfeb")


async def test_a_key_that_is_not_utf8_is_read_watched_and_deleted(etcd: EtcdServer) -> None:
    """A range, its next page, a watch and a delete work on such a key; a mirror serves all others."""
    store = await EtcdStore.connect([etcd.endpoint], prefix="/foreign-keys")
    try:
        await store.put(BAD[0], b"junk")
        await store.put("clusters/good", b"1")
        first = await store.range("clusters/", limit=1)
        rest = await store.range("clusters/", start_after=first.items[0].key)
        assert {first.items[0].key, *(kv.key for kv in rest.items)} == {BAD[0], "clusters/good"}
        async with asyncio.timeout(20), Mirror(store, "clusters/", lambda kv: kv.value) as mirror:
            await mirror.synced()
            await store.put(BAD[1], b"junk")
            await mirror.reached(await store.put("clusters/better", b"2"))
            assert mirror.get("clusters/good") == b"1"
            assert mirror.get("clusters/better") == b"2"
            assert mirror.get(BAD[0]) is None
        for key in BAD:
            await store.delete(key)
            assert await store.get(key) is None
    finally:
        await store.close()


@pytest.mark.parametrize("name", ["\udcff", "a\udcfeb"])
def test_no_object_has_a_name_that_is_not_utf8(name: str) -> None:
    """Such a key names no object and no sync state."""
    with pytest.raises(InvalidArgumentError):
        keys.ObjectKey.parse(f"objects/core/configmaps/default/{name}")
    with pytest.raises(InvalidArgumentError):
        keys.parse_sync_state(f"syncstates/core/configmaps/default/a/{name}")


def test_a_log_line_about_such_a_key_fails_nobody() -> None:
    """The line is JSON, with the key in it."""
    line = _JsonRenderer("test")(None, "error", {"event": "e", "subject": BAD[0], "big": 2**60})
    assert orjson.loads(line.replace("\\udcff", "?"))["subject"] == "clusters/?"
