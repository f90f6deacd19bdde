"""Both stores, behind one fixture, and the faults that a test can cause in either."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from hanse.store import EtcdStore, MemoryStore, Store
from tests.support.stores.etcd import EtcdServer

_prefixes = itertools.count()


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """One etcd for all tests that do not break it."""
    with EtcdServer(tmp_path_factory.mktemp("etcd")) as server:
        yield server


@pytest.fixture
def own_etcd(tmp_path: Path) -> Iterator[EtcdServer]:
    """An etcd that the test may break."""
    with EtcdServer(tmp_path / "etcd") as server:
        yield server


@pytest.fixture(params=["etcd", "memory"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """An empty store of each kind; in etcd, a prefix of its own."""
    made: Store
    if request.param == "memory":
        made = MemoryStore(progress_interval=0.1)
    else:
        server: EtcdServer = request.getfixturevalue("etcd")
        made = await EtcdStore.connect([server.endpoint], prefix=f"/test-{next(_prefixes)}")
    yield made
    await made.close()
