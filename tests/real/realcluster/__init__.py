"""Real Kubernetes control planes on this machine, for tests and benchmarks, without containers.

What is real: etcd, kube-apiserver, kube-controller-manager, RBAC, admission, garbage collection. What is
played: nodes, the scheduler, the kubelet and the cloud's load balancers (`podreadier`, `loadbalancers`).

    specs = [ClusterSpec("eu", "eu-west-1", ("eu-west-1a", "eu-west-1b"))]
    async with RealClusters(build_assets(), tmp_path, specs) as clusters:
        eu = clusters["eu"]
        await eu.api.create("/apis/apps/v1/namespaces/default/deployments", deployment)
        await eu.stop()          # the cluster is lost ...
        await eu.start()         # ... and comes back with what it knew

Concurrency: everything runs in the event loop that entered `RealClusters`; use it from that loop only (in
pytest give the fixture and its tests the same `loop_scope`). Start reading at `clusters`.
"""

from .api import ApiError, Json, KubeApi, until
from .assets import AssetsError, build_assets, find_etcd
from .clusters import ClusterSpec, RealCluster, RealClusters
from .podreadier import PodReadier

__all__ = [
    "ApiError",
    "AssetsError",
    "ClusterSpec",
    "Json",
    "KubeApi",
    "PodReadier",
    "RealCluster",
    "RealClusters",
    "build_assets",
    "find_etcd",
    "until",
]
