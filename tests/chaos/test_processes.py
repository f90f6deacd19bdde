"""Killed processes with simulated members."""

from __future__ import annotations

from tests.chaos.suite import KillSuite


class TestKills(KillSuite):
    """kill -9."""
