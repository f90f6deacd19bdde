"""An authority is replaced in stages; after a crash between any two writes the next run goes on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from hanse.errors import ConfigError, FailedPreconditionError
from hanse.security.pki import CertificateAuthority, KeyPair, issued_by
from hanse.security.revocation import DenyList
from hanse.security.rotation import NEXT, OLD, Stage, begin, finish, past, stage_of, successor, switch
from hanse.security.subject import certificates_of


def certificate(directory: Path, name: str) -> x509.Certificate:
    """A certificate in a directory."""
    return KeyPair.read(directory, name).certificate


def issue(directory: Path, name: str = "dns") -> x509.Certificate:
    """A certificate of whoever issues now."""
    CertificateAuthority.load_or_create(directory).ensure_local(directory, name, common_name=name)
    return certificate(directory, name)


def test_an_authority_is_replaced_in_three_stages(tmp_path: Path) -> None:
    """Both are trusted before the new one issues, and after; a certificate is issued again when it does."""
    old = CertificateAuthority.load_or_create(tmp_path)
    first = issue(tmp_path)
    assert stage_of(tmp_path) is Stage.SETTLED
    assert successor(tmp_path) is None

    begin(tmp_path, name="hanse-ca")
    assert stage_of(tmp_path) is Stage.TRUSTED
    assert issue(tmp_path) == first, "the old one issues"
    following = successor(tmp_path)
    assert following is not None
    trusted = (tmp_path / "ca.crt").read_bytes()
    assert certificates_of(trusted) == (old.ca_pem, following.pair.cert_pem)
    assert following.ca_pem == trusted

    switch(tmp_path)
    assert stage_of(tmp_path) is Stage.ISSUING
    second = issue(tmp_path)
    assert second != first
    assert issued_by(second, following.pair.cert_pem)
    assert not issued_by(second, old.ca_pem)
    assert (tmp_path / "ca.crt").read_bytes() == trusted

    finish(tmp_path)
    assert stage_of(tmp_path) is Stage.SETTLED
    assert (tmp_path / "ca.crt").read_bytes() == following.pair.cert_pem
    assert issue(tmp_path) == second
    assert past(tmp_path) == (old.ca_pem,)
    keys = [each.read_bytes() for each in tmp_path.glob("*.key")]
    assert old.pair.key_pem not in keys, "the old key is gone"
    assert {each.name for each in tmp_path.glob("ca*")} == {"ca.crt", "ca.key", OLD}


def test_every_stage_can_be_done_twice_and_none_out_of_turn(tmp_path: Path) -> None:
    """What a second run does again changes nothing."""
    CertificateAuthority.load_or_create(tmp_path)
    with pytest.raises(FailedPreconditionError, match="begin"):
        switch(tmp_path)
    finish(tmp_path)
    steps: tuple[Callable[[Path], None], ...] = (partial(begin, name="hanse-ca"), switch)
    for step in steps:
        step(tmp_path)
        before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
        step(tmp_path)
        assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before
    with pytest.raises(FailedPreconditionError, match="already"):
        begin(tmp_path, name="hanse-ca")
    finish(tmp_path)
    finish(tmp_path)
    begin(tmp_path, name="hanse-ca")
    with pytest.raises(FailedPreconditionError, match="still issues"):
        finish(tmp_path)
    switch(tmp_path)
    finish(tmp_path)
    assert len(past(tmp_path)) == 2


def test_a_crash_between_two_files_is_gone_on_from(tmp_path: Path) -> None:
    """Of a new authority whose files are not both there another is made; one that is not trusted yet is
    used; a key that has moved issues."""
    CertificateAuthority.load_or_create(tmp_path)
    (tmp_path / f"{NEXT}.key").write_bytes(CertificateAuthority.create().pair.key_pem)
    assert stage_of(tmp_path) is Stage.SETTLED
    begin(tmp_path, name="hanse-ca")  # the certificate was not written
    assert stage_of(tmp_path) is Stage.TRUSTED

    made = (tmp_path / f"{NEXT}.crt").read_bytes()
    (tmp_path / "ca.crt").write_bytes(certificates_of((tmp_path / "ca.crt").read_bytes())[0])
    assert stage_of(tmp_path) is Stage.SETTLED  # it was, and is trusted by nobody
    begin(tmp_path, name="hanse-ca")
    assert certificates_of((tmp_path / "ca.crt").read_bytes())[1] == made

    (tmp_path / f"{NEXT}.key").replace(tmp_path / "ca.key")  # and its certificate is left
    assert stage_of(tmp_path) is Stage.ISSUING
    assert issued_by(issue(tmp_path), made)
    switch(tmp_path)
    assert not (tmp_path / f"{NEXT}.crt").exists()


def test_a_key_of_no_trusted_authority_is_an_error(tmp_path: Path) -> None:
    """Nothing is issued by it."""
    CertificateAuthority.load_or_create(tmp_path)
    (tmp_path / "ca.key").write_bytes(CertificateAuthority.create().pair.key_pem)
    with pytest.raises(ConfigError, match="does not belong"):
        CertificateAuthority.load_or_create(tmp_path)


def test_what_an_authority_that_is_gone_has_issued_is_denied(tmp_path: Path) -> None:
    """From when it leaves the file; what another one has issued is not, and neither is anybody denied while
    the file cannot be read."""
    CertificateAuthority.load_or_create(tmp_path)
    first = issue(tmp_path).public_bytes(Encoding.DER)
    foreign = CertificateAuthority.create().issue("eve").certificate.public_bytes(Encoding.DER)
    denied = DenyList(authorities=[str(tmp_path / "ca.crt"), ""])
    begin(tmp_path, name="hanse-ca")
    switch(tmp_path)
    second = issue(tmp_path).public_bytes(Encoding.DER)
    assert not any(map(denied.denies, (first, second, foreign)))
    trusted = (tmp_path / "ca.crt").read_bytes()
    (tmp_path / "ca.crt").unlink()
    assert not denied.denies(first)
    (tmp_path / "ca.crt").write_bytes(b"")
    assert not denied.denies(first)
    (tmp_path / "ca.crt").write_bytes(trusted)
    finish(tmp_path)
    assert denied.denies(first)
    assert not denied.denies(second)
    assert not denied.denies(foreign), "TLS lets it in or not"
    (tmp_path / "ca.crt").write_bytes(trusted)
    assert not denied.denies(first), "it is trusted again"
