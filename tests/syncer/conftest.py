"""A federation for the syncer's tests; next is `tests.support.federation.federation`."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.federation.federation import Federation, federation


@pytest.fixture
async def fed() -> AsyncIterator[Federation]:
    """A federation with the members a and b."""
    async with federation("a", "b") as running:
        yield running
