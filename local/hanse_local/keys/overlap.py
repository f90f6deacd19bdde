"""What is remembered while authorities are replaced: which go, and until when they count.

Owns `pki/overlap.json`, which is there from the first stage to the last, and what `hanse status` says of it.

Concurrency: one small file, written whole by `hanse_local.keys.rotating` alone.

Next: `hanse_local.keys.certificates`, which issues by it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from hanse.errors import ConfigError
from hanse.security.pki import write_private
from hanse_local.layout import DataDir
from hanse_local.supervise.files import DAMAGED


@dataclass(frozen=True, slots=True)
class Overlap:
    """What is being replaced."""

    old: Mapping[str, str]
    """The certificates, PEM, of the authorities that go, by name."""
    end: float | None = None
    """Until when the old ones count, in seconds since the epoch; None before all trust the new ones."""
    restarted: tuple[str, ...] = field(default=())
    """etcds that were restarted since the authority that they trust was changed last."""

    @classmethod
    def load(cls, data: DataDir) -> Overlap | None:
        """Return what was begun; None if nothing was. Raises ConfigError for a file that cannot be read."""
        try:
            document = json.loads(data.overlap.read_text())
            return cls(dict(document["old"]), document["end"], tuple(document["restarted"]))
        except FileNotFoundError:
            return None
        except (OSError, *DAMAGED) as error:
            raise ConfigError(
                f"{data.overlap} is damaged ({error}): delete it and rotate again; what was done counts"
            ) from error

    def save(self, data: DataDir) -> None:
        """Remember it."""
        write_private(data.overlap, json.dumps(asdict(self)).encode())


def unfinished(data: DataDir) -> Iterator[str]:
    """Say that authorities are being replaced, and what is next."""
    try:
        overlap = Overlap.load(data)
    except ConfigError as error:
        yield error.message
        return
    if overlap is None:
        return
    until = "" if overlap.end is None else f"; the old ones count until {words_of(overlap.end)}"
    yield f"authorities are being replaced{until}: `hanse certificates rotate-ca` continues with that"


def words_of(seconds: float) -> str:
    """Return a moment, in seconds since the epoch, for people."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
