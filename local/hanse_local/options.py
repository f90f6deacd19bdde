"""What a user can ask of `hanse up`.

Concurrency: values only.

Next: `hanse_local.federation`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Self

from hanse.errors import ConfigError

DEFAULT_CLUSTERS = 3
REMEMBERED: Mapping[str, str] = {
    "etcd_prefix": "/hanse",
    "etcd_ca": "",
    "etcd_cert": "",
    "etcd_key": "",
    "federation_name": "hanse",
    "dns_suffix": "example.org",
}
"""Options that a data directory remembers, with what they are in a new one."""
SETTLED = ("etcd_prefix", "federation_name", "dns_suffix")
"""Those of them that cannot change later: names and keys that are in use have them."""
START_TIMEOUT = 90.0
"""Seconds in which each tier of processes must become ready."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of `hanse up`; None and empty mean "as the data directory remembers"."""

    clusters: int | None = None
    """Number of simulated clusters; DEFAULT_CLUSTERS in a new data directory."""
    etcd_endpoints: tuple[str, ...] = ()
    """Use this etcd instead of starting one, as host:port."""
    etcd_prefix: str = ""
    """Prefix of all keys in etcd; /hanse in a new data directory."""
    etcd_ca: str = ""
    """PEM file of the authority of that etcd; empty means no TLS."""
    etcd_cert: str = ""
    """PEM file of the client certificate for it."""
    etcd_key: str = ""
    """PEM file of the key of etcd_cert."""
    production: bool = False
    """Refuse what is fit for trying out only."""
    ports: dict[str, int] = field(default_factory=dict)
    """Ports that are to be these, by name."""
    federation_name: str = ""
    """Name of the federation, as it appears in DNS names; hanse in a new data directory."""
    dns_suffix: str = ""
    """DNS zone under which the federation's names are; example.org in a new data directory."""
    settings: dict[str, str] = field(default_factory=dict)
    """Further settings of the processes in this run, as `scheduler.toleration_seconds`."""
    log_level: str = "info"
    """Least severe log level of the processes."""
    otlp_endpoint: str = ""
    """Where to send telemetry to."""
    start_timeout: float = START_TIMEOUT
    """Seconds that each tier of processes may take to start."""

    def resolved(self, remembered: Mapping[str, str], *, founded: bool) -> Self:
        """The options with what is not given filled in from `remembered`, else from the defaults.

        Raises ConfigError if one is given that is settled and was another.
        """
        values: dict[str, str] = {}
        for name, default in REMEMBERED.items():
            given, before = str(getattr(self, name)), remembered.get(name, default)
            if founded and name in SETTLED and given not in {"", before}:
                flag = "--" + name.replace("_", "-")
                raise ConfigError(
                    f"this data directory was brought up with {flag} {before}, which cannot become {given}: "
                    "use another --data-dir"
                )
            values[name] = given or before
        return replace(self, **values)  # type: ignore[arg-type]

    @property
    def remembered(self) -> dict[str, str]:
        """What a data directory remembers of these options."""
        return {name: str(getattr(self, name)) for name in REMEMBERED}

    def to_json(self) -> str:
        """For the command line of a supervisor in the background."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The opposite of `to_json`."""
        values = json.loads(text)
        values["etcd_endpoints"] = tuple(values["etcd_endpoints"])
        return cls(**values)
