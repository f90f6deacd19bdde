"""Which objects a cluster has from its first second, in each namespace and in all.

The law: *what Kubernetes' own components make in every cluster, and clients look for, is there*; what they
bring back when it is changed or deleted is brought back. All of it belongs to clusters by
`hanse.federation.belongings.by_name`, so it propagates nowhere; a test compares the two.

Pure functions. Next: `hanse_apiserver.bootstrap.keeper`, which writes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from hanse.kube.engine.engine import NAMESPACES
from hanse.kube.kinds.kind import Kind
from hanse.kube.kinds.kubernetes import core, scheduling
from hanse.kube.kinds.types.policies import SYSTEM_PRIORITIES
from hanse.kube.model.objects import Object, api_version
from hanse.store.keys import ObjectKey

ROOT_CA: Final = "kube-root-ca.crt"
"""Where Pods, and programs that are given a ServiceAccount, find the authority of their API server."""
_PRIORITIES: Final = {
    "system-cluster-critical": "For Pods that a cluster cannot do without, on whichever node they run.",
    "system-node-critical": "For Pods that a node cannot do without.",
}
"""What the PriorityClasses say that they are for."""


@dataclass(frozen=True, slots=True)
class BootstrapObject:
    """An object that must be there. `namespace` is "" for cluster scope.

    `restored` names the fields that are brought back when somebody changes them; without any the object need
    only exist.
    """

    kind: Kind
    object: Object
    namespace: str = ""
    restored: tuple[str, ...] = ()

    @property
    def key(self) -> ObjectKey:
        """Return the key of the object."""
        return ObjectKey(*self.kind.group_plural, self.namespace, str(self.object["metadata"]["name"]))


def in_each_namespace(namespace: str, authorities: str) -> Iterator[BootstrapObject]:
    """Yield what each namespace has. `authorities` is the PEM of who signs the server's certificate."""
    yield BootstrapObject(core.SERVICE_ACCOUNT, _object(core.SERVICE_ACCOUNT, "default"), namespace)
    if authorities:
        bundle = _object(core.CONFIG_MAP, ROOT_CA)
        bundle["data"] = {"ca.crt": authorities}
        yield BootstrapObject(core.CONFIG_MAP, bundle, namespace, restored=("data",))


def of_the_cluster(port: int) -> Iterator[BootstrapObject]:
    """Yield what a cluster has once. `port` is that of the Kubernetes API."""
    for name in NAMESPACES:
        yield BootstrapObject(core.NAMESPACE, _object(core.NAMESPACE, name))
    for name, description in _PRIORITIES.items():
        priority = _object(scheduling.PRIORITY_CLASS, name)
        priority |= {"value": SYSTEM_PRIORITIES[name], "description": description}
        yield BootstrapObject(scheduling.PRIORITY_CLASS, priority)
    service = _object(core.SERVICE, "kubernetes", labels={"component": "apiserver", "provider": "kubernetes"})
    service["spec"] = {
        "type": "ClusterIP",
        "sessionAffinity": "None",
        "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": port}],
    }
    yield BootstrapObject(core.SERVICE, service, "default")


def _object(kind: Kind, name: str, labels: dict[str, str] | None = None) -> Object:
    metadata: Object = {"name": name}
    if labels:
        metadata["labels"] = labels
    return {"apiVersion": api_version(kind.group, kind.versions[0]), "kind": kind.name, "metadata": metadata}
