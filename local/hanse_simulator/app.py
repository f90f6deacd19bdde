"""A simulated cluster put together: engine, API server, controllers.

`serve(runtime)` is the whole life of the process. `Simulator` is the same without a process, for tests: an
async context manager over any store. The order of the start is: load, make what a new cluster has, start the
controllers, serve; the stop is the other way round.

Everything runs in one event loop. Next: `hanse_simulator.world` and
`hanse_simulator.controllers.loops` for how controllers work.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from hanse.errors import ConfigError, NotFoundError, UnavailableError
from hanse.kube.engine.engine import KubeEngine
from hanse.kube.kinds.catalogue import Catalogue
from hanse.kube.kinds.kubernetes import core
from hanse.kube.kinds.strategies.kubernetes import kubernetes
from hanse.kube.model.objects import sequence
from hanse.kube.server.app import KubeServer, ServerOptions
from hanse.kube.server.auth import CertificateAuthenticator, UnionAuthenticator
from hanse.kube.server.request import Call
from hanse.process.settings import split_address
from hanse.service.runtime import Runtime
from hanse.store import EtcdStore, Store
from hanse_simulator.access.accounts import Accounts
from hanse_simulator.access.rules import RoleAuthorizer
from hanse_simulator.access.token_secrets import TokenSecrets
from hanse_simulator.access.tokens import TokenAuthority
from hanse_simulator.addresses import Pool
from hanse_simulator.certificates import ClusterCertificates
from hanse_simulator.controllers import nodes
from hanse_simulator.controllers.events import Recorder
from hanse_simulator.controllers.kubelet import Kubelet, Timing
from hanse_simulator.controllers.loops import Loop, Loops
from hanse_simulator.controllers.namespaces import Namespaces
from hanse_simulator.controllers.scheduling import PodScheduler
from hanse_simulator.controllers.volumes import Volumes
from hanse_simulator.defaulting import WorkloadAdmission
from hanse_simulator.faults import Faults, FaultyServer
from hanse_simulator.network.endpoints import Endpoints
from hanse_simulator.network.services import LoadBalancers, ServiceAdmission
from hanse_simulator.settings import SimulatorSettings
from hanse_simulator.workloads.daemonsets import DaemonSets
from hanse_simulator.workloads.deployments import Deployments
from hanse_simulator.workloads.jobs import Jobs
from hanse_simulator.workloads.replicasets import ReplicaSets
from hanse_simulator.workloads.statefulsets import StatefulSets
from hanse_simulator.world import ClusterContext

WINDOW = 2048
"""How many changes of each resource a watch may be behind; less than a real cluster keeps, to be small."""


class Simulator:
    """One cluster over a store. `address` and `url` are where its API is served once it has started."""

    def __init__(self, store: Store, settings: SimulatorSettings) -> None:
        """Prepare; nothing is read or written before it is entered. Raises ConfigError without a pki_dir."""
        if not settings.pki_dir:
            raise ConfigError("setting pki_dir is empty: give a directory for the cluster's certificates")
        self.settings = settings
        host, _ = split_address(settings.listen, setting="listen")
        self.certificates = ClusterCertificates.ensure(
            Path(settings.pki_dir), cluster=settings.name, host=host
        )
        self._services = ServiceAdmission(Pool.of_network("cluster address", settings.services_range))
        self.engine = KubeEngine(
            store,
            catalogue=Catalogue(kubernetes()),
            admission=[WorkloadAdmission(), self._services],
            graceful_pods=True,
            window=WINDOW,
        )
        self._accounts = Accounts(
            self.engine,
            TokenAuthority.load_or_create(Path(settings.pki_dir)),
            max_seconds=settings.token_max_seconds,
        )
        self.address = ""
        self.url = ""
        self.loops: Loops | None = None
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Load the cluster's state, start its controllers and serve."""
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self.engine)
            self._services.follow(self.engine.cache)
            world = ClusterContext(self.engine)
            stack.callback(world.close)
            server = self._server()
            await stack.enter_async_context(server)
            self.address, self.url = server.address, server.url
            await nodes.found(world, self.settings, address=server.address)
            self.loops = await stack.enter_async_context(Loops(world, self._controllers(world)))
            if self.settings.kubeconfig_file:
                self.certificates.write_kubeconfig(
                    Path(self.settings.kubeconfig_file), cluster=self.settings.name, server=self.url
                )
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop everything."""
        await self._stack.aclose()

    def _server(self) -> KubeServer:
        options: dict[str, Any] = {
            "authenticator": UnionAuthenticator(CertificateAuthenticator(), self._accounts),
            "authorizer": RoleAuthorizer(self.engine.cache),
            "options": ServerOptions(listen=self.settings.listen, tls=self.certificates.tls()),
            "subresources": {
                (*core.POD.group_plural, "log"): _log,
                (*core.SERVICE_ACCOUNT.group_plural, "token"): self._accounts.give_token,
            },
            "checks": {"etcd": self.engine.ready, "controllers": self._check_loops},
        }
        if self.settings.faults_enabled:
            return FaultyServer(self.engine, faults=Faults(self.engine), **options)
        return KubeServer(self.engine, **options)

    def _controllers(self, world: ClusterContext) -> list[Loop]:
        settings = self.settings
        events = Recorder(world)
        timing = Timing(
            start=settings.pod_start_seconds, run=settings.job_seconds, stop=settings.pod_stop_seconds
        )
        kubelet = Kubelet(
            world,
            addresses=Pool.of_network("Pod address", settings.pods_range),
            events=events,
            timing=timing,
            broken_marker=settings.broken_image_marker,
        )
        balancers = Pool.of_network("load balancer address", settings.load_balancers_range)
        return [
            Namespaces(world, ca_pem=self.certificates.ca_pem).loop(),
            TokenSecrets(world, self._accounts, ca_pem=self.certificates.ca_pem).loop(),
            Deployments(world).loop(),
            ReplicaSets(world).loop(),
            StatefulSets(world).loop(),
            DaemonSets(world).loop(),
            Jobs(world).loop(),
            Volumes(world).loop(),
            PodScheduler(world, events).loop(),
            kubelet.loop(),
            LoadBalancers(world, balancers).loop(),
            Endpoints(world).loop(),
            events.loop(),
        ]

    async def _check_loops(self) -> None:
        failure = self.loops.failure() if self.loops is not None else None
        if failure is not None:
            raise UnavailableError(f"a controller has ended: {failure}")


async def _log(call: Call, engine: KubeEngine) -> web.StreamResponse:
    """Answer `kubectl logs`: nothing runs, so a line says what would."""
    entry = engine.cache.get(call.key)
    if entry is None:
        raise NotFoundError(f'pods "{call.path.name}" not found', metadata={"name": call.path.name})
    wanted = call.query.get("container", "")
    lines = [
        f"{c['name']}: simulated, nothing runs; the image is {c.get('image', '')}\n"
        for c in sequence(entry.object, "spec", "containers")
        if wanted in ("", c["name"])
    ]
    return web.Response(text="".join(lines))


async def serve(runtime: Runtime[SimulatorSettings]) -> None:
    """Run the cluster until the process is told to stop."""
    settings = runtime.settings
    store = await EtcdStore.connect(
        settings.etcd_endpoints, prefix=settings.etcd_prefix, tls=settings.etcd_tls
    )
    try:
        async with Simulator(store, settings) as simulator:
            runtime.ready({"https": simulator.address})
            await runtime.stopping.wait()
    finally:
        await store.close()
