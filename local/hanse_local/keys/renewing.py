"""Certificates of a data directory while its federation runs: renewed in place, listed, revoked.

Owns the deny list's file and the user's entry in the kubeconfig when it changes. Processes read the files
again by themselves, so nothing is restarted. What is issued again is decided by
`hanse_local.keys.certificates`.

Concurrency: short synchronous work on small files, each written whole. A renewal reads and writes
while nobody else issues or replaces an authority (`hanse_local.keys.certificates.held`), since it writes
back what it has read.

Next: `hanse_local.commands`, and `hanse_local.supervise.host`, which renews from time to time.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from hanse.documents import yaml_document
from hanse.errors import ConfigError, InvalidArgumentError
from hanse.security.pki import CertificateAuthority, issued_by, subject_of, write_private
from hanse.security.revocation import DenyList, entries_of, normal
from hanse.security.rotation import NEXT, OLD
from hanse_local.checks import SERVICES
from hanse_local.configs import HANSE_CONTEXT
from hanse_local.keys.certificates import ADMIN, Certificates, authorities, held
from hanse_local.layout import DataDir
from hanse_local.supervise.state import DirectoryState

AUTHORITY_DAYS = 90
"""An authority that ends within so many days is a problem: whoever trusts it must be told in time."""
_NOT_LISTED = (NEXT, Path(OLD).stem)


@dataclass(frozen=True, slots=True)
class Listed:
    """A certificate of the mesh that is in the data directory; `until` is None if it cannot be read."""

    file: str
    name: str = ""
    groups: tuple[str, ...] = ()
    serial: str = ""
    until: datetime | None = None
    revoked: bool = False


def renew(data: DataDir) -> None:
    """Issue again what is near its end, revoked, or of an authority that issues no more, and update the
    kubeconfig. Raises ConfigError."""
    with held(data):
        state = DirectoryState.load(data.state)
        clusters = [cluster.name for cluster in state.clusters]
        Certificates(data).prepare(services=SERVICES, clusters=clusters, names=state.advertise)
        _update_kubeconfig(data)


def endings(data: DataDir, *, now: datetime) -> Iterator[str]:
    """Say which authorities end within AUTHORITY_DAYS days, or have ended."""
    for name, directory in authorities(data).items():
        try:
            end = CertificateAuthority.read(directory).pair.certificate.not_valid_after_utc
        except ConfigError as error:
            yield f"the authority {name} cannot be used: {error.message}"
            continue
        if end - now < timedelta(days=AUTHORITY_DAYS):
            yield (
                f"the authority {name} {'ended' if end < now else 'ends'} on {end:%Y-%m-%d}, and with it all "
                "that it has issued: replace it with `hanse certificates rotate-ca`"
            )


def listed(data: DataDir) -> Iterator[Listed]:
    """Yield the certificates of the mesh in the data directory, by file."""
    deny_list = _deny_list(data)
    for path in sorted(data.pki.glob("*.crt")):
        if path.stem in ("ca", *_NOT_LISTED):
            continue
        try:
            certificate = x509.load_pem_x509_certificate(path.read_bytes())
        except (OSError, ValueError):
            yield Listed(path.name)
            continue
        name, groups = subject_of(certificate)
        yield Listed(
            file=path.name,
            name=name,
            groups=groups,
            serial=f"{certificate.serial_number:x}",
            until=certificate.not_valid_after_utc,
            revoked=deny_list.denies(certificate.public_bytes(Encoding.DER)),
        )


def revoke(data: DataDir, what: str) -> str:
    """Deny a certificate from now on, and issue it again if it is one of the data directory.

    `what` is a file with the certificate, PEM, or an entry of the deny list. Returns the entry. Raises
    InvalidArgumentError, ConfigError.
    """
    path = Path(what)
    if path.is_file():
        try:
            entry = f"sha256:{hashlib.sha256(_der(path)).hexdigest()}"
        except (ValueError, binascii.Error) as error:
            raise InvalidArgumentError(f"{what} is no certificate in PEM: {error}") from error
        _check_deniable(data, path)
    else:
        entry = normal(what, where=what)
    if entry.startswith("name:") and any(each.name == entry[5:] for each in listed(data)):
        raise InvalidArgumentError(
            f"{entry[5:]} is a name that this federation needs: revoke its certificate by file or serial, "
            "and it is issued again"
        )
    lines = data.deny_list.read_text().splitlines() if data.deny_list.exists() else []
    if entry not in {line.partition("#")[0].strip() for line in lines}:
        write_private(data.deny_list, "".join(f"{line}\n" for line in (*lines, entry)).encode())
    if any(entry in entries_of(der) for der in _readable(data)):
        renew(data)
    return entry


def _readable(data: DataDir) -> Iterator[bytes]:
    """Yield the certificates in the data directory that can be read, DER."""
    for path in data.pki.glob("*.crt"):
        with suppress(OSError, ValueError):
            yield _der(path)


def _check_deniable(data: DataDir, path: Path) -> None:
    """Raise InvalidArgumentError for a certificate that nobody compares with the deny list, which would be
    told as revoked and go on counting."""
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    try:
        authority = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        authority = False
    if authority:
        raise InvalidArgumentError(
            f"{path} is an authority's certificate, and the list is of those that call: replace the "
            "authority with `hanse certificates rotate-ca`"
        )
    for directory in (data.etcd_pki, data.members_pki):
        if (directory / "ca.crt").exists() and issued_by(certificate, (directory / "ca.crt").read_bytes()):
            raise InvalidArgumentError(
                f"{path} is for etcd, which knows no deny list: replace its authority with `hanse "
                "certificates rotate-ca`; all certificates of it are issued again"
            )


def _deny_list(data: DataDir) -> DenyList:
    return DenyList(str(data.deny_list) if data.deny_list.exists() else "")


def _der(path: Path) -> bytes:
    return x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)


def _update_kubeconfig(data: DataDir) -> None:
    """Put the user's present certificate, and the authorities to trust, into the kubeconfig, if there is one
    and it has others."""
    if not data.kubeconfig.exists():
        return
    document = yaml_document(data.kubeconfig.read_bytes(), what=str(data.kubeconfig))
    changed = False
    wanted = {
        field: base64.b64encode((data.pki / f"{ADMIN}.{suffix}").read_bytes()).decode()
        for field, suffix in (("client-certificate-data", "crt"), ("client-key-data", "key"))
    }
    trusted = base64.b64encode((data.pki / "ca.crt").read_bytes()).decode()
    try:
        ours = [entry for entry in document["users"] if entry["name"] == HANSE_CONTEXT]
        for entry in document.get("clusters") or ():
            if entry["name"] == HANSE_CONTEXT:
                changed = changed or entry["cluster"].get("certificate-authority-data") != trusted
                entry["cluster"]["certificate-authority-data"] = trusted
    except (TypeError, KeyError) as error:
        raise ConfigError(
            f"{data.kubeconfig} is damaged and has not the user's new certificate: `hanse up` writes it again"
        ) from error
    for entry in ours:
        changed = changed or entry.get("user") != wanted
        entry["user"] = wanted
    if changed:
        write_private(data.kubeconfig, yaml.safe_dump(document, sort_keys=False).encode())
