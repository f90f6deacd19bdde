"""A watch on etcd that neither loses nor repeats an event.

Its position is the last revision of which everything was delivered: the revision of the last event, or that
of a progress notification (etcd sends those only to a watcher that has caught up; the ones that a client
asks for are not used, as etcd before 3.5.8 can send them ahead of events). After any break it goes on from
there, for as long as it takes, and only in the same history: etcd must tell the last event that was delivered
again, and nothing between that and the position. An etcd that lost its last writes soon reaches their
revisions with others. One stream per watch, so that a slow reader delays only itself.

Next: `hanse.store.etcd.wire` for decoding, `hanse.store.follow.list_watch` for who reads this.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Final

import grpc
import grpc.aio
import structlog
from etcd3aio import _protobuf as pb

from hanse.errors import FailedPreconditionError, PermissionDeniedError
from hanse.store.etcd import wire
from hanse.store.etcd.channel import EtcdChannel, closed
from hanse.store.mvcc import compacted
from hanse.store.types import Event, WatchBatch

_log = structlog.get_logger(__name__)
_RETRY_FIRST: Final = 0.05
_RETRY_MOST: Final = 1.0
# A member that has lost its leader ends the stream instead of going quiet.
_METADATA: Final = (("hasleader", "true"),)
_FATAL: Final = frozenset(
    {grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNIMPLEMENTED}
)


class EtcdWatch:
    """One watch: where it is, and how it goes on."""

    def __init__(
        self,
        channel: EtcdChannel,
        *,
        key: bytes,
        end: bytes,
        skip: int,
        first: int,
        prev: bool,
        current_revision: Callable[[], Awaitable[int]],
    ) -> None:
        self._channel = channel
        self._key = key
        self._end = end
        self._skip = skip
        self._next = first
        self._prev = prev
        self._current_revision = current_revision
        self._seen = 0
        self._retry = _RETRY_FIRST
        self._behind = False
        self._again = False
        self._last: list[Event] = []
        """The events of the last revision of which there were any."""
        self._unproven = False
        """Whether this stream must tell those again before anything else counts."""
        self._forgotten = False
        """Whether etcd has compacted them, so that nothing can be proven by them."""

    async def batches(self) -> AsyncGenerator[WatchBatch, None]:
        """Yield what happens, over as many streams as it takes. Raises `CompactedError`."""
        while True:
            stream = self._channel.watches.Watch(metadata=_METADATA, wait_for_ready=True)
            self._again = False
            try:
                with self._channel.silence.waiting():
                    await stream.write(self._create_request())
                while (batch := await self._receive(stream)) is not None:
                    yield batch
            except grpc.aio.AioRpcError as error:
                self._channel.silence.failed(error.details() or error.code().name)
                self._broken(error)
            except asyncio.InvalidStateError:
                pass  # The stream ended before the request was written.
            except asyncio.CancelledError:
                self._channel.raise_if_closed()
                raise
            finally:
                stream.cancel()
            if self._channel.closed:
                raise closed()
            if not self._again:
                await asyncio.sleep(self._retry)
                self._retry = min(self._retry * 2, _RETRY_MOST)

    async def _receive(self, stream: Any) -> WatchBatch | None:
        """Return the next batch of a stream, whole; None if the stream has ended."""
        held: list[Any] = []
        while (response := await stream.read()) is not grpc.aio.EOF:
            if response.canceled:
                self._canceled(response)
                return None
            if response.created:
                self._again = await self._created(response)
                if self._again:
                    return None
                continue
            held.extend(response.events)
            if response.fragment:
                continue
            batch = self._advance(held, response.header.revision)
            if batch is not None:
                return batch
            held = []
        return None

    def _create_request(self) -> Any:
        self._unproven = bool(self._last) and not self._forgotten
        first = max(1, self._next - 1) if self._behind else self._next
        if self._unproven:
            first = max(1, self._last[0].kv.mod_revision - 1)
        create = pb.WatchCreateRequest(
            key=self._key,
            range_end=self._end,
            start_revision=first,
            prev_kv=self._prev,
            progress_notify=True,
            fragment=True,
        )
        return pb.WatchRequest(create_request=create)

    async def _created(self, response: Any) -> bool:
        """Take note that the watch stands; return whether it must be opened again, one revision earlier.

        etcd before 3.5.18 drops a deletion at exactly the revision that it compacts, and still lets a watch
        start there. A watch that needs history therefore starts one revision earlier, where such a
        compaction is reported; the event of that revision was delivered already and is left out.
        """
        self._retry = _RETRY_FIRST
        revision = response.header.revision
        if revision < self._seen and await self._current_revision() < self._seen:
            raise _regressed(f"etcd is at revision {revision}, but revision {self._seen} was seen before")
        self._seen = max(self._seen, revision)
        if self._unproven:
            return False
        if revision >= self._next and not self._behind:
            self._behind = True
            return True
        self._behind = False
        return False

    def _advance(self, messages: list[Any], revision: int) -> WatchBatch | None:
        """Return what is new in a whole response and move on; None if nothing is."""
        if not messages:  # a progress notification
            if self._unproven and revision >= self._last[0].kv.mod_revision:
                raise self._other_history()
            if revision < self._next:
                return None
            self._seen, self._next = revision, revision + 1
            return WatchBatch(revision, ())
        first = self._last[0].kv.mod_revision if self._unproven else self._next
        events = wire.events(messages, skip=self._skip, first=first)
        if self._unproven and events:
            again = [event for event in events if event.kv.mod_revision < self._next]
            if [(each.kind, each.kv) for each in again] != [(each.kind, each.kv) for each in self._last]:
                raise self._other_history()
            self._unproven = False
            events = events[len(again) :]
        if not events:
            return None
        last = events[-1].kv.mod_revision
        self._seen, self._next = last, last + 1
        self._last = [event for event in events if event.kv.mod_revision == last]
        self._forgotten = False
        return WatchBatch(last, tuple(events))

    def _other_history(self) -> FailedPreconditionError:
        seen = self._last[0].kv
        return _regressed(
            f"etcd does not know of {seen.key} at revision {seen.mod_revision} what it told before"
        )

    def _broken(self, error: grpc.aio.AioRpcError) -> None:
        code = error.code()
        if code in _FATAL:
            raise wire.refusal(code, error.details() or "", what=f"watch {self._name()}") from error
        _log.info("etcd_watch_interrupted", prefix=self._name(), cause=code.name)

    def _canceled(self, response: Any) -> None:
        if response.compact_revision and self._unproven:
            self._forgotten = self._again = True
            return
        if response.compact_revision:
            raise compacted(self._next, response.compact_revision)
        if "permission denied" in response.cancel_reason:
            raise PermissionDeniedError(f"etcd refused to watch {self._name()}: {response.cancel_reason}")
        _log.info("etcd_watch_interrupted", prefix=self._name(), cause=response.cancel_reason)

    def _name(self) -> str:
        return self._key.decode(errors="replace")


def _regressed(what: str) -> FailedPreconditionError:
    return FailedPreconditionError(
        f"{what}: it was restored from a backup or replaced. Nothing is concluded from that; check etcd, "
        "then restart.",
        reason="REVISION_REGRESSED",
    )
