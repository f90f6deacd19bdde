"""Volumes and their claims, storage classes and drivers.

Pure functions, and the strategies made of them. Next: `hanse.kube.kinds.strategies.kubernetes`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

from hanse.kube.kinds.fields.cells import UNSET, columns
from hanse.kube.kinds.fields.filling import ensure, fill, fill_texts
from hanse.kube.kinds.fields.pod_defaults import default_volume
from hanse.kube.kinds.kubernetes import core, storage
from hanse.kube.kinds.strategy import Cell, Strategy
from hanse.kube.merge.typed import same
from hanse.kube.model.fielderrors import FieldError, forbidden
from hanse.kube.model.objects import Object, child, is_deleting, mapping, sequence


def default_claim(obj: Object) -> None:
    ensure(obj, "spec").setdefault("volumeMode", "Filesystem")
    ensure(obj, "status").setdefault("phase", "Pending")


def _default_volume(obj: Object) -> None:
    spec = ensure(obj, "spec")
    fill_texts(spec, {"persistentVolumeReclaimPolicy": "Retain"})
    spec.setdefault("volumeMode", "Filesystem")
    default_volume(spec, pod=False)
    ensure(obj, "status").setdefault("phase", "Pending")


def _default_storage_class(obj: Object) -> None:
    fill(obj, {"reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"})


def _default_csi_driver(obj: Object) -> None:
    fill(
        ensure(obj, "spec"),
        {
            "attachRequired": True,
            "fsGroupPolicy": "ReadWriteOnceWithFSType",
            "podInfoOnMount": False,
            "requiresRepublish": False,
            "seLinuxMount": False,
            "storageCapacity": False,
            "volumeLifecycleModes": ["Persistent"],
        },
    )


def _claim_changes(old: Object, new: Object) -> Iterator[FieldError]:
    free = (
        "resources",
        "volumeAttributesClassName",
        *(() if child(old, "spec", "volumeName") else ("volumeName",)),
    )
    before = {k: v for k, v in mapping(old, "spec").items() if k not in free}
    after = {k: v for k, v in mapping(new, "spec").items() if k not in free}
    if not same(before, after):
        yield forbidden(
            "spec",
            "spec is immutable after creation except resources.requests and volumeAttributesClassName "
            "for bound claims",
        )


_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def _modes(values: Iterable[str]) -> str:
    return ",".join(_MODES.get(v, v) for v in values)


def _claim_row(obj: Object, now: datetime) -> Sequence[Cell]:
    spec, status = mapping(obj, "spec"), mapping(obj, "status")
    bound = bool(spec.get("volumeName"))
    phase = "Terminating" if is_deleting(obj) else status.get("phase", "")
    return (
        phase,
        spec.get("volumeName", ""),
        mapping(status, "capacity").get("storage", "") if bound else "",
        _modes(sequence(status, "accessModes")) if bound else "",
        spec.get("storageClassName", ""),
        spec.get("volumeAttributesClassName") or UNSET,
        spec.get("volumeMode", "Filesystem"),
    )


def _volume_row(obj: Object, now: datetime) -> Sequence[Cell]:
    spec, status = mapping(obj, "spec"), mapping(obj, "status")
    claim = mapping(spec, "claimRef")
    return (
        mapping(spec, "capacity").get("storage", ""),
        _modes(sequence(spec, "accessModes")),
        spec.get("persistentVolumeReclaimPolicy", ""),
        "Terminating" if is_deleting(obj) else status.get("phase", ""),
        f"{claim.get('namespace')}/{claim.get('name')}" if claim else "",
        spec.get("storageClassName", ""),
        spec.get("volumeAttributesClassName") or UNSET,
        status.get("reason", ""),
        spec.get("volumeMode", "Filesystem"),
    )


def _storage_class_row(obj: Object, now: datetime) -> Sequence[Cell]:
    return (
        obj.get("provisioner", ""),
        obj.get("reclaimPolicy", "Delete"),
        obj.get("volumeBindingMode", "Immediate"),
        str(bool(obj.get("allowVolumeExpansion"))).lower(),
    )


def _migration_row(obj: Object, now: datetime) -> Sequence[Cell]:
    resource = mapping(obj, "spec", "resource")
    shown = ".".join(str(resource[part]) for part in ("resource", "group") if resource.get(part))
    true = {c.get("type") for c in sequence(obj, "status", "conditions") if c.get("status") == "True"}
    return shown, next((state for state in ("Succeeded", "Failed", "Running") if state in true), "Unknown")


STRATEGIES: Final = {
    core.PERSISTENT_VOLUME: Strategy(
        first_status={"phase": "Pending"},
        defaults=_default_volume,
        table=columns(
            "Capacity,Access Modes,Reclaim Policy,Status,Claim,StorageClass,VolumeAttributesClass,Reason,Age,"
            "VolumeMode*",
            _volume_row,
        ),
    ),
    core.PERSISTENT_VOLUME_CLAIM: Strategy(
        first_status={"phase": "Pending"},
        defaults=default_claim,
        update_rules=_claim_changes,
        table=columns(
            "Status,Volume,Capacity,Access Modes,StorageClass,VolumeAttributesClass,Age,VolumeMode*",
            _claim_row,
        ),
    ),
    storage.CSI_DRIVER: Strategy(requires_version=True, defaults=_default_csi_driver),
    storage.VOLUME_ATTACHMENT: Strategy(requires_version=True),
    storage.STORAGE_CLASS: Strategy(
        defaults=_default_storage_class,
        immutable=("parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"),
        table=columns(
            "Provisioner,ReclaimPolicy,VolumeBindingMode,AllowVolumeExpansion,Age", _storage_class_row
        ),
    ),
    storage.STORAGE_VERSION_MIGRATION: Strategy(
        requires_version=True, table=columns("Resource,Status", _migration_row)
    ),
}
"""The strategies of the kinds that have one."""
