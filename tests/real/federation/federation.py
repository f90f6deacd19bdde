"""Starts and stops a federation with `hanse up --clusters 0`, and joins clusters to it.

Owns the data directory that it is given; nothing of it is in memory, so that a federation that was stopped
comes back with a new `Federation` on the same directory. Behind it is the supervisor of `hanse up`: a
service that is killed is started again.

Concurrency: commands run as child processes of the loop that calls.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.real.realcluster import KubeApi, until

SERVICES = ("apiserver", "registry", "scheduler", "syncer", "dns")
COMMAND_SECONDS = 180.0


class CommandError(RuntimeError):
    """A `hanse` command failed; the message has its output."""


class Federation:
    """Five services and an etcd, without clusters until `join`."""

    def __init__(self, data_dir: Path, *, environ: Mapping[str, str] | None = None) -> None:
        """`environ` is added to the environment of all processes."""
        self.data_dir = data_dir
        self._environ = {**os.environ, **(environ or {})}

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.down()

    async def up(self) -> None:
        """Start all processes and wait until they are ready."""
        await self.hanse("up", "--clusters", "0", "--detach", "--data-dir", str(self.data_dir))

    async def down(self) -> None:
        """Stop all processes; the data stays."""
        await self.hanse("down", "--data-dir", str(self.data_dir))

    async def join(self, name: str, kubeconfig: Path, *labels: str) -> None:
        """Join a cluster and wait until it is READY; `labels` are KEY=VALUE."""
        chosen = [word for label in labels for word in ("--label", label)]
        await self.hanse("join", name, "--cluster-kubeconfig", str(kubeconfig), *chosen)

    async def hanse(self, *words: str) -> str:
        """Run a `hanse` command against this federation; its standard output. Raises `CommandError`."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hanse_cli.main", *words),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**self._environ, "HANSE_CONFIG": str(self.data_dir / "client.toml")},
        )
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                out, err = await process.communicate()
        except BaseException:
            if process.returncode is None:
                process.kill()
                await process.wait()
            raise
        if process.returncode != 0:
            said = (err + out).decode(errors="replace").strip()
            raise CommandError(f"`hanse {' '.join(words)}` ended with {process.returncode}: {said}")
        return out.decode()

    async def status(self) -> dict[str, Any]:
        """What `hanse status -o json` says."""
        said = await self.hanse("status", "--data-dir", str(self.data_dir), "-o", "json")
        found: dict[str, Any] = json.loads(said)
        return found

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of etcd and the services, as they are now."""
        recorded = json.loads((self.data_dir / "run" / "processes.json").read_text())
        return {name: int(process["pid"]) for name, process in recorded.items()}

    @property
    def supervisor_pid(self) -> int:
        """The process that keeps the others running."""
        return int(json.loads((self.data_dir / "run" / "supervisor.json").read_text())["pid"])

    def endpoint(self, service: str, name: str) -> str:
        """host:port of one of a service's endpoints, such as ("apiserver", "https")."""
        ready = json.loads((self.data_dir / "run" / f"{service}.json").read_text())
        return str(ready["endpoints"][name])

    @property
    def server(self) -> str:
        """URL of the Kubernetes API of the federation."""
        return f"https://{self.endpoint('apiserver', 'https')}"

    def pki(self, name: str) -> Path:
        """A file of the federation's authority, such as `admin.crt`."""
        return self.data_dir / "pki" / name

    def log(self, name: str) -> Path:
        """The log of one process."""
        return self.data_dir / "logs" / f"{name}.log"

    def api(self) -> KubeApi:
        """A client of the federation's Kubernetes API, as its administrator; close it."""
        return KubeApi(
            self.server,
            authority=self.pki("ca.crt"),
            certificate=self.pki("admin.crt"),
            key=self.pki("admin.key"),
        )

    def kill(self, name: str, *, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a process a signal; its process id until then. The supervisor starts it again."""
        pid = self.pids[name]
        os.kill(pid, number)
        return pid

    async def restart(
        self, name: str, *, number: signal.Signals = signal.SIGTERM, seconds: float = 30.0
    ) -> int:
        """End a process by a signal and wait until its successor is ready, whose process id is given."""
        before = self.kill(name, number=number)

        async def is_back() -> int:
            for process in (await self.status())["processes"]:
                if process["name"] == name and process["state"] == "ready" and process["pid"] != before:
                    return int(process["pid"])
            return 0

        return await until(is_back, what=f"{name} is back", seconds=seconds)
