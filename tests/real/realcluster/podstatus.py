"""What a kubelet would report of a pod, as bodies for the status subresource. Pure functions."""

import datetime

from .api import Json

ENDED = frozenset({"Succeeded", "Failed"})


def owner_kind(pod: Json) -> str:
    """The kind of the controller that owns a pod, or nothing."""
    owners = pod["metadata"].get("ownerReferences", [])
    return next((str(owner["kind"]) for owner in owners if owner.get("controller")), "")


def running(pod: Json, *, ip: str, host_ip: str) -> Json:
    """All containers run and are ready."""
    now = timestamp()
    state = {"running": {"startedAt": now}}
    return _status(pod, "Running", now, ready=True, ip=ip, host_ip=host_ip, state=state)


def succeeded(pod: Json, *, ip: str, host_ip: str) -> Json:
    """All containers ended with 0."""
    return _ended(pod, "Succeeded", ip=ip, host_ip=host_ip)


def failed(pod: Json, *, ip: str, host_ip: str) -> Json:
    """All containers were stopped before they had done their work."""
    return _ended(pod, "Failed", ip=ip, host_ip=host_ip)


def image_missing(pod: Json, *, ip: str, host_ip: str) -> Json:
    """The images cannot be pulled."""
    state = {"waiting": {"reason": "ImagePullBackOff", "message": "played for a test"}}
    return _status(pod, "Pending", timestamp(), ready=False, ip=ip, host_ip=host_ip, state=state)


def unschedulable(pod: Json, message: str) -> Json:
    """No node takes the pod; the scheduler's report."""
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return {"status": {"phase": "Pending", "conditions": [condition]}}


def timestamp() -> str:
    """Now, as Kubernetes writes it."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _ended(pod: Json, phase: str, *, ip: str, host_ip: str) -> Json:
    now = timestamp()
    code, reason = (0, "Completed") if phase == "Succeeded" else (143, "Error")
    started = pod.get("status", {}).get("startTime", now)
    state = {"terminated": {"exitCode": code, "reason": reason, "startedAt": started, "finishedAt": now}}
    return _status(pod, phase, now, ready=False, ip=ip, host_ip=host_ip, state=state)


def _status(pod: Json, phase: str, now: str, *, ready: bool, ip: str, host_ip: str, state: Json) -> Json:
    answers = {"PodScheduled": True, "PodReadyToStartContainers": phase == "Running", "Initialized": True}
    answers |= {"ContainersReady": ready, "Ready": ready}
    because = {} if ready else {"reason": "PodCompleted" if phase == "Succeeded" else "ContainersNotReady"}
    conditions = [
        {"type": kind, "status": str(yes), "lastTransitionTime": now, **({} if yes else because)}
        for kind, yes in answers.items()
    ]
    status = {
        "phase": phase,
        "conditions": conditions,
        "hostIP": host_ip,
        "hostIPs": [{"ip": host_ip}],
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "startTime": pod.get("status", {}).get("startTime", now),
        "containerStatuses": [_container(each, state, ready=ready) for each in pod["spec"]["containers"]],
    }
    if initial := pod["spec"].get("initContainers"):
        status["initContainerStatuses"] = [_initial(each, state, now, ready=ready) for each in initial]
    return {"status": status}


def _initial(container: Json, state: Json, now: str, *, ready: bool) -> Json:
    if container.get("restartPolicy") == "Always":  # a sidecar lives as long as the pod
        return _container(container, state, ready=ready)
    done = {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}
    return _container(container, {"terminated": done}, ready=True)


def _container(container: Json, state: Json, *, ready: bool) -> Json:
    return {
        "name": container["name"],
        "image": container["image"],
        "imageID": "" if "waiting" in state else f"none://{container['image']}",
        "containerID": "",
        "ready": ready,
        "started": "running" in state,
        "restartCount": 0,
        "state": state,
    }
