"""Members that lie: what they say wrongly deletes and moves nothing, and is over when the lie is."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.chaos.bulk import Bulk, intent_everywhere
from tests.chaos.test_members import COUNT, HEALTHY, SICK, ready, sick
from tests.system.harness import NAMES, Federation, Witness, until
from tests.system.manifests import deployment
from tests.system.suite.base import replicas, until_in

STATUS = {"kind": "Status", "apiVersion": "v1", "metadata": {}}
HTML: dict[str, Any] = {"action": "say", "code": 200, "media_type": "text/html", "body": "<html>hello</html>"}
LIES: dict[str, dict[str, Any]] = {
    "a page": HTML,
    "an empty object": {"action": "say", "code": 200, "body": "{}"},
    "a list without items": {
        "action": "say", "code": 200,
        "body": '{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"1"}}',
    },
    "half an answer": {"action": "say", "code": 200, "body": '{"kind":"Conf'},
    "a page that says 404": {**HTML, "code": 404},
    "a 404 about nothing": {
        "action": "say", "code": 404, "body": orjson.dumps({**STATUS, "reason": "NotFound"}).decode(),
    },
}  # fmt: skip


@pytest.fixture(autouse=True)
def recovered(federation: Federation) -> Any:
    """Every test starts and ends with clusters that are ready."""
    yield
    until(lambda: all(ready(federation, name) for name in NAMES), what="all clusters are ready", seconds=60)


def state_of(federation: Federation, name: str) -> str:
    """The state of a cluster."""
    return str(federation.api.get("clusters.hanse.dev", "", name)["status"]["state"])


@pytest.mark.parametrize("lie", LIES)
def test_a_member_that_lies_confirms_no_deletion(federation: Federation, ns: str, lie: str) -> None:
    """Objects that are deleted have a tombstone until a member that lies about them has really let go; the
    others let go at once, and what was not to be deleted stays."""
    bulk = Bulk(federation.api, ns, COUNT)
    bulk.create()
    intent_everywhere(federation, bulk)
    gone = list(bulk.values)[::2]
    kept = [name for name in bulk.values if name not in gone]
    with sick(federation, {**LIES[lie], "namespaces": [ns]}):
        bulk.delete(gone)
        until(
            lambda: all(
                not federation.member(n).find("configmaps", ns, name) for n in HEALTHY for name in gone
            ),
            what="the others let go",
        )
        for name in gone:
            left = federation.api.get("tombstones.hanse.dev", ns, f"configmaps.{name}")
            assert SICK in {copy["cluster"] for copy in left["copies"]}
            assert federation.api.find("configmaps", ns, name) is None
    for name in gone:
        until_in(federation, (), "configmaps", ns, name)
    until(lambda: not federation.api.list("tombstones.hanse.dev", ns), what="nothing is left of them")
    assert all(federation.member(SICK).find("configmaps", ns, name) for name in kept)


def test_a_namespace_with_something_foreign_stays_whatever_is_said_of_it(federation: Federation) -> None:
    """Lying lists do not make a namespace empty: it stays with what is in it, and when the member tells the
    truth it is left there because of that."""
    name = "lies-about-me"
    federation.api.create(
        "namespaces", "", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    )
    bulk = Bulk(federation.api, name, 1)
    bulk.create()
    intent_everywhere(federation, bulk)
    member = federation.member(SICK)
    foreign = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "foreign", "namespace": name}}
    member.create("secrets", name, foreign)
    for lie in LIES.values():
        rule = {**lie, "namespaces": [name], "resources": ["secrets"], "verbs": ["list"]}
        with sick(federation, rule):
            federation.api.request("DELETE", f"/api/v1/namespaces/{name}")
            until(lambda: _asked(federation), what="the lie was told")
            assert member.find("secrets", name, "foreign")
    until(lambda: federation.api.find("namespaces", "", name) is None, what="the namespace is let go of")
    assert member.find("secrets", name, "foreign")
    assert all(federation.member(other).find("namespaces", "", name) is None for other in HEALTHY)


def _asked(federation: Federation) -> bool:
    rules = federation.member(SICK).request("GET", "/_sim/faults")["rules"]
    return all(rule["struck"] for rule in rules)


def test_a_member_that_answers_everything_with_a_page_is_not_ready(federation: Federation, ns: str) -> None:
    """MISBEHAVING, with /readyz answered by a page as well; nothing is deleted, and nothing moves at once."""
    bulk = Bulk(federation.api, ns, COUNT)
    bulk.create()
    federation.api.create("deployments.apps", ns, deployment(ns, "web", 6))
    intent_everywhere(federation, bulk)
    spread = dict.fromkeys(NAMES, 2)
    until(lambda: replicas(federation, "deployments.apps", ns, "web") == spread, what="2 replicas each")
    with sick(federation, HTML):
        until(lambda: state_of(federation, SICK) == "Misbehaving", what="it is found out", seconds=30)
        bulk.update("2")
        bulk.until_in([federation.member(name) for name in HEALTHY], seconds=20)
    with Witness(federation.each, namespace=ns, resources=["configmaps", "deployments.apps"]) as witness:
        intent_everywhere(federation, bulk)
    assert witness.deleted == []


def test_an_address_that_leads_to_another_cluster_is_told(federation: Federation, ns: str) -> None:
    """IDENTITY_MISMATCH, found at the next connection; nothing is deleted, and it ends when it is undone."""
    bulk = Bulk(federation.api, ns, COUNT)
    bulk.create()
    intent_everywhere(federation, bulk)
    other = {
        "kind": "Namespace", "apiVersion": "v1",
        "metadata": {"name": "kube-system", "uid": "another-cluster", "resourceVersion": "1"},
    }  # fmt: skip
    identity = {"action": "say", "code": 200, "body": orjson.dumps(other).decode()}
    path = "/api/v1/namespaces/kube-system"
    again = {"action": "drop", "paths": ["/readyz"], "count": 1}
    with (
        Witness(federation.each, namespace=ns, resources=["configmaps"]) as witness,
        sick(federation, {**identity, "paths": [path]}, again),
    ):
        until(lambda: state_of(federation, SICK) == "IdentityMismatch", what="it is found out", seconds=30)
        bulk.update("2")
        bulk.until_in([federation.member(name) for name in HEALTHY], seconds=20)
    until(lambda: ready(federation, SICK), what="it is itself again", seconds=60)
    intent_everywhere(federation, bulk)
    assert witness.deleted == []
