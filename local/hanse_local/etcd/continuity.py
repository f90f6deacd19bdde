"""Whether etcd still has the federation that this data directory had.

Owns the rule by which `hanse up` tells a federation that goes on from one that was lost. The id is on every
object in every member, so an etcd that was lost or emptied must not be filled with another federation
unless somebody says so. Unknown is not empty: an etcd that cannot be read stops the start as well.

Concurrency: `read_id` is a few calls with a deadline; the rest is pure, but for a look at the directory.

Next: `hanse_local.supervise.host`, which asks between the start of etcd and that of the services.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from google.protobuf.message import DecodeError

from hanse.errors import FEDERATION_DIFFERS, FEDERATION_LOST, DataLossError, FailedPreconditionError
from hanse.process.settings import TlsFiles
from hanse_local.supervise.state import DirectoryState


@dataclass(frozen=True, slots=True)
class EtcdAccess:
    """How the federation's etcd is reached, and what people call it."""

    endpoints: tuple[str, ...]
    prefix: str
    tls: TlsFiles | None
    where: str
    root: bool = False
    """Whether `tls` is of etcd's administrator, who gives the services their rights."""


async def read_id(access: EtcdAccess) -> str:
    """Return the id of the federation in etcd; empty if etcd answers that it has none.

    Where the etcd is ours, each service is first given its rights there, and no others. Raises HanseError if
    the id cannot be told.
    """
    from hanse.api.federation.v1.federation_pb2 import Federation
    from hanse.store import EtcdStore  # here, because it would make every command of `hanse` slower
    from hanse.store.keys import FEDERATION

    if access.root:
        await _entitle(access)
    store = await EtcdStore.connect(access.endpoints, prefix=access.prefix, tls=access.tls)
    try:
        found = await store.get(FEDERATION)
    finally:
        await store.close()
    if found is None:
        return ""
    try:
        return Federation.FromString(found.value).id
    except DecodeError as error:
        raise DataLossError(
            f"{access.where} has a federation that cannot be read: restore a backup"
        ) from error


async def found_again(
    access: EtcdAccess,
    federation_id: str,
    short_name: str,
    dns_suffix: str,
    *,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> str:
    """Found the federation under the id that it had, in an etcd that has none. Returns the id.

    Raises FailedPreconditionError if somebody has founded one meanwhile.
    """
    from hanse.api.federation.v1.federation_pb2 import Federation
    from hanse.store import Compare, EtcdStore, Put
    from hanse.store.keys import FEDERATION

    made = Federation(name="federation", id=federation_id, short_name=short_name, dns_suffix=dns_suffix)
    made.create_time.FromDatetime(clock().replace(microsecond=0))
    store = await EtcdStore.connect(access.endpoints, prefix=access.prefix, tls=access.tls)
    try:
        done = await store.txn([Compare.absent(FEDERATION)], [Put(FEDERATION, made.SerializeToString())])
    finally:
        await store.close()
    if not done.succeeded:
        raise FailedPreconditionError(f"{access.where} has a federation now: try again")
    return federation_id


async def _entitle(access: EtcdAccess) -> None:
    from hanse.store.admin.roles import Roles

    roles = await Roles.connect(access.endpoints, prefix=access.prefix, tls=access.tls)
    try:
        await roles.apply()
    finally:
        await roles.close()


def check_directory(etcd: Path, state: DirectoryState) -> None:
    """Raise FailedPreconditionError if the embedded etcd would begin with nothing where there was a
    federation. It is not started then, so that a backup finds its place free."""
    if state.has_federation and not (etcd / "member").is_dir():
        raise _lost(str(etcd), state, root=etcd.parent)


def check_id(found: str, state: DirectoryState, *, where: str, root: Path) -> None:
    """Raise FailedPreconditionError unless `found`, read from the etcd at `where`, is the federation of
    the data directory at `root`, or neither has one."""
    if not found and state.has_federation:
        raise _lost(where, state, root=root)
    if state.federation_id not in {"", found}:
        raise FailedPreconditionError(
            f"{where} has the federation {found}, and {root} had {state.federation_id}: restore a backup of "
            f"that (see docs/operations.md), or, to start over on purpose, move {root} away first",
            reason=FEDERATION_DIFFERS,
        )


def _lost(where: str, state: DirectoryState, *, root: Path) -> FailedPreconditionError:
    which = f"the federation {state.federation_id}" if state.federation_id else "a federation"
    return FailedPreconditionError(
        f"{where} is empty, and {root} had {which}: restore a backup of it (see docs/operations.md), or, to "
        f"start over on purpose, move {root} away first",
        reason=FEDERATION_LOST,
    )
