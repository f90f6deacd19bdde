"""How an object fares in one cluster, in the words of its kind.

Owns what is said of health, ready Pods, endpoints and a Job's completions. Pure functions.

Next: `hanse_cli.commands.page`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement
from hanse.api.syncer.v1.sync_state_pb2 import Health, SyncState
from hanse.messages import word_of
from hanse_cli.commands.objects import get, group_kind

_JOB = ("batch", "Job")
_SERVICE = ("", "Service")


def live_words(
    state: SyncState | None, *, manifest: Mapping[str, Any], placed: ClusterPlacement
) -> list[str]:
    """Such as `healthy` and `2/3 ready`; nothing if it is not known. `manifest` is the federated object."""
    if state is None or not state.health:
        return []
    kind = group_kind(manifest)
    words = _job_words(state, manifest=manifest, placed=placed) if kind == _JOB else _words(state)
    if kind == _SERVICE and get(manifest, "spec.type") != "ExternalName":
        endpoints = sum(each.ready for each in state.ready_endpoints)
        words.append(f"{endpoints or 'no'} ready endpoint{'' if endpoints == 1 else 's'}")
    if state.unschedulable_pods:
        pods = state.unschedulable_pods
        words.append("1 pod finds no room" if pods == 1 else f"{pods} pods find no room")
    if state.refused_pods:
        pods = state.refused_pods
        words.append("1 pod is refused there" if pods == 1 else f"{pods} pods are refused there")
    return words


def times(number: int) -> str:
    """`once`, `2 times`."""
    return "once" if number == 1 else f"{number} times"


def _words(state: SyncState) -> list[str]:
    words = [word_of(Health.DESCRIPTOR, state.health).lower()]
    if state.HasField("replicas"):
        words.append(f"{_status(state).get('readyReplicas', 0)}/{state.replicas} ready")
    return words


def _job_words(state: SyncState, *, manifest: Mapping[str, Any], placed: ClusterPlacement) -> list[str]:
    """Return how far a Job is. One that has ended is neither healthy nor ready, but complete or failed."""
    status = _status(state)
    wanted = placed.completions if placed.HasField("completions") else get(manifest, "spec.completions")
    of = "" if wanted is None else f"/{wanted}"
    succeeded = f"{status.get('succeeded', 0)}{of} succeeded"
    for ending in ("Complete", "Failed"):
        if _holds(status, ending):
            return [ending.lower(), succeeded]
    return [
        word_of(Health.DESCRIPTOR, state.health).lower(),
        f"{status.get('ready', 0)}/{state.replicas} ready",
        succeeded,
    ]


def _holds(status: Mapping[str, Any], condition: str) -> bool:
    return any(
        each.get("type") == condition and each.get("status") == "True"
        for each in status.get("conditions") or ()
    )


def _status(state: SyncState) -> Mapping[str, Any]:
    """Return the member's status; empty if there is none that can be read."""
    try:
        status = json.loads(state.status or b"{}")
    except ValueError:
        return {}
    return status if isinstance(status, dict) else {}
