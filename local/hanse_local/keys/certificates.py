"""Keys and certificates of a local federation.

Three authorities, so that one credential opens one thing: the mesh (services and the user), the
federation's etcd (services only), and the simulated clusters' etcd (simulated clusters only). The
simulated clusters have further authorities of their own, which they make themselves.

Concurrency: small files, written before anything runs.

Next: `hanse_local.configs`, which names these files to the processes.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hanse.errors import ConfigError
from hanse.process.settings import TlsFiles
from hanse.security.auth import ADMIN_NAME, ADMINS, MASTERS, SERVICES, server_name, service_name
from hanse.security.credentials import Sealer
from hanse.security.keyring import create_key_file
from hanse.security.pki import CertificateAuthority, write_private
from hanse.security.revocation import DenyList
from hanse.security.rotation import successor
from hanse_local.keys.overlap import Overlap
from hanse_local.layout import DataDir

ADMIN = "admin"
"""File name of the user's certificate."""
ETCD = "etcd"
MEMBERS_ETCD = "members-etcd"
SERVICE_DAYS = 30
"""How long a service's certificate holds; it is renewed in place when ten days are left."""
ROOT = "root"
"""Name of etcd's own administrator; only `hanse up` uses its certificate."""


def authorities(data: DataDir) -> dict[str, Path]:
    """Return the authorities of a data directory: where each is, by name."""
    return {"hanse-ca": data.pki, "hanse-etcd-ca": data.etcd_pki, "members-etcd-ca": data.members_pki}


@contextmanager
def held(data: DataDir) -> Iterator[None]:
    """Keep others from issuing certificates of a data directory and from replacing its authorities, waiting
    for those that do. It is not reentrant: who holds it must not call what holds it."""
    data.pki.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(data.pki, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class Certificates:
    """Issues what is missing and says where everything is."""

    def __init__(self, data: DataDir) -> None:
        self._data = data
        if not data.deny_list.exists():
            write_private(data.deny_list, b"")
        self._deny_list = DenyList(str(data.deny_list))
        self._mesh, self._etcd, self._members = (
            CertificateAuthority.load_or_create(directory, name=name)
            for name, directory in authorities(data).items()
        )
        overlap = Overlap.load(data)
        following = successor(data.pki) if overlap is not None and overlap.end is not None else None
        self._users = following or self._mesh

    @property
    def ca_pem(self) -> bytes:
        """The authority of the mesh."""
        return self._mesh.ca_pem

    def admin(self) -> TlsFiles:
        """Return the user: may call everything, over gRPC and over REST. While the authority is replaced,
        that is the first certificate of the new one, as soon as all services trust it.
        """
        return self._users.ensure_local(
            self._data.pki,
            ADMIN,
            common_name=ADMIN_NAME,
            organizations=(ADMINS, MASTERS),
            refused=self._deny_list.denies,
        )

    def service(self, name: str, *, names: Sequence[str] = ()) -> TlsFiles:
        """Return a service, as server under its own name and as client of others.

        `names` are further names and addresses of the apiserver, the one that others than services call.
        """
        return self._mesh.ensure_local(
            self._data.pki,
            name,
            common_name=service_name(name),
            organizations=(SERVICES,),
            names=(server_name(name), *(names if name == "apiserver" else ())),
            days=SERVICE_DAYS,
            refused=self._deny_list.denies,
        )

    def etcd_server(self) -> TlsFiles:
        """Return the federation's etcd."""
        return self._etcd.ensure_local(self._data.etcd_pki, "server", common_name=ETCD)

    def etcd_client(self, service: str) -> TlsFiles:
        """Return a service, as client of the federation's etcd."""
        return self._etcd.ensure_local(
            self._data.etcd_pki,
            service,
            common_name=service_name(service),
            organizations=(SERVICES,),
            days=SERVICE_DAYS,
        )

    def etcd_root(self) -> TlsFiles:
        """Return the administrator of the federation's etcd, who gives the services their rights."""
        return self._etcd.ensure_local(self._data.etcd_pki, ROOT, common_name=ROOT)

    def members_etcd_server(self) -> TlsFiles:
        """Return the etcd of the simulated clusters."""
        return self._members.ensure_local(self._data.members_pki, "server", common_name=MEMBERS_ETCD)

    def members_etcd_client(self, cluster: str) -> TlsFiles:
        """Return a simulated cluster, as client of its etcd."""
        return self._members.ensure_local(self._data.members_pki, cluster, common_name=cluster)

    def keys(self, *, credentials: bool, secrets: bool) -> None:
        """Make the keys that seal the members' credentials, and Secrets in etcd, where nothing is sealed yet.

        The arguments say where something is: such a key cannot be made, and a new one in its place would
        seal what its return makes unreadable. Raises ConfigError for a key that is missing or damaged.
        """
        for path, needed in ((self._data.credentials_key, credentials), (self._data.secrets_key, secrets)):
            if needed and not path.exists():
                raise ConfigError(
                    f"{path} is gone, and what it has sealed cannot be opened without it: restore it from a "
                    "backup; to go on without that, see docs/operations.md, When a key is lost",
                    metadata={"file": str(path)},
                )
            create_key_file(path)
            Sealer.from_file(path)

    def prepare(self, *, services: Iterable[str], clusters: Iterable[str], names: Sequence[str] = ()) -> None:
        """Issue everything that is missing. `names` are those at which others reach this machine."""
        self.admin()
        self.etcd_server()
        self.etcd_root()
        self.members_etcd_server()
        for service in services:
            self.service(service, names=names)
            self.etcd_client(service)
        for cluster in clusters:
            self.members_etcd_client(cluster)
