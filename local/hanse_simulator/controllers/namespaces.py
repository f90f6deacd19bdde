"""What every namespace has: the ServiceAccount `default` and the ConfigMap `kube-root-ca.crt`.

They come back when somebody deletes them, as long as the namespace itself is not being deleted. What is in a
namespace that is being deleted is removed by the engine (`hanse.kube.engine.garbage`).

Next: `hanse_simulator.controllers.loops`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hanse.control import Request
from hanse.errors import AlreadyExistsError, NotFoundError, PermissionDeniedError
from hanse.kube.engine.served import ObjectChange
from hanse.kube.kinds.kubernetes import core
from hanse.kube.model.objects import Object, is_deleting, mapping
from hanse_simulator.controllers.loops import Loop
from hanse_simulator.world import (
    CONFIG_MAPS,
    NAMESPACES,
    SERVICE_ACCOUNTS,
    ClusterContext,
    Resource,
)

ROOT_CA = "kube-root-ca.crt"
DEFAULT_ACCOUNT = "default"
_DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such "
    "as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions "
    "of Kubernetes clusters."
)


class Namespaces:
    """Furnishes namespaces."""

    def __init__(self, world: ClusterContext, *, ca_pem: str) -> None:
        """`ca_pem` is the certificate of the cluster's authority."""
        self._world = world
        self._ca_pem = ca_pem

    def loop(self) -> Loop:
        """Return the controller."""
        watches = {
            NAMESPACES: lambda change: (change.key.name,),
            CONFIG_MAPS: _named(ROOT_CA),
            SERVICE_ACCOUNTS: _named(DEFAULT_ACCOUNT),
        }
        return Loop(core.NAMESPACE.plural, self, watches, workers=8)

    async def reconcile(self, request: Request) -> None:
        """Make what a namespace lacks."""
        await self._world.fresh()
        namespace = self._world.get(NAMESPACES, "", request.key)
        if namespace is None or is_deleting(namespace):
            return
        await self._ensure(SERVICE_ACCOUNTS, request.key, {"metadata": {"name": DEFAULT_ACCOUNT}})
        config_map = {
            "metadata": {"name": ROOT_CA, "annotations": {"kubernetes.io/description": _DESCRIPTION}},
            "data": {"ca.crt": self._ca_pem},
        }
        await self._ensure(CONFIG_MAPS, request.key, config_map)
        known = self._world.get(CONFIG_MAPS, request.key, ROOT_CA)
        if known is not None and mapping(known, "data") != config_map["data"]:
            await self._world.modify(CONFIG_MAPS, known, lambda obj: {**obj, "data": config_map["data"]})

    async def _ensure(self, resource: Resource, namespace: str, obj: Object) -> None:
        metadata = {**obj["metadata"], "namespace": namespace}
        if self._world.get(resource, namespace, metadata["name"]) is not None:
            return
        try:
            await self._world.create(resource, {**obj, "metadata": metadata})
        except (AlreadyExistsError, NotFoundError, PermissionDeniedError):
            return  # somebody was faster, or the namespace is going


def _named(name: str) -> Callable[[ObjectChange], Iterable[str]]:
    def mapper(change: ObjectChange) -> Iterable[str]:
        return (change.key.namespace,) if change.key.name == name else ()

    return mapper
