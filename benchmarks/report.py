"""Prints results as tables and gives them as JSON, with the aims beside the figures.

Owns the aims. Pure but for printing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.sections import Comparison, Idle, Restart
from benchmarks.usage import Usage

LEAST_THROUGHPUT = 0.75
"""Of the floor's, in bulk."""
MOST_P50 = 2.5
"""Times the floor's, one object at a time."""
MOST_P99 = 4.0
"""Times the floor's, one object at a time."""
MOST_RESTART_SECONDS = 10.0
MOST_IDLE_SHARE = 0.05
"""Of one core, all processes of the control plane together."""
MOST_IDLE_MIB = 500.0
MIB = 1 << 20


def aims(
    *, bulk: Sequence[Comparison], single: Sequence[Comparison], idle: Idle | None, restart: Restart | None
) -> list[tuple[str, str, str, bool]]:
    """Return (what, figure, aim, whether it is reached) for each aim that was measured."""
    found: list[tuple[str, str, str, bool]] = []
    for each in bulk:
        ratio = _ratio(each.hanse.figures.per_second, each.floor.figures.per_second)
        reached = ratio >= LEAST_THROUGHPUT and not each.hanse.figures.missing
        found.append((f"bulk {each.verb}, throughput", f"{ratio:.2f}x", f">= {LEAST_THROUGHPUT}x", reached))
    for each in single:
        complete = not each.hanse.figures.missing
        for name, most in (("p50", MOST_P50), ("p99", MOST_P99)):
            ratio = _ratio(getattr(each.hanse.figures, name), getattr(each.floor.figures, name))
            reached = ratio <= most and complete
            found.append((f"single {each.verb}, {name}", f"{ratio:.2f}x", f"<= {most}x", reached))
    if restart is not None:
        count = sum(restart.writes.values())
        found.append(("restart, writes to members", str(count), "0", count == 0 and restart.synced))
        took = restart.done_seconds
        found.append(
            ("restart, time", f"{took:.1f} s", f"< {MOST_RESTART_SECONDS:.0f} s", took < MOST_RESTART_SECONDS)
        )
    if idle is not None:
        inside = [each for name, each in idle.usage.items() if name != "supervisor"]
        share = sum(each.cpu for each in inside) / idle.seconds
        found.append(
            ("idle, CPU", f"{share:.1%} of a core", f"< {MOST_IDLE_SHARE:.0%}", share < MOST_IDLE_SHARE)
        )
        memory = sum(each.rss for each in inside) / MIB
        found.append(("idle, RSS", f"{memory:.0f} MiB", f"< {MOST_IDLE_MIB:.0f} MiB", memory < MOST_IDLE_MIB))
    return found


def print_comparisons(console: Console, title: str, compared: Sequence[Comparison]) -> None:
    """Print a table of the floor and Hanse, and one of CPU and memory per process."""
    table = Table(title=title, title_justify="left")
    for heading in (
        "",
        "",
        "objects",
        "missing",
        "seconds",
        "objects/s",
        "p50 ms",
        "p99 ms",
        "answer p50 ms",
    ):
        table.add_column(heading, justify="right" if heading else "left")
    for each in compared:
        for where, outcome in (("floor", each.floor), ("hanse", each.hanse)):
            it = outcome.figures
            table.add_row(
                *(each.verb if where == "floor" else "", where, str(it.objects), str(it.missing)),
                *(f"{it.seconds:.2f}", f"{it.per_second:.0f}"),
                *(f"{it.p50 * 1000:.1f}", f"{it.p99 * 1000:.1f}", f"{it.answer_p50 * 1000:.1f}"),
            )
        floor, hanse = each.floor.figures, each.hanse.figures
        table.add_row(
            *("", "ratio", "", "", f"{_ratio(hanse.seconds, floor.seconds):.2f}"),
            *(f"{_ratio(hanse.per_second, floor.per_second):.2f}", f"{_ratio(hanse.p50, floor.p50):.2f}"),
            *(f"{_ratio(hanse.p99, floor.p99):.2f}", f"{_ratio(hanse.answer_p50, floor.answer_p50):.2f}"),
            style="bold",
            end_section=True,
        )
    console.print(table)
    for each in compared:
        for where, outcome in (("floor", each.floor), ("hanse", each.hanse)):
            for error in outcome.figures.errors:
                console.print(f"{each.verb} at the {where}: {error}", style="red", markup=False)
            if outcome.figures.overlapped and title.startswith("One"):
                console.print(
                    f"{each.verb} at the {where}: {outcome.figures.overlapped} objects arrived after the "
                    "next one's call, so they were not alone"
                )
    print_usage(
        console,
        f"{title}: CPU seconds (and RSS in MiB) per process",
        {f"{each.verb} {where}": used for each in compared for where, used in _both(each)},
    )


def print_usage(console: Console, title: str, columns: Mapping[str, Mapping[str, Usage]]) -> None:
    """CPU seconds and memory of processes, one column per measurement."""
    table = Table(title=title, title_justify="left")
    table.add_column("process")
    for heading in columns:
        table.add_column(heading, justify="right")
    for name in dict.fromkeys(name for used in columns.values() for name in used):
        cells = (used.get(name) for used in columns.values())
        table.add_row(name, *(f"{it.cpu:.2f} ({it.rss / MIB:.0f})" if it else "" for it in cells))
    console.print(table)


def print_idle(console: Console, idle: Idle) -> None:
    """CPU and memory of the idle control plane."""
    table = Table(
        title=f"Idle control plane with {idle.objects} objects, {idle.seconds:.0f} s", title_justify="left"
    )
    for heading in ("process", "CPU % of a core", "RSS MiB", "PSS MiB"):
        table.add_column(heading, justify="left" if heading == "process" else "right")
    total = Usage(0.0, 0)
    for name, it in idle.usage.items():
        if name != "supervisor":
            total = Usage(total.cpu + it.cpu, total.rss + it.rss, total.pss + it.pss)
        table.add_row(name, *_idle_cells(it, idle.seconds))
    table.add_row("all but the supervisor", *_idle_cells(total, idle.seconds), style="bold")
    console.print(table)


def print_restart(console: Console, restart: Restart) -> None:
    """Print what the syncer's restart did."""
    table = Table(title=f"Restart of the syncer with {restart.objects} objects in sync", title_justify="left")
    table.add_column("what")
    table.add_column("figure", justify="right")
    written = ", ".join(f"{count} {name}" for name, count in sorted(restart.writes.items())) or "0"
    table.add_row("writes to members", written)
    table.add_row("until it serves", f"{restart.ready_seconds:.1f} s")
    table.add_row("until an object created meanwhile is everywhere", f"{restart.change_seconds:.1f} s")
    table.add_row("until it has nothing left to do", f"{restart.done_seconds:.1f} s")
    console.print(table)
    print_usage(console, "Restart: CPU seconds (and RSS in MiB) per process", {"restart": restart.usage})


def print_aims(console: Console, found: Sequence[tuple[str, str, str, bool]]) -> None:
    """Print which aims are reached."""
    table = Table(title="Aims", title_justify="left")
    for heading in ("what", "figure", "aim", ""):
        table.add_column(heading)
    for what, figure, aim, reached in found:
        table.add_row(what, figure, aim, "[green]reached[/]" if reached else "[red]missed[/]")
    console.print(table)


def as_json(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return all results as plain data; NaN becomes null by the encoder."""
    return {name: _plain(value) for name, value in results.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value


def _both(each: Comparison) -> list[tuple[str, dict[str, Usage]]]:
    return [("floor", each.floor.usage), ("hanse", each.hanse.usage)]


def _idle_cells(it: Usage, seconds: float) -> tuple[str, str, str]:
    return f"{it.cpu / seconds:.2%}", f"{it.rss / MIB:.0f}", f"{it.pss / MIB:.0f}"


def _ratio(value: float, base: float) -> float:
    return value / base if base else math.nan
