"""Keys that seal what is in etcd: the file that they are in, and the ring that they are in memory.

Owns the form of a key file, how an envelope names its key, and `KeyRing`, which seals with its first key and
opens with all. A key file has one key a line, `<id>:<base64 of 32 bytes>`.

An envelope names its key by `length of id (1 byte) | id`, where no id is empty. What was sealed with a data
key that a KMS plugin has encrypted has length 0 there, then `length (4 bytes) | EncryptResponse`: what the
plugin answered when it encrypted the data key, which is all that it needs to decrypt it.

Concurrency: one loop. A ring is replaced as a whole between two awaits.

Next: `hanse.security.credentials` and `hanse.security.sealing` for the envelopes, `hanse.security.rings` for
rings that follow their file, `hanse.security.kms` for keys that a plugin keeps.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hanse.errors import ConfigError, HanseError
from hanse.security.pki import NewFile, write_files

KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Key:
    """One key: its id, up to 255 bytes without a colon, and 32 secret bytes."""

    id: str
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyName:
    """Which key has sealed something. `grant` is the EncryptResponse of a KMS plugin, and `id` then the id of
    the plugin's key; empty for a key of a file."""

    id: str
    grant: bytes = field(default=b"", repr=False)

    def encode(self) -> bytes:
        """As an envelope has it."""
        if self.grant:
            return b"\0" + len(self.grant).to_bytes(4, "big") + self.grant
        return bytes([len(self.id.encode())]) + self.id.encode()


class KeyRing:
    """Keys by their ids. Without one nothing is sealed, and nothing that is sealed can be opened."""

    def __init__(self, keys: Sequence[Key] = ()) -> None:
        self._keys: tuple[Key, ...] = ()
        self._ciphers: dict[str, AESGCM] = {}
        self._listeners: list[Callable[[], None]] = []
        self.replace(keys)

    @property
    def keys(self) -> tuple[Key, ...]:
        """The keys of a file, the one that seals first."""
        return self._keys

    @property
    def seals(self) -> bool:
        """Whether there is something to seal with."""
        return bool(self._keys)

    def replace(self, keys: Sequence[Key]) -> None:
        """Have these keys from now on, and tell the listeners."""
        self._keys = tuple(keys)
        self._ciphers = {key.id: AESGCM(key.secret) for key in keys}
        self.changed()

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever something else seals, or more can be opened than before."""
        self._listeners.append(listener)

    def changed(self) -> None:
        """Tell the listeners."""
        for listener in tuple(self._listeners):
            listener()

    def sealing(self) -> tuple[KeyName, AESGCM]:
        """Return what seals now. Raises UnavailableError if that cannot be told."""
        key = self._keys[0]
        return KeyName(key.id), self._ciphers[key.id]

    def is_current(self, name: KeyName) -> bool:
        """Return whether what `name` has sealed would be sealed the same way now; true if that is unknown."""
        return bool(self._keys) and name == KeyName(self._keys[0].id)

    def cipher(self, name: KeyName) -> AESGCM | None:
        """Return what opens; None for a key that is not in the ring. Raises UnavailableError if it may be."""
        return None if name.grant else self._ciphers.get(name.id)

    async def fetch(self, names: Collection[KeyName]) -> None:
        """Get what opens these where that takes asking somebody; a failure shows in `cipher`."""

    def missing(self, name: KeyName) -> str:
        """Return what is wrong with a key that `cipher` has not, for people."""
        if name.grant:
            return f"the key {name.id} of a KMS plugin, and no such plugin is set: set its socket again"
        return f"key {name.id}, which the key file does not have: restore that key"


def decode_name(value: bytes, at: int) -> tuple[KeyName, int] | None:
    """Return the name of the key at `at` in an envelope, and where it ends; None for a broken envelope."""
    if at >= len(value):
        return None
    if length := value[at]:
        end = at + 1 + length
        try:
            return (KeyName(value[at + 1 : end].decode()), end) if end <= len(value) else None
        except UnicodeDecodeError:
            return None
    start = at + 5
    end = start + int.from_bytes(value[at + 1 : start], "big")
    if not start < end <= len(value):
        return None
    from hanse.security.kms import granted  # here, because most have no plugin

    try:
        return granted(value[start:end]), end
    except HanseError:
        return None


def new_key() -> Key:
    """Make a random key with a random id."""
    return Key(id=secrets.token_hex(4), secret=secrets.token_bytes(KEY_BYTES))


def create_key_file(path: Path) -> None:
    """Make a key file (0600) with one new key, unless there is one."""
    if not path.exists():
        write_keys(path, [new_key()])


def write_keys(path: Path, keys: Sequence[Key]) -> None:
    """Write a key file (0600), whole or not at all: the one at the end of symbolic links.

    Where root replaces a file, it stays its owner's: the service must be able to read it.
    """
    path = path.resolve()
    content = b"".join(f"{key.id}:".encode() + base64.b64encode(key.secret) + b"\n" for key in keys)
    owner = None
    if os.geteuid() == 0 and path.exists():
        status = path.stat()
        owner = status.st_uid, status.st_gid
    write_files([NewFile(path, content, owner=owner)])


def read_ring(path: Path) -> tuple[Key, ...]:
    """Read a key file that must have a key. Raises ConfigError."""
    keys = read_keys(path)
    if not keys:
        raise ConfigError(f"there is no key in {path}: put one there", metadata={"file": str(path)})
    return keys


def read_keys(path: Path) -> tuple[Key, ...]:
    """Read a key file. Raises ConfigError that names the file and the line."""
    try:
        status = path.stat()
        content = path.read_bytes()
        lines = content.decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the key file {path}: {error}") from error
    if not _is_private(status):
        raise ConfigError(f"others can read the key file {path}: run chmod 600 on it")
    keys = [_parse(line, f"{path} line {number}") for number, line in enumerate(lines, 1) if line.strip()]
    if len({key.id for key in keys}) != len(keys):
        raise ConfigError(f"{path} has two keys with the same id: ids must differ")
    return tuple(keys)


def _is_private(status: os.stat_result) -> bool:
    """Return whether a file is its owner's alone, or root's and readable by a group.

    The latter is how Kubernetes mounts a Secret for a Pod that is not root's: `fsGroup` gives it the group,
    and nobody in it can change the mode.
    """
    if status.st_uid == 0 and os.geteuid() != 0:
        return not status.st_mode & 0o037
    return not status.st_mode & 0o077


def _parse(line: str, where: str) -> Key:
    key_id, _, encoded = line.strip().partition(":")
    try:
        secret = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if not key_id or len(key_id.encode()) > 255 or len(secret) != KEY_BYTES:
        raise ConfigError(f"{where}: it must be ID:KEY where KEY is base64 of {KEY_BYTES} bytes")
    return Key(id=key_id, secret=secret)


def add_key(path: Path) -> Key:
    """Put a new key *last* into the file: whoever reads it can open what it will seal. Raises ConfigError."""
    keys = read_ring(path)
    key = new_key()
    write_keys(path, (*keys, key))
    return key


def promote_key(path: Path, key_id: str) -> None:
    """Put a key that is in the file first, so that it seals. Raises ConfigError."""
    keys = read_ring(path)
    first = [key for key in keys if key.id == key_id]
    if not first:
        raise ConfigError(f"{path} has no key {key_id}: it has {', '.join(key.id for key in keys)}")
    write_keys(path, (*first, *(key for key in keys if key.id != key_id)))


def remove_keys(path: Path, ids: Collection[str]) -> None:
    """Take keys out of the file; the first stays. Raises ConfigError."""
    keys = read_ring(path)
    if keys[0].id in ids:
        raise ConfigError(f"key {keys[0].id} is the first in {path} and seals: put another first")
    write_keys(path, [key for key in keys if key.id not in ids])
