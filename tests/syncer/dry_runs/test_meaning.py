"""Who is asked whether a member would take an object, and what its answer means: the pure rules."""

from __future__ import annotations

from typing import Any

import pytest
from hanse_syncer.decide.verdicts import verdict_of
from hanse_syncer.dry_runs import choice, meaning
from hypothesis import given
from hypothesis import strategies as st

from hanse.api.registry.v1 import cluster_pb2 as registry
from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement
from hanse.api.syncer.v1 import syncer_service_pb2 as pb
from hanse.kube.client.answer import Answer
from hanse.kube.client.requests import GroupVersionResource
from tests.support.federation.records import cluster_record

WEB = GroupVersionResource("apps/v1", "deployments", "Deployment").object("shop", "web")


def answer(code: int, message: str, *, reason: str = "", **details: Any) -> Answer:
    """A refusal in the form of a Status."""
    status = {"kind": "Status", "code": code, "message": message, "reason": reason, "details": details}
    return Answer(code, {}, b"", status)


def said(found: Answer) -> pb.ClusterDryRun:
    """What the cluster is taken to say."""
    return meaning.told("eu", verdict_of(found, WEB), found)


HOOK = 'admission webhook "policy.example.org" denied the request: no team'
POLICY = (
    'deployments.apps "web" is forbidden: '
    "ValidatingAdmissionPolicy 'few' with binding 'few' denied request: 9"
)


@pytest.mark.parametrize(
    "refusal",
    [
        answer(422, 'Deployment.apps "web" is invalid: spec.replicas: Invalid value: -1', reason="Invalid"),
        answer(422, 'spec.volumes[0].name: Not found: "data"', reason="Invalid"),
        answer(422, POLICY, reason="Invalid"),
        answer(403, POLICY, reason="Forbidden"),
        answer(403, HOOK, reason="Forbidden"),
        answer(400, HOOK, reason="BadRequest"),
        answer(404, HOOK, reason="NotFound"),
        answer(409, HOOK, reason="Conflict"),
        answer(400, 'admission webhook "a.b" denied the request without explanation'),
        answer(403, HOOK + ": service account not found", reason="Forbidden"),
        answer(403, 'pods "web" is forbidden: exceeded quota: small, requested: pods=1', reason="Forbidden"),
        answer(403, 'pods "web" is forbidden: violates PodSecurity "restricted:latest"', reason="Forbidden"),
        answer(413, "Request entity too large: limit is 3145728", reason="RequestEntityTooLarge"),
    ],
    ids=lambda found: f"{found.status} {found.message[:40]}",
)
def test_what_is_wrong_with_the_object_is_a_refusal(refusal: Answer) -> None:
    """In the words and with the status of the member."""
    found = said(refusal)
    assert (found.outcome, found.code, found.message) == (pb.REFUSED, refusal.status, refusal.message)


@pytest.mark.parametrize(
    "other",
    [
        answer(401, "Unauthorized", reason="Unauthorized"),
        answer(403, 'deployments.apps is forbidden: User "hanse" cannot patch resource "deployments"'),
        answer(403, "unable to create new content", causes=[{"reason": "NamespaceTerminating"}]),
        answer(403, 'pods "web" is forbidden: error looking up service account shop/a: "a" not found'),
        answer(403, 'pods "web" is forbidden: no PriorityClass with name high was found'),
        answer(403, 'pods "web" is forbidden: status unknown for quota: q, resources: pods'),
        answer(404, 'namespaces "shop" not found', reason="NotFound", name="shop", kind="namespaces"),
        answer(404, "the server could not find the requested resource", reason="NotFound"),
        answer(404, 'deployments.apps "web" not found', reason="NotFound", name="web", kind="deployments"),
        answer(409, "Operation cannot be fulfilled", reason="Conflict"),
        answer(422, "uid", reason="Invalid", causes=[{"field": "metadata.uid"}]),
        answer(400, 'admission webhook "a.b" does not support dry run', reason="BadRequest"),
        answer(405, "the server does not allow this method", reason="MethodNotAllowed"),
        answer(415, "the body of the request was in an unknown format", reason="UnsupportedMediaType"),
        answer(429, "too many requests", reason="TooManyRequests"),
        answer(500, 'failed calling webhook "a.b": context deadline exceeded', reason="InternalError"),
        answer(503, "the server is currently unable", reason="ServiceUnavailable"),
        answer(504, "Timeout", reason="Timeout"),
        Answer(403, {}, b"<html>login</html>", {}),
        Answer(502, {}, b"bad gateway", {}),
    ],
    ids=lambda found: f"{found.status} {found.message[:40]}",
)
def test_what_is_about_something_else_says_nothing_of_the_object(other: Answer) -> None:
    """The credential, what is not there yet, what cannot be asked without effect, trouble of the member."""
    assert said(other).outcome == pb.UNKNOWN


@given(st.integers(400, 599), st.text(max_size=80))
def test_no_answer_without_a_status_of_the_member_refuses(code: int, body: str) -> None:
    """Whatever a proxy says is no refusal."""
    assert said(Answer(code, {}, body.encode("utf-8", "replace"), {})).outcome == pb.UNKNOWN


@given(st.integers(500, 599), st.text(max_size=80))
def test_no_trouble_of_the_member_refuses(code: int, message: str) -> None:
    """5xx is never about the object."""
    assert said(answer(code, message)).outcome == pb.UNKNOWN


def test_causes_are_passed_on_within_bounds() -> None:
    """As many as a person reads; what is no text is none."""
    causes = [
        {"field": "spec.a", "reason": "FieldValueInvalid", "message": "x" * 9000},
        {"message": 1},
        7,
    ] * 50
    found = said(answer(422, "y" * 9000, reason="Invalid", causes=causes))
    assert len(found.causes) == meaning.MAX_CAUSES
    assert (found.causes[0].field, len(found.causes[0].message)) == ("spec.a", meaning.MAX_WORDS)
    assert len(found.message) == meaning.MAX_WORDS


class Known:
    """Clusters with their versions, and what they serve."""

    def __init__(self, **clusters: registry.Cluster) -> None:
        self.clusters = clusters
        self.catalogues: dict[str, registry.ApiCatalogue] = {}

    def groups(self, *entries: ClusterPlacement) -> list[list[str]]:
        """Names of those who are asked about a Deployment, by version."""
        found = choice.groups(
            entries,
            api_version="apps/v1",
            group_resource=("apps", "deployments"),
            cluster_of=self.clusters.get,
            catalogue_of=self.catalogues.get,
        )
        return [[entry.cluster for entry in each] for each in found]


def entry(name: str, **fields: Any) -> ClusterPlacement:
    """A cluster's part of a placement."""
    return ClusterPlacement(cluster=name, **fields)


def test_one_of_each_version_is_asked_first() -> None:
    """Those of one version stand in for each other, in the order of their names."""
    known = Known(
        a=cluster_record("a", kubernetes_version="v1.36.0"),
        b=cluster_record("b", kubernetes_version="v1.37.2"),
        c=cluster_record("c", kubernetes_version="v1.36.0"),
    )
    assert known.groups(entry("c"), entry("b"), entry("a")) == [["a", "c"], ["b"]]


def test_members_that_get_something_else_are_asked_apart() -> None:
    """An override may be what a member refuses; however many there are, only so many are asked."""
    known = Known(**{name: cluster_record(name) for name in "abc"})
    assert known.groups(entry("a"), entry("b", overrides=b"[1]"), entry("c")) == [["a", "c"], ["b"]]
    many = [f"c{number:02}" for number in range(50)]
    known = Known(**{name: cluster_record(name) for name in many})
    found = known.groups(*(entry(name, overrides=name.encode()) for name in many))
    assert found == [[name] for name in many[: choice.MAX_ASKED]]


def test_versions_of_the_kind_tell_members_apart() -> None:
    """A member that serves the kind in other versions has another schema; one without it is not asked."""
    known = Known(**{name: cluster_record(name) for name in "abcd"})
    served = {"a": ("v1",), "b": ("v1", "v1beta1"), "c": ("v1beta1",)}
    for name, versions in served.items():
        known.catalogues[name] = registry.ApiCatalogue(
            resources=[
                registry.ApiResource(group="apps", version=version, resource="deployments")
                for version in versions
            ]
        )
    assert known.groups(*map(entry, "abcd")) == [["a"], ["b"], ["d"]]


@given(st.lists(st.sampled_from("abcdef"), unique=True), st.sampled_from(registry.ClusterState.values()))
def test_only_ready_and_chosen_clusters_are_asked(names: list[str], state: int) -> None:
    """Each at most once; nobody who is not in the placement, leaves, is suspended or is not ready."""
    known = Known(**{name: cluster_record(name) for name in "abde"})
    known.clusters["c"] = cluster_record("c", state=state)  # type: ignore[arg-type]
    entries = [entry(name, suspended=name == "a", leaving=name == "b") for name in names]
    asked = [name for group in known.groups(*entries) for name in group]
    expected = {name for name in names if name in "de" or (name == "c" and state == registry.READY)}
    assert sorted(asked) == sorted(expected)
