"""Everything that runs during a benchmark: members, federation, the load client, the watches.

Owns the processes and knows their ids. `Arena.run` does one step and gives its figures and what each process
used meanwhile.

Concurrency: one step at a time. Next: `sections`.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from benchmarks import usage
from benchmarks.figures import Call, Figures, figures
from benchmarks.profiling import Profiler
from benchmarks.usage import Usage
from benchmarks.watching import Expected
from benchmarks.workload import Load, Step, Target
from tests.real.federation import Federation
from tests.real.realcluster import ClusterSpec, KubeApi, RealClusters, build_assets, find_etcd, until

MEMBERS = ("eu-west", "us-east", "on-prem")
NAMESPACE = "bench"
_LINE_BYTES = 1 << 28


@dataclass(frozen=True, slots=True)
class Outcome:
    """One step at one place."""

    figures: Figures
    usage: dict[str, Usage]
    """Per process, from just before the first call to just after the last arrival."""


class Peer:
    """A process of ours that answers lines with lines."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", self._module),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            limit=_LINE_BYTES,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._process
        assert process is not None
        if process.returncode is None:
            process.terminate()
        await process.wait()

    async def say(self, line: bytes) -> None:
        """Send one line."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        process.stdin.write(line + b"\n")
        await process.stdin.drain()

    async def hear(self) -> Any:
        """Return its next answer. Raises `RuntimeError` if it ended."""
        process = self._process
        assert process is not None
        assert process.stdout is not None
        line = await process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._module} ended with {await process.wait()}; see what it said above")
        return orjson.loads(line)


class Arena:
    """Three real API servers, a federation that they have joined, and what measures."""

    def __init__(self, directory: Path, *, members: int = 3, profiler: Profiler | None = None) -> None:
        self._directory = directory
        self._count = members
        self._profiler = profiler
        self._stack = AsyncExitStack()
        self._load = Peer("benchmarks.load")
        self._watching = Peer("benchmarks.watching")
        self.warm_ups = 0
        self.members: RealClusters
        self.federation: Federation
        self.api: KubeApi

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            assets = build_assets()
            etcd = find_etcd(assets)
            specs = [ClusterSpec(name, throttle=False) for name in MEMBERS[: self._count]]
            self.members = await stack.enter_async_context(
                RealClusters(assets, self._directory / "members", specs)
            )
            self.federation = await stack.enter_async_context(
                Federation(self._directory / "federation", environ={"HANSE_ETCD": str(etcd)})
            )
            for member in self.members:
                await self.federation.join(member.name, member.kubeconfig_path)
            self.api = await stack.enter_async_context(self.federation.api())
            await self._make_namespace()
            await stack.enter_async_context(self._load)
            await stack.enter_async_context(self._watching)
            first = {"targets": [asdict(target) for target in self.floor], "namespace": NAMESPACE}
            await self._watching.say(orjson.dumps(first))
            await self._watching.hear()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def floor(self) -> tuple[Target, ...]:
        """The members themselves."""
        return tuple(
            Target(
                member.name,
                member.server,
                str(member.ca_path),
                str(member.files.path("admin.crt")),
                str(member.files.path("admin.key")),
            )
            for member in self.members
        )

    @property
    def hanse(self) -> tuple[Target, ...]:
        """The federation."""
        files = (str(self.federation.pki(name)) for name in ("ca.crt", "admin.crt", "admin.key"))
        return (Target("hanse", self.federation.server, *files),)

    @property
    def control_plane(self) -> dict[str, int]:
        """Process ids of the five services and their etcd."""
        return self.federation.pids

    def pids(self) -> dict[str, int]:
        """Process ids of everything that takes part; members' names are "member ..."."""
        found = {"member etcd": self.members.etcd.pid}
        for member in self.members:
            found[f"member {member.name} apiserver"] = member.apiserver.pid
            found[f"member {member.name} controllers"] = member.controller_manager.pid
        return {
            **self.control_plane,
            "supervisor": self.federation.supervisor_pid,
            **found,
            "client": self._load.pid,
            "watches": self._watching.pid,
        }

    async def run(self, step: Step, targets: tuple[Target, ...], *, seconds: float = 300.0) -> Outcome:
        """Do one step and wait until all members have shown it, at most `seconds`."""
        await self._load.say(Load(step, targets).encoded())
        await self._load.hear()
        async with self._profiled(f"{step.verb}-{step.batch}", targets):
            before = usage.read_all(self.pids())
            await self._load.say(b"")
            answer = await self._load.hear()
            await self._watching.say(Expected(step.arrival, step.count, seconds).encoded())
            arrivals = await self._watching.hear()
            after = usage.read_all(self.pids())
        calls = [Call(*call) for call in answer["calls"]]
        return Outcome(figures(calls, arrivals), usage.difference(before, after))

    async def _make_namespace(self) -> None:
        manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        await self.api.create("/api/v1/namespaces", manifest)
        # A namespace goes where something in it goes.
        seed = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "seed"}}
        path = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
        await self.api.create(path, seed)
        for member in self.members:
            await until(
                lambda api=member.api: api.get(f"{path}/seed"),  # type: ignore[misc]
                what=f"the namespace {NAMESPACE} is in {member.name}",
            )

    def _profiled(self, what: str, targets: tuple[Target, ...]) -> Any:
        if self._profiler is None or targets != self.hanse:
            return AsyncExitStack()
        return self._profiler.recording(self.control_plane, what)
