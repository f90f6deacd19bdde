"""Sealing of member credentials: AES-256-GCM with keys from a file.

Owns the envelope in `credentials/<cluster>` and the key file. The cluster's name is authenticated with
each secret, so that a sealed value cannot be moved to another cluster. The key file holds one key per
line, `<id>:<base64 of 32 bytes>`; the first seals, all open: put a new key first to rotate, seal again
what `needs_resealing` says, then drop the old line.

Envelope: b"HC1" | length of key id (1 byte) | key id | nonce (12 bytes) | ciphertext with tag.

Concurrency: pure computation; the key file is read once.

Next: the registry, which writes credentials, and the syncer, which opens them.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hanse.errors import ConfigError, DataLossError
from hanse.pki import write_private

_MAGIC = b"HC1"
_NONCE_BYTES = 12  # NIST SP 800-38D: 96 bits; random nonces are safe up to 2**32 seals with one key
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Key:
    """One key: its id, up to 255 bytes without a colon, and 32 secret bytes."""

    id: str
    secret: bytes = field(repr=False)


class Sealer:
    """Seals and opens the credentials of clusters."""

    def __init__(self, keys: Sequence[Key]) -> None:
        if not keys:
            raise ConfigError("there is no key to seal credentials with; put one into the key file")
        self._primary = keys[0]
        self._ciphers = {key.id: AESGCM(key.secret) for key in keys}

    @classmethod
    def from_file(cls, path: Path, *, create: bool = False) -> Sealer:
        """Read the key file; make it (0600) with one new key if it is absent and `create` is true.

        Raises ConfigError if the file is missing, malformed, or readable by others.
        """
        if create and not path.exists():
            write_private(path, _line(new_key()))
        return cls(read_keys(path))

    @property
    def key_id(self) -> str:
        """Id of the key that seals."""
        return self._primary.id

    def seal(self, cluster: str, plaintext: bytes) -> bytes:
        """Return the envelope of `plaintext` for `cluster`. Every call gives other bytes."""
        key_id = self._primary.id.encode()
        header = _MAGIC + bytes([len(key_id)]) + key_id
        nonce = os.urandom(_NONCE_BYTES)
        cipher = self._ciphers[self._primary.id]
        return header + nonce + cipher.encrypt(nonce, plaintext, header + cluster.encode())

    def open(self, cluster: str, envelope: bytes) -> bytes:
        """Return what was sealed for `cluster`. Raises DataLossError if it was not, or the key is gone."""
        key_id, header, nonce, ciphertext = _split(cluster, envelope)
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise DataLossError(
                f"credentials of cluster {cluster} are sealed with key {key_id}, which the key file does "
                "not have: restore that key, or join the cluster again",
                reason="CREDENTIALS_KEY_UNKNOWN",
                metadata={"cluster": cluster, "keyId": key_id},
            )
        try:
            return cipher.decrypt(nonce, ciphertext, header + cluster.encode())
        except InvalidTag as error:
            raise _corrupt(cluster) from error

    def needs_resealing(self, cluster: str, envelope: bytes) -> bool:
        """Whether the envelope was sealed with a key that is no longer the first."""
        return _split(cluster, envelope)[0] != self._primary.id


def new_key() -> Key:
    """Make a random key with a random id."""
    return Key(id=secrets.token_hex(4), secret=secrets.token_bytes(_KEY_BYTES))


def read_keys(path: Path) -> tuple[Key, ...]:
    """Read a key file. Raises ConfigError that names the file and the line."""
    try:
        status = path.stat()
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the key file {path}: {error}") from error
    if not _is_private(status):
        raise ConfigError(f"others can read the key file {path}: run chmod 600 on it")
    keys = [_parse(line, f"{path} line {number}") for number, line in enumerate(lines, 1) if line.strip()]
    if len({key.id for key in keys}) != len(keys):
        raise ConfigError(f"{path} has two keys with the same id: ids must differ")
    return tuple(keys)


def _is_private(status: os.stat_result) -> bool:
    """Whether a file is its owner's alone, or root's and readable by a group.

    The latter is how Kubernetes mounts a Secret for a Pod that is not root's: `fsGroup` gives it the group,
    and nobody in it can change the mode.
    """
    if status.st_uid == 0 and os.geteuid() != 0:
        return not status.st_mode & 0o037
    return not status.st_mode & 0o077


def rotate(path: Path) -> Key:
    """Put a new key first in the key file and return it. The old keys stay, and still open."""
    keys = read_keys(path)
    key = new_key()
    write_private(path, b"".join(_line(each) for each in (key, *keys)))
    return key


def _line(key: Key) -> bytes:
    return f"{key.id}:".encode() + base64.b64encode(key.secret) + b"\n"


def _parse(line: str, where: str) -> Key:
    key_id, _, encoded = line.strip().partition(":")
    try:
        secret = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if not key_id or len(key_id.encode()) > 255 or len(secret) != _KEY_BYTES:
        raise ConfigError(f"{where}: it must be ID:KEY where KEY is base64 of {_KEY_BYTES} bytes")
    return Key(id=key_id, secret=secret)


def _split(cluster: str, envelope: bytes) -> tuple[str, bytes, bytes, bytes]:
    start = len(_MAGIC) + 1
    if len(envelope) < start or not envelope.startswith(_MAGIC):
        raise _corrupt(cluster)
    end = start + envelope[start - 1]
    nonce = envelope[end : end + _NONCE_BYTES]
    if len(nonce) != _NONCE_BYTES:
        raise _corrupt(cluster)
    key_id = envelope[start:end].decode("utf-8", "replace")
    return key_id, envelope[:end], nonce, envelope[end + _NONCE_BYTES :]


def _corrupt(cluster: str) -> DataLossError:
    return DataLossError(
        f"the stored credentials of cluster {cluster} are corrupt or belong to another cluster: "
        "join the cluster again",
        reason="CREDENTIALS_CORRUPT",
        metadata={"cluster": cluster},
    )
