"""What the registry can be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hanse.errors import ConfigError
from hanse.process.settings import ServiceSettings


@dataclass(frozen=True)
class RegistrySettings(ServiceSettings):
    """Settings of the registry."""

    service: ClassVar[str] = "registry"

    probe_interval: float = 2.0
    """Seconds between two probes of a cluster."""
    probe_timeout: float = 2.0
    """Seconds after which a probe that got no answer has failed."""
    failure_threshold: int = 3
    """Failed probes in a row after which a cluster is offline."""
    inventory_interval: float = 30.0
    """Seconds between two looks at a cluster's nodes, version and APIs."""
    leader_ttl: int = 10
    """Seconds after which another registry takes over from a leader that died."""

    def validate(self) -> None:
        """Check that all numbers are positive. Raises ConfigError."""
        super().validate()
        for setting in (
            "probe_interval",
            "probe_timeout",
            "failure_threshold",
            "inventory_interval",
            "leader_ttl",
        ):
            if getattr(self, setting) <= 0:
                raise ConfigError(
                    f"setting {setting} is {getattr(self, setting)}: it must be more than 0",
                    metadata={"setting": setting},
                )
