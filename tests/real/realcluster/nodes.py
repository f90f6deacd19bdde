"""The nodes of a cluster that has none: their manifests, and which pod goes where.

No I/O. `Nodes` is the scheduler's memory: what each node can hold and what is on it. It knows requests of
CPU and memory, the number of pods, `nodeSelector`, cordoned nodes and the node affinity by which a
DaemonSet names its node; it does not know taints, pod affinity, spreading, volumes or priorities. The
next module is `podreadier`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from .api import Json

SUFFIXES = {
    "m": Decimal("0.001"),
    "": Decimal(1),
    "k": Decimal(1000),
    "M": Decimal(1000) ** 2,
    "G": Decimal(1000) ** 3,
    "T": Decimal(1000) ** 4,
    "Ki": Decimal(1024),
    "Mi": Decimal(1024) ** 2,
    "Gi": Decimal(1024) ** 3,
    "Ti": Decimal(1024) ** 4,
}


def quantity(text: str | int) -> Decimal:
    """A Kubernetes quantity such as `250m`, `4` or `8Gi` in cores or bytes."""
    text = str(text)
    number = text.rstrip("mkMGTi")
    return Decimal(number) * SUFFIXES[text[len(number) :]]


@dataclass(frozen=True)
class Amount:
    """CPU in cores, memory in bytes, and a number of pods."""

    cpu: Decimal = Decimal(0)
    memory: Decimal = Decimal(0)
    pods: Decimal = Decimal(0)

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(self.cpu + other.cpu, self.memory + other.memory, self.pods + other.pods)

    def __sub__(self, other: "Amount") -> "Amount":
        return Amount(self.cpu - other.cpu, self.memory - other.memory, self.pods - other.pods)

    def lacks(self, wanted: "Amount") -> str:
        """What of `wanted` there is too little of, in the scheduler's words, or nothing."""
        if self.pods < wanted.pods:
            return "Too many pods"
        if self.cpu < wanted.cpu:
            return "Insufficient cpu"
        return "Insufficient memory" if self.memory < wanted.memory else ""


def amount(resources: Json) -> Amount:
    """A resource list such as `status.allocatable`."""
    return Amount(
        quantity(resources.get("cpu", 0)),
        quantity(resources.get("memory", 0)),
        quantity(resources.get("pods", 0)),
    )


def requested(pod: Json) -> Amount:
    """What a pod asks for; init containers that end are not counted."""
    total = Amount(pods=Decimal(1))
    for container in pod["spec"]["containers"]:
        total += amount(container.get("resources", {}).get("requests", {}))
    return total


def node_manifest(name: str, *, region: str, zone: str) -> Json:
    """A Node without the taint that keeps pods off until a kubelet reports."""
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "topology.kubernetes.io/region": region,
        "topology.kubernetes.io/zone": zone,
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {"providerID": f"test://{region}/{zone}/{name}"},
    }


def node_status(name: str, *, address: str, version: str, allocatable: dict[str, str]) -> Json:
    """The status of a Node whose kubelet is well."""
    return {
        "status": {
            "capacity": allocatable,
            "allocatable": allocatable,
            "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
            "conditions": [
                {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "played for a test"}
            ],
            "nodeInfo": {
                "architecture": "amd64",
                "bootID": "",
                "containerRuntimeVersion": "none://0",
                "kernelVersion": "",
                "kubeProxyVersion": version,
                "kubeletVersion": version,
                "machineID": name,
                "operatingSystem": "linux",
                "osImage": "none",
                "systemUUID": name,
            },
        }
    }


@dataclass
class Nodes:
    """What each node can hold and what is on it; `place` chooses."""

    _nodes: dict[str, Json] = field(default_factory=dict)
    _used: dict[str, Amount] = field(default_factory=dict)
    _placed: dict[str, tuple[str, Amount]] = field(default_factory=dict)

    def replace(self, nodes: Sequence[Json]) -> None:
        """These are all nodes."""
        self._nodes = {node["metadata"]["name"]: node for node in nodes}

    def change(self, kind: str, node: Json) -> None:
        """A node came, changed or went."""
        if kind == "DELETED":
            self._nodes.pop(node["metadata"]["name"], None)
        else:
            self._nodes[node["metadata"]["name"]] = node

    def hold(self, key: str, node: str, wanted: Amount) -> None:
        """The pod `key` is on `node`."""
        if key not in self._placed:
            self._placed[key] = (node, wanted)
            self._used[node] = self._used.get(node, Amount()) + wanted

    def release(self, key: str) -> bool:
        """The pod `key` is nowhere any more; whether that made room."""
        placed = self._placed.pop(key, None)
        if placed is None:
            return False
        node, wanted = placed
        self._used[node] -= wanted
        return True

    def keys(self) -> set[str]:
        """The pods that are on a node."""
        return set(self._placed)

    def address(self, name: str) -> str:
        """The address of a node, for `status.hostIP`."""
        addresses = self._nodes.get(name, {}).get("status", {}).get("addresses", [])
        return next((each["address"] for each in addresses if each["type"] == "InternalIP"), "10.0.0.1")

    def place(self, pod: Json) -> tuple[str, str]:
        """The node with the fewest pods that takes this one, or no node and the scheduler's reason."""
        wanted = requested(pod)
        refusals: dict[str, int] = {}
        best: tuple[Decimal, str] | None = None
        for name, node in self._nodes.items():
            used = self._used.get(name, Amount())
            refusal = _mismatch(pod, node) or (_room(node) - used).lacks(wanted)
            if refusal:
                refusals[refusal] = refusals.get(refusal, 0) + 1
            elif best is None or (used.pods, name) < best:
                best = (used.pods, name)
        if best is not None:
            return best[1], ""
        reasons = ", ".join(f"{count} {refusal}" for refusal, count in sorted(refusals.items()))
        return "", f"0/{len(self._nodes)} nodes are available: {reasons or 'no nodes'}."


def _room(node: Json) -> Amount:
    return amount(node.get("status", {}).get("allocatable", {}))


def _mismatch(pod: Json, node: Json) -> str:
    if node["spec"].get("unschedulable"):
        return "node(s) were unschedulable"
    labels = node["metadata"].get("labels", {})
    selector = pod["spec"].get("nodeSelector", {})
    if any(labels.get(key) != value for key, value in selector.items()):
        return "node(s) didn't match Pod's node affinity/selector"
    named = named_node(pod)
    if named and named != node["metadata"]["name"]:
        return "node(s) didn't match Pod's node affinity/selector"
    return ""


def named_node(pod: Json) -> str:
    """The node that the affinity of a DaemonSet's pod names, if it is one."""
    affinity = pod["spec"].get("affinity", {}).get("nodeAffinity", {})
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {})
    for term in required.get("nodeSelectorTerms", []):
        for match in term.get("matchFields", []):
            if match["key"] == "metadata.name" and match["operator"] == "In":
                return str(match["values"][0])
    return ""
