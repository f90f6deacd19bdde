"""What a member serves is read with care: unknown is not empty, and a wrong document is no answer."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanse.errors import HanseError
from hanse.kube.client.answer import WrongAnswerError
from hanse.kube.client.bounds import CATALOGUE_RESOURCES, MisbehavingMemberError
from hanse.kube.client.discovery import KIND, GroupVersion, ServedApis, read_discovery
from hanse.kube.kinds.catalogue import Catalogue
from hanse.kube.kinds.strategies.kubernetes import kubernetes
from hanse.kube.wire import discovery
from tests.support.shapes import gone_wrong

DEPLOYMENTS = {
    "resource": "deployments",
    "responseKind": {"group": "apps", "version": "v1", "kind": "Deployment"},
    "scope": "Namespaced",
    "verbs": ["get", "list"],
    "shortNames": ["deploy"],
    "categories": ["all"],
    "singularResource": "deployment",
    "subresources": [{"subresource": "status", "verbs": ["get", "patch"]}],
}
"""An entry as kube-apiserver writes it."""


def document(*versions: dict[str, Any], group: str = "apps") -> dict[str, Any]:
    """An APIGroupDiscoveryList of one group."""
    return {"kind": KIND, "items": [{"metadata": {"name": group}, "versions": list(versions)}]}


def version(name: str = "v1", *entries: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A version of a group."""
    return {"version": name, "resources": list(entries), "freshness": "Current", **fields}


def test_all_of_a_resource_is_read() -> None:
    """Names, verbs, scope and subresources; the first version of a group is the preferred one."""
    served = read_discovery([document(version("v1", DEPLOYMENTS), version("v1beta1", DEPLOYMENTS))])
    first, second = served.resources
    assert (first.api_version, first.kind, first.singular) == ("apps/v1", "Deployment", "deployment")
    assert (first.namespaced, first.preferred, first.listable) == (True, True, True)
    assert (first.short_names, first.categories) == (("deploy",), ("all",))
    assert first.subresources == (("status", frozenset({"get", "patch"})),)
    assert (second.api_version, second.preferred) == ("apps/v1beta1", False)
    assert served.unknown == frozenset()


@pytest.mark.parametrize("freshness", ["Stale", "Guessed"])
@pytest.mark.parametrize("entries", [(), (DEPLOYMENTS,)])
def test_what_is_not_current_is_unknown(freshness: str, entries: tuple[dict[str, Any], ...]) -> None:
    """Whatever is listed of it, and whatever word a later release has for it."""
    served = read_discovery([document(version("v1", *entries, freshness=freshness), version("v2"))])
    assert served.unknown == {GroupVersion("apps", "v1")}
    assert [resource.resource for resource in served.resources] == [e["resource"] for e in entries]


def test_what_go_leaves_out_or_writes_as_null_is_empty() -> None:
    """The core group has no name, a version without resources no list of them."""
    bare = {"resource": "pods", "responseKind": {"kind": "Pod"}, "verbs": None, "shortNames": None}
    core = {
        "kind": KIND,
        "items": [{"metadata": {"creationTimestamp": None}, "versions": [version("v1", bare)]}],
    }
    assert read_discovery([core]).resources[0].api_version == "v1"
    assert read_discovery([document({"version": "v1", "resources": None})]) == ServedApis(())


def test_a_resource_of_subresources_only_has_no_kind() -> None:
    """As aggregated API servers have it that add subresources to the objects of others."""
    parts = [{"subresource": "console", "verbs": ["get"]}]
    entry = {
        "resource": "machines",
        "responseKind": {"kind": ""},
        "scope": "Namespaced",
        "subresources": parts,
    }
    (found,) = read_discovery([document(version("v1", entry))]).resources
    assert (found.verbs, found.listable) == (frozenset(), False)


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        [],
        {},
        {"kind": KIND},
        {"kind": KIND, "items": None},
        {"kind": KIND, "items": ["apps"]},
        {"kind": "APIGroupList", "groups": []},
        {"kind": KIND, "items": [{"metadata": {"name": 1}, "versions": []}]},
        {"kind": KIND, "items": [{"metadata": {"name": "apps"}, "versions": {}}]},
        document({"version": "v1", "resources": "none"}),
        document(version("v1", {**DEPLOYMENTS, "verbs": "get"})),
        document(version("v1", {**DEPLOYMENTS, "responseKind": "Deployment"})),
    ],
)
def test_a_document_that_no_api_server_writes_is_no_answer(wrong: Any) -> None:
    """Nothing is known of it: it must not read as if kinds were gone."""
    with pytest.raises(WrongAnswerError):
        read_discovery([wrong])


@pytest.mark.parametrize(
    "wrong",
    [
        document(version("v1", {**DEPLOYMENTS, "resource": "../secrets"})),
        document(version("v1", {**DEPLOYMENTS, "resource": ""})),
        document(version("v1", {**DEPLOYMENTS, "responseKind": {"kind": ""}})),
        document(version("v1/..", DEPLOYMENTS)),
        document(version("", DEPLOYMENTS)),
        document(version("v1", DEPLOYMENTS), group="x" * 300),
        document(version("v1", *[DEPLOYMENTS] * (CATALOGUE_RESOURCES + 1))),
    ],
    ids=lambda value: "document",
)
def test_names_and_numbers_are_bounded(wrong: Any) -> None:
    """What could not be asked for is refused, and so is more than any cluster has."""
    with pytest.raises(MisbehavingMemberError):
        read_discovery([wrong])


@given(wrong=gone_wrong(document(version("v1", DEPLOYMENTS))))
@settings(max_examples=200)
def test_any_document_is_read_or_refused(wrong: Any) -> None:
    """Nothing but the two errors comes out of the reader."""
    with contextlib.suppress(WrongAnswerError, MisbehavingMemberError):
        assert isinstance(read_discovery([wrong]), ServedApis)


VERSIONS = st.lists(
    st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["v1", "v2"]), st.booleans(), st.booleans()),
    unique_by=lambda each: each[:2],
)


@given(versions=VERSIONS)
def test_each_version_is_told_or_unknown(versions: list[tuple[str, str, bool, bool]]) -> None:
    """The law: a version is unknown exactly if it is not current, and no other loses anything by it."""
    documents = [
        document(
            version(name, *([DEPLOYMENTS] if listed else []), freshness="Current" if current else "Stale"),
            group=group,
        )
        for group, name, current, listed in versions
    ]
    served = read_discovery(documents)
    assert served.unknown == {(group, name) for group, name, current, _ in versions if not current}
    assert {(r.group, r.version) for r in served.resources} == {
        (group, name) for group, name, _, listed in versions if listed
    }


def test_our_own_server_is_read() -> None:
    """What the engine writes is what the reader reads, resource by resource."""
    catalogue = Catalogue(kubernetes())
    documents = [discovery.aggregated(catalogue, core=core) for core in (True, False)]
    served = read_discovery(documents)
    told = {(r.group, r.version, r.resource, r.kind, r.namespaced) for r in served.resources}
    assert told == {(i.group, i.version, i.plural, i.kind, i.namespaced) for i in catalogue}
    assert served.unknown == frozenset()
    assert issubclass(WrongAnswerError, HanseError)
