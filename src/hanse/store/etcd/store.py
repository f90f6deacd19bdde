"""The store over etcd.

Adds the prefix to every key on the way in and takes it off on the way out, so federations share an etcd.
Reads are linearizable. Every operation is one request on one channel, except a range without a limit, which
is read in pages at one revision. Safe for any number of tasks of one event loop.

Next: `hanse.store.etcd.channel` for calls and retries, `hanse.store.etcd.watch` for watches,
`hanse.store.etcd.wire` for messages and errors.
"""

from __future__ import annotations

import asyncio
import secrets
import weakref
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any, Final, Self

from etcd3aio import _protobuf as pb

from hanse.errors import OUTCOME_UNKNOWN, ConfigError, FailedPreconditionError, UnavailableError
from hanse.process.settings import TlsFiles
from hanse.store import lease as leases
from hanse.store.admin.maintenance import StoreStatus, read_status
from hanse.store.etcd import wire
from hanse.store.etcd.channel import DEFAULT_OPERATION_TIMEOUT, EtcdChannel, closed, open_channel
from hanse.store.etcd.watch import EtcdWatch
from hanse.store.mvcc import check_size, no_time
from hanse.store.packing import in_stored_form, value_in_stored_form
from hanse.store.types import Compare, KeyValue, Op, Put, RangeResult, TxnResult, WatchBatch

_PAGE: Final = 5_000
"""Keys per request of a range without a limit: some 10 MB at 2 KB each."""


class EtcdStore:
    """A `Store` in etcd. Make it with `await EtcdStore.connect(...)`."""

    def __init__(self, channel: EtcdChannel, *, prefix: str) -> None:
        self._channel = channel
        self._root = f"{prefix.rstrip('/')}/".encode()
        self._skip = len(self._root)
        self._leases: weakref.WeakSet[leases.EtcdLease] = weakref.WeakSet()

    @classmethod
    async def connect(
        cls,
        endpoints: Sequence[str],
        *,
        prefix: str = "/hanse",
        tls: TlsFiles | None = None,
        tls_server_name: str | None = None,
        operation_timeout: float = DEFAULT_OPERATION_TIMEOUT,
    ) -> Self:
        """Return a store once etcd answers.

        `endpoints` are host:port or URLs of members of one cluster. `tls_server_name` is the name in etcd's
        certificates where that is not the host that is dialled. `operation_timeout` is how many seconds
        each operation, this one included, waits for etcd. Raises `UnavailableError`, `ConfigError`.
        """
        if not prefix.startswith("/"):
            raise ConfigError(f"the etcd prefix {prefix!r} does not start with '/'")
        channel = await open_channel(
            endpoints, tls=tls, tls_server_name=tls_server_name, timeout=operation_timeout
        )
        store = cls(channel, prefix=prefix)
        try:
            await store.revision()
        except BaseException:
            await channel.close()
            raise
        return store

    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
        """See `Store.get`."""
        request = pb.RangeRequest(key=self._root + wire.key_bytes(key), revision=revision)
        response = await self._channel.read(
            self._channel.kv.Range, request, what=f"read {key}", revision=revision
        )
        return wire.key_values(response.kvs, self._skip)[0] if response.kvs else None

    async def range(
        self,
        prefix: str,
        *,
        start_after: str | None = None,
        limit: int = 0,
        revision: int = 0,
        keys_only: bool = False,
        count_only: bool = False,
        through: str = "",
    ) -> RangeResult:
        """See `Store.range`."""
        begin = self._root + wire.key_bytes(prefix)
        end = wire.prefix_end(self._root + wire.key_bytes(through or prefix))
        if start_after is not None:
            begin = max(begin, self._root + wire.key_bytes(start_after) + b"\0")
        request = pb.RangeRequest(
            key=begin,
            range_end=end,
            limit=limit or (0 if count_only else _PAGE),
            revision=revision,
            keys_only=keys_only,
            count_only=count_only,
        )
        response = await self._read_range(request, prefix)
        at = response.header.revision
        items = wire.key_values(response.kvs, self._skip)
        if limit or not response.more:
            return RangeResult(items, at, more=bool(response.more), count=response.count)
        pages = [items]
        request.revision = revision or at
        while response.more:
            request.key = response.kvs[-1].key + b"\0"
            page = await self._read_range(request, prefix)
            pages.append(wire.key_values(page.kvs, self._skip))
            response = page
        everything = tuple(kv for page in pages for kv in page)
        return RangeResult(everything, at, more=False, count=len(everything))

    async def revision(self) -> int:
        """See `Store.revision`."""
        request = pb.RangeRequest(key=self._root, count_only=True)
        response = await self._channel.read(self._channel.kv.Range, request, what="read the revision")
        return int(response.header.revision)

    async def unchanged_since(
        self, prefix: str, revision: int, *, count: int, through: str = ""
    ) -> int | None:
        """See `Store.unchanged_since`.

        The count of a range is that before its filters, so one request tells both: no key was written
        after `revision`, and, as then all keys there were there before, none was deleted.
        """
        begin = self._root + wire.key_bytes(prefix)
        request = pb.RangeRequest(
            key=begin,
            range_end=wire.prefix_end(self._root + wire.key_bytes(through or prefix)),
            min_mod_revision=revision + 1,
            limit=1,
            keys_only=True,
        )
        response = await self._read_range(request, prefix)
        changed = response.kvs or response.count != count
        return None if changed else int(response.header.revision)

    async def put(self, key: str, value: bytes, *, lease: int = 0) -> int:
        """See `Store.put`."""
        stored = await value_in_stored_form(key, value)
        request = pb.PutRequest(key=self._root + wire.key_bytes(key), value=stored, lease=lease)
        check_size(request.ByteSize(), (Put(key, b""),))
        response, _ = await self._channel.call(
            self._channel.kv.Put, request, what=f"write {key}", repeatable=False
        )
        return int(response.header.revision)

    async def delete(self, key: str) -> bool:
        """See `Store.delete`."""
        request = pb.DeleteRangeRequest(key=self._root + wire.key_bytes(key))
        response, _ = await self._channel.call(
            self._channel.kv.DeleteRange, request, what=f"delete {key}", repeatable=False
        )
        return bool(response.deleted)

    async def txn(
        self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()
    ) -> TxnResult:
        """See `Store.txn`."""
        root = self._root
        success, failure = await in_stored_form(success), await in_stored_form(failure)
        request = pb.TxnRequest(
            compare=[wire.compare_message(root, c) for c in compares],
            success=[wire.op_message(root, op) for op in success],
            failure=[wire.op_message(root, op) for op in failure],
        )
        size = request.ByteSize()
        check_size(size, success, failure)
        what = f"run a transaction over {(*success, *failure, *compares)[0].key}" if size else ""
        response, in_doubt = await self._channel.call(
            self._channel.kv.Txn,
            request,
            what=what,
            repeatable=wire.cannot_happen_twice(compares, success, failure),
        )
        if in_doubt and not response.succeeded and not _reads_only(request.success):
            raise UnavailableError(
                f"cannot {what}: the connection to etcd broke, and the transaction has either happened or "
                "lost its compares; read again",
                reason=OUTCOME_UNKNOWN,
            )
        revision = int(response.header.revision)
        return TxnResult(
            succeeded=response.succeeded,
            revision=revision,
            responses=wire.responses(response.responses, skip=self._skip, revision=revision),
        )

    async def watch(
        self, prefix: str, *, start_revision: int, prev: bool = False, through: str = ""
    ) -> AsyncGenerator[WatchBatch, None]:
        """See `Store.watch`."""
        if self._channel.closed:
            raise closed()
        watch = EtcdWatch(
            self._channel,
            key=self._root + wire.key_bytes(prefix),
            end=wire.prefix_end(self._root + wire.key_bytes(through or prefix)),
            skip=self._skip,
            first=start_revision or await self.revision() + 1,
            prev=prev,
            current_revision=self.revision,
        )
        async with aclosing(watch.batches()) as batches:
            async for batch in batches:
                yield batch

    async def grant(self, ttl: int) -> leases.EtcdLease:
        """See `Store.grant`. etcd's shortest lease is a second and a half election timeouts, so about 2 s."""
        sent_at = asyncio.get_running_loop().time()
        lease_id, granted = await self._grant(ttl)
        handle = leases.EtcdLease(self._channel, lease_id=lease_id, ttl=granted, sent_at=sent_at)
        self._leases.add(handle)
        return handle

    async def grant_once(self, ttl: int) -> int:
        """See `Store.grant_once`."""
        return (await self._grant(ttl))[0]

    async def _grant(self, ttl: int) -> tuple[int, int]:
        """Return the id of a new lease, and the seconds that etcd gave it."""
        if ttl <= 0:
            raise no_time(ttl)
        lease_id = secrets.randbits(62) | 1
        request = pb.LeaseGrantRequest(TTL=ttl, ID=lease_id)
        granted = ttl
        try:
            response, _ = await self._channel.call(
                self._channel.leases.LeaseGrant, request, what="grant a lease", repeatable=True
            )
            granted = int(response.TTL)
        except FailedPreconditionError as error:
            if "already exists" not in error.message:  # else an earlier attempt was done
                raise
        return lease_id, granted

    async def revoke(self, lease: int) -> None:
        """See `Store.revoke`."""
        await leases.revoke(self._channel, lease)

    async def compact(self, revision: int) -> None:
        """See `Store.compact`. Returns when the history is gone from disk too."""
        request = pb.CompactionRequest(revision=revision, physical=True)
        await self._channel.call(
            self._channel.kv.Compact,
            request,
            what=f"compact at revision {revision}",
            repeatable=False,
            revision=revision,
        )

    async def status(self) -> StoreStatus:
        """Return how large etcd is and which alarms it has. Raises `UnavailableError`."""
        return await read_status(self._channel)

    def on_full(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` whenever etcd refuses a write because it is full; return what ends that."""
        self._channel.on_full.append(listener)
        return lambda: self._channel.on_full.remove(listener)

    async def close(self) -> None:
        """See `Store.close`."""
        for lease in list(self._leases):
            await lease.abandon()
        await self._channel.close()

    async def _read_range(self, request: Any, prefix: str) -> Any:
        return await self._channel.read(
            self._channel.kv.Range, request, what=f"list {prefix}", revision=request.revision
        )


def _reads_only(ops: Sequence[Any]) -> bool:
    return all(op.HasField("request_range") for op in ops)
