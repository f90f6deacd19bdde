"""The StatefulSet controller: Pods with names that stay, one after the other, each with its own claims.

As in Kubernetes: OrderedReady makes a Pod only when those before it are available and removes them from the
end; Parallel does not wait; a rolling update replaces Pods from the end down to the partition. Claims stay
when Pods go. Next: `hanse_simulator.workloads.revisions`.
"""

from __future__ import annotations

from typing import Any

from hanse.control import Request, Result
from hanse.errors import AlreadyExistsError
from hanse.kube.kinds.kubernetes import apps
from hanse.kube.model.objects import Object, is_deleting, labels_of, mapping, name_of, sequence
from hanse.numbers import whole_number
from hanse_simulator.controllers import pods as pod_rules
from hanse_simulator.controllers.loops import Loop, controlled_by, itself, split
from hanse_simulator.workloads import revisions
from hanse_simulator.workloads.ownership import claim
from hanse_simulator.world import (
    CLAIMS,
    PODS,
    REVISIONS,
    STATEFUL_SETS,
    ClusterContext,
    generation_of,
)

POD_NAME = "statefulset.kubernetes.io/pod-name"
POD_INDEX = "apps.kubernetes.io/pod-index"


class StatefulSets:
    """Keeps StatefulSets at their Pods."""

    def __init__(self, world: ClusterContext) -> None:
        self._world = world

    def loop(self) -> Loop:
        """Return the controller."""
        return Loop(
            apps.STATEFUL_SET.plural,
            self,
            {STATEFUL_SETS: itself, PODS: controlled_by(apps.STATEFUL_SET.name)},
        )

    async def reconcile(self, request: Request) -> Result | None:
        """Take the set one step further, and write the status."""
        await self._world.fresh()
        owner = self._world.get(STATEFUL_SETS, *split(request.key))
        if owner is None or is_deleting(owner):
            return None
        pods = await claim(self._world, owner, PODS)
        update = await revisions.current(self._world, owner)
        current = self._revision(owner, mapping(owner, "status").get("currentRevision", "")) or update
        await self._step(owner, _by_ordinal(owner, pods), current=current, update=update)
        await self._world.fresh()
        pods = self._world.owned(owner, PODS)
        return await self._report(owner, pods, current=current, update=update)

    def _revision(self, owner: Object, name: str) -> Object | None:
        found = [r for r in self._world.owned(owner, REVISIONS) if name_of(r) == name]
        return found[0] if found else None

    async def _step(self, owner: Object, pods: dict[int, Object], *, current: Object, update: Object) -> None:
        """Do the next thing: make a Pod, remove one, or replace one. In order unless Parallel."""
        ordered = mapping(owner, "spec").get("podManagementPolicy", "OrderedReady") == "OrderedReady"
        wanted = _ordinals(owner)
        for ordinal in wanted:
            pod = pods.get(ordinal)
            if pod is None:
                await self._create(owner, ordinal, current=current, update=update)
            elif pod_rules.phase(pod) in ("Failed", "Succeeded") and not is_deleting(pod):
                await self._world.delete(PODS, pod)
            elif self._healthy(owner, pod) or not ordered:
                continue
            if ordered:
                if pod is not None and not is_deleting(pod):
                    await self._unstick(owner, pod, update=update)
                return
        for ordinal in sorted((o for o in pods if o not in wanted), reverse=True):
            if not is_deleting(pods[ordinal]):
                await self._world.delete(PODS, pods[ordinal])
            if ordered:
                return
        await self._roll(owner, pods, update=update)

    async def _unstick(self, owner: Object, pod: Object, *, update: Object) -> None:
        """Replace a Pod of an older revision that does not get ready, so that a repaired template can."""
        if not _rolls(owner) or _ordinal(owner, pod) < _partition(owner):
            return
        if labels_of(pod).get(revisions.HASH) != name_of(update) and not pod_rules.is_ready(pod):
            await self._world.delete(PODS, pod)

    async def _roll(self, owner: Object, pods: dict[int, Object], *, update: Object) -> None:
        if not _rolls(owner):
            return
        for ordinal in sorted(_ordinals(owner), reverse=True):
            if ordinal < _partition(owner):
                return
            pod = pods.get(ordinal)
            if pod is None:
                return
            if labels_of(pod).get(revisions.HASH) != name_of(update):
                if not is_deleting(pod):
                    await self._world.delete(PODS, pod)
                return
            if not self._healthy(owner, pod):
                return

    def _healthy(self, owner: Object, pod: Object) -> bool:
        return not is_deleting(pod) and pod_rules.is_available(pod, _min_ready(owner), self._world.now())

    async def _create(self, owner: Object, ordinal: int, *, current: Object, update: Object) -> None:
        below = ordinal < _partition(owner) and _rolls(owner)
        revision = current if below else update
        name = f"{name_of(owner)}-{ordinal}"
        template = revisions.template_in(revision)
        labels = {POD_NAME: name, POD_INDEX: str(ordinal), revisions.HASH: name_of(revision)}
        pod = pod_rules.from_template(template, owner=owner, name=name, labels=labels)
        volumes = []
        for claim_template in sequence(owner, "spec", "volumeClaimTemplates"):
            volume = name_of(claim_template)
            claim_name = f"{volume}-{name}"
            await self._claim(owner, claim_template, claim_name)
            volumes.append({"name": volume, "persistentVolumeClaim": {"claimName": claim_name}})
        spec: dict[str, Any] = {**pod["spec"], "hostname": name}
        if mapping(owner, "spec").get("serviceName"):
            spec["subdomain"] = owner["spec"]["serviceName"]
        if volumes:
            replaced = {v["name"] for v in volumes}
            spec["volumes"] = [
                *(v for v in spec.get("volumes") or () if v.get("name") not in replaced), *volumes
            ]  # fmt: skip
        try:
            await self._world.create(PODS, {**pod, "spec": spec})
        except AlreadyExistsError:
            return  # an ended one that is going, or another's: look again when it changes

    async def _claim(self, owner: Object, template: Object, name: str) -> None:
        namespace = owner["metadata"]["namespace"]
        if self._world.get(CLAIMS, namespace, name) is not None:
            return
        labels = {**labels_of(template), **mapping(owner, "spec", "selector").get("matchLabels", {})}
        annotations = template.get("metadata", {}).get("annotations") or {}
        metadata: dict[str, Any] = {"name": name, "namespace": namespace, "labels": labels}
        if annotations:
            metadata["annotations"] = annotations
        try:
            await self._world.create(CLAIMS, {"metadata": metadata, "spec": mapping(template, "spec")})
        except AlreadyExistsError:
            return

    async def _report(
        self, owner: Object, pods: list[Object], *, current: Object, update: Object
    ) -> Result | None:
        min_ready, now = _min_ready(owner), self._world.now()
        alive = [p for p in pods if pod_rules.phase(p) not in ("Failed", "Succeeded")]
        active = [p for p in alive if not is_deleting(p)]
        wanted = int(mapping(owner, "spec").get("replicas", 1))
        updated = sum(labels_of(p).get(revisions.HASH) == name_of(update) for p in active)
        ready = sum(pod_rules.is_ready(p) for p in active)
        done = updated == wanted == len(alive) and ready == wanted
        now_current = update if done else current
        status: dict[str, Any] = {
            "observedGeneration": generation_of(owner),
            "replicas": len(alive),
            "availableReplicas": sum(pod_rules.is_available(p, min_ready, now) for p in active),
            "currentRevision": name_of(now_current),
            "updateRevision": name_of(update),
            "collisionCount": 0,
        }
        optional = {
            "readyReplicas": ready,
            "currentReplicas": sum(labels_of(p).get(revisions.HASH) == name_of(now_current) for p in active),
            "updatedReplicas": updated,
        }
        status |= {name: count for name, count in optional.items() if count}
        await self._world.set_status(STATEFUL_SETS, owner, status)
        used = {revisions.hash_of(now_current), revisions.hash_of(update)}
        await revisions.forget_old(self._world, owner, used=used)
        wait = pod_rules.next_available(active, min_ready, now)
        return Result(requeue_after=wait) if wait is not None else None


def _ordinals(owner: Object) -> range:
    start = int(mapping(owner, "spec", "ordinals").get("start") or 0)
    return range(start, start + int(mapping(owner, "spec").get("replicas", 1)))


def _partition(owner: Object) -> int:
    return int(mapping(owner, "spec", "updateStrategy", "rollingUpdate").get("partition") or 0)


def _rolls(owner: Object) -> bool:
    return bool(mapping(owner, "spec", "updateStrategy").get("type", "RollingUpdate") == "RollingUpdate")


def _min_ready(owner: Object) -> float:
    return float(mapping(owner, "spec").get("minReadySeconds") or 0)


def _ordinal(owner: Object, pod: Object) -> int:
    text = name_of(pod).removeprefix(f"{name_of(owner)}-")
    return -1 if (number := whole_number(text)) is None else number


def _by_ordinal(owner: Object, pods: list[Object]) -> dict[int, Object]:
    found = {_ordinal(owner, pod): pod for pod in pods}
    found.pop(-1, None)
    return found
