"""Which simulated clusters a federation has: their names, regions and zones.

Concurrency: values and pure functions.

Next: `hanse_local.federation`, which runs them.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_CLUSTERS = 100


@dataclass(frozen=True, slots=True)
class SimulatedCluster:
    """One simulated cluster. `joined` is whether it was joined once; what a user unjoined stays out."""

    name: str
    region: str
    zones: tuple[str, ...] = ("a",)
    joined: bool = False

    @property
    def labels(self) -> dict[str, str]:
        """Labels that it joins with, for cluster selectors to match."""
        location = "on-prem" if self.region == "on-prem" else "cloud"
        return {"location": location, "topology.kubernetes.io/region": self.region}

    @property
    def process(self) -> str:
        """Name of its process."""
        return f"sim-{self.name}"


_NAMED = (
    SimulatedCluster("eu-west", "eu-west", ("a", "b")),
    SimulatedCluster("us-east", "us-east"),
    SimulatedCluster("on-prem", "on-prem"),
    SimulatedCluster("ap-south", "ap-south"),
    SimulatedCluster("eu-north", "eu-north"),
    SimulatedCluster("us-west", "us-west"),
    SimulatedCluster("sa-east", "sa-east"),
    SimulatedCluster("af-south", "af-south"),
)


def default_clusters(count: int) -> tuple[SimulatedCluster, ...]:
    """Return the first `count` simulated clusters: always the same names in the same order.

    After the named ones come second clusters in the same regions, such as eu-west-2.
    """
    if not 0 <= count <= MAX_CLUSTERS:
        raise ValueError(f"the number of clusters is {count}: it must be from 0 to {MAX_CLUSTERS}")
    found: list[SimulatedCluster] = []
    for index in range(count):
        base = _NAMED[index % len(_NAMED)]
        turn = index // len(_NAMED)
        name = base.name if turn == 0 else f"{base.name}-{turn + 1}"
        found.append(SimulatedCluster(name, base.region, base.zones))
    return tuple(found)
