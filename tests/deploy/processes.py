"""Runs the Pods of manifests as processes of this machine, with their environment, volumes and commands.

Paths become those of a directory of the test, and names of Services addresses; all else is as it is in the
manifests. Every process has ended when its block has.
"""

from __future__ import annotations

import base64
import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from hanse.installation import secrets
from tests.deploy.manifests import (
    COMPONENT,
    WORKLOADS,
    Manifest,
    container,
    environment,
    mounts,
    named,
    of_kind,
    pod,
)
from tests.support.machine.ports import free_ports

DEADLINE = 60.0
EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 - as it is in the manifests, where it is replaced


class Host:
    """Stands for the host cluster: volumes, addresses and processes of Pods."""

    def __init__(
        self,
        directory: Path,
        manifests: list[Manifest],
        *,
        made: Iterable[Manifest] | None = None,
        more: Mapping[str, Mapping[str, bytes]] | None = None,
    ) -> None:
        """The Secrets are `made`, else those that the installation makes, and `more`, which a user made."""
        self.directory = directory
        self.manifests = manifests
        self.workloads = {
            pod(each)["metadata"]["labels"][COMPONENT]: each for each in of_kind(manifests, *WORKLOADS)
        }
        self.ports: dict[tuple[str, int], int] = {}
        issued = secrets(directory / "pki") if made is None else made
        self._secrets = {
            each["metadata"]["name"]: {file: base64.b64decode(text) for file, text in each["data"].items()}
            for each in issued
        } | {name: dict(files) for name, files in (more or {}).items()}

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
            folder.mkdir(parents=True, exist_ok=True)
            names = [volume["secret"]["secretName"]] if "secret" in volume else []
            names += [each["secret"]["name"] for each in volume.get("projected", {}).get("sources", ())]
            for file, content in (pair for name in names for pair in self._secrets[name].items()):
                (folder / file).unlink(missing_ok=True)
                (folder / file).write_bytes(content)
                (folder / file).chmod(0o400)
            if "configMap" in volume:
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
