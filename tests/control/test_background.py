"""Tasks that an object owns, and the first of several."""

from __future__ import annotations

import ast
import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from hanse.background import OwnedTasks, first_of

ROOT = Path(__file__).resolve().parents[2]
OWNERS = {"src/hanse/background.py"}
"""Who may start a task that nobody's group has."""


async def forever(notes: list[str] | None = None) -> None:
    """Run until cancelled; note that."""
    try:
        await asyncio.Event().wait()
    finally:
        if notes is not None:
            await asyncio.sleep(0)
            notes.append("ended")


async def fail() -> None:
    """Raise a defect."""
    raise ValueError("a defect")


async def test_none_is_left_when_the_owner_is_closed() -> None:
    """Also none that takes a moment to end; and the owner can be used again."""
    tasks, notes = OwnedTasks(), list[str]()
    for _ in range(3):
        tasks.start(forever(notes), name="work")
        await asyncio.sleep(0)
        assert len(tasks) == 1
        await tasks.close()
        assert len(tasks) == 0
    assert notes == ["ended"] * 3
    await tasks.close()


async def test_draining_waits_for_what_the_tasks_start() -> None:
    """Until nothing runs any more."""
    tasks, notes = OwnedTasks(), list[int]()

    async def work(left: int) -> None:
        await asyncio.sleep(0)
        notes.append(left)
        if left:
            tasks.start(work(left - 1), name="next")

    tasks.start(work(3), name="first")
    await tasks.drain()
    assert notes == [3, 2, 1, 0]


async def test_an_error_is_told_once_when_it_happens() -> None:
    """Unless whoever started the task tells it; the others go on."""
    tasks = OwnedTasks()
    other = tasks.start(forever(), name="other")
    with capture_logs() as logs:
        tasks.start(fail(), name="broken")
        told = tasks.start(fail(), name="told", told=True)
        await asyncio.wait([told])
        await asyncio.sleep(0)
    assert [(log["event"], log["task"]) for log in logs] == [("a task ended by an error", "broken")]
    assert isinstance(told.exception(), ValueError)
    assert not other.done()
    await tasks.close()


async def test_the_first_ends_the_others() -> None:
    """They have ended when it returns; what the first raises is raised."""
    notes: list[str] = []
    await first_of(asyncio.sleep(0), forever(notes))
    assert notes == ["ended"]
    with pytest.raises(ValueError, match="a defect"):
        await first_of(forever(notes), fail())
    assert notes == ["ended"] * 2


async def test_cancelling_ends_all() -> None:
    """Whoever waits for the first is cancelled with all of them."""
    notes: list[str] = []
    waiting = asyncio.ensure_future(first_of(forever(notes), forever(notes)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert notes == ["ended"] * 2


def test_nobody_else_starts_a_task_by_itself() -> None:
    """Every other task is in a group, or has an owner."""
    found: set[str] = set()
    for root in ("src", "services", "clients", "local"):
        for path in (ROOT / root).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                    continue
                of = node.func.value
                loop = isinstance(of, ast.Call) and ast.unparse(of.func).endswith("get_running_loop")
                if node.func.attr == "create_task" and (loop or ast.unparse(of) in ("asyncio", "loop")):
                    found.add(str(path.relative_to(ROOT)))
    assert found == OWNERS
