"""A version that a cluster begins or ceases to serve is a reason to decide again."""

from __future__ import annotations

from hanse.api.registry.v1.cluster_pb2 import ApiResource
from hanse.kube.model.objects import Object
from hanse.store.keys import ObjectKey
from tests.support.federation.federation import Federation

CPU = ObjectKey("autoscaling", "horizontalpodautoscalers", "shop", "cpu")


def served(*versions: str) -> list[ApiResource]:
    """Autoscalers in these versions."""
    return [ApiResource(group=CPU.group, version=each, resource=CPU.resource) for each in versions]


def autoscaler() -> Object:
    """An autoscaler, as it is stored."""
    metadata = {"name": "cpu", "namespace": "shop", "uid": "h1"}
    return {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": metadata}


async def test_a_version_that_comes_lets_objects_in_and_one_that_goes_takes_none_away(
    federation: Federation,
) -> None:
    """Refused while the cluster serves v1 alone, placed once it serves v2, and left there afterwards."""
    await federation.clusters("a")
    await federation.serves("a", *served("v1"))
    process = await federation.start_scheduler()
    await federation.apply(CPU, autoscaler())
    placement = await federation.placed(CPU, {})
    assert [(each.cluster, each.reason) for each in placement.refused] == [("a", "ApiNotServed")]
    assert "in v2, only in v1" in placement.refused[0].message
    await federation.serves("a", *served("v1", "v2"))
    await federation.placed(CPU, {"a": None})
    await federation.serves("a", *served("v1"))
    await federation.settled(process)
    placement = await federation.placed(CPU, {"a": None})
    assert not placement.releasing
