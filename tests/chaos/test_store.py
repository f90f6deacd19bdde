"""etcd forgets its history, or cannot be reached for a while."""

from __future__ import annotations

import asyncio

from hanse.process.settings import TlsFiles
from hanse.store import EtcdStore
from tests.chaos.bulk import Bulk, intent_everywhere
from tests.chaos.proxies import Proxies
from tests.system.harness import Federation, Witness, until

COUNT = 40


def compact(federation: Federation, port: int) -> None:
    """Forget all of etcd's history."""

    async def work() -> None:
        pki = federation.data_dir / "pki" / "etcd"
        tls = TlsFiles(pki / "ca.crt", pki / "root.crt", pki / "root.key")  # newer etcds let nobody else
        store = await EtcdStore.connect([f"127.0.0.1:{port}"], tls=tls)
        try:
            await store.compact(await store.revision())
        finally:
            await store.close()

    asyncio.run(work())


def test_the_control_loops_miss_history_that_is_compacted(
    federation: Federation, proxies: Proxies, ns: str
) -> None:
    """What was created, changed and deleted while scheduler and syncer were cut off, in revisions that are
    gone when they return, is done all the same, and nothing else is."""
    before = Bulk(federation.api, ns, COUNT, prefix="before")
    before.create()
    intent_everywhere(federation, before)
    gone = list(before.values)[: COUNT // 4]
    names = set(gone)
    with Witness(federation.each, namespace=ns, resources=["configmaps"]) as witness:
        with proxies.cut_control():
            during = Bulk(federation.api, ns, COUNT, prefix="during")
            during.create()
            before.delete(gone)
            before.update("2")
            compact(federation, proxies.etcd_port)
        during.values |= before.values
        intent_everywhere(federation, during)
    assert {each.name for each in witness.deleted} == names
    assert len(witness.deleted) == len(names) * len(federation.each)


def test_the_apiserver_misses_history_that_is_compacted(
    federation: Federation, proxies: Proxies, ns: str
) -> None:
    """An apiserver whose watch was compacted serves what is true now."""
    bulk = Bulk(federation.api, ns, COUNT)
    bulk.create()
    intent_everywhere(federation, bulk)
    first = next(iter(bulk.values))
    member = federation.member("on-prem")
    before = member.get("configmaps", ns, first)["metadata"]["uid"]
    with proxies.cut_apiserver():
        member.delete("configmaps", ns, first)
        until(
            lambda: member.get("configmaps", ns, first)["metadata"]["uid"] != before,
            what="the syncer repairs without the apiserver",
        )
        compact(federation, proxies.etcd_port)
    bulk.update("2")
    intent_everywhere(federation, bulk)
    late = Bulk(federation.api, ns, 1, prefix="late")
    late.create()
    late.values |= bulk.values
    intent_everywhere(federation, late)


def test_a_cut_longer_than_the_leases(federation: Federation, proxies: Proxies, ns: str) -> None:
    """Control loops that lose their leases stop, and go on when they have them again."""
    bulk = Bulk(federation.api, ns, COUNT // 4)
    bulk.create()
    intent_everywhere(federation, bulk)
    with Witness(federation.each, namespace=ns, resources=["configmaps"]) as witness:
        with proxies.cut_control():
            bulk.update("2")
            until(lambda: not leases(federation, proxies.etcd_port), what="the leases have ended", seconds=40)
        intent_everywhere(federation, bulk)
    assert witness.deleted == []


def leases(federation: Federation, port: int) -> int:
    """How many elections of control loops have a leader; the apiserver, which has one too, is not cut off."""

    async def work() -> int:
        pki = federation.data_dir / "pki" / "etcd"
        tls = TlsFiles(pki / "ca.crt", pki / "apiserver.crt", pki / "apiserver.key")
        store = await EtcdStore.connect([f"127.0.0.1:{port}"], tls=tls)
        try:
            found = await store.range("elections/", keys_only=True)
            return sum("elections/sealing" not in each.key for each in found.items)
        finally:
            await store.close()

    return asyncio.run(work())
