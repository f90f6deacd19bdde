"""Groups storage.k8s.io and storagemigration.k8s.io.

Pure data. Next: `hanse.kube.kinds.builtin`.
"""

from __future__ import annotations

from typing import Final

from hanse.kube.kinds.kind import Kind

CSI_DRIVER: Final = Kind("storage.k8s.io", "CSIDriver", "csidrivers", namespaced=False)
CSI_NODE: Final = Kind("storage.k8s.io", "CSINode", "csinodes", namespaced=False, subresources=("status",))
CSI_STORAGE_CAPACITY: Final = Kind("storage.k8s.io", "CSIStorageCapacity", "csistoragecapacities")
STORAGE_CLASS: Final = Kind(
    "storage.k8s.io",
    "StorageClass",
    "storageclasses",
    namespaced=False,
    short_names=("sc",),
)
VOLUME_ATTACHMENT: Final = Kind(
    "storage.k8s.io", "VolumeAttachment", "volumeattachments", namespaced=False, subresources=("status",)
)
VOLUME_ATTRIBUTES_CLASS: Final = Kind(
    "storage.k8s.io",
    "VolumeAttributesClass",
    "volumeattributesclasses",
    namespaced=False,
    short_names=("vac",),
)
STORAGE_VERSION_MIGRATION: Final = Kind(
    "storagemigration.k8s.io",
    "StorageVersionMigration",
    "storageversionmigrations",
    namespaced=False,
    subresources=("status",),
)

KINDS: Final = (
    CSI_DRIVER,
    CSI_NODE,
    CSI_STORAGE_CAPACITY,
    STORAGE_CLASS,
    VOLUME_ATTACHMENT,
    VOLUME_ATTRIBUTES_CLASS,
    STORAGE_VERSION_MIGRATION,
)
