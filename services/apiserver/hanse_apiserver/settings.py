"""The apiserver's settings.

Next: `hanse_apiserver.app`, which is built from them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from hanse.errors import ConfigError
from hanse.federation.policies.impact import ImpactLimits
from hanse.federation.policies.member_admission import AdmissionMode, mode_of
from hanse.flow import FlowLimits
from hanse.numbers import whole_number
from hanse.process.settings import (
    ETCD_HISTORY_SECONDS,
    ServiceSettings,
    TlsFiles,
    check_socket,
    split_address,
)
from hanse.security.sealing import check_kinds

MAX_ADMISSION_SECONDS = 30.0
"""Clients such as kubectl wait a minute for an answer, and proxies less."""


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
    service_node_ports: str = "30000-32767"
    """Ports that a Service may ask of nodes, as the members' API servers give them away; empty leaves it to
    each member to refuse.
    """
    finalize_workers: int = 64
    """How many objects are let go of at once after their members have confirmed."""
    impact_last_replica: bool = True
    """Whether a change of a policy, a Cluster or labels that takes the last replica of a workload away must
    be confirmed by the annotation hanse.dev/confirm-impact."""
    impact_objects: int = 5
    """Workloads that such a change may move without a confirmation, whatever share of their replicas."""
    impact_percent: int = 30
    """Share of the replicas, in percent, that a change of more workloads may move without one; 100: all."""
    member_admission: str = ""
    """What becomes of an object that a member would refuse, unless its policy or namespace says otherwise:
    Off (no member is asked), Warn or Refuse. Empty is Warn for custom resources and for kinds that are not
    checked here as a kube-apiserver checks them, and Off for all others."""
    member_admission_timeout: float = 3.0
    """How long members, and the scheduler that says which, may take to say so, in seconds; then the object is
    stored as if nobody had been asked."""
    max_connections: int = 10_000
    """Connections to the REST API in all; what is more is closed."""
    max_connections_per_address: int = 5000
    """Connections to the REST API from one address."""
    max_requests: int = 256
    """Requests of users that are worked at at once, REST and gRPC together; others wait up to 15 s."""
    max_requests_per_user: int = 128
    """Requests of one user that are worked at at once."""
    max_watches: int = 10_000
    """Open watches of users in all."""
    max_watches_per_user: int = 2500
    """Open watches of one user."""
    secrets_key_file: str = ""
    """File with the keys that seal objects in etcd, ID:BASE64 a line; the first seals, all open. It is read
    again when it changes. Empty seals nothing.
    """
    secrets_kms_socket: str = ""
    """Socket of a KMS v2 plugin, unix:///PATH, that keeps the key of sealed objects; a key file beside it
    only opens."""
    sealed_kinds: tuple[str, ...] = ("secrets",)
    """Kinds that are sealed in etcd, as widgets.example.org; secrets are, whatever others are named. Empty
    seals none."""

    @property
    def impact_limits(self) -> ImpactLimits:
        """What a change may take away without a confirmation."""
        return ImpactLimits(
            objects=self.impact_objects,
            percent=self.impact_percent,
            last_replica=self.impact_last_replica,
        )

    @property
    def flow(self) -> FlowLimits:
        """What is worked at at once."""
        return FlowLimits(
            requests=self.max_requests,
            requests_per_user=self.max_requests_per_user,
            watches=self.max_watches,
            watches_per_user=self.max_watches_per_user,
        )

    federation_id: str = ""
    """Id of the federation that etcd must have: another, or none, is then an error. Empty takes what is
    there, and founds a federation where there is none. `hanse up` sets it.
    """
    event_ttl: int = 3600
    """How long Events stay after they were written last, in seconds; 0 is for ever."""
    etcd_compact_seconds: float = ETCD_HISTORY_SECONDS
    """How much history etcd keeps, in seconds; 0 leaves compaction to etcd for as long as it has room."""
    etcd_quota_bytes: int = 0
    """Quota of etcd in bytes, where etcd does not tell it (before 3.6); 0 is unknown. `hanse up` gives it to
    its etcd too, 8 GiB by default.
    """
    etcd_maintenance_cert: str = ""
    """PEM file of the certificate of an etcd user with the role root, for compaction, defragmentation and
    alarms; empty means etcd_cert.
    """
    etcd_maintenance_key: str = ""
    """PEM file of the key of etcd_maintenance_cert."""

    @property
    def etcd_maintenance_tls(self) -> TlsFiles | None:
        """The files for the maintenance of etcd, or None if TLS to etcd is off."""
        files = self.etcd_tls
        if files is None or not self.etcd_maintenance_cert:
            return files
        return replace(files, cert=Path(self.etcd_maintenance_cert), key=Path(self.etcd_maintenance_key))

    def node_ports(self) -> range | None:
        """Return the ports that a Service may ask of nodes; None for any. Raises ConfigError."""
        if not self.service_node_ports:
            return None
        low, _, high = self.service_node_ports.partition("-")
        first, last = whole_number(low), whole_number(high)
        if first is None or last is None or not 1 <= first <= last <= 65535:
            raise ConfigError(
                f"service_node_ports is {self.service_node_ports}: give two ports, such as 30000-32767",
                metadata={"setting": "service_node_ports"},
            )
        return range(first, last + 1)

    def validate(self) -> None:
        """Check what belongs together. Raises ConfigError."""
        super().validate()
        check_kinds(self.sealed_kinds)
        self.node_ports()
        check_socket(self.secrets_kms_socket, setting="secrets_kms_socket")
        for name in (
            "event_ttl",
            "impact_objects",
            "impact_percent",
            "etcd_compact_seconds",
            "etcd_quota_bytes",
        ):
            if getattr(self, name) < 0:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}: it must not be negative", metadata={"setting": name}
                )
        if bool(self.etcd_maintenance_cert) != bool(self.etcd_maintenance_key):
            raise ConfigError(
                "give both etcd_maintenance_cert and etcd_maintenance_key, or none of them",
                metadata={"setting": "etcd_maintenance_cert"},
            )
        if self.member_admission and mode_of(self.member_admission) is None:
            raise ConfigError(
                f"member_admission is {self.member_admission}: give {', '.join(AdmissionMode)}, or nothing",
                metadata={"setting": "member_admission"},
            )
        if not 0 < self.member_admission_timeout <= MAX_ADMISSION_SECONDS:
            raise ConfigError(
                f"member_admission_timeout is {self.member_admission_timeout:g}: give more than 0 seconds, "
                f"and at most {MAX_ADMISSION_SECONDS:g}",
                metadata={"setting": "member_admission_timeout"},
            )
        split_address(self.https_listen, setting="https_listen")
        if self.advertise_address:
            split_address(self.advertise_address, setting="advertise_address")
        for setting in (
            "max_connections",
            "max_connections_per_address",
            "max_requests",
            "max_requests_per_user",
            "max_watches",
            "max_watches_per_user",
        ):
            if getattr(self, setting) < 1:
                raise ConfigError(
                    f"setting {setting} is {getattr(self, setting)}: it must be 1 or more",
                    metadata={"setting": setting},
                )
