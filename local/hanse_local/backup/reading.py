"""Reading a backup in its order, and checking all of it.

Owns `Backup` and `check`: every file must be the one that the manifest names, with its size and its checksum.

Concurrency: none; a backup is one stream. Next: `hanse_local.backup.restoring`, which writes what is read.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from pathlib import Path
from typing import Final, Self

from hanse.errors import DataLossError, InternalError
from hanse_local.backup.manifest import MANIFEST, BackupManifest, Part
from hanse_local.backup.sealed_file import SealedReader, Secret

_MOST_MANIFEST: Final = 16 << 20
_PIECE: Final = 1 << 20


def check(path: Path, secret: Secret) -> BackupManifest:
    """Read a backup from end to end; return what is in it. Raises HanseError if anything is wrong."""
    with Backup(path, secret) as backup:
        for part in backup.manifest.parts:
            backup.copy(part, None)
    return backup.manifest


class Backup:
    """A backup that is read in its order. Entering raises HanseError if it cannot be read."""

    def __init__(self, path: Path, secret: Secret) -> None:
        self.path = path
        self._secret = secret

    def __enter__(self) -> Self:
        self._reader = SealedReader(self.path, self._secret)
        try:
            self._tar = tarfile.open(fileobj=self._reader, mode="r|")  # type: ignore[call-overload]
            name, size = self._next()
            if name != MANIFEST or size > _MOST_MANIFEST:
                raise self._wrong(f"it begins with {name}")
            if self._file is None:
                raise InternalError("no part of the backup is open")
            self.manifest = BackupManifest.decode(self._file.read())
        except BaseException:
            self._reader.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    def copy(self, part: Part, target: Path | None) -> None:
        """Write the next part, which must be `part`, to `target`; None only checks it.

        Raises DataLossError.
        """
        name, size = self._next()
        if (name, size) != (part.name, part.size):
            raise self._wrong(f"it has {name} of {size} bytes where {part.name} of {part.size} should be")
        digest = hashlib.sha256()
        with open(target or os.devnull, "wb", opener=only_mine if target else None) as file:
            if self._file is None:
                raise InternalError("no part of the backup is open")
            while content := self._file.read(_PIECE):
                digest.update(content)
                file.write(content)
            if target is not None:
                file.flush()
                os.fsync(file.fileno())
        if digest.hexdigest() != part.sha256:
            raise self._wrong(f"the checksum of {name} is wrong")

    def _next(self) -> tuple[str, int]:
        try:
            entry = self._tar.next()
            self._file = None if entry is None else self._tar.extractfile(entry)
        except tarfile.TarError as error:
            raise self._wrong(str(error)) from error
        if entry is None or self._file is None:
            raise self._wrong("a file is missing in it")
        return entry.name, entry.size

    def _wrong(self, why: str) -> DataLossError:
        return DataLossError(f"{self.path} is damaged: {why}; use another backup")


def only_mine(path: str, flags: int) -> int:
    """Open a new file that nobody else can read: an opener for `open`."""
    return os.open(path, flags | os.O_EXCL, 0o600)
