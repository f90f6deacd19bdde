"""What is measured, section by section.

Each function takes the arena and gives a result that `report` prints; nothing is printed here but progress.

Concurrency: one section at a time; the floor and Hanse alternate, so that both see the same machine.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp

from benchmarks import usage
from benchmarks.arena import NAMESPACE, Arena, Outcome
from benchmarks.figures import median_run
from benchmarks.load import context_of
from benchmarks.usage import Usage
from benchmarks.workload import VERBS, Step, Target, Verb
from tests.real.realcluster import until

Say = Callable[[str], None]
FLOOR, HANSE = "floor", "hanse"
WRITES = frozenset({"POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"})
_QUIET_SECONDS = 3.0
_QUIET_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Settings:
    """How much is done."""

    objects: int = 1000
    """Objects of the section `bulk`."""
    concurrency: int = 32
    """Objects in flight at once in `bulk`."""
    singles: int = 150
    """Objects of the section `single`."""
    pace: float = 0.1
    """Seconds from one object to the next in `single`."""
    runs: int = 3
    """How often `bulk` is done; the median counts."""
    restart_objects: int = 10_000
    """Objects in sync when the syncer is restarted."""
    idle_seconds: float = 30.0
    """How long the idle control plane is looked at."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One verb, the floor against Hanse."""

    verb: Verb
    floor: Outcome
    hanse: Outcome


@dataclass(frozen=True, slots=True)
class Restart:
    """What a restart of the syncer did."""

    objects: int
    synced: bool
    """Whether all objects were in all members before."""
    ready_seconds: float
    """From the signal until the successor serves."""
    change_seconds: float
    """From the signal until an object that was created right after it is in all members."""
    done_seconds: float
    """From the signal until the syncer has nothing left to do: the start of the first 3 s in which it
    uses less than 5 % of a core."""
    writes: dict[str, int]
    """Writes that all members together got meanwhile, by resource; the object created for `change_seconds`
    is not counted."""
    usage: dict[str, Usage] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Idle:
    """The control plane while nothing changes."""

    objects: int
    seconds: float
    usage: dict[str, Usage]


async def bulk(arena: Arena, settings: Settings, say: Say) -> list[Comparison]:
    """Many objects as fast as it goes."""
    done: dict[tuple[Verb, str], list[Outcome]] = {}
    await _warm_up(arena, settings)
    for run in range(settings.runs):
        for where, targets in ((FLOOR, arena.floor), (HANSE, arena.hanse)):
            for verb in VERBS:
                step = Step(
                    verb=verb,
                    batch=f"bulk-{where}-{run}",
                    count=settings.objects,
                    namespace=NAMESPACE,
                    concurrency=settings.concurrency,
                )
                outcome = await arena.run(step, targets)
                done.setdefault((verb, where), []).append(outcome)
                say(f"bulk {run + 1}/{settings.runs} {where:<5} {verb}: {outcome.figures.per_second:.0f}/s")
                await settled(arena)
    return [Comparison(verb, _median(done[verb, FLOOR]), _median(done[verb, HANSE])) for verb in VERBS]


async def single(arena: Arena, settings: Settings, say: Say) -> list[Comparison]:
    """Return one object at a time."""
    done: dict[tuple[Verb, str], Outcome] = {}
    await _warm_up(arena, settings)
    for where, targets in ((FLOOR, arena.floor), (HANSE, arena.hanse)):
        for verb in VERBS:
            step = Step(
                verb=verb,
                batch=f"single-{where}",
                count=settings.singles,
                namespace=NAMESPACE,
                pace=settings.pace,
            )
            outcome = await arena.run(step, targets)
            done[verb, where] = outcome
            say(f"single {where:<5} {verb}: p50 {outcome.figures.p50 * 1000:.1f} ms")
            await settled(arena)
    return [Comparison(verb, done[verb, FLOOR], done[verb, HANSE]) for verb in VERBS]


async def idle(arena: Arena, settings: Settings, say: Say, *, objects: int) -> Idle:
    """Nothing at all, for a while. `objects` is how many are in sync, for the record."""
    await settled(arena, seconds=60.0)
    pids = {**arena.control_plane, "supervisor": arena.federation.supervisor_pid}
    before, start = usage.read_all(pids), time.monotonic()
    await asyncio.sleep(settings.idle_seconds)
    after, end = usage.read_all(pids), time.monotonic()
    used = usage.difference(before, after)
    say(f"idle: {sum(each.cpu for each in used.values()):.2f} CPU seconds in {end - start:.0f} s")
    return Idle(objects, end - start, used)


async def fill(arena: Arena, settings: Settings, say: Say) -> Outcome:
    """Create the objects of the section `restart`, through Hanse."""
    step = Step(
        verb="create",
        batch="kept",
        count=settings.restart_objects,
        namespace=NAMESPACE,
        concurrency=settings.concurrency,
    )
    outcome = await arena.run(step, arena.hanse, seconds=600.0)
    say(f"fill: {outcome.figures.objects} objects, {outcome.figures.per_second:.0f}/s")
    await settled(arena, seconds=60.0)
    return outcome


async def restart(arena: Arena, settings: Settings, say: Say, *, filled: Outcome) -> Restart:
    """End the syncer by SIGTERM and see what its successor does."""
    before = await writes(arena)
    other = usage.read_all({name: pid for name, pid in arena.pids().items() if name != "syncer"})
    start = time.monotonic()
    restarting = asyncio.create_task(arena.federation.restart("syncer", seconds=60.0))
    await asyncio.sleep(0.05)  # the old one has stopped its work
    step = Step(verb="create", batch="probe", count=1, namespace=NAMESPACE)
    probing = asyncio.create_task(arena.run(step, arena.hanse, seconds=60.0))
    pid = await restarting
    ready = time.monotonic() - start
    done = await _quiet_since(pid, deadline=start + 120.0) - start
    probe = await probing
    after = await writes(arena)
    changes = Counter(after)
    changes.subtract(before)
    changes["configmaps"] -= len(arena.members) * probe.figures.objects
    used = usage.difference(other, usage.read_all(arena.pids()))
    say(f"restart: {dict(+changes)} writes, done after {done:.1f} s")
    return Restart(
        objects=filled.figures.objects,
        synced=filled.figures.missing == 0,
        ready_seconds=ready,
        change_seconds=probe.figures.p50 + 0.05,
        done_seconds=done,
        writes={name: count for name, count in changes.items() if count},
        usage=used,
    )


async def writes(arena: Arena) -> Counter[str]:
    """Return the writes that all members have answered since they started, by resource, from their metrics.

    What a control plane writes by itself all the time is left out: leases, and reviews, which store nothing.
    """
    counted: Counter[str] = Counter()
    for target in arena.floor:
        for line in (await _metrics(target)).splitlines():
            if not line.startswith("apiserver_request_total{"):
                continue
            labels, _, value = line.removeprefix("apiserver_request_total{").rpartition("} ")
            named = dict(part.split("=", 1) for part in labels.split(",") if "=" in part)
            resource = named.get("resource", "").strip('"')
            if (
                named.get("verb", "").strip('"') in WRITES
                and resource != "leases"
                and "review" not in resource
            ):
                counted[resource] += int(float(value))
    return counted


async def settled(arena: Arena, *, seconds: float = 30.0) -> None:
    """Wait until the control plane uses less than a tenth of a core for half a second."""

    async def is_quiet() -> bool:
        pids = arena.control_plane
        before = usage.read_all(pids)
        await asyncio.sleep(0.5)
        used = usage.difference(before, usage.read_all(pids))
        return sum(each.cpu for each in used.values()) < 0.05

    await until(is_quiet, what="the control plane has nothing left to do", seconds=seconds)


async def _warm_up(arena: Arena, settings: Settings) -> None:
    """Have every process do everything a few times before it counts."""
    arena.warm_ups += 1
    for where, targets in ((FLOOR, arena.floor), (HANSE, arena.hanse)):
        for verb in VERBS:
            batch = f"warm-{where}-{arena.warm_ups}"
            count = min(settings.objects, 100)
            await arena.run(Step(verb, batch, count, NAMESPACE, concurrency=8), targets)
    await settled(arena)


async def _quiet_since(pid: int, *, deadline: float) -> float:
    """Return the time since which a process has done next to nothing for `_QUIET_SECONDS`."""
    history = [(time.monotonic(), usage.read(pid).cpu)]
    while time.monotonic() < deadline:
        await asyncio.sleep(0.1)
        now = time.monotonic()
        history.append((now, usage.read(pid).cpu))
        past = [(when, cpu) for when, cpu in history if when <= now - _QUIET_SECONDS]
        if past and history[-1][1] - past[-1][1] < _QUIET_SHARE * _QUIET_SECONDS:
            return past[-1][0]
    raise TimeoutError("the syncer was still busy 120 s after its restart")


async def _metrics(target: Target) -> str:
    connector = aiohttp.TCPConnector(ssl=context_of(target))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(f"{target.server}/metrics") as answer,
    ):
        return await answer.text()


def _median(outcomes: list[Outcome]) -> Outcome:
    chosen = median_run([outcome.figures for outcome in outcomes])
    return next(outcome for outcome in outcomes if outcome.figures is chosen)
