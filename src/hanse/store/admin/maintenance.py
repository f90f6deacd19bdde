"""What an administrator does with etcd: how large it is, compaction, defragmentation, its alarms.

Owns `EtcdMaintenance`, which speaks to each endpoint by itself: size and defragmentation are a member's own.
A member that does not answer keeps nobody from maintaining the others.
Where etcd has authentication, all but the status needs the role `root` (compaction and alarms do in the newer
releases only); without it these raise PermissionDeniedError. Safe for any number of tasks of one event loop.

Next: `hanse.store.admin.upkeep`, which decides when to do what.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self, TypeVar

from etcd3aio import _protobuf as pb

from hanse.errors import CompactedError, HanseError, UnavailableError
from hanse.process.settings import TlsFiles
from hanse.store.etcd.channel import EtcdChannel, open_channel

NO_SPACE: Final = "NOSPACE"
"""etcd's name of the alarm for a quota that is used up."""

_Answer = TypeVar("_Answer")
STATUS_SECONDS: Final = 3.0
"""How long a member may take to say how it is."""
WORK_SECONDS: Final = 120.0
"""How long a compaction or a defragmentation may take; the latter copies the member's whole database."""

_GET, _DEACTIVATE, _ALARM_NO_SPACE = 0, 2, 1  # AlarmRequest.AlarmAction, AlarmType


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """How etcd is; of several members, the worst. Sizes are in bytes.

    `size` is that of the database file, which the quota bounds; `in_use` what of it is used, the rest is free
    until a defragmentation gives it back. `quota` is 0 if etcd does not tell (before 3.6).
    """

    version: str
    size: int
    in_use: int
    quota: int = 0
    alarms: frozenset[str] = frozenset()

    @property
    def full(self) -> bool:
        """Whether etcd takes no writes for want of room."""
        return NO_SPACE in self.alarms


class Maintenance(Protocol):
    """What `hanse.store.admin.upkeep` needs of a store."""

    async def status(self) -> StoreStatus:
        """Return how it is. Raises UnavailableError."""

    async def compact(self, revision: int) -> None:
        """Forget history before `revision`; harmless if that is done. Raises HanseError."""

    async def defragment(self) -> None:
        """Give back what is free. Raises HanseError."""

    async def disarm(self) -> None:
        """Take back the alarm for want of room. Raises HanseError."""


class EtcdMaintenance:
    """Maintains the members at `endpoints`. Make it with `connect`, and `close` it."""

    def __init__(self, asking: Sequence[EtcdChannel], working: Sequence[EtcdChannel]) -> None:
        self._asking = tuple(asking)
        self._working = tuple(working)

    @classmethod
    async def connect(cls, endpoints: Sequence[str], *, tls: TlsFiles | None = None) -> Self:
        """Return it without asking anybody yet. Raises ConfigError, UnavailableError."""

        async def channels(timeout: float) -> list[EtcdChannel]:
            return [
                await open_channel([each], tls=tls, tls_server_name=None, timeout=timeout)
                for each in endpoints
            ]

        return cls(await channels(STATUS_SECONDS), await channels(WORK_SECONDS))

    async def status(self) -> StoreStatus:
        """See `Maintenance.status`. One member that answers is enough."""
        found = await _of_those_that_answer(read_status(channel) for channel in self._asking)
        return StoreStatus(
            version=min(each.version for each in found),
            size=max(each.size for each in found),
            in_use=max(each.in_use for each in found),
            quota=min((each.quota for each in found if each.quota), default=0),
            alarms=frozenset().union(*(each.alarms for each in found)),
        )

    async def compact(self, revision: int) -> None:
        """See `Maintenance.compact`. Any member does it for all."""
        request = pb.CompactionRequest(revision=revision, physical=True)

        async def work(channel: EtcdChannel) -> None:
            try:
                await channel.call(
                    channel.kv.Compact, request, what=f"compact at revision {revision}", repeatable=True,
                    revision=revision,
                )  # fmt: skip
            except CompactedError:
                return

        await self._by_any(work)

    async def defragment(self) -> None:
        """See `Maintenance.defragment`. One member after the other, as each is blocked meanwhile; one that
        does not answer is left for later."""
        answering = await _of_those_that_answer(self._answers(number) for number in range(len(self._asking)))
        for channel in (self._working[number] for number in answering):
            await channel.call(
                channel.maintenance.Defragment, pb.DefragmentRequest(), what="defragment", repeatable=True
            )

    async def disarm(self) -> None:
        """See `Maintenance.disarm`. Any member does it for all."""

        async def work(channel: EtcdChannel) -> None:
            request = pb.AlarmRequest(action=_GET, alarm=_ALARM_NO_SPACE)
            raised, _ = await channel.call(
                channel.maintenance.Alarm, request, what="read the alarms", repeatable=True
            )
            for alarm in raised.alarms:
                if alarm.alarm == _ALARM_NO_SPACE:
                    request = pb.AlarmRequest(
                        action=_DEACTIVATE, memberID=alarm.memberID, alarm=_ALARM_NO_SPACE
                    )
                    await channel.call(
                        channel.maintenance.Alarm, request, what="take back the alarm", repeatable=True
                    )

        await self._by_any(work)

    async def _answers(self, number: int) -> int:
        """Return `number`, if that member answers."""
        await read_status(self._asking[number])
        return number

    async def _by_any(self, work: Callable[[EtcdChannel], Awaitable[None]]) -> None:
        """Have the first member that answers do it."""
        answering = await _of_those_that_answer(self._answers(number) for number in range(len(self._asking)))
        await work(self._working[answering[0]])

    async def close(self) -> None:
        """Let go of all connections."""
        for channel in (*self._asking, *self._working):
            await channel.close()


async def _of_those_that_answer(questions: Iterable[Awaitable[_Answer]]) -> list[_Answer]:
    """Return the answers of those members that give one. Raises UnavailableError if none does."""
    results = await asyncio.gather(*questions, return_exceptions=True)
    found = [each for each in results if not isinstance(each, BaseException)]
    if not found:
        raise next((each for each in results if isinstance(each, BaseException)), _nobody())
    for each in results:
        if isinstance(each, BaseException) and not isinstance(each, HanseError):
            raise each
    return found


def _nobody() -> UnavailableError:
    return UnavailableError("no etcd endpoint is given")


async def read_status(channel: EtcdChannel) -> StoreStatus:
    """Return how the member is that `channel` leads to. Raises UnavailableError."""
    response: Any = await channel.read(
        channel.maintenance.Status, pb.StatusRequest(), what="read etcd's status"
    )
    return StoreStatus(
        version=str(response.version),
        size=int(response.dbSize),
        in_use=int(response.dbSizeInUse),
        quota=int(response.dbSizeQuota),
        # Its members' alarms are there as text: `memberID:1 alarm:NOSPACE`.
        alarms=frozenset({NO_SPACE} if any(NO_SPACE in error for error in response.errors) else ()),
    )
