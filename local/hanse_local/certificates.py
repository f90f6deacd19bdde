"""Keys and certificates of a local federation.

Three authorities, so that one credential opens one thing: the mesh (services and the user), the
federation's etcd (services only), and the simulated clusters' etcd (simulated clusters only). The
simulated clusters have further authorities of their own, which they make themselves.

Concurrency: small files, written before anything runs.

Next: `hanse_local.configs`, which names these files to the processes.
"""

from __future__ import annotations

from collections.abc import Iterable

from hanse.auth import ADMIN_NAME, ADMINS, MASTERS, SERVICES, server_name, service_name
from hanse.credentials import Sealer
from hanse.pki import CertificateAuthority, write_private
from hanse.revocation import DenyList
from hanse.sealing import create_key_file
from hanse.settings import TlsFiles
from hanse_local.layout import DataDir

ADMIN = "admin"
"""File name of the user's certificate."""
ETCD = "etcd"
MEMBERS_ETCD = "members-etcd"
SERVICE_DAYS = 30
"""How long a service's certificate holds; it is renewed in place when ten days are left."""
ROOT = "root"
"""Name of etcd's own administrator; only `hanse up` uses its certificate."""


class Certificates:
    """Issues what is missing and says where everything is."""

    def __init__(self, data: DataDir) -> None:
        self._data = data
        if not data.deny_list.exists():
            write_private(data.deny_list, b"")
        self._deny_list = DenyList(str(data.deny_list))
        self._mesh = CertificateAuthority.load_or_create(data.pki, name="hanse-ca")
        self._etcd = CertificateAuthority.load_or_create(data.etcd_pki, name="hanse-etcd-ca")
        self._members = CertificateAuthority.load_or_create(data.members_pki, name="members-etcd-ca")

    @property
    def ca_pem(self) -> bytes:
        """The authority of the mesh."""
        return self._mesh.ca_pem

    def admin(self) -> TlsFiles:
        """The user: may call everything, over gRPC and over REST."""
        return self._mesh.ensure_local(
            self._data.pki,
            ADMIN,
            common_name=ADMIN_NAME,
            organizations=(ADMINS, MASTERS),
            refused=self._deny_list.denies,
        )

    def service(self, name: str) -> TlsFiles:
        """A service, as server under its own name and as client of others."""
        return self._mesh.ensure_local(
            self._data.pki,
            name,
            common_name=service_name(name),
            organizations=(SERVICES,),
            dns_names=(server_name(name),),
            days=SERVICE_DAYS,
            refused=self._deny_list.denies,
        )

    def etcd_server(self) -> TlsFiles:
        """The federation's etcd."""
        return self._etcd.ensure_local(self._data.etcd_pki, "server", common_name=ETCD)

    def etcd_client(self, service: str) -> TlsFiles:
        """A service, as client of the federation's etcd."""
        return self._etcd.ensure_local(
            self._data.etcd_pki,
            service,
            common_name=service_name(service),
            organizations=(SERVICES,),
            days=SERVICE_DAYS,
        )

    def etcd_root(self) -> TlsFiles:
        """The administrator of the federation's etcd, who gives the services their rights."""
        return self._etcd.ensure_local(self._data.etcd_pki, ROOT, common_name=ROOT)

    def members_etcd_server(self) -> TlsFiles:
        """The etcd of the simulated clusters."""
        return self._members.ensure_local(self._data.members_pki, "server", common_name=MEMBERS_ETCD)

    def members_etcd_client(self, cluster: str) -> TlsFiles:
        """A simulated cluster, as client of its etcd."""
        return self._members.ensure_local(self._data.members_pki, cluster, common_name=cluster)

    def credentials_key(self) -> None:
        """Make the key that seals the members' credentials, unless it exists."""
        Sealer.from_file(self._data.credentials_key, create=True)

    def secrets_key(self) -> None:
        """Make the key that seals Secrets in etcd, unless it exists."""
        create_key_file(self._data.secrets_key)

    def prepare(self, *, services: Iterable[str], clusters: Iterable[str]) -> None:
        """Make everything that is missing."""
        self.admin()
        self.etcd_server()
        self.etcd_root()
        self.members_etcd_server()
        self.credentials_key()
        self.secrets_key()
        for service in services:
            self.service(service)
            self.etcd_client(service)
        for cluster in clusters:
            self.members_etcd_client(cluster)
