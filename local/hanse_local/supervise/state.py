"""What a data directory remembers between two runs: ports, simulated clusters, options, which
federation it has and which etcd has written its data.

Owns state.json. It is written whole or not at all, by the supervisor alone.

Concurrency: one writer, the holder of the lock of the data directory.

Next: `hanse_local.ports`, which chooses the ports.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from hanse.errors import ConfigError
from hanse.security.pki import write_private
from hanse_local.supervise.files import DAMAGED
from hanse_local.topology import SimulatedCluster

VERSION = 2
"""2: etcd has rights for each service, and Secrets in it are sealed; what knows only 1 can use neither."""
SEALING = 2
"""From this version on there is a key that seals Secrets."""
_KNOWN = (1, VERSION)


@dataclass(frozen=True, slots=True)
class DirectoryState:
    """What is remembered. Change it with `dataclasses.replace`, then `save` it."""

    ports: dict[str, int] = field(default_factory=dict)
    clusters: tuple[SimulatedCluster, ...] = ()
    founded: bool = False
    """Whether this directory has been brought up once; the number of clusters is settled then."""
    etcd_endpoints: tuple[str, ...] = ()
    """Endpoints of an etcd that is not ours; empty means the embedded one."""

    federation_id: str = ""
    """The federation whose services have run here; empty if none have, or if nobody has looked."""

    etcd_version: str = ""
    """Version of the embedded etcd that served last, as 3.5.21; empty if none did or nobody knows."""

    options: dict[str, str] = field(default_factory=dict)
    """Options that hold for every run; see `hanse_local.options`."""

    settings: dict[str, str] = field(default_factory=dict)
    """Settings of the processes that a user gave, by SERVICE.SETTING."""

    advertise: tuple[str, ...] = ()
    """Names and addresses at which others reach this machine."""

    unknown: dict[str, Any] = field(default_factory=dict)
    """What a newer release of the same version of the file has remembered; it is written back as it is."""

    version: int = VERSION
    """The version of the file that it was read from; it is always written in the newest."""

    @property
    def has_federation(self) -> bool:
        """Whether etcd has a federation of this directory, as far as is known."""
        return self.founded or bool(self.federation_id)

    @classmethod
    def load(cls, path: Path) -> DirectoryState:
        """Read `path`; a new state if there is none. Raises ConfigError if it cannot be understood."""
        try:
            document: dict[str, Any] = json.loads(path.read_text())
            if document.get("version") not in _KNOWN:
                raise ConfigError(
                    f"{path} is of version {document.get('version')}, this Hanse knows version {VERSION}: "
                    "use the Hanse that made it, or another data directory"
                )
            return cls(
                ports={str(name): int(port) for name, port in document["ports"].items()},
                clusters=tuple(
                    SimulatedCluster(
                        name=str(entry["name"]),
                        region=str(entry["region"]),
                        zones=tuple(map(str, entry["zones"])),
                        joined=bool(entry["joined"]),
                    )
                    for entry in document["clusters"]
                ),
                founded=bool(document["founded"]),
                etcd_endpoints=tuple(map(str, document["etcd_endpoints"])),
                federation_id=str(document.get("federation_id", "")),
                etcd_version=str(document.get("etcd_version", "")),
                options={str(name): str(value) for name, value in document["options"].items()},
                settings={str(name): str(value) for name, value in document.get("settings", {}).items()},
                advertise=tuple(map(str, document.get("advertise", ()))),
                unknown={name: value for name, value in document.items() if name not in _NAMES},
                version=int(document["version"]),
            )
        except FileNotFoundError:
            return cls()
        except DAMAGED as error:
            raise ConfigError(
                f"{path} is damaged ({error}): restore it, or use another data directory"
            ) from error

    def save(self, path: Path) -> None:
        """Write it to `path`."""
        write_private(path, self.encode())

    def encode(self) -> bytes:
        """Return what state.json holds."""
        known = {name: value for name, value in asdict(self).items() if name in _NAMES}
        return json.dumps({**self.unknown, **known, "version": VERSION}, indent=2).encode() + b"\n"

    def with_joined(self, name: str) -> DirectoryState:
        """Return the state after the simulated cluster `name` was joined."""
        return replace(
            self,
            clusters=tuple(
                replace(cluster, joined=True) if cluster.name == name else cluster
                for cluster in self.clusters
            ),
        )

    def with_founded(self) -> DirectoryState:
        """Return the state after the federation was up for the first time."""
        return replace(self, founded=True)


_NAMES = frozenset(each.name for each in fields(DirectoryState)) - {"unknown"}
