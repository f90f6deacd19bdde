"""The apiserver's settings.

Next: `hanse_apiserver.app`, which is built from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hanse.settings import ServiceSettings, split_address


@dataclass(frozen=True)
class ApiserverSettings(ServiceSettings):
    """What the apiserver can be told besides what every service can."""

    service: ClassVar[str] = "apiserver"

    https_listen: str = "127.0.0.1:0"
    """Address of the Kubernetes REST API as host:port. Port 0 takes a free port; see ready_file."""
    https_cert: str = ""
    """PEM file of the certificate of the REST API; empty means tls_cert."""
    https_key: str = ""
    """PEM file of the key of https_cert; empty means tls_key."""
    client_ca: str = ""
    """PEM file of the authority of client certificates of the REST API; empty means tls_ca."""
    advertise_address: str = ""
    """host:port at which clients reach the REST API; empty means where it listens."""
    token_file: str = ""
    """File of bearer tokens, token,user,uid,"group1,group2" a line, read again when it changes; empty is
    none.
    """
    admin_groups: tuple[str, ...] = ("system:masters", "hanse:admins")
    """Groups that may do everything over REST and over FederationService."""
    viewer_groups: tuple[str, ...] = ("hanse:viewers",)
    """Groups that may read everything but Secrets."""
    shared: bool = False
    """Whether other apiservers write to the same etcd, so that each consistent read must ask it."""
    finalize_workers: int = 64
    """How many objects are let go of at once after their members have confirmed."""

    def validate(self) -> None:
        """Check what belongs together. Raises ConfigError."""
        super().validate()
        split_address(self.https_listen, setting="https_listen")
        if self.advertise_address:
            split_address(self.advertise_address, setting="advertise_address")
