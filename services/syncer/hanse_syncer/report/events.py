"""Kubernetes Events on federated objects: what a user sees in `kubectl describe`.

Owns `EventSink`. Best effort: an Event is dropped rather than delaying anything, said at most once per
`quiet` seconds for the same object, cluster and reason, and retried a few times.

Concurrency: `report` never waits; one task, `run`, sends.

Next: the apiserver, whose FederationService stores them.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final, Literal

import orjson

from hanse.kube.model.objects import Object
from hanse.process.telemetry import get_logger
from hanse.store.keys import ObjectKey
from hanse_syncer.federation.intent import Intent

_log = get_logger(__name__)
_CAPACITY: Final = 500
_TRIES: Final = 3
_MAX_MESSAGE: Final = 1024  # what the API accepts for Event.message


def event(
    key: ObjectKey,
    intent: Intent,
    *,
    kind: Literal["Normal", "Warning"],
    reason: str,
    message: str,
    now: datetime,
    identity: str,
) -> Object:
    """Return the core/v1 Event. Those of cluster-scoped objects are in the namespace default."""
    time = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    namespace = key.namespace or "default"
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{key.name[:220]}.{uuid.uuid4().hex[:16]}", "namespace": namespace},
        "involvedObject": {
            "apiVersion": intent.api_version,
            "kind": intent.kind,
            "namespace": key.namespace,
            "name": key.name,
            "uid": intent.uid,
        },
        "type": kind,
        "reason": reason,
        "message": message[:_MAX_MESSAGE],
        "source": {"component": "hanse-syncer", "host": identity},
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    }


class EventSink:
    """Sends Events with `send`, which creates one object from its JSON."""

    def __init__(
        self,
        send: Callable[[bytes], Awaitable[object]] | None,
        *,
        identity: str,
        quiet: float = 60.0,
        per_second: float = 20.0,
    ) -> None:
        """`send` None drops all Events. `per_second` bounds how many are sent."""
        self._send = send
        self._identity = identity
        self._quiet = quiet
        self._interval = 1.0 / per_second
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(_CAPACITY)
        self._said: OrderedDict[tuple[str, str, str, str], float] = OrderedDict()

    def report(
        self,
        key: ObjectKey,
        intent: Intent | None,
        *,
        cluster: str,
        kind: Literal["Normal", "Warning"],
        reason: str,
        message: str,
    ) -> None:
        """Have an Event sent about the object in the cluster."""
        if self._send is None or intent is None:
            return
        now = asyncio.get_running_loop().time()
        identity = (key.path(), cluster, reason, message)
        if now - self._said.get(identity, float("-inf")) < self._quiet:
            return
        self._said[identity] = now
        self._said.move_to_end(identity)
        while len(self._said) > 4 * _CAPACITY:
            self._said.popitem(last=False)
        built = event(
            key,
            intent,
            kind=kind,
            reason=reason,
            message=f"cluster {cluster}: {message}",
            now=datetime.now(UTC),
            identity=self._identity,
        )
        try:
            self._queue.put_nowait(orjson.dumps(built))
        except asyncio.QueueFull:
            _log.warning("an event was dropped", object=str(key), cluster=cluster, reason=reason)

    async def run(self) -> None:
        """Send until cancelled."""
        if self._send is None:
            return
        while True:
            encoded = await self._queue.get()
            for attempt in range(1, _TRIES + 1):
                try:
                    await self._send(encoded)
                    break
                except Exception as error:  # noqa: BLE001 - best effort, whatever the transport raises
                    _log.info("an event was not stored", attempt=attempt, error=str(error))
                    await asyncio.sleep(0.5 * attempt)
            await asyncio.sleep(self._interval)
