"""What all commands share: which federation, how long to wait, and how to run a coroutine.

Concurrency: each command runs one event loop to its end.

Next: `hanse_cli.generated`.
"""

from __future__ import annotations

import asyncio
import functools
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Concatenate, ParamSpec, TypeVar

import click
from hanse_client import ClientConfig, HanseClient

OUTPUTS = ("table", "wide", "json", "yaml")
"""Forms of the output of every command that shows something."""
P = ParamSpec("P")
R = TypeVar("R")


class Seconds(click.FloatRange):
    """A number of seconds on the command line, called so where it is none."""

    name = "number of seconds"


@dataclass(frozen=True, slots=True)
class GlobalOptions:
    """The options of every command. They may stand before it or after it; the later one wins."""

    config: str | None = None
    timeout: float = 10.0
    """Deadline of one call in seconds."""

    def client(self) -> HanseClient:
        """Return a client of the federation. Raises ConfigError if none is configured."""
        return HanseClient(ClientConfig.find(self.config), timeout=self.timeout)


def global_options() -> list[click.Option]:
    """Return the options that the root command and every command below it take."""
    return [
        click.Option(
            ["--config"],
            metavar="FILE",
            expose_value=False,
            callback=_keep("config"),
            help="Where the services are. [env var: HANSE_CONFIG; default: .hanse/client.toml, then "
            "~/.hanse/client.toml]",
        ),
        click.Option(
            ["--timeout"],
            type=Seconds(min=0, min_open=True),
            metavar="SECONDS",
            expose_value=False,
            callback=_keep("timeout"),
            help=f"Deadline of one call. [default: {GlobalOptions().timeout}]",
        ),
    ]


def _keep(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    """Return a callback that notes a global option for the command of the context and those below it."""

    def keep(context: click.Context, _parameter: click.Parameter, value: Any) -> None:
        if value is not None:
            given = context.find_object(GlobalOptions) or GlobalOptions()
            context.obj = replace(given, **{name: value})

    return keep


def with_global_options(command: click.Command) -> click.Command:
    """Let a command, and those below it, take the global options too, but for those that are its own."""
    taken = {flag for parameter in command.params for flag in parameter.opts}
    command.params += [option for option in global_options() if not taken & {*option.opts}]
    if isinstance(command, click.Group):
        for each in command.commands.values():
            with_global_options(each)
    return command


def with_client(function: Callable[Concatenate[HanseClient, P], Awaitable[R]]) -> Callable[P, R]:
    """Make a click callback of a coroutine function whose first argument is an open client."""

    @functools.wraps(function)
    def callback(*args: P.args, **kwargs: P.kwargs) -> R:
        session = click.get_current_context().find_object(GlobalOptions) or GlobalOptions()
        return run(session, lambda client: function(client, *args, **kwargs))

    return callback


def watchable(callback: Callable[P, R]) -> Callable[P, R | int]:
    """Give a command the option -w; while it watches Ctrl-C ends it in order, with status 0."""

    @functools.wraps(callback)
    def watching(*args: P.args, **kwargs: P.kwargs) -> R | int:
        try:
            return callback(*args, **kwargs)
        except KeyboardInterrupt:
            if not kwargs.get("watch"):
                raise
            return 0

    option = click.option("-w", "--watch", is_flag=True, help="Then show every change, until Ctrl-C.")
    return option(watching)


def run(session: GlobalOptions, work: Callable[[HanseClient], Awaitable[R]]) -> R:
    """Run `work` with an open client to its end. Raises KeyboardInterrupt on Ctrl-C.

    The loop itself handles the signal. Without that, one that arrives just before the loop begins to wait is
    noted by Python and acted on only when the loop wakes up, which may be never.
    """
    interrupted = False

    async def live() -> R:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()

        def interrupt() -> None:
            nonlocal interrupted
            interrupted = True
            if task is not None:
                task.cancel()

        loop.add_signal_handler(signal.SIGINT, interrupt)
        async with session.client() as client:
            return await work(client)

    try:
        return asyncio.run(live())
    except asyncio.CancelledError:
        if interrupted:
            raise KeyboardInterrupt from None
        raise


def output_option(*more: str, default: str = "table") -> Callable[[Any], Any]:
    """Return the option -o with table, wide, json, yaml and `more`."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice([*OUTPUTS, *more]),
        default=default,
        show_default=True,
        help="Form of the output; wide is a table with more columns.",
    )
