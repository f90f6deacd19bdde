"""The services of a federation in a host cluster, reached by `kubectl port-forward`.

Owns the processes of kubectl: one for each service that is called, from the first call until the client is
closed.

Concurrency: a start blocks until the port is there, half a second mostly.

Next: `hanse_client.client`.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hanse.errors import ConfigError, FailedPreconditionError, UnavailableError

PROGRAM = "kubectl"
PORT = 7000
"""Of gRPC, in the Services of deploy/k8s."""
READY_SECONDS = 20.0
_READY = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) ->")
_KEYS = ("kubeconfig", "context", "namespace")


@dataclass(frozen=True, slots=True)
class HostCluster:
    """Where a federation runs, as kubectl is told it."""

    namespace: str = "hanse"
    context: str = ""
    """Empty: the current one."""
    kubeconfig: str = ""
    """Empty: as kubectl finds it."""

    @classmethod
    def of(cls, table: Any, source: Path) -> HostCluster:
        """From the table `host_cluster` of a configuration. Raises ConfigError."""
        if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
            raise ConfigError(f"host_cluster in {source} must be a table of {', '.join(_KEYS)}")
        if unknown := sorted(set(table) - set(_KEYS)):
            raise ConfigError(f"host_cluster in {source} has an unknown key {unknown[0]}: remove it")
        if table.get("kubeconfig"):
            path = source.parent / Path(table["kubeconfig"]).expanduser()
            table = {**table, "kubeconfig": str(path)}
        return cls(**table)

    @property
    def command(self) -> list[str]:
        """kubectl with its flags."""
        flags = {"kubeconfig": self.kubeconfig, "context": self.context, "namespace": self.namespace}
        return [PROGRAM, *(f"--{name}={value}" for name, value in flags.items() if value)]


class Forwards:
    """Ports of this machine that lead to services."""

    def __init__(self, host: HostCluster) -> None:
        self._host = host
        self._stack = ExitStack()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def open(self, service: str) -> str:
        """host:port of a service. Raises UnavailableError with what kubectl says, FailedPreconditionError
        without it."""
        name = "apiserver" if service == "federation" else service
        command = [*self._host.command, "port-forward", f"service/hanse-{name}"]
        process, port = _forwarded(self._stack, command, PORT)
        self._processes[service] = process
        return f"127.0.0.1:{port}"

    def has_ended(self, service: str) -> bool:
        """Return whether the way to a service is closed: kubectl ends with the Pod to which it led."""
        process = self._processes.get(service)
        return process is not None and process.poll() is not None

    def close(self) -> None:
        """End them."""
        self._stack.close()


def forward(stack: ExitStack, command: Sequence[str], port: int) -> int:
    """Return the port of 127.0.0.1 that leads to `port` of what a command of `kubectl port-forward` names,
    until the stack is closed. Raises UnavailableError with what kubectl says, FailedPreconditionError
    without it.
    """
    return _forwarded(stack, command, port)[1]


def _forwarded(stack: ExitStack, command: Sequence[str], port: int) -> tuple[subprocess.Popen[bytes], int]:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hanse-")))
    said, complained = folder / "out", folder / "err"
    with said.open("wb") as out, complained.open("wb") as err:
        try:
            process = subprocess.Popen(
                [*command, "--address=127.0.0.1", f":{port}"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        except FileNotFoundError as error:
            raise FailedPreconditionError(
                "kubectl is not installed, and the federation's services are reached by it"
            ) from error
    stack.callback(_end, process)
    deadline = time.monotonic() + READY_SECONDS
    while True:
        ended = process.poll() is not None
        if found := _READY.search(said.read_text(errors="replace")):
            return process, int(found[1])
        if ended:
            raise UnavailableError(f"{_target(command)} cannot be reached: {_complaint(complained)}")
        if time.monotonic() > deadline:
            raise UnavailableError(
                f"{_target(command)} cannot be reached: kubectl port-forward was not ready after "
                f"{READY_SECONDS:.0f} s"
            )
        time.sleep(0.02)


def _target(command: Sequence[str]) -> str:
    return next((word for word in reversed(command) if not word.startswith("-")), "")


def _complaint(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines() or ["kubectl says nothing"]
    return lines[-1].removeprefix("error: ").removeprefix("Error from server ")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
