"""The decisions of the syncer, without I/O: rendering, drift, plan, answers, health, limits."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hanse_syncer import ownership
from hanse_syncer.act.waiting import Waiting, api, namespace
from hanse_syncer.decide import kinds, plan
from hanse_syncer.decide.errors import SyncError
from hanse_syncer.decide.plan import Desired, Seen, SyncAction
from hanse_syncer.decide.render import Manifest, ManifestRenderer, render
from hanse_syncer.decide.verdicts import MemberVerdict, forbidden_verb, verdict_of
from hanse_syncer.federation.intent import Intent
from hanse_syncer.member import pods
from hanse_syncer.member.endpoints import ready_endpoints
from hanse_syncer.member.limiter import Limiter
from hanse_syncer.report import transitions
from hypothesis import given
from hypothesis import strategies as st

from hanse.api.registry.v1.cluster_pb2 import ApiResource
from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement, ClusterRelease, Placement
from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.api.syncer.v1.sync_state_pb2 import SyncState
from hanse.errors import InvalidArgumentError
from hanse.kube.client.answer import Answer
from hanse.kube.client.expect import AnObject
from hanse.store.keys import ObjectKey
from hanse.well_known import FEDERATION_LABEL, MANAGED_BY_LABEL

FED = "fed-1"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = ObjectKey("apps", "deployments", "shop", "web")


def place(**fields: Any) -> ClusterPlacement:
    """A placement in cluster a."""
    return ClusterPlacement(cluster="a", **fields)


def template(**metadata: Any) -> dict[str, Any]:
    """A Deployment as the apiserver stores it."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "web",
            "namespace": "shop",
            "uid": "federation-uid",
            "resourceVersion": "7",
            "generation": 3,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "finalizers": ["hanse.dev/sync"],
            "managedFields": [{}],
            "ownerReferences": [{"uid": "x"}],
            "labels": {"app": "web"},
            "annotations": {
                "note": "kept",
                "hanse.dev/traceparent": "00-1",
                "kubectl.kubernetes.io/last-applied-configuration": "{}",
                "federation.kubernetes.io/deployment-preferences": "{}",
            },
            **metadata,
        },
        "spec": {"replicas": 9, "template": {"metadata": {"labels": {"app": "web"}}}},
        "status": {"replicas": 9},
    }


# --- render


def test_server_side_fields_are_left_out() -> None:
    """A member gets name, namespace, labels, annotations and spec; marks only on the object itself."""
    manifest = render(template(), placement=place(), federation_id=FED).object
    assert manifest["metadata"] == {
        "name": "web",
        "namespace": "shop",
        "labels": {"app": "web", **ownership.labels(FED)},
        "annotations": {"note": "kept"},
    }
    assert "status" not in manifest
    assert manifest["spec"]["template"]["metadata"]["labels"] == {"app": "web"}


def test_replicas_of_the_placement_win() -> None:
    """The scheduler's replicas replace the template's; a Job gets parallelism and completions."""
    assert render(template(), placement=place(replicas=4), federation_id=FED).object["spec"]["replicas"] == 4
    assert render(template(), placement=place(replicas=0), federation_id=FED).object["spec"]["replicas"] == 0
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {"parallelism": 1}}
    spec = render(job, placement=place(replicas=2, completions=6), federation_id=FED).object["spec"]
    assert spec == {"parallelism": 2, "completions": 6}


@pytest.mark.parametrize(
    ("obj", "spec"),
    [
        (
            {"kind": "Service", "spec": {"clusterIP": "10.0.0.1", "ports": []}},
            {"clusterIP": "10.0.0.1", "ports": []},
        ),
        ({"kind": "PersistentVolumeClaim", "spec": {"volumeName": "pv"}}, {"volumeName": "pv"}),
        ({"kind": "Namespace", "spec": {"finalizers": ["kubernetes"]}}, None),
        (
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "spec": {
                    "selector": {"matchLabels": {"controller-uid": "1"}},
                    "template": {"metadata": {"labels": {"controller-uid": "1", "app": "j"}}},
                },
            },
            {"template": {"metadata": {"labels": {"app": "j"}}}},
        ),
    ],
)
def test_what_members_decide_is_left_to_them(obj: dict[str, Any], spec: Any) -> None:
    """Generated selectors are not passed on; addresses and volumes that the author wrote are."""
    given = {"apiVersion": "v1", "metadata": {"name": "x"}, **obj}
    before = copy.deepcopy(given)
    assert render(given, placement=place(), federation_id=FED).object.get("spec") == spec
    assert given == before, "the template was changed"


@pytest.mark.parametrize(
    ("name", "value"),
    [("resourceVersion", ""), ("resourceVersion", None), ("uid", ""), ("uid", "u"), ("finalizers", ["x/y"]),
     ("ownerReferences", []), ("managedFields", []), ("generateName", "x"), ("deletionTimestamp", "x"),
     ("labels", []), ("annotations", "x")],
)  # fmt: skip
@pytest.mark.parametrize("whole", [False, True])
def test_overrides_change_no_metadata_but_labels_and_annotations(name: str, value: Any, whole: bool) -> None:
    """Of the rest some are preconditions, and would have somebody else's object written over."""
    plain = template()["metadata"]
    op = {"op": "add", "path": f"/metadata/{name}", "value": value}
    if whole:
        kept = {key: plain[key] for key in ("name", "namespace")}
        op = {"op": "replace", "path": "/metadata", "value": {**kept, name: value}}
    with pytest.raises(InvalidArgumentError, match="overrides"):
        render(template(), placement=place(overrides=orjson.dumps([op])), federation_id=FED)


def test_overrides_are_applied_before_the_marks() -> None:
    """An override changes the cluster's manifest, but can neither take our marks off nor change identity."""
    ops = [
        {"op": "replace", "path": "/spec/replicas", "value": 1},
        {"op": "replace", "path": "/metadata/labels", "value": {"x": "y"}},
    ]
    obj = render(template(), placement=place(overrides=orjson.dumps(ops)), federation_id=FED).object
    assert obj["spec"]["replicas"] == 1
    assert obj["metadata"]["labels"] == {"x": "y", **ownership.labels(FED)}
    for path in ("/metadata/name", "/kind", "/metadata/namespace", "/apiVersion"):
        rename = orjson.dumps([{"op": "replace", "path": path, "value": "other"}])
        with pytest.raises(InvalidArgumentError, match="another object"):
            render(template(), placement=place(overrides=rename), federation_id=FED)
    with pytest.raises(InvalidArgumentError, match="cannot be applied"):
        render(template(), placement=place(overrides=b"not json"), federation_id=FED)


def test_body_carries_preconditions() -> None:
    """The encoded body is the manifest, with uid or resourceVersion in its metadata where asked for."""
    manifest = render(template(), placement=place(), federation_id=FED)
    assert orjson.loads(manifest.body()) == manifest.object
    with_uid = orjson.loads(manifest.body(uid="u"))
    assert with_uid["metadata"].pop("uid") == "u"
    assert with_uid == manifest.object
    assert orjson.loads(manifest.body(resource_version="1"))["metadata"]["resourceVersion"] == "1"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abcname", max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(spec=st.dictionaries(st.text("abc", min_size=1, max_size=3), JSON, max_size=4))
def test_hash_depends_on_content_only(spec: dict[str, Any]) -> None:
    """Equal manifests have equal hashes whatever the order of their keys, others do not."""
    obj = {"apiVersion": "x.io/v1", "kind": "X", "metadata": {"name": "x"}, "spec": spec}
    reverse = dict(reversed(obj.items()))
    reverse["spec"] = dict(reversed(spec.items()))
    first = render(obj, placement=place(), federation_id=FED)
    assert first.hash == render(reverse, placement=place(), federation_id=FED).hash
    other = {**obj, "spec": {**spec, "extra": 1}}
    assert first.hash != render(other, placement=place(), federation_id=FED).hash


def test_renderer_shares_what_is_the_same() -> None:
    """Clusters with the same input share one manifest; another revision or replica count is rendered
    again.
    """
    renderer = ManifestRenderer(FED)
    encoded = orjson.dumps(template())

    def make(revision: int, entry: ClusterPlacement) -> Manifest:
        return renderer.render(encoded, key="k", revision=revision, placement=entry)

    assert make(1, place()) is make(1, ClusterPlacement(cluster="b"))
    assert make(1, place()) is not make(2, place())
    assert make(1, place(replicas=1)) is not make(1, place(replicas=2))


def test_the_partition_of_the_cluster_replaces_that_of_the_template() -> None:
    """A divided StatefulSet gets its part of the partition; the rest of its strategy is passed on."""
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2, "maxUnavailable": 1}}
    canary = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "canary", "namespace": "st"},
        "spec": {"replicas": 4, "updateStrategy": strategy},
    }
    manifest = render(canary, placement=place(replicas=2, partition=1), federation_id=FED)
    assert manifest.object["spec"] == {
        "replicas": 2,
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1, "maxUnavailable": 1}},
    }
    whole = render(canary, placement=place(), federation_id=FED)
    assert whole.object["spec"]["updateStrategy"] == strategy
    make = ManifestRenderer(FED)
    hashes = {
        make.render(orjson.dumps(canary), key="x", revision=1, placement=place(partition=each)).hash
        for each in (0, 1, 2)
    }
    assert len(hashes) == 3


# --- plan


def intent(*, deleting: bool = False, orphan: bool = False) -> Intent:
    """An intent."""
    return Intent(
        encoded=b"{}",
        revision=1,
        uid="u",
        generation=1,
        deleting=deleting,
        orphan=orphan,
        api_version="v1",
        kind="ConfigMap",
        traceparent="",
    )


def placement(*, desired: bool = False, releasing: bool = False, suspended: bool = False) -> Placement:
    """A placement that says this of cluster a."""
    return Placement(
        clusters=[place(suspended=suspended)] if desired else [],
        releasing=[ClusterRelease(cluster="a")] if releasing else [],
    )


@pytest.mark.parametrize(
    ("found", "placed", "expected"),
    [
        (intent(), placement(desired=True), Desired.PRESENT),
        (intent(), placement(desired=True, suspended=True), Desired.UNTOUCHED),
        (intent(), placement(releasing=True), Desired.ABSENT),
        (intent(), placement(), Desired.UNKNOWN),
        (intent(), None, Desired.UNKNOWN),
        (None, placement(desired=True), Desired.UNKNOWN),
        (None, placement(releasing=True), Desired.UNKNOWN),
        (None, None, Desired.UNKNOWN),
        (intent(deleting=True), placement(desired=True), Desired.ABSENT),
        (intent(deleting=True), placement(releasing=True), Desired.ABSENT),
        (intent(deleting=True), placement(), Desired.UNKNOWN),
        (intent(deleting=True, orphan=True), placement(desired=True), Desired.RELEASED),
    ],
)
def test_wish(found: Intent | None, placed: Placement | None, expected: Desired) -> None:
    """Only a deleted intent or a releasing placement wishes an object away."""
    assert plan.desired_in(found, placed, "a")[0] is expected


def test_leaving_cluster_that_keeps_its_objects() -> None:
    """A cluster that leaves and was asked to keep its objects has them released, not deleted."""
    assert (
        plan.desired_in(intent(), placement(releasing=True), "a", orphan_cluster=True)[0] is Desired.RELEASED
    )


@pytest.mark.parametrize(
    ("state_uid", "acted_on", "after", "outdated"),
    [("u", 9, 5, False), ("u", 5, 5, True), ("older", 9, 5, True), ("", 9, 5, False), ("u", 0, 5, True)],
)
def test_a_confirmation_of_an_earlier_release_is_looked_at_again(
    state_uid: str, acted_on: int, after: int, outdated: bool
) -> None:
    """REMOVED of another object, or from before this release, is searched for once more; else it stands."""
    state = SyncState(phase=sync.REMOVED, placement_revision=acted_on)
    state.object.uid = state_uid
    placed = Placement(releasing=[ClusterRelease(cluster="a", after_revision=after)])
    found = plan.is_outdated(state, intent=intent(), placement=placed, cluster="a")
    assert found is outdated
    placed = Placement(clusters=[ClusterPlacement(cluster="a", after_revision=after)])
    assert plan.is_outdated(state, intent=intent(), placement=placed, cluster="a") is outdated
    step = plan.next_action(
        Desired.ABSENT, state=state, rendered_hash="", seen=None, listed=True, outdated=found
    )
    assert step is (SyncAction.SEARCH if outdated else SyncAction.NOTHING)


STATES = st.none() | st.builds(
    lambda phase, uid, version, digest, deleting: SyncState(
        phase=phase, member_uid=uid, member_resource_version=version, applied_hash=digest, delete_uid=deleting
    ),
    st.sampled_from([1, 2, 3, 4, 5, 6, 7]),
    st.sampled_from(["", "u1", "u2"]),
    st.sampled_from(["1", "2"]),
    st.sampled_from(["h1", "h2"]),
    st.sampled_from(["", "", "u1"]),
)
SEEN = st.none() | st.builds(Seen, st.sampled_from(["u1", "u2"]), st.sampled_from(["1", "2"]), st.booleans())
REMOVING = {SyncAction.REMOVE, SyncAction.SEARCH}


@given(state=STATES, seen=SEEN, listed=st.booleans(), force=st.booleans(), wanted=st.sampled_from(Desired))
def test_nothing_is_removed_unasked(
    state: SyncState | None, seen: Seen | None, listed: bool, force: bool, wanted: Desired
) -> None:
    """Whatever is known, stored or listed, removal happens only when the wish is for it."""
    step = plan.next_action(wanted, state=state, rendered_hash="h1", seen=seen, listed=listed, force=force)
    assert (step in REMOVING) <= (wanted in (Desired.ABSENT, Desired.RELEASED))
    if wanted is Desired.UNTOUCHED:
        assert step is SyncAction.NOTHING
    if wanted is Desired.UNKNOWN:
        assert step in (SyncAction.NOTHING, SyncAction.FORGET, SyncAction.REPORT)
    if step is SyncAction.REMOVE:
        assert state is not None
        assert seen is not None
        assert state.member_uid == seen.uid


@given(state=STATES, seen=SEEN, listed=st.booleans())
def test_writes_only_where_something_differs(
    state: SyncState | None, seen: Seen | None, listed: bool
) -> None:
    """An object that is applied with the same hash is never written without having been looked at."""
    step = plan.next_action(Desired.PRESENT, state=state, rendered_hash="h1", seen=seen, listed=listed)
    if state is not None and state.delete_uid:
        assert step is SyncAction.KEEP
    elif (
        state is not None and state.phase == sync.APPLIED and state.member_uid and state.applied_hash == "h1"
    ):
        assert step in (SyncAction.NOTHING, SyncAction.CHECK, SyncAction.COMPARE)
        if seen is None and not listed:
            assert step is SyncAction.NOTHING
        if seen is not None and (seen.uid, seen.resource_version) == (
            state.member_uid,
            state.member_resource_version,
        ):
            assert step is SyncAction.NOTHING
    if step is SyncAction.CREATE:
        assert seen is None


def test_version_that_the_member_serves_is_chosen() -> None:
    """The author's version is used if it is served or nothing is known, else the member's preferred one."""
    served = [
        ApiResource(group="x.io", version="v1beta1", resource="things"),
        ApiResource(group="x.io", version="v1", resource="things", preferred=True),
    ]
    assert plan.choose_version(served, "x.io/v1beta1") == "x.io/v1beta1"
    assert plan.choose_version(served, "x.io/v1alpha1") == "x.io/v1"
    assert plan.choose_version([], "x.io/v1alpha1") == "x.io/v1alpha1"


# --- answers


def answer(status: int, document: Any = None, **headers: str) -> Answer:
    """An answer of an API server; without a document, of something that is none."""
    said = {key.replace("_", "-"): value for key, value in headers.items()}
    return Answer(status, said, orjson.dumps(document) if document is not None else b"<html>", document or {})


def not_found(kind: str, name: str) -> dict[str, Any]:
    """A NotFound Status."""
    return {"kind": "Status", "reason": "NotFound", "details": {"kind": kind, "name": name}}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (answer(200, {}), MemberVerdict.DONE),
        (answer(404, not_found("configmaps", "web")), MemberVerdict.ABSENT),
        (answer(404, not_found("namespaces", "shop")), MemberVerdict.NO_NAMESPACE),
        (answer(404, {"kind": "Status", "reason": "NotFound", "details": {}}), MemberVerdict.NO_API),
        (answer(404, not_found("secrets", "web")), MemberVerdict.NO_API),
        (answer(404, not_found("configmaps", "other")), MemberVerdict.NO_API),
        (answer(404, {"kind": "Status", "reason": "Gone", "details": {"name": "web"}}), MemberVerdict.NO_API),
        (answer(404, {"kind": "Status", "reason": "NotFound", "details": ["web"]}), MemberVerdict.NO_API),
        (answer(404), MemberVerdict.NO_API),
        (answer(409, {"kind": "Status"}), MemberVerdict.CHANGED),
        (answer(422, {"details": {"causes": [{"field": "metadata.uid"}]}}), MemberVerdict.CHANGED),
        (answer(422, {"details": {"causes": [{"field": "spec.x"}]}}), MemberVerdict.REFUSED),
        (
            answer(403, {"details": {"causes": [{"reason": "NamespaceTerminating"}]}}),
            MemberVerdict.NAMESPACE_TERMINATING,
        ),
        (answer(403, {"kind": "Status"}), MemberVerdict.REFUSED),
        (
            answer(403, {"kind": "Status", "details": {"causes": "NamespaceTerminating"}}),
            MemberVerdict.REFUSED,
        ),
        (answer(403), MemberVerdict.BROKEN),
        (answer(401), MemberVerdict.BROKEN),
        (answer(429), MemberVerdict.THROTTLED),
        (answer(500, {"kind": "Status"}), MemberVerdict.BROKEN),
        (answer(503), MemberVerdict.BROKEN),
    ],
)
def test_verdicts(said: Answer, expected: MemberVerdict) -> None:
    """Only an API server that names the object says that it is gone."""
    asked = AnObject("v1", "ConfigMap", namespace="shop", name="web", resource="configmaps")
    assert verdict_of(said, asked) is expected


@pytest.mark.parametrize(
    ("status", "said", "verb"),
    [
        (403, 'secrets "s" is forbidden: User "u" cannot patch resource "secrets" in API group ""', "patch"),
        (403, 'secrets is forbidden: User "u" cannot list resource "secrets"', "list"),
        (403, 'admission webhook denied: cannot c2VjcmV0 resource "x"', ""),
        (403, "exceeded quota: pods", ""),
        (422, 'User "u" cannot patch resource "secrets"', ""),
    ],
)
def test_of_a_sealed_object_only_the_verb_that_is_forbidden_is_told(
    status: int, said: str, verb: str
) -> None:
    """One of Kubernetes' own; nothing else of the cluster's words, which may have values."""
    refusal = answer(status, {"kind": "Status", "reason": "Forbidden", "message": said})
    assert forbidden_verb(refusal) == verb
    condition = SyncError.of(MemberVerdict.REFUSED, refusal).condition
    assert condition.message == said
    told = condition.unquoted().message
    assert told.startswith(f"Forbidden: the credential may not {verb} it there; " if verb else "Forbidden; ")
    assert "c2VjcmV0" not in told


def test_retry_after_in_both_forms() -> None:
    """Retry-After is seconds or a date, and never more than half a minute; anything else says nothing."""
    assert answer(429, {}, retry_after="7").retry_after() == 7
    assert answer(429, {}, retry_after="86400").retry_after() == 30.0
    date = answer(429, {}, retry_after="Thu, 01 Jan 1970 00:01:40 GMT")
    assert date.retry_after(now=90.0) == 10.0
    assert date.retry_after(now=0.0) == 30.0
    assert answer(429, {}, retry_after="soon").retry_after() is None
    assert answer(429, {}).retry_after() is None


# --- limiter


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 3)), max_size=60))
def test_limit_stays_in_bounds(events: list[tuple[bool, float]]) -> None:
    """The limit is between 1 and the maximum, whatever happens."""
    limiter, now = Limiter(initial=8, maximum=16), 0.0
    for good, seconds in events:
        now += seconds
        if good:
            limiter.answered(seconds)
        else:
            limiter.overloaded(now)
        assert 1 <= limiter.limit <= 16


def test_limit_halves_once_per_burst_and_recovers() -> None:
    """A burst of refusals halves once, quick answers raise it again, Retry-After pauses everything."""
    limiter = Limiter(initial=16, maximum=32)
    for _ in range(10):
        limiter.overloaded(100.0)
    assert limiter.limit == 8
    limiter.overloaded(101.0, retry_after=5)
    assert limiter.limit == 4
    assert limiter.pause_left(102.0) == 4.0
    for _ in range(1000):
        limiter.answered(0.01)
    assert limiter.limit == 32


# --- report


def subject() -> transitions.Subject:
    """A subject."""
    return transitions.Subject(key=KEY, cluster="a", uid="u", generation=3, placement_revision=9)


def test_states_do_not_churn() -> None:
    """Confirming what is known gives an equal state; only a change of phase moves its time."""
    manifest = render(template(), placement=place(), federation_id=FED)
    live = {"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"uid": "m", "resourceVersion": "5"}}
    first = transitions.applied(subject(), None, manifest=manifest, live=live, now=NOW)
    assert first.name == "syncStates/apps/deployments/shop/web/a"
    assert (first.phase, first.member_uid, first.applied_hash) == (sync.APPLIED, "m", manifest.hash)
    later = datetime(2026, 1, 2, tzinfo=UTC)
    assert transitions.confirmed(subject(), first, manifest=manifest, live=live, now=later) == first
    failed = transitions.failed(
        subject(), first, phase=sync.FAILED, reason="Bad", message="no", now=later, failures=1
    )
    assert failed.transition_time.ToDatetime(UTC) == later
    assert failed.applied_hash == manifest.hash
    gone = transitions.removed(subject(), first, reason="Removed", message="", now=later)
    assert (gone.phase, gone.member_uid, gone.applied_hash) == (sync.REMOVED, "", "")
    assert first.phase == sync.APPLIED, "the state that was given was changed"


# --- health, endpoints, pods, namespaces, waiting


def workload(kind: str, spec: dict[str, Any], status: dict[str, Any]) -> dict[str, Any]:
    """A live workload of generation 2."""
    group = {"Job": "batch/v1"}.get(kind, "apps/v1")
    return {
        "apiVersion": group,
        "kind": kind,
        "metadata": {"generation": 2},
        "spec": spec,
        "status": status,
    }


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (workload("Deployment", {"replicas": 1}, {"observedGeneration": 1}), sync.PROGRESSING),
        (
            workload(
                "Deployment",
                {"replicas": 1},
                {"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1},
            ),
            sync.HEALTHY,
        ),
        (workload("Deployment", {"replicas": 0}, {"observedGeneration": 2}), sync.HEALTHY),
        (
            workload(
                "Deployment",
                {"replicas": 1},
                {
                    "observedGeneration": 2,
                    "conditions": [{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}],
                },
            ),
            sync.DEGRADED,
        ),
        (
            workload("StatefulSet", {"replicas": 2}, {"observedGeneration": 2, "readyReplicas": 2}),
            sync.HEALTHY,
        ),
        (
            workload("DaemonSet", {}, {"observedGeneration": 2, "desiredNumberScheduled": 1}),
            sync.PROGRESSING,
        ),
        (workload("Job", {}, {"conditions": [{"type": "Failed", "status": "True"}]}), sync.DEGRADED),
        (workload("Job", {}, {"active": 1}), sync.PROGRESSING),
        ({"apiVersion": "v1", "kind": "Service", "spec": {"type": "LoadBalancer"}}, sync.PROGRESSING),
        ({"apiVersion": "v1", "kind": "Service", "spec": {"type": "ClusterIP"}}, sync.HEALTHY),
        ({"apiVersion": "v1", "kind": "ConfigMap", "data": {}}, sync.HEALTHY),
        (
            {
                "apiVersion": "x.io/v1",
                "kind": "X",
                "status": {"conditions": [{"type": "Ready", "status": "False"}]},
            },
            sync.DEGRADED,
        ),
    ],
)
def test_health(obj: dict[str, Any], expected: int) -> None:
    """Each kind is healthy by its own rules; others by their Ready condition."""
    assert kinds.health_of(obj) == expected


def test_endpoints_are_counted_once_by_zone() -> None:
    """Ready endpoints count once per pod and zone, though a dual-stack Service lists them twice."""
    target = {"uid": "pod-1"}
    slices: list[dict[str, Any]] = [
        {"endpoints": [{"addresses": ["10.0.0.1"], "zone": "z1", "targetRef": target, "conditions": {}}]},
        {"endpoints": [{"addresses": ["fd00::1"], "zone": "z1", "targetRef": target}]},
        {"endpoints": [{"addresses": ["10.0.0.2"], "conditions": {"ready": False}}]},
        {"endpoints": [{"addresses": ["10.0.0.3"]}]},
    ]
    assert [(zone.zone, zone.ready) for zone in ready_endpoints(slices)] == [("", 1), ("z1", 1)]


REPLICA_FAILURE = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate"}


def test_unschedulable_pods_are_counted() -> None:
    """Only pods that the scheduler has given up on count, and none that is being deleted."""
    stuck = {
        "status": {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]}
    }
    leaving = {**stuck, "metadata": {"deletionTimestamp": "now"}}
    assert pods.unschedulable([stuck, leaving, {"status": {"conditions": []}}]) == 1


@pytest.mark.parametrize(
    ("status", "refused"),
    [
        ({"observedGeneration": 2, "replicas": 1, "conditions": [REPLICA_FAILURE]}, 3),
        ({"observedGeneration": 2, "replicas": 4, "conditions": [REPLICA_FAILURE]}, 0),
        ({"observedGeneration": 1, "replicas": 1, "conditions": [REPLICA_FAILURE]}, 0),
        ({"observedGeneration": 2, "replicas": 1}, 0),
        ({"observedGeneration": 2, "conditions": [{**REPLICA_FAILURE, "status": "False"}]}, 0),
        ({"observedGeneration": 2, "replicas": "x", "conditions": [REPLICA_FAILURE, 7]}, 4),
    ],
)
def test_refused_pods_are_counted(status: dict[str, Any], refused: int) -> None:
    """What a quota does not let come into being, by the workload's condition in the wanted generation."""
    for version, kind in (
        ("apps/v1", "Deployment"),
        ("apps/v1", "ReplicaSet"),
        ("v1", "ReplicationController"),
    ):
        live = {
            "apiVersion": version,
            "kind": kind,
            "metadata": {"generation": 2},
            "spec": {"replicas": 4},
            "status": status,
        }
        assert kinds.refused_pods(live) == refused
    assert kinds.refused_pods({"apiVersion": "apps/v1", "kind": "StatefulSet", "status": status}) == 0


def test_waiting_wakes_each_once() -> None:
    """Who waits is given once, for the last thing that it waited for."""
    waiting = Waiting()
    waiting.add("x", "1")
    waiting.add("y", "1")
    waiting.add("x", "2")
    assert waiting.take("x") == {"2"}
    assert waiting.take("x") == set()
    assert waiting.take("y") == {"1"}


def test_what_is_served_wakes_who_waits_for_it() -> None:
    """A catalogue wakes those that wait for one of its resources, once; nobody who waits for a namespace."""
    waiting = Waiting()
    waiting.add(api("", "widgets"), "core")
    waiting.add(api("shop.dev", "widgets"), "group")
    waiting.add(api("shop.dev", "gadgets"), "other")
    waiting.add(namespace("widgets"), "inside")
    assert waiting.take_served([("", "widgets"), ("shop.dev", "widgets"), ("apps", "deployments")]) == [
        "core",
        "group",
    ]
    assert waiting.take_served([("", "widgets"), ("shop.dev", "widgets")]) == []
    assert waiting.take(namespace("widgets")) == {"inside"}
    assert waiting.take_served([("shop.dev", "gadgets")]) == ["other"]


def test_a_stateful_set_has_the_ordinals_of_its_cluster() -> None:
    """From the template's start on; where nothing is to be different the template is passed on as it is."""
    template = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "db"},
        "spec": {"replicas": 2, "ordinals": {"start": 5}},
    }

    def rendered(**placement: Any) -> Any:
        return render(template, placement=place(**placement), federation_id=FED).object["spec"]

    assert rendered(ordinal_offset=100)["ordinals"] == {"start": 105}
    assert rendered(ordinal_offset=0) == rendered() == template["spec"]


def test_a_member_gets_a_time_to_live_from_an_override_alone() -> None:
    """A Job that goes by itself may go unseen: the federation acts on it. What is left behind gets it."""
    template = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "j"},
        "spec": {"parallelism": 1, "ttlSecondsAfterFinished": 5},
    }
    assert render(template, placement=place(), federation_id=FED).object["spec"] == {"parallelism": 1}
    path = "/spec/ttlSecondsAfterFinished"
    changes = orjson.dumps([{"op": "add", "path": path, "value": 60}])
    told = render(template, placement=place(overrides=changes), federation_id=FED).object["spec"]
    assert told["ttlSecondsAfterFinished"] == 60
    assert kinds.withheld_of(template) == {"spec": {"ttlSecondsAfterFinished": 5}}
    assert kinds.withheld_of({**template, "kind": "CronJob"}) == {}
    assert kinds.withheld_of({**template, "spec": {}}) == {}


def test_release_patch_gives_the_authors_label_back() -> None:
    """Our marks go; a managed-by label that the author wrote comes back."""
    own = {"metadata": {"labels": {MANAGED_BY_LABEL: "Helm"}}}
    assert ownership.release_patch(uid="u", intent=own)["metadata"] == {
        "uid": "u",
        "labels": {FEDERATION_LABEL: None, MANAGED_BY_LABEL: "Helm"},
    }
    labels = ownership.release_patch(uid="u", intent=None)["metadata"]["labels"]
    assert labels[MANAGED_BY_LABEL] is None


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
def test_older_pods_are_healthy_where_they_are_replaced_on_delete(kind: str) -> None:
    """With OnDelete there is no rollout that could be on its way."""
    status = {
        "replicas": 2,
        "readyReplicas": 2,
        "updatedReplicas": 0,
        "desiredNumberScheduled": 2,
        "numberAvailable": 2,
        "updatedNumberScheduled": 0,
    }

    def health(strategy: str) -> Any:
        spec = {"replicas": 2, "updateStrategy": {"type": strategy}}
        return kinds.health_of(
            {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "x"}, "spec": spec, "status": status}
        )

    assert (health("OnDelete"), health("RollingUpdate")) == (sync.HEALTHY, sync.PROGRESSING)
