"""Kubernetes Events of the services about federated objects: recorded here, stored by the apiserver.

Owns `EventRecorder`. Best effort: recording never waits and never fails the work that it is about. What waits
is bounded, the oldest goes first; how many are sent in a second is bounded; what the apiserver cannot take at
present is tried again a few times, with the same name, so that it is stored once. The same of the same object
is recorded once in `quiet` seconds.

Concurrency: `record` only puts into a queue; one task, `run`, sends. Next: `hanse.kube.model.events`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final, TypeAlias

import orjson

from hanse.api.federation.v1.federation_service_pb2 import CreateObjectRequest
from hanse.api.federation.v1.federation_service_pb2_grpc import FederationServiceStub
from hanse.errors import (
    AlreadyExistsError,
    DeadlineError,
    HanseError,
    ResourceExhaustedError,
    UnavailableError,
)
from hanse.kube.model.events import EventType, InvolvedObject, new_event
from hanse.process.telemetry import get_logger

CAPACITY: Final = 1000
"""How many Events wait at most."""
_PER_SECOND: Final = 20.0
_TRIES: Final = 5
_FIRST_DELAY: Final = 0.2
"""Seconds before the second try; they double with each."""

_log = get_logger(__name__)

SendEvent: TypeAlias = Callable[[bytes], Awaitable[object]]
"""Creates an object of its manifest in JSON. Raises HanseError."""


def event_sender(stub: FederationServiceStub, *, component: str) -> SendEvent:
    """Return what has the apiserver store an Event; `component` is its field manager."""

    async def send(manifest: bytes) -> object:
        return await stub.CreateObject(CreateObjectRequest(manifest=manifest, field_manager=component))

    return send


class EventRecorder:
    """Records Events of one component, and sends them."""

    def __init__(
        self,
        send: SendEvent | None,
        *,
        component: str,
        host: str = "",
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        quiet: float = 0.0,
        per_second: float = _PER_SECOND,
    ) -> None:
        """`send` None drops all Events. `host` is the process of the component."""
        self._send = send
        self._component = component
        self._host = host
        self._clock = clock
        self._quiet = quiet
        self._pause = 1.0 / per_second
        self._waiting: deque[bytes] = deque()
        self._wakeup = asyncio.Event()
        self._recorded: OrderedDict[tuple[InvolvedObject, str, str], datetime] = OrderedDict()

    def record(self, about: InvolvedObject, *, type_: EventType, reason: str, message: str) -> None:
        """Have an Event stored about the object."""
        now = self._clock()
        if self._send is None or not self._is_news((about, reason, message), now):
            return
        seed = f"{about.uid}\0{reason}\0{message}\0{now.isoformat()}"
        event = new_event(
            about,
            type_=type_,
            reason=reason,
            message=message,
            component=self._component,
            host=self._host,
            suffix=hashlib.blake2b(seed.encode(), digest_size=8).hexdigest(),
            now=now,
        )
        if len(self._waiting) >= CAPACITY:
            self._waiting.popleft()
            _log.warning("an event was dropped: too many wait", waiting=CAPACITY)
        self._waiting.append(orjson.dumps(event))
        self._wakeup.set()

    async def run(self) -> None:
        """Send what waits, until cancelled."""
        while True:
            await self._wakeup.wait()
            self._wakeup.clear()
            while self._waiting:
                await self._deliver(self._waiting.popleft())
                await asyncio.sleep(self._pause)

    def _is_news(self, event: tuple[InvolvedObject, str, str], now: datetime) -> bool:
        """Return whether the same was not recorded just before; it is, from now on."""
        if not self._quiet:
            return True
        last = self._recorded.get(event)
        if last is not None and (now - last).total_seconds() < self._quiet:
            return False
        self._recorded[event] = now
        self._recorded.move_to_end(event)
        while len(self._recorded) > 2 * CAPACITY:
            self._recorded.popitem(last=False)
        return True

    async def _deliver(self, manifest: bytes) -> None:
        send, delay = self._send, _FIRST_DELAY
        if send is None:
            return
        for attempt in range(1, _TRIES + 1):
            try:
                await send(manifest)
            except AlreadyExistsError:
                return  # an earlier try was heard
            except (UnavailableError, DeadlineError, ResourceExhaustedError) as error:
                if attempt == _TRIES:
                    _log.warning("an event was not stored", attempts=attempt, error=str(error))
                    return
                await asyncio.sleep(max(delay, error.retry_after or 0.0))
                delay *= 2
            except HanseError as error:
                _log.warning("an event was refused", error=str(error), reason=error.reason)
                return
            except Exception as error:  # noqa: BLE001 - an Event is no reason to stop working
                _log.error("an event was not stored", exc_info=error)
                return
            else:
                return
