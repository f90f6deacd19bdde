"""A simulated cluster for each test, in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.simulator.cluster import Cluster, running


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """A cluster with two zones and quick Pods."""
    async with running(tmp_path) as cluster:
        yield cluster
