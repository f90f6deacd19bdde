"""What the names were told to be: the stored record sets, and how to bring them to what they should be.

`changes` is a pure function from the stored and the compiled record sets of Services to the operations that
lead from one to the other; `apply` commits them, in transactions of at most `MAX_OPS` and `MAX_BYTES`, each
with the zone's next serial and fenced with the leader's lease. All records of one Service are in one
transaction unless they alone are more than that. The journal is read once, when leadership begins: nobody
else writes it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from hanse.addresses import is_ip_address
from hanse.api.dns.v1 import record_set_pb2
from hanse.boundary import Boundary
from hanse.errors import ConflictError, InvalidArgumentError
from hanse.kube.kinds.kubernetes import core
from hanse.store import Compare, Delete, KeyValue, Op, Put, Store, keys
from hanse.store.decoding import carry, decode
from hanse.store.times import stamp
from hanse_dns.compiler import CompiledRecord, Scope
from hanse_dns.resolution import Resolution

MAX_OPS = 120
"""Operations of one transaction; etcd takes 128, and one is the serial's."""
MAX_BYTES = 512 * 1024
"""Bytes of record sets in one transaction; etcd takes 1.5 MiB."""
APEX = "@"
"""Name of the key of the zone itself, as in master files."""
SCOPES = {
    Scope.ZONE: record_set_pb2.ZONE,
    Scope.REGION: record_set_pb2.REGION,
    Scope.GLOBAL: record_set_pb2.GLOBAL,
}
Compiled = Mapping[tuple[str, str], tuple[CompiledRecord, ...]]
"""Record sets by the (namespace, name) of their Service."""


def message(
    *, zone: str, service: tuple[str, str], record: CompiledRecord, ttl: int, traceparent: str
) -> record_set_pb2.RecordSet:
    """Return a compiled record as it is stored, without its time."""
    found = record_set_pb2.RecordSet(
        name=f"zones/{zone}/recordSets/{record.fqdn.rstrip('.')}",
        fqdn=record.fqdn,
        ttl=ttl if record.ttl is None else min(ttl, record.ttl),
        scope=SCOPES[record.scope],
        reason=record.reason,
        endpoints=[
            record_set_pb2.Endpoint(
                address=target.address, cluster=target.cluster, host_name=target.host, stale=target.stale
            )
            for target in record.targets
        ],
        left_out=[
            record_set_pb2.LeftOut(cluster=each.cluster, reason=each.reason) for each in record.left_out
        ],
        traceparent=traceparent,
    )
    found.service.resource = core.SERVICE.plural
    found.service.version = "v1"
    found.service.kind = core.SERVICE.name
    found.service.namespace, found.service.name = service
    return found


def stored_record(kv: KeyValue) -> record_set_pb2.RecordSet:
    """Return a stored record set. Raises ValueError for what is none, or is of another name than its key."""
    found = decode(record_set_pb2.RecordSet, kv.value)
    if keys.last_segment(kv.key) != found.fqdn.rstrip("."):
        raise ValueError(f"the stored record set is of {found.fqdn!r}")
    return found


def same(left: record_set_pb2.RecordSet, right: record_set_pb2.RecordSet) -> bool:
    """Return whether two record sets say the same, whenever and by whichever trace they were written."""
    return (left.fqdn, left.ttl, left.scope, left.reason, left.endpoints, left.left_out) == (
        right.fqdn,
        right.ttl,
        right.scope,
        right.reason,
        right.endpoints,
        right.left_out,
    )


def resolutions(records: Iterable[record_set_pb2.RecordSet]) -> dict[str, Resolution]:
    """Return what record sets have of host names that were resolved: the last good addresses survive."""
    found: dict[str, set[str]] = {}
    stale: dict[str, str] = {}
    ttls: dict[str, int] = {}
    for record in records:
        for endpoint in record.endpoints:
            if not endpoint.host_name or not is_ip_address(endpoint.address):
                continue
            found.setdefault(endpoint.host_name, set()).add(endpoint.address)
            ttls[endpoint.host_name] = max(record.ttl, ttls.get(endpoint.host_name, 0))
            stale[endpoint.host_name] = endpoint.stale
    return {
        host: Resolution(
            ipv4=tuple(sorted(each for each in addresses if ":" not in each)),
            ipv6=tuple(sorted(each for each in addresses if ":" in each)),
            ttl=ttls[host],
            problem=stale[host],
        )
        for host, addresses in found.items()
    }


def _fits(ops: Sequence[Op]) -> bool:
    """Return whether operations fit into one transaction."""
    size = sum(len(op.value) for op in ops if isinstance(op, Put))
    return len(ops) <= MAX_OPS and size <= MAX_BYTES


def _parts(ops: Sequence[Op]) -> Iterator[list[Op]]:
    """Split operations into as few transactions as they fit into; one that fits into none is alone."""
    part: list[Op] = []
    for op in ops:
        if part and not _fits([*part, op]):
            yield part
            part = []
        part.append(op)
    if part:
        yield part


class Journal:
    """The stored record sets of one zone, held by the leader."""

    def __init__(
        self, store: Store, *, zone: str, fence: Compare, clock: Callable[[], float] = time.time
    ) -> None:
        """`clock` returns seconds since the epoch."""
        self._store = store
        self._zone = zone
        self._fence = fence
        self._clock = clock
        self._records: dict[tuple[str, str], dict[str, record_set_pb2.RecordSet]] = {}
        self._stored_zone: record_set_pb2.Zone | None = None
        self._boundary = Boundary("dns journal")

    @property
    def services(self) -> set[tuple[str, str]]:
        """The Services that have names, as (namespace, name)."""
        return set(self._records)

    @property
    def resolutions(self) -> dict[str, Resolution]:
        """What is stored of host names that were resolved."""
        return resolutions(record for named in self._records.values() for record in named.values())

    async def load(self) -> None:
        """Read everything that is stored. Raises UnavailableError."""
        self._records.clear()
        stored = await self._store.range(f"{keys.RECORDS}/{self._zone}/")
        for item in stored.items:
            if item.key == keys.record(self._zone, APEX):
                self._stored_zone = self._read_zone(item)
                continue
            try:
                keys.check(item.key)
                found = stored_record(item)
                service = (found.service.namespace, found.service.name)
                keys.ObjectKey(*core.SERVICE.group_plural, *service).path()
            except (ValueError, InvalidArgumentError) as error:
                # Of this name: it is written again when its Service is compiled.
                self._boundary.failed(item.key, error)
                continue
            self._records.setdefault(service, {})[found.fqdn] = found

    def _read_zone(self, item: KeyValue) -> record_set_pb2.Zone:
        """Return the stored zone; for one that cannot be read one with a higher serial than it can have
        had.
        """
        try:
            return decode(record_set_pb2.Zone, item.value)
        except ValueError as error:
            self._boundary.failed(item.key, error)
            return record_set_pb2.Zone(serial=int(self._clock()))

    async def apply(
        self,
        wanted: Compiled,
        *,
        ttl: int,
        traceparents: Mapping[tuple[str, str], str],
        keep: bool = False,
    ) -> int:
        """Make the record sets of the Services in `wanted` what it says; returns how many it changed.

        With `keep` no name is deleted of a Service that is to have names: it is not known where it may be.

        Raises ConflictError when leadership is over, UnavailableError when the store does not answer; the
        journal must be loaded again after either.
        """
        written = 0
        for batch in self._batches(wanted, ttl=ttl, traceparents=traceparents, keep=keep):
            await self._commit(batch)
            written += len(batch)
        return written

    def _batches(
        self, wanted: Compiled, *, ttl: int, traceparents: Mapping[tuple[str, str], str], keep: bool
    ) -> Iterator[list[Op]]:
        batch: list[Op] = []
        for service, compiled in wanted.items():
            messages = [
                message(
                    zone=self._zone,
                    service=service,
                    record=record,
                    ttl=ttl,
                    traceparent=traceparents.get(service, ""),
                )
                for record in compiled
            ]
            for part in _parts(self._changes(service, messages, keep=keep and bool(compiled))):
                if not _fits([*batch, *part]):
                    yield batch
                    batch = []
                batch.extend(part)
        if batch:
            yield batch

    def _changes(
        self, service: tuple[str, str], wanted: Iterable[record_set_pb2.RecordSet], *, keep: bool
    ) -> list[Op]:
        """Return the operations for one Service; the journal is taken to have them done."""
        stored = self._records.get(service, {})
        now = Timestamp()
        now.FromNanoseconds(int(self._clock() * 1e9))
        after: dict[str, record_set_pb2.RecordSet] = {}
        ops: list[Op] = []
        for made in wanted:
            before = stored.get(made.fqdn)
            record = carry(before, made)
            if before is not None and same(before, record):
                after[record.fqdn] = before
                continue
            record.update_time.CopyFrom(now)
            if before is None or before.HasField("create_time"):
                record.create_time.CopyFrom(now if before is None else before.create_time)
            after[record.fqdn] = record
            ops.append(Put(self._key(record.fqdn), record.SerializeToString()))
        if keep:
            after |= {fqdn: record for fqdn, record in stored.items() if fqdn not in after}
        ops.extend(Delete(self._key(fqdn)) for fqdn in stored if fqdn not in after)
        if after:
            self._records[service] = after
        else:
            self._records.pop(service, None)
        return ops

    async def _commit(self, batch: list[Op]) -> None:
        before = self._stored_zone
        zone = record_set_pb2.Zone(
            name=f"zones/{self._zone}",
            origin=f"{self._zone}.",
            serial=((before.serial if before is not None else 0) + 1) & 0xFFFFFFFF or 1,
            record_sets=sum(map(len, self._records.values())),
        )
        now = datetime.fromtimestamp(self._clock(), UTC)
        self._stored_zone = stamp(before, carry(before, zone), now=now)
        serial = Put(keys.record(self._zone, APEX), zone.SerializeToString())
        result = await self._store.txn([self._fence], [*batch, serial])
        if not result.succeeded:
            raise ConflictError(f"another dns service leads zone {self._zone} now", reason="NOT_LEADER")

    def _key(self, fqdn: str) -> str:
        return keys.record(self._zone, fqdn.rstrip("."))
