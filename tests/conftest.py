"""What holds for every test: a skip that nobody announced is a failure where CI is set.

Tests that share a fixture stay on one worker (`group_of`).

``tests/allowed_skips.txt`` names, one a line, the reasons for which a test may be left out.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

settings.register_profile(
    "untimed", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)  # how long an example takes says more about the machine than about the code
settings.load_profile("untimed")

WHOLE = ("system", "chaos")
"""Folders of which each has one federation for all its tests."""
LONGEST = (*(f"tests/{each}/" for each in WHOLE), "tests/real/test_install.py", "tests/real/test_system.py")
"""What takes minutes: begun with, so that no worker is left alone with it."""
ALLOWED = Path(__file__).parent / "allowed_skips.txt"


def allowed_reasons() -> frozenset[str]:
    """The reasons in the allow-list, without comments and blank lines."""
    lines = (line.strip() for line in ALLOWED.read_text().splitlines())
    return frozenset(line for line in lines if line and not line.startswith("#"))


class SkipGuard:
    """Collects the reasons of skipped tests and fails the run for those that are not allowed."""

    def __init__(self) -> None:
        self.unexpected: list[str] = []

    def note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        """Remembers a skip whose reason is not in the allow-list."""
        if not report.skipped or hasattr(report, "wasxfail"):
            return
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if reason.removeprefix("Skipped: ") not in allowed_reasons():
            self.unexpected.append(f"{report.nodeid}: {reason}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Sees each test's skips."""
        self.note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Sees modules that skip themselves."""
        self.note(report)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Turns the run red."""
        if self.unexpected and os.environ.get("CI"):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Says which skips were not expected."""
        for line in self.unexpected:
            terminalreporter.write_line(f"unexpected skip: {line}", red=True)


def group_of(nodeid: str) -> str:
    """Return what a test is kept together with: its folder where that has one federation, else its file."""
    folder = next((f"tests/{each}" for each in WHOLE if nodeid.startswith(f"tests/{each}/")), None)
    return folder or nodeid.partition("::")[0]


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Gives each group of tests to one worker, in the order of collection.

    A federation or a module's fixtures are made once then. (`--dist loadgroup` does it by a suffix of node
    ids that pytest no longer lets a plugin write: all tests were dealt out one by one.)
    """

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> GroupScheduling:
    """Makes the scheduler, whatever `--dist` says."""
    config.option.loadscopereorder = False
    return GroupScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with what takes longest."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


def pytest_configure(config: pytest.Config) -> None:
    """Installs the guard, and lets nobody make an event loop by merely asking for the current one.

    pytest-asyncio asks before each asynchronous test; Python before 3.14 then makes a loop that nobody
    closes.
    """
    asyncio.set_event_loop(None)
    config.pluginmanager.register(SkipGuard(), "hanse-skip-guard")


@pytest.fixture(autouse=True)
def _logging_as_found() -> Iterator[None]:
    """Take back what a test made of the process's logging: its stream ends with the test."""
    root = logging.getLogger()
    configured, before = structlog.is_configured(), structlog.get_config()
    handlers, level = list(root.handlers), root.level
    yield
    if structlog.get_config() != before:
        structlog.configure(**before) if configured else structlog.reset_defaults()
    for handler in [each for each in root.handlers if each not in handlers]:
        if type(handler).__module__.startswith("hanse"):
            root.removeHandler(handler)
            root.setLevel(level)
