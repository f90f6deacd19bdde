"""Group apps: workloads.

Pure data. Next: `hanse.kube.kinds.builtin`.
"""

from __future__ import annotations

from typing import Final

from hanse.kube.kinds.kind import Kind, ScalePaths

CONTROLLER_REVISION: Final = Kind("apps", "ControllerRevision", "controllerrevisions")
DAEMON_SET: Final = Kind(
    "apps",
    "DaemonSet",
    "daemonsets",
    short_names=("ds",),
    categories=("all",),
    subresources=("status",),
)
DEPLOYMENT: Final = Kind(
    "apps",
    "Deployment",
    "deployments",
    short_names=("deploy",),
    categories=("all",),
    subresources=("status", "scale"),
    scale=ScalePaths(),
    pod_count="replicas",
)
REPLICA_SET: Final = Kind(
    "apps",
    "ReplicaSet",
    "replicasets",
    short_names=("rs",),
    categories=("all",),
    subresources=("status", "scale"),
    scale=ScalePaths(),
    pod_count="replicas",
)
STATEFUL_SET: Final = Kind(
    "apps",
    "StatefulSet",
    "statefulsets",
    short_names=("sts",),
    categories=("all",),
    subresources=("status", "scale"),
    scale=ScalePaths(),
    pod_count="replicas",
)

KINDS: Final = (CONTROLLER_REVISION, DAEMON_SET, DEPLOYMENT, REPLICA_SET, STATEFUL_SET)
