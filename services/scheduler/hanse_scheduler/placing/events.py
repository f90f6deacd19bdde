"""Kubernetes Events about decisions that people should know of: what `kubectl describe` shows.

Owns which decisions deserve one (something cannot be understood; what belongs to clusters was asked for;
replicas moved away from a cluster that is out of reach), and sending them to the apiserver, best effort:
bounded, rate limited, tried again a few times. The same thing is said once, when it begins.

Concurrency: `decided` only puts into a queue; one task, `run`, sends.

Next: `reconciler`, which tells of decisions.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

from hanse.api.scheduler.v1.placement_pb2 import Placement
from hanse.errors import (
    AlreadyExistsError,
    DeadlineError,
    HanseError,
    ResourceExhaustedError,
    UnavailableError,
)
from hanse.federation.placements import suspended_clusters
from hanse.kube.model.objects import Object, mapping
from hanse.process.telemetry import get_logger
from hanse_scheduler.reasons import BELONGS

COMPONENT = "hanse-scheduler"

_QUEUE = 1000
_PER_SECOND = 20.0
_TRIES = 5
_log = get_logger(__name__)

Send = Callable[[bytes], Awaitable[None]]
"""Creates an object from its manifest in JSON; raises HanseError."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to tell about an object. `warning` says that it is a problem."""

    reason: str
    message: str
    warning: bool = True


def notices(before: Placement | None, after: Placement) -> Iterator[Notice]:
    """Yield what is new in `after` and worth an Event."""
    if after.error and (before is None or before.error != after.error):
        yield Notice("PlacementFailed", f"{after.error} (until then everything stays where it is)")
    if before is not None and before.error and not after.error:
        yield Notice("PlacementRecovered", "the object can be placed again", warning=False)
    refused = _belonging(after)
    if refused and (before is None or _belonging(before) != refused):
        yield Notice("PlacementRefused", refused)
    was = suspended_clusters(before) if before is not None else frozenset()
    now = suspended_clusters(after)
    for name in sorted(now - was):
        yield Notice(
            "ReplicasMoved", f"cluster {name} is out of reach: its replicas run elsewhere until it is back"
        )
    for name in sorted(was - now):
        yield Notice("ClusterReturned", f"cluster {name} takes part again", warning=False)


def _belonging(placement: Placement) -> str:
    """Return what is said of an object that belongs to clusters themselves, "" of any other."""
    return next((item.message for item in placement.refused if item.reason == BELONGS), "")


def manifest_of(obj: Object, notice: Notice, *, now: datetime) -> bytes:
    """Return the core/v1 Event about a stored object, as JSON."""
    metadata = mapping(obj, "metadata")
    name, namespace = str(metadata.get("name", "")), str(metadata.get("namespace") or "")
    seed = f"{metadata.get('uid')}\0{notice.reason}\0{notice.message}\0{now.isoformat()}"
    stamp = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return orjson.dumps(
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{name[:200]}.{hashlib.blake2b(seed.encode(), digest_size=8).hexdigest()}",
                "namespace": namespace or "default",
            },
            "involvedObject": {
                "apiVersion": obj.get("apiVersion", ""),
                "kind": obj.get("kind", ""),
                "namespace": namespace,
                "name": name,
                "uid": metadata.get("uid", ""),
            },
            "type": "Warning" if notice.warning else "Normal",
            "reason": notice.reason,
            "message": notice.message[:1024],
            "source": {"component": COMPONENT},
            "reportingComponent": COMPONENT,
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
        }
    )


class Recorder:
    """Collects Events and sends them. `clock` returns the present time."""

    def __init__(self, send: Send, *, clock: Callable[[], datetime], per_second: float = _PER_SECOND) -> None:
        self._send = send
        self._clock = clock
        self._pause = 1.0 / per_second
        self._waiting: deque[bytes] = deque(maxlen=_QUEUE)
        self._wakeup = asyncio.Event()

    def decided(self, obj: Object, before: Placement | None, after: Placement) -> None:
        """Take note of a decision that was stored. The oldest Events are dropped when too many wait."""
        for notice in notices(before, after):
            self._waiting.append(manifest_of(obj, notice, now=self._clock()))
            self._wakeup.set()

    async def run(self) -> None:
        """Send what waits, until cancelled."""
        while True:
            await self._wakeup.wait()
            self._wakeup.clear()
            while self._waiting:
                await self._send_one(self._waiting.popleft())
                await asyncio.sleep(self._pause)

    async def _send_one(self, manifest: bytes) -> None:
        delay = 0.2
        for attempt in range(_TRIES):
            with contextlib.suppress(AlreadyExistsError):
                try:
                    await self._send(manifest)
                except (UnavailableError, DeadlineError, ResourceExhaustedError) as error:
                    if attempt == _TRIES - 1:
                        _log.warning("event not sent", error=str(error))
                    else:
                        await asyncio.sleep(max(delay, error.retry_after or 0.0))
                    delay *= 2
                    continue
                except HanseError as error:
                    _log.warning("event refused", error=str(error), reason=error.reason)
                except Exception as error:  # noqa: BLE001 - an Event is no reason to stop deciding
                    _log.error("event not sent", exc_info=error)
            return
