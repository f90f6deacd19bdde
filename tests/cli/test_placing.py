"""`hanse diff`, `evict`, `rebalance` and `drain`."""

from __future__ import annotations

import json

import pytest
from hanse_cli.commands.placing import DRAIN, drained
from hypothesis import given
from hypothesis import strategies as st

from hanse.api.registry.v1 import registry_service_pb2 as registry
from hanse.api.registry.v1.cluster_pb2 import NO_EXECUTE, NO_SCHEDULE, Cluster, Taint
from hanse.api.scheduler.v1 import scheduler_service_pb2 as scheduler
from hanse.api.syncer.v1 import syncer_service_pb2 as syncer
from tests.cli.conftest import Hanse, World
from tests.cli.test_tables import placement

NAME = "placements/apps/deployments/shop/web"


def diff_of(cluster: str, *operations: dict[str, object]) -> syncer.ClusterDiff:
    """How a cluster differs."""
    return syncer.ClusterDiff(cluster=cluster, in_sync=not operations, patch=json.dumps(operations).encode())


def test_diff_has_a_row_for_each_change(world: World, hanse: Hanse) -> None:
    """And status 1; 0 where nothing differs, 6 where a cluster has no answer."""
    change = {"op": "replace", "path": "/spec/replicas", "value": 3}
    world.diffs = [diff_of("eu"), diff_of("us", change, {"op": "remove", "path": "/spec/paused"})]
    result = hanse("diff", "deploy/web", "-n", "shop")
    assert (result.status, result.err) == (1, "")
    assert [line.split() for line in result.out.splitlines()[1:]] == [
        ["deployment.apps/web", "eu", "in", "sync"],
        ["deployment.apps/web", "us", "differs", "replace", "/spec/replicas", "3"],
        ["deployment.apps/web", "us", "differs", "remove", "/spec/paused"],
    ]
    request = world.last(syncer.DiffObjectRequest)
    assert (request.object.group, request.object.namespace, request.object.name) == ("apps", "shop", "web")
    assert hanse("diff", "deploy/web", "--cluster", "eu").status == 0
    document = json.loads(hanse("diff", "deploy", "web", "-o", "json").out)
    assert document[1]["patch"][0] == change
    world.diffs.append(syncer.ClusterDiff(cluster="ap", error="it cannot be reached"))
    assert hanse("diff", "deploy/web").status == 6
    assert hanse("diff", "deploy").status == 2


def test_evict_and_rebalance_name_the_placement(world: World, hanse: Hanse) -> None:
    """They say where the object is placed now; one failure does not keep the rest from being done."""
    world.placements[NAME] = placement("web", eu=2, us=4)
    result = hanse("evict", "deploy/none", "deploy/web", "-n", "shop", "--cluster", "us")
    assert result.status == 4
    assert result.out == "deployment.apps/web leaves us, and is placed in eu:2\n"
    assert result.err.startswith("hanse: deployment.apps/none: ")
    request = world.last(scheduler.EvictPlacementRequest)
    assert (request.name, request.cluster) == (NAME, "us")
    again = hanse("rebalance", "deploy/web", "-n", "shop")
    assert (again.status, again.out) == (0, "deployment.apps/web is placed in eu:2\n")
    assert world.last(scheduler.RebalancePlacementRequest).name == NAME
    assert hanse("evict", "deploy/web").status == 2, "from where?"


def test_drain_taints_a_cluster_and_waits(world: World, hanse: Hanse) -> None:
    """Until no placement names it; with --undo the taint goes, and others stay."""
    other = Taint(key="gpu", effect=NO_SCHEDULE)
    world.clusters["clusters/us"] = Cluster(name="clusters/us", etag="e1", taints=[other])
    result = hanse("drain", "us")
    assert result.status == 0, result.err
    assert result.out.splitlines()[-1] == "cluster us is drained"
    request = world.last(registry.UpdateClusterRequest)
    assert list(request.update_mask.paths) == ["taints"]
    assert (request.cluster.name, request.cluster.etag) == ("clusters/us", "e1")
    assert [(taint.key, taint.effect) for taint in request.cluster.taints] == [
        ("gpu", NO_SCHEDULE),
        (DRAIN, NO_EXECUTE),
    ]
    world.clusters["clusters/us"].taints.extend(request.cluster.taints[1:])
    world.placements[NAME] = placement("web", us=4)
    held = hanse("drain", "us", "--wait-timeout", "0")
    assert held.status == 6
    assert "apps/deployments/shop/web" in held.err
    assert hanse("drain", "eu").status == 4
    assert hanse("drain", "us", "--undo").out == "cluster us takes objects again\n"
    assert list(world.last(registry.UpdateClusterRequest).cluster.taints) == [other]


taints = st.lists(
    st.builds(Taint, key=st.sampled_from([DRAIN, "gpu"]), effect=st.sampled_from([NO_SCHEDULE, NO_EXECUTE]))
)


@given(taints, st.floats(0, 2e9))
def test_a_drain_changes_its_own_taint_alone(before: list[Taint], now: float) -> None:
    """Twice is once, a drain that has begun keeps its time, and the end restores what was there."""
    cluster = Cluster(name="clusters/a", etag="e", taints=before)
    begun = drained(cluster, undo=False, now=now)
    assert drained(begun, undo=False, now=now + 60) == begun
    own = [taint for taint in begun.taints if (taint.key, taint.effect) == (DRAIN, NO_EXECUTE)]
    others = [taint for taint in before if (taint.key, taint.effect) != (DRAIN, NO_EXECUTE)]
    assert own
    ended = drained(begun, undo=True, now=now)
    assert list(ended.taints) == others
    assert ended.etag == "e"


@pytest.mark.parametrize("patch", [b"", b"{", b"3", b"[3]"])
def test_a_patch_that_cannot_be_read_still_differs(world: World, hanse: Hanse, patch: bytes) -> None:
    """It is a row without a change."""
    world.diffs = [syncer.ClusterDiff(cluster="eu", patch=patch)]
    result = hanse("diff", "deploy/web")
    assert (result.status, len(result.out.splitlines())) == (1, 2)
    assert "differs" in result.out
