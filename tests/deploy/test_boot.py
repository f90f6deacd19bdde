"""The services and their etcd start from what the manifests give them: environment, Secrets, command.

Real processes on loopback (`tests.deploy.processes`). That the names are in the certificates is for
`test_manifests`.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.deploy.manifests import SERVICES, build, container, needs_kubectl
from tests.deploy.processes import DEADLINE, Host
from tests.support.stores.etcd import find_etcd

pytestmark = needs_kubectl


@pytest.mark.parametrize("overlay", ["single", "ha"])
def test_a_federation_starts_from_its_manifests(overlay: str, tmp_path: Path) -> None:
    """etcd forms its cluster, the Job gives rights, every service gets ready and leads, etcd is tended."""
    host = Host(tmp_path, build(overlay))
    etcds = [f"hanse-etcd-{number}" for number in range(host.workloads["etcd"]["spec"]["replicas"])]
    with ExitStack() as stack:
        for who in etcds:
            stack.enter_context(host.started("etcd", who=who, program=[find_etcd()]))
        for who in etcds:
            host.until(who, 2381, "/health")
        with host.started("etcd-roles", who="hanse-etcd-roles", program=[sys.executable]) as job:
            assert job.wait(DEADLINE) == 0, host.log("hanse-etcd-roles")
        assert "rights were changed" in host.log("hanse-etcd-roles")

        for service in SERVICES:
            who = f"hanse-{service}"
            stack.enter_context(host.started(service, who=who, program=[sys.executable]))
        for service in SERVICES:
            ready = container(host.workloads[service])["readinessProbe"]["httpGet"]["path"]
            host.until(f"hanse-{service}", 7001, ready)
        for service in ("registry", "scheduler", "dns"):
            leads = f'hanse_leader{{hanse_election="{service}"}} 1.0'
            host.until(f"hanse-{service}", 7001, "/metrics", said=leads)
        host.until("hanse-apiserver", 7001, "/metrics", said="hanse_etcd_maintenance_denied 0.0")
