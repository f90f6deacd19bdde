"""How fast one member's watches are read: a token bucket that all of them share.

Owns `Pace`. What comes faster waits, and with it the connection: TCP tells the member, and nothing is dropped
or kept. Events that are large count for several. A member that goes on like that for minutes is misbehaving.

Concurrency: any number of tasks of one event loop; `Bucket` is pure, time is an argument. Next:
`hanse.kube.client.transport`, which has one for each member.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from hanse.kube.client.bounds import MisbehavingMemberError

EVENTS_PER_SECOND: Final = 1_000.0
"""What is read of one member for long. A cluster of 5,000 nodes has some 100 changes a second of the kinds
that are followed; a syncer takes in 10,000."""

BURST: Final = 20_000.0
"""Events that may come at once: ten thousand objects, each changed twice."""

BYTES_PER_EVENT: Final = 4096
"""So many bytes count as an event: 4 MiB a second."""

PATIENCE_SECONDS: Final = 180.0
"""How long a member may have more to say than is read before it is misbehaving. The largest rollout that
Kubernetes is built for is over by then."""


@dataclass(slots=True)
class Bucket:
    """Tokens that come back by time; what is taken beyond them is a debt, which time pays."""

    rate: float
    burst: float
    tokens: float
    at: float
    behind_since: float | None = None
    """Since when more came than was to be read; a while of quiet ends it."""

    def take(self, now: float, weight: float) -> float:
        """Take `weight` tokens; return the seconds to wait before the next is taken."""
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens >= self.burst / 2:
            self.behind_since = None
        self.tokens -= weight
        if self.tokens >= 0:
            return 0.0
        if self.behind_since is None:
            self.behind_since = now
        return -self.tokens / self.rate


class Pace:
    """Holds back the readers of one member's watches."""

    def __init__(
        self,
        server: str,
        *,
        rate: float = EVENTS_PER_SECOND,
        burst: float = BURST,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """`rate` is in events per second; `server` names the member in messages."""
        self._server = server
        self._rate = rate
        self._burst = burst
        self._patience = patience
        self._bucket: Bucket | None = None

    async def took(self, size: int) -> None:
        """Take note that an event of so many bytes came: wait as long as that is too fast.

        Raises MisbehavingMemberError when it has been for so long; what comes then is counted from the start.
        """
        now = asyncio.get_running_loop().time()
        if self._bucket is None:
            self._bucket = Bucket(self._rate, self._burst, self._burst, now)
        bucket = self._bucket
        wait = bucket.take(now, 1 + size // BYTES_PER_EVENT)
        if wait <= 0:
            return
        if bucket.behind_since is not None and now - bucket.behind_since > self._patience:
            self._bucket = None
            raise MisbehavingMemberError(
                f"{self._server} has sent more than {self._rate:g} events a second for {self._patience:g} s",
                metadata={"bound": f"{self._rate:g}"},
            )
        await asyncio.sleep(wait)
