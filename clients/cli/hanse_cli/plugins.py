"""Commands of plug-ins: what other distributions and the extras of this one add to `hanse` and `kubefed`.

A plug-in is an entry point of a group, whose function returns click commands. `hanse up`, `kubefed init` and
what belongs to them need what services need, which the extras `server` and `local` install. Where the client
alone is installed these commands are listed too, and say what to install.

Concurrency: none; called at the start of a command.

Next: `hanse_cli.main`, which asks for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Final

import click

from hanse.errors import FailedPreconditionError

OF_EXTRAS: Final[Mapping[str, tuple[str, Sequence[str]]]] = {
    "hanse_local.commands:commands": (
        "local",
        ("up", "down", "status", "sim", "certificates", "etcd", "keys", "backup", "restore", "rebuild"),
    ),
    "hanse_install.commands:commands": ("server", ("init", "deinit")),
}
"""By entry point: the extra that its commands need, and their names."""


def plugins(group: str) -> dict[str, click.Command]:
    """Return the commands of an entry point group, by name."""
    return {str(command.name): command for point in entry_points(group=group) for command in _load(point)}


def _load(point: EntryPoint) -> Sequence[click.Command]:
    """Return the commands of one plug-in; those that only tell what to install where a package is missing."""
    extra, names = OF_EXTRAS.get(point.value, ("", ()))
    try:
        commands: Sequence[click.Command] = point.load()()
    except ModuleNotFoundError as error:
        if not extra or not is_of_an_extra(error):
            raise
        return [not_installed(name, extra=extra) for name in names]
    return commands


def is_of_an_extra(error: Exception) -> bool:
    """Return whether a dependency is missing, and no module of Hanse."""
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    return missing is not None and not missing.startswith("hanse")


def needs_extra(what: str, *, extra: str) -> FailedPreconditionError:
    """Return the error for what the client alone cannot do."""
    return FailedPreconditionError(
        f"{what} needs more than the client, which is all that is installed: "
        f"run `pip install 'hanse[{extra}]'`"
    )


def not_installed(name: str, *, extra: str) -> click.Command:
    """Return a command that takes any arguments, and says what to install to have it."""

    def callback(arguments: Sequence[str]) -> None:
        raise needs_extra(f"`{name}`", extra=extra)

    return click.Command(
        name,
        callback=callback,
        params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)],
        help=f"Not installed: `pip install 'hanse[{extra}]'`.",
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )
