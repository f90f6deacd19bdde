"""Killed processes with real members: the same tests as `tests/chaos/test_processes.py`."""

from tests.chaos.suite import KillSuite


class TestKills(KillSuite):
    """kill -9."""
