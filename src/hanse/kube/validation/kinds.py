"""The rules of single kinds that users hit: workloads, Services, ConfigMaps, Secrets, Ingresses and more.

Pure generators of `FieldError`, one per kind, with Kubernetes' messages. They expect right types and
defaults filled in; what they do not check, a member's own API server does.

Next: `validation`, which calls them; `validation_updates` for what may not change.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Callable, Iterator
from typing import Any

from hanse.errors import InvalidArgumentError
from hanse.kube.model.fielderrors import (
    FieldError,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    required,
    too_long,
)
from hanse.kube.model.names import (
    config_key_problems,
    label_problems,
    label_value_problems,
    qualified_name_problems,
)
from hanse.kube.model.objects import Object, child, mapping, name_of, sequence
from hanse.kube.model.selectors import LabelSelector
from hanse.kube.validation.crds import crd_errors
from hanse.kube.validation.pods import NOT_NEGATIVE, PORT_MESSAGE, is_port, pod_spec_errors
from hanse.numbers import whole_number

MAX_DATA = 1024 * 1024
"""Bytes that the values of a ConfigMap or Secret may have."""

MAX_LABELS = 1_000
"""Labels that one object may have; Kubernetes has no bound but the object's size."""

_SERVICE_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_SECRET_KEYS = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}


def label_errors(labels: dict[str, Any], path: str) -> Iterator[FieldError]:
    """Yield what is wrong with a map of labels."""
    if len(labels) > MAX_LABELS:
        yield FieldError(path, "FieldValueTooMany", f"must have at most {MAX_LABELS} items", len(labels))
        return
    for key, value in labels.items():
        for problem in qualified_name_problems(key):
            yield invalid(path, key, problem)
        for problem in label_value_problems(str(value)):
            yield invalid(path, value, problem)


def _negatives(spec: dict[str, Any], *fields: str, path: str = "spec") -> Iterator[FieldError]:
    for field in fields:
        value = spec.get(field)
        if isinstance(value, int) and value < 0:
            yield invalid(f"{path}.{field}", value, NOT_NEGATIVE)


def _template(spec: dict[str, Any], path: str, restart: tuple[str, ...]) -> Iterator[FieldError]:
    template = mapping(spec, "template")
    yield from label_errors(mapping(template, "metadata", "labels"), f"{path}.template.metadata.labels")
    pod = mapping(template, "spec")
    yield from pod_spec_errors(pod, f"{path}.template.spec")
    policy = pod.get("restartPolicy")
    if policy == "Always" and "Always" not in restart:
        listed = ", ".join(f'"{name}"' for name in restart)
        yield required(f"{path}.template.spec.restartPolicy", f"valid values: {listed}")
    elif policy is not None and policy not in restart:
        yield not_supported(f"{path}.template.spec.restartPolicy", policy, restart)


def _selected_template(obj: Object, kind: str) -> Iterator[FieldError]:
    spec = mapping(obj, "spec")
    yield from _negatives(spec, "replicas", "minReadySeconds", "revisionHistoryLimit")
    selector = spec.get("selector")
    if selector is None:
        yield required("spec.selector")
    elif not (selector.get("matchLabels") or selector.get("matchExpressions")):
        yield invalid("spec.selector", selector, f"empty selector is invalid for {kind}")
    else:
        labels = mapping(spec, "template", "metadata", "labels")
        try:
            matched = LabelSelector.from_object(selector).matches(labels)
        except InvalidArgumentError as error:
            yield invalid("spec.selector", selector, str(error))
        else:
            if not matched:
                message = "`selector` does not match template `labels`"
                yield invalid("spec.template.metadata.labels", labels, message)
    yield from _template(spec, "spec", ("Always",))


def _deployment(obj: Object) -> Iterator[FieldError]:
    yield from _selected_template(obj, "deployment")
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
        yield from _rolling_errors(rolling, "spec.strategy.rollingUpdate")
    deadline, ready = spec.get("progressDeadlineSeconds"), spec.get("minReadySeconds", 0)
    if isinstance(deadline, int) and deadline <= ready:
        yield invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")


def _rolling_errors(rolling: dict[str, Any], path: str) -> Iterator[FieldError]:
    parsed: dict[str, int] = {}
    for field in ("maxUnavailable", "maxSurge"):
        value = rolling.get(field)
        if isinstance(value, str):
            digits = value.removesuffix("%")
            percent = whole_number(digits)
            if digits == value or percent is None:
                yield invalid(
                    f"{path}.{field}",
                    value,
                    "a valid percent string must be a numeric string "
                    "followed by an ending '%' (e.g. '1%', '93%')",
                )
                continue
            parsed[field] = percent
            if field == "maxUnavailable" and parsed[field] > 100:
                yield invalid(f"{path}.{field}", value, "must not be greater than 100%")
        elif isinstance(value, int):
            parsed[field] = value
            if value < 0:
                yield invalid(f"{path}.{field}", value, NOT_NEGATIVE)
    if parsed.get("maxUnavailable") == 0 and parsed.get("maxSurge") == 0:
        message = "may not be 0 when `maxSurge` is 0"
        yield invalid(f"{path}.maxUnavailable", rolling["maxUnavailable"], message)


def _replica_set(obj: Object) -> Iterator[FieldError]:
    yield from _selected_template(obj, "replicaset")


def _stateful_set(obj: Object) -> Iterator[FieldError]:
    yield from _selected_template(obj, "statefulset")
    spec = mapping(obj, "spec")
    policy = spec.get("podManagementPolicy")
    if policy not in (None, "OrderedReady", "Parallel"):
        yield not_supported("spec.podManagementPolicy", policy, ("OrderedReady", "Parallel"))
    kind = child(spec, "updateStrategy", "type")
    if kind not in (None, "RollingUpdate", "OnDelete"):
        yield not_supported("spec.updateStrategy.type", kind, ("RollingUpdate", "OnDelete"))


def _daemon_set(obj: Object) -> Iterator[FieldError]:
    yield from _selected_template(obj, "daemonset")
    strategy = mapping(obj, "spec", "updateStrategy")
    kind = strategy.get("type")
    if kind not in (None, "RollingUpdate", "OnDelete"):
        yield not_supported("spec.updateStrategy.type", kind, ("RollingUpdate", "OnDelete"))
    if isinstance(strategy.get("rollingUpdate"), dict):
        yield from _rolling_errors(strategy["rollingUpdate"], "spec.updateStrategy.rollingUpdate")


def _job_spec(spec: dict[str, Any], path: str) -> Iterator[FieldError]:
    yield from _negatives(
        spec, "parallelism", "completions", "backoffLimit", "ttlSecondsAfterFinished", path=path
    )
    mode = spec.get("completionMode")
    if mode not in (None, "NonIndexed", "Indexed"):
        yield not_supported(f"{path}.completionMode", mode, ("Indexed", "NonIndexed"))
    if mode == "Indexed" and "completions" not in spec:
        yield required(f"{path}.completions", "when completion mode is Indexed")
    yield from _template(spec, path, ("OnFailure", "Never"))


def _job(obj: Object) -> Iterator[FieldError]:
    yield from _job_spec(mapping(obj, "spec"), "spec")


def _cron_job(obj: Object) -> Iterator[FieldError]:
    spec = mapping(obj, "spec")
    if len(name_of(obj)) > 52:
        yield invalid("metadata.name", name_of(obj), "must be no more than 52 characters")
    schedule = spec.get("schedule")
    if not schedule:
        yield required("spec.schedule")
    elif not schedule.startswith("@") and len(schedule.split()) != 5:
        yield invalid("spec.schedule", schedule, f"expected exactly 5 fields, found {len(schedule.split())}")
    elif "TZ=" in schedule:
        yield invalid("spec.schedule", schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field")
    policy = spec.get("concurrencyPolicy")
    if policy not in (None, "Allow", "Forbid", "Replace"):
        yield not_supported("spec.concurrencyPolicy", policy, ("Allow", "Forbid", "Replace"))
    yield from _negatives(spec, "successfulJobsHistoryLimit", "failedJobsHistoryLimit")
    yield from _job_spec(mapping(spec, "jobTemplate", "spec"), "spec.jobTemplate.spec")


def _pod(obj: Object) -> Iterator[FieldError]:
    yield from pod_spec_errors(mapping(obj, "spec"), "spec")


def _service(obj: Object) -> Iterator[FieldError]:
    spec = mapping(obj, "spec")
    kind = spec.get("type", "ClusterIP")
    ports = sequence(spec, "ports")
    if kind not in _SERVICE_TYPES:
        yield not_supported("spec.type", kind, _SERVICE_TYPES)
    if kind == "ExternalName":
        if not spec.get("externalName"):
            yield required("spec.externalName")
        if spec.get("clusterIP") not in (None, ""):
            yield forbidden("spec.clusterIPs", "may not be set for ExternalName services")
    elif not ports and spec.get("clusterIP") != "None":
        yield required("spec.ports")
    if spec.get("clusterIP") == "None" and kind in ("NodePort", "LoadBalancer"):
        yield invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services")
    if spec.get("sessionAffinity") not in (None, "None", "ClientIP"):
        yield not_supported("spec.sessionAffinity", spec["sessionAffinity"], ("ClientIP", "None"))
    yield from label_errors(mapping(spec, "selector"), "spec.selector")
    yield from _service_ports(ports)


def _service_ports(ports: list[dict[str, Any]]) -> Iterator[FieldError]:
    names: set[str] = set()
    seen: set[tuple[Any, Any]] = set()
    for index, port in enumerate(ports):
        where = f"spec.ports[{index}]"
        name = port.get("name") or ""
        if not name and len(ports) > 1:
            yield required(f"{where}.name")
        if name:
            for problem in label_problems(name):
                yield invalid(f"{where}.name", name, problem)
            if name in names:
                yield duplicate(f"{where}.name", name)
            names.add(name)
        if not is_port(port.get("port", 1)):
            yield invalid(f"{where}.port", port["port"], PORT_MESSAGE)
        if port.get("protocol", "TCP") not in ("SCTP", "TCP", "UDP"):
            yield not_supported(f"{where}.protocol", port["protocol"], ("SCTP", "TCP", "UDP"))
        target = port.get("targetPort")
        if isinstance(target, int) and not is_port(target):
            yield invalid(f"{where}.targetPort", target, PORT_MESSAGE)
        key = (port.get("port"), port.get("protocol", "TCP"))
        if key in seen:
            yield duplicate(where, {"port": key[0], "protocol": key[1]})
        seen.add(key)


def _data_keys(obj: Object, *fields: str) -> Iterator[FieldError]:
    for field in fields:
        for key in mapping(obj, field):
            for problem in config_key_problems(key):
                yield invalid(f"{field}[{key}]", key, problem)


def _config_map(obj: Object) -> Iterator[FieldError]:
    yield from _data_keys(obj, "data", "binaryData")
    data, binary = mapping(obj, "data"), mapping(obj, "binaryData")
    for key in data.keys() & binary.keys():
        yield invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
    size = sum(len(str(value).encode()) for value in data.values())
    if size + sum(len(str(value)) * 3 // 4 for value in binary.values()) > MAX_DATA:
        yield too_long("[]", MAX_DATA)  # Kubernetes' name for the whole object


def _secret(obj: Object) -> Iterator[FieldError]:
    yield from _data_keys(obj, "data", "stringData")
    data = mapping(obj, "data")
    size = 0
    for key, value in data.items():
        try:
            size += len(b64decode(value, validate=True))
        except (binascii.Error, ValueError):
            yield invalid(f"data[{key}]", "<secret>", "illegal base64 data")
    if size > MAX_DATA:
        yield too_long("data", MAX_DATA)
    plain = mapping(obj, "stringData")
    kind = str(obj.get("type") or "Opaque")
    for key in _SECRET_KEYS.get(kind, ()):
        if key not in data and key not in plain:
            yield required(f"data[{key}]")
    if kind == "kubernetes.io/basic-auth" and not {"username", "password"} & (data.keys() | plain.keys()):
        yield required("data[username]")
        yield required("data[password]")


def _claim(obj: Object) -> Iterator[FieldError]:
    spec = mapping(obj, "spec")
    modes = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
    if not sequence(spec, "accessModes"):
        yield required("spec.accessModes", "at least 1 access mode is required")
    for mode in sequence(spec, "accessModes"):
        if mode not in modes:
            yield not_supported("spec.accessModes", mode, modes)
    if child(spec, "resources", "requests", "storage") is None:
        yield required("spec.resources[storage]")


def _ingress(obj: Object) -> Iterator[FieldError]:
    spec = mapping(obj, "spec")
    if not sequence(spec, "rules") and not spec.get("defaultBackend"):
        yield invalid("spec", spec, "either `defaultBackend` or `rules` must be specified")
    for index, rule in enumerate(sequence(spec, "rules")):
        for number, path in enumerate(sequence(rule, "http", "paths")):
            where = f"spec.rules[{index}].http.paths[{number}]"
            kind = path.get("pathType")
            kinds = ("Exact", "ImplementationSpecific", "Prefix")
            if kind is not None and kind not in kinds:
                yield not_supported(f"{where}.pathType", kind, kinds)
            if kind in ("Exact", "Prefix") and not str(path.get("path") or "").startswith("/"):
                yield invalid(f"{where}.path", path.get("path", ""), "must be an absolute path")


def _autoscaler(obj: Object) -> Iterator[FieldError]:
    spec = mapping(obj, "spec")
    low, high = spec.get("minReplicas", 1), spec.get("maxReplicas")
    if isinstance(low, int) and low < 1:
        yield invalid("spec.minReplicas", low, "must be greater than or equal to 1")
    if isinstance(high, int):
        if high < 1:
            yield invalid("spec.maxReplicas", high, "must be greater than 0")
        if isinstance(low, int) and high < low:
            yield invalid("spec.maxReplicas", high, "must be greater than or equal to `minReplicas`")


def _disruption_budget(obj: Object) -> Iterator[FieldError]:
    spec = mapping(obj, "spec")
    if "minAvailable" in spec and "maxUnavailable" in spec:
        yield invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set")


def _role(obj: Object) -> Iterator[FieldError]:
    for index, rule in enumerate(sequence(obj, "rules")):
        if not rule.get("verbs"):
            yield required(f"rules[{index}].verbs", "verbs must contain at least one value")
        if not rule.get("nonResourceURLs"):
            if not rule.get("apiGroups"):
                yield required(
                    f"rules[{index}].apiGroups", "resource rules must supply at least one api group"
                )
            if not rule.get("resources"):
                yield required(
                    f"rules[{index}].resources", "resource rules must supply at least one resource"
                )


def _crd(obj: Object) -> Iterator[FieldError]:
    spec = mapping(obj, "spec")
    wanted = f"{child(spec, 'names', 'plural')}.{spec.get('group')}"
    if name_of(obj) and name_of(obj) != wanted:
        yield invalid("metadata.name", name_of(obj), f'must be spec.names.plural+"."+spec.group ({wanted})')
    yield from crd_errors(obj)


KIND_RULES: dict[tuple[str, str], Callable[[Object], Iterator[FieldError]]] = {
    ("", "ConfigMap"): _config_map,
    ("", "PersistentVolumeClaim"): _claim,
    ("", "Pod"): _pod,
    ("", "Secret"): _secret,
    ("", "Service"): _service,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _crd,
    ("apps", "DaemonSet"): _daemon_set,
    ("apps", "Deployment"): _deployment,
    ("apps", "ReplicaSet"): _replica_set,
    ("apps", "StatefulSet"): _stateful_set,
    ("autoscaling", "HorizontalPodAutoscaler"): _autoscaler,
    ("batch", "CronJob"): _cron_job,
    ("batch", "Job"): _job,
    ("networking.k8s.io", "Ingress"): _ingress,
    ("policy", "PodDisruptionBudget"): _disruption_budget,
    ("rbac.authorization.k8s.io", "ClusterRole"): _role,
    ("rbac.authorization.k8s.io", "Role"): _role,
}
