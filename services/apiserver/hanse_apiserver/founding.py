"""The identity of the federation, which must exist before anybody can use it.

Owns the key `federation`. The first apiserver that starts writes it; all later ones read it, whatever their
settings say, because the id is on every object in every member.

Idempotent; any number of apiservers may do it at once. Next: `hanse_apiserver.app`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime

from hanse import __version__
from hanse.api.federation.v1.federation_pb2 import Federation
from hanse.errors import FEDERATION_DIFFERS, FEDERATION_LOST, DataLossError, FailedPreconditionError
from hanse.kube.model.times import utc_now
from hanse.process.settings import check_names
from hanse.process.telemetry import get_logger
from hanse.store import Compare, Get, Put, Store
from hanse.store.decoding import decode
from hanse.store.keys import FEDERATION

_log = get_logger(__name__)


async def found(
    store: Store,
    *,
    short_name: str,
    dns_suffix: str,
    expected: str = "",
    clock: Callable[[], datetime] = utc_now,
) -> Federation:
    """Return the federation, which is founded with this name and suffix if it does not exist.

    With the id that is `expected`, none is founded, and no other taken: raises FailedPreconditionError
    (`FEDERATION_LOST`, `FEDERATION_DIFFERS`). Raises ConfigError, having founded nothing, for names that
    could not stand in DNS.
    """
    check_names(short_name, dns_suffix)
    new = Federation(name="federation", id=str(uuid.uuid4()), short_name=short_name, dns_suffix=dns_suffix)
    new.create_time.FromDatetime(clock().replace(microsecond=0))
    there = await store.get(FEDERATION)  # a store that is full takes no transaction that could write
    if there is None and expected:
        raise FailedPreconditionError(
            f"etcd has no federation, and must have {expected}: it was lost or emptied; restore a backup of "
            "it (see docs/operations.md)",
            reason=FEDERATION_LOST,
        )
    if there is None:
        result = await store.txn(
            [Compare.absent(FEDERATION)], [Put(FEDERATION, new.SerializeToString())], [Get(FEDERATION)]
        )
        found_range = None if result.succeeded else result.responses[0]
        there = found_range.items[0] if found_range is not None else None
    if there is None:
        _log.info("founded the federation", id=new.id, name=short_name, dns_suffix=dns_suffix)
        federation = new
    else:
        federation = _read(there.value)
        if expected not in ("", federation.id):
            raise FailedPreconditionError(
                f"etcd has the federation {federation.id}, and must have {expected}: restore a backup of "
                "that (see docs/operations.md)",
                reason=FEDERATION_DIFFERS,
            )
        if (federation.short_name, federation.dns_suffix) != (short_name, dns_suffix):
            _log.warning(
                "the federation was founded with another name or suffix, which stand",
                name=federation.short_name,
                dns_suffix=federation.dns_suffix,
                configured_name=short_name,
                configured_dns_suffix=dns_suffix,
            )
    federation.version = __version__
    return federation


def _read(value: bytes) -> Federation:
    """Return the stored federation. Its id is on every object in every member, so none is made up for it."""
    try:
        return decode(Federation, value)
    except ValueError as error:
        raise DataLossError(
            f"the key {FEDERATION} cannot be read, so it is not known which objects in the members are of "
            f"this federation: {error}; restore it from a backup"
        ) from error
