"""What the syncer can be told. Next: `hanse_syncer.app`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hanse.errors import ConfigError
from hanse.process.settings import ServiceSettings, check_socket


@dataclass(frozen=True)
class SyncerSettings(ServiceSettings):
    """The syncer's settings."""

    service: ClassVar[str] = "syncer"

    identity: str = ""
    """Name of this syncer among the others; empty makes one from host and process id."""
    member_concurrency: int = 32
    """Most requests that one member gets at once; how many it really gets adapts to how it answers."""
    member_timeout: float = 15.0
    """How long one request to a member may take, in seconds."""
    lease_seconds: int = 10
    """After so many seconds the clusters of a syncer that died go to the others."""
    report_window: float = 0.2
    """Least time between two reports of the same object's status, in seconds; the first is made at once."""

    orphan_interval: float = 300.0
    """Seconds between two looks through a whole member for objects of ours that nobody wants there."""
    secrets_key_file: str = ""
    """File with the keys that open what the apiserver seals in etcd: the same file. Empty opens none."""
    secrets_kms_socket: str = ""
    """Socket of the KMS v2 plugin that keeps the key of sealed objects, if the apiserver has one."""

    def validate(self) -> None:
        """Check what the types cannot say. Raises ConfigError."""
        super().validate()
        for name in ("member_concurrency", "lease_seconds"):
            if getattr(self, name) < 1:
                raise ConfigError(f"setting {name} must be 1 or more", metadata={"setting": name})
        for name in ("member_timeout", "report_window", "orphan_interval"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"setting {name} must be more than 0", metadata={"setting": name})
        check_socket(self.secrets_kms_socket, setting="secrets_kms_socket")
        if not self.credentials_key_file and not self.credentials_kms_socket:
            raise ConfigError(
                "settings credentials_key_file and credentials_kms_socket are empty: name the file with the "
                "key that opens the members' credentials, or the socket of the KMS plugin that does",
                metadata={"setting": "credentials_key_file"},
            )
