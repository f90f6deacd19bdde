"""Real members whose API is older than the federation's: what they do not serve is said, and never bent."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from hanse.kube.model.objects import Object
from tests.real.federation import Federation
from tests.real.realcluster import ClusterSpec, KubeApi, RealClusters
from tests.real.realcluster.api import until
from tests.support import objects

WITHOUT_V2: Final = "--runtime-config=autoscaling/v2=false"
AUTOSCALERS: Final = "/apis/autoscaling/{}/namespaces/skew/horizontalpodautoscalers"
POLICIES: Final = "/apis/networking.k8s.io/v1/namespaces/skew/networkpolicies"
VIEWS: Final = "/apis/hanse.dev/v1alpha1/namespaces/skew"
SHARED_NAME: Final = "horizontalpodautoscalers.autoscaling.cpu"

HPA: Final = objects.build(
    "autoscaling/v2",
    "HorizontalPodAutoscaler",
    name="cpu",
    spec={
        "minReplicas": 2,
        "maxReplicas": 5,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "other"},
        "metrics": [
            {
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
            }
        ],
    },
)
POLICY: Final = objects.build("networking.k8s.io/v1", "NetworkPolicy", name="np", spec={"podSelector": {}})


async def test_a_version_that_is_not_served_is_refused_and_one_that_goes_away_takes_nothing_with_it(
    assets_dir: Path, tmp_path: Path
) -> None:
    """An HPA of v2 is not placed in a cluster that serves v1 alone, and nothing is written there in v1. A
    cluster that loses v2 keeps the very object that it has, and says why it gets no change of it."""
    specs = [ClusterSpec("eu"), ClusterSpec("old", apiserver_args=(WITHOUT_V2,))]
    async with (
        RealClusters(assets_dir, tmp_path / "members", specs) as clusters,
        Federation(tmp_path / "federation") as federation,
        federation.api() as api,
    ):
        eu, old = clusters["eu"], clusters["old"]
        for cluster in clusters:
            await federation.join(cluster.name, cluster.kubeconfig_path)
        await api.create("/api/v1/namespaces", objects.build("v1", "Namespace", name="skew"))
        await api.create(AUTOSCALERS.format("v2"), HPA)
        await api.create(POLICIES, POLICY)
        there = await until(lambda: eu.api.get(f"{AUTOSCALERS.format('v2')}/cpu"), what="it is in eu")
        await until(lambda: old.api.get(f"{POLICIES}/np"), what="the NetworkPolicy is in old")
        placement = await api.get(f"{VIEWS}/placements/{SHARED_NAME}")
        (refused,) = placement["refused"]
        assert (refused["cluster"], refused["reason"]) == ("old", "ApiNotServed")
        assert "in v2, only in v1" in refused["message"]
        assert (await old.api.get(AUTOSCALERS.format("v1")))["items"] == []

        await eu.stop()
        eu.apiserver.change(WITHOUT_V2)
        await eu.start()

        async def said() -> bool:
            state = await _state(api)
            return (state.get("phase"), state.get("reason")) == ("Waiting", "ApiNotServed")

        await until(said, what="eu says that it does not serve it", seconds=120)
        await api.merge(f"{AUTOSCALERS.format('v2')}/cpu", {"spec": {"maxReplicas": 7}})
        await until(said, what="the change waits")
        stayed = await eu.api.get(f"{AUTOSCALERS.format('v1')}/cpu")
        assert stayed["metadata"]["uid"] == there["metadata"]["uid"]
        assert stayed["spec"]["maxReplicas"] == 5
        placement = await api.get(f"{VIEWS}/placements/{SHARED_NAME}")
        assert [each["cluster"] for each in placement["clusters"]] == ["eu"]
        assert not placement.get("releasing")

        await api.delete(f"{AUTOSCALERS.format('v2')}/cpu")

        async def gone() -> bool:
            return not (await eu.api.get(AUTOSCALERS.format("v1")))["items"]

        await until(gone, what="what is deleted in the federation leaves, in the version that is served")


async def _state(api: KubeApi) -> Object:
    state: Object = await api.get(f"{VIEWS}/syncstates/{SHARED_NAME}.eu")
    return state
