"""A federation for the syncer's tests; next is `tests.syncer.harness`."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.syncer.harness import Federation, federation


@pytest.fixture
async def fed() -> AsyncIterator[Federation]:
    """A federation with the members a and b."""
    async with federation("a", "b") as running:
        yield running
