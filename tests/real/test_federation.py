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
