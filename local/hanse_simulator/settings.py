"""The settings of a simulated cluster.

Concurrency: none; values. Next: `hanse_simulator.app`, which is built from them.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import ClassVar

from hanse.errors import ConfigError, InvalidArgumentError
from hanse.kube.model.quantity import Quantity
from hanse.process.settings import ServiceSettings
from hanse_simulator import addresses

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?")
_LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True)
class SimulatorSettings(ServiceSettings):
    """What a simulated cluster can be told besides what every process can. `listen` is its HTTPS address."""

    service: ClassVar[str] = "simulator"

    name: str = "simulated"
    """Name of the cluster; its nodes are named after it, and its address ranges are derived from it."""
    region: str = "local"
    """Value of the nodes' label topology.kubernetes.io/region."""
    zones: tuple[str, ...] = ("a",)
    """Values of the nodes' label topology.kubernetes.io/zone."""
    nodes_per_zone: int = 1
    """How many nodes each zone has."""
    node_cpu: str = "16"
    """Allocatable CPU of a node, as a Kubernetes quantity."""
    node_memory: str = "64Gi"
    """Allocatable memory of a node, as a Kubernetes quantity."""
    node_pods: int = 2000
    """How many Pods a node takes."""
    pki_dir: str = ""
    """Directory of the cluster's certificate authority and certificates; they are made there if missing."""
    kubeconfig_file: str = ""
    """File to write the administrator's kubeconfig to, readable by its owner only; empty writes none."""
    pod_cidr: str = ""
    """Range of Pod addresses; empty derives one in 10.0.0.0/8 from the name."""
    service_cidr: str = "10.96.0.0/16"
    """Range of cluster addresses of Services."""
    load_balancer_cidr: str = ""
    """Range of load balancer addresses; empty derives one in 127.0.0.0/8 from the name."""
    pod_start_seconds: float = 0.2
    """How long a Pod takes from its node to ready, in seconds."""
    pod_stop_seconds: float = 0.1
    """How long a deleted Pod takes to end, in seconds; never longer than its grace period."""
    job_seconds: float = 1.0
    """How long a Pod runs that does not restart always, before it has succeeded, in seconds."""
    token_max_seconds: int = 0
    """Longest that a token of a TokenRequest lasts, whatever is asked for, in seconds; 0 bounds nothing."""
    broken_image_marker: str = "broken"
    """Containers whose image contains this text cannot pull it; empty turns that off."""
    faults_enabled: bool = False
    """Whether /_sim/faults takes faults to inject (administrators only). For tests."""

    @property
    def pods_range(self) -> ipaddress.IPv4Network:
        """Range of Pod addresses."""
        return ipaddress.IPv4Network(self.pod_cidr) if self.pod_cidr else addresses.pod_range(self.name)

    @property
    def services_range(self) -> ipaddress.IPv4Network:
        """Range of cluster addresses of Services."""
        return ipaddress.IPv4Network(self.service_cidr)

    @property
    def load_balancers_range(self) -> ipaddress.IPv4Network:
        """Range of load balancer addresses."""
        given = self.load_balancer_cidr
        return ipaddress.IPv4Network(given) if given else addresses.load_balancer_range(self.name)

    def validate(self) -> None:
        """Check names, quantities and ranges. Raises ConfigError."""
        super().validate()
        if not _NAME.fullmatch(self.name):
            raise _bad("name", self.name, "lower case letters, digits and '-', at most 40")
        for setting, values in (("region", (self.region,)), ("zones", self.zones or ("",))):
            for value in values:
                if not _LABEL.fullmatch(value):
                    raise _bad(setting, value, "usable as a label value")
        for setting in ("nodes_per_zone", "node_pods"):
            if getattr(self, setting) < 1:
                raise _bad(setting, str(getattr(self, setting)), "1 or more")
        for setting in ("node_cpu", "node_memory"):
            try:
                Quantity.parse(getattr(self, setting))
            except InvalidArgumentError as error:
                raise _bad(setting, getattr(self, setting), "a quantity such as 4 or 16Gi") from error
        for setting in ("pod_cidr", "service_cidr", "load_balancer_cidr"):
            try:
                ipaddress.IPv4Network(getattr(self, setting) or "10.0.0.0/8")
            except ValueError as error:
                raise _bad(setting, getattr(self, setting), "an IPv4 range such as 10.96.0.0/16") from error
        for setting in ("pod_start_seconds", "pod_stop_seconds", "job_seconds", "token_max_seconds"):
            if getattr(self, setting) < 0:
                raise _bad(setting, str(getattr(self, setting)), "a number of seconds, 0 or more")


def _bad(setting: str, value: str, expected: str) -> ConfigError:
    return ConfigError(
        f"setting {setting} is {value!r}: it must be {expected}", metadata={"setting": setting}
    )
