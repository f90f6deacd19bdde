"""What is wrong with a running federation, from the supervisor's snapshot of this moment.

Owns the sentences that `hanse status` shows and its decision between well and not well. Pure: what is known
goes in, sentences come out.

Next: `hanse_local.commands`, which shows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hanse.process import skew

CRASH_LOOP_SECONDS = 120.0
"""The window in which restarts are counted."""
CRASH_LOOP_RESTARTS = 5
"""So many restarts in the window are a crash loop, until the process has been steady again."""
STEADY_SECONDS = 30.0
"""A process that has been ready for so long is out of its crash loop."""
RESTART_SECONDS = 10.0
"""A process that has ended may take so long to be started again and ready; that is repaired, not wrong."""
_LINE = 300


def problems(snapshot: Mapping[str, Any], *, now: float) -> list[str]:
    """Return all that is wrong, the processes in the order in which they start; empty if all is well.

    Before the federation was up for the first time in this run, a process that is not ready yet is no
    problem; one that ends again and again is.
    """
    up = snapshot["phase"] == "ready"
    found = [problem_of(process, up=up, now=now) for process in snapshot["processes"]]
    mixed = skew.complaints(releases(snapshot))
    return [*filter(None, found), *mixed, *snapshot.get("unwritten", ())]


def releases(snapshot: Mapping[str, Any]) -> dict[str, str]:
    """Return the releases that run, by process, as far as they are known."""
    running = {each["name"]: each.get("release", "") for each in snapshot["processes"]}
    running["supervisor"] = snapshot.get("release", "")
    return {name: release for name, release in running.items() if release}


def problem_of(process: Mapping[str, Any], *, up: bool, now: float) -> str:
    """Return what is wrong with one process; empty if nothing is. `now` is in seconds since the epoch."""
    if not process["wanted"]:
        return ""
    name = process["name"]
    steady = process["state"] == "ready" and process["alive"] and now - process["since"] >= STEADY_SECONDS
    if process["recent_restarts"] >= CRASH_LOOP_RESTARTS and not steady:
        window = int(CRASH_LOOP_SECONDS // 60)
        return f"{name} crash-looping: {process['recent_restarts']} restarts in {window}m{_ending(process)}"
    if not up:
        return ""
    if process["state"] != "ready":
        waiting = now - process["since"]
        if waiting < RESTART_SECONDS and not process["problem"]:
            return ""
        return f"{name} is not ready: {process['state']} for {max(0, int(waiting))}s{_ending(process)}"
    if not process["alive"]:
        return f"{name} is dead: there is no process {process['pid']}"
    if process["trouble"]:
        return f"{name}: {_short(process['trouble'])}"
    return f"{name}: {_short(process['problem'])}" if process["problem"] else ""


def _ending(process: Mapping[str, Any]) -> str:
    if process["problem"] and process["exit_code"] is None:
        return f": {_short(process['problem'])}"
    ending = f", last exit {process['exit_code']}" if process["exit_code"] is not None else ""
    return f"{ending}: {_short(process['last_line'])}" if process["last_line"] else ending


def _short(text: str) -> str:
    line = "; ".join(part.strip() for part in text.strip().splitlines() if part.strip())
    return line if len(line) <= _LINE else f"{line[:_LINE]}..."
