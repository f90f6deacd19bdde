"""One connection to one member and all that follows it: informers, endpoint slices, the link's state.

Owns `MemberSession`. It ends when the credential changes; the controller then opens the next one, and what
was known of the member is listed again.

Concurrency: one task per informer in the session's task group. Nothing here waits for a member that is down:
`up` says whether it answers, and one task asks it until it does. A member that misbehaves ends the session.

Next: `hanse_syncer.cluster.controller`, which owns the session.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hanse.api.syncer.v1.sync_state_pb2 import ZoneEndpoints
from hanse.backoff import Backoff
from hanse.kube.client.bounds import FOLLOWED_OBJECTS, MisbehavingMemberError
from hanse.kube.client.client import KubeClient
from hanse.kube.client.informer import Informer
from hanse.kube.kinds.kubernetes import core
from hanse.kube.model.objects import Object
from hanse.paths import CLUSTER_SCOPE, parts_of, resource_path
from hanse.process.telemetry import get_logger
from hanse_syncer.decide import kinds
from hanse_syncer.decide.plan import Seen
from hanse_syncer.member.client import CredentialRefusedError, LinkDownError, MemberClient, MemberObject
from hanse_syncer.member.endpoints import SERVICE_NAME_LABEL
from hanse_syncer.member.observed import ObservedObjects
from hanse_syncer.member.slices import ENDPOINT_SLICES, EndpointSliceStore

_log = get_logger(__name__)
PROBATION_SECONDS: Final = 0.5
"""How often a member on probation is looked at; once at least."""
_PROBES: Final = Backoff(base=0.1, limit=5.0, jitter=0.2)


class MemberSession:
    """What is known of a member by one connection; implements `hanse_syncer.act.context.MemberView`."""

    def __init__(
        self,
        client: KubeClient,
        member: MemberClient,
        *,
        selector: str,
        changed: Callable[[str, Seen, Object | None], None],
        vanished: Callable[[str, Object | None], None],
        listed: Callable[[str], None],
        endpoints_changed: Callable[[str, str], None],
        back: Callable[[], None],
        probation: bool = False,
    ) -> None:
        """Tell the callables of a path (`listed`: of a path's prefix; `back`: the member answers).

        On `probation` it is not `up` before everything that is followed has been listed.
        """
        self.client = client
        self.member = member
        self.up = not probation
        self.refusal = ""
        """How the member refuses the credential, while it does; else empty."""
        self._probation = probation
        self._selector = selector
        self._changed = changed
        self._vanished = vanished
        self._listed = listed
        self._back = back
        self._followed: dict[tuple[str, str], _Followed] = {}
        self._slices = EndpointSliceStore(endpoints_changed)
        self._group: asyncio.TaskGroup | None = None
        self._slicing = False
        self._lost = asyncio.Event()
        self._misbehaved: asyncio.Future[None] | None = None
        self._random = random.Random()  # noqa: S311 - jitter

    @property
    def open(self) -> bool:
        """Whether requests can be made: the session runs, and the member answers."""
        return self.up and self._group is not None

    @property
    def listed(self) -> bool:
        """Whether every resource that is followed has been listed."""
        return all(followed.objects.is_listed for followed in self._followed.values())

    async def run(self) -> None:
        """Follow the member until cancelled. Raises MisbehavingMemberError."""
        try:
            await self._run()
        except BaseExceptionGroup as group:
            if group.split(MisbehavingMemberError)[1] is None:
                raise _first(group) from group
            raise

    async def _run(self) -> None:
        async with self.client, asyncio.TaskGroup() as group:
            self._group = group
            self._misbehaved = asyncio.get_running_loop().create_future()
            group.create_task(_raised(self._misbehaved), name=f"behaviour {self.member.cluster}")
            if self._probation:
                group.create_task(self._prove(), name=f"probation {self.member.cluster}")
            try:
                while True:
                    await self._lost.wait()
                    self._lost.clear()
                    await self._until_back()
            finally:
                self._group = None
                for followed in self._followed.values():
                    followed.task.cancel()

    def misbehaved(self, error: MisbehavingMemberError) -> None:
        """Take note that an answer to one of our own requests was too much: the session ends."""
        if self._misbehaved is not None and not self._misbehaved.done():
            self.up = False
            self._misbehaved.set_exception(error)

    def follow(self, target: MemberObject) -> None:
        """Have the resource of an object listed and watched."""
        self._objects(target)

    async def _prove(self) -> None:
        """Wait until everything that is followed has been listed."""
        await asyncio.sleep(PROBATION_SECONDS)
        while not self.listed:  # noqa: ASYNC110 - of informers that come and go
            await asyncio.sleep(PROBATION_SECONDS)
        self._probation = False
        self.up = True
        self._back()

    def lost(self, error: LinkDownError) -> None:
        """Take note that the member did not answer, or refused the credential: ask it until it does not."""
        if self.up:
            self.up = False
            self.refusal = error.message if isinstance(error, CredentialRefusedError) else ""
            what = "a member refuses the credential" if self.refusal else "a member does not answer"
            _log.warning(what, cluster=self.member.cluster, error=error.message)
            self._lost.set()

    def seen(self, target: MemberObject) -> tuple[Seen | None, bool]:
        """Return what is shown of the object, and whether its resource has been listed; follow that."""
        objects = self._objects(target)
        if objects is None:
            return None, False
        return objects.seen(target.key.namespace, target.key.name), objects.is_listed

    def note(self, target: MemberObject, seen: Seen | None) -> None:
        """Take in what an answer said of the object."""
        objects = self._objects(target)
        if objects is None:
            return
        if seen is None:
            objects.known.pop((target.key.namespace, target.key.name), None)
        else:
            objects.note(target.key.namespace, target.key.name, seen)

    def shows(self, path: str) -> bool:
        """Return whether the member shows the object at `path`."""
        group, resource, namespace, name = parts_of(path)
        found = self._followed.get((group, resource))
        return found is not None and found.objects.seen(namespace, name) is not None

    def followed(self, group: str, resource: str) -> dict[tuple[str, str], Seen] | None:
        """Return by (namespace, name) what is shown of a resource; None if it is not followed."""
        found = self._followed.get((group, resource))
        return dict(found.objects.known) if found is not None else None

    def endpoints(self, namespace: str, service: str) -> list[ZoneEndpoints] | None:
        """Return the ready endpoints of a Service; None while they are not known."""
        return self._slices.ready(namespace, service)

    async def _until_back(self) -> None:
        attempt = 0
        while not await self.member.answers():
            attempt += 1
            await asyncio.sleep(_PROBES.delay(attempt, rng=self._random))
        self.up, self.refusal = True, ""
        _log.info("a member answers again", cluster=self.member.cluster, attempts=attempt)
        self._back()

    def _is_full(self) -> bool:
        return sum(len(followed.objects.known) for followed in self._followed.values()) >= FOLLOWED_OBJECTS

    def _objects(self, target: MemberObject) -> ObservedObjects | None:
        """Return what is shown of the resource of an object, in its version; follow it if nobody does."""
        identity = (target.key.group, target.key.resource)
        found = self._followed.get(identity)
        if found is not None and found.api_version == target.api_version:
            return found.objects
        if self._group is None:
            return None
        if found is not None:
            found.task.cancel()
        metadata_only = kinds.is_stateless(*identity)
        objects = ObservedObjects(
            _PathObserver(
                resource_path(target.key.group, target.key.resource),
                changed=self._changed,
                vanished=self._vanished,
                listed=self._listed,
            ),
            metadata_only=metadata_only,
            full=self._is_full,
        )
        informer = Informer(
            self.client,
            target.resource,
            objects,
            label_selector=self._selector,
            list_metadata=True,
            watch_metadata=metadata_only,
            cluster=self.member.cluster,
        )
        task = self._group.create_task(informer.run(), name=f"informer {self.member.cluster} {identity}")
        self._followed[identity] = _Followed(target.api_version, objects, task)
        if identity == core.SERVICE.group_plural and not self._slicing:
            self._slicing = True
            slices = Informer(
                self.client,
                ENDPOINT_SLICES,
                self._slices,
                label_selector=SERVICE_NAME_LABEL,
                cluster=self.member.cluster,
            )
            self._group.create_task(slices.run(), name=f"slices {self.member.cluster}")
        return objects


@dataclass(frozen=True, slots=True)
class _Followed:
    """A resource that is followed."""

    api_version: str
    objects: ObservedObjects
    task: asyncio.Task[None]


async def _raised(future: asyncio.Future[None]) -> None:
    await future


def _first(group: BaseExceptionGroup[BaseException]) -> MisbehavingMemberError:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    if not isinstance(found, MisbehavingMemberError):
        raise found
    return found


class _PathObserver:
    """Turns the names of one resource's objects into paths."""

    def __init__(
        self,
        prefix: str,
        *,
        changed: Callable[[str, Seen, Object | None], None],
        vanished: Callable[[str, Object | None], None],
        listed: Callable[[str], None],
    ) -> None:
        self._prefix = prefix
        self._changed = changed
        self._vanished = vanished
        self._listed = listed

    def changed(self, namespace: str, name: str, seen: Seen, live: Object | None) -> None:
        self._changed(self._path(namespace, name), seen, live)

    def vanished(self, namespace: str, name: str, last: Object | None) -> None:
        self._vanished(self._path(namespace, name), last)

    def listed(self) -> None:
        self._listed(f"{self._prefix}/")

    def _path(self, namespace: str, name: str) -> str:
        return f"{self._prefix}/{namespace or CLUSTER_SCOPE}/{name}"
