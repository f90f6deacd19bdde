"""What is asked of an API server: paths that lead where they should, and headers and bodies that say all."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.errors import InvalidArgumentError
from hanse.kube.client import requests
from hanse.kube.client.expect import ADeletion, AList, AnObject
from hanse.kube.client.requests import ApiRequest, GroupVersionResource
from hanse.kube.server.request import parse_path

DEPLOYMENTS = GroupVersionResource("apps/v1", "deployments", "Deployment")
PODS = GroupVersionResource("v1", "pods", "Pod")
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=30)


@given(resource=st.sampled_from([DEPLOYMENTS, PODS]), namespace=NAMES, name=NAMES)
def test_a_path_leads_to_the_very_object(resource: GroupVersionResource, namespace: str, name: str) -> None:
    """Whatever is in its names: no name becomes another path, a query or a fragment."""
    url = urlsplit(resource.url(namespace, name, "status"))
    assert (url.query, url.fragment) == ("", "")
    segments = [unquote(segment) for segment in url.path.split("/")]
    assert segments[-5:] == ["namespaces", namespace, resource.plural, name, "status"][-5:]
    assert url.path.count("/") == len(segments) - 1


@pytest.mark.parametrize(("namespace", "name"), [("", ""), ("shop", ""), ("shop", "web"), ("", "web")])
@pytest.mark.parametrize("resource", [DEPLOYMENTS, PODS])
def test_our_own_server_reads_the_paths(resource: GroupVersionResource, namespace: str, name: str) -> None:
    """As the resource, namespace and name that were meant."""
    found = parse_path(resource.url(namespace, name))
    assert found is not None
    assert GroupVersionResource.of(found.group, found.version, found.resource) == resource
    assert (found.namespace, found.name) == (namespace, name)


@pytest.mark.parametrize("version", ["", "apps/v1/x", "/v1"])
def test_a_version_that_is_none_has_no_path(version: str) -> None:
    """It could lead anywhere."""
    with pytest.raises(InvalidArgumentError):
        requests.root_of(version)


def test_the_pages_of_a_list_have_the_version_in_the_token() -> None:
    """The first page asks for a version, the next ones must not; both have the selectors and the limit."""
    listing = requests.list_objects(PODS, namespace="shop", label_selector="a=b", resource_version="7")
    first, second = requests.page_of(listing, limit=5), requests.page_of(listing, limit=5, token="t")
    assert first.params == {"labelSelector": "a=b", "resourceVersion": "7", "limit": "5"}
    assert second.params == {"labelSelector": "a=b", "continue": "t", "limit": "5"}
    assert requests.page_of(listing, limit=0).params == {"labelSelector": "a=b", "resourceVersion": "7"}
    assert isinstance(first.expect, AList)
    assert (first.expect.kind, first.expect.namespace, first.expect.partial) == ("Pod", "shop", False)


@pytest.mark.parametrize(
    "request_",
    [
        requests.get_object(PODS, "web", namespace="shop", partial=True),
        requests.list_objects(PODS, metadata_only=True),
        requests.watch_objects(PODS, resource_version="1", metadata_only=True),
    ],
    ids=lambda request: request.method,
)
def test_who_asks_for_metadata_takes_the_whole_object_too(request_: ApiRequest) -> None:
    """Not every aggregated API server can give metadata alone."""
    preferred, _, other = request_.accept.partition(",")
    assert "as=PartialObjectMetadata" in preferred
    assert other == requests.JSON
    assert isinstance(request_.expect, AnObject | AList)
    assert request_.expect.partial


def test_an_apply_is_of_that_object_and_owns_its_fields() -> None:
    """The query is the same for all; the uid is expected of the answer."""
    found = requests.apply_object(DEPLOYMENTS, "web", b"{}", namespace="shop", uid="u", field_manager="a b")
    path, _, asked = found.path.partition("?")
    assert (found.method, path) == ("PATCH", "/apis/apps/v1/namespaces/shop/deployments/web")
    assert parse_qs(asked) == {"fieldManager": ["a b"], "force": ["true"], "fieldValidation": ["Ignore"]}
    assert found.content == "application/apply-patch+yaml"
    assert isinstance(found.expect, AnObject)
    assert (found.expect.uid, found.expect.name, found.expect.kind) == ("u", "web", "Deployment")
    assert str(found) == "PATCH /apis/apps/v1/namespaces/shop/deployments/web"
    tried = requests.apply_object(DEPLOYMENTS, "web", b"{}", field_manager="a b", dry_run=True)
    assert parse_qs(tried.path.partition("?")[2])["dryRun"] == ["All"]


@pytest.mark.parametrize(
    ("asked", "preconditions"),
    [
        ({}, None),
        ({"uid": "u"}, {"uid": "u"}),
        ({"uid": "u", "version": "7"}, {"uid": "u", "resourceVersion": "7"}),
    ],
)
def test_a_deletion_names_what_it_means(asked: dict[str, Any], preconditions: Any) -> None:
    """By uid and version; dependents go in the background."""
    found = requests.delete_object(PODS, "web", namespace="shop", **asked)
    options = orjson.loads(found.body or b"")
    assert (options.get("preconditions"), options["propagationPolicy"]) == (preconditions, "Background")
    assert isinstance(found.expect, ADeletion)
    assert found.expect.target.uid == asked.get("uid", "")


def test_an_access_review_asks_for_oneself() -> None:
    """One verb on one resource."""
    found = requests.review_access(verb="patch", group="apps", resource="deployments")
    spec = orjson.loads(found.body or b"")["spec"]
    assert spec == {"resourceAttributes": {"verb": "patch", "group": "apps", "resource": "deployments"}}
    assert (found.method, found.path.rpartition("/")[2]) == ("POST", "selfsubjectaccessreviews")
