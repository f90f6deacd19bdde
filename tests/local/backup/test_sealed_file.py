"""A sealed file: what goes in comes out, and what was changed, cut or opened with another key is an error."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hanse_local.backup import sealed_file
from hanse_local.backup.sealed_file import MAGIC, SealedReader, SealedWriter, Secret
from hypothesis import given, settings
from hypothesis import strategies as st

from hanse.errors import ConfigError, DataLossError, FailedPreconditionError, HanseError
from hanse.security.keyring import new_key

KEY = new_key()
SECRET = Secret(keys=[KEY])


def sealed(path: Path, content: bytes, secret: Secret = SECRET) -> Path:
    """A sealed file of `content`."""
    with path.open("wb") as file:
        writer = SealedWriter(file, secret)
        for start in range(0, len(content), 700_000):
            writer.write(content[start : start + 700_000])
        writer.finish()
    return path


def opened(path: Path, secret: Secret = SECRET) -> bytes:
    """What it holds."""
    reader = SealedReader(path, secret)
    try:
        found = b""
        while content := reader.read(300_000):
            found += content
        return found
    finally:
        reader.close()


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_what_goes_in_comes_out(tmp_path: Path, size: int) -> None:
    """Of any size, also at the borders of a piece; and the file shows nothing of it."""
    content = b"hanse-federation" * (size // 16) + b"x" * (size % 16)
    path = sealed(tmp_path / "b", content)
    assert opened(path) == content
    assert b"hanse-federation" not in path.read_bytes()


def test_a_passphrase_opens_what_it_sealed(tmp_path: Path) -> None:
    """And no other does; nor does a key, and that is said before anything is read."""
    path = sealed(tmp_path / "b", b"content", Secret(passphrase=b"correct horse battery"))
    assert opened(path, Secret(passphrase=b"correct horse battery")) == b"content"
    with pytest.raises(ConfigError, match="not made with this passphrase or key"):
        opened(path, Secret(passphrase=b"another horse battery"))
    with pytest.raises(ConfigError, match="sealed with a passphrase, and none was given"):
        opened(path)


def test_a_key_ring_opens_what_one_of_it_sealed(tmp_path: Path) -> None:
    """The first of the ring seals; who has it in another place still opens."""
    path = sealed(tmp_path / "b", b"content")
    other = new_key()
    assert opened(path, Secret(keys=[other, KEY])) == b"content"
    with pytest.raises(ConfigError, match=rf"sealed with the key {KEY.id}, and the key file has {other.id}"):
        opened(path, Secret(keys=[other]))
    with pytest.raises(ConfigError, match="no key file was given"):
        opened(path, Secret(passphrase=b"correct horse battery"))


def test_the_same_content_is_never_the_same_file(tmp_path: Path) -> None:
    """Each file has a key of its own."""
    first, second = (sealed(tmp_path / name, b"content").read_bytes() for name in "ab")
    assert first[-100:] != second[-100:]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_change_goes_unnoticed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """A bit that was turned or an end that is missing, anywhere, with the checksum put right or not."""
    path = sealed(tmp_path_factory.mktemp("sealed") / "b", b"x" * 3000)
    whole = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        whole[at] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del whole[at:]
    if data.draw(st.booleans()) and at < len(whole) - 32:
        whole[-32:] = hashlib.sha256(whole[:-32]).digest()
    path.write_bytes(whole)
    with pytest.raises(HanseError):
        opened(path)


def pieces(path: Path) -> tuple[bytes, list[bytes]]:
    """The head of a file, and its pieces with their lengths."""
    whole = path.read_bytes()
    at = len(MAGIC) + 4 + int.from_bytes(whole[len(MAGIC) : len(MAGIC) + 4], "big")
    head, found = whole[:at], []
    while size := int.from_bytes(whole[at : at + 4], "big"):
        found.append(whole[at : at + 4 + size])
        at += 4 + size
    return head, found


@pytest.mark.parametrize("order", [[0, 2], [1, 0, 2], [0, 1], [0, 1, 2, 2], [0, 0, 1, 2], [2]])
def test_pieces_cannot_be_moved_left_out_or_added(tmp_path: Path, order: list[int]) -> None:
    """Also by somebody who puts the checksum right."""
    path = sealed(tmp_path / "b", bytes(5 << 19))
    head, found = pieces(path)
    assert len(found) == 3
    changed = head + b"".join(found[number] for number in order) + bytes(4)
    path.write_bytes(changed + hashlib.sha256(changed).digest())
    with pytest.raises((DataLossError, ConfigError)):
        opened(path)


def rewritten(path: Path, **changes: object) -> Path:
    """A file with another header, whose checksum is right."""
    whole = path.read_bytes()
    begin = len(MAGIC) + 4
    end = begin + int.from_bytes(whole[len(MAGIC) : begin], "big")
    header = json.loads(whole[begin:end])
    for name, value in changes.items():
        target = header["key"] if name in header["key"] else header
        target[name] = value
    text = json.dumps(header).encode()
    changed = MAGIC + len(text).to_bytes(4, "big") + text + whole[end:-32]
    path.write_bytes(changed + hashlib.sha256(changed).digest())
    return path


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    """With both numbers."""
    path = rewritten(sealed(tmp_path / "b", b"content"), format=2)
    with pytest.raises(FailedPreconditionError, match="is of format 2, this Hanse knows format 1"):
        opened(path)


def test_a_file_cannot_ask_for_any_work(tmp_path: Path) -> None:
    """A key derivation that takes all memory is refused before it begins."""
    path = sealed(tmp_path / "b", b"content", Secret(passphrase=b"correct horse battery"))
    with pytest.raises(FailedPreconditionError, match="too costly"):
        opened(rewritten(path, n=1 << 30), Secret(passphrase=b"correct horse battery"))


@pytest.mark.parametrize("content", [b"", b"HANSE", b"another file altogether", MAGIC, MAGIC + b"\xff" * 4])
def test_what_is_no_backup_is_said(tmp_path: Path, content: bytes) -> None:
    """In one sentence that names the file."""
    path = tmp_path / "b"
    path.write_bytes(content)
    with pytest.raises(HanseError, match=str(path)) as raised:
        opened(path)
    assert "\n" not in str(raised.value)
    with pytest.raises(ConfigError, match="cannot read"):
        opened(tmp_path / "none")


def test_the_secret_is_not_shown() -> None:
    """In no traceback."""
    assert "horse" not in repr(Secret(passphrase=b"correct horse"))
    assert sealed_file.FORMAT == 1
