"""Certificates, and the identities in them."""

from __future__ import annotations

import datetime as dt
import os
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from hanse.errors import ConfigError, UnauthenticatedError
from hanse.security.auth import (
    ADMINS,
    Identity,
    TokenFile,
    identity_from_auth_context,
    identity_from_der,
    identity_from_pem,
)
from hanse.security.pki import CertificateAuthority, KeyPair, needs_renewal, subject_of
from hanse.security.subject import subject_of_der

AUTHORITY = CertificateAuthority.create()


def test_an_issued_certificate_names_its_identity() -> None:
    """Common name and organizations are name and groups, in order."""
    pair = CertificateAuthority.create().issue_local("hanse-admin", organizations=(ADMINS, "system:masters"))
    assert identity_from_pem(pair.cert_pem) == Identity("hanse-admin", (ADMINS, "system:masters"))
    assert identity_from_auth_context({"x509_pem_cert": [pair.cert_pem]}) is not None
    assert identity_from_auth_context({}) is None


def test_a_certificate_without_a_name_names_nobody() -> None:
    """It authenticates no one."""
    with pytest.raises(UnauthenticatedError):
        identity_from_pem(_nameless())


def _nameless() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(x509.Name([]))
    builder = builder.public_key(key.public_key()).serial_number(1)
    builder = builder.not_valid_before(now).not_valid_after(now + dt.timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@settings(max_examples=20)
@given(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=16),
    st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=16)),
)
def test_any_name_is_read_as_it_was_written(name: str, groups: list[str]) -> None:
    """Our reader of subjects agrees with the library that wrote the certificate."""
    pair = AUTHORITY.issue(name, organizations=groups)
    assert identity_from_pem(pair.cert_pem) == Identity(*subject_of(pair.certificate))
    assert identity_from_pem(pair.cert_pem) == Identity(name, tuple(groups))


@pytest.mark.parametrize("year", [1985, 2049, 2051, 9999])
def test_the_end_of_a_certificate_is_read_as_it_was_written(year: int) -> None:
    """In both of the forms that RFC 5280 has for times."""
    key, end = ec.generate_private_key(ec.SECP256R1()), dt.datetime(year, 12, 31, 23, 59, 58, tzinfo=dt.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "me")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = (
        builder.serial_number(1).not_valid_before(dt.datetime(1980, 1, 1, tzinfo=dt.UTC)).not_valid_after(end)
    )
    der = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    assert subject_of_der(der) == ("me", (), end.timestamp())


@given(st.binary(max_size=64), st.integers(0, 200))
def test_what_is_no_certificate_authenticates_nobody(rubbish: bytes, cut: int) -> None:
    """Rubbish and cut certificates raise UnauthenticatedError, nothing else."""
    der = AUTHORITY.pair.certificate.public_bytes(serialization.Encoding.DER)
    for data in (rubbish, der[:cut], der[:cut] + rubbish):
        with pytest.raises(UnauthenticatedError):
            identity_from_der(data)
    with pytest.raises(UnauthenticatedError):
        identity_from_pem(b"-----")


def test_keys_are_private_and_written_whole(tmp_path: Path) -> None:
    """0600, also over an existing file with other permissions; nothing else is left behind."""
    authority = CertificateAuthority.create()
    (tmp_path / "a.key").write_text("old")
    (tmp_path / "a.key").chmod(0o644)
    files = authority.issue_local("a").write(tmp_path, "a", ca_pem=authority.ca_pem)
    assert files.key.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.crt", "a.key", "ca.crt"]
    assert KeyPair.read(tmp_path, "a").certificate.subject


def test_a_key_that_does_not_fit_is_found(tmp_path: Path) -> None:
    """The error names the pair."""
    authority = CertificateAuthority.create()
    authority.issue_local("a").write(tmp_path, "a")
    (tmp_path / "a.key").write_bytes(authority.issue_local("a").key_pem)
    with pytest.raises(ConfigError, match="a: the key does not belong"):
        KeyPair.read(tmp_path, "a")
    (tmp_path / "a.key").write_bytes(b"rubbish")
    with pytest.raises(ConfigError, match="not valid PEM"):
        KeyPair.read(tmp_path, "a")
    with pytest.raises(ConfigError, match="cannot read"):
        KeyPair.read(tmp_path, "b")


def test_a_pair_that_is_being_replaced_is_read_when_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the two files of a pair a reader with nothing to go on with waits; others are told at once."""
    old, new = AUTHORITY.issue_local("before"), AUTHORITY.issue_local("after")
    files = old.write(tmp_path, "one", ca_pem=AUTHORITY.ca_pem)
    files.key.write_bytes(new.key_pem)
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            files.cert.write_bytes(new.cert_pem)

    monkeypatch.setattr("time.sleep", pause)
    with pytest.raises(ConfigError, match="key values mismatch"):
        files.read()
    with pytest.raises(ConfigError, match="key values mismatch"):
        files.read(again=1)
    assert files.read(again=3) == (AUTHORITY.ca_pem, new.cert_pem, new.key_pem)
    assert len(pauses) == 2


def test_certificates_are_kept_until_they_must_change(tmp_path: Path) -> None:
    """Issued again when missing, near the end, for another subject, or from another authority."""
    authority = CertificateAuthority.load_or_create(tmp_path)
    assert CertificateAuthority.load_or_create(tmp_path).ca_pem == authority.ca_pem

    def ensure(name: str = "x", by: CertificateAuthority = authority) -> bytes:
        return by.ensure_local(tmp_path, "x", common_name=name).cert.read_bytes()

    first = ensure()
    assert ensure() == first
    second = ensure("y")
    assert second != first
    authority.issue_local("y", days=0.001).write(tmp_path, "x")
    soon = KeyPair.read(tmp_path, "x").certificate.not_valid_after_utc
    assert needs_renewal(KeyPair.read(tmp_path, "x").certificate, now=soon)
    other = CertificateAuthority.create()
    third = ensure("y", by=other)
    assert other.has_issued(KeyPair.read(tmp_path, "x").certificate)
    assert (tmp_path / "ca.crt").read_bytes() == other.ca_pem
    assert third != second


def test_renewal_is_due_before_the_end() -> None:
    """30 days before, or in the last third of a short life."""
    certificate = CertificateAuthority.create().issue_local("a", days=365).certificate
    end = certificate.not_valid_after_utc
    assert not needs_renewal(certificate, now=end - dt.timedelta(days=31))
    assert needs_renewal(certificate, now=end - dt.timedelta(days=29))


def test_python_tls_trusts_the_certificates_and_gives_the_identity(tmp_path: Path) -> None:
    """A handshake of Python's own ssl with strict verification, both ways, by name and by address."""
    authority = CertificateAuthority.create()
    server_files = authority.issue_local("server").write(tmp_path, "server", ca_pem=authority.ca_pem)
    client_files = authority.issue_local("alice", organizations=("dev",)).write(tmp_path, "client")
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=server_files.ca)
    server_context.verify_mode = ssl.CERT_REQUIRED
    server_context.verify_flags |= ssl.VERIFY_X509_STRICT
    server_context.load_cert_chain(server_files.cert, server_files.key)
    client_context = ssl.create_default_context(cafile=server_files.ca)
    client_context.verify_flags |= ssl.VERIFY_X509_STRICT
    client_context.load_cert_chain(client_files.cert, client_files.key)
    for host in ("localhost", "127.0.0.1", "::1"):
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = server_context.wrap_bio(to_server, to_client, server_side=True)
        client = client_context.wrap_bio(to_client, to_server, server_hostname=host)
        done = 0
        while done < 2:
            done = 0
            for side in (client, server):
                try:
                    side.do_handshake()
                    done += 1
                except ssl.SSLWantReadError:
                    pass
        assert identity_from_der(server.getpeercert(binary_form=True) or b"") == Identity("alice", ("dev",))


def test_tokens_are_read_again_when_the_file_changes(tmp_path: Path) -> None:
    """Kubernetes' format; a file that is broken for a moment locks nobody out."""
    path = tmp_path / "tokens.csv"
    path.write_text('s3cret,alice,1,"dev,ops"\n# comment\n\nother,bob,2\n')
    tokens = TokenFile(path)
    assert tokens.authenticate("s3cret") == Identity("alice", ("dev", "ops"))
    assert tokens.authenticate("other") == Identity("bob", ())
    assert tokens.authenticate("wrong") is None
    assert tokens.authenticate("") is None
    path.write_text("new,carol,3\n")
    os.utime(path, ns=(1, 1))
    assert tokens.authenticate("new") == Identity("carol", ())
    assert tokens.authenticate("s3cret") is None
    path.write_text("broken\n")
    os.utime(path, ns=(2, 2))
    assert tokens.authenticate("new") == Identity("carol", ())


@pytest.mark.parametrize("broken", [b"\xff,a,1\n", b"x" * 200_000 + b",a,1\n", b"a,b\n", b'"a\0,b,1\n'])
def test_a_mistake_in_the_token_file_is_nobodys_error(tmp_path: Path, broken: bytes) -> None:
    """Bytes that are no text, endless fields: what the file said before holds; at a start it is named."""
    path = tmp_path / "tokens.csv"
    path.write_bytes(b"good,carol,3\n")
    tokens = TokenFile(path)
    path.write_bytes(broken)
    for _ in range(2):
        assert tokens.authenticate("good") == Identity("carol", ())
        assert tokens.authenticate("other") is None
    with pytest.raises(ConfigError, match=r"tokens\.csv"):
        TokenFile(path)
    path.write_bytes(b"other,dave,4\n")
    assert tokens.authenticate("good") is None
    assert tokens.authenticate("other") == Identity("dave", ())


def test_a_malformed_token_file_names_the_line(tmp_path: Path) -> None:
    """At start-up it is an error."""
    path = tmp_path / "tokens.csv"
    path.write_text("a,b,c\nx,y\n")
    with pytest.raises(ConfigError, match=r"tokens\.csv line 2"):
        TokenFile(path)


@pytest.mark.parametrize("file", ["ca", "cert", "key"])
@pytest.mark.parametrize("content", [b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_files_that_are_no_pem_are_refused(tmp_path: Path, file: str, content: bytes) -> None:
    """Before gRPC sees them: it ends the process for an empty key. The file is named."""
    files = AUTHORITY.issue_local("x").write(tmp_path, "x", ca_pem=AUTHORITY.ca_pem)
    files.read()
    path: Path = getattr(files, file)
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"cannot use .*{path}"):
        files.read()


def test_a_key_of_another_certificate_or_with_a_password_is_refused(tmp_path: Path) -> None:
    """So that who follows the files keeps the last good ones until both are replaced."""
    files = AUTHORITY.issue_local("x").write(tmp_path, "x", ca_pem=AUTHORITY.ca_pem)
    files.key.write_bytes(AUTHORITY.issue_local("x").key_pem)
    with pytest.raises(ConfigError, match=f"with the key {files.key}: .*mismatch"):
        files.read()
    files.key.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(ConfigError, match=f"with the key {files.key}"):
        files.read()


def test_the_clock_says_when_a_certificate_is_valid() -> None:
    """From which moment on it is issued, and whether its holder is still believed; no test need wait."""
    moment = dt.datetime(2031, 5, 6, tzinfo=dt.UTC)
    authority = CertificateAuthority.create(clock=lambda: moment)
    issued = authority.issue("alice", days=2).certificate
    assert issued.not_valid_after_utc == moment + dt.timedelta(days=2)
    der = issued.public_bytes(serialization.Encoding.DER)
    end = issued.not_valid_after_utc.timestamp()
    assert identity_from_der(der, clock=lambda: end).name == "alice"
    with pytest.raises(UnauthenticatedError, match="alice has expired") as over:
        identity_from_der(der, clock=lambda: end + 1)
    assert over.value.reason == "CERTIFICATE_EXPIRED"
