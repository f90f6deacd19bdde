"""The core group, and its Events as events.k8s.io shows them.

Pure data. Next: `hanse.kube.kinds.builtin`.
"""

from __future__ import annotations

from typing import Final

from hanse.kube.kinds.kind import CREATE, Kind, ScalePaths, SelectableField

_REFERENCE: Final = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")


def _reference(path: str) -> tuple[SelectableField, ...]:
    return tuple(SelectableField(f"{path}.{name}") for name in _REFERENCE)


BINDING: Final = Kind("", "Binding", "bindings", verbs=CREATE, virtual=True)
CONFIG_MAP: Final = Kind("", "ConfigMap", "configmaps", short_names=("cm",))
ENDPOINTS: Final = Kind(
    "",
    "Endpoints",
    "endpoints",
    short_names=("ep",),
    deprecation="v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
)
EVENT: Final = Kind(
    "",
    "Event",
    "events",
    short_names=("ev",),
    selectable=(
        *_reference("involvedObject"),
        SelectableField("reason"),
        SelectableField("reportingComponent"),
        SelectableField("source", path="source.component"),
        SelectableField("type"),
    ),
)
LIMIT_RANGE: Final = Kind("", "LimitRange", "limitranges", short_names=("limits",))
NAMESPACE: Final = Kind(
    "",
    "Namespace",
    "namespaces",
    namespaced=False,
    short_names=("ns",),
    subresources=("status", "finalize"),
    verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
    selectable=(SelectableField("status.phase"),),
)
NODE: Final = Kind(
    "",
    "Node",
    "nodes",
    namespaced=False,
    short_names=("no",),
    subresources=("status", "proxy"),
    selectable=(SelectableField("spec.unschedulable", absent="false"),),
)
PERSISTENT_VOLUME_CLAIM: Final = Kind(
    "", "PersistentVolumeClaim", "persistentvolumeclaims", short_names=("pvc",), subresources=("status",)
)
PERSISTENT_VOLUME: Final = Kind(
    "",
    "PersistentVolume",
    "persistentvolumes",
    namespaced=False,
    short_names=("pv",),
    subresources=("status",),
)
POD: Final = Kind(
    "",
    "Pod",
    "pods",
    short_names=("po",),
    categories=("all",),
    subresources=("status", "log", "binding", "eviction", "ephemeralcontainers", "resize"),
    selectable=(
        SelectableField("spec.nodeName"),
        SelectableField("spec.restartPolicy"),
        SelectableField("spec.schedulerName"),
        SelectableField("spec.serviceAccountName"),
        SelectableField("spec.hostNetwork", absent="false"),
        SelectableField("status.phase"),
        SelectableField("status.podIP"),
        SelectableField("status.nominatedNodeName"),
    ),
)
POD_TEMPLATE: Final = Kind("", "PodTemplate", "podtemplates")
REPLICATION_CONTROLLER: Final = Kind(
    "",
    "ReplicationController",
    "replicationcontrollers",
    short_names=("rc",),
    categories=("all",),
    subresources=("status", "scale"),
    selectable=(SelectableField("status.replicas", absent="0"),),
    scale=ScalePaths(form="labels"),
    pod_count="replicas",
)
RESOURCE_QUOTA: Final = Kind(
    "", "ResourceQuota", "resourcequotas", short_names=("quota",), subresources=("status",)
)
SECRET: Final = Kind("", "Secret", "secrets", selectable=(SelectableField("type"),))
SERVICE_ACCOUNT: Final = Kind(
    "", "ServiceAccount", "serviceaccounts", short_names=("sa",), subresources=("token",)
)
SERVICE: Final = Kind(
    "",
    "Service",
    "services",
    short_names=("svc",),
    categories=("all",),
    subresources=("status",),
    selectable=(
        SelectableField("spec.clusterIP"),
        SelectableField("spec.type"),
    ),
)
EVENTS_K8S_IO_EVENT: Final = Kind(
    "events.k8s.io",
    "Event",
    "events",
    short_names=("ev",),
    stored_as=EVENT,
    selectable=(
        *_reference("regarding"),
        SelectableField("reason"),
        SelectableField("reportingController"),
        SelectableField("type"),
    ),
)

KINDS: Final = (
    BINDING,
    CONFIG_MAP,
    ENDPOINTS,
    EVENT,
    LIMIT_RANGE,
    NAMESPACE,
    NODE,
    PERSISTENT_VOLUME_CLAIM,
    PERSISTENT_VOLUME,
    POD,
    POD_TEMPLATE,
    REPLICATION_CONTROLLER,
    RESOURCE_QUOTA,
    SECRET,
    SERVICE_ACCOUNT,
    SERVICE,
    EVENTS_K8S_IO_EVENT,
)
