"""A whole local federation of fake processes: up, questions, losing a cluster, down, and up again."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hanse_local.etcd import binary as etcd
from hanse_local.etcd.continuity import EtcdAccess
from hanse_local.federation import FederationPlan, prepare
from hanse_local.layout import DataDir
from hanse_local.options import UpOptions
from hanse_local.ports import Claims
from hanse_local.supervise import background
from hanse_local.supervise.host import Host
from hanse_local.supervise.lock import is_held
from hanse_local.supervise.state import DirectoryState
from hanse_local.supervise.supervisor import StartError

from hanse.errors import FailedPreconditionError, UnavailableError
from tests.local.fakes import Fakes
from tests.support.waiting import until


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    """A data directory that does not exist yet."""
    return DataDir.at(tmp_path / "data")


def planner_of(fakes: Fakes, *, broken: str = "") -> Any:
    """Plans the real federation with one cluster, joined already, and puts fakes in place of programs."""

    def plan(data: DataDir, options: UpOptions, claims: Claims) -> FederationPlan:
        real = prepare(data, replace(options, clusters=1), claims)
        (data.etcd("etcd") / "member").mkdir(parents=True, exist_ok=True)
        DirectoryState.load(data.state).with_joined("eu-west").save(data.state)
        member = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
            "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
            "users": [{"name": "c", "user": {"token": "t"}}],
        }
        data.cluster_kubeconfig("eu-west").write_text(yaml.safe_dump(member))
        specs = tuple(
            fakes.spec(
                each.name,
                tier=each.tier,
                stop_tier=each.stop_tier,
                mode="broken" if each.name == broken else "good",
            )
            for each in real.specs
        )
        state = DirectoryState.load(data.state)
        return replace(real, specs=specs, state=state)

    return plan


@dataclass
class Etcd:
    """Stands in for an etcd in which the services found the federation `first` unless it has one."""

    federation: str = ""

    async def read_id(self, access: EtcdAccess) -> str:
        """The id, which the services have written between the first question and the second."""
        assert access.where.endswith("/etcd")
        before, self.federation = self.federation, self.federation or "first"
        return before


def host_of(
    data: DataDir, fakes: Fakes, *, broken: str = "", etcd: Etcd | None = None, planner: Any = None
) -> Host:
    """A host of fakes; `broken` is the process that does not start."""
    planner = planner or planner_of(fakes, broken=broken)
    return Host(data, UpOptions(), planner=planner, identify=(etcd or Etcd()).read_id)


@asynccontextmanager
async def running(data: DataDir, fakes: Fakes) -> AsyncIterator[asyncio.Task[None]]:
    """A federation that is up; it is stopped at the end."""
    task = asyncio.create_task(host_of(data, fakes).run())
    phases: list[str] = []

    async def poll() -> None:
        while "ready" not in phases:
            assert not task.done(), task.exception()
            with suppress(UnavailableError):  # it holds the directory, and does not listen yet
                snapshot = await asyncio.to_thread(background.query, data)
                phases.append(snapshot["phase"] if snapshot else "")
            await asyncio.sleep(0.02)

    try:
        async with asyncio.timeout(30):
            await poll()
        yield task
    finally:
        if not task.done():
            await asyncio.to_thread(background.stop, data)
            await task


async def test_up_and_down(data: DataDir, fakes: Fakes) -> None:
    """All processes run, the kubeconfig is the user's alone, and the stop is in order and leaves nothing."""
    async with running(data, fakes) as task:
        snapshot = await asyncio.to_thread(background.query, data)
        assert snapshot is not None
        assert {each["state"] for each in snapshot["processes"]} == {"ready"}
        assert stat.S_IMODE(data.kubeconfig.stat().st_mode) == 0o600
        contexts = yaml.safe_load(data.kubeconfig.read_text())["contexts"]
        assert [each["name"] for each in contexts] == ["hanse", "eu-west"]
        assert await asyncio.to_thread(background.stop, data)
        await task
    stopped = [line.removeprefix("stopped ") for line in fakes.journal if line.startswith("stopped")]
    assert set(stopped[-2:]) == {"etcd", "members-etcd"}
    assert stopped[-3] == "sim-eu-west"
    assert not is_held(data)
    assert not data.processes.exists()
    assert DirectoryState.load(data.state).founded


async def test_the_etcd_that_served_is_remembered_even_if_others_fail(data: DataDir, fakes: Fakes) -> None:
    """The data is of its version from then on."""
    with pytest.raises(StartError):
        await host_of(data, fakes, broken="etcd").run()
    assert DirectoryState.load(data.state).etcd_version == ""
    with pytest.raises(StartError):
        await host_of(data, fakes, broken="dns").run()
    assert DirectoryState.load(data.state).etcd_version == etcd.dotted(etcd.find().version)


async def test_the_federation_is_remembered_and_another_is_refused(data: DataDir, fakes: Fakes) -> None:
    """Before any service starts, which would put another federation's objects into the members."""
    async with running(data, fakes):
        pass
    assert DirectoryState.load(data.state).federation_id == "first"
    for federation, reason in (("another", "FEDERATION_DIFFERS"), ("", "FEDERATION_LOST")):
        started = len(fakes.journal)
        with pytest.raises(FailedPreconditionError, match="restore a backup") as caught:
            await host_of(data, fakes, etcd=Etcd(federation)).run()
        assert caught.value.reason == reason
        assert {line.split()[1] for line in fakes.journal[started:]} == {"etcd", "members-etcd"}
    assert DirectoryState.load(data.state).federation_id == "first"


async def test_an_etcd_that_cannot_be_read_is_not_taken_for_an_empty_one(data: DataDir, fakes: Fakes) -> None:
    """No service starts, and nothing is remembered."""

    async def unknown(access: EtcdAccess) -> str:
        raise UnavailableError(f"{access.where} does not answer")

    with pytest.raises(UnavailableError, match="does not answer"):
        await Host(data, UpOptions(), planner=planner_of(fakes), identify=unknown).run()
    assert {line.split()[1] for line in fakes.journal} == {"etcd", "members-etcd"}
    assert DirectoryState.load(data.state).federation_id == ""


async def test_a_second_up_is_refused(data: DataDir, fakes: Fakes) -> None:
    """And the first is not disturbed."""
    async with running(data, fakes) as task:
        with pytest.raises(FailedPreconditionError, match="already runs in"):
            await host_of(data, fakes).run()
        assert not task.done()
        assert await asyncio.to_thread(background.query, data) is not None


async def test_a_cluster_is_lost_and_comes_back(data: DataDir, fakes: Fakes) -> None:
    """`sim stop` kills it without a chance to say goodbye; `sim start` starts it again."""
    async with running(data, fakes):
        lost = await asyncio.to_thread(background.request, data, "sim-stop", name="eu-west")
        assert lost == {"changed": True}
        again = await asyncio.to_thread(background.request, data, "sim-stop", name="eu-west")
        assert again == {"changed": False}
        back = await asyncio.to_thread(background.request, data, "sim-start", name="eu-west", timeout=30.0)
        assert back == {"changed": True}
        assert [line for line in fakes.journal if "sim-" in line] == ["started sim-eu-west"] * 2
        with pytest.raises(FailedPreconditionError, match="no simulated cluster nowhere: there are eu-west"):
            await asyncio.to_thread(background.request, data, "sim-stop", name="nowhere")


async def test_a_process_that_dies_comes_back(data: DataDir, fakes: Fakes) -> None:
    """And `hanse status` counts it."""
    async with running(data, fakes):
        snapshot = await asyncio.to_thread(background.query, data)
        assert snapshot is not None
        before = {each["name"]: each["pid"] for each in snapshot["processes"]}
        import os
        import signal

        os.kill(before["syncer"], signal.SIGKILL)
        await until(lambda: fakes.journal.count("started syncer") == 2)
        async with asyncio.timeout(10):
            while True:
                now = await asyncio.to_thread(background.query, data)
                assert now is not None
                syncer = next(each for each in now["processes"] if each["name"] == "syncer")
                if syncer["state"] == "ready":
                    break
                await asyncio.sleep(0.02)
        assert syncer["restarts"] == 1


async def test_a_start_that_fails_stops_what_was_started_and_says_why(data: DataDir, fakes: Fakes) -> None:
    """The reason is left for the command that waits for it."""
    with pytest.raises(StartError, match="dns ended with status 7"):
        await host_of(data, fakes, broken="dns").run()
    failure = json.loads(data.failure.read_text())
    assert (failure["process"], failure["tail"].splitlines()[-1]) == ("dns", "this is why it fails")
    started = {line.removeprefix("started ") for line in fakes.journal if line.startswith("started")}
    stopped = {line.removeprefix("stopped ") for line in fakes.journal if line.startswith("stopped")}
    assert started == stopped
    assert not is_held(data)
    assert not DirectoryState.load(data.state).founded


async def test_a_stop_while_it_starts_is_obeyed(data: DataDir, fakes: Fakes) -> None:
    """Nobody has to wait for a start to stop it."""

    def slow(folder: DataDir, options: UpOptions, claims: Claims) -> FederationPlan:
        plan: FederationPlan = planner_of(fakes)(folder, options, claims)
        return replace(plan, specs=(fakes.spec("etcd", mode="silent"),))

    task = asyncio.create_task(host_of(data, fakes, planner=slow).run())
    await until(lambda: fakes.journal == ["started etcd"])
    assert await asyncio.to_thread(background.stop, data)
    async with asyncio.timeout(10):
        await task
    assert fakes.journal == ["started etcd", "stopped etcd"]
