"""Whoever installs and runs the federation: a home, a kubeconfig, and the three commands.

Concurrency: calls block; a forward is a process, which its `with` ends. Next: `tests.node.test_node`.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Json = dict[str, Any]
ENDPOINTS = {
    "registry": "registry",
    "federation": "apiserver",
    "scheduler": "scheduler",
    "syncer": "syncer",
    "dns": "dns",
}
"""Services, by the names that a client's configuration has for them."""


class Operator:
    """Runs commands with a home of its own; contexts are `host` and, once it is there, the federation's."""

    def __init__(self, home: Path, kubeconfig: Path) -> None:
        home.mkdir()
        self.home = home
        self.kubeconfig = home / "kubeconfig"
        self._environment = {**os.environ, "HOME": str(home), "KUBECONFIG": str(self.kubeconfig)}
        shutil.copy(kubeconfig, self.kubeconfig)

    def run(self, program: str, *words: str, stdin: str = "", status: int = 0, seconds: float = 300) -> str:
        """What a command writes to standard output. It ends with that status, else the test fails."""
        own = Path(sys.executable).with_name(program)
        done = subprocess.run(
            [str(own) if own.exists() else program, *words],
            input=stdin,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
        told = f"{program} {' '.join(words)}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == status, told
        return done.stdout if status == 0 else done.stderr

    def kubectl(self, *words: str, context: str = "host", stdin: str = "") -> str:
        """kubectl, in the host cluster or in another context."""
        return self.run("kubectl", f"--context={context}", *words, stdin=stdin)

    def get(self, *words: str, context: str = "host") -> Json:
        """What `kubectl get` finds."""
        found: Json = json.loads(self.kubectl("get", *words, "-o", "json", context=context))
        return found

    def apply(self, *manifests: Json) -> None:
        """Apply manifests to the host cluster."""
        self.kubectl(
            "apply",
            "--server-side",
            "-f-",
            stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)}),
        )

    def python(self, pod: str, namespace: str, code: str) -> str:
        """Run Python in a Pod that has it."""
        return self.kubectl("exec", "-n", namespace, pod, "--", "python", "-c", code)

    @contextmanager
    def forwarded(self, keys: Path) -> Iterator[Path]:
        """A client's configuration, as docs/install.md has it, for as long as the ports are forwarded."""
        ports = {name: 7101 + number for number, name in enumerate(ENDPOINTS)}
        processes = [
            subprocess.Popen(
                [
                    *("kubectl", "--context=host", "port-forward", "-n", "hanse"),
                    *(f"service/hanse-{ENDPOINTS[name]}", f"{port}:7000"),
                ],
                env=self._environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for name, port in ports.items()
        ]
        try:
            for port in ports.values():
                _wait_for_port(port)
            config = self.home / "client.toml"
            config.write_text(_client(keys, ports))
            yield config
        finally:
            for process in processes:
                process.kill()
                process.wait()


def _client(keys: Path, ports: Mapping[str, int]) -> str:
    files = {"ca": "ca.crt", "cert": "admin.crt", "key": "admin.key"}
    lines = [f'{name} = "{keys / file}"' for name, file in files.items()]
    return "\n".join(
        [*lines, "[endpoints]", *(f'{name} = "127.0.0.1:{port}"' for name, port in ports.items())]
    )


def _wait_for_port(port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < deadline, f"nothing listens on {port}"
        time.sleep(0.1)
