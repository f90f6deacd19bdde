"""A CA, certificates and a small service that the RPC tests share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from hanse.process.settings import TlsFiles
from hanse.security.auth import ADMIN_NAME, ADMINS, SERVICES, service_name
from hanse.security.pki import CertificateAuthority


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, TlsFiles]:
    """Certificates of one authority: registry, dns (services), admin, nobody; and of another: stranger."""
    directory: Path = tmp_path_factory.mktemp("pki")
    authority = CertificateAuthority.create()
    subjects = {
        "registry": (service_name("registry"), (SERVICES,)),
        "dns": (service_name("dns"), (SERVICES,)),
        "admin": (ADMIN_NAME, (ADMINS,)),
        "nobody": ("nobody", ()),
    }
    files = {
        name: authority.issue_local(common_name, organizations=groups).write(
            directory, name, ca_pem=authority.ca_pem
        )
        for name, (common_name, groups) in subjects.items()
    }
    stranger = CertificateAuthority.create().issue_local(ADMIN_NAME, organizations=(ADMINS,))
    other = stranger.write(directory / "other", "stranger")
    files["stranger"] = TlsFiles(ca=files["admin"].ca, cert=other.cert, key=other.key)
    return files
