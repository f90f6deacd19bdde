"""Whose what is in a namespace is, and which kinds may hide something."""

from __future__ import annotations

from typing import Any

import pytest
from hanse_syncer import ownership
from hanse_syncer.act import namespaces
from hanse_syncer.act.namespaces import Hidden, listable
from hanse_syncer.decide.contents import Contents, Item, Owner, item_of, judge, phrase
from hanse_syncer.member import served
from hypothesis import given
from hypothesis import strategies as st

from hanse.errors import UnavailableError
from hanse.kube.client import discovery
from hanse.well_known import FIELD_MANAGER
from tests.support.looplag import responsive

FED = "fed-1"
LISTED = {("", "Pod"), ("", "Service"), ("apps", "Deployment"), ("apps", "ReplicaSet"), ("", "ConfigMap")}
OURS = ownership.labels(FED)


def owner(uid: str, kind: str = "ReplicaSet", version: str = "apps/v1") -> dict[str, Any]:
    """An entry of ownerReferences."""
    return {"uid": uid, "kind": kind, "apiVersion": version, "name": uid, "controller": True}


def item(resource: str, name: str, **metadata: Any) -> Item:
    """An object of `plural` or `plural.group`, whose uid is its name."""
    plural, _, group = resource.partition(".")
    return item_of(group, plural, {"metadata": {"name": name, "uid": name, **metadata}}, federation_id=FED)


def verdicts(*items: Item) -> tuple[set[str], set[str]]:
    """Names of what is foreign, and of what is going."""
    found = judge(items, listed=LISTED)
    return {each.name for each in found.foreign}, {each.name for each in found.going}


def test_only_our_marks_make_an_object_ours() -> None:
    """What is unmarked, or of another federation, is foreign; what each namespace has is no obstacle."""
    assert verdicts(
        item("configmaps", "ours", labels=OURS),
        item("configmaps", "theirs"),
        item("configmaps", "other", labels=ownership.labels("fed-2")),
        item("configmaps", "kube-root-ca.crt"),
        item("serviceaccounts", "default"),
        item("serviceaccounts", "bot"),
    ) == ({"theirs", "other", "bot"}, set())


def test_marks_count_if_we_applied_them() -> None:
    """Managed fields say who did; where there are none, or not in that form, nobody says that."""

    def entry(manager: str = FIELD_MANAGER, operation: str = "Apply", **labels: Any) -> Any:
        fields: Any = {
            "f:metadata": {"f:labels": {".": {}, **{f"f:{label}": {} for label in labels or OURS}}}
        }
        return {"manager": manager, "operation": operation, "fieldsType": "FieldsV1", "fieldsV1": fields}

    assert verdicts(
        item("configmaps", "none", labels=OURS, managedFields=[]),
        item("configmaps", "applied", labels=OURS, managedFields=[entry("kubectl", "Update"), entry()]),
        item("configmaps", "copied", labels=OURS, managedFields=[entry("kubectl", "Update")]),
        item("configmaps", "posing", labels=OURS, managedFields=[entry(operation="Update")]),
        item("configmaps", "other", labels=OURS, managedFields=[entry(app="x"), entry("kubectl")]),
        item("configmaps", "odd", labels=OURS, managedFields=["x", {"manager": "hanse", "fieldsV1": 7}]),
    ) == ({"copied", "posing", "other", "odd"}, set())


def test_owners_count_if_they_lead_to_ours() -> None:
    """A Deployment of ours, its ReplicaSet and its Pods are ours, in whatever order they are listed."""
    chain = [
        item("pods", "pod", ownerReferences=[owner("set")]),
        item("replicasets.apps", "set", ownerReferences=[owner("web", "Deployment")]),
        item("deployments.apps", "web", labels=OURS),
    ]
    assert verdicts(*chain) == verdicts(*reversed(chain)) == (set(), set())


def test_an_owner_alone_makes_nothing_ours() -> None:
    """Objects of foreign owners, of owners that are in no list, and of owners in a circle are foreign."""
    assert verdicts(
        item("configmaps", "theirs"),
        item("configmaps", "child", ownerReferences=[owner("theirs", "ConfigMap", "v1")]),
        item("leases.coordination.k8s.io", "lease", ownerReferences=[owner("n", "Node", "v1")]),
        item(
            "pods", "mixed", ownerReferences=[owner("web", "Deployment"), owner("theirs", "ConfigMap", "v1")]
        ),
        item("deployments.apps", "web", labels=OURS),
        item("configmaps", "a", ownerReferences=[owner("b", "ConfigMap", "v1")]),
        item("configmaps", "b", ownerReferences=[owner("a", "ConfigMap", "v1")]),
        item("configmaps", "heir", ownerReferences=[owner("default", "ServiceAccount", "v1")]),
        item("serviceaccounts", "default"),
        item("configmaps", "odd", ownerReferences=["nonsense", {"apiVersion": "a/b/c"}]),
    ) == ({"theirs", "child", "lease", "mixed", "a", "b", "heir", "odd"}, set())


def test_what_lost_its_owner_is_going() -> None:
    """The member collects what has an owner of a kind that is listed, where that owner is not in the list."""
    assert verdicts(
        item("pods", "pod", ownerReferences=[owner("set")]),
        item("replicasets.apps", "set", ownerReferences=[owner("web", "Deployment")]),
    ) == (set(), {"pod", "set"})


def test_endpoints_are_of_a_service_of_ours() -> None:
    """Endpoints count by name, slices by label or owner, and only for a Service of ours."""
    assert verdicts(
        item("services", "web", labels=OURS),
        item("endpoints", "web"),
        item("endpointslices.discovery.k8s.io", "web-1", labels={"kubernetes.io/service-name": "web"}),
        item("endpointslices.discovery.k8s.io", "web-2", ownerReferences=[owner("web", "Service", "v1")]),
        item("services", "theirs"),
        item("endpoints", "theirs"),
        item("endpointslices.discovery.k8s.io", "theirs-1", labels={"kubernetes.io/service-name": "theirs"}),
        item("endpoints", "manual"),
        item("endpoints", "gone", labels={"endpoints.kubernetes.io/managed-by": "endpoint-controller"}),
        item("endpointslices.discovery.k8s.io", "gone-1", ownerReferences=[owner("gone", "Service", "v1")]),
        item("endpointslices.discovery.k8s.io", "manual-1", labels={"kubernetes.io/service-name": "x"}),
    ) == ({"theirs", "theirs-1", "manual", "manual-1"}, {"gone", "gone-1"})


def test_tokens_are_of_their_service_account() -> None:
    """The tokens that old clusters make count with their ServiceAccount; one that somebody made does not."""

    def token(name: str, account: str, uid: str) -> Item:
        named = {"kubernetes.io/service-account.name": account, "kubernetes.io/service-account.uid": uid}
        return item("secrets", name, annotations=named)

    assert verdicts(
        item("serviceaccounts", "default"),
        item("serviceaccounts", "bot", labels=OURS),
        item("serviceaccounts", "theirs"),
        token("default-token-42zzz", "default", "default"),
        token("bot-token-42zzz", "bot", "bot"),
        token("theirs-token-42zzz", "theirs", "theirs"),
        token("mine", "bot", "bot"),
    ) == ({"theirs", "theirs-token-42zzz", "mine"}, set())


def test_a_long_chain_of_owners_ends() -> None:
    """Owners are followed only so far; what is beyond counts as foreign, and nothing overflows."""
    chain = [item("pods", str(n), ownerReferences=[owner(str(n + 1), "Pod", "v1")]) for n in range(5000)]
    foreign, _ = verdicts(*chain, item("pods", "5000", labels=OURS))
    assert "0" in foreign


async def test_judging_many_objects_does_not_hold_the_loop() -> None:
    """A hundred thousand objects are judged while everything else goes on."""
    found = [Item("apps", "deployments", str(n), str(n), ours=True) for n in range(1000)]
    found += [
        Item("", "pods", f"p{n}", f"p{n}", ours=False, owners=(Owner(str(n % 1000), "apps", "Deployment"),))
        for n in range(99_000)
    ]
    async with responsive():
        assert await namespaces._judged(found, []) == Contents()


def test_says_what_there_is() -> None:
    """The phrase names three objects of one kind."""
    found = judge([item("configmaps", name) for name in "dcba"], listed=LISTED)
    assert phrase(found.foreign) == "configmaps a, b, c there are not of this federation"


uids = st.sampled_from(["a", "b", "c", "d", "e", "x"])
items = st.lists(
    st.builds(
        Item,
        group=st.just(""),
        resource=st.sampled_from(["configmaps", "pods", "services", "endpoints"]),
        name=uids,
        uid=uids,
        ours=st.booleans(),
        owners=st.lists(st.builds(Owner, uid=uids, group=st.just(""), kind=st.sampled_from(["Pod", "Node"])))
        .map(tuple),
        service=st.sampled_from(["", "a", "b"]),
    ),
    unique_by=lambda each: each.uid,
)  # fmt: skip


@given(items)
def test_nothing_is_ours_that_does_not_lead_to_ours(found: list[Item]) -> None:
    """What no chain of owners, and no Service, joins to an object of ours stands against the deletion."""
    reached = {each.uid for each in found if each.ours}
    services = {each.name for each in found if each.resource == "services"}
    while True:
        more = {
            each.uid
            for each in found
            if each.uid not in reached
            and (any(owner.uid in reached for owner in each.owners) or each.service in services)
        }
        if not more:
            break
        reached |= more
    contents = judge(found, listed={("", "Pod")})
    standing = {each.uid for each in (*contents.foreign, *contents.going)}
    assert {each.uid for each in found} - reached <= standing
    assert not standing & {each.uid for each in found if each.ours}


def kinds(found: list[dict[str, Any]]) -> list[discovery.ServedResource]:
    """The kinds in discovery documents."""
    return served.all_kinds(discovery.read_discovery(found))


def kind(resource: str, *verbs: str, namespaced: bool = True, **more: Any) -> dict[str, Any]:
    """An entry of an APIGroupDiscoveryList."""
    scope = "Namespaced" if namespaced else "Cluster"
    return {
        "resource": resource,
        "responseKind": {"kind": resource.title() if verbs else ""},
        "scope": scope,
        "verbs": list(verbs),
        **more,
    }


def documents(*entries: dict[str, Any], group: str = "example.org", **version: Any) -> list[dict[str, Any]]:
    """Aggregated discovery with the core group, which has pods, and another group."""
    pods = [kind("pods", "list", "get", "delete"), kind("bindings", "create")]
    return [
        {
            "kind": discovery.KIND,
            "items": [{"metadata": {}, "versions": [{"version": "v1", "resources": pods}]}],
        },
        {
            "kind": discovery.KIND,
            "items": [
                {
                    "metadata": {"name": group},
                    "versions": [{"version": "v1", "resources": list(entries), **version}],
                }
            ],
        },
    ]


@pytest.mark.parametrize(
    "entry",
    [
        kind("secretthings", "get", "create", "delete"),
        kind("secretthings", "get", "update"),
        kind("secretthings", "delete"),
        kind("secretthings"),
        kind("secretthings", subresources=[{"subresource": "state", "verbs": ["get", "update"]}]),
    ],
)
def test_kinds_that_cannot_be_listed_are_an_obstacle(entry: dict[str, Any]) -> None:
    """What may be kept where nobody can look stands against the deletion of a namespace."""
    with pytest.raises(Hidden, match="secretthings cannot be listed"):
        listable(kinds(documents(entry)))


@pytest.mark.parametrize(
    "entry",
    [
        kind("reviews", "create"),
        kind("metrics", "get"),
        kind("secretthings", "get", "delete", namespaced=False),
        kind("pods", subresources=[{"subresource": "console", "verbs": ["get", "update"]}]),
        kind("pods.core", subresources=[{"subresource": "queue", "verbs": ["create", "get"]}]),
    ],
)
def test_kinds_of_which_nothing_is_kept_are_none(entry: dict[str, Any]) -> None:
    """Reviews, metrics and subresources of what is listed elsewhere keep nothing in a namespace."""
    assert [each.resource for each in listable(kinds(documents(entry)))] == ["pods"]


def test_each_kind_is_listed_once() -> None:
    """A resource is listed in the version that its group prefers; events and metrics are not."""
    group = {
        "metadata": {"name": "example.org"},
        "versions": [
            {"version": "v2", "resources": [kind("widgets", "list")]},
            {"version": "v1", "resources": [kind("widgets", "list"), kind("parts", "list")]},
        ],
    }
    metrics = documents(kind("pods", "list"), group="metrics.k8s.io")
    events = documents(kind("events", "list"), group="events.k8s.io")
    found = kinds([*metrics, *events, {"kind": discovery.KIND, "items": [group]}])
    assert [f"{each.api_version} {each.resource}" for each in listable(found)] == [
        "v1 pods",
        "example.org/v1 parts",
        "example.org/v2 widgets",
    ]


@pytest.mark.parametrize(
    "found",
    [
        documents(freshness="Stale"),
        documents(kind("widgets", "list"), freshness="Stale"),
        documents(kind("widgets", "list"), freshness="Guessed"),
        [{"kind": "APIGroupList", "groups": []}],
        [{}],
        [{"kind": discovery.KIND, "items": None}],
    ],
)
def test_what_is_served_is_known_as_a_whole_or_not(found: list[dict[str, Any]]) -> None:
    """A group that its server does not answer for, and any other answer, leave all of it unknown."""
    with pytest.raises(UnavailableError):
        kinds(found)
