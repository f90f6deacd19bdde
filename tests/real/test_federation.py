"""A federation that is started as a user starts it takes real clusters in."""

from pathlib import Path

from tests.real.federation import SERVICES, Federation
from tests.real.realcluster import ClusterSpec, RealClusters, until


async def test_an_object_reaches_a_real_cluster(assets_dir: Path, tmp_path: Path) -> None:
    """A ConfigMap created in the federation is in a joined cluster, and gone from it when deleted, also
    when the syncer was killed in between."""
    collection = "/api/v1/namespaces/default/configmaps"
    async with (
        RealClusters(assets_dir, tmp_path / "members", [ClusterSpec("eu")]) as clusters,
        Federation(tmp_path / "federation") as federation,
        federation.api() as api,
    ):
        member = clusters["eu"].api
        await federation.join("eu", clusters["eu"].kubeconfig_path, "tier=gold")
        assert set(SERVICES) < set(federation.pids)
        await api.create(collection, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "hello"}})
        await until(lambda: member.get(f"{collection}/hello"), what="the ConfigMap arrives")
        await federation.restart("syncer")
        await api.delete(f"{collection}/hello")

        async def is_gone() -> bool:
            return all(
                item["metadata"]["name"] != "hello" for item in (await member.get(collection))["items"]
            )

        await until(is_gone, what="the ConfigMap leaves")


async def test_what_a_member_removes_again_and_again_is_contested(assets_dir: Path, tmp_path: Path) -> None:
    """The token Secret of a ServiceAccount that is no more is removed by the member's own controller each
    time: it is contested. The one of the ServiceAccount that is there lands."""
    secrets = "/api/v1/namespaces/satok/secrets"
    states = "/apis/hanse.dev/v1alpha1/namespaces/satok/syncstates"
    account = "kubernetes.io/service-account.name"
    async with (
        RealClusters(assets_dir, tmp_path / "members", [ClusterSpec("eu")]) as clusters,
        Federation(tmp_path / "federation") as federation,
        federation.api() as api,
    ):
        member = clusters["eu"].api
        await federation.join("eu", clusters["eu"].kubeconfig_path, "tier=gold")
        await api.create(
            "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "satok"}}
        )
        await api.create(
            "/api/v1/namespaces/satok/serviceaccounts",
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "bot"}},
        )
        for name, more in (
            ("bot-token-x", {"kubernetes.io/service-account.uid": "11111111-2222-3333-4444-555555555555"}),
            ("bot-token-y", {}),
        ):
            await api.create(
                secrets,
                {
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": {"name": name, "annotations": {account: "bot", **more}},
                    "type": "kubernetes.io/service-account-token",
                    "data": {"token": "b2xk", "namespace": "ZGVmYXVsdA=="},
                },
            )

        async def contested() -> bool:
            state = await api.get(f"{states}/secrets.bot-token-x.eu")
            return bool(state.get("reason") == "Contested" and state["contention"]["removed"])

        await until(contested, what="bot-token-x is contested", seconds=120)
        state = await api.get(f"{states}/secrets.bot-token-x.eu")
        assert state["health"] == "Degraded"
        assert "removes it again each time that it is put right" in state["message"]
        await until(lambda: member.get(f"{secrets}/bot-token-y"), what="bot-token-y lands")
        landed = await api.get(f"{states}/secrets.bot-token-y.eu")
        assert (landed.get("reason", ""), landed["health"]) == ("", "Healthy")
