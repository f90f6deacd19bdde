"""Storage: every claim of a class of this simulator gets a volume, which goes when its claim does.

Next: `hanse_simulator.workloads.statefulsets`, which makes claims.
"""

from __future__ import annotations

from collections.abc import Iterable

from hanse.control import Request
from hanse.errors import AlreadyExistsError
from hanse.kube.engine.served import ObjectChange
from hanse.kube.model.objects import Object, is_deleting, mapping, name_of
from hanse_simulator.controllers.loops import Loop, itself, split
from hanse_simulator.controllers.nodes import PROVISIONER
from hanse_simulator.world import CLAIMS, STORAGE_CLASSES, VOLUMES, ClusterContext

_CLAIM = "pv.kubernetes.io/provisioned-by"


class Volumes:
    """Binds claims."""

    def __init__(self, world: ClusterContext) -> None:
        self._world = world

    def loop(self) -> Loop:
        """Return the controller."""
        watches = {CLAIMS: itself, VOLUMES: _claim_of, STORAGE_CLASSES: self._class_changed}
        return Loop("volumes", self, watches, workers=8)

    def _class_changed(self, change: ObjectChange) -> Iterable[str]:
        """Look again at the claims of a class that is new."""
        return [
            f"{claim['metadata']['namespace']}/{name_of(claim)}"
            for claim in self._world.objects(CLAIMS)
            if mapping(claim, "spec").get("storageClassName") == change.key.name
        ]

    async def reconcile(self, request: Request) -> None:
        """Make a claim's volume and bind both, or remove the volume of a claim that is gone."""
        await self._world.fresh()
        claim = self._world.get(CLAIMS, *split(request.key))
        uid = claim["metadata"]["uid"] if claim else ""
        for volume in self._of(request.key):
            if mapping(volume, "spec", "claimRef").get("uid") != uid:
                await self._world.delete(VOLUMES, volume)
        if claim is None or is_deleting(claim) or not self._is_ours(claim):
            return
        name = str(mapping(claim, "spec").get("volumeName") or f"pvc-{uid}")
        if name != f"pvc-{uid}":
            return  # bound to a volume that somebody chose
        volume = self._world.get(VOLUMES, "", name) or await self._make(claim, name)
        await self._world.set_status(VOLUMES, volume, {"phase": "Bound"})
        await self._world.modify(CLAIMS, claim, lambda current: _bound(current, name))
        status = {
            "phase": "Bound",
            "accessModes": mapping(claim, "spec").get("accessModes", []),
            "capacity": mapping(claim, "spec", "resources", "requests"),
        }
        await self._world.set_status(CLAIMS, claim, status)

    def _of(self, key: str) -> list[Object]:
        return [v for v in self._world.objects(VOLUMES) if _claim_key(v) == key]

    def _is_ours(self, claim: Object) -> bool:
        name = str(mapping(claim, "spec").get("storageClassName") or "")
        found = self._world.get(STORAGE_CLASSES, "", name) if name else None
        return found is not None and found.get("provisioner") == PROVISIONER

    async def _make(self, claim: Object, name: str) -> Object:
        info = self._world.info(CLAIMS)
        spec, metadata = mapping(claim, "spec"), claim["metadata"]
        volume = {
            "metadata": {"name": name, "annotations": {_CLAIM: PROVISIONER}},
            "spec": {
                "accessModes": spec.get("accessModes", ["ReadWriteOnce"]),
                "capacity": mapping(spec, "resources", "requests"),
                "claimRef": {
                    "apiVersion": info.api_version, "kind": info.kind, "name": name_of(claim),
                    "namespace": metadata["namespace"], "uid": metadata["uid"],
                },
                "csi": {"driver": PROVISIONER, "volumeHandle": name},
                "persistentVolumeReclaimPolicy": "Delete",
                "storageClassName": spec.get("storageClassName", ""),
                "volumeMode": spec.get("volumeMode", "Filesystem"),
            },
        }  # fmt: skip
        try:
            return await self._world.create(VOLUMES, volume)
        except AlreadyExistsError:
            await self._world.fresh()
            found = self._world.get(VOLUMES, "", name)
            if found is None:
                raise
            return found


def _bound(claim: Object, volume: str) -> Object | None:
    spec = mapping(claim, "spec")
    return None if spec.get("volumeName") else {**claim, "spec": {**spec, "volumeName": volume}}


def _claim_of(change: ObjectChange) -> Iterable[str]:
    """Map a volume of this simulator to its claim."""
    key = _claim_key(change.entry.object)
    return (key,) if key else ()


def _claim_key(volume: Object) -> str:
    metadata = volume["metadata"]
    if (metadata.get("annotations") or {}).get(_CLAIM) != PROVISIONER:
        return ""
    reference = mapping(volume, "spec", "claimRef")
    return f"{reference.get('namespace')}/{reference.get('name')}"
