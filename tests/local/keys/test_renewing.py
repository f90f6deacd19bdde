"""Certificates of a data directory while its federation runs: renewed in place, listed, revoked."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from hanse_local.checks import SERVICES
from hanse_local.keys.renewing import listed, renew, revoke
from hanse_local.layout import DataDir
from hanse_local.options import UpOptions

from hanse.errors import ConfigError, InvalidArgumentError
from hanse.security.auth import server_name, service_name
from hanse.security.pki import CertificateAuthority, KeyPair, names_of, write_private
from tests.local.fakes import plan_of


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    """A data directory that was prepared once."""
    made = DataDir.at(tmp_path / "data")
    made.create()
    plan_of(made, UpOptions(clusters=0))
    return made


def certificate(data: DataDir, name: str) -> x509.Certificate:
    """A certificate of the mesh."""
    return x509.load_pem_x509_certificate((data.pki / f"{name}.crt").read_bytes())


def test_services_have_names_of_their_own_and_short_lives(data: DataDir) -> None:
    """Each certificate is for its service's name and no other's, and holds a month."""
    for name in SERVICES:
        found = certificate(data, name)
        assert {each for each in names_of(found) if each.endswith(".internal")} == {server_name(name)}
        assert (found.not_valid_after_utc - found.not_valid_before_utc).days <= 31


def test_what_is_near_its_end_is_renewed_and_the_rest_stays(data: DataDir) -> None:
    """When a third of its life is left a certificate is replaced; the kubeconfig has the user's new one."""
    ca = CertificateAuthority(KeyPair.read(data.pki, "ca"))
    for name, common_name in (("dns", service_name("dns")), ("admin", "hanse-admin")):
        ca.issue_local(common_name, days=0.001).write(data.pki, name)
    user = {"client-certificate-data": "b2xk", "client-key-data": "b2xk"}
    document = {"users": [{"name": "hanse", "user": user}, {"name": "eu-west", "user": {"token": "x"}}]}
    write_private(data.kubeconfig, yaml.safe_dump(document).encode())
    before = {name: certificate(data, name) for name in (*SERVICES, "admin")}
    renew(data)
    changed = {name for name, old in before.items() if certificate(data, name) != old}
    assert changed == {"dns", "admin"}
    users = {each["name"]: each["user"] for each in yaml.safe_load(data.kubeconfig.read_text())["users"]}
    assert (
        base64.b64decode(users["hanse"]["client-certificate-data"]) == (data.pki / "admin.crt").read_bytes()
    )
    assert users["eu-west"] == {"token": "x"}


@pytest.mark.parametrize("content", ["", "[]", "users: [null]", "users: [{}]", "users: 1", "{"])
def test_a_damaged_kubeconfig_keeps_no_certificate_from_being_renewed(data: DataDir, content: str) -> None:
    """It is said, and the files of the certificates are new."""
    ca = CertificateAuthority(KeyPair.read(data.pki, "ca"))
    ca.issue_local(service_name("dns"), days=0.001).write(data.pki, "dns")
    before = certificate(data, "dns")
    data.kubeconfig.write_text(content)
    with pytest.raises((ConfigError, InvalidArgumentError)):
        renew(data)
    assert certificate(data, "dns") != before
    assert data.kubeconfig.read_text() == content


@pytest.mark.parametrize("empty", [b"", b"garbage"])
def test_a_certificate_that_cannot_be_read_hides_no_other(data: DataDir, empty: bytes) -> None:
    """It is listed as such, anybody can be revoked, and it is issued again."""
    (data.pki / "dns.crt").write_bytes(empty)
    unreadable = {each.file for each in listed(data) if each.until is None}
    assert unreadable == {"dns.crt"}
    assert revoke(data, "name:eve") == "name:eve"
    renew(data)
    assert all(each.until for each in listed(data))


@pytest.mark.parametrize("form", ["file", "serial"])
def test_a_revoked_certificate_of_ours_is_issued_again(data: DataDir, form: str) -> None:
    """The old one is on the list, the new one is not, and nothing else changes."""
    old = certificate(data, "syncer")
    others = {name: certificate(data, name) for name in SERVICES if name != "syncer"}
    what = str(data.pki / "syncer.crt") if form == "file" else f"serial:{old.serial_number:X}"
    entry = revoke(data, what)
    assert revoke(data, entry) == entry
    assert data.deny_list.read_text().splitlines() == [entry]
    assert certificate(data, "syncer") != old
    assert others == {name: certificate(data, name) for name in others}
    assert not any(each.revoked for each in listed(data))


def test_anybodys_certificate_can_be_revoked(data: DataDir, tmp_path: Path) -> None:
    """By its file or its name, wherever it is; what makes no sense, or would stop us, is refused."""
    ca = CertificateAuthority(KeyPair.read(data.pki, "ca"))
    files = ca.issue_local("eve").write(tmp_path, "eve")
    assert revoke(data, str(files.cert)).startswith("sha256:")
    assert revoke(data, "name:eve") == "name:eve"
    assert len(data.deny_list.read_text().splitlines()) == 2
    with pytest.raises(ConfigError):
        revoke(data, "eve")
    with pytest.raises(InvalidArgumentError, match="needs"):
        revoke(data, f"name:{service_name('dns')}")
    with pytest.raises(InvalidArgumentError, match="no certificate"):
        revoke(data, str(files.key))
    assert [each.file for each in listed(data)] == sorted(f"{name}.crt" for name in (*SERVICES, "admin"))


@pytest.mark.parametrize("file", ["ca.crt", "etcd/dns.crt", "etcd/ca.crt", "members-etcd/server.crt"])
def test_what_the_list_has_no_power_over_is_not_told_as_revoked(data: DataDir, file: str) -> None:
    """An authority, and the certificates for etcd, would go on counting."""
    with pytest.raises(InvalidArgumentError, match=r"authority|etcd"):
        revoke(data, str(data.pki / file))
    assert data.deny_list.read_text() == ""
