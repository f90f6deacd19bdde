"""Certificates and keys of an installation: in a directory of the user's, and from it as Secrets.

Owns the rule that a key that has sealed is never replaced, nor an authority by one of another directory:
where the host cluster has Secrets of keys that the directory has not, nothing is done. A directory may have
more keys: it was rotated.

Concurrency: small synchronous files.

Next: `hanse.installation`, which issues.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from pathlib import Path

from hanse.errors import FailedPreconditionError
from hanse.installation import KEYS, secrets
from hanse.security.pki import CertificateAuthority
from hanse.security.rotation import past
from hanse.security.subject import certificates_of
from hanse_install.kubectl import Kubectl
from hanse_install.options import NAMESPACE, InitOptions
from hanse_install.stages import Manifest

_ETCD_OWN = frozenset({"hanse-etcd-server", "hanse-etcd-peer"})
"""Certificates of the members of the etcd in the host cluster."""
SERVERS_CA = Path("etcd") / "servers-ca.crt"
"""Who has issued the certificates of an etcd of the user's, where that is said; below the directory."""


def default_directory(federation: str) -> Path:
    """Return where they are unless --keys-directory says otherwise."""
    return Path.home() / ".hanse" / "federations" / federation


def authority(directory: Path) -> bytes:
    """Return the certificate (PEM) of the federation's authority; empty if there is none yet."""
    try:
        return (directory / "ca.crt").read_bytes()
    except OSError:
        return b""


def digest(certificate: bytes) -> str:
    """By which a federation is known in its host cluster."""
    return hashlib.sha256(certificate.strip()).hexdigest()


def etcd_authority(directory: Path, options: InitOptions) -> Path:
    """Return the file with the authority of etcd's own certificates: what --etcd-ca named last, for an etcd
    of the user's, else that of the installation.
    """
    said = directory / SERVERS_CA
    return said if options.endpoints and said.is_file() else directory / "etcd" / "ca.crt"


def issuing(directory: Path) -> bytes:
    """Return the certificate (PEM) of the federation's authority that issues; empty if there is none."""
    return CertificateAuthority.read(directory).pair.cert_pem if authority(directory) else b""


def digests(directory: Path) -> frozenset[str]:
    """Return all by which a federation may be known: one whose authority was replaced has the old id in
    places.
    """
    return frozenset(map(digest, (*certificates_of(authority(directory)), *past(directory))))


def made(directory: Path, options: InitOptions, *, etcd_ca: Path | None) -> list[Manifest]:
    """Return the Secrets, issuing what is missing or near its end. Raises ConfigError."""
    host, _ = options.address
    found = [
        each
        for each in secrets(
            directory,
            namespace=options.namespace or NAMESPACE,
            domain=options.cluster_domain or "cluster.local",
            api_names=[host] if host else [],
        )
        if not (options.endpoints and each["metadata"]["name"] in _ETCD_OWN)
    ]
    if options.endpoints:
        if etcd_ca is not None:
            (directory / SERVERS_CA).write_bytes(etcd_ca.read_bytes())
        trusted = base64.b64encode(etcd_authority(directory, options).read_bytes()).decode()
        for each in found:
            name = each["metadata"]["name"]
            if name.startswith("hanse-") and (name.endswith("-etcd") or name == "hanse-etcd-root"):
                each["data"]["ca.crt"] = trusted
    return found


def check(kubectl: Kubectl, directory: Path, namespace: str) -> None:
    """Raise FailedPreconditionError if the host cluster has keys of this namespace that the directory has
    not."""
    wanted = {**KEYS, "hanse-apiserver-tls": "ca.crt"}
    for name, file in wanted.items():
        text = kubectl.run(
            "get",
            "secret",
            name,
            "-n",
            namespace,
            "--ignore-not-found",
            "-o",
            f"jsonpath={{.data.{_escaped(file)}}}",
        )
        if not text.strip():
            continue
        path, there = directory / file, base64.b64decode(text).strip()
        if file == "ca.crt":
            same = not digests(directory).isdisjoint(map(digest, certificates_of(there)))
        else:
            same = path.is_file() and _has(path.read_bytes().strip(), there, ring=name in KEYS)
        if not same:
            raise FailedPreconditionError(
                f"Secret {name} in namespace {namespace} was made with another {file} than {path}: name the "
                "directory of the first run with --keys-directory; without it what is sealed in etcd is "
                "lost"
            )


def share_a_key(ours: bytes, theirs: bytes) -> bool:
    """Return whether two rings are of one installation: neither was ever replaced as a whole."""
    return not set(ours.split()).isdisjoint(theirs.split())


def _has(ours: bytes, theirs: bytes, *, ring: bool) -> bool:
    """Return whether a file has what the Secret has: all of its keys, or the same certificate."""
    return set(theirs.split()) <= set(ours.split()) if ring else ours == theirs


def _escaped(file: str) -> str:
    return file.replace(".", "\\.")


def names(manifests: Iterable[Manifest]) -> list[str]:
    """Return names of Secrets."""
    return [each["metadata"]["name"] for each in manifests]
