"""The Secrets of an installation: what is in them, and what a second run leaves as it is."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from hanse_install import checks, contexts, keys
from hanse_install.record import InstallationRecord

from hanse.errors import FailedPreconditionError
from hanse.installation import KEYS, STEPS, certificates, main, rotate, secrets
from hanse.security.auth import server_name, service_name
from hanse.security.keyring import add_key
from hanse.security.pki import CertificateAuthority, KeyPair, issued_by, names_of, needs_renewal, subject_of
from hanse.security.subject import certificates_of
from hanse.store.rights import RIGHTS


def by_name(directory: Path, **options: Any) -> dict[str, dict[str, Any]]:
    """The Secrets, by name."""
    return {each["metadata"]["name"]: each for each in secrets(directory, **options)}


def content(secret: dict[str, Any], file: str) -> bytes:
    """What a file of a Secret holds."""
    return base64.b64decode(secret["data"][file])


def test_each_service_has_a_certificate_with_its_names(tmp_path: Path) -> None:
    """By the name that clients expect, and by those of its Service; etcd's authority is another."""
    made = by_name(tmp_path, namespace="east", api_names=["api.example.org"])
    mesh, etcd = (CertificateAuthority(KeyPair.read(each, "ca")) for each in (tmp_path, tmp_path / "etcd"))
    for service in RIGHTS:
        own = x509.load_pem_x509_certificate(content(made[f"hanse-{service}-tls"], "tls.crt"))
        client = x509.load_pem_x509_certificate(content(made[f"hanse-{service}-etcd"], "tls.crt"))
        assert subject_of(own)[0] == subject_of(client)[0] == service_name(service)
        assert {server_name(service), f"hanse-{service}.east.svc.cluster.local"} <= names_of(own)
        assert ("api.example.org" in names_of(own)) == (service == "apiserver")
        assert mesh.has_issued(own)
        assert etcd.has_issued(client)
        assert not mesh.has_issued(client)


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    """What is neither missing nor near its end stays as it is, byte for byte."""
    assert by_name(tmp_path) == by_name(tmp_path)


def test_what_is_near_its_end_is_issued_again(tmp_path: Path) -> None:
    """A certificate in its last third is replaced; keys that seal and authorities are not."""
    before = by_name(tmp_path)
    authority = CertificateAuthority(KeyPair.read(tmp_path, "ca"))
    wanted = next(each for each in certificates() if each.name == "hanse-dns-tls")
    old = authority.issue(
        wanted.common_name, organizations=wanted.organizations, dns_names=wanted.dns_names, days=0.0001
    )
    assert needs_renewal(old.certificate)
    old.write(tmp_path, wanted.file)

    after = by_name(tmp_path)
    assert {name for name in after if after[name] != before[name]} == {"hanse-dns-tls"}
    assert not needs_renewal(x509.load_pem_x509_certificate(content(after["hanse-dns-tls"], "tls.crt")))


def test_keys_stay_and_can_be_rotated(tmp_path: Path) -> None:
    """A run with the same directory yields the same keys, and one that was added since."""
    made = by_name(tmp_path)
    assert not any(each.get("immutable") for each in made.values())
    again = by_name(tmp_path, keys_only=True)
    assert again == {name: made[name] for name in KEYS}
    add_key(tmp_path / "secrets.key")
    rotated = by_name(tmp_path, keys_only=True)
    before, after = (
        content(each["hanse-secrets-key"], "secrets.key").splitlines() for each in (again, rotated)
    )
    assert after[: len(before)] == before
    assert len(after) == len(before) + 1


def test_the_directory_is_its_owners(tmp_path: Path) -> None:
    """Nobody else may look into it, and no key in it is readable by others."""
    directory = tmp_path / "pki"
    by_name(directory)
    assert directory.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in directory.rglob("*.key"))
    assert (directory / "admin.crt").exists()


def test_the_command_writes_yaml(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m hanse.installation` writes one document a Secret, for `kubectl apply`."""
    assert main(["--directory", str(tmp_path)]) == 0
    assert list(yaml.safe_load_all(capsys.readouterr().out)) == list(secrets(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--namespace", "East"], "--namespace East is not a DNS name"),
        (["--api-name", "api_example"], "--api-name api_example is not a DNS name"),
    ],
)
def test_a_wrong_name_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    """One line says which, and nothing is written."""
    assert main(["--directory", str(tmp_path / "pki"), *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "pki").exists()


def test_a_damaged_key_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A key file that cannot be read is named, and not replaced."""
    by_name(tmp_path)
    (tmp_path / "credentials.key").write_text("nonsense\n")
    assert main(["--directory", str(tmp_path)]) == 2
    assert "credentials.key" in capsys.readouterr().err
    assert (tmp_path / "credentials.key").read_text() == "nonsense\n"


def test_authorities_are_replaced_in_steps_that_a_plain_run_keeps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """First every Secret trusts both, then every certificate is issued again, then the old ones are
    trusted no more. A plain run, as `kubefed init` makes one, changes no stage; keys that seal stay as
    they are.
    """

    def run(*words: str) -> dict[str, dict[str, Any]]:
        assert main(["--directory", str(tmp_path), *words]) == 0
        made = {each["metadata"]["name"]: each for each in yaml.safe_load_all(capsys.readouterr().out)}
        assert by_name(tmp_path) == made
        return made

    def files(made: dict[str, dict[str, Any]], file: str) -> dict[str, bytes]:
        return {name: content(each, file) for name, each in made.items() if name not in KEYS}

    settled = run()
    old = set(files(settled, "ca.crt").values())
    both = run("--rotate-ca", "trust")
    assert files(both, "tls.crt") == files(settled, "tls.crt")
    assert run("--rotate-ca", "trust") == both
    trusted = files(both, "ca.crt")
    assert all(trusted[name].startswith(each) for name, each in files(settled, "ca.crt").items())
    assert {len(certificates_of(each)) for each in trusted.values()} == {2}

    issued = run("--rotate-ca", "issue")
    assert files(issued, "ca.crt") == trusted
    assert set(files(issued, "tls.crt").values()).isdisjoint(files(settled, "tls.crt").values())
    assert main(["--directory", str(tmp_path), "--rotate-ca", "trust"]) == 1
    assert "already" in capsys.readouterr().err

    dropped = run("--rotate-ca", "drop")
    assert files(dropped, "tls.crt") == files(issued, "tls.crt")
    assert set(files(dropped, "ca.crt").values()).isdisjoint(old)
    for name, each in files(dropped, "tls.crt").items():
        assert issued_by(x509.load_pem_x509_certificate(each), files(dropped, "ca.crt")[name])
    assert {name: dropped[name] for name in KEYS} == {name: settled[name] for name in KEYS}
    assert main(["--directory", str(tmp_path / "other"), "--rotate-ca", "trust"]) == 2
    assert "no authority" in capsys.readouterr().err


def test_a_federation_is_known_by_all_its_authorities(tmp_path: Path) -> None:
    """`kubefed init` goes on at any stage, also with Secrets, a record and a context of the one before; with
    those of another directory it does not."""
    other = tmp_path / "other"
    by_name(tmp_path / "keys")
    by_name(other)
    directory = tmp_path / "keys"
    first = keys.digest(keys.issuing(directory))
    assert keys.digests(directory) == {first}
    for step in STEPS:
        rotate(directory, step)
        made = by_name(directory)["hanse-apiserver-tls"]
        assert first in keys.digests(directory)
        assert keys.digest(keys.issuing(directory)) in keys.digests(directory)
        assert keys.digests(directory).isdisjoint(keys.digests(other))
        cluster = {"certificate-authority-data": made["data"]["ca.crt"]}
        config = {
            "contexts": [{"name": "east", "context": {"cluster": "east"}}],
            "clusters": [{"name": "east", "cluster": cluster}],
        }
        contexts.check_free(config, "east", keys.digests(directory))
        with pytest.raises(FailedPreconditionError, match="not this federation's"):
            contexts.check_free(config, "east", keys.digests(other))
        checks.same_authority(InstallationRecord("east", "hanse", first), directory)
        with pytest.raises(FailedPreconditionError, match="another id"):
            checks.same_authority(InstallationRecord("east", "hanse", first), other)
