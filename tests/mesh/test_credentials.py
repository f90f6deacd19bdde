"""Sealing of credentials."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.errors import ConfigError, DataLossError
from hanse.security import keyring
from hanse.security.credentials import Sealer
from hanse.security.keyring import add_key, new_key, promote_key

SEALER = Sealer([new_key()])


@given(st.text(), st.binary())
def test_what_is_sealed_can_be_opened(cluster: str, secret: bytes) -> None:
    """For any cluster and content; and twice the same is never the same envelope."""
    envelope = SEALER.seal(cluster, secret)
    assert SEALER.open(cluster, envelope) == secret
    assert envelope != SEALER.seal(cluster, secret)
    assert not SEALER.needs_resealing(cluster, envelope)


@given(st.data())
def test_a_changed_envelope_does_not_open(data: st.DataObject) -> None:
    """Any flipped bit or cut is found."""
    envelope = bytearray(SEALER.seal("a", b"secret"))
    at = data.draw(st.integers(0, len(envelope) - 1))
    envelope[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(DataLossError):
        SEALER.open("a", bytes(envelope))
    cut = data.draw(st.integers(0, len(envelope) - 1))
    with pytest.raises(DataLossError):
        SEALER.open("a", SEALER.seal("a", b"secret")[:cut])


def test_an_envelope_belongs_to_one_cluster() -> None:
    """Moved to another cluster it does not open."""
    with pytest.raises(DataLossError, match="cluster b"):
        SEALER.open("b", SEALER.seal("a", b"secret"))


def test_the_key_file_is_made_private_and_only_when_asked(tmp_path: Path) -> None:
    """0600; a missing file is an error unless it may be made; one that others can read is refused."""
    path = tmp_path / "keys" / "credentials.key"
    with pytest.raises(ConfigError, match="cannot read the key file"):
        Sealer.from_file(path)
    sealer = Sealer.from_file(path, create=True)
    assert path.stat().st_mode & 0o777 == 0o600
    assert Sealer.from_file(path, create=True).open("a", sealer.seal("a", b"x")) == b"x"
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        Sealer.from_file(path)


@pytest.mark.parametrize(
    ("owner", "mode", "us", "private"),
    [
        (0, 0o440, 1000, True),
        (0, 0o640, 1000, True),
        (0, 0o460, 1000, False),
        (0, 0o444, 1000, False),
        (1000, 0o600, 1000, True),
        (1000, 0o440, 1000, False),
        (0, 0o400, 0, True),
        (0, 0o440, 0, False),
    ],
)
def test_a_key_file_of_a_mounted_secret_is_private(
    owner: int, mode: int, us: int, private: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kubernetes gives root's files to the group of a Pod; nobody else may read them, nor the group write."""
    monkeypatch.setattr("os.geteuid", lambda: us)
    status = os.stat_result((0o100000 | mode, 0, 0, 1, owner, 1000, 0, 0, 0, 0))
    assert keyring._is_private(status) is private


def test_rotation_opens_old_and_seals_new(tmp_path: Path) -> None:
    """The old key opens until its line is dropped; the error then names the key."""
    path = tmp_path / "credentials.key"
    old = Sealer.from_file(path, create=True)
    envelope = old.seal("a", b"x")
    promote_key(path, add_key(path).id)
    new = Sealer.from_file(path)
    assert new.open("a", envelope) == b"x"
    assert new.needs_resealing("a", envelope)
    assert not new.needs_resealing("a", new.seal("a", b"x"))
    path.write_text(path.read_text().splitlines()[0] + "\n")
    with pytest.raises(DataLossError, match=f"sealed with key {old.ring.keys[0].id}"):
        Sealer.from_file(path).open("a", envelope)


@pytest.mark.parametrize("content", ["", "x", "x:!!!", "x:AAAA", ":" + "A" * 43 + "="])
def test_a_malformed_key_file_is_a_config_error(tmp_path: Path, content: str) -> None:
    """And never shows the key."""
    path = tmp_path / "k"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError):
        Sealer.from_file(path)


def test_keys_do_not_show_in_representations() -> None:
    """A log line cannot leak them."""
    key = new_key()
    assert repr(key.secret) not in repr(key)
