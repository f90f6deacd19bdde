"""Certificates that count no more before their time is over: the deny list, and authorities that are gone.

Owns `DenyList`, which follows a file. Each line has one entry: `sha256:HEX` (of the certificate, DER),
`serial:HEX` or `name:COMMON NAME`, the last for every certificate of that name; what follows `#` is for
people. The file is read again when it changes. One that cannot be read or understood leaves what was denied
before denied: a mistake lets nobody in again.

TLS asks who has issued a certificate when a connection is made, and never again. So an authority that is
taken out of the file of those that are trusted is remembered here, and what it has issued is denied from then
on over connections that are open, too.

Concurrency: one loop; `check` does not wait, but for a look at the file's date.

Next: `hanse.rpc.interceptor` and `hanse_apiserver.access`, which ask before each request.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from hanse.errors import ConfigError, UnauthenticatedError
from hanse.process.filewatch import LOOK, WatchedFile
from hanse.security.subject import certificates_of, subject_of_der

_FORMS: Final = ("sha256", "serial", "name")
_REMEMBERED: Final = 1024


class DenyList:
    """The certificates that are denied. An empty path denies none."""

    def __init__(self, path: str = "", *, authorities: Sequence[str] = ()) -> None:
        """Read the file. `authorities` are the PEM files of those that are trusted; empty ones are none.
        Raises ConfigError if the list cannot be used."""
        self._file = WatchedFile(Path(path), _read, what="the deny list") if path else None
        self._known: dict[bytes, bool] = {}
        self._authorities = Authorities([Path(each) for each in authorities if each])

    def check(self, certificate: bytes) -> None:
        """Raise UnauthenticatedError (CERTIFICATE_REVOKED) if `certificate`, DER, is denied."""
        if self.denies(certificate):
            raise UnauthenticatedError(
                "the client certificate was revoked, or its authority was replaced: ask for another",
                reason="CERTIFICATE_REVOKED",
            )

    def denies(self, certificate: bytes) -> bool:
        """Return whether `certificate`, DER, is denied now."""
        self._refresh()
        entries = self._entries
        if not entries and not self._authorities.gone:
            return False
        known = self._known.get(certificate)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            listed = bool(entries) and not entries.isdisjoint(entries_of(certificate))
            known = self._known[certificate] = listed or self._authorities.orphaned(certificate)
        return known

    async def follow(self, changed: Callable[[], None]) -> None:
        """Call `changed` whenever it denies others, until cancelled; for connections that are open."""
        before = self._entries, self._authorities.gone
        while True:
            await asyncio.sleep(LOOK)
            self._refresh()
            if (now := (self._entries, self._authorities.gone)) != before:
                before = now
                changed()

    @property
    def _entries(self) -> frozenset[str]:
        return self._file.value if self._file is not None else frozenset()

    def _refresh(self) -> None:
        if self._authorities.look():
            self._known = {}
        if self._file is not None and self._file.refresh():
            self._known = {}


def _read(path: Path) -> frozenset[str]:
    return parse(path.read_bytes().decode(), str(path))


class Authorities:
    """Which authorities were trusted in the time of this process, and are not any more."""

    def __init__(self, files: Sequence[Path]) -> None:
        """`files` are PEM; one that cannot be read counts as before."""
        self._files: dict[Path, tuple[int, frozenset[bytes]]] = dict.fromkeys(files, (0, frozenset()))
        self._seen: frozenset[bytes] = frozenset()
        self.gone: frozenset[bytes] = frozenset()
        self.look()

    def look(self) -> bool:
        """Look at the files; return whether others are gone than before."""
        changed = False
        for path, (stamp, _) in self._files.items():
            try:
                now = path.stat().st_mtime_ns
                found = frozenset(certificates_of(path.read_bytes())) if now != stamp else frozenset()
            except OSError:
                continue  # being replaced
            if found:
                self._files[path] = now, found
                changed = True
        if not changed:
            return False
        trusted = frozenset().union(*(found for _, found in self._files.values()))
        before, self._seen = self.gone, self._seen | trusted
        self.gone = self._seen - trusted
        return self.gone != before

    def orphaned(self, certificate: bytes) -> bool:
        """Return whether `certificate`, DER, is of an authority that is gone, and of none that is trusted."""
        if not self.gone:
            return False
        from cryptography import x509

        from hanse.security.pki import issued_by

        try:
            found = x509.load_der_x509_certificate(certificate)
        except ValueError:
            return False
        trusted = b"".join(self._seen - self.gone)
        return issued_by(found, b"".join(self.gone)) and not issued_by(found, trusted)


def parse(text: str, name: str) -> frozenset[str]:
    """Return the entries of a deny list. Raises ConfigError that names the line."""
    found: set[str] = set()
    for number, line in enumerate(text.splitlines(), 1):
        entry = line.partition("#")[0].strip()
        if entry:
            found.add(normal(entry, where=f"{name} line {number}"))
    return frozenset(found)


def normal(entry: str, *, where: str) -> str:
    """Return an entry in the form in which it is compared. Raises ConfigError that says `where`."""
    form, _, value = entry.partition(":")
    value = value.strip()
    if form in ("sha256", "serial"):
        digits = value.replace(":", "").lower().removeprefix("0x")
        if digits and not set(digits) - set("0123456789abcdef") and (form == "serial" or len(digits) == 64):
            return f"{form}:{digits.lstrip('0') if form == 'serial' else digits}"
    elif form == "name" and value:
        if "#" in value or not value.isprintable():
            raise ConfigError(f"{where}: a line cannot have this name; give serial: or sha256: instead")
        return f"name:{value}"
    raise ConfigError(f"{where}: it must be one of {', '.join(f'{each}:...' for each in _FORMS)}")


def entries_of(certificate: bytes) -> frozenset[str]:
    """Return all entries that mean a certificate, DER."""
    from cryptography import x509  # here, because most processes deny nothing

    found = {f"sha256:{hashlib.sha256(certificate).hexdigest()}"}
    try:
        found.add(f"serial:{x509.load_der_x509_certificate(certificate).serial_number:x}")
        found.add(f"name:{subject_of_der(certificate)[0]}")
    except ValueError:
        pass  # it names nobody, so nothing lets it in
    return frozenset(found)
