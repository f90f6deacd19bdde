"""`RealMembers`: three real control planes behind the protocol that the system suite asks for.

Owns a thread with an event loop in which the clusters and what is played for them live, so that the suite
stays synchronous.

Concurrency: one loop in one thread; every call from outside waits for its end there.
Next: `tests.real.realcluster`.
"""

import asyncio
import threading
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tests.real.realcluster import ClusterSpec, RealClusters
from tests.system.harness import NAMES, REGIONS, Federation
from tests.system.harness.members import labels

T = TypeVar("T")
SECONDS = 120.0
BROKEN_IMAGE = "registry.example/mirror/broken:1"
"""What no node can pull; simulated members know it by its name."""


class RealMembers:
    """Members that are real Kubernetes clusters."""

    simulated = 0

    def __init__(self, assets: Path, directory: Path, names: tuple[str, ...] = NAMES) -> None:
        self.names = names
        specs = [ClusterSpec(name, name, REGIONS[name]) for name in names]
        self._clusters = RealClusters(assets, directory, specs)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(SECONDS)

    def start(self) -> None:
        """Start the clusters in parallel."""
        self._thread.start()
        self._wait(self._clusters.__aenter__())
        for name in self.names:
            self._clusters[name].pods.broken_images.add(BROKEN_IMAGE)

    def join(self, federation: Federation) -> None:
        """`hanse join` each."""
        for name, path in self.kubeconfigs(federation).items():
            chosen = [word for item in labels(name).items() for word in ("--label", "=".join(item))]
            federation.hanse("join", name, "--cluster-kubeconfig", str(path), *chosen)

    def kubeconfigs(self, federation: Federation) -> Mapping[str, Path]:
        """The administrators' kubeconfigs."""
        return {name: self._clusters[name].kubeconfig_path for name in self.names}

    def lose(self, federation: Federation, name: str) -> None:
        """Kill its API server and controllers."""
        self._wait(self._clusters[name].stop(crash=True))

    def restore(self, federation: Federation, name: str) -> None:
        """Start them again."""
        self._wait(self._clusters[name].start())

    def freeze(self, federation: Federation, name: str) -> None:
        """Stop its processes where they are."""
        self._clusters[name].freeze()

    def thaw(self, federation: Federation, name: str) -> None:
        """Let them go on."""
        self._clusters[name].thaw()

    def stop(self) -> None:
        """End everything."""
        if not self._thread.is_alive():
            return
        try:
            self._wait(self._clusters.__aexit__(None, None, None))
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
            self._loop.close()
