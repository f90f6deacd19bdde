"""Keeps etcd from filling up, and makes room when it is full.

Owns `Upkeep`, which an apiserver runs. It compacts history that is older than `compact_seconds`, sooner when
the database nears its quota; it refuses what would grow the last tenth of the quota (`check_room`), so that
deletes and the services' own state still fit; and when etcd is full it makes room (`make_room`): compact,
drop what is expendable, defragment, take back the alarm. Each step is taken only if the one before was not
enough. There is no election: an etcd that is full grants no lease. Several apiservers may do all of this at
once: a compaction that is done is done, and a defragmentation is asked for only while it would help.

Concurrency: one task (`run`); `make_room` may be called by any number of tasks, which then share one attempt.

Next: `hanse.store.admin.maintenance`, which does what this decides.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import structlog
from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from hanse.background import OwnedTasks
from hanse.errors import STORE_FULL, HanseError, InternalError, PermissionDeniedError, ResourceExhaustedError
from hanse.process.settings import ETCD_HISTORY_SECONDS
from hanse.store.admin.maintenance import NO_SPACE, Maintenance, StoreStatus

RESERVE: Final = 0.1
"""Share of the quota that only deletes and the services' own state may use."""
NEAR: Final = 0.75
"""Share of the quota above which history is compacted and free space given back early."""
WORTH: Final = 0.05
"""Share of the quota that must be free for a defragmentation to be worth its pause."""
NEAR_HISTORY_SECONDS: Final = 60.0
"""History that is kept when the database nears its quota."""
LAST_HISTORY_SECONDS: Final = 5.0
"""History that is kept when only the reserve is left."""
LOOK_SECONDS: Final = 10.0
NEAR_LOOK_SECONDS: Final = 1.0
LEAST_LOOK_SECONDS: Final = 0.1
MUCH: Final = 0.02
"""Share of the quota after whose growth etcd is asked again: its file grows by more than what is written."""
AGAIN_SECONDS: Final = 15.0
"""Least time between two attempts to make room, or to tidy up early, if the one before was in vain."""

OTHERS_SECONDS: Final = 8.0
"""How long an attempt to make room waits for somebody with more rights."""

_SETTLE_SECONDS: Final = 0.3  # etcd counts what a compaction has freed after its next commit, in 100 ms
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """What the sizes of an etcd mean. `quota` is in bytes; 0 if nobody knows it."""

    quota: int

    def grown_out(self, status: StoreStatus, more: int = 0) -> bool:
        """Return whether only the reserve is left once `more` bytes are written.

        By what is used; and by the size of the file, which etcd looks at, though less of it is a reserve:
        much of what the file has grown by comes back.
        """
        return bool(self.quota) and (
            status.in_use + more >= self.quota * (1 - RESERVE)
            or status.size + more >= self.quota * (1 - RESERVE / 2)
        )

    def near(self, status: StoreStatus) -> bool:
        """Return whether the database nears its quota, or has reached it."""
        return status.full or (bool(self.quota) and status.size >= self.quota * NEAR)

    def worth_defragmenting(self, status: StoreStatus) -> bool:
        """Return whether much of the database is free and given back only by a defragmentation."""
        free = status.size - status.in_use
        return free >= (self.quota or status.size) * WORTH

    def fits(self, status: StoreStatus) -> bool:
        """Return whether etcd would take writes again without its alarm: it compares the size of the file."""
        return not self.quota or status.size < self.quota


@dataclass(slots=True)
class History:
    """Which revision the store had when: the last one that is old enough may be compacted."""

    _seen: deque[tuple[float, int]] = field(default_factory=deque)

    def note(self, moment: float, revision: int) -> None:
        """Take note that the store was at `revision` at `moment` (seconds)."""
        if not self._seen or revision > self._seen[-1][1]:
            self._seen.append((moment, revision))

    def older_than(self, moment: float) -> int:
        """Return the newest revision that was there at `moment`, and forget those before it; 0 for none."""
        while len(self._seen) > 1 and self._seen[1][0] <= moment:
            self._seen.popleft()
        return self._seen[0][1] if self._seen and self._seen[0][0] <= moment else 0


class Upkeep:
    """Keeps one etcd."""

    def __init__(
        self,
        maintenance: Maintenance,
        *,
        revision: Callable[[], Awaitable[int]],
        quota: int = 0,
        compact_seconds: float = ETCD_HISTORY_SECONDS,
        give_up: Callable[[], Awaitable[int]] | None = None,
        tell: Callable[[str], None] = lambda _: None,
        meter: metrics.Meter | None = None,
    ) -> None:
        """`revision` tells the store's revision now. `quota` is in bytes and counts where etcd does not tell;
        0 is unknown: then nothing is refused before etcd refuses it. `compact_seconds` is how much history
        stays; 0 leaves compaction to etcd while it has room. `give_up` deletes what is expendable and returns
        how many keys that were. `tell` is told what is wrong, "" when nothing is any more.
        """
        self._maintenance = maintenance
        self._revision = revision
        self._given_quota = quota
        self._compact_seconds = compact_seconds
        self._give_up = give_up
        self._tell = tell
        self._history = History()
        self._compacted = 0
        self._status: StoreStatus | None = None
        self._written = 0
        self._wake = asyncio.Event()
        self._tasks = OwnedTasks()
        self._making: asyncio.Task[bool] | None = None
        self._not_before = self._tidy_not_before = float("-inf")
        self._denied: dict[str, str] = {}
        self._instruments(meter or metrics.get_meter("hanse"))

    @property
    def status(self) -> StoreStatus | None:
        """How etcd was when it was asked last; None if it never answered."""
        return self._status

    @property
    def limits(self) -> Limits:
        """What its sizes mean."""
        told = self._status.quota if self._status else 0
        return Limits(told or self._given_quota)

    @property
    def tight(self) -> bool:
        """Whether what grows may be refused: `check_room` is then to be asked about updates too."""
        return self._status is not None and self.limits.grown_out(self._status, self._written)

    def check_room(self, grows_by: int) -> None:
        """Raise ResourceExhaustedError (`STORE_FULL`) if a write that grows the store by so many bytes would
        take from the reserve."""
        if self._status is None or grows_by <= 0:
            return
        in_use = self._status.in_use + self._written
        if self.limits.grown_out(self._status, self._written + grows_by):
            self._wake.set()  # what was free meanwhile is not known yet
            raise ResourceExhaustedError(
                f"etcd uses {in_use >> 20} MiB of its quota of {self.limits.quota >> 20} MiB; "
                f"the last {RESERVE:.0%} are kept for deletes and for what the services must store: delete "
                "what is not needed, or raise the quota (docs/operations.md, When etcd is full)",
                reason=STORE_FULL,
            )
        self._written += grows_by
        if self._written >= self.limits.quota * MUCH:
            self._wake.set()

    async def run(self) -> None:
        """Look after etcd until cancelled."""
        while True:
            near = False
            try:
                near = await self._look()
            except HanseError as error:
                _log.warning("etcd cannot be looked after", error=str(error), reason=error.reason)
            except Exception as error:  # noqa: BLE001 - the next look may go well; nobody else looks
                _log.error("looking after etcd failed", exc_info=error)
            await asyncio.sleep(LEAST_LOOK_SECONDS)
            await self._pause(NEAR_LOOK_SECONDS if near else LOOK_SECONDS)

    async def make_room(self) -> bool:
        """Make room in an etcd that is full; return whether it takes writes now.

        Whoever calls while this is going on shares the attempt; soon after one in vain there is none.
        """
        if self._making is None:
            if asyncio.get_running_loop().time() < self._not_before:
                return False
            self._making = self._tasks.start(self._make_room(), name="make room in etcd", told=True)
            self._making.add_done_callback(self._made)
        return await asyncio.shield(self._making)

    # Looking.

    async def _look(self) -> bool:
        """Do what is due; return whether the next look should be soon."""
        status = await self._ask()
        now = asyncio.get_running_loop().time()
        revision = await self._revision()
        self._history.note(now, revision)
        if status.full:
            await self.make_room()
        elif self.limits.near(status):
            await self._tidy(now)
        elif self._compact_seconds:
            await self._compact(self._history.older_than(now - self._compact_seconds))
        self._say()
        return self._status is not None and self.limits.near(self._status)

    async def _pause(self, seconds: float) -> None:
        """Wait, but not once something was refused or much was written."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        self._wake.clear()

    async def _ask(self) -> StoreStatus:
        self._status = await self._maintenance.status()
        self._written = 0
        return self._status

    async def _tidy(self, now: float) -> None:
        """Give back early what nobody needs."""
        if now < self._tidy_not_before:
            return
        last = self._status is not None and self.limits.grown_out(self._status)
        self._tidy_not_before = now + (AGAIN_SECONDS / 5 if last else AGAIN_SECONDS)
        await self._compact(self._history.older_than(now - self._history_seconds()))
        await asyncio.sleep(_SETTLE_SECONDS)
        if self.limits.worth_defragmenting(await self._ask()):
            await self._defragment()

    def _history_seconds(self) -> float:
        """Return how much history is kept now."""
        kept = self._compact_seconds or NEAR_HISTORY_SECONDS
        last = self._status is not None and self.limits.grown_out(self._status)
        return min(LAST_HISTORY_SECONDS if last else NEAR_HISTORY_SECONDS, kept)

    def _say(self) -> None:
        """Tell what is wrong."""
        status = self._status
        if status is None:
            raise InternalError("the status of etcd is not known yet")
        said = []
        if status.full:
            said.append(f"{STORE_FULL}: etcd's alarm {NO_SPACE} is raised and no room could be made")
        elif self.limits.grown_out(status):
            said.append(
                f"{STORE_FULL}: etcd uses {status.in_use >> 20} MiB of its quota of "
                f"{self.limits.quota >> 20} MiB, so that only deletes are taken"
            )
        if status.full:
            said += self._denied.values()
        self._tell("; ".join(said) + "; see docs/operations.md, When etcd is full" if said else "")

    # Making room.

    async def _make_room(self) -> bool:
        """Take the steps, one after the other, until etcd takes writes."""
        if not (await self._ask()).full:
            return True
        _log.warning("etcd is full, making room", size_bytes=self._size(), quota_bytes=self.limits.quota)
        await self._compact(await self._revision())
        await asyncio.sleep(_SETTLE_SECONDS)
        status = await self._ask()
        if self._give_up is not None and not self.limits.worth_defragmenting(status):
            given_up = await self._give_up()
            if given_up:
                _log.warning("gave up what is expendable", keys=given_up)
                await self._compact(await self._revision())
                await asyncio.sleep(_SETTLE_SECONDS)
                status = await self._ask()
        if self.limits.worth_defragmenting(status) or not self.limits.fits(status):
            await self._defragment()
            status = await self._ask()
        if self.limits.fits(status):
            await self._permitted(self._maintenance.disarm(), what="take back the alarm")
            status = await self._ask()
        if status.full and self._denied:
            status = await self._somebody_else()
        if status.full:
            _log.error("no room could be made in etcd", size_bytes=status.size, in_use_bytes=status.in_use)
        else:
            _log.info("etcd has room again", size_bytes=status.size, in_use_bytes=status.in_use)
        return not status.full

    async def _somebody_else(self) -> StoreStatus:
        """Wait a little for who may do what this service may not, such as the supervisor of `hanse up`."""
        deadline = asyncio.get_running_loop().time() + OTHERS_SECONDS
        while (status := await self._ask()).full and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(_SETTLE_SECONDS)
        return status

    def _made(self, task: asyncio.Task[bool]) -> None:
        self._making = None
        if task.cancelled() or task.exception() is not None or not task.result():
            self._not_before = asyncio.get_running_loop().time() + AGAIN_SECONDS

    async def _compact(self, revision: int) -> None:
        if revision <= self._compacted:
            return
        if await self._permitted(self._maintenance.compact(revision), what="compact"):
            self._compacted = revision
            self._compactions.add(1)
            _log.info("compacted etcd", revision=revision)

    async def _defragment(self) -> None:
        if await self._permitted(self._maintenance.defragment(), what="defragment"):
            self._defragmentations.add(1)
            await self._ask()
            _log.info("defragmented etcd", size_bytes=self._size())

    async def _permitted(self, step: Awaitable[None], *, what: str) -> bool:
        """Take a step; return False, and remember that, if etcd does not let this service do it."""
        try:
            await step
        except PermissionDeniedError as error:
            if what not in self._denied:
                _log.warning("etcd must be maintained by somebody else", step=what, error=str(error))
            self._denied[what] = (
                f"etcd does not let this service {what} ({error.message}): give the apiserver the "
                "certificate of an etcd user with the role root (etcd_maintenance_cert), or do it yourself"
            )
            return False
        self._denied.pop(what, None)
        return True

    def _size(self) -> int:
        return self._status.size if self._status else 0

    # Metrics.

    def _instruments(self, meter: metrics.Meter) -> None:
        def known(read: Callable[[StoreStatus], float]) -> Callable[[CallbackOptions], list[Observation]]:
            return lambda _: [Observation(read(self._status))] if self._status is not None else []

        meter.create_observable_gauge(
            "hanse.etcd.db.size_bytes",
            [known(lambda status: status.size)],
            unit="By",
            description="Size of etcd's database file.",
        )
        meter.create_observable_gauge(
            "hanse.etcd.db.in_use_bytes",
            [known(lambda status: status.in_use)],
            unit="By",
            description="What of etcd's database file is used.",
        )
        meter.create_observable_gauge(
            "hanse.etcd.quota_bytes",
            [known(lambda _: self.limits.quota)],
            unit="By",
            description="Size at which etcd takes no writes; 0 if unknown.",
        )
        meter.create_observable_gauge(
            "hanse.etcd.db.fragmentation",
            [known(lambda status: 1 - status.in_use / status.size if status.size else 0.0)],
            unit="1",
            description="Share of the file that is free until a defragmentation.",
        )
        meter.create_observable_gauge(
            "hanse.etcd.full",
            [known(lambda status: float(status.full))],
            unit="1",
            description="1 while etcd's alarm NOSPACE is raised.",
        )
        meter.create_observable_gauge(
            "hanse.etcd.reserve_reached",
            [known(lambda status: float(self.limits.grown_out(status)))],
            unit="1",
            description="1 while only deletes are taken.",
        )
        meter.create_observable_gauge(
            "hanse.etcd.maintenance_denied",
            [known(lambda _: float(bool(self._denied)))],
            unit="1",
            description="1 while etcd does not let this service maintain it.",
        )
        self._compactions = meter.create_counter(
            "hanse.etcd.compactions", unit="{compaction}", description="Compactions of etcd's history."
        )
        self._defragmentations = meter.create_counter(
            "hanse.etcd.defragmentations", unit="{defragmentation}", description="Defragmentations of etcd."
        )
