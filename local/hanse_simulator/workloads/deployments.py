"""The Deployment controller: a ReplicaSet for each template, and rollouts from one to the next.

As in Kubernetes: the ReplicaSet of a template is named after its hash and keeps its revision, so that
`kubectl rollout status|history|undo|restart|pause` work; old ones stay, empty, up to revisionHistoryLimit.

Next: `hanse_simulator.workloads.rollout` for the arithmetic, `.deploymentstatus` for the status.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hanse.control import Request, Result
from hanse.errors import AlreadyExistsError
from hanse.kube.engine.served import ObjectChange
from hanse.kube.kinds.kubernetes import apps
from hanse.kube.model.objects import Object, annotations_of, is_deleting, mapping, name_of
from hanse.numbers import whole_number
from hanse_simulator.controllers import pods as pod_rules
from hanse_simulator.controllers.loops import Loop, controlled_by, itself, split
from hanse_simulator.workloads import rollout
from hanse_simulator.workloads.deploymentstatus import progress_wait, status_of
from hanse_simulator.workloads.ownership import claim
from hanse_simulator.workloads.rollout import Bounds, Replicas
from hanse_simulator.world import (
    DEPLOYMENTS,
    PODS,
    REPLICA_SETS,
    ClusterContext,
    controller_of,
    owner_reference,
)

HASH = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MOST = "deployment.kubernetes.io/max-replicas"

_NOT_COPIED = frozenset(
    {"kubectl.kubernetes.io/last-applied-configuration", REVISION, DESIRED, MOST,
     "deployment.kubernetes.io/revision-history"}
)  # fmt: skip
_HISTORY = 10


class Deployments:
    """Rolls Deployments out."""

    def __init__(self, world: ClusterContext) -> None:
        self._world = world

    def loop(self) -> Loop:
        """Return the controller."""
        watches = {
            DEPLOYMENTS: itself,
            REPLICA_SETS: controlled_by(apps.DEPLOYMENT.name),
            PODS: self._pod_changed,
        }
        return Loop(apps.DEPLOYMENT.plural, self, watches)

    def _pod_changed(self, change: ObjectChange) -> Iterable[str]:
        """Map a Pod that is gone to its Deployment: with Recreate its successor waits for that."""
        owner = controller_of(change.entry.object) if change.type == "DELETED" else None
        if owner is None or owner["kind"] != apps.REPLICA_SET.name:
            return ()
        replica_set = self._world.get(REPLICA_SETS, change.key.namespace, owner["name"])
        top = controller_of(replica_set) if replica_set else None
        deployment = self._world.get(DEPLOYMENTS, change.key.namespace, top["name"]) if top else None
        if deployment is None or mapping(deployment, "spec", "strategy").get("type") != "Recreate":
            return ()
        return (f"{change.key.namespace}/{name_of(deployment)}",)

    async def reconcile(self, request: Request) -> Result | None:
        """Take a rollout one step further, and write the status."""
        await self._world.fresh()
        deployment = self._world.get(DEPLOYMENTS, *split(request.key))
        if deployment is None:
            return None
        sets = sorted(await claim(self._world, deployment, REPLICA_SETS), key=_age)
        if is_deleting(deployment):
            return await self._report(deployment, sets)
        new = _newest(deployment, sets)
        if rollout.paused(deployment):
            await self._rescale(deployment, new, sets)
        else:
            new = await self._ensure_new(deployment, new, sets)
            sets = [s for s in sets if s is not None and not is_deleting(s)]
            await self._step(deployment, new, [s for s in sets if name_of(s) != name_of(new)])
            await self._forget_old(deployment, new, sets)
        await self._world.fresh()
        current = self._world.get(DEPLOYMENTS, *split(request.key))
        if current is None or current["metadata"]["uid"] != deployment["metadata"]["uid"]:
            return None
        return await self._report(current, sorted(self._world.owned(current, REPLICA_SETS), key=_age))

    # The new ReplicaSet.

    async def _ensure_new(self, deployment: Object, new: Object | None, sets: list[Object]) -> Object:
        """Return the ReplicaSet of the current template, made or numbered again if need be."""
        highest = max((_revision(s) for s in sets if new is None or name_of(s) != name_of(new)), default=0)
        if new is None:
            new = await self._create(deployment, sets, revision=highest + 1)
        elif _revision(new) <= highest:
            await self._annotate(REPLICA_SETS, new, {REVISION: str(highest + 1)})
            await self._world.fresh()
            new = self._world.get(REPLICA_SETS, new["metadata"]["namespace"], name_of(new)) or new
        revision = str(_revision(new))
        if annotations_of(deployment).get(REVISION) != revision:
            await self._annotate(DEPLOYMENTS, deployment, {REVISION: revision})
        return new

    async def _create(self, deployment: Object, sets: list[Object], *, revision: int) -> Object:
        template = pod_rules.template_of(deployment)
        limits, replicas = rollout.bounds(deployment), _replicas(deployment)
        others = [_view(s) for s in sets]
        start = replicas
        if mapping(deployment, "spec", "strategy").get("type") != "Recreate":
            start = rollout.grow(Replicas("", 0), others, replicas=replicas, limits=limits)
        elif any(o.wanted for o in others):
            start = 0
        salt = 0
        while True:
            digest = pod_rules.template_hash(template, ignoring=HASH, salt=salt)
            try:
                return await self._world.create(
                    REPLICA_SETS,
                    _replica_set(deployment, template, digest, start, revision=revision, limits=limits),
                )
            except AlreadyExistsError:
                salt += 1
                if salt > 10:
                    raise

    async def _annotate(self, resource: Any, obj: Object, annotations: dict[str, str]) -> None:
        def change(current: Object) -> Object:
            merged = {**annotations_of(current), **annotations}
            return {**current, "metadata": {**current["metadata"], "annotations": merged}}

        await self._world.modify(resource, obj, change)

    # One step.

    async def _step(self, deployment: Object, new: Object, olds: list[Object]) -> None:
        if self._is_resize(deployment, [new, *olds]):
            await self._rescale(deployment, new, [new, *olds])
            return
        if mapping(deployment, "spec", "strategy").get("type") == "Recreate":
            await self._recreate(deployment, new, olds)
            return
        limits, replicas = rollout.bounds(deployment), _replicas(deployment)
        target = rollout.grow(_view(new), [_view(o) for o in olds], replicas=replicas, limits=limits)
        if target != _replicas(new):
            await self._set_replicas(deployment, new, target)
            return
        active = [o for o in olds if _replicas(o)]
        by_name = {name_of(o): o for o in active}
        wanted = rollout.shrink(_view(new), [_view(o) for o in active], replicas=replicas, limits=limits)
        for name, count in wanted.items():
            await self._set_replicas(deployment, by_name[name], count)

    async def _recreate(self, deployment: Object, new: Object, olds: list[Object]) -> None:
        active = [o for o in olds if _replicas(o)]
        for old in active:
            await self._set_replicas(deployment, old, 0)
        running = [pod for old in olds for pod in self._world.owned(old, PODS)]
        if not active and not any(pod_rules.phase(p) not in ("Succeeded", "Failed") for p in running):
            await self._set_replicas(deployment, new, _replicas(deployment))

    @staticmethod
    def _is_resize(deployment: Object, sets: list[Object]) -> bool:
        """Report whether the Deployment's own number of replicas has changed since the last step."""
        wanted = str(_replicas(deployment))
        return any(_replicas(s) and annotations_of(s).get(DESIRED, wanted) != wanted for s in sets)

    async def _rescale(self, deployment: Object, new: Object | None, sets: list[Object]) -> None:
        """Follow a change of the number of replicas, without going on with the rollout."""
        replicas, limits = _replicas(deployment), rollout.bounds(deployment)
        active = [s for s in sets if _replicas(s)]
        if len(active) <= 1:
            only = active[0] if active else (new or (sets[-1] if sets else None))
            if only is not None:
                await self._set_replicas(deployment, only, replicas)
            return
        if new is not None and _view(new).available >= replicas and _replicas(new) == replicas:
            for old in active:
                if name_of(old) != name_of(new):
                    await self._set_replicas(deployment, old, 0)
            return
        total = replicas + (limits.surge if replicas else 0)
        current = sum(_replicas(s) for s in active)
        if self._is_resize(deployment, active) and current != total:
            shares = rollout.share([_view(s) for s in reversed(active)], total=total)
            for one in active:
                await self._set_replicas(deployment, one, shares.get(name_of(one), 0))

    async def _set_replicas(self, deployment: Object, replica_set: Object, count: int) -> None:
        limits = rollout.bounds(deployment)
        wanted = {
            DESIRED: str(_replicas(deployment)), MOST: str(_replicas(deployment) + limits.surge),
        }  # fmt: skip
        if _replicas(replica_set) == count and wanted.items() <= annotations_of(replica_set).items():
            return

        def change(current: Object) -> Object:
            metadata = {**current["metadata"], "annotations": {**annotations_of(current), **wanted}}
            return {**current, "metadata": metadata, "spec": {**current["spec"], "replicas": count}}

        await self._world.modify(REPLICA_SETS, replica_set, change)

    async def _forget_old(self, deployment: Object, new: Object, sets: list[Object]) -> None:
        """Delete empty old ReplicaSets beyond revisionHistoryLimit, oldest revision first."""
        limit = int(mapping(deployment, "spec").get("revisionHistoryLimit", _HISTORY))
        old = [
            s for s in sorted(sets, key=_revision)
            if name_of(s) != name_of(new) and not _replicas(s) and not mapping(s, "status").get("replicas")
        ]  # fmt: skip
        for one in old[: max(0, len(old) - limit)]:
            await self._world.delete(REPLICA_SETS, one)

    async def _report(self, deployment: Object, sets: list[Object]) -> Result | None:
        new = _newest(deployment, sets)
        now = self._world.stamp()
        status = status_of(deployment, sets, new, now=now)
        await self._world.set_status(DEPLOYMENTS, deployment, status)
        wait = progress_wait(deployment, status, now=self._world.now())
        return Result(requeue_after=wait) if wait is not None else None


def _replica_set(
    deployment: Object, template: Object, digest: str, replicas: int, *, revision: int, limits: Bounds
) -> Object:
    spec = mapping(deployment, "spec")
    selector = mapping(spec, "selector")
    labelled = pod_rules.with_label(template, HASH, digest)
    copied = {k: v for k, v in annotations_of(deployment).items() if k not in _NOT_COPIED}
    annotations = {
        **copied,
        REVISION: str(revision),
        DESIRED: str(_replicas(deployment)),
        MOST: str(_replicas(deployment) + limits.surge),
    }
    result_spec: dict[str, Any] = {
        "replicas": replicas,
        "selector": {**selector, "matchLabels": {**(selector.get("matchLabels") or {}), HASH: digest}},
        "template": labelled,
    }
    if spec.get("minReadySeconds"):
        result_spec["minReadySeconds"] = spec["minReadySeconds"]
    return {
        "metadata": {
            "name": f"{name_of(deployment)[:240]}-{digest}",
            "namespace": deployment["metadata"]["namespace"],
            "labels": labelled["metadata"]["labels"],
            "annotations": annotations,
            "ownerReferences": [owner_reference(deployment)],
        },
        "spec": result_spec,
    }


def _newest(deployment: Object, sets: list[Object]) -> Object | None:
    """Return the ReplicaSet of the Deployment's template, the oldest if several are; None if none is."""
    template = pod_rules.template_of(deployment)
    for one in sets:
        same = pod_rules.same_template(pod_rules.template_of(one), template, ignoring=HASH)
        if same and not is_deleting(one):
            return one
    return None


def _replicas(obj: Object) -> int:
    return int(mapping(obj, "spec").get("replicas", 1))


def _view(replica_set: Object) -> Replicas:
    status = mapping(replica_set, "status")
    return Replicas(name_of(replica_set), _replicas(replica_set), int(status.get("availableReplicas") or 0))


def _revision(obj: Object) -> int:
    text = annotations_of(obj).get(REVISION, "")
    return whole_number(text) or 0


def _age(obj: Object) -> tuple[str, str]:
    return (str(obj["metadata"]["creationTimestamp"]), name_of(obj))
