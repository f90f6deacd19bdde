"""Replacing a certificate authority in its directory, with a time in which both are trusted.

Owns the stages, each of which is one file that is replaced, so that a crash leaves the one or the other:

- `begin` makes a new authority (`ca-next.crt`, `ca-next.key`) and puts its certificate into `ca.crt`, which
  is what everybody trusts. The old one goes on to issue.
- `switch` puts the new key in the place of `ca.key`: from then on the new one issues, and whoever calls
  `CertificateAuthority.ensure_local` gets a certificate of it. The old key is gone.
- `finish` takes the old certificate out of `ca.crt`. It stays in `ca-old.crt`, by which an installation is
  known that was made with it; nobody trusts that file.

When everybody has taken a stage up is for the caller to find out.

Concurrency: small synchronous file writes; one caller at a time.

Next: `hanse_local.keys.rotating` for `hanse up`, `hanse.installation` for a host cluster.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Final

from hanse.errors import ConfigError, DataLossError, FailedPreconditionError
from hanse.security.pki import CertificateAuthority, NewFile, belong, write_file, write_files
from hanse.security.subject import certificates_of

NEXT: Final = "ca-next"
"""File name of the authority that is to follow."""
OLD: Final = "ca-old.crt"
"""Certificates of authorities that are trusted no more."""


class Stage(StrEnum):
    """How far a directory is."""

    SETTLED = "settled"
    """One authority, which issues."""
    TRUSTED = "trusted"
    """Two are trusted, the old one issues."""
    ISSUING = "issuing"
    """Two are trusted, the new one issues."""


def stage_of(directory: Path) -> Stage:
    """Return the stage that a directory is in. Raises ConfigError if it has no authority that can be used."""
    trusted = certificates_of(CertificateAuthority.read(directory).ca_pem)
    if (following := _next(directory)) is not None and following in trusted:
        return Stage.TRUSTED
    return Stage.ISSUING if len(trusted) > 1 else Stage.SETTLED


def successor(directory: Path) -> CertificateAuthority | None:
    """Return the authority that is to follow, if it is trusted already."""
    if stage_of(directory) is not Stage.TRUSTED:
        return None
    return CertificateAuthority.read(directory, NEXT)


def begin(directory: Path, *, name: str) -> None:
    """Have a new authority trusted beside the one that is there. Raises FailedPreconditionError if one is
    being replaced."""
    if stage_of(directory) is Stage.ISSUING:
        raise FailedPreconditionError(
            f"the authority in {directory} is being replaced already: finish that first"
        )
    if _next(directory) is None:
        made = CertificateAuthority.create(name).pair
        write_files(
            [
                NewFile(directory / f"{NEXT}.key", made.key_pem),
                NewFile(directory / f"{NEXT}.crt", made.cert_pem, mode=0o644),
            ]
        )
    following = _next(directory)
    if following is None:
        raise DataLossError(f"the next authority in {directory} is gone")
    trusted = CertificateAuthority.read(directory).ca_pem
    if following not in certificates_of(trusted):
        write_file(directory / "ca.crt", trusted.rstrip() + b"\n" + following, mode=0o644)


def switch(directory: Path) -> None:
    """Have the new authority issue. Raises FailedPreconditionError if there is none."""
    stage = stage_of(directory)
    if stage is Stage.SETTLED:
        raise FailedPreconditionError(
            f"there is no new authority in {directory} that is trusted: begin with that"
        )
    if stage is Stage.TRUSTED:
        (directory / f"{NEXT}.key").replace(directory / "ca.key")
    (directory / f"{NEXT}.crt").unlink(missing_ok=True)


def finish(directory: Path) -> None:
    """Trust the authority that issues and no other. Raises FailedPreconditionError unless that is the
    new one."""
    stage = stage_of(directory)
    if stage is Stage.TRUSTED:
        raise FailedPreconditionError(
            f"the old authority in {directory} still issues: have the new one do so"
        )
    if stage is Stage.SETTLED:
        return
    authority = CertificateAuthority.read(directory)
    gone = [each for each in certificates_of(authority.ca_pem) if each != authority.pair.cert_pem]
    known = past(directory)
    write_file(directory / OLD, b"".join((*known, *(each for each in gone if each not in known))), mode=0o644)
    write_file(directory / "ca.crt", authority.pair.cert_pem, mode=0o644)


def past(directory: Path) -> tuple[bytes, ...]:
    """Return the certificates, PEM, of authorities that were replaced."""
    try:
        return certificates_of((directory / OLD).read_bytes())
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise ConfigError(f"cannot read {directory / OLD}: {error.strerror}") from error


def _next(directory: Path) -> bytes | None:
    """Return the certificate of the authority that is to follow, PEM; None if there is none with its key."""
    try:
        cert_pem = (directory / f"{NEXT}.crt").read_bytes()
        key_pem = (directory / f"{NEXT}.key").read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"cannot read {directory / NEXT}.crt or .key: {error.strerror}") from error
    found = certificates_of(cert_pem)
    return found[0] if found and belong(found[0], key_pem) else None
