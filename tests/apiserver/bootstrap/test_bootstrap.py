"""What every cluster has from its first second is there, comes back, and propagates nowhere."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hanse_apiserver.bootstrap.keeper import RESTORE_SECONDS, BootstrapKeeper
from hanse_apiserver.bootstrap.objects import in_each_namespace, of_the_cluster

from hanse.control import Request, WorkQueue
from hanse.federation import belongings
from hanse.kube.engine.engine import NAMESPACES
from tests.apiserver.world import World, namespace
from tests.support.waiting import until

ROOT_CA = "/api/v1/namespaces/shop/configmaps/kube-root-ca.crt"
ACCOUNT = "/api/v1/namespaces/shop/serviceaccounts/default"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World(bootstrap=True) as found:
        await found.create("/api/v1/namespaces", namespace())
        yield found


async def is_there(world: World, path: str) -> bool:
    return (await world.call("GET", path)).status == 200


def keeper_of(world: World, authorities: str) -> BootstrapKeeper:
    """One that knows these authorities, as of an apiserver of its own."""
    engine = world.apiserver.engine
    return BootstrapKeeper(engine, queue=WorkQueue("test"), authorities=lambda: authorities, port=6443)


def test_all_of_it_belongs_to_each_cluster() -> None:
    for wanted in (*of_the_cluster(6443), *in_each_namespace("shop", "PEM")):
        key = wanted.key
        assert belongings.by_name(key.group, key.resource, namespace=key.namespace, name=key.name), key


async def test_a_cluster_has_its_own_from_its_first_second(world: World) -> None:
    for path in (
        "/api/v1/namespaces/default/services/kubernetes",
        "/apis/scheduling.k8s.io/v1/priorityclasses/system-cluster-critical",
        "/apis/scheduling.k8s.io/v1/priorityclasses/system-node-critical",
        *(f"/api/v1/namespaces/{name}/serviceaccounts/default" for name in NAMESPACES),
    ):
        await until(lambda path=path: is_there(world, path))  # type: ignore[misc]


async def test_each_namespace_gets_an_account_and_the_authorities(world: World) -> None:
    await until(lambda: is_there(world, ACCOUNT))
    await until(lambda: is_there(world, ROOT_CA))
    bundle = (await world.get(ROOT_CA))["data"]
    assert bundle == {"ca.crt": (world.directory / "ca.crt").read_text()}


async def test_what_is_deleted_or_changed_comes_back(world: World) -> None:
    await until(lambda: is_there(world, ROOT_CA))
    found = await world.get(ROOT_CA)
    changed = await world.call("PUT", ROOT_CA, {**found, "data": {"ca.crt": "mine"}})
    assert changed.status == 200

    async def restored() -> bool:
        answer = await world.call("GET", ROOT_CA)
        return answer.status == 200 and bool(answer.body["data"] == found["data"])

    await until(restored)
    uid = (await world.get(ACCOUNT))["metadata"]["uid"]
    assert (await world.call("DELETE", ACCOUNT)).status in (200, 202)

    async def made_again() -> bool:
        answer = await world.call("GET", ACCOUNT)
        return answer.status == 200 and bool(answer.body["metadata"]["uid"] != uid)

    await until(made_again)


async def test_a_namespace_that_ends_gets_nothing_more(world: World) -> None:
    await until(lambda: is_there(world, ACCOUNT))
    await world.call("DELETE", "/api/v1/namespaces/shop")

    async def gone() -> bool:
        return (await world.call("GET", "/api/v1/namespaces/shop")).status == 404

    await until(gone)
    await until(lambda: world.apiserver.bootstrapping.idle)
    assert not await is_there(world, ACCOUNT)


async def test_the_authorities_may_be_named_in_any_language(world: World) -> None:
    """As those of a bundle of public authorities are; the account does not wait for them either."""
    with (world.directory / "ca.crt").open("a", encoding="utf-8") as file:
        file.write("# Főtanúsítvány\n")
    await world.create("/api/v1/namespaces", namespace("other"))
    there = ROOT_CA.replace("/shop/", "/other/")
    await until(lambda: is_there(world, there))
    assert (await world.get(there))["data"]["ca.crt"].endswith("# Főtanúsítvány\n")


async def test_authorities_that_are_replaced_reach_each_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a restart, and though nobody touched the ConfigMaps."""
    monkeypatch.setattr("hanse_apiserver.bootstrap.keeper.RELOAD_SECONDS", 0.05)
    async with World(bootstrap=True) as world:
        await world.create("/api/v1/namespaces", namespace())
        await until(lambda: is_there(world, ROOT_CA))
        file = world.directory / "ca.crt"
        both = file.read_text() + "\n# and another\n" + file.read_text()
        file.write_text(both)

        async def followed() -> bool:
            return bool((await world.get(ROOT_CA))["data"] == {"ca.crt": both})

        await until(followed)


async def test_two_that_know_different_authorities_do_not_write_without_end() -> None:
    """Each brings its own back once, and again when some time has passed."""
    async with World() as world:
        await world.create("/api/v1/namespaces", namespace())
        old, new = (keeper_of(world, "old"), keeper_of(world, "new"))
        pauses = []
        for keeper in (old, new, old, new):
            await world.apiserver.engine.cache.reached(await world.store.revision())
            result = await keeper.reconcile(Request("shop"))
            pauses.append(result.requeue_after if result is not None else None)
        assert pauses[:3] == [None] * 3
        assert pauses[3] is not None
        assert 0 < pauses[3] <= RESTORE_SECONDS
        assert (await world.get(ROOT_CA))["data"] == {"ca.crt": "old"}
