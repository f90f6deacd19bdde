"""What the dns service can be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hanse.errors import ConfigError
from hanse.settings import ServiceSettings, split_address
from hanse_dns.names import Naming


@dataclass(frozen=True)
class DnsSettings(ServiceSettings):
    """Settings of the dns service."""

    service: ClassVar[str] = "dns"

    dns_listen: str = "127.0.0.1:0"
    """Address of the name server as host:port, for UDP and TCP alike. Port 0 takes a free port."""
    dns_ttl: int = 30
    """Seconds that resolvers may keep an address. Short, because health moves."""
    dns_negative_ttl: int = 5
    """Seconds that resolvers may remember that a name has no address."""
    dns_name_server: str = "ns"
    """Name of this name server in the zone's NS record; relative names are taken below the suffix."""
    leader_ttl: int = 10
    """Seconds after which another dns service takes over from a leader that died."""

    @property
    def naming(self) -> Naming:
        """What all names end in. Raises InvalidArgumentError for names that DNS does not take."""
        return Naming(self.federation_name, self.dns_suffix)

    def validate(self) -> None:
        """Check the address and the TTLs. Raises ConfigError."""
        super().validate()
        split_address(self.dns_listen, setting="dns_listen")
        for setting in ("dns_ttl", "dns_negative_ttl", "leader_ttl"):
            if not 1 <= getattr(self, setting) <= 86_400:
                raise ConfigError(
                    f"setting {setting} is {getattr(self, setting)}: it must be 1 to 86400 seconds",
                    metadata={"setting": setting},
                )
