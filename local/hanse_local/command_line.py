"""What the commands of the local federation have in common.

Concurrency: none. Next: `hanse_local.commands`.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, TypeVar, cast

import click
from rich.console import Console

from hanse_local.display import print_failure
from hanse_local.layout import DEFAULT, DataDir

F = TypeVar("F", bound=Callable[..., Any])
FAILED = 1
WRONG_INPUT = 2


def data_dir_option(function: F) -> F:
    """Return the option --data-dir, as the parameter `data`."""
    option = click.option(
        "--data-dir",
        "data",
        metavar="DIR",
        default=str(DEFAULT),
        envvar="HANSE_DATA_DIR",
        show_default=True,
        show_envvar=True,
        is_eager=True,
        callback=lambda _context, _parameter, value: DataDir.at(value),
        help="Where the federation keeps everything.",
    )
    return option(function)


def reported(function: F) -> F:
    """Have what the disk refuses (no room, read-only, no permission) told in one line."""

    @functools.wraps(function)
    def command(*arguments: Any, **values: Any) -> Any:
        try:
            return function(*arguments, **values)
        except BrokenPipeError:
            raise
        except OSError as error:
            print_failure(Console(stderr=True), error)
            sys.exit(FAILED)

    return cast(F, command)
