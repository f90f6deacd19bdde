"""Real scheduler processes over a real etcd: readiness, failover after kill -9, an honest end."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import orjson
import pytest

from hanse.store import EtcdStore
from tests.scheduler.builders import CONFIG, WEB, config, deployment
from tests.support.federation.federation import Federation
from tests.support.stores.etcd import EtcdServer
from tests.support.waiting import until

Start = Callable[[str], subprocess.Popen[bytes]]


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[EtcdServer]:
    """An etcd of the test."""
    with EtcdServer(tmp_path / "etcd") as server:
        yield server


@pytest.fixture
async def stored(etcd: EtcdServer) -> AsyncIterator[Federation]:
    """A federation in that etcd."""
    store = await EtcdStore.connect([etcd.endpoint])
    async with Federation(store) as made:
        yield made
    await store.close()


@pytest.fixture
def start(etcd: EtcdServer, tmp_path: Path) -> Iterator[Start]:
    """Starts scheduler processes, and ends those that still run."""
    processes: list[subprocess.Popen[bytes]] = []

    def run(name: str) -> subprocess.Popen[bytes]:
        with (tmp_path / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [
                    sys.executable, "-m", "hanse_scheduler", "--etcd-endpoints", etcd.endpoint,
                    "--ready-file", str(tmp_path / f"{name}.json"), "--leader-ttl", "2",
                ],
                stdout=log,
                stderr=log,
            )  # fmt: skip
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.wait(10)


async def ready(tmp_path: Path, name: str) -> None:
    """Wait until a process says that it serves."""
    file = tmp_path / f"{name}.json"
    try:
        await until(file.exists, what=f"{name} serves")
    except AssertionError:
        pytest.fail((tmp_path / f"{name}.log").read_text())
    assert set(orjson.loads(file.read_bytes())["endpoints"]) == {"grpc", "metrics"}


async def test_failover_between_processes(stored: Federation, start: Start, tmp_path: Path) -> None:
    """When the leading process is killed the other goes on; a stop is quick and its status is 0."""
    await stored.clusters("a", "b")
    first = start("first")
    await ready(tmp_path, "first")
    await stored.apply(WEB, deployment(4))
    await stored.placed(WEB, {"a": 2, "b": 2})
    second = start("second")
    await ready(tmp_path, "second")
    first.send_signal(signal.SIGKILL)
    await stored.apply(CONFIG, config())

    async def placed() -> bool:
        return await stored.placement(CONFIG) is not None

    await until(placed)
    assert await stored.version(WEB) == 1
    second.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(second.wait, 10) == 0
    elections = await stored.store.range("elections/scheduler/")
    assert not elections.items
