"""Brings a local federation up, answers for it, and takes it down.

Owns the phases: preparing, starting, joining, ready, stopping. The same in the foreground and in the
background. A start that fails stops what was started, and leaves why in run/failure.json.

Concurrency: one loop; the control socket's requests are tasks of it.

Next: `hanse_local.commands`, what a user types.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hanse import __version__
from hanse.background import OwnedTasks
from hanse.documents import yaml_document
from hanse.errors import (
    ConfigError,
    FailedPreconditionError,
    HanseError,
    InvalidArgumentError,
    NotFoundError,
)
from hanse_local import verdict
from hanse_local.configs import Access, kubeconfig
from hanse_local.etcd import beginnings
from hanse_local.etcd.continuity import EtcdAccess, check_id, found_again, read_id
from hanse_local.etcd.room import keep_room
from hanse_local.federation import ETCD_TIER, FederationPlan, prepare
from hanse_local.joining import join_all
from hanse_local.keys.certificates import ADMIN
from hanse_local.keys.overlap import unfinished
from hanse_local.keys.renewing import endings, renew
from hanse_local.layout import DataDir
from hanse_local.options import UpOptions
from hanse_local.ports import Claims
from hanse_local.supervise import control
from hanse_local.supervise.files import OwnFiles
from hanse_local.supervise.lock import DataDirLock
from hanse_local.supervise.process import ProcessState
from hanse_local.supervise.state import DirectoryState
from hanse_local.supervise.supervisor import StartError, Supervisor
from hanse_local.topology import SimulatedCluster

RENEW_SECONDS = 3600.0
"""Seconds between two looks at how long certificates still hold."""
RENEW_AGAIN_SECONDS = 60.0
"""The same after a look that failed: half of what was to be replaced may be."""
_log = logging.getLogger(__name__)
RESTART_GRACE = 1.0
"""Seconds that an etcd which is restarted has for what it was asked."""
SIM_TIMEOUT = 60.0
"""Seconds that a simulated cluster may take to start again."""


class Host:
    """Runs the federation of one data directory from `run` to its end."""

    def __init__(
        self,
        data: DataDir,
        options: UpOptions,
        *,
        on_change: Callable[[dict[str, Any]], None] | None = None,
        planner: Callable[[DataDir, UpOptions, Claims], FederationPlan] = prepare,
        identify: Callable[[EtcdAccess], Awaitable[str]] = read_id,
        files: OwnFiles | None = None,
    ) -> None:
        self._files = files or OwnFiles()
        self._state: DirectoryState | None = None
        self._planner = planner
        self._identify = identify
        self._data = data
        self._options = options
        self._on_change = on_change
        self._phase = "preparing"
        self._plan: FederationPlan | None = None
        self._supervisor: Supervisor | None = None
        self._stop = asyncio.Event()
        self._unrenewed = ""

    async def run(self) -> None:
        """Bring it up, and keep it until it is told to stop. Raises HanseError or StartError."""
        try:
            await self._run()
        except OSError as error:
            raise cannot_be_brought_up(error) from error

    async def _run(self) -> None:
        self._data.create()
        with DataDirLock(self._data) as lock:
            self._files.remove(self._data.failure)
            async with control.serve(self._data.run, self._answer) as socket:
                lock.announce(socket, write=self._files.hold)
                self._catch_signals()
                tasks = OwnedTasks()
                tasks.start(self._files.keep(), name="own files")
                try:
                    await self._live()
                except (HanseError, StartError) as error:
                    self._record_failure(error)
                    raise
                except OSError as error:
                    self._record_failure(cannot_be_brought_up(error))
                    raise
                finally:
                    await tasks.close()
                    self._files.retry()

    async def _live(self) -> None:
        with Claims() as claims:
            await self._run_plan(self._planner(self._data, self._options, claims))

    async def _run_plan(self, plan: FederationPlan) -> None:
        self._plan = plan
        async with Supervisor(
            plan.specs, record=self._data.processes, on_change=self._changed, files=self._files
        ) as supervisor:
            self._supervisor = supervisor
            try:
                await self._until_stopped(self._bring_up(plan, supervisor))
                await self._until_stopped(self._keep(plan))
                await self._stop.wait()
            finally:
                self._enter("stopping")

    async def _keep(self, plan: FederationPlan) -> None:
        """Do what is due while it runs, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._renew())
            if plan.etcd_quota:
                tasks.create_task(
                    keep_room(plan.etcd, quota=plan.etcd_quota, compact_seconds=plan.etcd_compact_seconds)
                )

    async def _renew(self) -> None:
        """Renew certificates in place for as long as it runs; tell what keeps it from that."""
        while True:
            await asyncio.sleep(RENEW_AGAIN_SECONDS if self._unrenewed else RENEW_SECONDS)
            try:
                renew(self._data)
                self._unrenewed = ""
            except Exception as error:  # noqa: BLE001 - the supervisor outlives whatever is in these files
                self._unrenewed = f"certificates cannot be renewed: {error}; it is tried again"
                _log.error("%s", self._unrenewed)

    async def _until_stopped(self, work: Any) -> None:
        """Await `work`, but not after a request to stop."""
        task = asyncio.ensure_future(work)
        stopped = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
        finally:
            for each in (task, stopped):
                each.cancel()
            await asyncio.gather(task, stopped, return_exceptions=True)

    async def _bring_up(self, plan: FederationPlan, supervisor: Supervisor) -> None:
        self._enter("starting")
        for directory in plan.etcd_data:
            beginnings.begin(directory)
        await supervisor.start(timeout=plan.options.start_timeout, through=ETCD_TIER)
        for directory in plan.etcd_data:
            beginnings.served(directory)
        self._remember(lambda state: replace(state, etcd_version=plan.etcd_version))
        found = await self._identify(plan.etcd)
        again = not found and bool(plan.options.rebuild)
        if again:
            names = (plan.options.federation_name, plan.options.dns_suffix)
            found = await found_again(plan.etcd, plan.options.rebuild, *names)
        check_id(found, plan.state, where=plan.etcd.where, root=self._data.root)
        self._hold_to(found, supervisor)
        await supervisor.start(timeout=plan.options.start_timeout)
        federation = found or await self._identify(plan.etcd)
        self._remember(lambda state: replace(state, federation_id=federation))
        self._hold_to(federation, supervisor)
        self._write_kubeconfig(plan)
        self._enter("joining")
        new = [cluster for cluster in plan.state.clusters if again or not cluster.joined]
        await join_all(self._data, new, timeout=plan.options.start_timeout, on_joined=self._remember_joined)
        self._remember(lambda state: state.with_founded())
        self._enter("ready")

    def _hold_to(self, federation: str, supervisor: Supervisor) -> None:
        """Have an apiserver that is started again found no other federation where this one was."""
        if federation:
            supervisor.process("apiserver").environment["HANSE_APISERVER_FEDERATION_ID"] = federation

    def _remember_joined(self, cluster: SimulatedCluster) -> None:
        self._remember(lambda state: state.with_joined(cluster.name))

    def _remember(self, change: Callable[[DirectoryState], DirectoryState]) -> None:
        self._state = change(self._state or DirectoryState.load(self._data.state))
        self._files.write(self._data.state, self._state.encode())

    def _write_kubeconfig(self, plan: FederationPlan) -> None:
        pki = self._data.pki
        access = Access(
            server=plan.https,
            ca=(pki / "ca.crt").read_bytes(),
            cert=(pki / f"{ADMIN}.crt").read_bytes(),
            key=(pki / f"{ADMIN}.key").read_bytes(),
        )
        members = {
            cluster.name: yaml_document(
                self._data.cluster_kubeconfig(cluster.name).read_bytes(),
                what=f"{cluster.name}'s kubeconfig",
            )
            for cluster in plan.state.clusters
        }
        self._files.write(self._data.kubeconfig, kubeconfig(access, members).encode())

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signalled)

    def _signalled(self) -> None:
        if self._stop.is_set() and self._supervisor is not None:
            self._supervisor.hurry.set()  # the second Ctrl-C
        self._stop.set()

    def _record_failure(self, error: Exception) -> None:
        document: dict[str, Any] = {"error": str(error), "wrong_input": isinstance(error, ConfigError)}
        if isinstance(error, StartError):
            document |= {"process": error.process, "problem": error.problem}
            document |= {"log": str(error.log), "tail": error.tail}
        self._files.write(self._data.failure, json.dumps(document).encode())

    def _enter(self, phase: str) -> None:
        self._phase = phase
        self._changed()

    def _changed(self) -> None:
        if self._on_change is None:
            return
        try:
            self._on_change(self.snapshot())
        except OSError as error:  # where it is shown is full or gone; that ends nothing here
            _log.error("a change cannot be shown: %s", error)

    def snapshot(self) -> dict[str, Any]:
        """Return all that `hanse status` shows, as plain values."""
        plan, supervisor = self._plan, self._supervisor
        snapshot: dict[str, Any] = {
            "phase": self._phase,
            "data_dir": str(self._data.root),
            "kubeconfig": str(self._data.kubeconfig),
            "https": plan.https if plan else "",
            "dns": plan.dns if plan else "",
            "dns_suffix": plan.options.dns_suffix if plan else "",
            "federation": plan.options.federation_name if plan else "",
            "etcd": plan.etcd_words if plan else "",
            "release": __version__,
            "warnings": list(plan.warnings) if plan else [],
            "moved": list(plan.moved) if plan else [],
            "processes": supervisor.describe() if supervisor else [],
            "unwritten": [*self._files.problems(), *filter(None, [self._unrenewed])],
            "clusters": [
                {"name": cluster.name, "region": cluster.region, "zones": list(cluster.zones)}
                | {"process": cluster.process}
                for cluster in (plan.state.clusters if plan else ())
            ],
        }
        snapshot["unwritten"] += [*endings(self._data, now=datetime.now(UTC))] if plan else []
        snapshot["notes"] = [*unfinished(self._data)]
        return snapshot | {"problems": verdict.problems(snapshot, now=time.time())}

    async def _answer(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        match request["command"]:
            case "status":
                return self.snapshot()
            case "stop":
                self._stop.set()
                return {}
            case "sim-stop":
                return await self._sim_stop(str(request["name"]))
            case "sim-start":
                return await self._sim_start(str(request["name"]))
            case "restart":
                return await self._restart(str(request["name"]))
            case unknown:
                raise InvalidArgumentError(f"the supervisor knows no command {unknown}")

    def _simulated(self, name: str) -> tuple[Supervisor, SimulatedCluster]:
        if self._supervisor is None or self._plan is None:
            raise FailedPreconditionError("the federation is still being prepared: try again in a moment")
        for cluster in self._plan.state.clusters:
            if cluster.name == name:
                return self._supervisor, cluster
        known = ", ".join(cluster.name for cluster in self._plan.state.clusters) or "none"
        raise NotFoundError(f"there is no simulated cluster {name}: there are {known}")

    async def _restart(self, name: str) -> dict[str, Any]:
        """Stop a process, and start it again at once.

        etcd finishes what it is asked, and then waits 7 s for watches to end, which they do not: it is killed
        after a second, unless it is one that a kill may harm.
        """
        if self._supervisor is None or self._plan is None or self._phase != "ready":
            raise FailedPreconditionError("the federation is not up yet: try again in a moment")
        process = self._supervisor.process(name)
        brief = process.spec.tier == ETCD_TIER and not self._plan.etcd_warned
        await process.stop(grace=RESTART_GRACE if brief else None)
        while process.state is not ProcessState.STOPPED:  # noqa: ASYNC110 - it has ended
            await asyncio.sleep(0.01)
        process.start()
        try:
            await self._supervisor.await_ready(name, timeout=self._options.start_timeout)
        except StartError as error:
            raise FailedPreconditionError(str(error)) from error
        return {}

    async def _sim_stop(self, name: str) -> dict[str, Any]:
        supervisor, cluster = self._simulated(name)
        process = supervisor.process(cluster.process)
        was_running = process.state is not ProcessState.STOPPED
        process.kill()
        async with asyncio.timeout(10.0):
            while process.state is not ProcessState.STOPPED:  # noqa: ASYNC110 - three states away at most
                await asyncio.sleep(0.01)
        return {"changed": was_running}

    async def _sim_start(self, name: str) -> dict[str, Any]:
        supervisor, cluster = self._simulated(name)
        process = supervisor.process(cluster.process)
        was_stopped = process.state is ProcessState.STOPPED
        process.start()
        try:
            await supervisor.await_ready(cluster.process, timeout=SIM_TIMEOUT)
        except StartError as error:
            raise FailedPreconditionError(str(error)) from error
        return {"changed": was_stopped}


def cannot_be_brought_up(error: OSError) -> FailedPreconditionError:
    """Return the error for a data directory in which the disk refuses something."""
    return FailedPreconditionError(f"the federation cannot be brought up: {error}; mend that, then try again")
