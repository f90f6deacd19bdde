"""What the registry can be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hanse.errors import ConfigError
from hanse.process.settings import ServiceSettings

SHORTEST_TOKEN = 600
LONGEST_TOKEN = 2**32
"""Bounds of a TokenRequest's seconds."""


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
    token_seconds: int = 30 * 24 * 3600
    """How long the tokens last that the registry asks members for, in seconds; they may give shorter ones."""
    token_renew_seconds: float = 10 * 24 * 3600.0
    """Age at which such a token is renewed, in seconds; earlier when a third of its time is over."""
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
            "token_renew_seconds",
            "leader_ttl",
        ):
            if getattr(self, setting) <= 0:
                raise ConfigError(
                    f"setting {setting} is {getattr(self, setting)}: it must be more than 0",
                    metadata={"setting": setting},
                )
        if not SHORTEST_TOKEN <= self.token_seconds <= LONGEST_TOKEN:
            raise ConfigError(
                f"setting token_seconds is {self.token_seconds}: it must be {SHORTEST_TOKEN} to "
                f"{LONGEST_TOKEN}, as kube-apiserver takes it",
                metadata={"setting": "token_seconds"},
            )
