"""What the controllers of a simulated cluster see and do: the engine's cache with indexes, and its writes.

The indexes (controlled objects by owner, Pods and ReplicaSets by label) follow the cache in the same call in
which it changes, so they never differ from it. Objects that come out of here must not be changed in place.
`fresh()` waits until the cache has everything that this process wrote; a controller calls it before it looks,
because it would otherwise act twice on what it did itself.

One event loop, no locks. Next: `hanse_simulator.controllers.loops`, which runs controllers over a world.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from hanse.errors import InternalError, NotFoundError
from hanse.kube.engine.engine import KubeEngine
from hanse.kube.engine.lifecycle import Propagation
from hanse.kube.engine.options import DeleteOptions, WriteOptions
from hanse.kube.engine.served import ObjectChange, ServedObject
from hanse.kube.kinds.kubernetes import apps, batch, core, networking, security, storage
from hanse.kube.kinds.resource_info import ResourceInfo
from hanse.kube.model.objects import Object, labels_of, mapping, name_of, namespace_of, sequence
from hanse.kube.model.selectors import LabelSelector
from hanse.kube.model.times import format_time
from hanse.store.keys import ObjectKey

Resource = tuple[str, str]
"""Group ("" for core) and plural."""

PODS: Resource = core.POD.group_plural
NODES: Resource = core.NODE.group_plural
SERVICES: Resource = core.SERVICE.group_plural
ENDPOINTS: Resource = core.ENDPOINTS.group_plural
ENDPOINT_SLICES: Resource = networking.ENDPOINT_SLICE.group_plural
NAMESPACES: Resource = core.NAMESPACE.group_plural
CONFIG_MAPS: Resource = core.CONFIG_MAP.group_plural
SECRETS: Resource = core.SECRET.group_plural
SERVICE_ACCOUNTS: Resource = core.SERVICE_ACCOUNT.group_plural
EVENTS: Resource = core.EVENT.group_plural
CLAIMS: Resource = core.PERSISTENT_VOLUME_CLAIM.group_plural
VOLUMES: Resource = core.PERSISTENT_VOLUME.group_plural
STORAGE_CLASSES: Resource = storage.STORAGE_CLASS.group_plural
DEPLOYMENTS: Resource = apps.DEPLOYMENT.group_plural
REPLICA_SETS: Resource = apps.REPLICA_SET.group_plural
STATEFUL_SETS: Resource = apps.STATEFUL_SET.group_plural
DAEMON_SETS: Resource = apps.DAEMON_SET.group_plural
REVISIONS: Resource = apps.CONTROLLER_REVISION.group_plural
JOBS: Resource = batch.JOB.group_plural
CLUSTER_ROLES: Resource = security.CLUSTER_ROLE.group_plural

_LABELLED = frozenset({PODS, REPLICA_SETS})

MANAGER = "kube-controller-manager"
"""Who is recorded in managedFields for what controllers write."""


class ClusterContext:
    """One cluster's objects, as its controllers see them."""

    def __init__(self, engine: KubeEngine) -> None:
        """Follow the engine's cache, which must have been loaded."""
        self.engine = engine
        self.cache = engine.cache
        self._owned: dict[str, dict[Resource, set[ObjectKey]]] = {}
        self._labelled: dict[tuple[str, str, str, str], set[ObjectKey]] = {}
        self._unsubscribe = self.cache.subscribe(self._changed)
        for resource in self.cache.resources():
            for entry in self.cache.objects(*resource):
                self._index(entry)

    def close(self) -> None:
        """Stop following."""
        self._unsubscribe()

    # Reading.

    def now(self) -> datetime:
        """Return the time, in UTC."""
        return self.engine.clock()

    def monotonic(self) -> float:
        """Return the event loop's clock, in seconds: for delays."""
        return asyncio.get_running_loop().time()

    def stamp(self) -> str:
        """Return the time as Kubernetes writes it."""
        return format_time(self.now())

    async def fresh(self) -> None:
        """Wait until everything that this process wrote can be read."""
        await self.cache.fresh()

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """Return an object; None if there is none."""
        entry = self.cache.get(ObjectKey(*resource, namespace, name))
        return entry.object if entry else None

    def objects(self, resource: Resource, namespace: str | None = None) -> list[Object]:
        """Return the objects of a resource, in one namespace or in all."""
        return [entry.object for entry in self.cache.objects(*resource, namespace)]

    def owned(self, owner: Object, resource: Resource) -> list[Object]:
        """Return the objects of a resource that `owner` controls, in order of name."""
        uid = owner["metadata"]["uid"]
        return self._found(self._owned.get(uid, {}).get(resource, ()))

    def matching(self, resource: Resource, namespace: str, selector: LabelSelector) -> list[Object]:
        """Return the Pods or ReplicaSets in a namespace that a selector selects, in order of name."""
        if resource not in _LABELLED:
            raise InternalError(f"{resource} is not indexed by labels")
        for requirement in selector.requirements:
            if requirement.operator == "In" and len(requirement.values) == 1:
                (value,) = requirement.values
                keys = self._labelled.get((resource[1], namespace, requirement.key, value), ())
                found = self._found(keys)
                break
        else:
            found = self.objects(resource, namespace)
        return [obj for obj in found if selector.matches(labels_of(obj))]

    def _found(self, keys: Iterable[ObjectKey]) -> list[Object]:
        entries = (self.cache.get(key) for key in sorted(keys))
        return [entry.object for entry in entries if entry is not None]

    # Writing.

    def info(self, resource: Resource) -> ResourceInfo:
        """Return what the engine knows about a resource."""
        info = self.engine.catalogue.storage(*resource)
        if info is None:
            raise InternalError(f"the engine has no resource {resource}")
        return info

    async def create(self, resource: Resource, obj: Mapping[str, Any], *, manager: str = MANAGER) -> Object:
        """Create an object; `apiVersion` and `kind` are filled in. Raises what the engine raises."""
        info = self.info(resource)
        full = {"apiVersion": info.api_version, "kind": info.kind, **obj}
        return await self.engine.resources.create(info, full, options=WriteOptions(field_manager=manager))

    async def modify(
        self,
        resource: Resource,
        obj: Object,
        change: Callable[[Object], Object | None],
        *,
        subresource: str = "",
        manager: str = MANAGER,
    ) -> None:
        """Change an object if it is still the same one (by uid); nothing happens if it is gone."""
        uid = obj["metadata"]["uid"]

        def guarded(current: Object) -> Object | None:
            return change(current) if current["metadata"]["uid"] == uid else None

        try:
            await self.engine.resources.modify(
                self.info(resource),
                namespace=namespace_of(obj),
                name=name_of(obj),
                change=guarded,
                subresource=subresource,
                options=WriteOptions(field_manager=manager),
            )
        except NotFoundError:
            return

    async def set_status(
        self, resource: Resource, obj: Object, status: Mapping[str, Any], *, manager: str = MANAGER
    ) -> bool:
        """Replace an object's status; return False if it is so already."""
        if obj.get("status") == status:
            return False

        def change(current: Object) -> Object | None:
            return None if current.get("status") == status else {**current, "status": dict(status)}

        await self.modify(resource, obj, change, subresource="status", manager=manager)
        return True

    async def delete(
        self, resource: Resource, obj: Object, *, grace: int | None = None, propagation: Propagation = ""
    ) -> None:
        """Delete an object if it is still the same one (by uid)."""
        try:
            await self.engine.resources.delete(
                self.info(resource),
                namespace=namespace_of(obj),
                name=name_of(obj),
                options=DeleteOptions(
                    uid=obj["metadata"]["uid"], grace_seconds=grace, propagation=propagation
                ),
            )
        except NotFoundError:
            return

    # Indexes.

    def _changed(self, change: ObjectChange) -> None:
        if change.previous is not None:
            self._forget(change.previous)
        if change.type != "DELETED":
            self._index(change.entry)

    def _index(self, entry: ServedObject) -> None:
        key = entry.key
        resource = (key.group, key.resource)
        owner = controller_of(entry.object)
        if owner is not None:
            self._owned.setdefault(owner["uid"], {}).setdefault(resource, set()).add(key)
        if resource in _LABELLED:
            for label, value in entry.labels.items():
                self._labelled.setdefault((key.resource, key.namespace, label, value), set()).add(key)

    def _forget(self, entry: ServedObject) -> None:
        key = entry.key
        resource = (key.group, key.resource)
        owner = controller_of(entry.object)
        if owner is not None:
            by_resource = self._owned.get(owner["uid"], {})
            keys = by_resource.get(resource, set())
            keys.discard(key)
            if not keys:
                by_resource.pop(resource, None)
            if not by_resource:
                self._owned.pop(owner["uid"], None)
        if resource in _LABELLED:
            for label, value in entry.labels.items():
                index = (key.resource, key.namespace, label, value)
                keys = self._labelled.get(index, set())
                keys.discard(key)
                if not keys:
                    self._labelled.pop(index, None)


def controller_of(obj: Object) -> dict[str, Any] | None:
    """Return the owner reference of an object's controller; None if nothing controls it."""
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            found: dict[str, Any] = reference
            return found
    return None


def owner_reference(owner: Object) -> dict[str, Any]:
    """Return the reference that makes `owner` the controller of an object."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": name_of(owner),
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def generation_of(obj: Object) -> int:
    """Return metadata.generation."""
    return int(obj["metadata"].get("generation") or 0)


def selector_of(obj: Object) -> LabelSelector:
    """Return spec.selector, a label selector."""
    return LabelSelector.from_object(mapping(obj, "spec").get("selector"))


def condition(obj: Object, kind: str) -> dict[str, Any] | None:
    """Return the status condition of a type; None if there is none."""
    for found in sequence(obj, "status", "conditions"):
        if found.get("type") == kind:
            result: dict[str, Any] = found
            return result
    return None


def is_true(obj: Object, kind: str) -> bool:
    """Report whether a status condition is True."""
    found = condition(obj, kind)
    return found is not None and found.get("status") == "True"


def parse_time(value: str) -> datetime:
    """Return a time that Kubernetes wrote."""
    return datetime.fromisoformat(value).astimezone(UTC)


def seconds_until(moment: datetime, after: float, now: datetime) -> float:
    """Return how many seconds it is from `now` until `after` seconds after `moment`; negative if past."""
    return (moment + timedelta(seconds=after) - now).total_seconds()
