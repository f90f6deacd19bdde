"""What the informer keeps when lists, watches and answers to writes disagree."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, cast

from hanse_syncer.informer import Informer
from hanse_syncer.plan import Seen

from hanse.errors import DeadlineError, UnavailableError
from hanse.kube.client import KubeClient, ObjectList, ResourcePath
from hanse.kube.objects import Object
from tests.syncer.harness import until

CONFIGMAPS = ResourcePath("v1", "configmaps")


class Notes:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, str]] = []
        self.lists = asyncio.Event()

    def changed(self, namespace: str, name: str, seen: Seen, live: Object | None) -> None:
        """An object is there."""
        self.changes.append((name, seen.resource_version))

    def vanished(self, namespace: str, name: str) -> None:
        """An object is gone."""
        self.changes.append((name, "gone"))

    def listed(self) -> None:
        """A list is complete."""
        self.lists.set()


class Lists:
    """A member that answers lists from a script and whose watches stay quiet."""

    def __init__(self, *answers: list[Any]) -> None:
        self.answers = list(answers)

    async def pages(self, resource: ResourcePath, **_: Any) -> AsyncGenerator[ObjectList, None]:
        """The next list; the last one for ever."""
        items = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        yield ObjectList(items, "10")

    async def watch(self, resource: ResourcePath, **_: Any) -> AsyncIterator[tuple[str, Object]]:
        """Nothing happens."""
        await asyncio.Event().wait()
        yield "BOOKMARK", {}


def informer(client: Lists, notes: Notes) -> Informer:
    """An informer of ConfigMaps."""
    return Informer(
        cast("KubeClient", client), CONFIGMAPS, selector="", metadata_only=True, sink=notes, cluster="a"
    )


def item(name: str, version: str) -> Object:
    """An object of a list."""
    return {"metadata": {"namespace": "shop", "name": name, "uid": "u", "resourceVersion": version}}


def test_the_answer_to_a_write_never_hides_what_the_watch_showed_after_it() -> None:
    """The watch may be faster than the answer; the newer version stays."""
    found = informer(Lists([]), Notes())
    found.note("shop", "web", Seen("u", "7"))
    found.note("shop", "web", Seen("u", "5"))
    assert found.seen("shop", "web") == Seen("u", "7")
    found.note("shop", "web", Seen("other", "3"))
    assert found.seen("shop", "web") == Seen("other", "3")


async def test_a_malformed_list_is_read_again_and_stops_nobody() -> None:
    """An item without metadata is a failure of that list, not of the cluster's pipeline."""
    notes = Notes()
    found = informer(Lists([{"kind": "nonsense"}], [item("web", "7")]), notes)
    running = asyncio.create_task(found.run())
    try:
        await asyncio.wait_for(notes.lists.wait(), 5)
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

    async def pages(self, resource: ResourcePath, **_: Any) -> AsyncGenerator[ObjectList, None]:
        """The next list, at its version."""
        async for listed in super().pages(resource):
            yield ObjectList(listed.items, "810" if self.broken else "1010")

    async def watch(self, resource: ResourcePath, **asked: Any) -> AsyncIterator[tuple[str, Object]]:
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
    found = informer(Restored(), notes)
    running = asyncio.create_task(found.run())
    try:
        await until(lambda: notes.changes[-1:] == [("web", "800")], what="the older version is believed")
        assert found.seen("shop", "web") == Seen("u", "800")
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
