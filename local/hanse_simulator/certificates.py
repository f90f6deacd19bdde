"""The cluster's own certificates: its authority, the API server's, and the administrator's kubeconfig.

They stay in `pki_dir`, so that a kubeconfig stays good over restarts; certificates near their end are issued
again. Synchronous; used at the start only. Next: `hanse_simulator.app`.
"""

from __future__ import annotations

import base64
import ssl
from dataclasses import dataclass
from pathlib import Path

import yaml

from hanse.errors import ConfigError
from hanse.process.settings import TlsFiles
from hanse.security.pki import CertificateAuthority, write_private

ADMIN = "kubernetes-admin"
ADMIN_GROUP = "system:masters"


@dataclass(frozen=True, slots=True)
class ClusterCertificates:
    """The files of a cluster's certificates."""

    server: TlsFiles
    admin: TlsFiles

    @classmethod
    def ensure(cls, directory: Path, *, cluster: str, host: str = "127.0.0.1") -> ClusterCertificates:
        """Return the certificates in `directory`, made or renewed as need be, for a server that is reached
        at `host`. Raises ConfigError."""
        try:
            authority = CertificateAuthority.load_or_create(directory, name=f"{cluster}-ca")
            server = authority.ensure_local(
                directory, "apiserver", common_name="kube-apiserver", names=(host,)
            )
            admin = authority.ensure_local(
                directory, "admin", common_name=ADMIN, organizations=(ADMIN_GROUP,)
            )
        except OSError as error:
            raise ConfigError(f"cannot write certificates to {directory}: {error.strerror}") from error
        return cls(server, admin)

    @property
    def ca_pem(self) -> str:
        """The authority's certificate."""
        return self.server.ca.read_text()

    def tls(self) -> ssl.SSLContext:
        """Return the API server's TLS context: client certificates are verified, and may be absent."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.server.cert, self.server.key)
        context.load_verify_locations(self.server.ca)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.set_alpn_protocols(["http/1.1"])
        return context

    def kubeconfig(self, *, cluster: str, server: str) -> str:
        """Return the administrator's kubeconfig; its one context is named as the cluster."""
        ca, cert, key = (base64.b64encode(pem).decode() for pem in self.admin.read())
        return yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": cluster,
                "clusters": [
                    {"name": cluster, "cluster": {"server": server, "certificate-authority-data": ca}}
                ],
                "users": [{"name": ADMIN, "user": {"client-certificate-data": cert, "client-key-data": key}}],
                "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": ADMIN}}],
            },
            sort_keys=False,
        )

    def write_kubeconfig(self, path: Path, *, cluster: str, server: str) -> None:
        """Write the kubeconfig, readable by its owner only. Raises ConfigError."""
        try:
            write_private(path, self.kubeconfig(cluster=cluster, server=server).encode())
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror}") from error
