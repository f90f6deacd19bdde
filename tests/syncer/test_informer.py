"""What the informer keeps when lists, watches and answers to writes disagree."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, cast

from hanse_syncer.informer import Informer
from hanse_syncer.plan import Seen

from hanse.kube.client import KubeClient, ObjectList, ResourcePath
from hanse.kube.objects import Object

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

    async def list_metadata(self, resource: ResourcePath, **_: str) -> ObjectList:
        """The next list; the last one for ever."""
        items = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return ObjectList(items, "10")

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
