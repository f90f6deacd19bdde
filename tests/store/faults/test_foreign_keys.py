"""Keys that nobody here writes, which another tool has written below the prefix: they stop nobody."""

from __future__ import annotations

import asyncio

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.errors import InvalidArgumentError
from hanse.process.telemetry import _JsonRenderer
from hanse.store import EtcdStore, MemoryStore, keys
from tests.support.stores.etcd import EtcdServer
from tests.support.stores.follow import following

BAD = ("clusters/\udcff", "clusters/a\udcfeb")


async def test_a_key_that_is_not_utf8_is_read_watched_and_deleted(etcd: EtcdServer) -> None:
    """A range, its next page, a watch and a delete work on such a key; a follower serves all others."""
    store = await EtcdStore.connect([etcd.endpoint], prefix="/foreign-keys")
    try:
        await store.put(BAD[0], b"junk")
        await store.put("clusters/good", b"1")
        first = await store.range("clusters/", limit=1)
        rest = await store.range("clusters/", start_after=first.items[0].key)
        assert {first.items[0].key, *(kv.key for kv in rest.items)} == {BAD[0], "clusters/good"}
        async with asyncio.timeout(20), following(store, "clusters/", lambda kv: kv.value) as found:
            await store.put(BAD[1], b"junk")
            await found.reached(await store.put("clusters/better", b"2"))
            assert found.get("clusters/good") == b"1"
            assert found.get("clusters/better") == b"2"
            assert found.get(BAD[0]) is None
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


OBJECT_PREFIXES = (keys.OBJECTS, keys.PLACEMENTS)
NAMES = st.one_of(
    st.sampled_from(
        ["", "a", "x" * keys.MAX_SEGMENT, "x" * (keys.MAX_SEGMENT + 1), "a/b", "..", "\x00", "\x7f"]
    ),
    st.text(max_size=8),
)


@given(prefix=st.sampled_from(OBJECT_PREFIXES), parts=st.lists(NAMES, min_size=4, max_size=4))
def test_what_is_read_as_a_key_of_an_object_can_be_written_again(prefix: str, parts: list[str]) -> None:
    """Whoever reads a key can name the object by it; what cannot be written is the key of nothing."""
    key = "/".join([prefix, *parts])
    try:
        found = keys.ObjectKey.parse(key)
    except InvalidArgumentError:
        with pytest.raises(InvalidArgumentError):
            keys.check(key)
        return
    assert found.key(prefix) == key
    keys.check(key)
    state = f"{keys.SYNCSTATES}/{found.path()}/eu"
    assert keys.parse_sync_state(state) == (found, "eu")
    assert found.sync_state("eu") == state


@pytest.mark.parametrize(
    "key",
    ["clusters/", "clusters/a/b", "clusters/a/", "clusters/a\x01b", f"clusters/{'x' * 600}", "federation/x",
     "records/z", "members/syncer", "elections/registry", "orphans/a/b", "syncstates/a/b/c/d", "\udcff"],
)  # fmt: skip
async def test_a_follower_takes_no_key_for_what_nobody_writes(key: str) -> None:
    """Its value may be fine: what it would be of cannot be said. It is named as broken."""
    store = MemoryStore()
    await store.put(key, b"fine")
    async with asyncio.timeout(10), following(store, key[:1], lambda kv: kv.value) as found:
        assert found.get(key) is None
        assert key in found.broken


def test_every_key_that_is_made_here_is_one() -> None:
    """The table of forms is that of the functions that make keys."""
    made = (
        keys.ObjectKey("", "configmaps", "shop", "a").key(),
        keys.ObjectKey("g", "r", "", "a").sync_state("eu"),
        keys.cluster("eu"), keys.catalogue("eu"), keys.credential("eu"), keys.member_report("eu"),
        keys.orphans("eu"), keys.record("example.org", "a"), f"{keys.election('registry')}1f",
        keys.member("syncer", "host-1"), keys.FEDERATION,
    )  # fmt: skip
    for key in made:
        keys.check(key)
    assert keys.parse_cluster(keys.cluster("eu")) == "eu"
    with pytest.raises(InvalidArgumentError):
        keys.parse_cluster(keys.catalogue("eu"))
