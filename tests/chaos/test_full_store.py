"""etcd's quota is used up under a whole federation: every service stays up and says so, and all recovers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import orjson
import pytest

from hanse.errors import ResourceExhaustedError
from hanse.process.settings import TlsFiles
from hanse.store import EtcdStore
from tests.chaos.bulk import Bulk, intent_everywhere
from tests.system.harness import SERVICES, Federation, Simulated, until, until_passes
from tests.system.suite.base import fresh_namespace

QUOTA = 24 << 20


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """A federation whose etcd has a small quota."""
    data = tmp_path_factory.mktemp("full") / "data"
    with Federation(
        data, members=Simulated(), settings={"apiserver.etcd_quota_bytes": str(QUOTA)}
    ) as running:
        yield running


LEASES = "objects/coordination.k8s.io/leases/stranger/"


def lease(name: str, size: int) -> bytes:
    """What is stored of a Lease, which goes to no member; of `size` bytes."""
    metadata = {"name": name, "namespace": "stranger", "uid": name, "annotations": {"x": "x" * size}}
    return orjson.dumps({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata})


@asynccontextmanager
async def etcd_of(federation: Federation) -> AsyncIterator[EtcdStore]:
    """The federation's etcd, as its apiserver sees it."""
    pki = federation.data_dir / "pki" / "etcd"
    tls = TlsFiles(pki / "ca.crt", pki / "apiserver.crt", pki / "apiserver.key")
    store = await EtcdStore.connect([federation.endpoint("etcd", "client")], tls=tls)
    try:
        yield store
    finally:
        await store.close()


async def fill(federation: Federation) -> None:
    """Fill etcd from outside with what nobody may give up."""
    async with etcd_of(federation) as store:
        refused, number = 0, len((await store.range(LEASES, keys_only=True)).items)
        while refused < 30:
            name = f"{number:03}"
            try:
                await store.put(LEASES + name, lease(name, 1_000 if refused else 400_000))
                number += 1
            except ResourceExhaustedError:
                refused += 1
                await asyncio.sleep(0.05)


async def fill_with_history(federation: Federation) -> None:
    """Fill etcd from outside with what nobody needs."""
    async with etcd_of(federation) as store:
        while not (await store.status()).full:
            try:
                await store.put(f"{LEASES}history", lease("history", 1_000_000))
            except ResourceExhaustedError:
                await asyncio.sleep(0.01)


async def empty(federation: Federation) -> None:
    """Take out what filled it."""
    async with etcd_of(federation) as store:
        for kv in (await store.range(LEASES, keys_only=True)).items:
            await store.delete(kv.key)


def test_every_service_stays_up_while_etcd_is_full(small: Federation) -> None:
    """Nobody crashes, also not one that is started then; `hanse status` names the trouble of each and exits
    with 8; once what filled etcd is gone everything goes on by itself, and nothing was deleted."""
    namespace = next(fresh_namespace(small))
    before = Bulk(small.api, namespace, 10)
    before.create()
    intent_everywhere(small, before)

    def everybody_says_so() -> None:
        asyncio.run(fill(small))  # again where somebody has made room meanwhile
        done = small.run(["hanse", "status"], check=False)
        assert done.status == 8, done.out
        for name in ("etcd", *SERVICES):
            assert f"problem: {name}: " in done.out, done.out
        assert done.out.count("STORE_FULL") >= 1 + len(SERVICES), done.out

    until_passes(everybody_says_so, what="all say that etcd is full", seconds=60)
    pids = {name: small.kill(name) for name in ("syncer", "apiserver", "dns")}
    for name, pid in pids.items():
        small.await_back(name, not_pid=pid)
    up = {name: small.pid(name) for name in SERVICES}

    until_passes(everybody_says_so, what="there is no room for what is stored", seconds=60)
    assert before.found(small.api) == before.values
    asyncio.run(empty(small))
    until(
        lambda: small.run(["hanse", "status"], check=False).status == 0, what="all is well again", seconds=90
    )
    assert {name: small.pid(name) for name in SERVICES} == up, "a service has crashed"
    after = Bulk(small.api, namespace, 5, prefix="after")
    after.create()
    after.values |= before.values
    intent_everywhere(small, after)


def test_users_delete_while_etcd_is_full_of_history(small: Federation) -> None:
    """History that nobody needs fills etcd: a deletion makes room for itself and is finished everywhere."""
    namespace = next(fresh_namespace(small))
    bulk = Bulk(small.api, namespace, 6)
    bulk.create()
    intent_everywhere(small, bulk)

    asyncio.run(fill_with_history(small))
    gone = list(bulk.values)[:3]
    bulk.delete(gone)
    intent_everywhere(small, bulk)
