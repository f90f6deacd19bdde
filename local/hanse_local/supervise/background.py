"""The supervisor as a process in the background, and how a command starts and stops it.

`python -m hanse_local.supervise.background DATA_DIR OPTIONS` supervises until it is told to stop; `start`
runs that detached from the terminal and follows it until it is ready or has failed.

Concurrency: the commands are synchronous and poll; the supervisor is a process of its own.

Next: `hanse_local.supervise.host`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from hanse.errors import (
    ConfigError,
    DeadlineError,
    FailedPreconditionError,
    HanseError,
    UnavailableError,
)
from hanse.security.pki import write_private
from hanse_local.layout import DataDir
from hanse_local.options import UpOptions
from hanse_local.supervise import control
from hanse_local.supervise.host import Host, cannot_be_brought_up
from hanse_local.supervise.lock import Holder, already_running, is_held, read_holder, unknown_holder
from hanse_local.supervise.supervisor import StartError, end_leftovers, tail_of

SUPERVISOR = "supervisor"
"""Name of the supervisor's log."""
STOP_TIMEOUT = 60.0
_POLL = 0.05

Follower = Callable[[dict[str, Any]], None]


def start(data: DataDir, options: UpOptions, *, follow: Follower) -> dict[str, Any]:
    """Start a supervisor in the background and return its snapshot when the federation is ready.

    `follow` gets a snapshot now and then. Raises HanseError or StartError if it fails, ConfigError if
    what was asked is wrong.
    """
    data.create()
    if is_held(data):
        raise already_running(data)
    try:
        process, log_start = _spawn(data, options)
    except OSError as error:
        raise cannot_be_brought_up(error) from error
    try:
        return _follow(data, process, follow, log_start=log_start)
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise


def _spawn(data: DataDir, options: UpOptions) -> tuple[subprocess.Popen[bytes], int]:
    """Return the supervisor's process, and where in its log it begins."""
    data.failure.unlink(missing_ok=True)
    with data.log(SUPERVISOR).open("ab") as log:
        begin = log.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "hanse_local.supervise.background", str(data.root), options.to_json()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=data.root,
        )
        return process, begin


def _follow(
    data: DataDir, process: subprocess.Popen[bytes], follow: Follower, *, log_start: int
) -> dict[str, Any]:
    while process.poll() is None:
        time.sleep(_POLL)
        with suppress(UnavailableError):
            snapshot = query(data)
            if snapshot is not None:
                follow(snapshot)
                if snapshot["phase"] == "ready":
                    return snapshot
    raise _recorded_failure(data, log_start=log_start)


def _recorded_failure(data: DataDir, *, log_start: int) -> Exception:
    try:
        document = json.loads(data.failure.read_text())
    except (OSError, ValueError):
        tail = tail_of(data.log(SUPERVISOR), since=log_start)
        problem = "ended before the federation was up"
        try:
            write_private(data.failure, b"")  # had it been able to say why, it had
            data.failure.unlink()
        except OSError as error:
            problem += f", and nothing can be written there ({error.strerror or error})"
        return StartError(SUPERVISOR, problem=problem, log=data.log(SUPERVISOR), tail=tail)
    if "process" in document:
        return StartError(
            document["process"],
            problem=document["problem"],
            log=Path(document["log"]),
            tail=document["tail"],
        )
    kind = ConfigError if document.get("wrong_input") else FailedPreconditionError
    return kind(str(document["error"]))


def query(data: DataDir) -> dict[str, Any] | None:
    """Return the snapshot of the running federation; None if none runs. Raises UnavailableError."""
    holder = _holder(data)
    return control.call(holder.socket, {"command": "status"}) if holder else None


def _holder(data: DataDir) -> Holder | None:
    """Return who holds the data directory; None if nobody does. Raises UnavailableError if that is not
    known.
    """
    holder = read_holder(data)
    if holder is None and is_held(data):
        raise unknown_holder(data)
    return holder


def request(data: DataDir, command: str, *, timeout: float = 10.0, **values: str) -> dict[str, Any]:
    """Send a command to the running supervisor. Raises HanseError if none runs or it refuses."""
    holder = _holder(data)
    if holder is None:
        raise FailedPreconditionError(
            f"no federation runs in {data.root}: start it with `hanse up`, or name its --data-dir"
        )
    return control.call(holder.socket, {"command": command, **values}, timeout=timeout)


def stop(data: DataDir, *, timeout: float = STOP_TIMEOUT) -> bool:
    """Stop the federation in order and wait for its end; returns whether one ran.

    A supervisor that does not answer or does not end is killed; its processes die with it. Raises
    DeadlineError if even that does not help, UnavailableError if it is not known who supervises.
    """
    holder = _holder(data)
    if holder is None:
        end_leftovers(data.processes)
        return False
    try:
        control.call(holder.socket, {"command": "stop"})
    except UnavailableError:
        holder.process.signal(signal.SIGTERM)
    deadline = time.monotonic() + timeout
    while is_held(data):
        if time.monotonic() > deadline:
            holder.process.end(grace=0)
            end_leftovers(data.processes)
            if holder.process.alive:
                raise DeadlineError(f"the supervisor (pid {holder.process.pid}) does not end: kill it")
        time.sleep(_POLL)
    return True


def main(argv: list[str]) -> int:
    """Supervise; the exit status is 0 after an orderly stop."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    data, options = DataDir.at(argv[0]), UpOptions.from_json(argv[1])

    def log_phase(snapshot: dict[str, Any]) -> None:
        states = ", ".join(f"{each['name']} {each['state']}" for each in snapshot["processes"])
        logging.getLogger(__name__).info("%s: %s", snapshot["phase"], states)

    async def live() -> None:
        await Host(data, options, on_change=log_phase).run()

    try:
        asyncio.run(live())
    except (HanseError, StartError) as error:
        logging.getLogger(__name__).error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
