"""`Standalone`: simulated members that are nobody's: with an etcd and processes of their own.

They live on while the federation and its data directory come and go, as clusters of other people do.

Concurrency: none; processes, which `stop` ends by their pids. Next: `members`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from tests.support.machine.freezing import freeze, thaw
from tests.support.stores.etcd import EtcdServer

from .members import NAMES, REGIONS, labels
from .waiting import until

if TYPE_CHECKING:
    from .federation import Federation


class Standalone:
    """Members that run beside the federation."""

    simulated = 0

    def __init__(
        self, folder: Path, count: int = 2, *, listen: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.names = NAMES[:count]
        self._folder = folder
        self._etcd = EtcdServer(folder / "etcd")
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ports = dict(listen)

    def start(self) -> None:
        """Run the clusters."""
        self._etcd.start()
        for name in self.names:
            self._spawn(name)

    def join(self, federation: Federation) -> None:
        """`hanse join` each."""
        for name, path in self.kubeconfigs(federation).items():
            chosen = [word for item in labels(name).items() for word in ("--label", "=".join(item))]
            federation.hanse("join", name, "--cluster-kubeconfig", str(path), *chosen)

    def kubeconfigs(self, federation: Federation) -> Mapping[str, Path]:
        """The administrators' kubeconfigs."""
        return {name: self._folder / f"{name}.kubeconfig" for name in self.names}

    def lose(self, federation: Federation, name: str) -> None:
        """kill -9."""
        self._processes[name].kill()
        self._processes.pop(name).wait()

    def restore(self, federation: Federation, name: str) -> None:
        """Start it again, at the same address."""
        self._spawn(name)

    def freeze(self, federation: Federation, name: str) -> None:
        """SIGSTOP."""
        freeze(self._processes[name].pid)

    def thaw(self, federation: Federation, name: str) -> None:
        """SIGCONT."""
        thaw(self._processes[name].pid)

    def stop(self) -> None:
        """End all."""
        for process in self._processes.values():
            process.kill()
            process.wait()
        self._processes.clear()
        self._etcd.stop()

    def _spawn(self, name: str) -> None:
        kubeconfig, ready = self._folder / f"{name}.kubeconfig", self._folder / f"{name}.json"
        ready.unlink(missing_ok=True)
        values = {
            "name": name,
            "region": name,
            "zones": ",".join(REGIONS[name]),
            "listen": self._ports.get(name, "127.0.0.1:0"),
            "etcd-endpoints": self._etcd.endpoint,
            "etcd-prefix": f"/members/{name}",
            "pki-dir": str(self._folder / name),
            "kubeconfig-file": str(kubeconfig),
            "ready-file": str(ready),
        }
        arguments = [f"--{key}={value}" for key, value in values.items()]
        with (self._folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "hanse_simulator", *arguments], stdout=log, stderr=log
            )
        self._processes[name] = process
        until(ready.exists, what=f"{name} is ready", seconds=40)
        server = next(line for line in kubeconfig.read_text().splitlines() if "server:" in line)
        self._ports[name] = server.rpartition("//")[2].strip()
