"""DNS cookies: how a client proves over UDP that it has the address that it writes (RFC 7873, RFC 9018).

Owns `Cookies`. A server cookie is a keyed hash (SipHash-2-4) of the client's cookie, its address and the
time, so the server remembers nobody. It is good for an hour and renewed after half of it. Name servers that
answer at one address share secrets by a file; otherwise a process makes its own and changes it every day, and
the one before stays good meanwhile. Pure, but for the secrets.

Concurrency: one loop. `hanse_dns.serving.responder` is next, which reads and writes the option.
"""

from __future__ import annotations

import hmac
import secrets
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from siphashc import siphash

from hanse.errors import ConfigError

CLIENT_BYTES = 8
GOOD_SECONDS = 3600
RENEW_SECONDS = 1800
AHEAD_SECONDS = 300
"""How far ahead the clock of another server that shares the secret may be."""
ROTATE_SECONDS = 86_400.0
CHECK_SECONDS = 10.0
"""How often the file of secrets is looked at."""

_HEAD = b"\x01\x00\x00\x00"  # version 1, reserved
_SERVER_BYTES = 16
_SECRET_BYTES = 16

Secrets = Callable[[float], Sequence[bytes]]
"""The secrets at a time in seconds: the first makes cookies, all are good."""


class Cookies:
    """Makes and checks server cookies."""

    def __init__(self, secrets_: Secrets) -> None:
        self._secrets = secrets_

    def check(self, cookie: bytes, client: str, *, now: float) -> tuple[bytes, bool]:
        """Return the cookie to answer with, client's part first, and whether the one that came is good.

        `cookie` is the option's data, 8 or 16 to 40 bytes; `now` is seconds since the epoch.
        """
        mine = self._secrets(now)
        theirs, server = cookie[:CLIENT_BYTES], cookie[CLIENT_BYTES:]
        address = _packed(client)
        if len(server) == _SERVER_BYTES and server.startswith(_HEAD):
            stamp = int.from_bytes(server[4:8], "big")
            age = (int(now) - stamp + 2**31) % 2**32 - 2**31  # RFC 1982: serial number arithmetic
            for place, secret in enumerate(mine):
                if not hmac.compare_digest(_server_cookie(theirs, address, stamp, secret), server):
                    continue
                good = -AHEAD_SECONDS <= age <= GOOD_SECONDS
                if good and age <= RENEW_SECONDS and place == 0:
                    return cookie, True
                return theirs + _server_cookie(theirs, address, int(now), mine[0]), good
        return theirs + _server_cookie(theirs, address, int(now), mine[0]), False


class RandomSecrets:
    """Secrets of this process alone."""

    def __init__(self) -> None:
        self._known = [secrets.token_bytes(_SECRET_BYTES)]
        self._made: float | None = None

    def __call__(self, now: float) -> Sequence[bytes]:
        """Return the newest, and the one before."""
        if self._made is None:
            self._made = now
        elif now - self._made >= ROTATE_SECONDS:
            self._known = [secrets.token_bytes(_SECRET_BYTES), self._known[0]]
            self._made = now
        return self._known


class FileSecrets:
    """Secrets in a file, 32 hexadecimal digits a line; the first makes cookies. A change is followed."""

    def __init__(self, path: Path) -> None:
        """Raise ConfigError for a file that cannot be read or has no secret."""
        self._path = path
        self._known = self._read()
        self._stamp = path.stat().st_mtime_ns
        self._checked = 0.0

    def __call__(self, now: float) -> Sequence[bytes]:
        """Return what the file says; the last that could be read."""
        if abs(now - self._checked) >= CHECK_SECONDS:
            self._checked = now
            try:
                stamp = self._path.stat().st_mtime_ns
                if stamp != self._stamp:
                    self._known, self._stamp = self._read(), stamp
            except (ConfigError, OSError):
                pass  # a file that is being replaced
        return self._known

    def _read(self) -> list[bytes]:
        try:
            found = [bytes.fromhex(line) for line in self._path.read_text().split()]
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"cannot read {self._path} (setting dns_cookie_secret_file): {error}",
                metadata={"setting": "dns_cookie_secret_file"},
            ) from error
        if not found or any(len(secret) != _SECRET_BYTES for secret in found):
            raise ConfigError(
                f"{self._path} (setting dns_cookie_secret_file) must have 32 hexadecimal digits a line",
                metadata={"setting": "dns_cookie_secret_file"},
            )
        return found


def _server_cookie(client_cookie: bytes, address: bytes, stamp: int, secret: bytes) -> bytes:
    """Return the server cookie of RFC 9018 section 4."""
    head = _HEAD + stamp.to_bytes(4, "big")
    return head + siphash(secret, client_cookie + head + address).to_bytes(8, "little")


def _packed(client: str) -> bytes:
    address = client.partition("%")[0]
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
