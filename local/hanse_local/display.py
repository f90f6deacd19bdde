"""What a person sees of a local federation: progress while it starts, its state, how it failed.

Pure rendering of the supervisor's snapshots with rich.

Next: `hanse_local.commands`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from hanse_local.supervise.supervisor import StartError
from hanse_local.verdict import releases

_COLORS = {
    "ready": "green",
    "starting": "yellow",
    "restarting": "red",
    "dead": "red",
    "stopping": "yellow",
    "stopped": "dim",
}


class StartProgress:
    """Shows a federation's start: one line that changes, and one line for each process that is ready.

    On a terminal the line is animated; elsewhere only lines are printed.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status: Status | None = None
        self._seen: set[str] = set()
        self._began = time.monotonic()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Show progress inside this block."""
        with self._console.status("preparing") as self._status:
            yield

    def follow(self, snapshot: Mapping[str, Any]) -> None:
        """Show what is new in a snapshot."""
        for warning in snapshot["warnings"]:
            self._once(f"[yellow]warning:[/] {escape(warning)}")
        for name in snapshot["moved"]:
            self._once(f"[yellow]note:[/] the port of {escape(name)} was taken, it has another now")
        waiting: list[str] = []
        for process in snapshot["processes"]:
            if process["state"] == "ready":
                self._once(f"[green]✓[/] {escape(process['name'])}")
            elif process["state"] != "stopped":
                waiting.append(process["name"])
        if self._status is not None:
            words = {"joining": "joining the clusters", "starting": f"starting {', '.join(waiting)}"}
            self._status.update(words.get(snapshot["phase"], snapshot["phase"]))
        if snapshot["phase"] == "ready":
            if self._status is not None:
                self._status.stop()
            seconds = time.monotonic() - self._began
            self._once(f"[green]✓[/] ready after {seconds:.1f} s")

    def _once(self, line: str) -> None:
        key = line if "ready after" not in line else "ready"
        if key not in self._seen:
            self._seen.add(key)
            self._console.print(line, highlight=False)


def print_failure(console: Console, error: Exception) -> None:
    """Say which process failed and show the end of its log."""
    console.print(f"[red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
    if isinstance(error, StartError) and error.tail:
        console.print(f"[dim]the end of {escape(str(error.log))}:[/]", highlight=False, soft_wrap=True)
        console.print(escape(error.tail), style="dim", highlight=False, soft_wrap=True)


def print_ready(console: Console, snapshot: Mapping[str, Any]) -> None:
    """Say how to use what runs."""
    names = ", ".join(cluster["name"] for cluster in snapshot["clusters"]) or "none; see `hanse join --help`"
    console.print(f"federation  {snapshot['https']}", highlight=False)
    console.print(f"names       {snapshot['dns']} (below {snapshot['dns_suffix']})", highlight=False)
    console.print(f"clusters    {names}", highlight=False)
    if snapshot.get("etcd"):  # a supervisor of an older release does not tell
        console.print(f"etcd        {escape(snapshot['etcd'])}", highlight=False, soft_wrap=True)
    console.print(f"kubectl     export KUBECONFIG={snapshot['kubeconfig']}", highlight=False, soft_wrap=True)


def print_releases(console: Console, snapshot: Mapping[str, Any]) -> None:
    """Say which release each process runs, where they differ: code was replaced under some that still run."""
    found = releases(snapshot)
    if len(set(found.values())) > 1:
        for release in sorted(set(found.values())):
            names = ", ".join(name for name, each in found.items() if each == release)
            console.print(f"release     {escape(release)}: {escape(names)}", highlight=False, soft_wrap=True)


def phase_of(snapshot: Mapping[str, Any]) -> str:
    """Return the phase for people: a federation that is up and not well is `degraded`."""
    return "degraded" if snapshot["phase"] == "ready" and snapshot["problems"] else str(snapshot["phase"])


def print_problems(console: Console, snapshot: Mapping[str, Any]) -> None:
    """Say what is to be known and what is wrong, a line each."""
    for note in snapshot.get("notes", ()):
        console.print(f"[yellow]note:[/] {escape(note)}", highlight=False, soft_wrap=True)
    for problem in snapshot["problems"]:
        console.print(f"[red]problem:[/] {escape(problem)}", highlight=False, soft_wrap=True)


def processes_table(snapshot: Mapping[str, Any], *, now: float) -> Table:
    """Return the processes of a federation."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("PROCESS", "STATE", "PID", "FOR", "RESTARTS", "SERVES"):
        table.add_column(column, no_wrap=column != "SERVES")
    for process in snapshot["processes"]:
        state = "dead" if process["state"] == "ready" and not process["alive"] else process["state"]
        color = _COLORS.get(state, "white")
        endpoints = " ".join(f"{name}={where}" for name, where in sorted(process["endpoints"].items()))
        table.add_row(
            process["name"],
            f"[{color}]{state}[/]",
            str(process["pid"] or "-"),
            duration(now - process["since"]),
            str(process["restarts"]),
            escape(endpoints),
        )
    return table


def duration(seconds: float) -> str:
    """Return a length of time in its two largest units, such as 3m12s."""
    left = max(0, int(seconds))
    words: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (unit == "s" and not words):
            words.append(f"{count}{unit}")
    return "".join(words[:2])
