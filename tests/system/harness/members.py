"""The clusters of a federation under test: simulated ones here, real ones in `tests.real`.

Owns how members come into the world, are lost, and return. Both kinds have the same names, regions, zones
and labels, so that one suite reads the same against both.

Concurrency: none. Next: `federation`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tests.support.machine.freezing import freeze, thaw

if TYPE_CHECKING:
    from .federation import Federation

NAMES = ("eu-west", "us-east", "on-prem")
REGIONS: Mapping[str, tuple[str, ...]] = {
    "eu-west": ("a", "b"),
    "us-east": ("a",),
    "on-prem": ("a",),
}
"""Regions and their zones: each member is a region of its own name."""


def labels(name: str) -> dict[str, str]:
    """The labels that a member joins with."""
    location = "on-prem" if name == "on-prem" else "cloud"
    return {"location": location, "topology.kubernetes.io/region": name}


class Members(Protocol):
    """Where the clusters of a federation come from."""

    simulated: int
    """For `hanse up --clusters`."""
    names: tuple[str, ...]
    """The members, in the order in which they join."""

    def start(self) -> None:
        """Run the clusters, before the federation is up."""

    def join(self, federation: Federation) -> None:
        """Join them, when the federation is up for the first time."""

    def kubeconfigs(self, federation: Federation) -> Mapping[str, Path]:
        """How to reach each member."""

    def lose(self, federation: Federation, name: str) -> None:
        """Let a member be unreachable, as if its machines had lost power."""

    def restore(self, federation: Federation, name: str) -> None:
        """Bring it back with its data."""

    def freeze(self, federation: Federation, name: str) -> None:
        """Let a member keep its connections and answer nothing."""

    def thaw(self, federation: Federation, name: str) -> None:
        """Let it go on."""

    def stop(self) -> None:
        """End the clusters, after the federation."""


class Simulated:
    """Members that `hanse up` runs itself."""

    def __init__(self, count: int = 3) -> None:
        self.simulated = count
        self.names = NAMES[:count]

    def start(self) -> None:
        """`hanse up` starts them."""

    def join(self, federation: Federation) -> None:
        """`hanse up` joins them."""

    def kubeconfigs(self, federation: Federation) -> Mapping[str, Path]:
        """As `hanse up` writes them."""
        return {name: federation.data_dir / "clusters" / f"{name}.kubeconfig" for name in self.names}

    def lose(self, federation: Federation, name: str) -> None:
        """`hanse sim stop`."""
        federation.hanse("sim", "stop", name)

    def restore(self, federation: Federation, name: str) -> None:
        """`hanse sim start`."""
        federation.hanse("sim", "start", name)

    def freeze(self, federation: Federation, name: str) -> None:
        """SIGSTOP."""
        freeze(federation.pid(f"sim-{name}"))

    def thaw(self, federation: Federation, name: str) -> None:
        """SIGCONT."""
        thaw(federation.pid(f"sim-{name}"))

    def stop(self) -> None:
        """`hanse down` stops them."""
