"""Who may work now, who waits and who is turned away: seats shared fairly between users. Pure.

Owns `FairShare` (requests: a seat each while they are answered, a bounded queue before that) and `Quota`
(what stays for long, such as watches: counted, never queued). As in Kubernetes' priority and fairness, a user
who asks for much waits for its own requests and delays nobody else's.

Concurrency: synchronous; one owner. Next: `hanse.flow`, which waits.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

T = TypeVar("T")


class SeatDecision(Enum):
    """What becomes of an arrival."""

    SEATED = "seated"
    WAITS = "waits"
    REFUSED_USER = "the user's queue is full"
    REFUSED_ALL = "all queues are full"


@dataclass(slots=True)
class _User(Generic[T]):
    seats: int = 0
    queue: deque[T] = field(default_factory=deque)


class FairShare(Generic[T]):
    """Seats for requests. A ticket of type T stands for one that waits."""

    def __init__(self, *, seats: int, per_user: int, queued: int, queued_per_user: int) -> None:
        self._seats = seats
        self._per_user = min(per_user, seats)
        self._queued = queued
        self._queued_per_user = queued_per_user
        self._users: dict[str, _User[T]] = {}
        self._waiting: dict[str, _User[T]] = {}  # those with a queue, the one that was served last at the end
        self.taken = 0
        """Seats that are taken."""
        self.waiting = 0
        """How many wait."""

    def arrive(self, user: str, ticket: T) -> SeatDecision:
        """Take a seat if one is free and the user has fewer than its bound; else queue if there is room."""
        state = self._users.get(user)
        if state is None:
            state = self._users[user] = _User()
        if self.taken < self._seats and state.seats < self._per_user:
            self._sit(state)
            return SeatDecision.SEATED
        if len(state.queue) >= self._queued_per_user:
            verdict = SeatDecision.REFUSED_USER
        elif self.waiting >= self._queued:
            verdict = SeatDecision.REFUSED_ALL
        else:
            state.queue.append(ticket)
            self._waiting.setdefault(user, state)
            self.waiting += 1
            return SeatDecision.WAITS
        self._forget(user, state)
        return verdict

    def leave(self, user: str) -> T | None:
        """Free a seat of the user; return the ticket that has it now, None if nobody may take it.

        Of those who wait it is the user with the fewest seats, of equals the one served longest ago.
        """
        state = self._users[user]
        state.seats -= 1
        self.taken -= 1
        next_user, best = "", self._per_user
        for name, each in self._waiting.items():
            if each.seats < best:
                next_user, best = name, each.seats
                if not best:
                    break
        ticket = self._seat_next(next_user) if next_user in self._waiting else None
        self._forget(user, state)
        return ticket

    def abandon(self, user: str, ticket: T) -> None:
        """Take a ticket that waits out of its queue."""
        state = self._users[user]
        state.queue.remove(ticket)
        self.waiting -= 1
        if not state.queue:
            del self._waiting[user]
        self._forget(user, state)

    def _sit(self, state: _User[T]) -> None:
        state.seats += 1
        self.taken += 1

    def _seat_next(self, user: str) -> T:
        state = self._waiting.pop(user)
        ticket = state.queue.popleft()
        self.waiting -= 1
        if state.queue:
            self._waiting[user] = state
        self._sit(state)
        return ticket

    def _forget(self, user: str, state: _User[T]) -> None:
        if not state.seats and not state.queue:
            self._users.pop(user, None)


class Quota:
    """How many of something each user and all together may have."""

    def __init__(self, *, total: int, per_user: int) -> None:
        self._total = total
        self._per_user = per_user
        self._users: Counter[str] = Counter()
        self.taken = 0
        """How many there are."""

    def arrive(self, user: str) -> SeatDecision:
        """Count one more, unless the user or all have as many as they may. Never waits."""
        if self._users[user] >= self._per_user:
            return SeatDecision.REFUSED_USER
        if self.taken >= self._total:
            verdict = SeatDecision.REFUSED_ALL
            if not self._users[user]:
                del self._users[user]
            return verdict
        self._users[user] += 1
        self.taken += 1
        return SeatDecision.SEATED

    def leave(self, user: str) -> None:
        """Count one less."""
        self.taken -= 1
        self._users[user] -= 1
        if not self._users[user]:
            del self._users[user]
