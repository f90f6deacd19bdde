"""What the scheduler can be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from hanse.errors import ConfigError
from hanse.process.settings import ServiceSettings
from hanse_scheduler.decide.inputs import Rules


@dataclass(frozen=True)
class SchedulerSettings(ServiceSettings):
    """Settings of the scheduler."""

    service: ClassVar[str] = "scheduler"

    default_placement: Literal["all", "none"] = "all"
    """Where objects go that no policy selects: all ready clusters, or none. An annotation still selects."""
    toleration_seconds: float = 60.0
    """How long a cluster that is out of reach keeps its replicas, in seconds, unless a policy says."""
    leader_ttl: int = 10
    """Seconds after which another scheduler takes over from a leader that died."""
    workers: int = 128
    """Objects that are decided on at once; at least 100 fill a transaction."""

    @property
    def rules(self) -> Rules:
        """What decisions need of this."""
        return Rules(everywhere=self.default_placement == "all", toleration=self.toleration_seconds)

    def validate(self) -> None:
        """Check ranges. Raises ConfigError."""
        super().validate()
        if self.toleration_seconds < 0:
            raise ConfigError(
                f"setting toleration_seconds is {self.toleration_seconds}: it must be 0 or more",
                metadata={"setting": "toleration_seconds"},
            )
        for setting in ("leader_ttl", "workers"):
            if not 1 <= getattr(self, setting) <= 3600:
                raise ConfigError(
                    f"setting {setting} is {getattr(self, setting)}: it must be 1 to 3600",
                    metadata={"setting": setting},
                )
