"""The columns of `kubectl get` for Kubernetes' own kinds, as kubectl users know them.

One small function per kind makes a row from an object; `layout` finds it. What is absent reads as kubectl
shows it (`<none>`, `<pending>`). Pure functions. Next: `hanse.kube.kinds.table`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from hanse.kube.kinds.resource_info import ResourceInfo
from hanse.kube.kinds.table import (
    DEFAULT,
    Cell,
    Column,
    TableLayout,
    age,
    declared,
    human_duration,
    parse_time,
)
from hanse.kube.model.objects import Object, mapping, sequence
from hanse.kube.model.selectors import LabelSelector

NONE = "<none>"
UNSET = "<unset>"
_LAYOUTS: dict[tuple[str, str], TableLayout] = {}
Row = Callable[[Object, datetime], Sequence[Cell]]


def layout(info: ResourceInfo) -> TableLayout:
    """Return the columns of a resource."""
    if info.columns or info.custom:
        return declared(info)
    return _LAYOUTS.get((info.group, info.plural), DEFAULT)


def _columns(group: str, plural: str, headings: str) -> Callable[[Row], Row]:
    """Register a row function; `headings` are separated by commas, `*` marks wide ones, `#` numbers.

    Name comes first and Age where `Age` stands; the function gives the cells of the others.
    """
    columns = []
    for heading in ("Name", *headings.split(",")):
        name = heading.rstrip("*#")
        kind = "integer" if "#" in heading else "string"
        columns.append(Column(name, kind, 1 if "*" in heading else 0))
    at = [c.name for c in columns].index("Age") if "Age" in headings.split(",") else None

    def register(row: Row) -> Row:
        def render(obj: Object, now: datetime) -> Sequence[Cell]:
            cells = [obj["metadata"].get("name", ""), *row(obj, now)]
            if at is not None:
                cells.insert(at, age(obj["metadata"].get("creationTimestamp"), now))
            return cells

        _LAYOUTS[(group, plural)] = TableLayout(tuple(columns), render)
        return row

    return register


def _join(values: Iterable[Any], *, most: int = 0) -> str:
    texts = [str(v) for v in values]
    if most and len(texts) > most:
        return ",".join(texts[:most]) + f" + {len(texts) - most} more..."
    return ",".join(texts) or NONE


def _selector(value: Any) -> str:
    try:
        text = str(LabelSelector.from_object(value)) if isinstance(value, dict) else ""
    except Exception:  # noqa: BLE001 - what cannot be read is not shown
        text = ""
    return text or NONE


def _labels(value: Any) -> str:
    return _join(f"{k}={v}" for k, v in sorted(value.items())) if isinstance(value, Mapping) else NONE


def _containers(spec: Mapping[str, Any]) -> tuple[str, str]:
    containers = sequence(spec, "containers")
    return _join(c.get("name") for c in containers), _join(c.get("image") for c in containers)


def _template(obj: Object) -> tuple[str, str]:
    return _containers(mapping(obj, "spec", "template", "spec"))


def _number(obj: Object, *path: str) -> int:
    value: Any = obj
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value if isinstance(value, int) else 0


def _wanted(obj: Object) -> int:
    replicas = mapping(obj, "spec").get("replicas")
    return 1 if replicas is None else int(replicas)


@_columns("", "pods", "Ready,Status,Restarts,Age,IP*,Node*,Nominated Node*,Readiness Gates*")
def _pod(obj: Object, now: datetime) -> Sequence[Cell]:
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
    if obj["metadata"].get("deletionTimestamp"):
        return "Unknown" if status.get("reason") == "NodeLost" else "Terminating"
    return reason


@_columns("apps", "deployments", "Ready,Up-to-date#,Available#,Age,Containers*,Images*,Selector*")
def _deployment(obj: Object, now: datetime) -> Sequence[Cell]:
    return (
        f"{_number(obj, 'status', 'readyReplicas')}/{_wanted(obj)}",
        _number(obj, "status", "updatedReplicas"),
        _number(obj, "status", "availableReplicas"),
        *_template(obj),
        _selector(mapping(obj, "spec").get("selector")),
    )


@_columns("apps", "replicasets", "Desired#,Current#,Ready#,Age,Containers*,Images*,Selector*")
def _replica_set(obj: Object, now: datetime) -> Sequence[Cell]:
    return (
        _wanted(obj),
        _number(obj, "status", "replicas"),
        _number(obj, "status", "readyReplicas"),
        *_template(obj),
        _selector(mapping(obj, "spec").get("selector")),
    )


@_columns("", "replicationcontrollers", "Desired#,Current#,Ready#,Age,Containers*,Images*,Selector*")
def _replication_controller(obj: Object, now: datetime) -> Sequence[Cell]:
    return (
        _wanted(obj),
        _number(obj, "status", "replicas"),
        _number(obj, "status", "readyReplicas"),
        *_template(obj),
        _labels(mapping(obj, "spec", "selector")),
    )


@_columns("apps", "statefulsets", "Ready,Age,Containers*,Images*")
def _stateful_set(obj: Object, now: datetime) -> Sequence[Cell]:
    return f"{_number(obj, 'status', 'readyReplicas')}/{_wanted(obj)}", *_template(obj)


@_columns(
    "apps", "daemonsets",
    "Desired#,Current#,Ready#,Up-to-date#,Available#,Node Selector,Age,Containers*,Images*,Selector*",
)  # fmt: skip
def _daemon_set(obj: Object, now: datetime) -> Sequence[Cell]:
    return (
        _number(obj, "status", "desiredNumberScheduled"),
        _number(obj, "status", "currentNumberScheduled"),
        _number(obj, "status", "numberReady"),
        _number(obj, "status", "updatedNumberScheduled"),
        _number(obj, "status", "numberAvailable"),
        _labels(mapping(obj, "spec", "template", "spec", "nodeSelector")),
        *_template(obj),
        _selector(mapping(obj, "spec").get("selector")),
    )


@_columns("batch", "jobs", "Status,Completions,Duration,Age,Containers*,Images*,Selector*")
def _job(obj: Object, now: datetime) -> Sequence[Cell]:
    spec, status = mapping(obj, "spec"), mapping(obj, "status")
    succeeded = _number(obj, "status", "succeeded")
    if spec.get("completions") is not None:
        completions = f"{succeeded}/{spec['completions']}"
    elif _number(obj, "spec", "parallelism") > 1:
        completions = f"{succeeded}/1 of {spec['parallelism']}"
    else:
        completions = f"{succeeded}/1"
    started, ended = parse_time(status.get("startTime")), parse_time(status.get("completionTime"))
    duration = human_duration(((ended or now) - started).total_seconds()) if started else ""
    return _job_status(obj), completions, duration, *_template(obj), _selector(spec.get("selector"))


def _job_status(obj: Object) -> str:
    true = {c.get("type") for c in sequence(obj, "status", "conditions") if c.get("status") == "True"}
    for condition, text in (
        ("Complete", "Complete"), ("Failed", "Failed"), ("Suspended", "Suspended"),
        ("FailureTarget", "FailureTarget"), ("SuccessCriteriaMet", "SuccessCriteriaMet"),
    ):  # fmt: skip
        if condition in true:
            return text
    return "Terminating" if obj["metadata"].get("deletionTimestamp") else "Running"


@_columns(
    "batch", "cronjobs", "Schedule,Timezone,Suspend,Active#,Last Schedule,Age,Containers*,Images*,Selector*"
)
def _cron_job(obj: Object, now: datetime) -> Sequence[Cell]:
    spec, status = mapping(obj, "spec"), mapping(obj, "status")
    template = mapping(spec, "jobTemplate", "spec")
    last = status.get("lastScheduleTime")
    return (
        spec.get("schedule", ""),
        spec.get("timeZone") or NONE,
        str(bool(spec.get("suspend"))),
        len(sequence(status, "active")),
        age(last, now) if last else NONE,
        *_containers(mapping(template, "template", "spec")),
        _selector(template.get("selector")),
    )


@_columns("", "services", "Type,Cluster-IP,External-IP,Port(s),Age,Selector*")
def _service(obj: Object, now: datetime) -> Sequence[Cell]:
    spec = mapping(obj, "spec")
    ports = []
    for port in sequence(spec, "ports"):
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        ports.append(f"{port.get('port')}{node}/{port.get('protocol', 'TCP')}")
    return (
        spec.get("type", "ClusterIP"),
        spec.get("clusterIP") or NONE,
        _external_ip(obj),
        _join(ports),
        _labels(spec.get("selector")),
    )


def _external_ip(obj: Object) -> str:
    spec = mapping(obj, "spec")
    given = sequence(spec, "externalIPs")
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName") or NONE)
    if spec.get("type") == "LoadBalancer":
        found = _ingress_addresses(obj) + [str(ip) for ip in given]
        return ",".join(found) or "<pending>"
    return _join(given)


def _ingress_addresses(obj: Object) -> list[str]:
    ingress = sequence(obj, "status", "loadBalancer", "ingress")
    return [str(i.get("ip") or i.get("hostname")) for i in ingress if i.get("ip") or i.get("hostname")]


@_columns("", "configmaps", "Data#,Age")
def _config_map(obj: Object, now: datetime) -> Sequence[Cell]:
    return (len(mapping(obj, "data")) + len(mapping(obj, "binaryData")),)


@_columns("", "secrets", "Type,Data#,Age")
def _secret(obj: Object, now: datetime) -> Sequence[Cell]:
    return obj.get("type", "Opaque"), len(mapping(obj, "data"))


@_columns("", "namespaces", "Status,Age")
def _namespace(obj: Object, now: datetime) -> Sequence[Cell]:
    return (mapping(obj, "status").get("phase", ""),)


@_columns("", "serviceaccounts", "Secrets#,Age")
def _service_account(obj: Object, now: datetime) -> Sequence[Cell]:
    return (len(sequence(obj, "secrets")),)


@_columns(
    "",
    "nodes",
    "Status,Roles,Age,Version,Internal-IP*,External-IP*,OS-Image*,Kernel-Version*,Container-Runtime*",
)
def _node(obj: Object, now: datetime) -> Sequence[Cell]:
    ready: Object = next((c for c in sequence(obj, "status", "conditions") if c.get("type") == "Ready"), {})
    state = {"True": "Ready", "False": "NotReady"}.get(str(ready.get("status")), "Unknown")
    if mapping(obj, "spec").get("unschedulable"):
        state += ",SchedulingDisabled"
    prefix = "node-role.kubernetes.io/"
    roles = sorted(k.removeprefix(prefix) for k in mapping(obj, "metadata", "labels") if k.startswith(prefix))
    addresses = {a.get("type"): a.get("address") for a in sequence(obj, "status", "addresses")}
    info = mapping(obj, "status", "nodeInfo")
    return (
        state,
        _join(roles),
        info.get("kubeletVersion", ""),
        addresses.get("InternalIP") or NONE,
        addresses.get("ExternalIP") or NONE,
        info.get("osImage") or "<unknown>",
        info.get("kernelVersion") or "<unknown>",
        info.get("containerRuntimeVersion") or "<unknown>",
    )


@_columns("networking.k8s.io", "ingresses", "Class,Hosts,Address,Ports,Age")
def _ingress(obj: Object, now: datetime) -> Sequence[Cell]:
    spec = mapping(obj, "spec")
    hosts = [r["host"] for r in sequence(spec, "rules") if r.get("host")]
    return (
        spec.get("ingressClassName") or NONE,
        _join(hosts, most=3) if hosts else "*",
        ",".join(_ingress_addresses(obj)),
        "80, 443" if sequence(spec, "tls") else "80",
    )


@_columns("networking.k8s.io", "ingressclasses", "Controller,Parameters,Age")
def _ingress_class(obj: Object, now: datetime) -> Sequence[Cell]:
    parameters = mapping(obj, "spec", "parameters")
    shown = f"{parameters.get('kind')}.{parameters.get('apiGroup')}/{parameters.get('name')}"
    return mapping(obj, "spec").get("controller", ""), shown if parameters else NONE


@_columns("networking.k8s.io", "networkpolicies", "Pod-Selector,Age")
def _network_policy(obj: Object, now: datetime) -> Sequence[Cell]:
    return (_selector(mapping(obj, "spec").get("podSelector")),)


def _event_cells(obj: Object, now: datetime, *, target: str, text: str, source: str) -> Sequence[Cell]:
    about = mapping(obj, target)
    reported = mapping(obj, source)
    prefix = "deprecated" if source == "deprecatedSource" else ""
    first = obj.get("deprecatedFirstTimestamp" if prefix else "firstTimestamp") or obj.get("eventTime")
    last = obj.get("deprecatedLastTimestamp" if prefix else "lastTimestamp") or first
    component = reported.get("component") or obj.get("reportingComponent") or obj.get("reportingController")
    return (
        age(last, now),
        obj.get("type", ""),
        obj.get("reason", ""),
        f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}",
        about.get("fieldPath", ""),
        ", ".join(filter(None, (component, reported.get("host")))),
        str(obj.get(text, "")).strip(),
        age(first, now),
        obj.get("deprecatedCount" if prefix else "count") or 1,
        obj["metadata"].get("name", ""),
    )


_EVENT_COLUMNS = tuple(
    Column(name.rstrip("*"), "string", 1 if name.endswith("*") else 0)
    for name in ("Last Seen", "Type", "Reason", "Object", "Subobject*", "Source*", "Message", "First Seen*",
                 "Count*", "Name*")
)  # fmt: skip
_LAYOUTS[("", "events")] = TableLayout(
    _EVENT_COLUMNS,
    lambda obj, now: _event_cells(obj, now, target="involvedObject", text="message", source="source"),
)
_LAYOUTS[("events.k8s.io", "events")] = TableLayout(
    _EVENT_COLUMNS,
    lambda obj, now: _event_cells(obj, now, target="regarding", text="note", source="deprecatedSource"),
)

_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def _modes(values: Iterable[str]) -> str:
    return ",".join(_MODES.get(v, v) for v in values)


@_columns(
    "", "persistentvolumeclaims",
    "Status,Volume,Capacity,Access Modes,StorageClass,VolumeAttributesClass,Age,VolumeMode*",
)  # fmt: skip
def _claim(obj: Object, now: datetime) -> Sequence[Cell]:
    spec, status = mapping(obj, "spec"), mapping(obj, "status")
    bound = bool(spec.get("volumeName"))
    phase = "Terminating" if obj["metadata"].get("deletionTimestamp") else status.get("phase", "")
    return (
        phase,
        spec.get("volumeName", ""),
        mapping(status, "capacity").get("storage", "") if bound else "",
        _modes(sequence(status, "accessModes")) if bound else "",
        spec.get("storageClassName", ""),
        spec.get("volumeAttributesClassName") or UNSET,
        spec.get("volumeMode", "Filesystem"),
    )


@_columns(
    "", "persistentvolumes",
    "Capacity,Access Modes,Reclaim Policy,Status,Claim,StorageClass,VolumeAttributesClass,Reason,Age,"
    "VolumeMode*",
)  # fmt: skip
def _volume(obj: Object, now: datetime) -> Sequence[Cell]:
    spec, status = mapping(obj, "spec"), mapping(obj, "status")
    claim = mapping(spec, "claimRef")
    return (
        mapping(spec, "capacity").get("storage", ""),
        _modes(sequence(spec, "accessModes")),
        spec.get("persistentVolumeReclaimPolicy", ""),
        "Terminating" if obj["metadata"].get("deletionTimestamp") else status.get("phase", ""),
        f"{claim.get('namespace')}/{claim.get('name')}" if claim else "",
        spec.get("storageClassName", ""),
        spec.get("volumeAttributesClassName") or UNSET,
        status.get("reason", ""),
        spec.get("volumeMode", "Filesystem"),
    )


@_columns(
    "storage.k8s.io", "storageclasses",
    "Provisioner,ReclaimPolicy,VolumeBindingMode,AllowVolumeExpansion,Age",
)  # fmt: skip
def _storage_class(obj: Object, now: datetime) -> Sequence[Cell]:
    return (
        obj.get("provisioner", ""),
        obj.get("reclaimPolicy", "Delete"),
        obj.get("volumeBindingMode", "Immediate"),
        str(bool(obj.get("allowVolumeExpansion"))).lower(),
    )


@_columns("", "endpoints", "Endpoints,Age")
def _endpoints(obj: Object, now: datetime) -> Sequence[Cell]:
    found = []
    for subset in sequence(obj, "subsets"):
        ports = [p.get("port") for p in sequence(subset, "ports")]
        for address in sequence(subset, "addresses"):
            found += [f"{address.get('ip')}:{port}" for port in ports] or [address.get("ip")]
    return (_join(found, most=3),)


@_columns("discovery.k8s.io", "endpointslices", "AddressType,Ports,Endpoints,Age")
def _endpoint_slice(obj: Object, now: datetime) -> Sequence[Cell]:
    ports = [p.get("port", "*") for p in sequence(obj, "ports")]
    addresses = [a for e in sequence(obj, "endpoints") for a in sequence(e, "addresses")]
    return obj.get("addressType", ""), _join(ports, most=3) if ports else UNSET, _join(addresses, most=3)


def _metric(metric: Mapping[str, Any], current: Mapping[str, Any]) -> str:
    kind = str(metric.get("type", ""))
    source = next((v for k, v in metric.items() if k.lower() == kind.lower() and isinstance(v, dict)), {})
    target = mapping(source, "target")
    percent = target.get("averageUtilization")
    name = str(source.get("name") or mapping(source, "metric").get("name") or kind).lower()
    now = mapping(next((v for k, v in current.items() if k.lower() == kind.lower()), {}), "current")
    if percent is not None:
        seen = now.get("averageUtilization")
        return f"{name}: {'<unknown>' if seen is None else f'{seen}%'}/{percent}%"
    wanted = target.get("averageValue") or target.get("value") or "<auto>"
    seen = now.get("averageValue") or now.get("value") or "<unknown>"
    return f"{seen}/{wanted}"


@_columns("autoscaling", "horizontalpodautoscalers", "Reference,Targets,MinPods,MaxPods#,Replicas#,Age")
def _autoscaler(obj: Object, now: datetime) -> Sequence[Cell]:
    spec, status = mapping(obj, "spec"), mapping(obj, "status")
    target = mapping(spec, "scaleTargetRef")
    current = sequence(status, "currentMetrics")
    metrics = sequence(spec, "metrics")
    shown = [_metric(m, current[i] if i < len(current) else {}) for i, m in enumerate(metrics)]
    if spec.get("targetCPUUtilizationPercentage") is not None:
        seen = status.get("currentCPUUtilizationPercentage")
        of = spec["targetCPUUtilizationPercentage"]
        shown.append(f"cpu: {'<unknown>' if seen is None else f'{seen}%'}/{of}%")
    least = spec.get("minReplicas")
    return (
        f"{target.get('kind')}/{target.get('name')}",
        ", ".join(shown) or NONE,
        UNSET if least is None else str(least),
        spec.get("maxReplicas", 0),
        _number(obj, "status", "currentReplicas"),
    )


@_columns("autoscaling", "scales", "Desired#,Available#,Age")
def _scale(obj: Object, now: datetime) -> Sequence[Cell]:
    return _number(obj, "spec", "replicas"), _number(obj, "status", "replicas")


@_columns("policy", "poddisruptionbudgets", "Min Available,Max Unavailable,Allowed Disruptions#,Age")
def _budget(obj: Object, now: datetime) -> Sequence[Cell]:
    spec = mapping(obj, "spec")
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    return (
        "N/A" if least is None else str(least),
        "N/A" if most is None else str(most),
        _number(obj, "status", "disruptionsAllowed"),
    )


@_columns("apiextensions.k8s.io", "customresourcedefinitions", "Created At")
def _crd(obj: Object, now: datetime) -> Sequence[Cell]:
    return (obj["metadata"].get("creationTimestamp", ""),)


@_columns("apiregistration.k8s.io", "apiservices", "Service,Available,Age")
def _api_service(obj: Object, now: datetime) -> Sequence[Cell]:
    service = mapping(obj, "spec", "service")
    available: Object = next(
        (c for c in sequence(obj, "status", "conditions") if c.get("type") == "Available"), {}
    )
    shown = f"{service.get('namespace')}/{service.get('name')}" if service else "Local"
    return shown, str(available.get("status", "Unknown"))


@_columns("rbac.authorization.k8s.io", "roles", "Created At")
def _role(obj: Object, now: datetime) -> Sequence[Cell]:
    return (obj["metadata"].get("creationTimestamp", ""),)


_LAYOUTS[("rbac.authorization.k8s.io", "clusterroles")] = _LAYOUTS[("rbac.authorization.k8s.io", "roles")]


def _binding(obj: Object, now: datetime) -> Sequence[Cell]:
    role = mapping(obj, "roleRef")
    by_kind: dict[str, list[str]] = {}
    for subject in sequence(obj, "subjects"):
        name = str(subject.get("name"))
        if subject.get("kind") == "ServiceAccount":
            name = f"{subject.get('namespace')}/{name}"
        by_kind.setdefault(str(subject.get("kind")), []).append(name)
    return (
        f"{role.get('kind')}/{role.get('name')}",
        ", ".join(by_kind.get("User", [])),
        ", ".join(by_kind.get("Group", [])),
        ", ".join(by_kind.get("ServiceAccount", [])),
    )


for _plural in ("rolebindings", "clusterrolebindings"):
    _columns("rbac.authorization.k8s.io", _plural, "Role,Age,Users*,Groups*,ServiceAccounts*")(_binding)


@_columns("coordination.k8s.io", "leases", "Holder,Age")
def _lease(obj: Object, now: datetime) -> Sequence[Cell]:
    return (mapping(obj, "spec").get("holderIdentity", ""),)


@_columns("scheduling.k8s.io", "priorityclasses", "Value#,Global-Default,Age,PreemptionPolicy*")
def _priority_class(obj: Object, now: datetime) -> Sequence[Cell]:
    return (
        obj.get("value", 0),
        str(bool(obj.get("globalDefault"))).lower(),
        obj.get("preemptionPolicy", "PreemptLowerPriority"),
    )


@_columns("apps", "controllerrevisions", "Controller,Revision#,Age")
def _controller_revision(obj: Object, now: datetime) -> Sequence[Cell]:
    owner = next((o for o in sequence(obj, "metadata", "ownerReferences") if o.get("controller")), None)
    shown = f"{str(owner.get('kind', '')).lower()}.apps/{owner.get('name')}" if owner else NONE
    return shown, _number(obj, "revision")


@_columns("", "resourcequotas", "Request,Limit,Age")
def _quota(obj: Object, now: datetime) -> Sequence[Cell]:
    hard, used = mapping(obj, "status", "hard"), mapping(obj, "status", "used")
    hard = hard or mapping(obj, "spec", "hard")
    limits = {k: v for k, v in hard.items() if k.startswith("limits.")}
    requests = {k: v for k, v in hard.items() if k not in limits}
    return (
        ", ".join(f"{k}: {used.get(k, 0)}/{v}" for k, v in sorted(requests.items())),
        ", ".join(f"{k}: {used.get(k, 0)}/{v}" for k, v in sorted(limits.items())),
    )


@_columns("node.k8s.io", "runtimeclasses", "Handler,Age")
def _runtime_class(obj: Object, now: datetime) -> Sequence[Cell]:
    return (obj.get("handler", ""),)


@_columns(
    "certificates.k8s.io",
    "certificatesigningrequests",
    "Age,SignerName,Requestor,RequestedDuration,Condition",
)
def _signing_request(obj: Object, now: datetime) -> Sequence[Cell]:
    spec = mapping(obj, "spec")
    seconds = spec.get("expirationSeconds")
    conditions = [str(c.get("type")) for c in sequence(obj, "status", "conditions")]
    if mapping(obj, "status").get("certificate"):
        conditions.append("Issued")
    return (
        spec.get("signerName", ""),
        spec.get("username", ""),
        human_duration(seconds) if isinstance(seconds, int) else NONE,
        ",".join(conditions) or "Pending",
    )


def _policy(obj: Object, now: datetime) -> Sequence[Cell]:
    spec = mapping(obj, "spec")
    kind = mapping(spec, "paramKind")
    shown = f"{kind.get('apiVersion')}/{kind.get('kind')}" if kind else UNSET
    return len(sequence(spec, "validations") or sequence(spec, "mutations")), shown


def _policy_binding(obj: Object, now: datetime) -> Sequence[Cell]:
    spec = mapping(obj, "spec")
    parameter = mapping(spec, "paramRef")
    named = f"{parameter.get('namespace') or '*'}/{parameter.get('name')}"
    if not parameter.get("name"):
        named = _selector(parameter["selector"]) if "selector" in parameter else UNSET
    return spec.get("policyName", ""), named


for _verb, _counted in (("validating", "Validations"), ("mutating", "Mutations")):
    _columns("admissionregistration.k8s.io", f"{_verb}admissionpolicies", f"{_counted}#,ParamKind,Age")(
        _policy
    )
    _columns("admissionregistration.k8s.io", f"{_verb}admissionpolicybindings", "PolicyName,ParamRef,Age")(
        _policy_binding
    )


@_columns("resource.k8s.io", "devicetaintrules", "Key,Value,Effect,TimeAdded,Age")
def _device_taint_rule(obj: Object, now: datetime) -> Sequence[Cell]:
    taint = mapping(obj, "spec", "taint")
    return (
        taint.get("key", ""),
        taint.get("value", ""),
        taint.get("effect", ""),
        age(taint.get("timeAdded"), now),
    )


@_columns("storagemigration.k8s.io", "storageversionmigrations", "Resource,Status")
def _migration(obj: Object, now: datetime) -> Sequence[Cell]:
    resource = mapping(obj, "spec", "resource")
    shown = ".".join(str(resource[part]) for part in ("resource", "group") if resource.get(part))
    true = {c.get("type") for c in sequence(obj, "status", "conditions") if c.get("status") == "True"}
    return shown, next((state for state in ("Succeeded", "Failed", "Running") if state in true), "Unknown")


@_columns("certificates.k8s.io", "clustertrustbundles", "SignerName")
def _trust_bundle(obj: Object, now: datetime) -> Sequence[Cell]:
    return (mapping(obj, "spec").get("signerName") or NONE,)


@_columns(
    "certificates.k8s.io",
    "podcertificaterequests",
    "PodName,ServiceAccountName,NodeName,SignerName,State",
)
def _pod_certificate_request(obj: Object, now: datetime) -> Sequence[Cell]:
    spec = mapping(obj, "spec")
    states = [c.get("type") for c in sequence(obj, "status", "conditions")]
    state = next((state for state in ("Issued", "Denied", "Failed") if state in states), "Pending")
    return *(
        spec.get(field, "") for field in ("podName", "serviceAccountName", "nodeName", "signerName")
    ), state
