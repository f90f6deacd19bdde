"""What the dns service can be told."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import ClassVar

from hanse.addresses import is_ip_address
from hanse.errors import ConfigError
from hanse.process.settings import ServiceSettings, split_address
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
    dns_address: str = ""
    """IP address at which resolvers reach dns_name_server, for its record in the zone; empty means that of
    dns_listen, or no record where that stands for every address, such as 0.0.0.0.
    """
    dns_rate_limit: int = 200
    """Responses a second over UDP to one network (/24, /56) that say the same; 0 is no limit. A network gets
    ten times that in all. Clients with a cookie and those that come over TCP are not limited.
    """
    dns_rate_limit_slip: int = 2
    """Every so manieth response over the rate is sent short, so that clients come over TCP; 0 sends none."""
    dns_rate_limit_exempt: tuple[str, ...] = ()
    """Networks that are not limited, such as 10.0.0.0/8, separated by commas."""
    dns_cookie_secret_file: str = ""
    """File of secrets of DNS cookies that name servers at one address share, 32 hexadecimal digits a line,
    the first makes cookies; empty makes one for each process and changes it every day.
    """
    dns_upstream: tuple[str, ...] = ()
    """Resolvers that are asked for the host names of load balancers, as host:port with an IP address,
    separated by commas; empty asks those of the machine (/etc/resolv.conf).
    """
    dns_tcp_connections: int = 256
    """TCP connections in all; a new one takes the place of the one that has been idle longest."""
    dns_tcp_connections_per_client: int = 32
    """TCP connections of one network (/24, /56); what is more is closed."""
    leader_ttl: int = 10
    """Seconds after which another dns service takes over from a leader that died."""

    @property
    def address(self) -> str:
        """The address of the name server in the zone; empty if it is not known."""
        if self.dns_address:
            return self.dns_address
        host, _ = split_address(self.dns_listen, setting="dns_listen")
        return "" if _is_every_address(host) else host

    @property
    def naming(self) -> Naming:
        """What all names end in. Raises InvalidArgumentError for names that DNS does not take."""
        return Naming(self.federation_name, self.dns_suffix)

    def validate(self) -> None:
        """Check the address and the TTLs. Raises ConfigError."""
        super().validate()
        split_address(self.dns_listen, setting="dns_listen")
        if self.dns_address and not is_ip_address(self.dns_address):
            raise ConfigError(
                f"setting dns_address is {self.dns_address!r}: it must be an IP address",
                metadata={"setting": "dns_address"},
            )
        for setting in ("dns_ttl", "dns_negative_ttl", "leader_ttl"):
            if not 1 <= getattr(self, setting) <= 86_400:
                raise ConfigError(
                    f"setting {setting} is {getattr(self, setting)}: it must be 1 to 86400 seconds",
                    metadata={"setting": setting},
                )
        for setting, least in (
            ("dns_rate_limit", 0),
            ("dns_rate_limit_slip", 0),
            ("dns_tcp_connections", 1),
            ("dns_tcp_connections_per_client", 1),
        ):
            if getattr(self, setting) < least:
                raise ConfigError(
                    f"setting {setting} is {getattr(self, setting)}: it must be {least} or more",
                    metadata={"setting": setting},
                )
        for server in self.dns_upstream:
            host, _ = split_address(server, setting="dns_upstream")
            if not is_ip_address(host):
                raise ConfigError(
                    f"setting dns_upstream has {server!r}: it must be an IP address and a port, such as "
                    "10.0.0.10:53",
                    metadata={"setting": "dns_upstream"},
                )
        for network in self.dns_rate_limit_exempt:
            try:
                ipaddress.ip_network(network)
            except ValueError as error:
                raise ConfigError(
                    f"setting dns_rate_limit_exempt has {network!r}: {error}; give networks like 10.0.0.0/8",
                    metadata={"setting": "dns_rate_limit_exempt"},
                ) from error


def _is_every_address(host: str) -> bool:
    return is_ip_address(host) and ipaddress.ip_address(host).is_unspecified
