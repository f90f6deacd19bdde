"""The arithmetic of the benchmarks, and the messages between their processes."""

from __future__ import annotations

import math
from dataclasses import replace

import orjson
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.arena import Outcome
from benchmarks.figures import Call, Figures, figures, median_run, percentile
from benchmarks.report import aims
from benchmarks.sections import Comparison, Restart
from benchmarks.watching import Arrivals
from benchmarks.workload import PAYLOAD_BYTES, VERBS, Load, Step, Target, config_map

SLOW = Figures(objects=2, missing=0, seconds=2.0, p50=0.01, p99=0.01, answer_p50=0.01)


def test_latency_runs_to_the_last_member() -> None:
    """An object counts from its call to its arrival in the slowest member; throughput from the first call."""
    calls = [Call("a", 10.0, 10.1), Call("b", 11.0, 11.1)]
    arrivals = {"eu": {"a": 10.2, "b": 11.5}, "us": {"a": 10.4, "b": 11.2}}
    found = figures(calls, arrivals)
    assert (found.objects, found.missing, found.overlapped) == (2, 0, 0)
    assert math.isclose(found.p50, 0.4)
    assert math.isclose(found.p99, 0.5)
    assert math.isclose(found.seconds, 1.5)
    assert math.isclose(found.per_second, 2 / 1.5)


def test_what_is_missing_anywhere_is_missing() -> None:
    """An object that one member lacks, or whose call failed, does not count as complete."""
    calls = [Call("a", 1.0, 1.1), Call("b", 1.0, 1.1, "409: no"), Call("c", 1.0, 1.1)]
    arrivals = {"eu": {"a": 2.0, "b": 2.0, "c": 2.0}, "us": {"b": 2.0, "c": 2.0}}
    found = figures(calls, arrivals)
    assert (found.objects, found.missing) == (1, 2)
    assert found.errors == ("409: no",)


def test_overlap_is_noticed() -> None:
    """An object that arrives after the next call was not alone."""
    calls = [Call("a", 1.0, 1.1), Call("b", 2.0, 2.1)]
    assert figures(calls, {"eu": {"a": 2.5, "b": 2.6}}).overlapped == 1


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.floats(0.01, 1.0))
def test_percentile_covers_its_fraction(values: list[float], fraction: float) -> None:
    """A percentile is one of the values, and at least that fraction of them does not exceed it."""
    found = percentile(values, fraction)
    assert found in values
    assert sum(value <= found for value in values) >= fraction * len(values)


def test_median_run_is_a_run() -> None:
    """The median of three runs is the middle one as a whole."""
    runs = [replace(SLOW, seconds=seconds) for seconds in (3.0, 1.0, 2.0)]
    assert median_run(runs) is runs[2]


def test_every_message_survives_its_way() -> None:
    """A load is the same at the other end of the pipe, and its bodies are ConfigMaps of 1 KiB of data."""
    target = Target("eu", "https://127.0.0.1:1", "ca", "cert", "key")
    for verb in VERBS:
        load = Load(Step(verb, "b", 3, "ns", concurrency=2), (target,))
        assert Load.decoded(load.encoded()) == load
    body = orjson.loads(config_map("b-00001", "ns", "1"))
    assert sum(len(name) + len(value) for name, value in body["data"].items()) == PAYLOAD_BYTES


async def test_arrivals_tell_steps_apart() -> None:
    """An event counts for the step with its kind, batch and round only, and only the first time."""

    def line(kind: str, round_: str) -> bytes:
        return orjson.dumps(
            {
                "type": kind,
                "object": {
                    "metadata": {"name": "b-00000", "resourceVersion": "7"},
                    "data": {"round": round_},
                },
            }
        )

    arrivals = Arrivals(["eu"])
    assert arrivals.note("eu", line("ADDED", "0"), 1.0) == "7"
    arrivals.note("eu", line("MODIFIED", "0"), 2.0)
    arrivals.note("eu", line("MODIFIED", "1"), 3.0)
    arrivals.note("eu", line("MODIFIED", "1"), 4.0)
    for verb, expected in (("create", {"b-00000": 1.0}), ("update", {"b-00000": 3.0}), ("delete", {})):
        step = Step(verb, "b", 1, "ns")  # type: ignore[arg-type]
        assert await arrivals.expect(step.arrival, 1, 0.01) == {"eu": expected}


def test_aims_are_missed_by_what_is_lost() -> None:
    """A throughput above the aim counts only without losses, and a restart only if all was in sync."""
    fast = replace(SLOW, seconds=1.9)
    for hanse, reached in (
        (fast, True),
        (replace(fast, missing=1), False),
        (replace(SLOW, seconds=4), False),
    ):
        compared = [Comparison("create", Outcome(SLOW, {}), Outcome(hanse, {}))]
        assert [aim[3] for aim in aims(bulk=compared, single=(), idle=None, restart=None)] == [reached]
    restart = Restart(
        objects=1,
        synced=False,
        ready_seconds=1.0,
        change_seconds=1.0,
        done_seconds=2.0,
        writes={},
    )
    assert [aim[3] for aim in aims(bulk=(), single=(), idle=None, restart=restart)] == [False, True]
