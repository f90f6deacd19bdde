"""Following the objects of one resource in a cluster: a list, then a watch, for ever.

Owns `Informer`, which feeds an `InformerStore`. It survives everything: a watch that ends resumes at its last
version, a compacted one lists again, a server that does not answer, or ends what it began, is asked again
with growing delays. A server that misbehaves is no matter of one resource: MisbehavingMemberError ends it.

A list counts when all of it is there: the beginning of one that breaks off proves nothing. Objects with names
that are longer than any that is followed are left out.

Concurrency: one task per informer; the store is called in it, and must be quick. Next:
`hanse.kube.client.client` for lists and watches.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractContextManager, aclosing
from typing import Any, Final, Protocol

from hanse.backoff import Backoff
from hanse.boundary import Boundary
from hanse.errors import CompactedError, HanseError, ResourceExhaustedError, UnavailableError
from hanse.kube.client.bounds import FOLLOWED_NAME_CHARS, MisbehavingMemberError
from hanse.kube.client.client import KubeClient
from hanse.kube.client.requests import GroupVersionResource
from hanse.kube.model.objects import Object
from hanse.process.telemetry import get_logger

_log = get_logger(__name__)
_BACKOFF: Final = Backoff(base=0.2, limit=15.0, jitter=0.3)
_WATCH_SECONDS: Final = 290
LASTING_SECONDS: Final = 10.0
"""A watch that lasts so long shows that the server can be followed."""


class ListedObjects(Protocol):
    """A list that is being read."""

    def add(self, item: Object) -> None:
        """Take in an object of it."""

    async def commit(self) -> None:
        """Take note that the list is complete: what is not in it is not there."""


class InformerStore(Protocol):
    """What an informer feeds. It keeps of the objects what it needs."""

    def listing(self) -> AbstractContextManager[ListedObjects]:
        """Begin a list; it ends with the context, complete or not."""

    def put(self, obj: Object) -> None:
        """Take note that an object was added or changed."""

    def remove(self, obj: Object) -> None:
        """Take note that an object was deleted, or does not match the selector any more."""


class Informer:
    """Follows the objects of one resource that match a label selector."""

    def __init__(
        self,
        client: KubeClient,
        resource: GroupVersionResource,
        store: InformerStore,
        *,
        label_selector: str,
        list_metadata: bool = False,
        watch_metadata: bool = False,
        **logged: str,
    ) -> None:
        """List and watches bring the metadata alone where that is asked for; `logged` is in each event."""
        self.resource = resource
        self._client = client
        self._store = store
        self._selector = label_selector
        self._list_metadata = list_metadata
        self._watch_metadata = watch_metadata
        self._log = _log.bind(resource=resource.plural, api_version=resource.api_version, **logged)
        self._boundary = Boundary("member objects")

    async def run(self) -> None:
        """List and watch until cancelled. Raises MisbehavingMemberError."""
        pacing = WatchPacing()
        version = ""
        while True:
            try:
                if not version:
                    version = await self._list()
                pacing.watching()
                async with aclosing(self._watch(version)) as versions:
                    async for newer in versions:
                        version = newer
                pacing.ended()
            except MisbehavingMemberError:
                raise
            except CompactedError:
                version = ""
                if pacing.ended() in (0, 1, 5, 50):
                    self._log.info("the watch is too old, listing again")
            except Exception as error:  # noqa: BLE001 - of this resource alone; the others are followed
                failures = pacing.ended(failed=True)
                if must_list(error, failures):
                    version = ""
                if failures in (1, 5, 50):
                    self._log.warning("cannot follow", error=str(error) or type(error).__name__)
                if not isinstance(error, HanseError | OSError):
                    self._boundary.failed(self.resource.plural, error)
            await asyncio.sleep(pacing.wait())

    async def _list(self) -> str:
        """Feed the store a list; return the version to watch from."""
        version = ""
        pages = self._client.pages(
            self.resource, label_selector=self._selector, metadata_only=self._list_metadata
        )
        with self._store.listing() as listing:
            async with aclosing(pages):
                async for page in pages:
                    for item in page.items:
                        if _is_followed(item):
                            listing.add(item)
                    version = page.resource_version
            await listing.commit()
        return version

    async def _watch(self, version: str) -> AsyncGenerator[str, None]:
        """Feed the store what happens after `version`; yield the newest version after each event."""
        stream: Any = self._client.watch(
            self.resource,
            resource_version=version,
            label_selector=self._selector,
            metadata_only=self._watch_metadata,
            timeout_seconds=_WATCH_SECONDS,
        )
        async with aclosing(stream):
            async for kind, obj in stream:
                if kind != "BOOKMARK" and _is_followed(obj):
                    if kind == "DELETED":
                        self._store.remove(obj)
                    else:
                        self._store.put(obj)
                yield obj["metadata"]["resourceVersion"]


class WatchPacing:
    """How long to wait before a server is asked again to be followed.

    Only a watch that lasted shows that it can be followed: a list that is answered, an event or an orderly
    end do not, or a server that ends each watch at once would have us ask it without a pause.
    """

    def __init__(self) -> None:
        self._short = 0
        """Attempts in a row without a watch that lasted."""
        self._began: float | None = None
        self._random = random.Random()  # noqa: S311 - jitter

    def watching(self) -> None:
        """Take note that a watch begins."""
        self._began = asyncio.get_running_loop().time()

    def ended(self, *, failed: bool = False) -> int:
        """End the attempt; return how many in a row were too short. One that `failed` is, once at least."""
        began, self._began = self._began, None
        lasted = began is not None and asyncio.get_running_loop().time() - began >= LASTING_SECONDS
        self._short = int(failed) if lasted else self._short + 1
        return self._short

    def wait(self) -> float:
        """Return the seconds until the next attempt."""
        return _BACKOFF.delay(self._short, rng=self._random) if self._short else 0.0


def must_list(error: Exception, failures: int) -> bool:
    """Return whether a watch that failed cannot simply be resumed.

    A server that does not answer, or not now, will go on where it was; but any other answer, such as that it
    does not know a version yet, may be said for ever. After a while nothing is taken for granted.
    """
    return not isinstance(error, UnavailableError | ResourceExhaustedError | OSError) or failures % 5 == 0


def _is_followed(item: Mapping[str, Any]) -> bool:
    return len(str(item["metadata"]["name"])) <= FOLLOWED_NAME_CHARS
