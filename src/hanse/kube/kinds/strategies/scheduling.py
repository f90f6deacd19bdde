"""What Pods run on, and how: priorities, runtimes, devices, leases.

Pure functions, and the strategies made of them. Next: `hanse.kube.kinds.strategies.kubernetes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from hanse.kube.kinds.fields.cells import columns
from hanse.kube.kinds.fields.filling import section
from hanse.kube.kinds.kubernetes.scheduling import DEVICE_TAINT_RULE, LEASE, PRIORITY_CLASS, RUNTIME_CLASS
from hanse.kube.kinds.strategy import Cell, Strategy
from hanse.kube.kinds.table import age
from hanse.kube.model.objects import Object, mapping
from hanse.kube.model.times import format_micro_time, parse_time


def _default_priority_class(obj: Object) -> None:
    obj.setdefault("preemptionPolicy", "PreemptLowerPriority")


def _default_lease(obj: Object) -> None:
    """Write times as kube-apiserver does, in microseconds, whatever a client sent."""
    spec = section(obj, "spec")
    if spec is None:
        return
    for name in ("acquireTime", "renewTime"):
        moment = parse_time(spec.get(name))
        if moment is not None:
            spec[name] = format_micro_time(moment)


def _lease_row(obj: Object, now: datetime) -> Sequence[Cell]:
    return (mapping(obj, "spec").get("holderIdentity", ""),)


def _priority_class_row(obj: Object, now: datetime) -> Sequence[Cell]:
    return (
        obj.get("value", 0),
        str(bool(obj.get("globalDefault"))).lower(),
        obj.get("preemptionPolicy", "PreemptLowerPriority"),
    )


def _runtime_class_row(obj: Object, now: datetime) -> Sequence[Cell]:
    return (obj.get("handler", ""),)


def _device_taint_rule_row(obj: Object, now: datetime) -> Sequence[Cell]:
    taint = mapping(obj, "spec", "taint")
    return (
        taint.get("key", ""),
        taint.get("value", ""),
        taint.get("effect", ""),
        age(taint.get("timeAdded"), now),
    )


STRATEGIES: Final = {
    DEVICE_TAINT_RULE: Strategy(table=columns("Key,Value,Effect,TimeAdded,Age", _device_taint_rule_row)),
    LEASE: Strategy(
        bare_finalizers=True,
        requires_version=True,
        defaults=_default_lease,
        table=columns("Holder,Age", _lease_row),
    ),
    PRIORITY_CLASS: Strategy(
        defaults=_default_priority_class,
        immutable=("value", "preemptionPolicy"),
        table=columns("Value#,Global-Default,Age,PreemptionPolicy*", _priority_class_row),
    ),
    RUNTIME_CLASS: Strategy(
        bare_finalizers=True, requires_version=True, table=columns("Handler,Age", _runtime_class_row)
    ),
}
"""The strategies of the kinds that have one."""
