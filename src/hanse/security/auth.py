"""Who calls: identities from client certificates and from bearer tokens.

Owns `Identity` and the names of the mesh's own identities and groups. As in Kubernetes, the common name
of a certificate is the name and its organizations are the groups. Whether an identity may do something
is not decided here: `hanse.rpc.policy` does that for RPCs.

Concurrency: pure functions, and a token file that is read again when it changes; safe in one loop.

Next: `hanse.rpc.policy`.
"""

from __future__ import annotations

import asyncio
import csv
import functools
import hashlib
import io
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hanse.errors import ConfigError, UnauthenticatedError
from hanse.process.filewatch import LOOK, WatchedFile
from hanse.security.subject import subject_of_der

SERVICES = "hanse:services"
"""Group of Hanse's own services."""
ADMINS = "hanse:admins"
"""Group of those who may call everything."""
VIEWERS = "hanse:viewers"
"""Group of those who may look at everything but Secrets."""
MASTERS = "system:masters"
"""Kubernetes' group for the same, over REST."""
ADMIN_NAME = "hanse-admin"
"""Name in the certificate that `hanse up` makes for its user."""


@dataclass(frozen=True, slots=True)
class Identity:
    """An authenticated caller."""

    name: str
    groups: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(self.groups)})" if self.groups else self.name


ANONYMOUS = Identity("system:anonymous", ("system:unauthenticated",))
"""Who calls where there is no TLS. Allowed nothing by any policy but `Policy.allow_all()`."""


def service_name(service: str) -> str:
    """Return the common name of a service's certificate, such as hanse:service:registry."""
    return f"hanse:service:{service}"


def server_name(service: str) -> str:
    """Return the name in a service's certificate that its clients expect, such as registry.hanse.internal.

    It is never resolved: `internal` is kept free for such names (ICANN, 2024).
    """
    return f"{service}.hanse.internal"


def identity_from_pem(pem: bytes, *, clock: Callable[[], float] = time.time) -> Identity:
    """Like `identity_from_der`, for PEM."""
    try:
        der = _der(pem)
    except ValueError as error:
        raise UnauthenticatedError("the client certificate is not valid PEM") from error
    return identity_from_der(der, clock=clock)


def identity_from_der(der: bytes, *, clock: Callable[[], float] = time.time) -> Identity:
    """Return the identity in a verified certificate, DER. Remembers what it has read.

    TLS looks at a certificate's dates when a connection is made, and a connection may last for long: so its
    end is looked at here, each time, by `clock` (seconds since the epoch). Raises UnauthenticatedError if it
    is over (CERTIFICATE_EXPIRED), or the certificate names nobody.
    """
    identity, end = _identity_and_end(der)
    if clock() > end:
        raise UnauthenticatedError(
            f"the client certificate of {identity.name} has expired: connect with another",
            reason="CERTIFICATE_EXPIRED",
        )
    return identity


@functools.lru_cache(maxsize=1024)
def _identity_and_end(der: bytes) -> tuple[Identity, float]:
    try:
        name, groups, end = subject_of_der(der)
    except ValueError as error:
        raise UnauthenticatedError(f"the client certificate cannot be read: {error}") from error
    if not name:
        raise UnauthenticatedError("the client certificate has no common name, so it names nobody")
    return Identity(name=name, groups=groups), end


def certificate_from_auth_context(auth_context: Mapping[str, Iterable[bytes]]) -> bytes | None:
    """Return the caller's certificate, DER, of a gRPC call; None without one. It can be read by then."""
    for pem in auth_context.get("x509_pem_cert", ()):
        return _der(bytes(pem))
    return None


@functools.lru_cache(maxsize=1024)
def _der(pem: bytes) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pem.decode("ascii"))


def identity_from_auth_context(
    auth_context: Mapping[str, Iterable[bytes]], *, clock: Callable[[], float] = time.time
) -> Identity | None:
    """Return the caller of a gRPC call from `context.auth_context()`; None without a client certificate.

    gRPC has verified the certificate by then, and the clock says whether it has ended since.
    """
    for pem in auth_context.get("x509_pem_cert", ()):
        return identity_from_pem(bytes(pem), clock=clock)
    return None


class TokenFile:
    """Bearer tokens in Kubernetes' static token file: `token,user,uid[,"group1,group2"]` per line.

    The file is read again when its modification time or size changes; one that cannot be read or understood
    leaves what it said before. Only hashes are kept.
    """

    def __init__(self, path: Path) -> None:
        """Read the file. Raises ConfigError if it cannot be used."""
        self.path = path
        self._file = WatchedFile(path, _read_tokens, what="token file")

    def authenticate(self, token: str) -> Identity | None:
        """Return whose token this is, or None."""
        self._file.refresh()
        return self._file.value.get(_digest(token))

    async def follow(self, changed: Callable[[Callable[[str], bool]], None]) -> None:
        """Call `changed` whenever tokens are gone or are somebody else's, until cancelled; with a function
        that tells of a token whether it is such a one. For connections that are open."""
        before = self._file.value
        while True:
            await asyncio.sleep(LOOK)
            self._file.refresh()
            if (now := self._file.value) is not before:
                gone = frozenset(digest for digest, whose in before.items() if now.get(digest) != whose)
                before = now
                if gone:
                    changed(functools.partial(_is_among, gone))


def _is_among(digests: frozenset[bytes], token: str) -> bool:
    return _digest(token) in digests


def _read_tokens(path: Path) -> dict[bytes, Identity]:
    return _parse_tokens(path.read_text(), str(path))


def _parse_tokens(text: str, name: str) -> dict[bytes, Identity]:
    identities: dict[bytes, Identity] = {}
    rows = csv.reader(io.StringIO(text), skipinitialspace=True)
    try:
        for row in rows:
            if not row or row[0].lstrip().startswith("#"):
                continue
            if len(row) < 3 or not row[0] or not row[1]:
                raise ConfigError(f'{name} line {rows.line_num}: it must be token,user,uid[,"group1,group2"]')
            groups = tuple(part.strip() for part in row[3].split(",") if part.strip()) if len(row) > 3 else ()
            identities[_digest(row[0])] = Identity(name=row[1], groups=groups)
    except csv.Error as error:
        raise ConfigError(f"{name} line {rows.line_num}: {error}") from error
    return identities


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
