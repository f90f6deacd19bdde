"""Starts, loses and returns whole clusters: one etcd, and per cluster an API server and its controllers.

`RealClusters` owns the processes and tasks and stops them all when it is left. Clusters start in parallel;
they share the etcd under prefixes of their own, and nothing else: each has its own authority, service
account keys, nodes and addresses. The next modules are `process`, `pki` and `podreadier`.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

from tests.support.machine.ports import free_ports

from .api import LOST, ApiError, KubeApi, until
from .assets import find_etcd
from .loadbalancers import LoadBalancers
from .nodes import node_manifest, node_status
from .pki import ClusterFiles, write_cluster_files
from .podreadier import PodReadier
from .process import Process

SERVICE_CIDR = "10.96.0.0/16"
SERVICE_ADDRESS = "10.96.0.1"

# Controllers that need real nodes, disks or a cloud. node-lifecycle would taint our nodes, which no
# kubelet renews, and taint-eviction would then delete their pods.
NOT_RUN = (
    "node-lifecycle-controller",
    "taint-eviction-controller",
    "device-taint-eviction-controller",
    "node-ipam-controller",
    "persistentvolume-attach-detach-controller",
    "persistentvolume-expander-controller",
    "selinux-warning-controller",
)

CONCURRENT_SYNCS = (
    "deployment",
    "replicaset",
    "statefulset",
    "daemonset",
    "job",
    "namespace",
    "gc",
    "service-endpoint",
    "serviceaccount-token",
)


@dataclass(frozen=True)
class ClusterSpec:
    """What one cluster is to be like."""

    name: str
    """Its name; also the directory of its files and its prefix in etcd."""
    region: str = "region-1"
    """`topology.kubernetes.io/region` of its nodes."""
    zones: tuple[str, ...] = ("zone-a",)
    """`topology.kubernetes.io/zone` of its nodes; the nodes are dealt out over them in turn."""
    nodes: int = 0
    """How many nodes; 0 is one per zone."""
    cpu: str = "32"
    """Allocatable CPU of a node."""
    memory: str = "128Gi"
    """Allocatable memory of a node."""
    pods: int = 10000
    """How many pods a node takes."""
    pod_cidr: str = ""
    """Where podIPs come from (text only; nothing listens there). Default: 10.64.0.0/16, 10.65.0.0/16, ..."""
    load_balancer_cidr: str = ""
    """Where load balancers' addresses come from. Default: 127.64.0.0/16, 127.65.0.0/16, ..."""
    throttle: bool = True
    """Priority-and-fairness and the limits on requests in flight, as a cluster has them by default. False
    gives `--enable-priority-and-fairness=false` and no limits, for benchmarks of what sends the requests."""
    apiserver_args: tuple[str, ...] = ()
    """More flags for kube-apiserver; a flag given here wins."""
    controller_manager_args: tuple[str, ...] = ()
    """More flags for kube-controller-manager; a flag given here wins."""


@dataclass
class RealCluster:
    """One running cluster."""

    spec: ClusterSpec
    index: int
    server: str
    files: ClusterFiles
    api: KubeApi
    apiserver: Process
    controller_manager: Process
    pods: PodReadier
    load_balancers: LoadBalancers
    version: str = ""
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The name it was given."""
        return self.spec.name

    @property
    def kubeconfig_path(self) -> Path:
        """The administrator's kubeconfig, with a client certificate."""
        return self.files.kubeconfig

    @property
    def token_kubeconfig_path(self) -> Path:
        """The administrator's kubeconfig, with a bearer token."""
        return self.files.path("token.kubeconfig")

    @property
    def token(self) -> str:
        """The administrator's bearer token."""
        return self.files.token

    @property
    def ca_path(self) -> Path:
        """The certificate of the cluster's authority."""
        return self.files.path("ca.crt")

    @property
    def apiserver_pid(self) -> int:
        """The process id of its kube-apiserver; raises `RuntimeError` while it is stopped."""
        return self.apiserver.pid

    async def start(self, *, seconds: float = 60.0) -> None:
        """Start the API server, wait until it is ready, and start the controllers."""
        self.apiserver.start()
        await until(self._ready, what=f"cluster {self.name} is ready", seconds=seconds)
        self.controller_manager.start()

    async def stop(self, *, crash: bool = False) -> None:
        """Lose the cluster: API server and controllers end, at once with `crash`; etcd keeps the state."""
        # An API server waits a minute for open watches before it ends by itself; one that is gone does not.
        grace = 0.0 if crash else 2.0
        await asyncio.gather(self.controller_manager.stop(grace=grace), self.apiserver.stop(grace=grace))

    def freeze(self) -> None:
        """Lose the cluster in the nastier way: connections stay open and nothing is answered."""
        self.controller_manager.freeze()
        self.apiserver.freeze()

    def thaw(self) -> None:
        """Come back after `freeze`."""
        self.apiserver.thaw()
        self.controller_manager.thaw()

    async def populate(self) -> None:
        """Make the nodes, wait until pods can be made, and start to play nodes and cloud."""
        self.version = (await self.api.get("/version"))["gitVersion"]
        async with asyncio.TaskGroup() as tasks:
            for number in range(self.spec.nodes or len(self.spec.zones)):
                tasks.create_task(self._make_node(number))
        self._tasks = [asyncio.create_task(self.pods.run()), asyncio.create_task(self.load_balancers.run())]
        await until(self._has_service_account, what=f"the controllers of {self.name} work")

    async def close(self) -> None:
        """Stop everything of this cluster."""
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.api.close()
        await self.stop()
        for outcome in ended:
            if isinstance(outcome, Exception):
                raise outcome

    async def _ready(self) -> bool:
        self.apiserver.check()
        return await self.api.ready()

    async def _has_service_account(self) -> bool:
        self.apiserver.check()
        self.controller_manager.check()
        return bool(await self.api.get("/api/v1/namespaces/default/serviceaccounts/default"))

    async def _make_node(self, number: int) -> None:
        zone = self.spec.zones[number % len(self.spec.zones)]
        name = f"{self.name}-node-{number}"
        with contextlib.suppress(ApiError):  # it is there when a data directory is used again
            await self.api.create("/api/v1/nodes", node_manifest(name, region=self.spec.region, zone=zone))
        status = node_status(
            name,
            address=f"10.{32 + self.index}.{number // 250}.{number % 250 + 1}",
            version=self.version,
            allocatable={"cpu": self.spec.cpu, "memory": self.spec.memory, "pods": str(self.spec.pods)},
        )
        await self.api.merge(f"/api/v1/nodes/{name}/status", status)
        # Admission has put node.kubernetes.io/not-ready on it, and no controller will take it off.
        await self.api.merge(f"/api/v1/nodes/{name}", {"spec": {"taints": None}})


class RealClusters:
    """All clusters of a test: an asynchronous context manager, and a mapping from name to `RealCluster`."""

    def __init__(self, assets_dir: Path, data_dir: Path, specs: Sequence[ClusterSpec]) -> None:
        self.assets_dir = assets_dir
        self.data_dir = data_dir
        self._specs = list(specs)
        self._clusters: dict[str, RealCluster] = {}
        client, peer = free_ports(2)
        self.etcd_endpoint = f"http://127.0.0.1:{client}"
        self._etcd_peer = f"http://127.0.0.1:{peer}"
        self.etcd: Process

    def __getitem__(self, name: str) -> RealCluster:
        return self._clusters[name]

    def __iter__(self) -> Iterator[RealCluster]:
        return iter(self._clusters.values())

    def __len__(self) -> int:
        return len(self._clusters)

    async def __aenter__(self) -> Self:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.etcd = Process(self._etcd_command(find_etcd(self.assets_dir)), log=self.data_dir / "etcd.log")
        ports = free_ports(len(self._specs))
        try:
            self.etcd.start()
            await until(self._etcd_healthy, what="etcd is healthy", seconds=20)
            for index, (spec, port) in enumerate(zip(self._specs, ports, strict=True)):
                self._clusters[spec.name] = self._prepare(spec, index=index, port=port)
            async with asyncio.TaskGroup() as tasks:
                for cluster in self:
                    tasks.create_task(self._bring_up(cluster))
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        ended = await asyncio.gather(*(cluster.close() for cluster in self), return_exceptions=True)
        await self.etcd.stop()
        for outcome in ended:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _bring_up(self, cluster: RealCluster) -> None:
        await cluster.start()
        await cluster.populate()

    async def _etcd_healthy(self) -> bool:
        self.etcd.check()
        url = f"{self.etcd_endpoint}/health"
        try:
            async with aiohttp.ClientSession() as session, session.get(url) as answer:
                return answer.status == 200
        except LOST:
            return False

    def _etcd_command(self, binary: Path) -> list[str]:
        return [
            str(binary),
            f"--data-dir={self.data_dir / 'etcd'}",
            f"--listen-client-urls={self.etcd_endpoint}",
            f"--advertise-client-urls={self.etcd_endpoint}",
            f"--listen-peer-urls={self._etcd_peer}",
            f"--initial-advertise-peer-urls={self._etcd_peer}",
            f"--initial-cluster=default={self._etcd_peer}",
            "--quota-backend-bytes=4294967296",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]

    def _prepare(self, spec: ClusterSpec, *, index: int, port: int) -> RealCluster:
        server = f"https://127.0.0.1:{port}"
        directory = self.data_dir / spec.name
        files = write_cluster_files(
            directory, cluster=spec.name, server=server, service_address=SERVICE_ADDRESS
        )
        api = KubeApi(
            server,
            authority=files.path("ca.crt"),
            certificate=files.path("admin.crt"),
            key=files.path("admin.key"),
        )
        return RealCluster(
            spec=spec,
            index=index,
            server=server,
            files=files,
            api=api,
            apiserver=Process(
                self._apiserver_command(spec, files, port=port), log=directory / "kube-apiserver.log"
            ),
            controller_manager=Process(
                self._controller_manager_command(spec, files), log=directory / "kube-controller-manager.log"
            ),
            pods=PodReadier(api, pod_cidr=spec.pod_cidr or f"10.{64 + index}.0.0/16"),
            load_balancers=LoadBalancers(api, cidr=spec.load_balancer_cidr or f"127.{64 + index}.0.0/16"),
        )

    def _apiserver_command(self, spec: ClusterSpec, files: ClusterFiles, *, port: int) -> list[str]:
        unlimited = (
            "--enable-priority-and-fairness=false",
            "--max-requests-inflight=0",
            "--max-mutating-requests-inflight=0",
        )
        return [
            str(self.assets_dir / "kube-apiserver"),
            f"--etcd-servers={self.etcd_endpoint}",
            f"--etcd-prefix=/{spec.name}",
            "--bind-address=127.0.0.1",
            f"--secure-port={port}",
            f"--cert-dir={files.directory}",
            f"--tls-cert-file={files.path('apiserver.crt')}",
            f"--tls-private-key-file={files.path('apiserver.key')}",
            f"--client-ca-file={files.path('ca.crt')}",
            f"--token-auth-file={files.path('tokens.csv')}",
            "--authorization-mode=Node,RBAC",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={files.path('sa.pub')}",
            f"--service-account-signing-key-file={files.path('sa.key')}",
            f"--service-cluster-ip-range={SERVICE_CIDR}",
            "--endpoint-reconciler-type=none",  # an EndpointSlice may not hold a loopback address
            "--allow-privileged=true",
            "--profiling=false",
            *(() if spec.throttle else unlimited),
            *spec.apiserver_args,
        ]

    def _controller_manager_command(self, spec: ClusterSpec, files: ClusterFiles) -> list[str]:
        return [
            str(self.assets_dir / "kube-controller-manager"),
            f"--kubeconfig={files.kubeconfig}",
            f"--controllers=*,{','.join(f'-{name}' for name in NOT_RUN)}",
            "--leader-elect=false",
            "--secure-port=0",  # serves nothing
            "--kube-api-qps=2000",
            "--kube-api-burst=4000",
            *(f"--concurrent-{kind}-syncs=16" for kind in CONCURRENT_SYNCS),
            f"--service-account-private-key-file={files.path('sa.key')}",
            f"--root-ca-file={files.path('ca.crt')}",
            f"--cluster-signing-cert-file={files.path('ca.crt')}",
            f"--cluster-signing-key-file={files.path('ca.key')}",
            "--profiling=false",
            *spec.controller_manager_args,
        ]
