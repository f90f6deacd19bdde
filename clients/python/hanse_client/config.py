"""Where the services of a federation are, and who the caller is to them.

Owns the format of client.toml: `ca`, `cert` and `key` (PEM files, relative to the file itself) and the table
`endpoints` with host:port per service: registry, scheduler, syncer, dns, federation. A service must show a
certificate with its own name, such as registry.hanse.internal, so that no other can pose as it; the table
`server_names` has other names, "" for the host that is dialled. Where the services run in a host cluster, the
table `host_cluster` says which, and they are reached by kubectl. The file is found at the given path, else at
`HANSE_CONFIG`, else in the data directory (`HANSE_DATA_DIR`, .hanse by default), else in the home directory,
else it is that of the one federation that `kubefed init` has made.

Concurrency: values; one small file is read.

Next: `hanse_client.client`.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hanse.errors import ConfigError
from hanse.process.settings import TlsFiles
from hanse.security.auth import server_name
from hanse_client.forwarding import HostCluster

VARIABLE = "HANSE_CONFIG"
DATA_DIR = "HANSE_DATA_DIR"
LOCAL = Path(".hanse") / "client.toml"
INSTALLED = ".hanse/federations/*/client.toml"
"""Under the home directory: what `kubefed init` writes."""
SERVICES = ("registry", "scheduler", "syncer", "dns", "federation")
_ADDRESS = re.compile(r"^(\[[0-9a-fA-F:]+\]|[^\s:\[\]]+):\d{1,5}$")
_FILES = ("ca", "cert", "key")


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """Where the services are. `tls` is None only against servers without TLS (tests)."""

    endpoints: Mapping[str, str] = field(default_factory=dict)
    tls: TlsFiles | None = None
    server_names: Mapping[str, str] = field(default_factory=dict)
    """Names to expect in the services' certificates, where they are not the usual ones."""
    host_cluster: HostCluster | None = None
    """Where services without an endpoint run."""
    source: str = ""
    """Where this was read from, for messages."""

    def endpoint(self, service: str) -> str:
        """host:port of a service. Raises ConfigError if it is not known."""
        try:
            return self.endpoints[service]
        except KeyError:
            raise ConfigError(
                f"the configuration{' ' + self.source if self.source else ''} has no endpoint of the "
                f'{service} service: add {service} = "HOST:PORT" to its table [endpoints]',
                metadata={"service": service},
            ) from None

    def server_name(self, service: str) -> str:
        """Return the name to expect in a service's certificate; empty for the host of its address."""
        return self.server_names.get(
            service, server_name("apiserver" if service == "federation" else service)
        )

    @classmethod
    def load(cls, path: Path) -> ClientConfig:
        """Read one file. Raises ConfigError that names the file and what is wrong with it."""
        try:
            document: dict[str, Any] = tomllib.loads(path.read_text())
        except OSError as error:
            raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"the configuration {path} is not valid TOML: {error}") from error
        unknown = sorted(set(document) - {*_FILES, "endpoints", "server_names", "host_cluster"})
        if unknown:
            raise ConfigError(f"the configuration {path} has an unknown key {unknown[0]}: remove it")
        endpoints = document.get("endpoints", {})
        if not isinstance(endpoints, dict):
            raise ConfigError(f'endpoints in {path} must be a table of service = "HOST:PORT"')
        for service, address in endpoints.items():
            if not isinstance(address, str) or not _ADDRESS.match(address):
                raise ConfigError(f"endpoints.{service} in {path} is {address!r}: it must be HOST:PORT")
        names = document.get("server_names", {})
        if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
            raise ConfigError(f'server_names in {path} must be a table of service = "NAME"')
        host = document.get("host_cluster")
        return cls(
            endpoints=endpoints,
            tls=_tls(document, path),
            server_names=names,
            host_cluster=None if host is None else HostCluster.of(host, path),
            source=str(path),
        )

    @classmethod
    def find(
        cls, path: str | Path | None = None, *, environ: Mapping[str, str] | None = None
    ) -> ClientConfig:
        """Read the file at `path`, else the first that exists; see the module. Raises ConfigError."""
        environ = os.environ if environ is None else environ
        named = path or environ.get(VARIABLE)
        if named:
            return cls.load(Path(named).expanduser())
        folder = environ.get(DATA_DIR)
        candidates = [Path(folder).expanduser() / LOCAL.name if folder else LOCAL, Path.home() / LOCAL]
        for candidate in candidates:
            if candidate.exists():
                return cls.load(candidate)
        installed = sorted(Path.home().glob(INSTALLED))
        if len(installed) == 1:
            return cls.load(installed[0])
        if installed:
            names = ", ".join(each.parent.name for each in installed)
            raise ConfigError(
                f"there are several federations, {names}: name the configuration of one with --config or "
                f"{VARIABLE}, such as {installed[0]}"
            )
        raise ConfigError(
            f"there is no federation here: {' and '.join(map(str, candidates))} do not exist; start one with "
            f"`hanse up`, or name a configuration with --config or {VARIABLE}"
        )


def _tls(document: Mapping[str, Any], path: Path) -> TlsFiles | None:
    given = {name: document.get(name) for name in _FILES}
    if not any(given.values()):
        return None
    for name, value in given.items():
        if not isinstance(value, str) or not value:
            raise ConfigError(f"{name} is missing in {path}: give all of {', '.join(_FILES)}, or none")
    files = {name: path.parent / Path(str(value)).expanduser() for name, value in given.items()}
    return TlsFiles(**files)
