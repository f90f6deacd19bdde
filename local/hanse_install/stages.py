"""In which order manifests are applied, and when what they make is there.

Owns the order, of the first run and of an upgrade: what all need, etcd, the rights in etcd, the apiserver,
the
other services. Each waits for the one that it asks; those that were not reached go on as they were, of the
release before. Owns too what is said of a workload that does not get ready, and why.

Pure functions.

Next: `hanse_install.installing`, which follows it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Manifest = dict[str, Any]
COMPONENT: Final = "app.kubernetes.io/component"
WORKLOADS: Final = ("Deployment", "StatefulSet", "Job")
_ORDER: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("etcd", ("etcd",)),
    ("the rights of services in etcd", ("etcd-roles",)),
    ("the apiserver", ("apiserver",)),
    ("registry, scheduler, syncer and dns", ("registry", "scheduler", "syncer", "dns")),
)
_STARTING: Final = frozenset({"ContainerCreating", "PodInitializing"})


@dataclass(frozen=True, slots=True)
class RolloutStage:
    """What is applied together and waited for."""

    title: str
    manifests: tuple[Manifest, ...]


def identity(manifest: Mapping[str, Any]) -> Manifest:
    """Return what names an object, as a manifest of its own."""
    meta = manifest["metadata"]
    namespace = {"namespace": meta["namespace"]} if meta.get("namespace") else {}
    return {
        "apiVersion": manifest["apiVersion"],
        "kind": manifest["kind"],
        "metadata": {"name": meta["name"], **namespace},
    }


def reference(manifest: Mapping[str, Any]) -> str:
    """Return an object as a person writes it."""
    group = manifest["apiVersion"].partition("/")[0] if "/" in manifest["apiVersion"] else ""
    kind = manifest["kind"].lower()
    return (
        f"{kind}.{group}/{manifest['metadata']['name']}"
        if group
        else f"{kind}/{manifest['metadata']['name']}"
    )


def stages(manifests: Iterable[Manifest]) -> list[RolloutStage]:
    """Return the stages in their order. The first has no workload."""
    everything = list(manifests)
    found = [
        RolloutStage("what all need", tuple(each for each in everything if each["kind"] not in WORKLOADS))
    ]
    workloads = [each for each in everything if each["kind"] in WORKLOADS]
    for title, components in _ORDER:
        own = tuple(each for each in workloads if _component(each) in components)
        if own:
            found.append(RolloutStage(title, own))
    known = {component for _, components in _ORDER for component in components}
    rest = tuple(each for each in workloads if _component(each) not in known)
    return [*found, RolloutStage("the rest", rest)] if rest else found


def _component(manifest: Mapping[str, Any]) -> str:
    return str(manifest["metadata"].get("labels", {}).get(COMPONENT, ""))


def job_digest(job: Mapping[str, Any]) -> str:
    """Return what alone decides what a Job does: its ConfigMaps have hashes in their names."""
    return hashlib.sha256(json.dumps(job["spec"], sort_keys=True).encode()).hexdigest()[:32]


def waits_for(workload: Mapping[str, Any]) -> str:
    """Return what a workload, as the host cluster has it, still waits for; empty if it is there and up to
    date.
    """
    status, spec = workload.get("status", {}), workload["spec"]
    if workload["kind"] == "Job":
        done = any(each["type"] == "Complete" and each["status"] == "True" for each in _conditions(workload))
        return "" if done else "has not ended"
    wanted = spec.get("replicas", 1)
    if status.get("observedGeneration", 0) < workload["metadata"].get("generation", 1):
        return "is not looked at yet"
    updated = status.get("updatedReplicas", 0)
    ready = status.get("availableReplicas", 0)
    if updated < wanted:
        return f"{updated} of {wanted} up to date"
    if ready < wanted:
        return f"{ready} of {wanted} ready"
    old = status.get("replicas", 0) - updated
    return f"{old} of the old ones still there" if old > 0 else ""


def failed(workload: Mapping[str, Any]) -> str:
    """Return why a workload will never get ready; empty if it may."""
    for each in _conditions(workload):
        if each["type"] == "Failed" and each["status"] == "True":
            return f"{each.get('reason', 'Failed')}: {each.get('message', '')}"
    return ""


def _conditions(manifest: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = manifest.get("status", {}).get("conditions") or ()
    return found


def reasons(
    workloads: Iterable[Mapping[str, Any]],
    pods: Iterable[Mapping[str, Any]],
    events: Iterable[Mapping[str, Any]],
) -> list[str]:
    """Return why workloads are not ready: what their Pods say, else what is refused, else the last warnings
    of theirs.
    """
    waiting = [each for each in workloads if waits_for(each)]
    components = {_component(each) for each in waiting}
    own = [each for each in pods if _component(each) in components]
    found = [reason for pod in own for reason in _of_pod(pod)]
    found += [
        f"{workload['metadata']['name']}: {each['reason']}: {each['message']}"
        for workload in waiting
        for each in _conditions(workload)
        if each["type"] == "ReplicaFailure" and each["status"] == "True"
    ]
    named = {each["metadata"]["name"] for each in (*own, *waiting)}
    warned = [
        f"{each['involvedObject']['name']}: {each['reason']}: {each.get('message', '')}"
        for each in sorted(events, key=lambda event: str(event.get("lastTimestamp") or ""))
        if each.get("type") == "Warning"
        and any(each["involvedObject"]["name"].startswith(name) for name in named)
    ]
    if not found:
        found = warned[-3:]
    return list(dict.fromkeys(" ".join(reason.split())[:300] for reason in found))


def _of_pod(pod: Mapping[str, Any]) -> Iterator[str]:
    name, status = pod["metadata"]["name"], pod.get("status", {})
    for each in _conditions(pod):
        if each["type"] == "PodScheduled" and each["status"] == "False":
            yield f"{name}: {each.get('reason')}: {each.get('message', '')}"
    for container in status.get("containerStatuses") or ():
        waiting = container.get("state", {}).get("waiting") or {}
        ended = container.get("lastState", {}).get("terminated") or {}
        if waiting and waiting.get("reason") not in _STARTING:
            last = f", it ended with status {ended.get('exitCode')}" if ended else ""
            told = waiting.get("message") or container.get("image", "")
            yield f"{name}: {waiting.get('reason')}: {told}{last}"
