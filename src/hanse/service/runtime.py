"""The life of a service process: settings, telemetry, loop, signals, tasks, drain, exit status.

Owns the order in which a process starts and stops: `run("simulator", SimulatorSettings, serve)` is all that
an entry point says. `serve(runtime)` builds what the process is made of, calls `runtime.ready(...)` once it
serves, and returns after `runtime.stopping` is set. The services of the mesh have `hanse.service.shell` build
what they have in common.

Stop: SIGTERM or SIGINT sets `stopping`; `serve` has `drain_seconds` to return, then it and everything in
`runtime.tasks` is cancelled. A second signal ends the process at once. Exit status: 0 after a stop or when
`serve` returns, 2 for a ConfigError, 1 for anything else; each with one line on standard error.

Concurrency: one loop (uvloop) in the main thread. A task in `runtime.tasks` that fails stops the process:
nothing fails silently.

Next: `hanse.service.shell`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Generic, TypeVar

import orjson
import uvloop

from hanse.background import OwnedTasks
from hanse.errors import ConfigError, HanseError, leaves
from hanse.process.health import Health, HealthServer
from hanse.process.looplag import LoopWatchdog
from hanse.process.settings import ServiceSettings
from hanse.process.skew import PEERS
from hanse.process.telemetry import Telemetry, get_logger, setup
from hanse.service.expiry import Expiry, certificate_files

S = TypeVar("S", bound=ServiceSettings)

_log = get_logger(__name__)
_YOUNG_OBJECTS = 10_000  # between two collections of the youngest: at Python's 700, one per request
_READY_FILE_SECONDS = 5.0  # between two attempts to write a ready file
_KILL_AFTER = 5.0  # seconds that cancelled work has to end before the process ends without it


class Runtime(Generic[S]):
    """What a service's main function is given."""

    def __init__(
        self,
        *,
        service_name: str,
        settings: S,
        telemetry: Telemetry,
        tasks: asyncio.TaskGroup,
        health: Health,
    ) -> None:
        self.service_name = service_name
        self.settings: S = settings
        self.telemetry = telemetry
        self.tasks = tasks
        """Background tasks; all are cancelled when the main function has returned."""
        self.health = health
        self.stopping = asyncio.Event()
        """Set when the process was told to stop."""
        self.endpoints: dict[str, str] = {}

    def ready(self, endpoints: Mapping[str, str] | None = None) -> None:
        """Say that the service serves, at `endpoints` (name such as "grpc" to host:port).

        Makes /readyz and gRPC health say so, and writes `ready_file`; if that cannot be written, now and then
        again: a full disk is no reason not to serve.
        """
        self.endpoints.update(endpoints or {})
        if self.settings.ready_file and not self._write_ready_file():
            self.tasks.create_task(self._keep_writing_ready_file(), name="ready file")
        self.health.set("serving", True)
        gc.collect()
        gc.freeze()  # what start-up made stays; collections need not walk it again
        gc.set_threshold(_YOUNG_OBJECTS, *gc.get_threshold()[1:])
        _log.info("serving", **{f"{name}_endpoint": where for name, where in self.endpoints.items()})

    def _write_ready_file(self) -> bool:
        try:
            write_ready_file(Path(self.settings.ready_file), self.endpoints)
        except OSError as error:
            _log.warning("the ready file cannot be written", file=self.settings.ready_file, error=str(error))
            return False
        return True

    async def _keep_writing_ready_file(self) -> None:
        while not self._write_ready_file():  # noqa: ASYNC110 - only trying again tells
            await asyncio.sleep(_READY_FILE_SECONDS)


def run(
    service_name: str,
    settings: S | type[S],
    main: Callable[[Runtime[S]], Awaitable[None]],
) -> int:
    """Run a service until it is told to stop; return the exit status.

    `settings` may be the class: it is then loaded from this process's flags, environment and file.
    """
    try:
        values = settings.load() if isinstance(settings, type) else settings
        telemetry = setup(service_name, values)
    except ConfigError as error:
        return _fail(service_name, error)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(service_name, values, telemetry, main))
    except KeyboardInterrupt:
        return 130
    except BaseException as error:  # noqa: BLE001 - the last frame of the process
        return _fail(service_name, error)
    finally:
        telemetry.shutdown()
        if values.ready_file:
            with contextlib.suppress(OSError):
                Path(values.ready_file).unlink(missing_ok=True)
    return 0


def write_ready_file(path: Path, endpoints: Mapping[str, str]) -> None:
    """Write {"pid": ..., "endpoints": {...}} to `path`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(orjson.dumps({"pid": os.getpid(), "endpoints": dict(endpoints)}))
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


class _Finished(Exception):  # noqa: N818 - not an error: ends the task group
    pass


async def _serve(
    service_name: str, settings: S, telemetry: Telemetry, main: Callable[[Runtime[S]], Awaitable[None]]
) -> None:
    health = Health()
    try:
        async with LoopWatchdog(meter=telemetry.meter), asyncio.TaskGroup() as tasks:
            runtime = Runtime(
                service_name=service_name, settings=settings, telemetry=telemetry, tasks=tasks, health=health
            )
            _handle_signals(runtime)
            Expiry(certificate_files(settings)).observe(telemetry.meter)
            PEERS.observe(telemetry.meter)
            if settings.metrics_listen:
                server = HealthServer(
                    settings.metrics_listen, health=health, metrics=telemetry.render_metrics
                )
                async with server:
                    runtime.endpoints["metrics"] = server.address
                    await _run_main(runtime, main)
            else:
                await _run_main(runtime, main)
            raise _Finished
    except* _Finished:
        pass


async def _run_main(runtime: Runtime[S], main: Callable[[Runtime[S]], Awaitable[None]]) -> None:
    """Run `main` until it returns or, after a stop signal, until the drain deadline."""

    async def call() -> None:
        await main(runtime)

    tasks = OwnedTasks()
    work = tasks.start(call(), name=f"{runtime.service_name}-main", told=True)
    stopping = tasks.start(runtime.stopping.wait(), name="stop-signal")
    try:
        await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            _log.info("stopping", drain_seconds=runtime.settings.drain_seconds)
            await asyncio.wait({work}, timeout=runtime.settings.drain_seconds)
        if work.done():
            await work
        else:
            _log.warning("work did not end in time, cancelling it")
    finally:
        runtime.health.set("serving", False, "stopping")
        _kill_later()
        await tasks.close()


def _handle_signals(runtime: Runtime[S]) -> None:
    loop = asyncio.get_running_loop()

    def stop(number: signal.Signals) -> None:
        if runtime.stopping.is_set():
            _log.warning("second signal, ending at once", signal=number.name)
            os._exit(128 + number)
        _log.info("told to stop", signal=number.name)
        runtime.health.set("serving", False, "stopping")
        runtime.stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)


def _kill_later() -> None:
    """End the process if cancelled work does not end: a supervisor must never wait for ever."""

    def kill() -> None:
        _log.error("cancelled work did not end, ending without it", seconds=_KILL_AFTER)
        os._exit(1)

    asyncio.get_running_loop().call_later(_KILL_AFTER, kill)


def _fail(service_name: str, error: BaseException) -> int:
    """Write one line that says what is wrong, the traceback to the log if it is a defect.

    Of tasks that ended together each different reason is said, defects first.
    """
    found = list(leaves(error))
    defects = [each for each in found if not isinstance(each, HanseError)]
    said = [f"{type(each).__name__}: {each}" for each in defects]
    said += [each.message for each in found if isinstance(each, HanseError)]
    text = "; ".join(dict.fromkeys(said))
    if defects:
        _log.critical("fatal", error=text, exc_info=error)
    with contextlib.suppress(OSError):
        sys.stderr.write(f"hanse-{service_name}: error: {' '.join(text.split())}\n")
    return 2 if all(isinstance(each, ConfigError) for each in found) else 1
