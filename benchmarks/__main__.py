"""`python -m benchmarks`: measures and prints. Only wires; see `sections` for what is measured.

Exit status: 0 when everything asked for was measured (whether or not the aims are reached), 1 when something
failed or did not arrive.
"""

from __future__ import annotations

import asyncio
import os
import platform
import signal
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console

from benchmarks import report, sections
from benchmarks.arena import Arena
from benchmarks.profiling import Profiler
from benchmarks.sections import Settings
from tests.real.federation import SERVICES

SECTIONS = ("idle", "single", "bulk", "restart")
QUICK = Settings(objects=40, singles=5, runs=1, restart_objects=60, idle_seconds=3.0)


@click.command()
@click.option("--objects", type=click.IntRange(min=1), help="Objects in bulk. [default: 1000]")
@click.option("--concurrency", type=click.IntRange(min=1), help="Objects in flight in bulk. [default: 32]")
@click.option("--singles", type=click.IntRange(min=2), help="Objects one at a time. [default: 150]")
@click.option("--runs", type=click.IntRange(min=1), help="Runs of bulk; the median counts. [default: 3]")
@click.option(
    "--restart-objects", type=click.IntRange(min=1), help="Objects at the restart. [default: 10000]"
)
@click.option("--quick", is_flag=True, help="A small run, to see that it works; its figures mean nothing.")
@click.option("--only", multiple=True, type=click.Choice(SECTIONS), help="Only this section; repeatable.")
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write results there."
)
@click.option(
    "--profile", multiple=True, type=click.Choice(SERVICES), help="Record it with py-spy; repeatable."
)
@click.option(
    "--profile-dir", type=click.Path(path_type=Path, file_okay=False), default=Path(), help="For its files."
)
@click.option(
    "--data-dir", type=click.Path(path_type=Path, file_okay=False), help="Keep all data and logs there."
)
def main(
    *,
    quick: bool,
    only: tuple[str, ...],
    json_file: Path | None,
    profile: tuple[str, ...],
    profile_dir: Path,
    data_dir: Path | None,
    **amounts: int | None,
) -> None:
    """Measure Hanse against a bare client on the same real API servers."""
    console = Console(width=None if sys.stdout.isatty() else 150)
    given = {name: value for name, value in amounts.items() if value is not None}
    settings = Settings(**{**asdict(QUICK if quick else Settings()), **given})
    with ExitStack() as stack:
        directory = data_dir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hanse-bench-")))
        try:
            profiler = Profiler(profile, profile_dir) if profile else None
            chosen = [name for name in SECTIONS if not only or name in only]
            results = asyncio.run(measure(directory, settings, chosen, profiler=profiler, console=console))
        except (RuntimeError, TimeoutError) as error:
            console.print(f"error: {error}", style="red", markup=False)
            sys.exit(1)
        except (asyncio.CancelledError, KeyboardInterrupt):
            console.print("interrupted; everything is stopped", style="red")
            sys.exit(130)
        for path in profiler.files if profiler else ():
            console.print(f"profile: {path}")
    if json_file is not None:
        json_file.write_bytes(orjson.dumps(report.as_json(results), option=orjson.OPT_INDENT_2))
    if missing(results):
        console.print("error: not every object arrived in every member", style="red")
        sys.exit(1)


async def measure(
    directory: Path, settings: Settings, chosen: list[str], *, profiler: Profiler | None, console: Console
) -> dict[str, Any]:
    """Run the sections in order and print each when it is done."""

    def say(text: str) -> None:
        console.print(f"  {text}  (load {os.getloadavg()[0]:.1f})", style="dim", highlight=False)

    console.print(f"starting three API servers and a federation; {os.cpu_count()} cores, {platform.system()}")
    running = asyncio.current_task()
    assert running is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    results: dict[str, Any] = {"settings": settings, "load_before": os.getloadavg()[0]}
    async with Arena(directory, profiler=profiler) as arena:
        if "idle" in chosen:
            results["idle"] = await sections.idle(arena, settings, say, objects=1)
            report.print_idle(console, results["idle"])
        if "single" in chosen:
            results["single"] = await sections.single(arena, settings, say)
            report.print_comparisons(console, "One object at a time", results["single"])
        if "bulk" in chosen:
            results["bulk"] = await sections.bulk(arena, settings, say)
            title = f"{settings.objects} objects of 1 KiB, {settings.concurrency} in flight"
            report.print_comparisons(console, title, results["bulk"])
        if "restart" in chosen:
            results["fill"] = await sections.fill(arena, settings, say)
            results["restart"] = await sections.restart(arena, settings, say, filled=results["fill"])
            report.print_restart(console, results["restart"])
            if "idle" in chosen:
                filled = results["fill"].figures.objects
                results["idle_full"] = await sections.idle(arena, settings, say, objects=filled)
                report.print_idle(console, results["idle_full"])
    report.print_aims(
        console,
        report.aims(
            bulk=results.get("bulk", ()),
            single=results.get("single", ()),
            idle=results.get("idle"),
            restart=results.get("restart"),
        ),
    )
    return results


def missing(results: dict[str, Any]) -> bool:
    """Return whether something that was written did not arrive."""
    compared = [*results.get("single", ()), *results.get("bulk", ())]
    outcomes = [outcome for each in compared for outcome in (each.floor, each.hanse)]
    if "fill" in results:
        outcomes.append(results["fill"])
    return any(outcome.figures.missing for outcome in outcomes)


if __name__ == "__main__":
    main()
