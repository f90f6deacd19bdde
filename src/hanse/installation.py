"""The Secrets of a federation that runs in Kubernetes: certificates and keys, as manifests.

Owns their names, which `deploy/k8s` mounts, and `python -m hanse.installation`, which makes them. Authorities
stay in a directory of the caller's, never in the cluster: without it nothing can be issued. Run again it
issues what is near its end and leaves everything else as it is. The two Secrets of keys can change, so that
keys are rotated without a restart. While they run, services refuse a ring without a key that something is
sealed with; one that starts with such a ring takes it.

A certificate's Secret has `ca.crt`, `tls.crt` and `tls.key`, as those of cert-manager: the component
`deploy/k8s/components/cert-manager` has the same certificates for it to issue.

Concurrency: small synchronous file writes of a command.

Next: `hanse.security.pki`, which issues; `hanse.security.auth` for the names that services expect of each
other.
"""

from __future__ import annotations

import argparse
import base64
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hanse.documents import to_yaml
from hanse.errors import ConfigError, HanseError
from hanse.kube.kinds.kubernetes import core
from hanse.process.settings import TlsFiles
from hanse.security.auth import ADMIN_NAME, ADMINS, MASTERS, SERVICES, server_name, service_name
from hanse.security.credentials import Sealer
from hanse.security.keyring import create_key_file
from hanse.security.pki import LEAF_DAYS, CertificateAuthority
from hanse.security.rotation import begin, finish, switch
from hanse.store.admin.roles import ROOT
from hanse.store.rights import RIGHTS

ETCD_PEER: Final = "hanse-etcd-peer"
"""Common name of the members of etcd among themselves; etcd takes no other (`ETCD_PEER_CERT_ALLOWED_CN`)."""
ETCD_MEMBERS: Final = 5
"""For how many members of etcd its certificates have names."""
KEYS: Final[Mapping[str, str]] = {
    "hanse-credentials-key": "credentials.key",
    "hanse-secrets-key": "secrets.key",
}
"""Secrets with keys that seal what is in etcd, and the file in each."""
STEPS: Final = ("trust", "issue", "drop")
"""Of replacing the authorities: new ones are trusted too, they issue, the old ones are trusted no more."""
_LABELS: Final = {"app.kubernetes.io/name": "hanse", "app.kubernetes.io/part-of": "hanse"}
_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # RFC 1123 section 2.1
_EXTRA_SERVICES: Final[Mapping[str, str]] = {"apiserver": "hanse-api", "dns": "hanse-names"}


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that an installation needs. `name` is that of its Secret; `etcd` says whose authority."""

    name: str
    common_name: str
    organizations: tuple[str, ...] = ()
    dns_names: tuple[str, ...] = ()
    etcd: bool = False

    @property
    def file(self) -> str:
        """Name of its files in the directory, without suffix."""
        return self.name.removeprefix("hanse-")


def certificates(
    namespace: str = "hanse", *, domain: str = "cluster.local", api_names: Sequence[str] = ()
) -> tuple[Certificate, ...]:
    """Return what is to be issued for an installation in `namespace` of a cluster with the DNS `domain`.

    `api_names` are more names at which the Kubernetes API of the federation is reached.
    """

    def names(service: str) -> tuple[str, ...]:
        return service, f"{service}.{namespace}", f"{service}.{namespace}.svc", _full(service)

    def _full(service: str) -> str:
        return f"{service}.{namespace}.svc.{domain}"

    members = [f"hanse-etcd-{number}.hanse-etcd-peers" for number in range(ETCD_MEMBERS)]
    etcd_names = (
        *names("hanse-etcd"),
        *members,
        *(f"{member}.{namespace}.svc" for member in members),
        f"*.{_full('hanse-etcd-peers')}",  # by this name a member finds the address of another
    )
    return (
        *(
            Certificate(
                name=f"hanse-{service}-tls",
                common_name=service_name(service),
                organizations=(SERVICES,),
                dns_names=(
                    server_name(service),
                    *names(f"hanse-{service}"),
                    *(names(_EXTRA_SERVICES[service]) if service in _EXTRA_SERVICES else ()),
                    *(api_names if service == "apiserver" else ()),
                ),
            )
            for service in RIGHTS
        ),
        Certificate(name="hanse-admin", common_name=ADMIN_NAME, organizations=(ADMINS, MASTERS)),
        *(
            Certificate(
                name=f"hanse-{service}-etcd",
                common_name=service_name(service),
                organizations=(SERVICES,),
                etcd=True,
            )
            for service in RIGHTS
        ),
        Certificate(name="hanse-etcd-root", common_name=ROOT, etcd=True),
        Certificate(name="hanse-etcd-server", common_name="hanse-etcd", dns_names=etcd_names, etcd=True),
        Certificate(name="hanse-etcd-peer", common_name=ETCD_PEER, dns_names=etcd_names, etcd=True),
    )


def secrets(
    directory: Path,
    *,
    namespace: str = "hanse",
    domain: str = "cluster.local",
    api_names: Sequence[str] = (),
    days: float = LEAF_DAYS,
    keys_only: bool = False,
) -> Iterator[dict[str, Any]]:
    """Yield the Secrets as manifests, issuing what is missing in `directory`, near its end, or of an
    authority that issues no more. While authorities are replaced (`rotate`), they are of the stage reached.

    The user's own certificate is issued too and is in no Secret. Raises ConfigError for a directory that
    cannot be used, or whose keys are damaged.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        directory.chmod(0o700)
        yield from _keys(directory, namespace)
        if not keys_only:
            wanted = certificates(namespace, domain=domain, api_names=api_names)
            yield from _certificates(directory, namespace, wanted, days=days)
    except OSError as error:
        raise ConfigError(f"cannot use {directory}: {error.strerror or error}") from error


def rotate(directory: Path, step: str) -> None:
    """Take the authorities of a directory to a stage of `STEPS`; one that is there already stays.

    Raises ConfigError, FailedPreconditionError for a step out of turn.
    """
    for name, path in _authorities(directory).items():
        if not (path / "ca.crt").exists():
            raise ConfigError(f"there is no authority in {path}: name the directory of the installation")
        if step == "trust":
            begin(path, name=name)
        elif step == "issue":
            switch(path)
        else:
            finish(path)


def _authorities(directory: Path) -> dict[str, Path]:
    return {"hanse-ca": directory, "hanse-etcd-ca": directory / "etcd"}


def _keys(directory: Path, namespace: str) -> Iterator[dict[str, Any]]:
    for secret, file in KEYS.items():
        create_key_file(directory / file)
        Sealer.from_file(directory / file)
        yield _secret(secret, namespace, "Opaque", {file: (directory / file).read_bytes()})


def _certificates(
    directory: Path, namespace: str, wanted: Sequence[Certificate], *, days: float
) -> Iterator[dict[str, Any]]:
    mesh, etcd = (
        CertificateAuthority.load_or_create(path, name=name) for name, path in _authorities(directory).items()
    )
    for each in wanted:
        files = (etcd if each.etcd else mesh).ensure_local(
            directory / "etcd" if each.etcd else directory,
            each.file,
            common_name=each.common_name,
            organizations=each.organizations,
            names=each.dns_names,
            days=days,
        )
        if each.common_name != ADMIN_NAME:
            yield _secret(each.name, namespace, "kubernetes.io/tls", _contents(files))


def _contents(files: TlsFiles) -> dict[str, bytes]:
    ca, cert, key = files.read()
    return {"ca.crt": ca, "tls.crt": cert, "tls.key": key}


def _secret(name: str, namespace: str, kind: str, files: Mapping[str, bytes]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": core.SECRET.name,
        "metadata": {"name": name, "namespace": namespace, "labels": dict(_LABELS)},
        "type": kind,
        "data": {file: base64.b64encode(content).decode() for file, content in files.items()},
    }


def _check_names(namespace: str, domain: str, api_names: Sequence[str]) -> None:
    for flag, name in (
        ("--namespace", namespace),
        ("--cluster-domain", domain),
        *(("--api-name", each) for each in api_names),
    ):
        labels = [name] if flag == "--namespace" else name.removeprefix("*.").split(".")
        if not all(_LABEL.fullmatch(label) for label in labels):
            raise ConfigError(f"{flag} {name} is not a DNS name: use lower case letters, digits and '-'")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `python -m hanse.installation`; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m hanse.installation",
        description="Write the Secrets of a federation in Kubernetes to standard output, as YAML for "
        "`kubectl apply -f -`. What issues them stays in a directory: keep it, and back it up.",
    )
    parser.add_argument(
        "--directory",
        type=Path,
        required=True,
        metavar="DIR",
        help="authorities, certificates and keys; what is missing is made",
    )
    parser.add_argument("--namespace", default="hanse", help="[default: %(default)s]")
    parser.add_argument(
        "--cluster-domain", default="cluster.local", help="DNS domain of the cluster [default: %(default)s]"
    )
    parser.add_argument(
        "--api-name",
        action="append",
        default=[],
        metavar="NAME",
        help="one more DNS name of the federation's Kubernetes API; may be repeated",
    )
    parser.add_argument(
        "--days", type=float, default=LEAF_DAYS, help="how long certificates hold [default: %(default)s]"
    )
    parser.add_argument(
        "--keys-only", action="store_true", help="only the keys, where cert-manager issues the certificates"
    )
    parser.add_argument(
        "--rotate-ca",
        choices=STEPS,
        help="take the authorities to the next stage of being replaced first; docs/install.md has the steps",
    )
    given = parser.parse_args(argv)
    try:
        if given.rotate_ca:
            rotate(given.directory, given.rotate_ca)
        _check_names(given.namespace, given.cluster_domain, given.api_name)
        manifests = list(
            secrets(
                given.directory,
                namespace=given.namespace,
                domain=given.cluster_domain,
                api_names=given.api_name,
                days=given.days,
                keys_only=given.keys_only,
            )
        )
    except HanseError as error:
        sys.stderr.write(f"{error.message}\n")
        return 2 if isinstance(error, ConfigError) else 1
    sys.stdout.write("---\n".join(to_yaml(each, width=1 << 20) for each in manifests))
    return 0


if __name__ == "__main__":
    sys.exit(main())
