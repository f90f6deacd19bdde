"""A real API server on 127.0.0.1 over either store, and its clients: kubectl and ObjectClient."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from hanse.store import EtcdStore, MemoryStore, Store
from tests.kube.server.world import Kubectl, World
from tests.support.stores.etcd import EtcdServer

_prefixes = itertools.count()


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """One etcd for all tests of this directory."""
    with EtcdServer(tmp_path_factory.mktemp("etcd")) as server:
        yield server


@pytest.fixture(params=["memory", "etcd"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """An empty store of each kind."""
    made: Store
    if request.param == "memory":
        made = MemoryStore(progress_interval=0.1)
    else:
        server: EtcdServer = request.getfixturevalue("etcd")
        made = await EtcdStore.connect([server.endpoint], prefix=f"/kube-{next(_prefixes)}")
    yield made
    await made.close()


@pytest.fixture
async def memory() -> AsyncIterator[MemoryStore]:
    """An empty store in memory."""
    made = MemoryStore(progress_interval=0.1)
    yield made
    await made.close()


@pytest.fixture
async def world(memory: MemoryStore, tmp_path: Path) -> AsyncIterator[World]:
    """A server over a store in memory, with the federation's kinds."""
    async with World(memory, tmp_path) as made:
        yield made


@pytest.fixture
async def both(store: Store, tmp_path: Path) -> AsyncIterator[World]:
    """A server over each kind of store."""
    async with World(store, tmp_path) as made:
        yield made


@pytest.fixture
def kubectl(world: World) -> Kubectl:
    """kubectl as administrator of `world`; the test is left out where there is none."""
    return _kubectl(world)


def _kubectl(world: World) -> Kubectl:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    return Kubectl(world.kubeconfig, {**os.environ, "KUBECONFIG": str(world.kubeconfig)})


@pytest.fixture
def deadline() -> float:
    """Seconds that anything in a test may take."""
    return 15.0
