"""Bounds of what a server works at at once, for each user and for all: the same over REST and gRPC.

Owns `Flow`. Requests take a seat while they are answered; where none is free they wait, for a while and in a
bounded queue, and are then refused with ResourceExhaustedError (429) and a time to come back. Watches are
counted apart. Hanse's own services have seats of their own, so that no user can stop the federation; and so
has everybody who may only ask about itself, few of them, so that those cannot stop the users.

Concurrency: one loop. What decides is in `hanse.fairshare`. Next: `hanse.kube.server.dispatch` and
`hanse.rpc.interceptor`, which ask.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from opentelemetry import metrics

from hanse.errors import ResourceExhaustedError
from hanse.fairshare import FairShare, Quota, SeatDecision
from hanse.security.auth import SERVICES

TOO_MANY_REQUESTS = "TOO_MANY_REQUESTS"
TOO_MANY_WATCHES = "TOO_MANY_WATCHES"
_RETRY_SECONDS = 1.0
_RETRY_WATCH_SECONDS = 5.0


class _Ticket:
    """Stands for one request in the queue."""

    __slots__ = ("seated", "waiter")

    def __init__(self) -> None:
        self.seated = False
        self.waiter: asyncio.Future[None] | None = None

    def seat(self) -> None:
        """Let the request go on, or find, if it is being cancelled, that it has a seat to give back."""
        self.seated = True
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


@dataclass(frozen=True, slots=True)
class FlowLimits:
    """How much is worked at at once. The defaults let a person's bulk load wait rather than fail."""

    requests: int = 256
    """Requests of users in all."""
    requests_per_user: int = 128
    service_requests: int = 256
    """Requests of Hanse's services, which have these seats for themselves."""
    stranger_requests: int = 32
    """Requests of those who may only ask about themselves, who have these seats and no others."""
    stranger_requests_per_user: int = 4
    queued: int = 4000
    """Requests that wait, in all."""
    queued_per_user: int = 1000
    queue_seconds: float = 15.0
    """How long a request waits before it is refused."""
    watches: int = 10_000
    watches_per_user: int = 2500


class Flow:
    """The bounds of one server."""

    def __init__(self, limits: FlowLimits | None = None, *, groups: Iterable[str] | None = None) -> None:
        """Let who is in none of `groups` only ask about itself; None counts everybody as a user."""
        limits = limits or FlowLimits()
        self._groups = None if groups is None else frozenset(groups)
        self._seconds = limits.queue_seconds
        self._users = _share(limits, seats=limits.requests, per_user=limits.requests_per_user)
        self._services = _share(limits, seats=limits.service_requests, per_user=limits.service_requests)
        self._strangers = _share(
            limits, seats=limits.stranger_requests, per_user=limits.stranger_requests_per_user
        )
        self._watches = Quota(total=limits.watches, per_user=limits.watches_per_user)
        self._service_watches = Quota(total=limits.watches, per_user=limits.watches)
        meter = metrics.get_meter("hanse")
        self._refused = meter.create_counter(
            "hanse.requests.refused", unit="{request}", description="Requests refused for being too many."
        )
        self._waiting = meter.create_up_down_counter(
            "hanse.requests.waiting", unit="{request}", description="Requests that wait for others."
        )

    @asynccontextmanager
    async def request(self, user: str, groups: Sequence[str]) -> AsyncIterator[None]:
        """Hold a seat for a request; wait for it if need be. Raises ResourceExhaustedError."""
        share = self._share_of(groups)
        await self._sit(share, user)
        try:
            yield
        finally:
            _free(share, user)

    def _share_of(self, groups: Sequence[str]) -> FairShare[_Ticket]:
        if SERVICES in groups:
            return self._services
        if self._groups is not None and self._groups.isdisjoint(groups):
            return self._strangers
        return self._users

    @contextmanager
    def watch(self, user: str, groups: Sequence[str]) -> Iterator[None]:
        """Count a watch while it lasts. Raises ResourceExhaustedError."""
        quota = self._service_watches if SERVICES in groups else self._watches
        verdict = quota.arrive(user)
        if verdict is not SeatDecision.SEATED:
            whose = f"{user} has" if verdict is SeatDecision.REFUSED_USER else "all users together have"
            raise self._refuse(
                f"too many watches: {whose} as many open as this server allows; close some",
                reason=TOO_MANY_WATCHES,
                retry_after=_RETRY_WATCH_SECONDS,
            )
        try:
            yield
        finally:
            quota.leave(user)

    async def _sit(self, share: FairShare[_Ticket], user: str) -> None:
        ticket = _Ticket()
        verdict = share.arrive(user, ticket)
        if verdict is SeatDecision.SEATED:
            return
        if verdict is not SeatDecision.WAITS:
            whose = f"of {user} " if verdict is SeatDecision.REFUSED_USER else ""
            raise self._too_many(f"as many requests {whose}wait already as this server allows")
        ticket.waiter = asyncio.get_running_loop().create_future()
        self._waiting.add(1)
        try:
            async with asyncio.timeout(self._seconds):
                await ticket.waiter
        except BaseException as error:
            if ticket.seated:
                _free(share, user)
            else:
                share.abandon(user, ticket)
            if isinstance(error, TimeoutError):
                raise self._too_many(f"this one waited {self._seconds:g} s for others to end") from None
            raise
        finally:
            self._waiting.add(-1)

    def _too_many(self, why: str) -> ResourceExhaustedError:
        return self._refuse(
            f"too many requests: {why}; try again later, with fewer at once",
            reason=TOO_MANY_REQUESTS,
            retry_after=_RETRY_SECONDS,
        )

    def _refuse(self, message: str, *, reason: str, retry_after: float) -> ResourceExhaustedError:
        self._refused.add(1, {"hanse.reason": reason})
        return ResourceExhaustedError(message, reason=reason, retry_after=retry_after)


def _share(limits: FlowLimits, *, seats: int, per_user: int) -> FairShare[_Ticket]:
    return FairShare(
        seats=seats, per_user=per_user, queued=limits.queued, queued_per_user=limits.queued_per_user
    )


def _free(share: FairShare[_Ticket], user: str) -> None:
    """Leave a seat and let in whoever has it now."""
    ticket = share.leave(user)
    if ticket is not None:
        ticket.seat()
