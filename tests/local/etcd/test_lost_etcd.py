"""An etcd whose data goes while the federation runs, or whose first start was broken off."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hanse_apiserver import founding
from hanse_local.etcd import beginnings
from hanse_local.layout import DataDir
from hanse_local.options import UpOptions
from hanse_local.supervise import background
from hanse_local.supervise.process import ProcessState
from hanse_local.supervise.supervisor import Supervisor
from hanse_local.verdict import problems

from hanse.errors import FEDERATION_DIFFERS, FEDERATION_LOST, FailedPreconditionError
from hanse.store import MemoryStore
from hanse.store.keys import FEDERATION
from tests.local.fakes import Fakes, plan_of
from tests.local.test_host import Etcd, host_of
from tests.support.waiting import until


async def test_an_etcd_that_lost_its_data_is_not_started_with_nothing(fakes: Fakes, tmp_path: Path) -> None:
    """It says what is missing; with a backup in its place it is started again by itself."""
    data = tmp_path / "etcd" / "member"
    data.mkdir(parents=True)
    spec = replace(fakes.spec("etcd"), keeps=data)
    async with Supervisor([spec], record=tmp_path / "processes") as supervisor:
        await supervisor.start(timeout=20)
        etcd = supervisor.process("etcd")
        assert etcd.identity is not None
        data.rmdir()
        os.kill(etcd.identity.pid, signal.SIGKILL)
        await until(lambda: "is gone" in etcd.problem)
        assert fakes.journal == ["started etcd"]
        snapshot = {"phase": "ready", "processes": supervisor.describe()}
        (said,) = problems(snapshot, now=time.time() + 20)
        assert "is gone, and it would begin with nothing: restore a backup" in said
        data.mkdir()
        await until(lambda: etcd.state is ProcessState.READY)


def test_both_etcds_need_their_data(tmp_path: Path) -> None:
    """That of the federation, and that of the simulated clusters."""
    data = DataDir.at(tmp_path / "data")
    data.create()
    plan = plan_of(data, UpOptions(clusters=1))
    kept = {spec.name: spec.keeps for spec in plan.specs if spec.keeps}
    assert kept == {name: data.etcd(name) / "member" for name in ("etcd", "members-etcd")}
    assert plan.etcd_data == (data.etcd("etcd"), data.etcd("members-etcd"))


async def test_an_apiserver_founds_no_federation_where_another_was() -> None:
    """With the id that must be there, none and another are errors, and nothing is written."""
    store = MemoryStore()

    async def found(expected: str) -> str:
        federation = await founding.found(store, short_name="a", dns_suffix="b", expected=expected)
        return federation.id

    with pytest.raises(FailedPreconditionError) as lost:
        await found("first")
    assert lost.value.reason == FEDERATION_LOST
    assert await store.get(FEDERATION) is None
    first = await found("")
    assert await found(first) == first
    with pytest.raises(FailedPreconditionError) as differs:
        await found("another")
    assert differs.value.reason == FEDERATION_DIFFERS


async def test_an_apiserver_is_told_which_federation_it_serves(tmp_path: Path, fakes: Fakes) -> None:
    """From the first run on: an external etcd may be emptied while it runs."""
    data = DataDir.at(tmp_path / "data")
    etcd = Etcd()
    for _ in range(2):
        host = host_of(data, fakes, etcd=etcd)
        task = asyncio.create_task(host.run())
        await until(lambda: host.snapshot()["phase"] == "ready")  # noqa: B023
        assert host._supervisor is not None
        told = host._supervisor.process("apiserver").environment
        assert told == {"HANSE_APISERVER_FEDERATION_ID": "first"}
        await asyncio.to_thread(background.stop, data)
        await task


def test_what_a_broken_first_start_left_is_made_anew(tmp_path: Path) -> None:
    """What has served, or was put there as a backup, is kept."""
    directory = tmp_path / "etcd"
    half = directory / "member" / "wal"
    beginnings.begin(directory)
    half.mkdir(parents=True)
    beginnings.begin(directory)
    assert not half.exists()
    half.mkdir(parents=True)
    beginnings.served(directory)
    beginnings.begin(directory)
    assert half.exists()
    restored = tmp_path / "restored"
    (restored / "member" / "wal").mkdir(parents=True)
    beginnings.begin(restored)
    assert (restored / "member" / "wal").exists()


async def test_an_etcd_counts_as_begun_once_it_served(tmp_path: Path, fakes: Fakes) -> None:
    """Also if the start fails after that."""
    data = DataDir.at(tmp_path / "data")
    beginnings.begin(data.etcd("etcd"))
    host = host_of(data, fakes, broken="dns")
    with pytest.raises(Exception, match="dns ended"):
        await host.run()
    assert not (data.etcd("etcd") / beginnings.MARK).exists()
