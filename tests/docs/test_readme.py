"""The README's first page is what the system tests run: no line of it is untried."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from hanse_scheduler.decide.planner import plan
from hanse_scheduler.decide.preferences import parse_preferences

from hanse.well_known import DEPLOYMENT_PREFERENCES
from tests.system import script

README = Path(__file__).resolve().parents[2] / "README.md"
SHOP = README.parent / "examples" / "shop"
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


def deployments() -> dict[str, dict[str, Any]]:
    """The Deployments of the example, by name."""
    texts = (path.read_text() for path in sorted(SHOP.glob("*.yaml")))
    found = (document for text in texts for document in yaml.safe_load_all(text))
    return {each["metadata"]["name"]: each for each in found if each["kind"] == "Deployment"}


def test_the_tables_have_the_numbers_of_the_example() -> None:
    """Each Deployment is shown with as many ready replicas as its manifest asks for."""
    shown = dict(re.findall(r"^deployment\.apps/(\S+) +(\d+/\d+) ", README.read_text(), re.MULTILINE))
    numbers = {name: each["spec"]["replicas"] for name, each in deployments().items()}
    assert shown == {name: f"{number}/{number}" for name, number in numbers.items()}


def test_the_example_of_preferences_is_divided_as_it_says() -> None:
    """eu-west gets twice what each of the others gets, by the planner, and every cluster something."""
    api = deployments()["api"]
    preferences = parse_preferences(
        api["metadata"]["annotations"][DEPLOYMENT_PREFERENCES], annotation=DEPLOYMENT_PREFERENCES
    )
    clusters = ["eu-west", "on-prem", "us-east"]
    shares = plan(
        api["spec"]["replicas"], clusters=clusters, preferences=preferences, key="shop/api"
    ).replicas
    assert shares["on-prem"] == shares["us-east"] > 0
    assert shares["eu-west"] == 2 * shares["us-east"]
