"""The status that a kubelet reports for a Pod, at each stage of its life. Pure functions.

Next: `hanse_simulator.controllers.kubelet`, which decides when.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Any

from hanse.kube.model.objects import Object, mapping, sequence
from hanse_simulator.controllers.conditions import set_condition


def address_of(node: Object) -> str:
    """Return a node's internal address, "" if it has none."""
    for address in sequence(node, "status", "addresses"):
        if address.get("type") == "InternalIP":
            return str(address.get("address") or "")
    return ""


def broken_images(pod: Object, marker: str) -> frozenset[str]:
    """Return the images of a Pod that cannot be pulled: those that contain the marker."""
    if not marker:
        return frozenset()
    containers = [*sequence(pod, "spec", "initContainers"), *sequence(pod, "spec", "containers")]
    return frozenset(image for c in containers if marker in (image := str(c.get("image") or "")))


def runs(pod: Object) -> bool:
    """Report whether the status says that exactly the containers of the spec run."""
    wanted = [(c.get("name"), c.get("image")) for c in sequence(pod, "spec", "containers")]
    statuses = sequence(pod, "status", "containerStatuses")
    return wanted == [(s.get("name"), s.get("image")) for s in statuses] and all(
        mapping(s, "state").get("running") for s in statuses
    )


def scheduled(pod: Object, *, now: str) -> dict[str, Any]:
    """Return the status of a Pod that has a node, and no more."""
    conditions = set_condition(_conditions(pod), "PodScheduled", status=True, now=now)
    return {**mapping(pod, "status"), "conditions": conditions}


def unschedulable(pod: Object, message: str, *, now: str) -> dict[str, Any]:
    """Return the status of a Pod that no node takes."""
    conditions = set_condition(
        _conditions(pod), "PodScheduled", status=False, reason="Unschedulable", message=message, now=now
    )
    return {**mapping(pod, "status"), "phase": "Pending", "conditions": conditions}


def running(pod: Object, *, host_ip: str, pod_ip: str, now: str) -> dict[str, Any]:
    """Return the status of a Pod whose containers run and are ready."""
    conditions = _conditions(pod)
    for kind in ("PodScheduled", "PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready"):
        conditions = set_condition(conditions, kind, status=True, now=now)
    before = {s.get("name"): s for s in sequence(pod, "status", "containerStatuses")}
    containers = []
    for container in sequence(pod, "spec", "containers"):
        old = before.get(container["name"], {})
        changed = bool(mapping(old, "state").get("running")) and old.get("image") != container.get("image")
        restarts = int(old.get("restartCount") or 0) + (1 if changed else 0)
        state = {"running": {"startedAt": now}}
        containers.append(_container(pod, container, ready=True, restarts=restarts, state=state))
    return _status(
        pod, phase="Running", conditions=conditions, containers=containers, host_ip=host_ip, pod_ip=pod_ip,
        now=now, initialized=True,
    )  # fmt: skip


def pulling(pod: Object, broken: Collection[str], *, host_ip: str, pod_ip: str, now: str) -> dict[str, Any]:
    """Return the status of a Pod some of whose images cannot be pulled. It waits, and is not ready."""
    names = [c["name"] for c in sequence(pod, "spec", "containers") if str(c.get("image") or "") in broken]
    message = f"containers with unready status: [{' '.join(names)}]"
    init_broken = any(str(c.get("image") or "") in broken for c in sequence(pod, "spec", "initContainers"))
    conditions = set_condition(_conditions(pod), "PodScheduled", status=True, now=now)
    conditions = set_condition(conditions, "PodReadyToStartContainers", status=True, now=now)
    if init_broken:
        conditions = set_condition(
            conditions, "Initialized", status=False, reason="ContainersNotInitialized", now=now
        )
    else:
        conditions = set_condition(conditions, "Initialized", status=True, now=now)
    for kind in ("ContainersReady", "Ready"):
        conditions = set_condition(
            conditions, kind, status=False, reason="ContainersNotReady", message=message, now=now
        )
    containers = []
    for container in sequence(pod, "spec", "containers"):
        image = str(container.get("image") or "")
        if image in broken:
            why = f'Back-off pulling image "{image}"'
            state: dict[str, Any] = {"waiting": {"reason": "ImagePullBackOff", "message": why}}
            containers.append(_container(pod, container, ready=False, restarts=0, state=state))
        elif init_broken:
            state = {"waiting": {"reason": "PodInitializing"}}
            containers.append(_container(pod, container, ready=False, restarts=0, state=state))
        else:
            state = {"running": {"startedAt": _started(pod, container["name"]) or now}}
            containers.append(_container(pod, container, ready=True, restarts=0, state=state))
    return _status(
        pod, phase="Pending", conditions=conditions, containers=containers, host_ip=host_ip, pod_ip=pod_ip,
        now=now, initialized=not init_broken,
    )  # fmt: skip


def succeeded(pod: Object, *, now: str) -> dict[str, Any]:
    """Return the status of a Pod whose containers have all ended well."""
    status = mapping(pod, "status")
    conditions = _conditions(pod)
    for kind in ("PodReadyToStartContainers", "ContainersReady", "Ready"):
        reason = "" if kind == "PodReadyToStartContainers" else "PodCompleted"
        conditions = set_condition(conditions, kind, status=False, reason=reason, now=now)
    containers = []
    for container in sequence(status, "containerStatuses"):
        started = mapping(container, "state", "running").get("startedAt", now)
        ended = {"exitCode": 0, "reason": "Completed", "startedAt": started, "finishedAt": now}
        containers.append({**container, "ready": False, "started": False, "state": {"terminated": ended}})
    return {**status, "phase": "Succeeded", "conditions": conditions, "containerStatuses": containers}


def _conditions(pod: Object) -> list[dict[str, Any]]:
    return list(sequence(pod, "status", "conditions"))


def _started(pod: Object, container: str) -> str:
    for status in sequence(pod, "status", "containerStatuses"):
        if status.get("name") == container:
            return str(mapping(status, "state", "running").get("startedAt") or "")
    return ""


def _status(
    pod: Object,
    *,
    phase: str,
    conditions: list[dict[str, Any]],
    containers: list[dict[str, Any]],
    host_ip: str,
    pod_ip: str,
    now: str,
    initialized: bool,
) -> dict[str, Any]:
    old = mapping(pod, "status")
    status: dict[str, Any] = {
        "phase": phase,
        "conditions": conditions,
        "hostIP": host_ip,
        "hostIPs": [{"ip": host_ip}],
        "podIP": pod_ip,
        "podIPs": [{"ip": pod_ip}],
        "startTime": old.get("startTime") or now,
        "qosClass": qos_class(pod),
        "containerStatuses": containers,
    }
    init = sequence(pod, "spec", "initContainers")
    if init and initialized:
        done = {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}
        status["initContainerStatuses"] = old.get("initContainerStatuses") or [
            _container(pod, c, ready=True, restarts=0, state={"terminated": done}) for c in init
        ]
    elif init:
        waiting = {"waiting": {"reason": "ImagePullBackOff"}}
        status["initContainerStatuses"] = [
            _container(pod, c, ready=False, restarts=0, state=waiting) for c in init
        ]
    return status


def _container(
    pod: Object, container: dict[str, Any], *, ready: bool, restarts: int, state: dict[str, Any]
) -> dict[str, Any]:
    image = str(container.get("image") or "")
    result: dict[str, Any] = {
        "name": container["name"],
        "image": image,
        "imageID": "",
        "ready": ready,
        "started": ready,
        "restartCount": restarts,
        "state": state,
        "lastState": {},
    }
    if "waiting" not in state:
        result["imageID"] = f"{image.partition('@')[0]}@sha256:{_digest(image)}"
        result["containerID"] = f"simulated://{_digest(pod['metadata']['uid'], container['name'])}"
    return result


def qos_class(pod: Object) -> str:
    """Return a Pod's quality of service class, as Kubernetes derives it."""
    limits_all, requests_any = True, False
    for container in sequence(pod, "spec", "containers"):
        limits, requests = (
            mapping(container, "resources", "limits"),
            mapping(container, "resources", "requests"),
        )
        requests_any |= bool(limits.keys() & {"cpu", "memory"} or requests.keys() & {"cpu", "memory"})
        for name in ("cpu", "memory"):
            limits_all &= name in limits and requests.get(name, limits[name]) == limits[name]
    if not requests_any:
        return "BestEffort"
    return "Guaranteed" if limits_all else "Burstable"


def _digest(*parts: str) -> str:
    return hashlib.sha256("/".join(parts).encode()).hexdigest()
