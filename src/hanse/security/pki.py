"""Certificates of the mesh: a certificate authority, and what it issues.

Owns keys and certificates as PEM, and their files: keys are written 0600, whole or not at all. Keys are
EC P-256. The common name of a certificate is an identity and its organizations are that identity's
groups, as in Kubernetes; see `hanse.security.auth`.

Concurrency: pure computation and small synchronous file writes; used at start-up and by commands, not
inside a service's loop.

Next: `hanse.security.auth`, which reads identities back out of certificates.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hanse.addresses import is_ip_address
from hanse.errors import ConfigError
from hanse.process.settings import TlsFiles
from hanse.security.subject import certificates_of

CA_DAYS = 3650
LEAF_DAYS = 365
RENEW_BEFORE_DAYS = 30
_BACKDATE = dt.timedelta(minutes=5)  # clocks of members differ a little


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its private key, both PEM. The key is PKCS#8 and not encrypted."""

    cert_pem: bytes
    key_pem: bytes

    @property
    def certificate(self) -> x509.Certificate:
        """The parsed certificate."""
        return x509.load_pem_x509_certificate(self.cert_pem)

    def write(self, directory: Path, name: str, *, ca_pem: bytes | None = None) -> TlsFiles:
        """Write NAME.crt and NAME.key (0600), and ca.crt if given. Return where they are.

        Where there is no room for all of them, none is changed: a key without its certificate is no use.
        """
        files = TlsFiles(
            ca=directory / "ca.crt", cert=directory / f"{name}.crt", key=directory / f"{name}.key"
        )
        wanted = [NewFile(files.key, self.key_pem), NewFile(files.cert, self.cert_pem, mode=0o644)]
        if ca_pem is not None:
            wanted.append(NewFile(files.ca, ca_pem, mode=0o644))
        write_files(wanted)
        return files

    @classmethod
    def read(cls, directory: Path, name: str) -> KeyPair:
        """Read NAME.crt and NAME.key. Raises ConfigError if a file is missing or they do not fit."""
        pair = cls(
            cert_pem=_read(directory / f"{name}.crt"),
            key_pem=_read(directory / f"{name}.key"),
        )
        pair.check(name)
        return pair

    def check(self, name: str) -> None:
        """Raise ConfigError, naming `name`, unless both parts parse and belong together."""
        try:
            key = serialization.load_pem_private_key(self.key_pem, password=None)
            certificate = self.certificate
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{name}: the certificate or key is not valid PEM: {error}") from error
        if _spki(key.public_key()) != _spki(certificate.public_key()):
            raise ConfigError(f"{name}: the key does not belong to the certificate; issue it again")


Clock = Callable[[], dt.datetime]
"""Tells the time, aware."""


def now_in_utc() -> dt.datetime:
    """Return the time now: the clock of whoever is given no other."""
    return dt.datetime.now(dt.UTC)


class CertificateAuthority:
    """A certificate authority that issues server and client certificates."""

    def __init__(self, pair: KeyPair, *, trusted: bytes = b"", clock: Clock = now_in_utc) -> None:
        """`trusted` is what is to be trusted, PEM, if that is more than this authority: see
        `hanse.security.rotation`. `clock` tells from when on a certificate is valid."""
        self._clock = clock
        self.pair = pair
        self._trusted = trusted or pair.cert_pem
        self._certificate = pair.certificate
        key = serialization.load_pem_private_key(pair.key_pem, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ConfigError("the key of the certificate authority must be an EC key")
        self._key = key

    @property
    def ca_pem(self) -> bytes:
        """The certificates to trust, PEM: its own, and while it is replaced those of both."""
        return self._trusted

    @classmethod
    def create(
        cls, name: str = "hanse-ca", *, days: int = CA_DAYS, clock: Clock = now_in_utc
    ) -> CertificateAuthority:
        """Make a new, self-signed authority."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = clock()
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATE)
            .not_valid_after(now + dt.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(ca=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(_pair(certificate, key), clock=clock)

    @classmethod
    def load_or_create(cls, directory: Path, *, name: str = "hanse-ca") -> CertificateAuthority:
        """Read the authority in `directory` (`read`), or make ca.crt and ca.key there if neither exists.

        A key alone where nothing was ever issued is what a creation has left that did not end.
        """
        if not (directory / "ca.crt").exists() and (
            not (directory / "ca.key").exists() or not any(directory.glob("*.crt"))
        ):
            authority = cls.create(name)
            authority.pair.write(directory, "ca")
            return authority
        return cls.read(directory)

    @classmethod
    def read(cls, directory: Path, name: str = "ca") -> CertificateAuthority:
        """Read the authority whose key is NAME.key. NAME.crt has its certificate; ca.crt, all that are
        trusted. Raises ConfigError if a file is missing or they do not fit.
        """
        trusted, key_pem = _read(directory / "ca.crt"), _read(directory / f"{name}.key")
        for cert_pem in certificates_of(_read(directory / f"{name}.crt")):
            if belong(cert_pem, key_pem):
                return cls(KeyPair(cert_pem, key_pem), trusted=trusted)
        return cls(KeyPair.read(directory, name), trusted=trusted)  # which says what is wrong

    def issue(
        self,
        common_name: str,
        *,
        organizations: Sequence[str] = (),
        dns_names: Sequence[str] = (),
        ip_addresses: Sequence[str] = (),
        server: bool = True,
        client: bool = True,
        days: float = LEAF_DAYS,
    ) -> KeyPair:
        """Issue a certificate for an identity (common name) in groups (organizations).

        `server` and `client` are the extended key usages. A certificate never outlives its authority.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        now = self._clock()
        until = min(now + dt.timedelta(days=days), self._certificate.not_valid_after_utc)
        names: list[x509.GeneralName] = [x509.DNSName(name) for name in dns_names]
        names += [x509.IPAddress(ipaddress.ip_address(address)) for address in ip_addresses]
        usages = [ExtendedKeyUsageOID.SERVER_AUTH] * server + [ExtendedKeyUsageOID.CLIENT_AUTH] * client
        subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in organizations]
        subject.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(subject))
            .issuer_name(self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(min(now - _BACKDATE, until - _BACKDATE))
            .not_valid_after(until)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return _pair(builder.sign(self._key, hashes.SHA256()), key)

    def issue_local(
        self,
        common_name: str,
        *,
        organizations: Sequence[str] = (),
        names: Sequence[str] = (),
        days: float = LEAF_DAYS,
    ) -> KeyPair:
        """Issue a certificate for a process on this machine: server and client, for loopback names and for
        `names`, names and addresses of its own."""
        own = [name for name in names if not is_ip_address(name)]
        addresses = dict.fromkeys(("127.0.0.1", "::1", *map(_canonical, filter(is_ip_address, names))))
        return self.issue(
            common_name,
            organizations=organizations,
            dns_names=(*own, "localhost"),
            ip_addresses=tuple(addresses),
            days=days,
        )

    def ensure_local(
        self,
        directory: Path,
        name: str,
        *,
        common_name: str,
        organizations: Sequence[str] = (),
        names: Sequence[str] = (),
        days: float = LEAF_DAYS,
        refused: Callable[[bytes], bool] | None = None,
    ) -> TlsFiles:
        """Return the files of NAME in `directory`, issuing them if they are missing, near their end,
        for another subject, without one of `names`, from another authority, or `refused` (DER)."""
        files = TlsFiles(
            ca=directory / "ca.crt", cert=directory / f"{name}.crt", key=directory / f"{name}.key"
        )
        if files.cert.exists() and files.key.exists():
            try:
                pair = KeyPair.read(directory, name)
                if (
                    subject_of(pair.certificate) == (common_name, tuple(organizations))
                    and names_of(pair.certificate).issuperset(map(_canonical, names))
                    and not needs_renewal(pair.certificate)
                    and not (refused and refused(pair.certificate.public_bytes(serialization.Encoding.DER)))
                    and self.has_issued(pair.certificate)
                ):
                    if not files.ca.exists() or files.ca.read_bytes() != self.ca_pem:
                        write_file(files.ca, self.ca_pem, mode=0o644)
                    return files
            except ConfigError:
                pass  # unreadable or mismatched: issue it again below
        pair = self.issue_local(common_name, organizations=organizations, names=names, days=days)
        return pair.write(directory, name, ca_pem=self.ca_pem)

    def has_issued(self, certificate: x509.Certificate) -> bool:
        """Return whether `certificate` carries this authority's signature. Says nothing about its dates."""
        return issued_by(certificate, self.pair.cert_pem)


def issued_by(certificate: x509.Certificate, authorities_pem: bytes) -> bool:
    """Return whether `certificate` carries the signature of one of these authorities. Says nothing about its
    dates."""
    for authority_pem in certificates_of(authorities_pem):
        try:
            certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority_pem))
        except (ValueError, TypeError, InvalidSignature):
            continue
        return True
    return False


def belong(cert_pem: bytes, key_pem: bytes) -> bool:
    """Return whether a certificate and a private key, both PEM, can be read and are of one pair."""
    try:
        KeyPair(cert_pem, key_pem).check("the authority")
    except ConfigError:
        return False
    return True


def needs_renewal(
    certificate: x509.Certificate, *, now: dt.datetime | None = None, before_days: float = RENEW_BEFORE_DAYS
) -> bool:
    """Return whether the certificate ends within `before_days` (or a third of its life, if that is less)."""
    now = now or now_in_utc()
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return certificate.not_valid_after_utc - now < min(dt.timedelta(days=before_days), life / 3)


def subject_of(certificate: x509.Certificate) -> tuple[str, tuple[str, ...]]:
    """Return (common name, organizations) of a certificate; the name is "" if it has none."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    groups = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return (
        str(names[0].value) if names else "",
        tuple(str(group.value) for group in groups),
    )


def names_of(certificate: x509.Certificate) -> frozenset[str]:
    """Return the DNS names and the addresses that a certificate is for."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(
        (*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress)))
    )


def _canonical(name: str) -> str:
    return str(ipaddress.ip_address(name)) if is_ip_address(name) else name


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read (0600), whole or not at all."""
    write_file(path, content, mode=0o600)


def write_file(path: Path, content: bytes, *, mode: int) -> None:
    """Write `content` to `path` with permissions `mode`, whole or not at all (temporary file, rename)."""
    write_files([NewFile(path, content, mode=mode)])


@dataclass(frozen=True, slots=True)
class NewFile:
    """What a file is to hold."""

    path: Path
    content: bytes = field(repr=False)
    mode: int = 0o600
    owner: tuple[int, int] | None = None
    """Uid and gid, where they are not to be the caller's."""


def write_files(files: Sequence[NewFile]) -> None:
    """Write files, all of them or none where one cannot be written; each is there whole at any moment.

    Everything is on disk under temporary names before the first file is replaced. A crash between two
    replacements leaves the first ones new and the others old. Raises OSError.
    """
    staged: list[tuple[Path, Path]] = []
    try:
        for each in files:
            each.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=each.path.parent, prefix=f".{each.path.name}.")
            staged.append((Path(temporary), each.path))
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(file.fileno(), each.mode)
                if each.owner is not None:
                    os.fchown(file.fileno(), *each.owner)
                file.write(each.content)
                file.flush()
                os.fsync(file.fileno())
        for temporary_path, path in staged:
            temporary_path.replace(path)
    except BaseException:
        for temporary_path, _ in staged:
            temporary_path.unlink(missing_ok=True)
        raise


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> KeyPair:
    return KeyPair(
        cert_pem=certificate.public_bytes(serialization.Encoding.PEM),
        key_pem=key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def _spki(key: object) -> bytes:
    public_bytes = getattr(key, "public_bytes", None)
    if public_bytes is None:
        raise TypeError("not a public key")
    encoded: bytes = public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return encoded


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", metadata={"file": str(path)}) from error
