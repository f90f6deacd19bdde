"""An informer feeds its store what there is, whatever breaks; a list that broke off counts for nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanse.errors import CompactedError, HanseError, UnavailableError
from hanse.kube.client.bounds import FOLLOWED_NAME_CHARS, MisbehavingMemberError
from hanse.kube.client.client import KubeClient
from hanse.kube.client.informer import Informer, must_list
from hanse.kube.client.paging import ListPage
from hanse.kube.client.requests import GroupVersionResource
from hanse.kube.model.objects import Object

PODS = GroupVersionResource("v1", "pods", "Pod")


class Names:
    """A store of names and versions; a list counts only when it is committed."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}
        self.lists = 0
        self._listed: dict[str, int] = {}

    @contextmanager
    def listing(self) -> Iterator[Names]:
        """Begin a list."""
        self._listed = {}
        yield self

    def add(self, item: Object) -> None:
        """Take in an object of a list."""
        self._listed[item["metadata"]["name"]] = int(item["metadata"]["resourceVersion"])

    async def commit(self) -> None:
        """The list is complete."""
        self.known, self.lists = dict(self._listed), self.lists + 1

    def put(self, obj: Object) -> None:
        """An object changed."""
        self.known[obj["metadata"]["name"]] = int(obj["metadata"]["resourceVersion"])

    def remove(self, obj: Object) -> None:
        """An object is gone."""
        self.known.pop(obj["metadata"]["name"], None)


def pod(name: str, version: int) -> Object:
    """An object."""
    return {"metadata": {"name": name, "uid": name, "resourceVersion": str(version)}}


class Cluster:
    """A cluster with a history, which fails as a script has it: one word for each list and each watch.

    `torn`: the list breaks off after its first page. `cut`: the watch ends after one event. `gone`: the
    version is compacted. `lost`: no answer. `fine` is said for ever after.
    """

    def __init__(self, history: list[tuple[str, bool]], script: list[str]) -> None:
        self.history = history
        self.script = list(script)
        self.metadata_only: set[bool] = set()

    def state(self) -> dict[str, int]:
        """What is there at the end."""
        found: dict[str, int] = {}
        for version, (name, there) in enumerate(self.history, 1):
            if there:
                found[name] = version
            else:
                found.pop(name, None)
        return found

    def _next(self) -> str:
        return self.script.pop(0) if self.script else "fine"

    async def pages(self, resource: Any, **asked: Any) -> AsyncGenerator[ListPage, None]:
        """A list in pages of one, as it was when half of all had happened."""
        self.metadata_only.add(asked["metadata_only"])
        how = self._next()
        if how == "lost":
            raise UnavailableError("no answer")
        half = len(self.history) // 2
        found: dict[str, int] = {}
        for version, (name, there) in enumerate(self.history[:half], 1):
            found = {**found, name: version} if there else {n: v for n, v in found.items() if n != name}
        for name, version in found.items():
            yield ListPage([pod(name, version)], "", more=True)
            if how == "torn":
                raise UnavailableError("connection lost")
        yield ListPage([], str(half))

    async def watch(self, resource: Any, **asked: Any) -> AsyncIterator[tuple[str, Object]]:
        """What happened after a version, and then nothing."""
        how = self._next()
        if how == "gone":
            raise CompactedError("too old")
        if how == "lost":
            raise UnavailableError("no answer")
        start = int(asked["resource_version"])
        for version, (name, there) in enumerate(self.history[start:], start + 1):
            yield ("MODIFIED" if there else "DELETED"), pod(name, version)
            if how == "cut":
                return
        yield "BOOKMARK", {"metadata": {"resourceVersion": str(len(self.history))}}
        await asyncio.Event().wait()


def following(cluster: Any, store: Names) -> Informer:
    """An informer of pods."""
    return Informer(cast("KubeClient", cluster), PODS, store, label_selector="a=b", list_metadata=True)


@pytest.mark.looptime
@settings(max_examples=60, deadline=None)
@given(
    history=st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=12),
    script=st.lists(st.sampled_from(["torn", "cut", "gone", "lost"]), max_size=8),
)
async def test_the_store_has_what_there_is_in_the_end(
    history: list[tuple[str, bool]], script: list[str]
) -> None:
    """The law: whatever breaks, and how often, what the store has is what the cluster has."""
    cluster, store = Cluster(history, script), Names()
    running = asyncio.create_task(following(cluster, store).run())
    await asyncio.sleep(600)
    assert store.known == cluster.state()
    assert not running.done()
    running.cancel()
    await asyncio.wait([running])
    assert cluster.metadata_only == {True}


@pytest.mark.looptime
async def test_a_list_that_breaks_off_takes_nothing_away() -> None:
    """What it had not come to is not gone."""
    cluster, store = Cluster([("a", True), ("b", True), ("c", True), ("d", True)], ["fine", "gone"]), Names()
    running = asyncio.create_task(following(cluster, store).run())
    await asyncio.sleep(5)
    before = dict(store.known)
    assert set(before) == {"a", "b", "c", "d"}
    cluster.script = ["torn"] * 1000
    running.cancel()
    await asyncio.wait([running])
    again = asyncio.create_task(following(cluster, store).run())
    await asyncio.sleep(60)
    assert store.known == before
    again.cancel()
    await asyncio.wait([again])


async def test_misbehaviour_ends_it_and_long_names_are_left_out() -> None:
    """The one is a matter of the whole cluster, the other of nobody's."""

    class Flood(Cluster):
        async def watch(self, resource: Any, **asked: Any) -> AsyncIterator[tuple[str, Object]]:
            yield "ADDED", pod("x" * (FOLLOWED_NAME_CHARS + 1), 5)
            yield "ADDED", pod("x" * FOLLOWED_NAME_CHARS, 6)
            raise MisbehavingMemberError("too much")

    store = Names()
    with pytest.raises(MisbehavingMemberError):
        await following(Flood([], []), store).run()
    assert store.known == {"x" * FOLLOWED_NAME_CHARS: 6}


@pytest.mark.parametrize(
    ("error", "failures", "lists"),
    [
        (UnavailableError("x"), 1, False),
        (UnavailableError("x"), 5, True),
        (OSError("x"), 4, False),
        (HanseError("too large a version"), 1, True),
        (ValueError("x"), 1, True),
    ],
)
def test_a_watch_is_resumed_only_if_that_can_work(error: Exception, failures: int, lists: bool) -> None:
    """A cluster that is away goes on where it was; any other answer may be said for ever."""
    assert must_list(error, failures) is lists
