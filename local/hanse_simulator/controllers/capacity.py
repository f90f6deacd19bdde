"""What nodes have and what Pods take: requests, taints, and whether a Pod fits. Pure functions.

Rules as kube-scheduler's NodeResourcesFit, TaintToleration, NodeUnschedulable and NodeAffinity (its
nodeSelector and required terms); Pod affinity and topology spread are not simulated.

Next: `hanse_simulator.controllers.scheduling`, which keeps the sums and decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hanse.errors import InvalidArgumentError
from hanse.kube.model.objects import Object, labels_of, mapping, name_of, sequence
from hanse.kube.model.quantity import Quantity
from hanse.kube.model.selectors import LabelSelector
from hanse_simulator.world import is_true

_DEFAULT_CPU, _DEFAULT_MEMORY = 100, 200 * 2**20
"""What a Pod without requests counts for when nodes are compared. As kube-scheduler's non-zero requests."""


@dataclass(frozen=True, slots=True)
class Amount:
    """CPU in thousandths of a core, memory in bytes, and a number of Pods."""

    cpu: int = 0
    memory: int = 0
    pods: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.cpu + other.cpu, self.memory + other.memory, self.pods + other.pods)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.cpu - other.cpu, self.memory - other.memory, self.pods - other.pods)

    @classmethod
    def parse(cls, resources: Mapping[str, Any], *, pods: int = 0) -> Amount:
        """Read `cpu` and `memory` of a resource list; what is absent is 0."""
        return cls(
            Quantity.parse(resources.get("cpu", 0)).milli(),
            Quantity.parse(resources.get("memory", 0)).as_int(),
            pods,
        )


def requested(pod: Object) -> Amount:
    """Return what a Pod takes: the sum of its containers, at least the most of an init container."""
    total, most = Amount(), Amount()
    for container in sequence(pod, "spec", "containers"):
        total += _request(container)
    for container in sequence(pod, "spec", "initContainers"):
        amount = _request(container)
        if container.get("restartPolicy") == "Always":
            total += amount
        most = Amount(max(most.cpu, amount.cpu), max(most.memory, amount.memory))
    overhead = Amount.parse(mapping(pod, "spec", "overhead"))
    return Amount(max(total.cpu, most.cpu), max(total.memory, most.memory), 1) + overhead


def _request(container: Mapping[str, Any]) -> Amount:
    resources = mapping(container, "resources")
    return Amount.parse({**(resources.get("limits") or {}), **(resources.get("requests") or {})})


def allocatable(node: Object) -> Amount:
    """Return what a node has for Pods."""
    found = mapping(node, "status", "allocatable")
    return Amount.parse(found, pods=Quantity.parse(found.get("pods", 0)).as_int())


def refusal(pod: Object, node: Object, *, used: Amount) -> str:
    """Return why a node does not take a Pod, in kube-scheduler's words; "" if it does."""
    if not is_true(node, "Ready"):
        return "node(s) were not ready"
    if mapping(node, "spec").get("unschedulable"):
        return "node(s) were unschedulable"
    taint = untolerated(pod, node)
    if taint:
        return f"node(s) had untolerated taint {{{taint}}}"
    if not selected(pod, node):
        return "node(s) didn't match Pod's node affinity/selector"
    have, wanted = allocatable(node), used + requested(pod)
    if wanted.pods > have.pods:
        return "Too many pods"
    if wanted.cpu > have.cpu and wanted.cpu > used.cpu:
        return "Insufficient cpu"
    if wanted.memory > have.memory and wanted.memory > used.memory:
        return "Insufficient memory"
    return ""


def untolerated(pod: Object, node: Object, *, extra: Iterable[Mapping[str, Any]] = ()) -> str:
    """Return the first taint that keeps a Pod off a node, as key or key: value; "" if none does."""
    tolerations = [*sequence(pod, "spec", "tolerations"), *extra]
    for taint in sequence(node, "spec", "taints"):
        if taint.get("effect") == "PreferNoSchedule":
            continue
        if not any(_tolerates(toleration, taint) for toleration in tolerations):
            value = taint.get("value")
            return f"{taint.get('key')}: {value}" if value else f"{taint.get('key')}: "
    return ""


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    effect, key = toleration.get("effect"), toleration.get("key")
    if effect and effect != taint.get("effect"):
        return False
    if toleration.get("operator") == "Exists":
        return not key or key == taint.get("key")
    return key == taint.get("key") and (toleration.get("value") or "") == (taint.get("value") or "")


def selected(pod: Object, node: Object) -> bool:
    """Report whether a Pod's nodeSelector and required node affinity allow a node."""
    labels = labels_of(node)
    if any(labels.get(k) != v for k, v in mapping(pod, "spec", "nodeSelector").items()):
        return False
    required = mapping(
        pod, "spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"
    )
    terms = sequence(required, "nodeSelectorTerms")
    return not required or any(_term(term, node) for term in terms)


def _term(term: Mapping[str, Any], node: Object) -> bool:
    expressions, fields = sequence(term, "matchExpressions"), sequence(term, "matchFields")
    if not expressions and not fields:
        return False
    try:
        by_labels = LabelSelector.from_object({"matchExpressions": expressions})
        by_name = LabelSelector.from_object(
            {"matchExpressions": [{**field, "key": "name"} for field in fields]}
        )
    except InvalidArgumentError:
        return False
    return by_labels.matches(labels_of(node)) and by_name.matches({"name": name_of(node)})


def crowding(pod: Object, node: Object, *, used: Amount) -> float:
    """Return how full a node would be with a Pod, from 0 to 1 and more: the fullest of its resources.

    A Pod without requests counts as kube-scheduler's default, so that such Pods spread too.
    """
    wanted, have = requested(pod), allocatable(node)
    shares = (
        (used.cpu + (wanted.cpu or _DEFAULT_CPU), have.cpu),
        (used.memory + (wanted.memory or _DEFAULT_MEMORY), have.memory),
        (used.pods + 1, have.pods),
    )
    return max(taken / total if total else 1.0 for taken, total in shares)
