"""`hanse completion`: the script by which a shell completes commands, options, choices and values.

Owns the command. The shell asks `hanse` itself for what fits, so the script does not go out of date.

Concurrency: none.

Next: `hanse_cli.commands.values`.
"""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete


class WholeHelpFishComplete(FishComplete):
    """Completion of fish that shows a help with commas to its end."""

    source_template = FishComplete.source_template.replace('string split ","', 'string split -m 1 ","')


SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": WholeHelpFishComplete}


@click.command("completion")
@click.argument("shell", type=click.Choice(list(SHELLS)))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    For bash `source <(hanse completion bash)`, for zsh the same, for fish `hanse completion fish | source`.
    A federation is given a second to tell names; HANSE_COMPLETION_TIMEOUT has other seconds.
    """
    root = context.find_root()
    program = root.info_name or "hanse"
    variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
    click.echo(SHELLS[shell](root.command, {}, program, variable).source())


COMMANDS = (completion,)
