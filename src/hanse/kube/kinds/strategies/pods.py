"""Pods and PodTemplates.

Pure functions, and the strategies made of them. Next: `hanse.kube.kinds.strategies.kubernetes`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from hanse.kube.kinds.fields.cells import NONE, columns
from hanse.kube.kinds.fields.pod_defaults import default_pod, default_template
from hanse.kube.kinds.fields.rules import label_errors
from hanse.kube.kinds.kubernetes.core import POD, POD_TEMPLATE
from hanse.kube.kinds.strategy import Cell, Strategy
from hanse.kube.kinds.types.pods import pod_spec
from hanse.kube.merge.typed import same
from hanse.kube.model.fielderrors import FieldError, forbidden
from hanse.kube.model.objects import Object, child, is_deleting, mapping, sequence


def _pod_errors(obj: Object) -> Iterator[FieldError]:
    yield from pod_spec(mapping(obj, "spec"), "spec", is_pod=True)


def _pod_creation_errors(obj: Object) -> Iterator[FieldError]:
    if sequence(obj, "spec", "ephemeralContainers"):
        yield forbidden("spec.ephemeralContainers", "cannot be set on create")
    if sequence(obj, "spec", "schedulingGates") and mapping(obj, "spec").get("nodeName"):
        yield forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared")


def _template_errors(obj: Object) -> Iterator[FieldError]:
    metadata = mapping(obj, "template", "metadata")
    yield from label_errors(mapping(metadata, "labels"), "template.metadata.labels")
    yield from pod_spec(mapping(obj, "template", "spec"), "template.spec")
    if sequence(obj, "template", "spec", "ephemeralContainers"):
        yield forbidden("template.spec.ephemeralContainers", "not allowed in pod template")


def _pod_changes(old: Object, new: Object) -> Iterator[FieldError]:
    if not same(_pod_frozen(old, old), _pod_frozen(new, old)):
        yield forbidden(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`,"
            "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions "
            "to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it "
            "was previously negative)",
        )


def _pod_frozen(pod: Object, old: Object) -> dict[str, Any]:
    free = ["activeDeadlineSeconds", "tolerations", "ephemeralContainers", "schedulingGates"]
    if not child(old, "spec", "nodeName"):
        free.append("nodeName")
    spec = {k: v for k, v in mapping(pod, "spec").items() if k not in free}
    for field in ("containers", "initContainers"):
        spec[field] = [
            {k: v for k, v in item.items() if k not in ("image", "resources")}
            for item in sequence(spec, field)
        ]
    return spec


def _pod_row(obj: Object, now: datetime) -> Sequence[Cell]:
    spec, status = mapping(obj, "spec"), mapping(obj, "status")
    statuses = sequence(status, "containerStatuses")
    ready = sum(1 for s in statuses if s.get("ready"))
    restarts = sum(int(s.get("restartCount") or 0) for s in statuses)
    gates = sequence(spec, "readinessGates")
    true = {c.get("type") for c in sequence(status, "conditions") if c.get("status") == "True"}
    met = sum(1 for g in gates if g.get("conditionType") in true)
    return (
        f"{ready}/{len(sequence(spec, 'containers'))}",
        _pod_status(obj),
        str(restarts),
        status.get("podIP") or NONE,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        f"{met}/{len(gates)}" if gates else NONE,
    )


def _pod_status(obj: Object) -> str:
    status = mapping(obj, "status")
    reason = str(status.get("reason") or status.get("phase") or "Unknown")
    for container in sequence(status, "containerStatuses"):
        state = mapping(container, "state")
        waiting = mapping(state, "waiting").get("reason")
        ended = mapping(state, "terminated")
        if waiting:
            reason = waiting
        elif ended:
            reason = ended.get("reason") or f"ExitCode:{ended.get('exitCode', 0)}"
    if is_deleting(obj):
        return "Unknown" if status.get("reason") == "NodeLost" else "Terminating"
    return reason


STRATEGIES: Final = {
    POD: Strategy(
        first_status={"phase": "Pending"},
        defaults=default_pod,
        rules=_pod_errors,
        create_rules=_pod_creation_errors,
        update_rules=_pod_changes,
        table=columns("Ready,Status,Restarts,Age,IP*,Node*,Nominated Node*,Readiness Gates*", _pod_row),
    ),
    POD_TEMPLATE: Strategy(defaults=default_template, rules=_template_errors),
}
"""The strategies of the kinds that have one."""
