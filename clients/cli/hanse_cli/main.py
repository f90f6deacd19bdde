"""`hanse`: the groups of the services, the commands for people, and those of plug-ins.

Owns the root command and the edge where errors become one line and an exit status (`hanse_cli.exits`).
Nothing below prints a traceback; with HANSE_DEBUG=1 a defect shows its own. Plug-ins are click commands
from functions in the entry point group `hanse.commands`.

Next: `hanse_cli.generated`, `hanse_cli.commands.clusters`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from hanse import __version__
from hanse.errors import HanseError
from hanse_cli import exits
from hanse_cli.plugins import is_of_an_extra, needs_extra, plugins
from hanse_cli.session import global_options, with_global_options

GROUP = "hanse.commands"
DEBUG = "HANSE_DEBUG"
_SHORT_HELP = 120
"""Longest help of a command in the list of commands, in characters; longer ones are cut off."""
EPILOG = """\b
Exit status: 0 done; 1 failed or refused, or (diff) something differs; 2 wrong usage or input;
3 (status) nothing runs; 4 not found; 5 exists already or changed meanwhile; 6 a service cannot be reached;
7 not allowed; 70 a defect; 130 interrupted."""


class HanseGroup(click.Group):
    """The root command; finds the commands of services and plug-ins when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands for people, then the services."""
        return [*sorted({*self.commands, *_plugins()}), *_services()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by its name."""
        if cmd_name in _services():
            return with_global_options(_service_group(cmd_name))
        command = super().get_command(ctx, cmd_name) or _plugins().get(cmd_name)
        return None if command is None else with_global_options(command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Two lists: commands and services."""
        everyday: list[tuple[str, str]] = []
        services: list[tuple[str, str]] = []
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                target = services if name in _services() else everyday
                target.append((name, command.get_short_help_str(_SHORT_HELP)))
        for title, rows in (("Commands", everyday), ("Every method of every service", services)):
            with formatter.section(title):
                formatter.write_dl(rows)


def _services() -> tuple[str, ...]:
    from hanse_cli.generated import SERVICES

    return tuple(SERVICES)


def _service_group(name: str) -> click.Command:
    from hanse_cli.commands.names import dns_group
    from hanse_cli.generated import SERVICES, ServiceGroup

    return dns_group() if name == "dns" else ServiceGroup(SERVICES[name])


def _plugins() -> dict[str, click.Command]:
    return plugins(GROUP)


@click.group(
    cls=HanseGroup,
    params=global_options(),
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, message="hanse %(version)s", help="Show the version of this program.")
def hanse() -> None:
    """Many Kubernetes clusters used as one, each left sovereign."""


def _add_porcelain() -> None:
    from hanse_cli.commands import (
        apply,
        clusters,
        completion,
        diff,
        explain,
        get,
        names,
        orphans,
        placements,
        placing,
        version,
    )

    for module in (
        apply,
        get,
        clusters,
        completion,
        diff,
        explain,
        names,
        orphans,
        placements,
        placing,
        version,
    ):
        for command in module.COMMANDS:
            hanse.add_command(command)


def run(command: click.Command, arguments: Sequence[str], *, program: str) -> int:
    """Run a command and return its exit status; every error is one line on standard error."""
    try:
        result: Any = command.main(list(arguments), prog_name=program, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return exits.USAGE
    except click.UsageError as error:
        exits.complain(program, exits.usage_sentence(error))
        return exits.USAGE
    except click.ClickException as error:
        exits.complain(program, exits.usage_sentence(error))
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return exits.INTERRUPTED
    except HanseError as error:
        exits.complain(program, exits.sentence(error))
        return exits.status_of(error)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return exits.OK
    except Exception as error:  # the edge: nothing may escape as a traceback
        if os.environ.get(DEBUG):
            raise
        if is_of_an_extra(error):  # of a command that loads what it needs when it runs
            exits.complain(program, exits.sentence(needs_extra(f"`{arguments[0]}`", extra="server")))
            return exits.FAILED
        exits.complain(
            program,
            f"this is a defect of Hanse: {type(error).__name__}: {exits.one_line(str(error))} "
            f"({DEBUG}=1 shows where)",
        )
        return exits.DEFECT
    return result if isinstance(result, int) else exits.OK


def end_in_order() -> None:
    """Let SIGTERM end the command as Ctrl-C does, with what it has started."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def main() -> NoReturn:
    """Run the command `hanse`."""
    _add_porcelain()
    end_in_order()
    sys.exit(run(hanse, sys.argv[1:], program="hanse"))


if __name__ == "__main__":
    main()
