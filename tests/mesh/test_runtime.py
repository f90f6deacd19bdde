"""The life of a service process, in real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest

from tests.support.waiting import wait_until

SERVICE = """
import asyncio, sys
from dataclasses import dataclass
from typing import ClassVar
from hanse.errors import ConfigError, FailedPreconditionError
from hanse.service.runtime import Runtime, run
from hanse.process.settings import ServiceSettings

@dataclass(frozen=True)
class S(ServiceSettings):
    service: ClassVar[str] = "example"
    how: str = "serve"

async def crash():
    await asyncio.sleep(0.05)
    raise RuntimeError("task\\nbroke")

async def regress(what):
    raise FailedPreconditionError(what)

async def serve(rt: Runtime[S]) -> None:
    how = rt.settings.how
    if how == "tasks":
        async with asyncio.TaskGroup() as tasks:
            for what in ("etcd went back", "the lease is lost", "etcd went back"):
                tasks.create_task(regress(what))
    if how == "config":
        raise ConfigError("the thing is wrong: do that")
    if how == "return":
        return
    if how == "task":
        rt.tasks.create_task(crash())
    rt.tasks.create_task(asyncio.Event().wait())
    rt.ready({"grpc": "127.0.0.1:1"})
    if how == "stubborn":
        await asyncio.Event().wait()
    await rt.stopping.wait()
    await asyncio.sleep(0.05)
    print("drained", flush=True)

sys.exit(run("example", S, serve))
"""


@contextmanager
def started(tmp_path: Path, *flags: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """The process, ended whatever happens, and its ready file."""
    script = tmp_path / "service.py"
    script.write_text(SERVICE)
    ready = tmp_path / "run" / "ready.json"
    process = subprocess.Popen(
        [sys.executable, str(script), "--ready-file", str(ready), *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={key: value for key, value in os.environ.items() if not key.startswith("HANSE_")},
    )
    try:
        yield process, ready
    finally:
        process.kill()
        process.communicate(timeout=10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_service_gets_ready_and_drains_on_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    """The ready file says where it is; after the signal work drains, and the status is 0."""
    with started(tmp_path) as (process, ready):
        wait_until(ready.exists)
        content = orjson.loads(ready.read_bytes())
        assert content["pid"] == process.pid
        assert content["endpoints"]["grpc"] == "127.0.0.1:1"
        base = f"http://{content['endpoints']['metrics']}"
        with urllib.request.urlopen(f"{base}/readyz", timeout=5) as answer:  # noqa: S310
            assert answer.status == 200
        with urllib.request.urlopen(f"{base}/metrics", timeout=5) as answer:  # noqa: S310
            assert b"process_cpu_seconds_total" in answer.read()
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
        assert (process.returncode, out) == (0, "drained\n")
        events = [orjson.loads(line)["event"] for line in err.splitlines()]
        events = [event for event in events if event != "the event loop was held"]  # by a busy machine
        assert events == ["serving", "told to stop", "stopping"]
        assert not ready.exists()


def test_work_that_does_not_end_is_cancelled(tmp_path: Path) -> None:
    """After drain_seconds; the stop still succeeds."""
    with started(tmp_path, "--how", "stubborn", "--drain-seconds", "0.1") as (process, ready):
        wait_until(ready.exists)
        process.terminate()
        assert process.wait(10) == 0


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    """For the impatient."""
    with started(tmp_path, "--how", "stubborn", "--drain-seconds", "60") as (process, ready):
        wait_until(ready.exists)
        process.terminate()
        assert process.stderr is not None
        for line in process.stderr:
            if '"stopping"' in line:
                break
        process.terminate()
        assert process.wait(10) == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("flags", "status", "line"),
    [
        (["--size", "3"], 2, "hanse-example: error: unrecognized arguments: --size 3; see --help"),
        (["--listen", "x"], 2, "hanse-example: error: setting listen is 'x'"),
        (["--how", "config"], 2, "hanse-example: error: the thing is wrong: do that"),
        (["--how", "tasks"], 1, "hanse-example: error: etcd went back; the lease is lost"),
        (["--how", "task"], 1, "hanse-example: error: RuntimeError: task broke"),
        (["--trace-file", "/proc/nope/x"], 2, "hanse-example: error: cannot write the trace file"),
    ],
)
def test_what_is_fatal_is_one_line_and_a_status(
    tmp_path: Path, flags: list[str], status: int, line: str
) -> None:
    """2 for a configuration that is wrong, 1 for anything else."""
    with started(tmp_path, *flags) as (process, ready):
        _, err = process.communicate(timeout=20)
        assert process.returncode == status
        assert err.splitlines()[-1].startswith(line)
        assert not ready.exists()


def test_a_main_that_returns_ends_the_process(tmp_path: Path) -> None:
    """With status 0."""
    with started(tmp_path, "--how", "return") as (process, _):
        assert process.wait(20) == 0


def test_an_idle_service_is_small(tmp_path: Path) -> None:
    """Less than 64 MiB resident with runtime, telemetry, RPC and control loaded."""
    with started(tmp_path) as (process, ready):
        wait_until(ready.exists)
        status = Path(f"/proc/{process.pid}/status").read_text()
        kib = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))
        assert kib < 64 * 1024


def test_a_ready_file_that_cannot_be_written_is_written_later(tmp_path: Path) -> None:
    """A service that cannot write its ready file serves, says so, and writes the file once it can."""
    blocker = tmp_path / "run"
    blocker.write_text("a file where the folder should be")
    with started(tmp_path) as (process, ready):
        assert process.stderr is not None
        while "the ready file cannot be written" not in (line := process.stderr.readline()):
            assert line, "the service ended"
        blocker.unlink()
        wait_until(ready.exists)
        assert orjson.loads(ready.read_bytes())["pid"] == process.pid
        process.terminate()
        assert process.wait(10) == 0
