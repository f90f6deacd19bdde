"""A file that is encrypted and checked, in pieces, so that its size does not matter.

Owns the form:

    b"HANSE-BACKUP\n" | length of header (4 bytes) | header, JSON
    | pieces: length (4 bytes) | ciphertext with tag | ... | 4 zero bytes | SHA-256 of all before (32 bytes)

Each piece holds up to 1 MiB of plaintext under AES-256-GCM. The key is made for this one file: from a
passphrase by scrypt, or from a key of a key file by HKDF-SHA256, with a random salt that the header has. So
the nonce is a counter, whose last byte says whether the piece is the last (the STREAM construction): no
piece can be left out, moved or added. The header is authenticated with each piece. The SHA-256 tells a
damaged file from a wrong key.

Concurrency: none; pure computation over files.

Next: `hanse_local.backup.contents`, which says what is in it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from hanse.errors import ConfigError, DataLossError, FailedPreconditionError
from hanse.security.keyring import Key

MAGIC: Final = b"HANSE-BACKUP\n"
FORMAT: Final = 1
_PIECE: Final = 1 << 20
_TAG: Final = 16
_DIGEST: Final = 32
_MOST_HEADER: Final = 1 << 16
_SCRYPT: Final = {"n": 1 << 17, "r": 8, "p": 1}
"""128 MiB and half a second: what OWASP asks for (2023)."""
_MOST_SCRYPT: Final = {"n": 1 << 20, "r": 16, "p": 4}
"""What is worked at when a file asks for it."""


@dataclass(frozen=True, slots=True)
class Secret:
    """What opens a file: a passphrase, or keys of which the first seals."""

    passphrase: bytes = b""
    keys: Sequence[Key] = ()

    def __repr__(self) -> str:
        """Without what is secret."""
        return "Secret(...)"


class SealedWriter:
    """Writes a sealed file; an object that `tarfile` can write to. Call `finish` at the end."""

    def __init__(self, file: BinaryIO, secret: Secret) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        salt = os.urandom(16)
        described: dict[str, Any] = {"salt": base64.b64encode(salt).decode()}
        if secret.keys:
            described |= {"kdf": "hkdf-sha256", "id": secret.keys[0].id}
        else:
            described |= {"kdf": "scrypt", **_SCRYPT}
        header = {"format": FORMAT, "cipher": "AES-256-GCM", "key": described}
        self._header = json.dumps(header, sort_keys=True).encode()
        self._cipher = AESGCM(_derive(described, salt, secret))
        self._number = 0
        self._held = bytearray()
        self._put(MAGIC + len(self._header).to_bytes(4, "big") + self._header)

    def write(self, content: bytes) -> int:
        """Take more plaintext."""
        self._held += content
        while len(self._held) > _PIECE:  # the last piece is known at the end only
            self._seal(bytes(self._held[:_PIECE]), last=False)
            del self._held[:_PIECE]
        return len(content)

    def finish(self) -> None:
        """Write what is left, and the checksum."""
        self._seal(bytes(self._held), last=True)
        self._put(bytes(4))
        self._file.write(self._digest.digest())

    def _seal(self, plain: bytes, *, last: bool) -> None:
        sealed = self._cipher.encrypt(_nonce(self._number, last=last), plain, self._header)
        self._number += 1
        self._put(len(sealed).to_bytes(4, "big") + sealed)

    def _put(self, content: bytes) -> None:
        self._digest.update(content)
        self._file.write(content)


class SealedReader:
    """Reads a sealed file; an object that `tarfile` can read from.

    Raises DataLossError for a damaged file, ConfigError for a wrong key, FailedPreconditionError for a form
    that this release does not know. Nothing is given out before the checksum of the whole file is right.
    """

    def __init__(self, path: Path, secret: Secret) -> None:
        self._path = path
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}") from error
        try:
            header = self._read_header()
            self._check_digest()
            key = header["key"]
            salt = base64.b64decode(key["salt"])
            self._cipher = AESGCM(_derive(key, salt, secret))
        except (KeyError, TypeError, ValueError) as error:
            self._file.close()
            raise self._damaged(f"its header cannot be understood ({error})") from error
        except BaseException:
            self._file.close()
            raise
        self._number = 0
        self._ended = False
        self._held = bytearray()

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes of plaintext; fewer only at the end."""
        while len(self._held) < size and not self._ended:
            self._held += self._open_next()
        found = bytes(self._held[:size])
        del self._held[:size]
        return found

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _read_header(self) -> dict[str, Any]:
        if self._file.read(len(MAGIC)) != MAGIC:
            raise ConfigError(f"{self._path} is no backup of Hanse")
        length = int.from_bytes(self._exactly(4), "big")
        if length > _MOST_HEADER:
            raise self._damaged("its header is too long")
        self._header = self._exactly(length)
        header: dict[str, Any] = json.loads(self._header)
        if header["format"] != FORMAT:
            raise FailedPreconditionError(
                f"{self._path} is of format {header['format']}, this Hanse knows format {FORMAT}: use the "
                "release that made it, or a newer one"
            )
        return header

    def _check_digest(self) -> None:
        begin = self._file.tell()
        left = self._path.stat().st_size - _DIGEST
        self._file.seek(0)
        digest = hashlib.sha256()
        while left > 0:
            content = self._exactly(min(left, _PIECE))
            digest.update(content)
            left -= len(content)
        if self._exactly(_DIGEST) != digest.digest():
            raise self._damaged("its checksum is wrong")
        self._file.seek(begin)

    def _open_next(self) -> bytes:
        length = int.from_bytes(self._exactly(4), "big")
        if not _TAG <= length <= _PIECE + _TAG:
            raise self._damaged("it has a piece of a wrong length")
        sealed = self._exactly(length)
        for last in (False, True):
            try:
                plain = self._cipher.decrypt(_nonce(self._number, last=last), sealed, self._header)
            except InvalidTag:
                continue
            self._number += 1
            self._ended = last
            if last and (self._exactly(4) != bytes(4) or len(self._file.read(_DIGEST + 1)) != _DIGEST):
                raise self._damaged("something stands behind its end")
            return plain
        if self._number == 0:
            raise ConfigError(f"{self._path} was not made with this passphrase or key")
        raise self._damaged("a piece of it was changed")

    def _exactly(self, size: int) -> bytes:
        found = self._file.read(size)
        if len(found) != size:
            raise self._damaged("its end is missing")
        return found

    def _damaged(self, why: str) -> DataLossError:
        return DataLossError(f"{self._path} is damaged: {why}; use another backup")


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


def _derive(described: dict[str, Any], salt: bytes, secret: Secret) -> bytes:
    """Return the key of one file. Raises ConfigError if `secret` is not of the kind that the file needs."""
    if described["kdf"] == "hkdf-sha256":
        known = {key.id: key.secret for key in secret.keys}
        if described["id"] not in known:
            has = f"the key file has {', '.join(known)}" if known else "no key file was given"
            raise ConfigError(f"it was sealed with the key {described['id']}, and {has}")
        return HKDF(SHA256(), length=32, salt=salt, info=b"hanse backup").derive(known[described["id"]])
    if described["kdf"] != "scrypt":
        raise FailedPreconditionError(f"it needs the key derivation {described['kdf']}: use a newer Hanse")
    if not secret.passphrase:
        raise ConfigError("it was sealed with a passphrase, and none was given")
    costs = {name: int(described[name]) for name in _SCRYPT}
    if any(not 0 < costs[name] <= _MOST_SCRYPT[name] for name in costs):
        raise FailedPreconditionError(f"it asks for too costly a key derivation: {costs}")
    return Scrypt(salt=salt, length=32, **costs).derive(secret.passphrase)
