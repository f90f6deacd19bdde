"""Events that controllers record about objects, and their end: an Event goes after an hour.

One Event stands for one reason and message about one object; the same again raises its count. Recording never
fails the work that it is about. Next: `hanse_simulator.controllers.scheduling` and `.kubelet`, which record.
"""

from __future__ import annotations

import hashlib

from hanse.control import Request, Result
from hanse.errors import AlreadyExistsError, HanseError
from hanse.kube.model.events import InvolvedObject, new_event
from hanse.kube.model.objects import Object, mapping, name_of, namespace_of
from hanse.process.telemetry import get_logger
from hanse_simulator.controllers.loops import Loop, itself, split
from hanse_simulator.world import EVENTS, ClusterContext, Resource, parse_time, seconds_until

KEEP_SECONDS = 3600.0
"""How long an Event stays after it last happened. As kube-apiserver's --event-ttl."""

_log = get_logger(__name__)


class Recorder:
    """Records Events, and removes old ones."""

    def __init__(self, world: ClusterContext) -> None:
        self._world = world

    def loop(self) -> Loop:
        """Return the controller that removes old Events."""
        return Loop("events", self, {EVENTS: itself}, workers=2)

    async def reconcile(self, request: Request) -> Result | None:
        """Delete an Event that is over, or come back when it will be."""
        event = self._world.get(EVENTS, *split(request.key))
        if event is None:
            return None
        last = event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"]
        wait = seconds_until(parse_time(last), KEEP_SECONDS, self._world.now())
        if wait > 0:
            return Result(requeue_after=wait)
        await self._world.delete(EVENTS, event)
        return None

    async def warn(
        self, resource: Resource, about: Object, reason: str, message: str, *, source: str
    ) -> None:
        """Record a Warning."""
        try:
            await self._record(resource, about, reason, message, source=source)
        except HanseError as error:
            _log.info("an event was not recorded", about=name_of(about), why=reason, error=str(error))

    async def _record(
        self, resource: Resource, about: Object, reason: str, message: str, *, source: str
    ) -> None:
        info = self._world.info(resource)
        object_ = InvolvedObject.of({**about, "apiVersion": info.api_version, "kind": info.kind})
        digest = hashlib.blake2s(f"{object_.uid}/{reason}/{message}".encode(), digest_size=8).hexdigest()
        event = new_event(
            object_,
            type_="Warning",
            reason=reason,
            message=message,
            component=source,
            suffix=digest,
            now=self._world.now(),
        )
        name, namespace = name_of(event), namespace_of(event)
        known = self._world.get(EVENTS, namespace, name)
        if known is None:
            try:
                await self._world.create(EVENTS, event, manager=source)
            except AlreadyExistsError:
                return
            return

        def again(current: Object) -> Object:
            return {
                **current,
                "count": int(mapping(current).get("count") or 0) + 1,
                "lastTimestamp": event["lastTimestamp"],
            }

        await self._world.modify(EVENTS, known, again, manager=source)
