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
from hanse_local.supervise.state import DirectoryState

DEFAULT_CLUSTERS = 3
REMEMBERED: Mapping[str, str] = {
    "etcd_prefix": "/hanse",
    "etcd_ca": "",
    "etcd_cert": "",
    "etcd_key": "",
    "federation_name": "hanse",
    "dns_suffix": "example.org",
    "listen": "",
    "log_level": "info",
    "otlp_endpoint": "",
}
"""Options that a data directory remembers, with what they are in a new one."""
SETTLED = ("etcd_prefix", "federation_name", "dns_suffix")
"""Those of them that cannot change later: names and keys that are in use have them."""
NOBODY = "none"
"""What --advertise is given to forget the names."""
LOOPBACK = "127.0.0.1"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - only with --advertise, or where the user says so
START_TIMEOUT = 90.0
"""Seconds in which each tier of processes must become ready."""


@dataclass(frozen=True, slots=True)
class UpOptions:
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
    rebuild: str = ""
    """Id under which a federation that etcd has lost is founded again; empty founds none that was lost."""
    production: bool = False
    """Refuse what is fit for trying out only."""
    ports: dict[str, int] = field(default_factory=dict)
    """Ports that are to be these, by name."""
    federation_name: str = ""
    """Name of the federation, as it appears in DNS names; hanse in a new data directory."""
    dns_suffix: str = ""
    """DNS zone under which the federation's names are; example.org in a new data directory."""
    settings: dict[str, str] = field(default_factory=dict)
    """Further settings of the processes, as `scheduler.toleration_seconds`; those remembered hold too."""
    unset: tuple[str, ...] = ()
    """Settings to forget."""
    advertise: tuple[str, ...] = ()
    """Names and addresses at which others reach this machine, the first for the kubeconfig; NOBODY to have
    none again."""
    listen: str = ""
    """Address at which the Kubernetes API and the name server listen: 127.0.0.1, or with `advertise` all."""
    log_level: str = ""
    """Least severe log level of the processes; info in a new data directory."""
    otlp_endpoint: str = ""
    """Where to send telemetry to."""
    start_timeout: float = START_TIMEOUT
    """Seconds that each tier of processes may take to start."""

    def resolved(self, state: DirectoryState) -> Self:
        """Return the options with what is not given filled in from what is remembered, else from the
        defaults.

        Raises ConfigError if one is given that is settled and was another, or one is to be forgotten that is
        not known.
        """
        values: dict[str, str] = {}
        for name, default in REMEMBERED.items():
            given, before = str(getattr(self, name)), state.options.get(name, default)
            if state.has_federation and name in SETTLED and given not in {"", before}:
                flag = "--" + name.replace("_", "-")
                raise ConfigError(
                    f"this data directory was brought up with {flag} {before}, which cannot become {given}: "
                    "use another --data-dir"
                )
            values[name] = given or before
        for name in self.unset:
            if name not in state.settings:
                known = ", ".join(state.settings) or "none"
                raise ConfigError(f"--unset {name}: that is not set; what is set: {known}")
        kept = {name: value for name, value in state.settings.items() if name not in self.unset}
        advertise = self.advertise or state.advertise
        return replace(
            self,
            settings=kept | self.settings,
            unset=(),
            advertise=() if advertise == (NOBODY,) else advertise,
            **values,  # type: ignore[arg-type]
        )

    @property
    def address(self) -> str:
        """Where the Kubernetes API and the name server listen."""
        return self.listen or (EVERYWHERE if self.advertise else LOOPBACK)

    @property
    def reached_at(self) -> str:
        """The name or address in the kubeconfig."""
        if self.advertise:
            return self.advertise[0]
        return LOOPBACK if self.address == EVERYWHERE else self.address

    @property
    def remembered(self) -> dict[str, str]:
        """What a data directory remembers of these options."""
        return {name: str(getattr(self, name)) for name in REMEMBERED}

    def to_json(self) -> str:
        """For the command line of a supervisor in the background."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the opposite of `to_json`."""
        values = json.loads(text)
        for name in ("etcd_endpoints", "advertise", "unset"):
            values[name] = tuple(values[name])
        return cls(**values)
