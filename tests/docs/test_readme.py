"""The README's first page is what the system tests run: no line of it is untried."""

from __future__ import annotations

import re
from pathlib import Path

from tests.system import script

README = Path(__file__).resolve().parents[2] / "README.md"
FENCE = re.compile(r"^```(?:sh|shell|console|bash)?\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(block: str) -> list[str]:
    """The commands of a block: without comments, prompts and blank lines, one space between words."""
    lines = (re.sub(r"(^|\s)#\s.*$", "", line).removeprefix("$ ") for line in block.splitlines())
    return [" ".join(line.split()) for line in lines if line.strip()]


def test_commands_are_taken_out_of_a_block() -> None:
    """Comments, prompts and alignment are not part of a command."""
    block = "make run      # all of it\n\n# a note\n$ kubectl get clusters\n"
    assert commands(block) == ["make run", "kubectl get clusters"]


def test_every_line_of_the_first_page_is_run() -> None:
    """The first code block of the README has the lines of the acceptance test, in its order."""
    blocks = FENCE.findall(README.read_text())
    assert blocks, f"{README.name} has no code block: its first page is the acceptance test"
    shown = [re.sub(r"-p \d+ ", "-p <port> ", line) for line in commands(blocks[0])]
    untried = [line for line in shown if line not in script.SCRIPT]
    assert not untried, f"lines that no test runs; add them to tests/system/script.py: {untried}"
    assert shown == [line for line in script.SCRIPT if line in shown], "the lines are in another order"
    assert script.MAKE_RUN in shown
