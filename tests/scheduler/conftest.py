"""A federation over a store in memory, with a clock that the test turns."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from hanse.store import MemoryStore
from tests.support.federation.federation import Federation


@pytest.fixture
async def federation() -> AsyncIterator[Federation]:
    """A federation without clusters and schedulers."""
    store = MemoryStore(progress_interval=0.05)
    async with Federation(store) as made:
        yield made
    with contextlib.suppress(Exception):
        await store.close()
