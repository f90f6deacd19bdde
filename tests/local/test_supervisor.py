"""The supervisor orders, restarts and never orphans its processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hanse_local.supervise.identity import ProcessIdentity
from hanse_local.supervise.process import ProcessState
from hanse_local.supervise.supervisor import StartError, Supervisor, end_leftovers, tail_of

from tests.local.fakes import Fakes
from tests.support.waiting import until


async def test_tiers_start_in_order_and_stop_in_the_opposite_order(fakes: Fakes, tmp_path: Path) -> None:
    """What others need starts first and stops last."""
    specs = [fakes.spec("web", tier=2), fakes.spec("db", tier=0), fakes.spec("cache", tier=1)]
    async with Supervisor(specs, record=tmp_path / "processes") as supervisor:
        await supervisor.start(timeout=20)
        assert fakes.journal == ["started db", "started cache", "started web"]
    assert fakes.journal[3:] == ["stopped web", "stopped cache", "stopped db"]
    assert not (tmp_path / "processes").exists()


async def test_a_process_that_dies_is_started_again(fakes: Fakes, tmp_path: Path) -> None:
    """kill -9 is repaired, and the restart is counted."""
    async with Supervisor([fakes.spec("db")], record=tmp_path / "processes") as supervisor:
        await supervisor.start(timeout=20)
        process = supervisor.process("db")
        first = process.identity
        assert first is not None
        os.kill(first.pid, signal.SIGKILL)
        await until(lambda: process.state is ProcessState.READY and process.identity != first)
        assert process.restarts == 1
        assert process.exit_code == -signal.SIGKILL


async def test_a_killed_process_stays_down_until_it_is_started(fakes: Fakes, tmp_path: Path) -> None:
    """`kill` means lost: no restart by itself, and `start` brings it back."""
    async with Supervisor([fakes.spec("sim")], record=tmp_path / "processes") as supervisor:
        await supervisor.start(timeout=20)
        process = supervisor.process("sim")
        process.kill()
        await until(lambda: process.state is ProcessState.STOPPED)
        await asyncio.sleep(0.6)  # longer than the first pause before a restart
        assert process.starts == 1
        process.start()
        await supervisor.await_ready("sim", timeout=20)
        assert fakes.journal == ["started sim", "started sim"]  # and no orderly stop between


async def test_a_process_that_cannot_start_fails_the_start_with_its_log(fakes: Fakes, tmp_path: Path) -> None:
    """The failure names the process and shows why."""
    specs = [fakes.spec("db"), fakes.spec("web", tier=1, mode="broken")]
    async with Supervisor(specs, record=tmp_path / "processes") as supervisor:
        with pytest.raises(StartError, match="web ended with status 7") as caught:
            await supervisor.start(timeout=20)
        assert "this is why it fails" in caught.value.tail
    assert fakes.journal == ["started db", "stopped db"]


async def test_a_failure_shows_this_start_alone_and_each_line_once(fakes: Fakes, tmp_path: Path) -> None:
    """Neither what an earlier run logged, nor the same words of every attempt."""
    spec = fakes.spec("web", mode="broken")
    spec.log.write_text("of an earlier run\n")
    async with Supervisor([spec], record=tmp_path / "processes") as supervisor:
        with pytest.raises(StartError) as caught:
            await supervisor.start(timeout=20)
    assert spec.log.read_text().count("this is why it fails") > 1
    assert caught.value.tail == "this is why it fails"


def test_lines_that_differ_in_their_time_alone_are_one(tmp_path: Path) -> None:
    """The order stays, and the last time counts."""
    log = tmp_path / "log"
    lines = [f'{{"timestamp": "2024-01-01T00:00:0{n}.5Z", "event": "{n % 2}"}}' for n in range(5)]
    log.write_text("\n".join(lines))
    assert tail_of(log, since=0).splitlines() == lines[3:]
    assert tail_of(log, since=len(lines[0]) * 4, lines=1) == lines[4]
    assert tail_of(tmp_path / "none", since=0) == ""


async def test_a_process_that_is_never_ready_fails_the_start(fakes: Fakes, tmp_path: Path) -> None:
    """Waiting has an end."""
    async with Supervisor([fakes.spec("db", mode="silent")], record=tmp_path / "processes") as supervisor:
        with pytest.raises(StartError, match="db was not ready after 1 s"):
            await supervisor.start(timeout=1)


async def test_a_process_that_does_not_obey_is_killed_after_its_grace(fakes: Fakes, tmp_path: Path) -> None:
    """Stopping has an end too."""
    spec = fakes.spec("deaf", mode="stubborn", grace=0.3)
    async with Supervisor([spec], record=tmp_path / "processes") as supervisor:
        await supervisor.start(timeout=20)
        identity = supervisor.process("deaf").identity
    assert identity is not None
    assert not identity.alive


async def test_a_hurried_stop_waits_for_nobody(fakes: Fakes, tmp_path: Path) -> None:
    """The second Ctrl-C cuts the grace short."""
    spec = fakes.spec("deaf", mode="stubborn", grace=60)
    async with Supervisor([spec], record=tmp_path / "processes") as supervisor:
        await supervisor.start(timeout=20)
        supervisor.hurry.set()
        async with asyncio.timeout(10):
            await supervisor.stop()
    assert supervisor.process("deaf").exit_code == -signal.SIGKILL


async def test_a_ready_file_of_an_earlier_run_counts_for_nothing(fakes: Fakes, tmp_path: Path) -> None:
    """Readiness is of this process, by its pid."""
    spec = fakes.spec("db", mode="silent")
    (tmp_path / "db.json").write_text(json.dumps({"pid": os.getpid(), "endpoints": {}}))
    async with Supervisor([spec], record=tmp_path / "processes") as supervisor:
        with pytest.raises(StartError, match="was not ready"):
            await supervisor.start(timeout=0.5)


PARENT = """
import asyncio, sys
from pathlib import Path
from tests.local.fakes import Fakes
from hanse_local.supervise.supervisor import Supervisor
async def main():
    folder = Path(sys.argv[1])
    async with Supervisor([Fakes(folder).spec("db")], record=folder / "processes") as supervisor:
        await supervisor.start(timeout=20)
        print(supervisor.process("db").identity.pid, flush=True)
        await asyncio.sleep(600)
asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_the_processes_die_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    """kill -9 of the supervisor leaves no orphan."""
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=root
    ) as parent:
        assert parent.stdout is not None
        child = ProcessIdentity.of(int(parent.stdout.readline()))
        assert child is not None
        parent.kill()
        deadline = time.monotonic() + 10
        while child.alive:
            assert time.monotonic() < deadline, "the child outlived its supervisor"
            time.sleep(0.02)


def test_leftovers_of_a_crash_are_ended_and_strangers_are_not(tmp_path: Path) -> None:
    """A recorded pid is only signalled if its start time says that it is the same process."""
    with subprocess.Popen(["sleep", "600"]) as ours, subprocess.Popen(["sleep", "600"]) as stranger:
        mine = ProcessIdentity.of(ours.pid)
        assert mine is not None
        record = tmp_path / "processes"
        entries = {
            "db": {"pid": ours.pid, "started": mine.started},
            "web": {"pid": stranger.pid, "started": "another time"},
        }
        record.write_text(json.dumps(entries))
        assert end_leftovers(record) == ["db"]
        assert ours.wait(timeout=5) == -signal.SIGTERM
        assert stranger.poll() is None
        stranger.kill()
    assert not record.exists()


def test_a_damaged_record_is_no_record(tmp_path: Path) -> None:
    """Half a file after a power loss stops nothing."""
    record = tmp_path / "processes"
    for content in ('{"db": {"pid"', "[]", "[" * 100_000, '{"db": {"pid": 1e400, "started": ""}}'):
        record.write_text(content)
        assert end_leftovers(record) == []
