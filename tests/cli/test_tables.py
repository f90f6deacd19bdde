"""Tables for people and programs: nothing is cut for a program, `-o wide` has more, `-w` follows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest
from hanse_cli.output import CELL, GrowingTable, cell
from hypothesis import given
from hypothesis import strategies as st

from hanse.api.dns.v1.record_set_pb2 import RecordSet
from hanse.api.federation.v1 import federation_service_pb2 as federation
from hanse.api.federation.v1.federation_pb2 import Object
from hanse.api.registry.v1.cluster_pb2 import Cluster, ClusterState
from hanse.api.scheduler.v1 import scheduler_service_pb2 as scheduler
from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement, ClusterRefusal, Placement
from hanse.api.syncer.v1.orphan_pb2 import Orphan
from hanse.api.type.v1.change_pb2 import ChangeKind
from hanse.api.type.v1.object_reference_pb2 import ObjectReference
from tests.cli.conftest import Hanse, World

LONG = "a-zone-with-a-name-that-is-longer-than-any-cell-of-a-terminal-would-be"
WEB: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "shop", "generation": 2},
    "spec": {
        "replicas": 6,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"spec": {"containers": [{"name": "nginx", "image": "nginx:1.27"}]}},
    },
    "status": {
        "readyReplicas": 5,
        "clusters": [
            {"name": "eu", "phase": "Synced"},
            {"name": "us", "phase": "Failed", "reason": "QuotaExceeded"},
        ],
    },
}


def cluster(name: str) -> Cluster:
    """A cluster with one long zone."""
    return Cluster(
        name=f"clusters/{name}",
        state=ClusterState.READY,
        region="eu",
        zones=[LONG, "b"],
        server=f"https://{name}.example:6443",
        labels={"tier": "prod"},
        uid=f"uid-{name}",
    )


def placement(name: str, **replicas: int) -> Placement:
    """A placement of a Deployment."""
    return Placement(
        name=f"placements/apps/deployments/shop/{name}",
        object=ObjectReference(group="apps", resource="deployments", namespace="shop", name=name),
        clusters=[
            ClusterPlacement(cluster=each, replicas=count, reason="Chosen")
            for each, count in replicas.items()
        ],
        refused=[ClusterRefusal(cluster="ap", reason="NoRoom")],
        policy="spread",
    )


def columns(line: str) -> list[str]:
    """The cells of a line of a table."""
    return [each.strip() for each in line.split("  ") if each.strip()]


@pytest.mark.parametrize("command", [["registry", "list-clusters"], ["clusters"]])
def test_nothing_is_cut_or_wrapped_for_a_program(
    world: World, hanse: Hanse, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the width that COLUMNS claims: one line for each cluster, with all of it."""
    world.clusters["clusters/a"] = cluster("a")
    monkeypatch.setenv("COLUMNS", "20")
    lines = hanse(*command).out.splitlines()
    assert len(lines) == 2
    assert f"{LONG},b" in lines[1]


def test_explain_is_not_wrapped_for_a_program(world: World, hanse: Hanse) -> None:
    """A reason of any length stays in the line of its cluster."""
    world.objects["objects/apps/deployments/shop/web"] = WEB
    said = " ".join(f"word{number}" for number in range(300))
    current = placement("web", eu=1)
    current.clusters[0].message = said
    world.explanation = scheduler.ExplainPlacementResponse(current=current, decision=current)
    result = hanse("explain", "deploy/web", "-n", "shop")
    assert result.status == 0, result.err
    assert [line for line in result.out.splitlines() if said in line]


def test_a_cell_is_cut_to_fit_a_terminal() -> None:
    """Its end is a mark; without a limit it is whole."""
    field = Cluster.DESCRIPTOR.fields_by_name["zones"]
    assert len(cell(cluster("a"), field)) == CELL
    assert cell(cluster("a"), field).endswith("…")
    assert cell(cluster("a"), field, limit=None) == f"{LONG},b"


@given(st.lists(st.lists(st.text("ab", max_size=9), min_size=3, max_size=3), max_size=6))
def test_a_table_that_grows_has_every_cell(rows: list[list[str]]) -> None:
    """Row by row or at once: the same cells, each after the longest before it in its column."""
    printed: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("click.echo", printed.append)
        table = GrowingTable(["ONE", "TWO", "THREE"])
        for row in rows:
            table.add([row])
    assert len(printed) == (len(rows) + 1 if rows else 0)
    for row, line in zip(rows, printed[1:], strict=True):
        assert line.split() == [each for each in row if each]


def test_wide_tables_have_more(world: World, hanse: Hanse) -> None:
    """Clusters, objects, names, orphans and generated lists."""
    world.clusters["clusters/a"] = cluster("a")
    world.objects["objects/apps/deployments/shop/web"] = WEB
    reference = ObjectReference(resource="services", namespace="shop", name="web")
    world.records = [RecordSet(fqdn="web.example.org.", service=reference)]
    world.orphans = [Orphan(cluster="eu", object=reference, member_uid="u-1", message="m")]
    wanted: dict[tuple[str, ...], list[str]] = {
        ("clusters",): ["https://a.example:6443", "tier=prod", "uid-a"],
        ("get", "deploy", "-n", "shop"): ["nginx:1.27", "app=web", "us: Failed QuotaExceeded"],
        ("names",): ["shop/web"],
        ("orphans",): ["u-1"],
        ("registry", "list-clusters"): ["uid-a"],
    }
    for command, cells in wanted.items():
        narrow, wide = hanse(*command), hanse(*command, "-o", "wide")
        assert (narrow.status, wide.status) == (0, 0), wide.err
        header = columns(narrow.out.splitlines()[0])
        assert set(header) < set(columns(wide.out.splitlines()[0])), command
        row = wide.out.splitlines()[1]
        assert [each for each in cells if each not in row] == [], command


def test_clusters_are_watched(world: World, hanse: Hanse) -> None:
    """First all of them, then a row for each change."""
    world.clusters["clusters/a"] = cluster("a")
    lines = hanse("clusters", "-w").out.splitlines()
    assert [line.split()[0] for line in lines] == ["NAME", "a", "a"]
    documents = hanse("clusters", "-w", "-o", "json").out.splitlines()
    assert [json.loads(each).get("kind") for each in documents] == [None, "UPDATED"]
    assert hanse("clusters", "-w", "-l", "a=b").status == 2


def test_a_watch_ends_on_ctrl_c_in_order(world: World) -> None:
    """With status 0 and no traceback."""
    world.clusters["clusters/a"] = cluster("a")
    world.holds = True
    command = [sys.executable, "-m", "hanse_cli.main", "--config", str(world.config), "clusters", "--watch"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert [process.stdout.readline().split()[0] for _ in range(3)] == ["NAME", "a", "a"]
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")


def test_objects_are_watched(world: World, hanse: Hanse) -> None:
    """From the revision of the list on; one that is deleted is said to be."""
    world.objects["objects/apps/deployments/shop/web"] = WEB
    ready = {**WEB, "status": {"readyReplicas": 6}}
    name = "objects/apps/deployments/shop/web"
    other = {**WEB, "metadata": {"name": "other", "namespace": "shop"}}
    world.changes = [
        federation.WatchObjectsResponse(
            kind=ChangeKind.UPDATED, object=Object(name=name, manifest=json.dumps(ready).encode())
        ),
        federation.WatchObjectsResponse(kind=ChangeKind.BOOKMARK),
        federation.WatchObjectsResponse(
            kind=ChangeKind.UPDATED,
            object=Object(name="objects/apps/deployments/shop/other", manifest=json.dumps(other).encode()),
        ),
        federation.WatchObjectsResponse(kind=ChangeKind.DELETED, object=Object(name=name)),
    ]
    result = hanse("get", "deploy/web", "-n", "shop", "-w")
    assert result.status == 0, result.err
    lines = [columns(line)[:2] for line in result.out.splitlines()]
    assert lines == [
        ["NAME", "READY"],
        ["web", "5/6"],
        ["web", "6/6"],
        ["web", "deleted"],
    ]
    assert world.last(federation.WatchObjectsRequest).revision == 7
    names = hanse("get", "deploy", "-n", "shop", "-w", "-o", "name").out.splitlines()
    assert names[1:] == ["deployment.apps/web", "deployment.apps/other", "deployment.apps/web deleted"]
    assert hanse("get", "deploy,svc", "-w").status == 2


def test_placements_are_listed_and_watched(world: World, hanse: Hanse) -> None:
    """All, those of a resource, or one; wide says why."""
    for each in (placement("web", eu=2, us=4), placement("api", eu=1)):
        world.placements[each.name] = each
    result = hanse("placements")
    assert result.status == 0, result.err
    assert result.out.splitlines()[2].split()[:4] == ["deployments.apps/web", "shop", "eu:2,us:4", "spread"]
    assert len(hanse("placements", "deploy", "-n", "shop").out.splitlines()) == 3
    assert len(hanse("placements", "deploy/web", "-n", "shop").out.splitlines()) == 2
    assert "ap: NoRoom" in hanse("placements", "-o", "wide").out
    world.changes = [
        scheduler.WatchPlacementsResponse(kind=ChangeKind.UPDATED, placement=placement(name, eu=6))
        for name in ("api", "web")
    ]
    watched = hanse("placements", "deploy/web", "-n", "shop", "--watch").out.splitlines()
    assert [line.split()[2] for line in watched[1:]] == ["eu:2,us:4", "eu:6"]
    assert hanse("placements", "-n", "shop").status == 2
