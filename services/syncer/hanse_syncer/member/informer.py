"""What a member shows of our objects of one resource: a list of metadata, then a watch.

Owns `Informer`. It remembers uid and resourceVersion of each object and nothing else; a whole object that
the watch brings is handed on once. It survives everything: a watch that ends resumes at its last version, a
compacted one lists again, a member that does not answer, or ends what it began, is asked again with growing
delays. A member that misbehaves is no matter of one resource: MisbehavingMemberError ends it.

What it does not show proves nothing. An object that is missing from a new list, or that the watch says is
deleted (which is also what a label taken off looks like), is reported as `vanished`, and whoever cares asks
for it by name.

Concurrency: one task per informer. Next: `hanse_syncer.cluster.controller`, which has one for each resource
in use.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Any, Protocol

from hanse.boundary import Boundary
from hanse.control.queue import Backoff
from hanse.errors import CompactedError, HanseError, ResourceExhaustedError, UnavailableError
from hanse.kube.client.bounds import FOLLOWED_NAME_CHARS, FOLLOWED_OBJECTS, MisbehavingMemberError
from hanse.kube.client.client import KubeClient
from hanse.kube.client.requests import GroupVersionResource
from hanse.kube.model.objects import Object
from hanse.numbers import whole_number
from hanse.process.telemetry import get_logger
from hanse_syncer.decide.plan import Seen

_log = get_logger(__name__)
_BACKOFF = Backoff(base=0.2, limit=15.0, jitter=0.3)
_WATCH_SECONDS = 290
LASTING_SECONDS = 10.0
"""A watch that lasts so long shows that the member can be followed."""
SLICE = 200
"""Objects of a list that are taken in before the event loop has a turn."""


class Sink(Protocol):
    """Who is told. Methods are called in the informer's task and must be quick."""

    def changed(self, namespace: str, name: str, seen: Seen, live: Object | None) -> None:
        """The object is there; `live` is the whole of it where the watch brought it."""

    def vanished(self, namespace: str, name: str) -> None:
        """The object is no longer shown."""

    def listed(self) -> None:
        """A list is complete."""


class Informer:
    """Follows our objects of one resource in one member."""

    def __init__(
        self,
        client: KubeClient,
        resource: GroupVersionResource,
        *,
        selector: str,
        metadata_only: bool,
        sink: Sink,
        cluster: str,
        full: Callable[[], bool] = lambda: False,
    ) -> None:
        """`full` says that no more objects of the member can be followed."""
        self.resource = resource
        self.known: dict[tuple[str, str], Seen] = {}
        self.is_listed = False
        self._noted: set[tuple[str, str]] | None = None
        """What answers have spoken of since the list under way began; None without one."""
        self._client = client
        self._selector = selector
        self._metadata_only = metadata_only
        self._sink = sink
        self._full = full
        self._log = _log.bind(cluster=cluster, resource=resource.plural, api_version=resource.api_version)
        self._boundary = Boundary("member objects")

    def seen(self, namespace: str, name: str) -> Seen | None:
        """Return what is known of an object."""
        return self.known.get((namespace, name))

    def note(self, namespace: str, name: str, seen: Seen) -> None:
        """Take in what an answer about the object said, so that the watch's echo of it is no news.

        The watch may be ahead of the answer: then what it showed stays, and is looked at.
        """
        if self._noted is not None:
            self._noted.add((namespace, name))
        known = self.known.get((namespace, name))
        if known is None or known.uid != seen.uid or _newer(seen, known):
            self.known[namespace, name] = seen

    async def run(self) -> None:
        """List and watch until cancelled. Raises MisbehavingMemberError."""
        turns = Turns()
        version = ""
        while True:
            try:
                if not version:
                    version = await self._list()
                turns.watching()
                async for newer in self._watch(version):
                    version = newer
                turns.ended()
            except MisbehavingMemberError:
                raise
            except CompactedError:
                version = ""
                if turns.ended() in (0, 1, 5, 50):
                    self._log.info("the watch is too old, listing again")
            except Exception as error:  # noqa: BLE001 - of this resource alone; the session goes on
                failures = turns.ended(failed=True)
                if must_list(error, failures):
                    version = ""
                if failures in (1, 5, 50):
                    self._log.warning("cannot follow", error=str(error) or type(error).__name__)
                if not isinstance(error, HanseError | OSError):
                    self._boundary.failed(self.resource.plural, error)
            await asyncio.sleep(turns.wait())

    async def _list(self) -> str:
        """Take in a list, once all of it is there: the beginning of one that breaks off proves nothing."""
        self._noted = set()
        try:
            return await self._take_list(self._noted)
        finally:
            self._noted = None

    async def _take_list(self, noted: set[tuple[str, str]]) -> str:
        version = ""
        listed: list[tuple[tuple[str, str], Seen]] = []
        pages = self._client.pages(self.resource, label_selector=self._selector, metadata_only=True)
        async with aclosing(pages):
            async for page in pages:
                listed += [(_identity(item), _seen(item)) for item in page.items if _can_be_ours(item)]
                version = page.resource_version
        shown: set[tuple[str, str]] = set()
        for number, (identity, seen) in enumerate(listed, 1):
            if number % SLICE == 0:
                await asyncio.sleep(0)
            shown.add(identity)
            if identity not in noted:
                # Nothing was heard of it since the list began, so what is known is not newer, whatever the
                # versions say: those of a member that was restored from a backup go back.
                self._forget_newer(identity, seen)
            self._take(identity, seen, live=None)
        for identity in [identity for identity in self.known if identity not in shown]:
            del self.known[identity]
            self._sink.vanished(*identity)
        self.is_listed = True
        self._sink.listed()
        return version

    async def _watch(self, version: str) -> Any:
        """Follow from `version`; yields the newest version after each event."""
        stream: Any = self._client.watch(
            self.resource,
            resource_version=version,
            label_selector=self._selector,
            metadata_only=self._metadata_only,
            timeout_seconds=_WATCH_SECONDS,
        )
        async with aclosing(stream):
            async for kind, obj in stream:
                if kind == "BOOKMARK" or not _can_be_ours(obj):
                    pass
                elif kind == "DELETED":
                    identity = _identity(obj)
                    self.known.pop(identity, None)
                    self._sink.vanished(*identity)
                else:
                    self._take(_identity(obj), _seen(obj), live=None if self._metadata_only else obj)
                yield obj["metadata"]["resourceVersion"]

    def _forget_newer(self, identity: tuple[str, str], seen: Seen) -> None:
        known = self.known.get(identity)
        if known is not None and known.resource_version != seen.resource_version:
            del self.known[identity]

    def _take(self, identity: tuple[str, str], seen: Seen, *, live: Object | None) -> None:
        known = self.known.get(identity)
        if known is not None and known.uid == seen.uid and not _newer(seen, known):
            return
        if known is None and self._full():
            raise MisbehavingMemberError(
                f"it shows more than {FOLLOWED_OBJECTS} objects as the federation's: no cluster has as many",
                metadata={"bound": str(FOLLOWED_OBJECTS)},
            )
        self.known[identity] = seen
        with self._boundary.around("/".join(identity)):
            self._sink.changed(*identity, seen, live)


class Turns:
    """How long to wait before a member is asked again to be followed.

    Only a watch that lasted shows that it can be followed: a list that is answered, an event or an orderly
    end do not, or a member that ends each watch at once would have us ask it without a pause.
    """

    def __init__(self) -> None:
        self._short = 0
        """Turns in a row without a watch that lasted."""
        self._began: float | None = None
        self._random = random.Random()  # noqa: S311 - jitter

    def watching(self) -> None:
        """A watch begins."""
        self._began = asyncio.get_running_loop().time()

    def ended(self, *, failed: bool = False) -> int:
        """The turn is over; return how many in a row were too short. One that `failed` is, once at least."""
        began, self._began = self._began, None
        lasted = began is not None and asyncio.get_running_loop().time() - began >= LASTING_SECONDS
        self._short = int(failed) if lasted else self._short + 1
        return self._short

    def wait(self) -> float:
        """Return the seconds until the next turn."""
        return _BACKOFF.delay(self._short, rng=self._random) if self._short else 0.0


def must_list(error: Exception, failures: int) -> bool:
    """Whether a watch that failed cannot simply be resumed.

    A member that does not answer, or not now, will go on where it was; but any other answer, such as that it
    does not know a version yet, may be said for ever. After a while nothing is taken for granted.
    """
    return not isinstance(error, UnavailableError | ResourceExhaustedError | OSError) or failures % 5 == 0


def _can_be_ours(item: Mapping[str, Any]) -> bool:
    return len(str(item["metadata"]["name"])) <= FOLLOWED_NAME_CHARS


def _identity(item: Mapping[str, Any]) -> tuple[str, str]:
    metadata = item["metadata"]
    return str(metadata.get("namespace") or ""), str(metadata["name"])


def _seen(item: Mapping[str, Any]) -> Seen:
    metadata = item["metadata"]
    return Seen(str(metadata["uid"]), str(metadata["resourceVersion"]))


def _newer(seen: Seen, known: Seen) -> bool:
    """Whether `seen` is news: an answer to an apply can be ahead of the watch, which then brings older ones.

    Versions of one resource are ordered as numbers (KEP-5504); where they are no numbers, any other is news.
    """
    new, old = whole_number(seen.resource_version), whole_number(known.resource_version)
    if new is not None and old is not None:
        return new > old
    return seen.resource_version != known.resource_version
