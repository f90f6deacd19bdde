"""What the informer keeps when lists, watches and answers to writes disagree."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, cast

import pytest
from hanse_syncer.decide.plan import Seen
from hanse_syncer.member.observed import ObservedObjects
from hanse_syncer.member.slices import ENDPOINT_SLICES, EndpointSliceStore

from hanse.errors import CompactedError, DeadlineError, UnavailableError
from hanse.kube.client.bounds import MisbehavingMemberError
from hanse.kube.client.client import KubeClient
from hanse.kube.client.informer import LASTING_SECONDS, Informer, WatchPacing
from hanse.kube.client.paging import ListPage
from hanse.kube.client.requests import GroupVersionResource
from hanse.kube.model.objects import Object
from tests.support.waiting import SECONDS, until

CONFIGMAPS = GroupVersionResource("v1", "configmaps")


class Notes:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, str]] = []
        self.lists = asyncio.Event()

    def changed(self, namespace: str, name: str, seen: Seen, live: Object | None) -> None:
        """An object is there."""
        self.changes.append((name, seen.resource_version))

    def vanished(self, namespace: str, name: str, last: dict[str, Any] | None) -> None:
        """An object is gone."""
        self.changes.append((name, "gone"))

    def listed(self) -> None:
        """A list is complete."""
        self.lists.set()


class Lists:
    """A member that answers lists from a script and whose watches stay quiet."""

    def __init__(self, *answers: list[Any]) -> None:
        self.answers = list(answers)

    async def pages(self, resource: GroupVersionResource, **_: Any) -> AsyncGenerator[ListPage, None]:
        """The next list; the last one for ever."""
        items = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        yield ListPage(items, "10")

    async def watch(self, resource: GroupVersionResource, **_: Any) -> AsyncIterator[tuple[str, Object]]:
        """Nothing happens."""
        await asyncio.Event().wait()
        yield "BOOKMARK", {}


def observed(notes: Notes, full: Callable[[], bool] = lambda: False) -> ObservedObjects:
    """What is kept of ConfigMaps."""
    return ObservedObjects(notes, metadata_only=True, full=full)


def informer(client: Lists, objects: ObservedObjects) -> Informer:
    """An informer of ConfigMaps."""
    return Informer(
        cast("KubeClient", client), CONFIGMAPS, objects, label_selector="", list_metadata=True,
        watch_metadata=True, cluster="a",
    )  # fmt: skip


def item(name: str, version: str) -> Object:
    """An object of a list."""
    return {"metadata": {"namespace": "shop", "name": name, "uid": "u", "resourceVersion": version}}


def test_the_answer_to_a_write_never_hides_what_the_watch_showed_after_it() -> None:
    """The watch may be faster than the answer; the newer version stays."""
    found = observed(Notes())
    found.note("shop", "web", Seen("u", "7"))
    found.note("shop", "web", Seen("u", "5"))
    assert found.seen("shop", "web") == Seen("u", "7")
    found.note("shop", "web", Seen("other", "3"))
    assert found.seen("shop", "web") == Seen("other", "3")


def test_of_answers_nothing_is_kept_but_what_is_there() -> None:
    """Objects that come and go for as long as one watch lasts leave nothing behind."""
    found = observed(Notes())
    for number in range(1000):
        found.note("shop", f"job-{number}", Seen("u", "7"))
        del found.known["shop", f"job-{number}"]
    assert not found.known
    assert not found._noted


async def test_a_name_that_nothing_of_ours_has_is_not_followed() -> None:
    """Some kinds have names without a bound; such an object is none of ours, and hides none."""
    notes = Notes()
    found = observed(notes)
    running = asyncio.create_task(informer(Lists([item("x" * 10_000, "7"), item("web", "7")]), found).run())
    await asyncio.wait_for(notes.lists.wait(), SECONDS)
    running.cancel()
    await asyncio.wait([running])
    assert list(found.known) == [("shop", "web")]


async def test_a_malformed_list_is_read_again_and_stops_nobody() -> None:
    """An item without metadata is a failure of that list, not of the cluster's controller."""
    notes = Notes()
    found = observed(notes)
    running = asyncio.create_task(informer(Lists([{"kind": "nonsense"}], [item("web", "7")]), found).run())
    try:
        await asyncio.wait_for(notes.lists.wait(), SECONDS)
        assert notes.changes == [("web", "7")]
        assert not running.done()
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


class Restored(Lists):
    """A member whose store is replaced by an older one while it is watched."""

    def __init__(self) -> None:
        super().__init__([item("web", "1000")], [item("web", "800")])
        self.broken = False

    async def pages(self, resource: GroupVersionResource, **_: Any) -> AsyncGenerator[ListPage, None]:
        """The next list, at its version."""
        async for listed in super().pages(resource):
            yield ListPage(listed.items, "810" if self.broken else "1010")

    async def watch(self, resource: GroupVersionResource, **asked: Any) -> AsyncIterator[tuple[str, Object]]:
        """Break once, then refuse versions to come as kube-apiserver does."""
        if not self.broken:
            self.broken = True
            raise UnavailableError("connection lost")
        if int(asked["resource_version"]) > 810:
            raise DeadlineError("Too large resource version: 1010, current: 810")
        await asyncio.Event().wait()
        yield "BOOKMARK", {}


async def test_a_restored_member_is_followed() -> None:
    """Versions that went back are believed once a list says so, and the watch goes on from there."""
    notes = Notes()
    found = observed(notes)
    running = asyncio.create_task(informer(Restored(), found).run())
    try:
        await until(lambda: notes.changes[-1:] == [("web", "800")], what="the older version is believed")
        assert found.seen("shop", "web") == Seen("u", "800")
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def test_a_watch_that_shows_ever_more_objects_is_misbehaviour() -> None:
    """What is followed is kept: objects that are known may change for ever, new ones have a bound."""

    class Flood(Lists):
        async def watch(self, resource: GroupVersionResource, **_: Any) -> AsyncIterator[tuple[str, Object]]:
            for number in range(2, 50):
                yield "MODIFIED", item("web", str(number))
            for number in range(50, 100):
                yield "ADDED", item(f"web-{number}", str(number))

    notes = Notes()
    found: ObservedObjects = observed(notes, lambda: len(found.known) >= 7)
    with pytest.raises(MisbehavingMemberError, match="more than"):
        await informer(Flood([item("web", "1")]), found).run()
    assert len(found.known) == 7
    assert ("web", "49") in notes.changes


class Restless(Lists):
    """A member that answers every list and ends every watch at once, in one of several ways."""

    def __init__(self, way: str) -> None:
        super().__init__([item("web", "1")])
        self.way = way
        self.asked = 0

    async def pages(self, resource: GroupVersionResource, **_: Any) -> AsyncGenerator[ListPage, None]:
        """Its list."""
        self.asked += 1
        yield ListPage([], "10")

    async def watch(self, resource: GroupVersionResource, **_: Any) -> AsyncIterator[tuple[str, Object]]:
        """It ends."""
        self.asked += 1
        if self.way == "410":
            raise CompactedError("too old")
        if self.way == "break":
            raise UnavailableError("connection lost")
        if self.way == "bookmark":
            yield "BOOKMARK", {"metadata": {"resourceVersion": "11"}}
        if self.way == "event":
            yield "MODIFIED", item("other", "11")


@pytest.mark.looptime
@pytest.mark.parametrize("way", ["end", "410", "break", "bookmark", "event"])
@pytest.mark.parametrize("what", ["objects", "slices"])
async def test_a_member_that_ends_every_watch_is_asked_ever_less_often(way: str, what: str) -> None:
    """Whatever it says before: it answers lists, sends events and ends in order, and cannot be followed."""
    member = Restless(way)
    if what == "objects":
        found = informer(member, observed(Notes()))
    else:
        slices = EndpointSliceStore(lambda *_: None)
        found = Informer(cast("KubeClient", member), ENDPOINT_SLICES, slices, label_selector="")
    running = asyncio.create_task(found.run())
    await asyncio.sleep(600)
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    assert 40 <= member.asked <= 110


@pytest.mark.looptime
async def test_a_watch_that_lasted_is_followed_by_the_next_at_once() -> None:
    """An orderly end after a while is what API servers do; a failure after a while is the first again."""
    pacing = WatchPacing()
    for _ in range(5):
        pacing.watching()
        assert pacing.ended() > 0
    assert pacing.wait() > 1
    for failed in (False, True):
        pacing.watching()
        await asyncio.sleep(LASTING_SECONDS)
        assert pacing.ended(failed=failed) == int(failed)
        assert (pacing.wait() > 0) == failed
    assert pacing.ended() == 2  # a list that fails is no watch
