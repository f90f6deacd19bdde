"""The commands for people: apply, get, delete, explain, clusters, join, unjoin, names, version."""

from __future__ import annotations

import json
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf.timestamp_pb2 import Timestamp
from hanse_cli import exits, manifests
from hanse_cli.commands.clusters import cluster_row
from hanse_cli.commands.names import scope_word
from hanse_cli.commands.orphans import _command
from hanse_cli.commands.page import ExplainPage, NameRow, compile_page
from hanse_cli.output import Printer, cell, to_document
from hanse_cli.plain import plain, plain_all

from hanse.api.dns.v1 import dns_service_pb2 as dns
from hanse.api.dns.v1.record_set_pb2 import AnswerScope, Endpoint, LeftOut, RecordSet
from hanse.api.federation.v1 import federation_service_pb2 as federation
from hanse.api.registry.v1 import registry_service_pb2 as registry
from hanse.api.registry.v1.cluster_pb2 import Cluster, ClusterState, TaintEffect
from hanse.api.scheduler.v1.placement_pb2 import (
    ClusterPlacement,
    ClusterRefusal,
    ClusterRelease,
    Placement,
)
from hanse.api.scheduler.v1.scheduler_service_pb2 import (
    ExplainPlacementRequest,
    ExplainPlacementResponse,
    ExplainStep,
    WatchPlacementsRequest,
)
from hanse.api.syncer.v1.orphan_pb2 import Orphan
from hanse.api.syncer.v1.sync_state_pb2 import Health, SyncPhase, SyncState, ZoneEndpoints
from hanse.api.syncer.v1.syncer_service_pb2 import WatchSyncStatesRequest
from hanse.api.type.v1.condition_pb2 import Condition, ConditionStatus
from hanse.api.type.v1.object_reference_pb2 import ObjectReference
from hanse.errors import ConflictError, InvalidArgumentError, UnavailableError
from hanse.federation.strategies import federation_kinds
from tests.cli.conftest import Hanse, World

SEE = "see `hanse syncer list-sync-states --filter cluster=eu`"

WEB = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "shop", "generation": 2},
    "spec": {"replicas": 6, "template": {"metadata": {"labels": {"app": "web"}}}},
    "status": {"readyReplicas": 5},
}
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web", "namespace": "shop"},
    "spec": {"type": "LoadBalancer", "selector": {"app": "web"}, "ports": [{"port": 80}]},
}


def deployed(world: World) -> None:
    """A Deployment and its Service in the world."""
    world.objects["objects/apps/deployments/shop/web"] = WEB
    world.objects["objects/core/services/shop/web"] = SERVICE


# --- apply ---


def test_apply_takes_a_folder_namespaces_first(world: World, hanse: Hanse, tmp_path: Path) -> None:
    """In the order of the files otherwise; and says what it did."""
    (tmp_path / "1-web.yaml").write_text(yaml.safe_dump_all([WEB, SERVICE]))
    (tmp_path / "2-namespace.yaml").write_text("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n")
    (tmp_path / "notes.txt").write_text("not a manifest")
    first = hanse("apply", "-f", str(tmp_path))
    assert first.status == 0, first.err
    assert first.out.splitlines() == [
        "namespace/shop created",
        "deployment.apps/web created",
        "service/web created",
    ]
    assert hanse("apply", "-f", str(tmp_path)).out.splitlines()[1] == "deployment.apps/web unchanged"
    changed = {**WEB, "spec": {**WEB["spec"], "replicas": 9}}  # type: ignore[dict-item]
    assert hanse("apply", "-f", "-", stdin=json.dumps(changed)).out == "deployment.apps/web configured\n"
    assert world.last(federation.ApplyObjectRequest).field_manager == "hanse-cli"


def test_apply_gives_a_namespace_to_those_that_need_one(world: World, hanse: Hanse) -> None:
    """A manifest without a namespace goes to -n; one of a cluster-scoped kind stays as it is."""
    text = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n---\n"
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: ns}\n"
    )
    assert hanse("apply", "-n", "shop", "-f", "-", stdin=text).status == 0
    assert set(world.objects) == {"objects/core/configmaps/shop/c", "objects/core/namespaces/_/ns"}


def test_apply_reads_yaml_as_kubernetes_does(world: World, hanse: Hanse) -> None:
    """1:30 is text, flow style is YAML, and a key that is said twice is refused with its line."""
    text = "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {a: 1:30, b: 2020-01-01}}"
    assert hanse("apply", "-n", "shop", "-f", "-", stdin=text).status == 0
    stored = world.objects["objects/core/configmaps/shop/c"]
    assert stored["data"] == {"a": "1:30", "b": "2020-01-01"}
    twice = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n  a: x\n  a: z\n"
    refused = hanse("apply", "-n", "shop", "-f", "-", stdin=twice)
    assert refused.status != 0
    assert 'standard input: line 6: key "a" already set in map' in refused.err


def test_a_dry_run_stores_nothing(world: World, hanse: Hanse) -> None:
    """But everything is checked."""
    result = hanse("apply", "--dry-run", "-f", "-", stdin=json.dumps(WEB))
    assert result.out == "deployment.apps/web created (dry run)\n"
    assert world.objects == {}


def configs(*names: str) -> str:
    """ConfigMaps as YAML documents."""
    each = "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {}, namespace: shop}}\n"
    return "---\n".join(each.format(name) for name in names)


def test_apply_goes_on_after_a_failure(world: World, hanse: Hanse) -> None:
    """One line for each failure, and the exit status of the first; a conflict's says how to force it."""
    conflict = 'Apply failed with 1 conflict: conflict with "kubectl": .data.x'
    world.refusals = {
        "a": ConflictError(conflict),
        "c": InvalidArgumentError("data must be a mapping"),
    }
    widget = "---\napiVersion: v2\nkind: Widget\nmetadata: {name: w}\n"
    result = hanse("apply", "-f", "-", stdin=configs("a", "b", "c", "d") + widget)
    assert result.status == 5
    assert result.out.splitlines() == ["configmap/b created", "configmap/d created"]
    assert result.err.splitlines() == [
        f"hanse: configmap/a: {conflict}; --force takes over what others manage",
        "hanse: configmap/c: data must be a mapping",
        "hanse: widget/w: the federation serves no Widget of v2: is its CustomResourceDefinition applied?",
    ]
    forced = hanse("apply", "--force", "-f", "-", stdin=configs("a"))
    assert "--force" not in forced.err, "it was given"


def test_apply_stops_when_the_service_is_gone(world: World, hanse: Hanse) -> None:
    """The rest would fail in the same way, one deadline after the other."""
    world.refusals = {"a": UnavailableError("failed to connect to all addresses")}
    result = hanse("apply", "-f", "-", stdin=configs("a", "b", "c"))
    assert (result.status, result.out) == (6, "")
    assert result.err.splitlines()[0].startswith("hanse: configmap/a: the service cannot be reached")
    assert result.err.splitlines()[1:] == ["hanse: 2 more were not tried"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "line 2 is not valid YAML"),
        ("- a\n", "must be a mapping"),
        ("kind: ConfigMap\n", "has no apiVersion"),
        ("apiVersion: v1\n", "has no kind"),
        ("apiVersion: v1\nkind: ConfigMap\n", "the ConfigMap has no metadata.name"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 3}\n", "has no metadata.name"),
        ("", "no manifest in -"),
        ("apiVersion: v2\nkind: Widget\nmetadata: {name: a}\n", "serves no Widget of v2"),
    ],
)
def test_a_bad_manifest_is_one_line(hanse: Hanse, text: str, words: str) -> None:
    """It says where and what is wrong."""
    result = hanse("apply", "-f", "-", stdin=text)
    assert result.status in {2, 4}
    assert words in result.err
    assert len(result.err.splitlines()) == 1


def test_lists_are_opened() -> None:
    """What `kubectl get -o yaml` writes can be applied."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": [WEB, SERVICE]})
    assert [each["kind"] for each in manifests.parse(text, "x")] == ["Deployment", "Service"]
    with pytest.raises(InvalidArgumentError, match="x, document 2 is no manifest"):
        list(manifests.parse(json.dumps(WEB) + "\n---\n3\n", "x"))


# --- get and delete ---


@pytest.mark.parametrize(
    "word", ["deploy", "deployment", "deployments", "Deployment", "deployments.apps", "deploy.v1.apps"]
)
def test_a_resource_has_many_names(world: World, hanse: Hanse, word: str) -> None:
    """apps wins over extensions, as in kubectl."""
    deployed(world)
    result = hanse("get", word, "-n", "shop")
    assert result.status == 0, result.err
    assert result.out.splitlines()[0].split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert result.out.splitlines()[1].split()[:2] == ["web", "5/6"]


def test_get_shows_several_resources_and_forms(world: World, hanse: Hanse) -> None:
    """Tables below each other, a List in JSON, one object alone, and names."""
    deployed(world)
    assert hanse("get", "deploy,svc", "-n", "shop").out.count("NAME") == 2
    assert len(json.loads(hanse("get", "deploy,svc", "-A", "-o", "json").out)["items"]) == 2
    assert yaml.safe_load(hanse("get", "deploy/web", "-n", "shop", "-o", "yaml").out) == WEB
    assert hanse("get", "svc", "-n", "shop", "-o", "name").out == "service/web\n"
    assert hanse("get", "svc", "-n", "other").err == "nothing found\n"


@pytest.mark.parametrize("word", ["clusters", "cluster", "clusters.hanse.dev", "clusters.federation"])
def test_get_shows_clusters_of_the_federation(world: World, hanse: Hanse, word: str) -> None:
    """Hanse's own kind, also under Federation v1's name, with state, region and zones."""
    status = {"state": "Ready", "region": "eu", "zones": ["a", "b"], "kubernetesVersion": "v1.37.0"}
    world.objects["objects/hanse.dev/clusters/_/eu-west"] = {
        "apiVersion": "hanse.dev/v1alpha1",
        "kind": "Cluster",
        "metadata": {"name": "eu-west"},
        "status": status,
    }
    for result in (hanse("get", word), hanse("get", word, "eu-west")):
        assert result.status == 0, result.err
        header, row = (line.split() for line in result.out.splitlines())
        assert header == ["NAME", "STATE", "REGION", "ZONES", "VERSION", "AGE"]
        assert row == ["eu-west", "Ready", "eu", "a,b", "v1.37.0"]


def test_objects_are_named_as_they_are_stored() -> None:
    """What the federation serves as a view of another group's objects is known to be one."""
    from hanse_cli.resources import VIEWS

    infos = federation_kinds().resources()
    views = {(i.group, i.plural): i.storage_key for i in infos if i.group != i.storage_group}
    assert {view: (group, view[1]) for view, group in VIEWS.items()} == views


def test_delete_waits_and_passes_on_what_to_do_with_the_members(world: World, hanse: Hanse) -> None:
    """The cascade is the federation's; what is gone is said to be gone."""
    deployed(world)
    result = hanse("delete", "deploy/web", "svc/web", "-n", "shop", "--cascade", "orphan")
    assert result.status == 0, result.err
    assert result.out.splitlines()[-1] == "service/web deleted"
    assert world.objects == {}
    assert world.last(federation.DeleteObjectRequest).propagation == federation.DeletePropagation.ORPHAN
    assert hanse("delete", "deploy", "web", "-n", "shop").status == 4
    assert hanse("delete", "deploy", "web", "-n", "shop", "--ignore-not-found").status == 0


def test_delete_goes_on_after_a_failure(world: World, hanse: Hanse) -> None:
    """What is there is deleted whatever is not, and the exit status is the first failure's."""
    deployed(world)
    result = hanse("delete", "deploy/nope", "deploy/web", "svc/nope", "svc/web", "-n", "shop")
    assert result.status == 4
    assert world.objects == {}
    assert result.err.splitlines() == [
        "hanse: deployment.apps/nope: objects/apps/deployments/shop/nope does not exist",
        "hanse: service/nope: objects/core/services/shop/nope does not exist",
    ]
    deployed(world)
    unknown = "apiVersion: v2\nkind: Widget\nmetadata: {name: w}\n---\n"
    result = hanse("delete", "-f", "-", stdin=unknown + yaml.safe_dump(WEB))
    assert (result.status, list(world.objects)) == (4, ["objects/core/services/shop/web"])


# --- explain ---


def placement(**changes: Any) -> Placement:
    """A placement in two clusters."""
    values: dict[str, Any] = {
        "generation": 2,
        "clusters": [
            ClusterPlacement(
                cluster="eu-west", replicas=4, reason="AllReadyClusters", message="weight 1 of 2"
            ),
            ClusterPlacement(cluster="us-east", replicas=2, reason="AllReadyClusters"),
        ],
    }
    return Placement(**{**values, **changes})


def applied(
    cluster: str, *, generation: int = 2, replicas: int = 4, ready: int = 4, **values: Any
) -> SyncState:
    """A sync state of an object that was applied."""
    return SyncState(
        cluster=cluster,
        phase=values.pop("phase", SyncPhase.APPLIED),
        applied_generation=generation,
        health=values.pop("health", Health.HEALTHY),
        replicas=replicas,
        status=json.dumps({"readyReplicas": ready}).encode(),
        **values,
    )


def page_of(current: Placement | None, *states: SyncState, **manifest: Any) -> tuple[str, ...]:
    """What is pending on the page."""
    explanation = ExplainPlacementResponse(decision=current, current=current)
    page = compile_page(
        title="deployment.apps/web",
        manifest={**WEB, **manifest},
        explanation=explanation,
        states=states,
        records=[],
    )
    return page.pending


def test_what_is_said_of_an_unreachable_cluster_is_marked_as_seen_last() -> None:
    """Before the toleration is over it is still placed, and nobody knows how it is."""
    current = placement()
    page = compile_page(
        title="deployment.apps/web",
        manifest=WEB,
        explanation=ExplainPlacementResponse(decision=current, current=current),
        states=[applied("eu-west"), applied("us-east")],
        records=[],
        offline={"us-east"},
    )
    assert [row.live.startswith("last seen") for row in page.clusters] == [False, True]
    assert page.pending == (
        "us-east: cannot be reached at present; what is said of it is what was seen last",
    )


def test_an_object_that_is_being_deleted_waits_for_clusters_only() -> None:
    """Clusters that have confirmed are not mentioned, and the scheduler has no say any more."""
    gone = applied("eu-west", phase=SyncPhase.REMOVED)
    stuck = applied("us-east", phase=SyncPhase.REMOVING, reason="Finalizers", message="waits for x/y")
    metadata = {"name": "web", "generation": 3, "deletionTimestamp": "2026-01-01T00:00:00Z"}
    assert page_of(placement(), gone, stuck, metadata=metadata) == (
        "the object is being deleted; it waits for us-east",
        "us-east: Finalizers: waits for x/y",
    )


def test_nothing_is_pending_when_every_cluster_has_it() -> None:
    """The page says so."""
    assert page_of(placement(), applied("eu-west"), applied("us-east")) == ()


@pytest.mark.parametrize(
    ("current", "states", "words"),
    [
        (None, [], "the scheduler has not decided yet"),
        (
            placement(generation=1),
            [applied("eu-west"), applied("us-east")],
            "decided on generation 1; 2 waits",
        ),
        (placement(error="bad JSON"), [applied("eu-west"), applied("us-east")], "cannot decide.*bad JSON"),
        (placement(), [applied("eu-west")], "us-east: the syncer has not applied it yet"),
        (
            placement(),
            [applied("eu-west"), applied("us-east", generation=1)],
            "us-east: has generation 1 of 2",
        ),
        (
            placement(),
            [applied("eu-west"), applied("us-east", health=Health.PROGRESSING, ready=1, replicas=2)],
            "us-east: progressing, 1/2 ready",
        ),
        (
            placement(),
            [
                applied("eu-west"),
                applied("us-east", phase=SyncPhase.FAILED, reason="Refused", message="no quota", failures=3),
            ],
            r"us-east: failed: Refused: no quota \(tried 3 times\)",
        ),
        (
            placement(),
            [applied("eu-west"), applied("us-east", phase=SyncPhase.WAITING, message="namespace shop")],
            "us-east: waiting: namespace shop",
        ),
        (
            placement(releasing=[ClusterRelease(cluster="on-prem", reason="SelectorDoesNotMatch")]),
            [applied("eu-west"), applied("us-east"), applied("on-prem", phase=SyncPhase.REMOVING)],
            "on-prem: is to be left and has not confirmed",
        ),
        (
            placement(refused=[ClusterRefusal(cluster="far", reason="ClusterOffline", message="no answer")]),
            [applied("eu-west"), applied("us-east")],
            "far: ClusterOffline: no answer",
        ),
    ],
)
def test_the_page_names_what_is_pending(
    current: Placement | None, states: list[SyncState], words: str
) -> None:
    """One line for each thing that is not done, with what it waits for."""
    import re

    pending = page_of(current, *states)
    assert len(pending) == 1
    assert re.search(words, pending[0])


def live_of(manifest: dict[str, Any], state: SyncState, **placed: Any) -> str:
    """What the page says of how an object fares in one cluster."""
    current = Placement(generation=2, clusters=[ClusterPlacement(cluster=state.cluster, **placed)])
    page = compile_page(
        title="x",
        manifest=manifest,
        explanation=ExplainPlacementResponse(decision=current, current=current),
        states=[state],
        records=[],
    )
    return page.clusters[0].live


@pytest.mark.parametrize(
    ("health", "status", "words"),
    [
        (Health.HEALTHY, {"succeeded": 3, "conditions": [{"type": "Complete", "status": "True"}]},
         "complete, 3/3 succeeded"),
        (Health.DEGRADED, {"succeeded": 1, "conditions": [{"type": "Failed", "status": "True"}]},
         "failed, 1/3 succeeded"),
        (Health.PROGRESSING, {"ready": 1, "succeeded": 2}, "progressing, 1/2 ready, 2/3 succeeded"),
        (Health.PROGRESSING, {}, "progressing, 0/2 ready, 0/3 succeeded"),
    ],
)  # fmt: skip
def test_a_job_is_told_by_what_has_succeeded(
    health: Health.ValueType, status: dict[str, Any], words: str
) -> None:
    """One that has ended has nothing ready and is as it should be; of its completions this cluster has 3."""
    job = {"apiVersion": "batch/v1", "kind": "Job", "spec": {"completions": 9}}
    state = SyncState(
        cluster="eu-west",
        phase=SyncPhase.APPLIED,
        health=health,
        replicas=2,
        status=json.dumps(status).encode(),
    )
    assert live_of(job, state, replicas=2, completions=3) == words


@pytest.mark.parametrize(
    ("endpoints", "words"),
    [
        ([], "healthy, no ready endpoints"),
        ([1], "healthy, 1 ready endpoint"),
        ([1, 2], "healthy, 3 ready endpoints"),
    ],
)
def test_a_service_is_told_by_its_endpoints(endpoints: list[int], words: str) -> None:
    """Also where there are none: nothing answers there."""
    zones = [ZoneEndpoints(zone=str(ready), ready=ready) for ready in endpoints]
    state = SyncState(
        cluster="eu-west", phase=SyncPhase.APPLIED, health=Health.HEALTHY, ready_endpoints=zones
    )
    assert live_of(SERVICE, state) == words
    assert live_of({**SERVICE, "spec": {"type": "ExternalName"}}, state).partition(",")[0] == "healthy"


def test_a_repair_is_told_and_is_not_pending() -> None:
    """It is over: what waits is named without it. And once is not "1 times"."""
    state = applied("us-east", health=Health.PROGRESSING, ready=1, replicas=2, drift_repairs=1)
    assert live_of(WEB, state) == "progressing, 1/2 ready, drift repaired once"
    assert page_of(placement(), applied("eu-west"), state) == ("us-east: progressing, 1/2 ready",)
    state.MergeFrom(SyncState(phase=SyncPhase.FAILED, message="no quota", failures=1, drift_repairs=2))
    assert page_of(placement(), applied("eu-west"), state) == ("us-east: failed: no quota (tried once)",)
    assert live_of(WEB, state).endswith("drift repaired 2 times")


def test_a_suspended_cluster_is_pending_and_keeps_what_it_has() -> None:
    """Nothing is lost while a cluster cannot be reached."""
    lost = ClusterPlacement(cluster="us-east", replicas=2, suspended=True, reason="ClusterOffline")
    pending = page_of(placement(clusters=[lost]), applied("us-east", phase=SyncPhase.UNREACHABLE))
    assert pending == ("us-east: cannot be reached; it keeps what it has, its replicas count elsewhere",)


def test_deletion_says_whom_it_waits_for() -> None:
    """The members that have not confirmed."""
    metadata = {**WEB["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}  # type: ignore[dict-item]
    states = [applied("eu-west", phase=SyncPhase.REMOVED), applied("us-east", phase=SyncPhase.REMOVING)]
    pending = page_of(placement(), *states, metadata=metadata)
    assert pending[0] == "the object is being deleted; it waits for us-east"


def test_explain_goes_on_while_it_is_watched(world: World, hanse: Hanse) -> None:
    """Each change that makes another page shows it, and no other; the end of the streams ends it."""
    deployed(world)
    current = placement()
    world.explanation = ExplainPlacementResponse(decision=current, current=current)
    world.states = [applied("eu-west", ready=1, health=Health.PROGRESSING)]
    world.later_states = [applied("eu-west")]
    result = hanse("explain", "deploy/web", "-n", "shop", "-w")
    assert result.status == 0, result.err
    pages = result.out.split("deployment.apps/web in shop")[1:]
    assert ["1/4 ready" in page for page in pages] == [True, False]
    assert ["4/4 ready" in page for page in pages] == [False, True]
    assert world.last(WatchPlacementsRequest).parent == "placements/apps/deployments/shop"
    assert world.last(WatchSyncStatesRequest).parent == "syncStates/apps/deployments/shop/web"
    both = hanse("explain", "deploy/web", "deploy/web2", "-w")
    assert both.status == 2
    assert "name one" in both.err


def test_explain_merges_three_services_into_one_page(world: World, hanse: Hanse) -> None:
    """Decisions with reasons, what was applied, what lives there, the names, and the steps."""
    deployed(world)
    refusal = ClusterRefusal(cluster="on-prem", reason="SelectorDoesNotMatch", message="tier is not prod")
    current = placement(refused=[refusal])
    world.explanation = ExplainPlacementResponse(
        decision=current, current=current, steps=[ExplainStep(step="filter", message="3 clusters")]
    )
    world.states = [applied("eu-west"), applied("us-east", replicas=2, ready=1, health=Health.PROGRESSING)]
    world.records = [
        RecordSet(
            fqdn="web.shop.hanse.svc.example.org.",
            scope=AnswerScope.GLOBAL,
            endpoints=[Endpoint(address="127.9.0.1", cluster="eu-west")],
            left_out=[LeftOut(cluster="us-east", reason="no endpoint is ready")],
            service=ObjectReference(resource="services", namespace="shop", name="web"),
        )
    ]
    result = hanse("explain", "deploy/web", "-n", "shop", "--steps")
    assert result.status == 0, result.err
    for words in (
        "deployment.apps/web in shop",
        "AllReadyClusters: weight 1 of 2",
        "tier is not prod",
        "4/4 ready",
        "web.shop.hanse.svc.example.org",
        "127.9.0.1 (eu-west)",
        "left out: us-east: no endpoint is ready",
        "filter: 3 clusters",
        "us-east: progressing, 1/2 ready",
    ):
        assert words in result.out, words
    asked = world.last(ExplainPlacementRequest).object
    assert (asked.group, asked.resource, asked.namespace, asked.name) == (
        "apps",
        "deployments",
        "shop",
        "web",
    )
    chosen = 'service.namespace = "shop" AND service.name = "web"'
    assert world.last(dns.ListRecordSetsRequest).filter == chosen
    page = json.loads(hanse("explain", "deploy/web", "-n", "shop", "-o", "json").out)
    assert [row["cluster"] for row in page["clusters"]] == ["eu-west", "on-prem", "us-east"]


def test_explain_says_that_an_object_goes_to_no_cluster(world: World, hanse: Hanse) -> None:
    """In the scheduler's words, instead of waiting for a decision that never comes."""
    world.objects["objects/core/pods/shop/p"] = {"kind": "Pod", "metadata": {"name": "p"}}
    why = "objects of this kind are not propagated to clusters unless a placement policy selects them"
    world.explanation = ExplainPlacementResponse(steps=[ExplainStep(step="propagate", message=why)])
    result = hanse("explain", "pod/p", "-n", "shop")
    assert result.status == 0, result.err
    assert why in result.out
    assert not any(words in result.out for words in ("yet", "Pending", "pending"))
    world.explanation = None
    result = hanse("explain", "pod/p", "-n", "shop")
    assert result.status == 2
    assert "pod/p is of a kind that never goes to clusters" in result.err


# --- clusters, join, unjoin ---


def kubeconfig(tmp_path: Path) -> Path:
    """Two contexts; the files of one are next to it."""
    (tmp_path / "ca.crt").write_text("CA")
    (tmp_path / "token").write_text("secret-token\n")
    path = tmp_path / "kubeconfig"
    path.write_text(
        yaml.safe_dump(
            {
                "current-context": "prod",
                "contexts": [
                    {"name": "prod", "context": {"cluster": "c1", "user": "u1"}},
                    {"name": "cloud", "context": {"cluster": "c1", "user": "u2"}},
                    {"name": "broken", "context": {"cluster": "none", "user": "u1"}},
                ],
                "clusters": [
                    {"name": "c1", "cluster": {"server": "https://c1", "certificate-authority": "ca.crt"}},
                    {"name": "c2", "cluster": {"server": "https://other"}},
                ],
                "users": [
                    {"name": "u1", "user": {"tokenFile": "token"}},
                    {"name": "u2", "user": {"exec": {"command": "aws"}}},
                ],
            }
        )
    )
    return path


def test_join_sends_one_cluster_with_its_files_inline(world: World, hanse: Hanse, tmp_path: Path) -> None:
    """And nothing of the other clusters in the kubeconfig."""
    result = hanse("join", "eu", "--cluster-kubeconfig", str(kubeconfig(tmp_path)), "-l", "tier=prod")
    assert result.status == 0, result.err
    assert result.out == "cluster eu joined: region eu, zones a, Kubernetes v1.34.0\n"
    request = world.last(registry.JoinClusterRequest)
    sent = yaml.safe_load(request.kubeconfig)
    assert dict(request.labels) == {"tier": "prod"}
    assert sent["clusters"] == [
        {"name": "prod", "cluster": {"server": "https://c1", "certificate-authority-data": "Q0E="}}
    ]
    assert sent["users"] == [{"name": "prod", "user": {"token": "secret-token"}}]
    again = hanse("join", "eu", "--cluster-kubeconfig", str(kubeconfig(tmp_path)))
    assert (again.status, again.err) == (5, "hanse: cluster eu is a member already\n")


@pytest.mark.parametrize(
    ("context", "words"),
    [
        ("nonsense", "has no context 'nonsense'; it has prod, cloud, broken"),
        ("broken", "has no cluster 'none'"),
        ("cloud", "authenticates with exec"),
    ],
)
def test_a_kubeconfig_that_does_not_do_is_one_line(
    hanse: Hanse, tmp_path: Path, context: str, words: str
) -> None:
    """Before anything is sent."""
    result = hanse(
        "join", "eu", "--cluster-kubeconfig", str(kubeconfig(tmp_path)), "--cluster-context", context
    )
    assert result.status == 2
    assert words in result.err
    assert len(result.err.splitlines()) == 1


def test_join_has_a_credential_issued_and_says_what_is_to_be_said_of_it(
    world: World, hanse: Hanse, tmp_path: Path
) -> None:
    """An exec plugin is run here; a token that ends soon is sent only if that is asked for."""
    pytest.importorskip("kubernetes", reason="the official Kubernetes client is not installed")
    path = kubeconfig(tmp_path)
    config = yaml.safe_load(path.read_text())
    status: dict[str, Any] = {"token": "opaque"}
    plugin = tmp_path / "plugin"
    version = "client.authentication.k8s.io/v1"
    config["users"][1]["user"] = {"exec": {"apiVersion": version, "command": str(plugin)}}
    path.write_text(yaml.safe_dump(config))
    join = ("join", "--cluster-kubeconfig", str(path), "--cluster-context", "cloud")

    def gives(status: dict[str, Any]) -> None:
        answer = {"apiVersion": version, "kind": "ExecCredential", "status": status}
        plugin.write_text(f"#!/bin/sh\necho '{json.dumps(answer)}'\n")
        plugin.chmod(0o755)

    gives(status)
    lasting = hanse(*join, "eu")
    assert (lasting.status, "does not say when it ends" in lasting.err) == (0, True), lasting.err
    sent = yaml.safe_load(world.last(registry.JoinClusterRequest).kubeconfig)
    assert sent["users"] == [{"name": "cloud", "user": {"token": "opaque"}}]
    soon = datetime.now(UTC) + timedelta(hours=1)
    gives({"token": "brief", "expirationTimestamp": f"{soon:%Y-%m-%dT%H:%M:%SZ}"})
    refused = hanse(*join, "us")
    assert (refused.status, "--short-lived" in refused.err) == (2, True)
    brief = hanse(*join, "us", "--short-lived")
    assert (brief.status, "is out of reach after" in brief.err) == (0, True), brief.err
    assert b"brief" in world.last(registry.JoinClusterRequest).kubeconfig
    assert not world.last(registry.JoinClusterRequest).service_account
    once = hanse(*join, "asia", "--service-account")
    assert (once.status, once.err) == (0, ""), once.err
    assert world.last(registry.JoinClusterRequest).service_account


def test_unjoin_says_how_and_waits(world: World, hanse: Hanse) -> None:
    """The flags reach the registry."""
    world.clusters["clusters/eu"] = Cluster(name="clusters/eu", state=ClusterState.READY)
    result = hanse("unjoin", "eu", "--orphan", "--force")
    assert (result.status, result.out) == (0, "cluster eu has left\n")
    request = world.last(registry.UnjoinClusterRequest)
    assert (request.name, request.orphan_objects, request.force) == ("clusters/eu", True, True)


@pytest.mark.parametrize(
    ("flags", "until"),
    [([], "what Hanse put there is removed"), (["--orphan"], "Hanse's marks are taken off its objects")],
)
def test_unjoin_says_once_what_it_waits_for(world: World, hanse: Hanse, flags: list[str], until: str) -> None:
    """And what shows more, instead of nothing for minutes."""
    world.clusters["clusters/eu"] = Cluster(name="clusters/eu", state=ClusterState.READY)
    world.looks_until_left = 3
    result = hanse("unjoin", "eu", *flags)
    assert result.out.splitlines() == [
        f"cluster eu is leaving: it waits until {until}: {SEE}",
        "cluster eu has left",
    ]


def test_clusters_says_what_a_leaving_cluster_waits_for(world: World, hanse: Hanse) -> None:
    """With what is wrong with it, if that is why it takes so long."""
    world.clusters["clusters/eu"] = Cluster(name="clusters/eu", state=ClusterState.UNJOINING)
    why = f"waits until what Hanse put there is removed: {SEE}"
    assert hanse("clusters").out.rstrip().endswith(why)
    lost = Condition(type="Ready", status=ConditionStatus.UNKNOWN, message="it does not answer")
    world.clusters["clusters/eu"].conditions.append(lost)
    assert hanse("clusters").out.rstrip().endswith(f"{why}; it does not answer")
    holder = "configmaps shop/web in cluster eu: REMOVING, waits for pods"
    held = Condition(type="Unjoined", status=ConditionStatus.FALSE, message=holder)
    world.clusters["clusters/eu"].conditions.append(held)
    assert hanse("clusters").out.rstrip().endswith(f"{why}; held by {holder}; it does not answer")
    world.looks_until_left = 1000
    result = hanse("unjoin", "eu", "--wait-timeout", "0.1")
    assert f"still leaving, held by {holder}: see" in result.err


def test_clusters_says_that_something_there_is_wanted_by_nobody(world: World, hanse: Hanse) -> None:
    """Also of a cluster that is ready."""
    orphans = Condition(
        type="Orphans", status=ConditionStatus.TRUE, message="2 objects: see `hanse orphans eu`"
    )
    world.clusters["clusters/eu"] = Cluster(
        name="clusters/eu", state=ClusterState.READY, conditions=[orphans]
    )
    assert hanse("clusters").out.rstrip().endswith("2 objects: see `hanse orphans eu`")
    orphans.status = ConditionStatus.FALSE
    world.clusters["clusters/eu"].conditions[0].CopyFrom(orphans)
    assert "orphans" not in hanse("clusters").out


def test_clusters_is_a_table_of_what_matters(world: World, hanse: Hanse) -> None:
    """With all pages."""
    for name in ("a", "b", "c"):
        world.clusters[f"clusters/{name}"] = Cluster(
            name=f"clusters/{name}", state=ClusterState.OFFLINE, region="eu"
        )
    world.clusters["clusters/c"].unschedulable = True
    world.clusters["clusters/c"].taints.add(key="maintenance", effect=TaintEffect.NO_EXECUTE)
    lines = hanse("clusters").out.splitlines()
    assert lines[0].split()[:4] == ["NAME", "STATE", "TAINTS", "REGION"]
    rows = [line.split()[:2] for line in lines[1:]]
    assert rows == [["a", "OFFLINE"], ["b", "OFFLINE"], ["c", "OFFLINE,cordoned"]]
    assert "maintenance" in lines[3]


def test_names_are_a_table_and_say_where_to_ask(world: World, hanse: Hanse) -> None:
    """Also as `hanse dns`; a Service's own with its name."""
    world.records = [
        RecordSet(
            fqdn=f"{name}.shop.hanse.svc.example.org.",
            ttl=30,
            scope=AnswerScope.REGION,
            service=ObjectReference(namespace="shop", name=name),
        )
        for name in ("api", "web")
    ]
    result = hanse("names")
    assert result.out.splitlines()[1].split()[:3] == ["api.shop.hanse.svc.example.org", "30", "region"]
    assert "dig @127.0.0.1 -p 5353" in result.err
    assert hanse("dns").out == result.out
    assert len(hanse("names", "web", "-n", "shop").out.splitlines()) == 2
    assert len(hanse("names", "shop/web").out.splitlines()) == 2


def test_names_say_why_there_are_none(world: World, hanse: Hanse) -> None:
    """No such Service is an error; one that has none says what kind has."""
    missing = hanse("names", "nope", "-n", "shop")
    assert (missing.status, missing.out) == (4, "")
    assert missing.err == "hanse: objects/core/services/shop/nope does not exist\n"
    assert hanse("names", "a/b/c").status == 2
    deployed(world)
    assert hanse("names", "shop/web").err.startswith("service/web has no names yet")
    world.objects["objects/core/services/shop/web"] = {**SERVICE, "spec": {"ports": [{"port": 80}]}}
    inner = hanse("names", "shop/web")
    words = "service/web has no names: only a Service of type LoadBalancer has, and it is ClusterIP\n"
    assert (inner.status, inner.out, inner.err) == (0, "", words)
    assert hanse("names", "shop/web", "-o", "json").out == "[]\n"
    assert hanse("names").err.splitlines()[0] == "nothing found", "all of none is none"


def test_version_needs_no_federation(hanse: Hanse, world: World) -> None:
    """It tells its own, and the federation's if there is one."""
    assert hanse("version").out.splitlines()[1].startswith("federation: 0.1.0 (hanse")
    world.config = world.config.with_name("none")
    result = hanse("version")
    assert (result.status, result.out) == (0, "client: 0.1.0\n")


def test_version_tells_that_of_each_service_and_which_do_not_fit(
    hanse: Hanse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each tells its own; more than one minor version apart is said, and no reason to fail."""
    services = ("registry", "scheduler", "syncer", "dns", "apiserver")
    same = hanse("version")
    assert (same.status, same.err) == (0, "")
    assert same.out.splitlines()[2:] == [f"{name}: 0.1.0" for name in services]
    for release, warned in (("0.2.0", False), ("0.3.0", True)):
        monkeypatch.setattr("hanse.rpc.interceptor.__version__", release)
        other = hanse("version")
        assert (other.status, f"scheduler: {release}" in other.out) == (0, True)
        assert ("warning: client is of release 0.1.0" in other.err) is warned
    monkeypatch.setattr("hanse.rpc.interceptor.__version__", "")
    assert "dns: an earlier release, which does not tell" in hanse("version").out


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (["explain", ""], "say what: a resource such as deploy, or an object such as deploy/web"),
        (["get", "deploy", ""], "a resource or a name is empty: give one, or leave it out"),
        (["get", "deploy,,svc"], "a resource or a name is empty: give one, or leave it out"),
        (["get", "/web"], "'/web' must be RESOURCE/NAME, such as deploy/web"),
        (["--timeout", "soon", "clusters"], "'soon' is not a valid number of seconds"),
        (["unjoin", "eu", "--wait-timeout", "soon"], "'soon' is not a valid number of seconds"),
    ],
)
def test_wrong_usage_is_told_in_words_that_help(
    world: World, hanse: Hanse, call: list[str], words: str
) -> None:
    """They name what was given and what to give, and nothing of how it is made."""
    result = hanse(*call)
    assert result.status == 2
    assert words in result.err
    assert len(result.err.splitlines()) == 1


def test_the_version_is_an_option_too(hanse: Hanse) -> None:
    """As of most programs; it asks nobody."""
    assert hanse("--version").out == "hanse 0.1.0\n"


def test_the_list_of_commands_cuts_nothing_off(hanse: Hanse) -> None:
    """Each command and each service is described to the end of its sentence."""
    result = hanse("--help")
    assert "errors as over REST." in " ".join(result.out.split())
    assert "..." not in result.out.partition("Commands:")[2]


def test_kubefed_joins_the_context_of_the_name(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With v1's flags, which are accepted."""
    from hanse_cli.kubefed import kubefed
    from hanse_cli.main import run

    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path)))
    flags = ["--host-cluster-context=host", "--secret-name=s"]
    assert run(kubefed, ["--config", str(world.config), "join", "prod", *flags], program="kubefed") == 0
    assert yaml.safe_load(world.last(registry.JoinClusterRequest).kubeconfig)["current-context"] == "prod"
    assert run(kubefed, ["--config", str(world.config), "join", "other", *flags], program="kubefed") == 2
    assert run(kubefed, ["--config", str(world.config), "unjoin", "prod", *flags], program="kubefed") == 0
    assert world.clusters == {}


def test_what_no_release_knows_is_shown_as_far_as_it_can_be() -> None:
    """An enum's value of a newer release is its number, and a time that is none is left out."""
    never = Timestamp(seconds=10**17, nanos=-5)
    cluster = Cluster(name="clusters/eu", create_time=never)
    cluster.state = 99  # type: ignore[assignment]
    assert cluster_row(cluster)[:2] == ["eu", "99"]
    assert cluster_row(cluster)[8] == ""
    placement = Placement(name="placements/x", update_time=never, generation=3)
    placement.releasing.add(cluster="eu", release_time=never)
    document = to_document(placement)
    assert document["generation"] == "3"
    assert document["releasing"] == [{"cluster": "eu"}]
    assert "updateTime" not in document
    assert cell(cluster, cluster.DESCRIPTOR.fields_by_name["create_time"]) == ""
    assert scope_word(99) == "99"  # type: ignore[arg-type]


def test_what_others_wrote_steers_no_terminal_and_no_shell(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Escape sequences are shown as text; a name in a command that is to be copied is one word."""
    evil = "a\x1b[2J\x9b31m\u202e\nb"
    assert plain(evil) == "a\\x1b[2J\\x9b31m\\u202e b"
    Printer("table").table(("NAME",), [[evil]])
    exits.complain("hanse", exits.one_line(evil))
    print(cell(ObjectReference(name=evil), ObjectReference.DESCRIPTOR.fields_by_name["name"]))
    said = capsys.readouterr()
    assert (said.out + said.err).replace("\n", "").isprintable()
    page = plain_all(ExplainPage(evil, 1, "p", (), (evil,), (NameRow(evil, "", "", ""),), ()))
    assert page.object == page.steps[0] == page.names[0].name == plain(evil)
    orphan = Orphan(cluster="eu", member_uid="u;reboot")
    orphan.object.MergeFrom(ObjectReference(resource="configmaps", namespace="n", name=f"$(reboot){evil}"))
    words = shlex.split(_command("remove", orphan))
    assert words[:4] == ["hanse", "orphans", "remove", "eu"]
    assert words[4:] == [f"configmaps/$(reboot){plain(evil)}", "-n", "n", "--uid", "u;reboot"]
