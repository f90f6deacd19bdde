"""The manifest of a backup: what is in it, with sizes and checksums, and what made it.

Owns `BackupManifest` and its form, which is checked when it is read: it names no path outside of where the
files of a backup lie. Pure.

Next: `hanse_local.backup.contents`, which fills it in, and `hanse_local.backup.reading`, which reads by it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Self

from hanse.errors import DataLossError, FailedPreconditionError

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
FILES: Final = "files"
SNAPSHOTS: Final = "snapshots"


@dataclass(frozen=True, slots=True)
class Part:
    """One file in a backup."""

    name: str
    """Its path in the tar, with slashes."""
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class EtcdPart:
    """The snapshot of one etcd."""

    name: str
    """Of the etcd: that of its data in the data directory."""
    version: str
    revision: int
    """It has everything up to this revision, and maybe more."""
    file: Part


@dataclass(frozen=True, slots=True)
class BackupManifest:
    """What is in a backup, and what made it."""

    hanse: str
    created: str
    federation_id: str
    federation_name: str
    etcd_endpoints: tuple[str, ...]
    """Of an etcd that is not ours; empty means the embedded one."""
    files: tuple[Part, ...]
    etcds: tuple[EtcdPart, ...]
    plugin_keys: tuple[str, ...] = ()
    """Keys of a KMS plugin that something in etcd is sealed with: without them it cannot be opened."""
    format: int = field(default=FORMAT)

    def encode(self) -> bytes:
        """As it is in the backup."""
        return json.dumps(asdict(self), indent=2).encode() + b"\n"

    @classmethod
    def decode(cls, text: bytes) -> Self:
        """Return the opposite of `encode`. Raises FailedPreconditionError for a format that is not known,
        DataLossError for what cannot be understood."""
        try:
            document: dict[str, Any] = json.loads(text)
            if document["format"] != FORMAT:
                raise FailedPreconditionError(
                    f"the backup has content of format {document['format']}, this Hanse knows {FORMAT}: use "
                    "the release that made it, or a newer one"
                )
            return cls(
                hanse=str(document["hanse"]),
                created=str(document["created"]),
                federation_id=str(document["federation_id"]),
                federation_name=str(document["federation_name"]),
                etcd_endpoints=tuple(map(str, document["etcd_endpoints"])),
                files=tuple(_part(each) for each in document["files"]),
                etcds=tuple(
                    EtcdPart(str(e["name"]), str(e["version"]), int(e["revision"]), _part(e["file"]))
                    for e in document["etcds"]
                ),
                plugin_keys=tuple(map(str, document.get("plugin_keys", ()))),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataLossError(f"the manifest of the backup cannot be understood: {error}") from error

    @property
    def parts(self) -> tuple[Part, ...]:
        """All files in it, in their order."""
        return (*self.files, *(each.file for each in self.etcds))


def _part(document: dict[str, Any]) -> Part:
    part = Part(str(document["name"]), int(document["size"]), str(document["sha256"]))
    words = part.name.split("/")
    if words[0] not in (FILES, SNAPSHOTS) or len(words) < 2 or {"", ".", ".."} & set(words):
        raise ValueError(f"it names {part.name!r}")
    return part
