"""Who is answered: cookies and rates put together, with the clocks.

Owns `Guarding`, which `hanse_dns.serving.responder` asks about every question. One loop.
`hanse_dns.serving.ratelimit` and `hanse_dns.serving.cookies` are next.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Hashable
from pathlib import Path

from opentelemetry import metrics

from hanse_dns.serving.cookies import Cookies, FileSecrets, RandomSecrets
from hanse_dns.serving.ratelimit import RateLimiter, Verdict
from hanse_dns.settings import DnsSettings


class Guarding:
    """Decides by the settings."""

    def __init__(
        self,
        settings: DnsSettings,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` is seconds since the epoch, `monotonic` any that never goes back. Raises ConfigError."""
        file = settings.dns_cookie_secret_file
        self._cookies = Cookies(FileSecrets(Path(file)) if file else RandomSecrets())
        self._limiter = (
            RateLimiter(
                rate=settings.dns_rate_limit,
                slip=settings.dns_rate_limit_slip,
                exempt=[ipaddress.ip_network(each) for each in settings.dns_rate_limit_exempt],
            )
            if settings.dns_rate_limit
            else None
        )
        self._clock = clock
        self._monotonic = monotonic
        self._limited = metrics.get_meter("hanse").create_counter(
            "hanse.dns.limited",
            unit="{response}",
            description="Responses over the rate, by what became of them.",
        )

    def cookie(self, cookie: bytes, client: str) -> tuple[bytes, bool]:
        """Return the cookie to answer with, and whether the client's is good."""
        return self._cookies.check(cookie, client, now=self._clock())

    def judge(self, client: str, kind: Hashable) -> Verdict:
        """Return what becomes of a response of this kind."""
        if self._limiter is None:
            return Verdict.SEND
        verdict = self._limiter.judge(client, kind, now=self._monotonic())
        if verdict is not Verdict.SEND:
            self._limited.add(1, {"hanse.reason": verdict.value})
        return verdict
