"""Fixtures of the apiserver's tests."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator

import pytest

from tests.apiserver.world import World, namespace


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the kubectl tests out where there is no kubectl."""
    if shutil.which("kubectl"):
        return
    for item in items:
        if item.get_closest_marker("kubectl") and "apiserver" in str(item.path):
            item.add_marker(pytest.mark.skip(reason="kubectl is not installed"))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A federation with the namespace `shop`."""
    async with World() as found:
        await found.create("/api/v1/namespaces", namespace())
        yield found
