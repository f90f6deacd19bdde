"""The names of one Service: one for the globe, one for every region and one for every zone.

Pure functions without state. The form is Federation v1's, so that names in use there keep working:
``<service>.<namespace>.<federation>.svc[.<zone>.<region> | .<region>].<suffix>``. `hanse_dns.compiler` is
next: it puts addresses behind these names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import dns.exception
import dns.name

from hanse.addresses import is_ip_address
from hanse.errors import InvalidArgumentError
from hanse.process.settings import check_names

LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
"""A host name label as RFC 1123 section 2.1 has it, in lower case."""

MAX_NAME = 253
"""Characters of a name without the dot at its end, from RFC 1035 section 2.3.4."""


def is_answer(address: str) -> bool:
    """Report whether a load balancer's address is an IP address, or a name that fits into a DNS message."""
    if is_ip_address(address):
        return True
    try:
        dns.name.from_text(address)
    except (dns.exception.DNSException, ValueError):
        return False
    return True


@dataclass(frozen=True, slots=True)
class Place:
    """Where a name is of: a zone in a region, a whole region, or the globe (both empty)."""

    region: str = ""
    zone: str = ""


@dataclass(frozen=True, slots=True)
class Naming:
    """What all names of a federation end in."""

    federation: str
    suffix: str

    def __post_init__(self) -> None:
        """Raise ConfigError unless both parts can stand in a DNS name."""
        check_names(self.federation, self.suffix)

    @property
    def origin(self) -> str:
        """The zone's origin, with the dot at its end."""
        return f"{self.suffix}."

    def fqdn(self, namespace: str, service: str, place: Place) -> str:
        """Return the name of a Service at `place`, with the dot at its end.

        Raises InvalidArgumentError if a part is no DNS label or the whole is longer than 253 characters.
        """
        where = [part for part in (place.zone, place.region) if part]
        for what, label in (
            ("Service", service),
            ("namespace", namespace),
            ("region", place.region),
            ("zone", place.zone),
        ):
            if label or what in {"Service", "namespace"}:
                check_label(what, label)
        name = ".".join([service, namespace, self.federation, "svc", *where, self.suffix])
        if len(name) > MAX_NAME:
            raise InvalidArgumentError(f"the DNS name {name} is longer than {MAX_NAME} characters")
        return f"{name}."


def check_label(what: str, label: str) -> None:
    """Raise InvalidArgumentError, naming `what`, unless `label` is a DNS label."""
    if not LABEL.fullmatch(label):
        raise InvalidArgumentError(
            f"{what} {label!r} is not a DNS label: use lower case letters, digits and '-', at most 63"
        )
