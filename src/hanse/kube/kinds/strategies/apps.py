"""Workloads without an end: Deployments, ReplicaSets, StatefulSets, DaemonSets and the old controller.

Pure functions, and the strategies made of them. Next: `hanse.kube.kinds.strategies.kubernetes`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from hanse.kube.kinds.fields.cells import (
    NONE,
    columns,
    labels_text,
    number,
    selector_text,
    template_texts,
    wanted_replicas,
)
from hanse.kube.kinds.fields.filling import dicts, ensure, fill, fill_texts, section
from hanse.kube.kinds.fields.pod_defaults import default_template
from hanse.kube.kinds.fields.rules import (
    negative_errors,
    rolling_errors,
    selected_template_errors,
    template_errors,
)
from hanse.kube.kinds.kubernetes import apps, core
from hanse.kube.kinds.strategies.storage import default_claim
from hanse.kube.kinds.strategy import Cell, Strategy
from hanse.kube.merge.typed import same
from hanse.kube.model.fielderrors import FieldError, forbidden, invalid, not_supported, required
from hanse.kube.model.names import label_problems
from hanse.kube.model.objects import Object, child, mapping, name_of, sequence

_STATEFUL_SET_FREE = frozenset(
    {
        "minReadySeconds",
        "ordinals",
        "persistentVolumeClaimRetentionPolicy",
        "replicas",
        "revisionHistoryLimit",
        "template",
        "updateStrategy",
    }
)


def _default_deployment(obj: Object) -> None:
    spec = ensure(obj, "spec")
    default_template(spec)
    fill(spec, {"replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600})
    strategy = ensure(spec, "strategy")
    strategy["type"] = strategy.get("type") or "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        fill(ensure(strategy, "rollingUpdate"), {"maxUnavailable": "25%", "maxSurge": "25%"})


def _default_replica_set(obj: Object) -> None:
    spec = ensure(obj, "spec")
    default_template(spec)
    spec.setdefault("replicas", 1)


def _default_replication_controller(obj: Object) -> None:
    _default_replica_set(obj)
    labels = section(section(section(obj["spec"], "template"), "metadata"), "labels")
    if labels:
        obj["spec"]["selector"] = obj["spec"].get("selector") or dict(labels)
        metadata = ensure(obj, "metadata")
        metadata["labels"] = metadata.get("labels") or dict(labels)


def _default_stateful_set(obj: Object) -> None:
    spec = ensure(obj, "spec")
    default_template(spec)
    fill_texts(spec, {"podManagementPolicy": "OrderedReady"})
    fill(spec, {"replicas": 1, "revisionHistoryLimit": 10})
    strategy = ensure(spec, "updateStrategy")
    strategy["type"] = strategy.get("type") or "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        ensure(strategy, "rollingUpdate").setdefault("partition", 0)
    policy = ensure(spec, "persistentVolumeClaimRetentionPolicy")
    fill_texts(policy, {"whenDeleted": "Retain", "whenScaled": "Retain"})
    for claim in dicts(spec, "volumeClaimTemplates"):
        fill(claim, {"apiVersion": "v1", "kind": core.PERSISTENT_VOLUME_CLAIM.name})
        default_claim(claim)


def _default_daemon_set(obj: Object) -> None:
    spec = ensure(obj, "spec")
    default_template(spec)
    spec.setdefault("revisionHistoryLimit", 10)
    strategy = ensure(spec, "updateStrategy")
    strategy["type"] = strategy.get("type") or "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        fill(ensure(strategy, "rollingUpdate"), {"maxUnavailable": 1, "maxSurge": 0})


def _deployment_errors(obj: Object) -> Iterator[FieldError]:
    yield from selected_template_errors(obj, "deployment")
    spec = mapping(obj, "spec")
    strategy = mapping(spec, "strategy")
    kind = strategy.get("type")
    if kind not in (None, "Recreate", "RollingUpdate"):
        yield not_supported("spec.strategy.type", kind, ("Recreate", "RollingUpdate"))
    rolling = strategy.get("rollingUpdate")
    if kind == "Recreate" and rolling is not None:
        yield forbidden(
            "spec.strategy.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'"
        )
    elif isinstance(rolling, dict):
        yield from rolling_errors(rolling, "spec.strategy.rollingUpdate")
    deadline, ready = spec.get("progressDeadlineSeconds"), spec.get("minReadySeconds", 0)
    if isinstance(deadline, int) and deadline <= ready:
        yield invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")


def _replica_set_errors(obj: Object) -> Iterator[FieldError]:
    yield from selected_template_errors(obj, "replicaset")


def _replication_controller_errors(obj: Object) -> Iterator[FieldError]:
    spec = mapping(obj, "spec")
    yield from negative_errors(spec, "replicas", "minReadySeconds")
    selector, labels = mapping(spec, "selector"), mapping(spec, "template", "metadata", "labels")
    if not selector:
        yield required("spec.selector")
    if spec.get("template") is None:
        yield required("spec.template")
    elif not selector.items() <= labels.items():
        yield invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
    yield from template_errors(spec, "spec", ("Always",))


def _controller_revision_errors(obj: Object) -> Iterator[FieldError]:
    yield from negative_errors(obj, "revision", path="")
    if obj.get("data") is None:
        yield required("data", "data is mandatory")


def _stateful_set_name_errors(obj: Object) -> Iterator[FieldError]:
    for problem in label_problems(name_of(obj)) if name_of(obj) else ():
        yield invalid("metadata.name", name_of(obj), problem)


def _stateful_set_errors(obj: Object) -> Iterator[FieldError]:
    yield from selected_template_errors(obj, "statefulset")
    spec = mapping(obj, "spec")
    if spec.get("serviceName"):
        for problem in label_problems(spec["serviceName"]):
            yield invalid("spec.serviceName", spec["serviceName"], problem)
    yield from negative_errors(mapping(spec, "ordinals"), "start", path="spec.ordinals")
    retention = mapping(spec, "persistentVolumeClaimRetentionPolicy")
    for field in ("whenDeleted", "whenScaled"):
        if retention.get(field) not in (None, "Delete", "Retain"):
            where = f"spec.persistentVolumeClaimRetentionPolicy.{field}"
            yield not_supported(where, retention[field], ("Retain", "Delete"))
    rolling = mapping(spec, "updateStrategy").get("rollingUpdate")
    where = "spec.updateStrategy.rollingUpdate"
    if isinstance(rolling, dict):
        if child(spec, "updateStrategy", "type") == "OnDelete":
            yield invalid(where, rolling, "only allowed for updateStrategy 'RollingUpdate'")
        yield from negative_errors(rolling, "partition", path=where)
        if rolling.get("maxUnavailable") is not None:
            yield from rolling_errors({"maxUnavailable": rolling["maxUnavailable"]}, where)
            if rolling["maxUnavailable"] in (0, "0%"):
                yield invalid(f"{where}.maxUnavailable", rolling["maxUnavailable"], "cannot be 0")
    policy = spec.get("podManagementPolicy")
    if policy not in (None, "OrderedReady", "Parallel"):
        yield not_supported("spec.podManagementPolicy", policy, ("OrderedReady", "Parallel"))
    kind = child(spec, "updateStrategy", "type")
    if kind not in (None, "RollingUpdate", "OnDelete"):
        yield not_supported("spec.updateStrategy.type", kind, ("RollingUpdate", "OnDelete"))


def _daemon_set_errors(obj: Object) -> Iterator[FieldError]:
    yield from selected_template_errors(obj, "daemonset")
    strategy = mapping(obj, "spec", "updateStrategy")
    kind = strategy.get("type")
    if kind not in (None, "RollingUpdate", "OnDelete"):
        yield not_supported("spec.updateStrategy.type", kind, ("RollingUpdate", "OnDelete"))
    rolling = strategy.get("rollingUpdate")
    if isinstance(rolling, dict) and kind != "OnDelete":
        where = "spec.updateStrategy.rollingUpdate"
        yield from rolling_errors(rolling, where, surge_bounded=True)
        if not {rolling.get("maxSurge"), rolling.get("maxUnavailable")} & {0, "0%"}:
            message = "may not be set when maxUnavailable is non-zero"
            yield invalid(f"{where}.maxSurge", rolling.get("maxSurge"), message)


def _stateful_set_changes(old: Object, new: Object) -> Iterator[FieldError]:
    before = {k: v for k, v in mapping(old, "spec").items() if k not in _STATEFUL_SET_FREE}
    after = {k: v for k, v in mapping(new, "spec").items() if k not in _STATEFUL_SET_FREE}
    for spec in (before, after):
        spec["volumeClaimTemplates"] = [
            {k: v for k, v in claim.items() if k != "status"}
            for claim in sequence(spec, "volumeClaimTemplates")
        ]
    if not same(before, after):
        yield forbidden(
            "spec",
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "
            "'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and "
            "'minReadySeconds' are forbidden",
        )


def _deployment_row(obj: Object, now: datetime) -> Sequence[Cell]:
    return (
        f"{number(obj, 'status', 'readyReplicas')}/{wanted_replicas(obj)}",
        number(obj, "status", "updatedReplicas"),
        number(obj, "status", "availableReplicas"),
        *template_texts(obj),
        selector_text(mapping(obj, "spec").get("selector")),
    )


def _replica_set_row(obj: Object, now: datetime) -> Sequence[Cell]:
    return (
        wanted_replicas(obj),
        number(obj, "status", "replicas"),
        number(obj, "status", "readyReplicas"),
        *template_texts(obj),
        selector_text(mapping(obj, "spec").get("selector")),
    )


def _replication_controller_row(obj: Object, now: datetime) -> Sequence[Cell]:
    return (
        wanted_replicas(obj),
        number(obj, "status", "replicas"),
        number(obj, "status", "readyReplicas"),
        *template_texts(obj),
        labels_text(mapping(obj, "spec", "selector")),
    )


def _stateful_set_row(obj: Object, now: datetime) -> Sequence[Cell]:
    return f"{number(obj, 'status', 'readyReplicas')}/{wanted_replicas(obj)}", *template_texts(obj)


def _daemon_set_row(obj: Object, now: datetime) -> Sequence[Cell]:
    return (
        number(obj, "status", "desiredNumberScheduled"),
        number(obj, "status", "currentNumberScheduled"),
        number(obj, "status", "numberReady"),
        number(obj, "status", "updatedNumberScheduled"),
        number(obj, "status", "numberAvailable"),
        labels_text(mapping(obj, "spec", "template", "spec", "nodeSelector")),
        *template_texts(obj),
        selector_text(mapping(obj, "spec").get("selector")),
    )


def _controller_revision_row(obj: Object, now: datetime) -> Sequence[Cell]:
    owner = next((o for o in sequence(obj, "metadata", "ownerReferences") if o.get("controller")), None)
    shown = f"{str(owner.get('kind', '')).lower()}.apps/{owner.get('name')}" if owner else NONE
    return shown, number(obj, "revision")


STRATEGIES: Final = {
    apps.CONTROLLER_REVISION: Strategy(
        rules=_controller_revision_errors,
        table=columns("Controller,Revision#,Age", _controller_revision_row),
    ),
    apps.DAEMON_SET: Strategy(
        defaults=_default_daemon_set,
        rules=_daemon_set_errors,
        immutable=("spec.selector",),
        table=columns(
            "Desired#,Current#,Ready#,Up-to-date#,Available#,Node Selector,Age,Containers*,Images*,Selector*",
            _daemon_set_row,
        ),
    ),
    apps.DEPLOYMENT: Strategy(
        defaults=_default_deployment,
        rules=_deployment_errors,
        immutable=("spec.selector",),
        table=columns("Ready,Up-to-date#,Available#,Age,Containers*,Images*,Selector*", _deployment_row),
    ),
    apps.REPLICA_SET: Strategy(
        defaults=_default_replica_set,
        rules=_replica_set_errors,
        immutable=("spec.selector",),
        table=columns("Desired#,Current#,Ready#,Age,Containers*,Images*,Selector*", _replica_set_row),
    ),
    apps.STATEFUL_SET: Strategy(
        defaults=_default_stateful_set,
        rules=_stateful_set_errors,
        create_rules=_stateful_set_name_errors,
        update_rules=_stateful_set_changes,
        table=columns("Ready,Age,Containers*,Images*", _stateful_set_row),
    ),
    core.REPLICATION_CONTROLLER: Strategy(
        defaults=_default_replication_controller,
        rules=_replication_controller_errors,
        table=columns(
            "Desired#,Current#,Ready#,Age,Containers*,Images*,Selector*", _replication_controller_row
        ),
    ),
}
"""The strategies of the kinds that have one."""
