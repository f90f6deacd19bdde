"""`hanse completion`, and what a shell gets by its script."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def hanse(*words: str, **environment: str) -> str:
    """What the installed command prints."""
    program = Path(sys.executable).parent / "hanse"
    return subprocess.run(
        [program, *words], capture_output=True, text=True, check=True, env={**os.environ, **environment}
    ).stdout


@pytest.mark.parametrize(
    ("words", "current", "offered"),
    [
        ("hanse expl", "1", "explain"),
        ("hanse scheduler list-p", "2", "list-placements"),
        ("hanse registry list-clusters --fil", "3", "--filter"),
        ("hanse clusters -o js", "3", "json"),
        ("hanse completion f", "2", "fish"),
    ],
)
def test_what_is_offered(words: str, current: str, offered: str) -> None:
    """Commands of people and of services, their options, and the choices of these."""
    said = hanse(_HANSE_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=current)
    assert offered in [line.partition(",")[2] for line in said.splitlines()]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one_of_the_shell(shell: str) -> None:
    """It asks `hanse`, and the shell can read it, where the shell is at hand."""
    script = hanse("completion", shell)
    assert f"_HANSE_COMPLETE={shell}_complete" in script
    if shutil.which(shell) is not None:
        subprocess.run([shell, "-n", "-c", script], check=True)
