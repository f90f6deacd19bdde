"""Groups scheduling, coordination, node, resource and flowcontrol: what Pods run on, and how.

Pure data. Next: `hanse.kube.kinds.builtin`.
"""

from __future__ import annotations

from typing import Final

from hanse.kube.kinds.kind import Kind, SelectableField

PRIORITY_CLASS: Final = Kind(
    "scheduling.k8s.io",
    "PriorityClass",
    "priorityclasses",
    namespaced=False,
    short_names=("pc",),
)
LEASE: Final = Kind("coordination.k8s.io", "Lease", "leases")
RUNTIME_CLASS: Final = Kind("node.k8s.io", "RuntimeClass", "runtimeclasses", namespaced=False)
DEVICE_CLASS: Final = Kind("resource.k8s.io", "DeviceClass", "deviceclasses", namespaced=False, lenient=True)
DEVICE_TAINT_RULE: Final = Kind(
    "resource.k8s.io",
    "DeviceTaintRule",
    "devicetaintrules",
    namespaced=False,
    subresources=("status",),
    lenient=True,
)
RESOURCE_CLAIM: Final = Kind(
    "resource.k8s.io", "ResourceClaim", "resourceclaims", subresources=("status",), lenient=True
)
RESOURCE_CLAIM_TEMPLATE: Final = Kind(
    "resource.k8s.io", "ResourceClaimTemplate", "resourceclaimtemplates", lenient=True
)
RESOURCE_SLICE: Final = Kind(
    "resource.k8s.io",
    "ResourceSlice",
    "resourceslices",
    namespaced=False,
    selectable=(
        SelectableField("spec.driver"),
        SelectableField("spec.nodeName"),
    ),
    lenient=True,
)
FLOW_SCHEMA: Final = Kind(
    "flowcontrol.apiserver.k8s.io",
    "FlowSchema",
    "flowschemas",
    namespaced=False,
    subresources=("status",),
    lenient=True,
)
PRIORITY_LEVEL_CONFIGURATION: Final = Kind(
    "flowcontrol.apiserver.k8s.io",
    "PriorityLevelConfiguration",
    "prioritylevelconfigurations",
    namespaced=False,
    subresources=("status",),
    lenient=True,
)

KINDS: Final = (
    PRIORITY_CLASS,
    LEASE,
    RUNTIME_CLASS,
    DEVICE_CLASS,
    DEVICE_TAINT_RULE,
    RESOURCE_CLAIM,
    RESOURCE_CLAIM_TEMPLATE,
    RESOURCE_SLICE,
    FLOW_SCHEMA,
    PRIORITY_LEVEL_CONFIGURATION,
)
