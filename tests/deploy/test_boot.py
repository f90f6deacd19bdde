"""The services and their etcd start from what the manifests give them: environment, Secrets, command.

Real processes on loopback. Paths become those of a directory of the test, and names of Services addresses;
all else is as it is in the manifests. That the names are in the certificates is for `test_manifests`.
"""

from __future__ import annotations

import base64
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from hanse.installation import secrets
from tests.deploy.manifests import (
    COMPONENT,
    SERVICES,
    WORKLOADS,
    Manifest,
    build,
    container,
    environment,
    mounts,
    named,
    needs_kubectl,
    of_kind,
    pod,
)
from tests.support.etcd import find_etcd, free_ports

pytestmark = needs_kubectl
DEADLINE = 60.0
EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 - as it is in the manifests, where it is replaced


class Host:
    """Stands for the host cluster: volumes, addresses and processes of Pods."""

    def __init__(self, directory: Path, manifests: list[Manifest]) -> None:
        self.directory = directory
        self.manifests = manifests
        self.workloads = {
            pod(each)["metadata"]["labels"][COMPONENT]: each for each in of_kind(manifests, *WORKLOADS)
        }
        self.ports: dict[tuple[str, int], int] = {}
        self._volumes = {each["metadata"]["name"]: each["data"] for each in secrets(directory / "pki")}

    def port(self, who: str, port: int) -> int:
        """The port of this machine that stands for the port of a Pod."""
        if (who, port) not in self.ports:
            self.ports[who, port] = free_ports(1)[0]
        return self.ports[who, port]

    def mounted(self, component: str, who: str) -> Path:
        """The volumes of a Pod, as files that only it can read."""
        root = self.directory / who
        for path, volume in mounts(self.workloads[component]).items():
            folder = root / path.lstrip("/")
            folder.mkdir(parents=True)
            if "secret" in volume:
                for file, content in self._volumes[volume["secret"]["secretName"]].items():
                    (folder / file).write_bytes(base64.b64decode(content))
                    (folder / file).chmod(0o400)
            elif "configMap" in volume:
                for file, text in named(self.manifests, "ConfigMap", volume["configMap"]["name"])[
                    "data"
                ].items():
                    (folder / file).write_text(text)
        return root

    def translated(self, text: str, *, who: str, root: Path) -> str:
        """A value of the environment, or an argument, with our paths and addresses."""

        def address(found: re.Match[str]) -> str:
            own = {EVERY_ADDRESS: who, "hanse-etcd": "hanse-etcd-0"}
            host = own.get(found[1], found[1])
            return f"127.0.0.1:{self.port(host.partition('.')[0], int(found[2]))}"

        text = re.sub(r"(0\.0\.0\.0|hanse-[\w.-]+):(\d{4})\b", address, text)
        return re.sub(r"(^|=)/(?=etc/|tmp|var/)", rf"\1{root}/", text)

    @contextmanager
    def started(self, component: str, *, who: str, program: list[str]) -> Iterator[subprocess.Popen[bytes]]:
        """Run the container of a workload until the end of the block, as `who`."""
        root = self.mounted(component, who)
        workload = self.workloads[component]
        given = environment(self.manifests, workload)
        given = {name: value.replace("$(ETCD_NAME)", who) for name, value in given.items()}
        if component == "etcd":
            given["ETCD_NAME"] = who
        environ = {name: self.translated(value, who=who, root=root) for name, value in given.items()}
        arguments = [
            self.translated(re.sub(r"\$\((\w+)\)", lambda m: given[m[1]], each), who=who, root=root)
            for each in container(workload)["command"][len(program) :]
        ]
        with (self.directory / f"{who}.log").open("wb") as log:
            process = subprocess.Popen(
                [*program, *arguments],
                env={**environ, "PATH": os.environ["PATH"]},
                cwd=root,
                stdout=log,
                stderr=log,
            )
            try:
                yield process
            finally:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def until(self, who: str, port: int, path: str, *, said: str = "") -> None:
        """Wait until a page of a process is there, and says that."""
        deadline = time.monotonic() + DEADLINE
        while said not in (shown := page(self.port(who, port), path)) or not shown:
            assert time.monotonic() < deadline, f"{who}: {self.log(who)}"
            time.sleep(0.1)

    def log(self, who: str) -> str:
        """The end of what a process has said."""
        return (self.directory / f"{who}.log").read_text(errors="replace")[-3000:]


def page(port: int, path: str) -> str:
    """A page of a process's metrics port; empty if it is not there or not well."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            text: str = answer.read().decode()
            return text
    except (OSError, urllib.error.HTTPError):
        return ""


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
