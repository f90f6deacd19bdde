"""Each request to an API server as a value: its method, path, body and headers, and what its answer must be.

Owns paths, query parameters and media types: whoever asks a member for something makes the request here, so
that no other module builds a path or an Accept header. Where metadata alone is asked for, an API server that
cannot give it may answer with the whole object. Pure functions and values.

Next: `hanse.kube.client.transport`, which sends them, and `hanse.kube.client.answer` for the answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote

import orjson

from hanse.kube.client import expect
from hanse.kube.client.expect import ADeletion, AList, AnAccessReview, AnObject, ATokenRequest, Expected
from hanse.kube.kinds.kind import Kind
from hanse.kube.kinds.kubernetes import core, security
from hanse.kube.model.objects import Object, api_version, parse_api_version

JSON: Final = "application/json"
APPLY_PATCH: Final = "application/apply-patch+yaml"
MERGE_PATCH: Final = "application/merge-patch+json"
_METADATA: Final = f"{JSON};as=PartialObjectMetadata;g=meta.k8s.io;v=v1,{JSON}"
_METADATA_LIST: Final = f"{JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,{JSON}"
_DISCOVERY: Final = ",".join(
    f"{JSON};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList" for version in ("v2", "v2beta1")
)
_REVIEWS: Final = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """One request. `path` may have a query, to which `params` are added."""

    method: str
    path: str
    expect: Expected
    params: Mapping[str, str] | None = None
    body: bytes | None = field(default=None, repr=False)
    content: str = JSON
    accept: str = JSON

    def __str__(self) -> str:
        return f"{self.method} {self.path.partition('?')[0]}"


@dataclass(frozen=True, slots=True)
class GroupVersionResource:
    """Names a resource in a version: `GroupVersionResource("apps/v1", "deployments")`.

    With its kind, where that is known, answers of another kind are told.
    """

    api_version: str
    plural: str
    kind: str = field(default="", compare=False)

    @classmethod
    def of(cls, group: str, version: str, plural: str, kind: str = "") -> GroupVersionResource:
        """Return the resource of a group, which is "" for core."""
        return cls(api_version(group, version), plural, kind)

    @classmethod
    def of_kind(cls, kind: Kind) -> GroupVersionResource:
        """Return the resource of a kind in its preferred version."""
        return cls.of(kind.group, kind.versions[0], kind.plural, kind.name)

    def url(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Return the URL path of the collection or, with a name, of an object or its subresource."""
        path = f"{root_of(self.api_version)}/namespaces/{quote(namespace, safe='')}" if namespace else ""
        path = f"{path or root_of(self.api_version)}/{self.plural}"
        if name:
            path += f"/{quote(name, safe='')}"
        return f"{path}/{subresource}" if subresource else path

    def object(
        self,
        namespace: str = "",
        name: str = "",
        *,
        uid: str = "",
        stored: bool = True,
        partial: bool = False,
    ) -> AnObject:
        """Return what an answer about an object must be; without a name, about any."""
        return AnObject(
            self.api_version,
            self.kind,
            namespace=namespace,
            name=name,
            resource=self.plural,
            uid=uid,
            stored=stored,
            partial=partial,
        )


def root_of(version: str) -> str:
    """Return the path of a group and version such as apps/v1. Raises InvalidArgumentError."""
    group, _ = parse_api_version(version)
    return f"/apis/{version}" if group else f"/api/{version}"


def query(**values: str) -> dict[str, str]:
    """Return the parameters that have a value."""
    return {name: value for name, value in values.items() if value}


# Objects.


def get_object(
    resource: GroupVersionResource, name: str, *, namespace: str = "", partial: bool = False
) -> ApiRequest:
    """GET an object, or its metadata alone."""
    return ApiRequest(
        "GET",
        resource.url(namespace, name),
        resource.object(namespace, name, partial=partial),
        accept=_METADATA if partial else JSON,
    )


def list_objects(
    resource: GroupVersionResource,
    *,
    namespace: str = "",
    label_selector: str = "",
    field_selector: str = "",
    resource_version: str = "",
    metadata_only: bool = False,
    watchable: bool = True,
) -> ApiRequest:
    """GET the first page of a list, or its metadata alone; see `page_of` for the next ones.

    A list that is not `watchable` needs to have no resourceVersion, and its items no uid.
    """
    return ApiRequest(
        "GET",
        resource.url(namespace),
        AList(
            resource.api_version,
            resource.kind,
            namespace=namespace,
            partial=metadata_only,
            watchable=watchable,
        ),
        params=query(
            labelSelector=label_selector, fieldSelector=field_selector, resourceVersion=resource_version
        ),
        accept=_METADATA_LIST if metadata_only else JSON,
    )


def page_of(listing: ApiRequest, *, limit: int, token: str = "") -> ApiRequest:
    """Return the request for a page of a list: the first one or that of a token, which has the version."""
    params = {**(listing.params or {}), **query(limit=str(limit) if limit else "", **{"continue": token})}
    if token:
        params.pop("resourceVersion", None)
    return replace(listing, params=params)


def watch_objects(
    resource: GroupVersionResource,
    *,
    resource_version: str,
    namespace: str = "",
    label_selector: str = "",
    field_selector: str = "",
    bookmarks: bool = True,
    timeout_seconds: int = 300,
    metadata_only: bool = False,
) -> ApiRequest:
    """Watch the objects of a resource; `hanse.kube.client.transport.KubeTransport.events` streams it."""
    return ApiRequest(
        "GET",
        resource.url(namespace),
        AnObject(resource.api_version, resource.kind, namespace=namespace, partial=metadata_only),
        params=query(
            watch="true",
            resourceVersion=resource_version,
            labelSelector=label_selector,
            fieldSelector=field_selector,
            timeoutSeconds=str(timeout_seconds),
            allowWatchBookmarks="true" if bookmarks else "",
        ),
        accept=_METADATA if metadata_only else JSON,
    )


def apply_object(
    resource: GroupVersionResource,
    name: str,
    body: bytes,
    *,
    field_manager: str,
    namespace: str = "",
    uid: str = "",
    dry_run: bool = False,
) -> ApiRequest:
    """Server-side apply an object, as the owner of every field in it; with `uid`, of that very one.

    An apply refuses fields that no schema knows in any case; to be warned as well has the API server parse
    the body a second time, as YAML, which costs it a tenth of the request. A `dry_run` stores nothing.
    """
    return ApiRequest(
        "PATCH",
        resource.url(namespace, name) + _apply_query(field_manager) + ("&dryRun=All" if dry_run else ""),
        resource.object(namespace, name, uid=uid, stored=not dry_run),
        body=body,
        content=APPLY_PATCH,
    )


@lru_cache(maxsize=8)
def _apply_query(field_manager: str) -> str:
    return f"?fieldManager={quote(field_manager, safe='')}&force=true&fieldValidation=Ignore"


def create_object(
    resource: GroupVersionResource,
    name: str,
    body: bytes,
    *,
    field_manager: str,
    namespace: str = "",
    dry_run: bool = False,
) -> ApiRequest:
    """POST an object, `name` in `body`; fields that no schema knows are left out."""
    return ApiRequest(
        "POST",
        resource.url(namespace),
        resource.object(namespace, name, stored=not dry_run),
        params=query(fieldManager=field_manager, fieldValidation="Ignore", dryRun=_all(dry_run)),
        body=body,
    )


def merge_object(
    resource: GroupVersionResource,
    name: str,
    patch: Object,
    *,
    field_manager: str,
    namespace: str = "",
    uid: str = "",
    dry_run: bool = False,
) -> ApiRequest:
    """Patch an object by JSON merge patch; with `uid`, that very one."""
    return ApiRequest(
        "PATCH",
        resource.url(namespace, name),
        resource.object(namespace, name, uid=uid, stored=not dry_run),
        params=query(fieldManager=field_manager, dryRun=_all(dry_run)),
        body=orjson.dumps(patch),
        content=MERGE_PATCH,
    )


def _all(dry_run: bool) -> str:
    return "All" if dry_run else ""


def delete_object(
    resource: GroupVersionResource,
    name: str,
    *,
    namespace: str = "",
    uid: str = "",
    version: str = "",
    foreground: bool = False,
) -> ApiRequest:
    """Delete an object; with `uid` or `version` (its resourceVersion) only that very one.

    Its dependents go by the cluster's own collector: after it, or before it with `foreground`.
    """
    propagation = "Foreground" if foreground else "Background"
    options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
    preconditions = query(uid=uid, resourceVersion=version)
    if preconditions:
        options["preconditions"] = preconditions
    return ApiRequest(
        "DELETE",
        resource.url(namespace, name),
        ADeletion(resource.object(namespace, name, uid=uid)),
        body=orjson.dumps(options),
    )


# The server itself.

VERSION: Final = ApiRequest("GET", "/version", expect.VERSION)
READY: Final = ApiRequest("GET", "/readyz", expect.READY, accept="*/*")
IDENTITY: Final = get_object(GroupVersionResource.of_kind(core.NAMESPACE), "kube-system")
"""The namespace that every cluster has for as long as it exists: its uid tells clusters apart."""
GROUPS: Final = ApiRequest("GET", "/apis", expect.GROUPS)
"""The groups that are served, without their resources."""
DISCOVERY: Final = tuple(
    ApiRequest("GET", path, expect.DISCOVERY, accept=_DISCOVERY) for path in ("/api", "/apis")
)
"""All that is served: see `hanse.kube.client.discovery`."""


def resources_of(version: str) -> ApiRequest:
    """GET what is served of a group and version such as apps/v1."""
    return ApiRequest("GET", root_of(version), expect.resource_list(version))


def review_access(**attributes: Any) -> ApiRequest:
    """Ask whether one may do something: `verb`, `group` and `resource` of SelfSubjectAccessReview."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": security.SELF_SUBJECT_ACCESS_REVIEW.name,
        "spec": {"resourceAttributes": attributes},
    }
    return ApiRequest("POST", _REVIEWS, AnAccessReview(), body=orjson.dumps(review))


def request_token(account: str, *, namespace: str, seconds: int) -> ApiRequest:
    """Ask for a token of a ServiceAccount that lasts so many seconds; the server may give another time."""
    asked = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": seconds},
    }
    return ApiRequest(
        "POST",
        GroupVersionResource.of_kind(core.SERVICE_ACCOUNT).url(namespace, account, "token"),
        ATokenRequest(account, namespace),
        body=orjson.dumps(asked),
    )
