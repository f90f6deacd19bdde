"""The watchdog of the event loop: what it measures, and that tests can rely on it."""

from __future__ import annotations

import time
import urllib.request
from pathlib import Path

import orjson
import pytest

from hanse.process.looplag import Held, LoopWatchdog
from tests.mesh.test_runtime import started
from tests.support.looplag import responsive
from tests.support.waiting import wait_until


def compute(seconds: float) -> None:
    """Hold the loop as a defect would."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


async def test_a_held_loop_is_measured_and_its_stack_named() -> None:
    """How long, and where."""
    found: list[Held] = []
    async with LoopWatchdog(on_held=found.append):
        compute(0.3)
    (held,) = [each for each in found if each.cpu_seconds > 0.2]
    assert held.seconds >= held.cpu_seconds
    assert "compute" in held.stack


async def test_a_test_fails_in_which_the_product_holds_the_loop() -> None:
    """And says where it was held."""
    with pytest.raises(AssertionError, match=r"(?s)held 1 times.*compute"):
        async with responsive():
            compute(0.3)


async def test_waiting_is_not_computing() -> None:
    """A machine that gives the loop no time fails no test."""
    async with responsive() as held:
        time.sleep(0.2)  # noqa: ASYNC251 - as if another process had the processor
    assert [each.seconds > 0.1 for each in held] == [True]


def test_every_service_serves_the_lag_as_a_metric(tmp_path: Path) -> None:
    """Without a line of its own."""
    with started(tmp_path) as (_, ready):
        wait_until(ready.exists)
        address = orjson.loads(ready.read_bytes())["endpoints"]["metrics"]

        def measured() -> bool:
            with urllib.request.urlopen(f"http://{address}/metrics") as response:
                return b"hanse_event_loop_lag_seconds_count" in response.read()

        wait_until(measured)
