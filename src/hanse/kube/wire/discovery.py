"""What a server serves, as Kubernetes clients discover it: legacy and aggregated documents.

Pure functions of a catalogue. Next: `hanse.kube.server.endpoints.discovery`, which serves them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from hanse.kube.kinds.catalogue import Catalogue
from hanse.kube.kinds.kubernetes import core
from hanse.kube.kinds.resource_info import ResourceInfo
from hanse.kube.model.objects import Object, api_version

_SUBRESOURCE_VERBS = ("get", "patch", "update")
_CREATE_ONLY = {
    "binding": ("", "v1", core.BINDING.name),
    "eviction": ("policy", "v1", "Eviction"),
    "token": ("authentication.k8s.io", "v1", "TokenRequest"),
}


def root(catalogue: Catalogue, others: Iterable[str]) -> Object:
    """Return what `/` answers: the paths of all groups and versions, and `others`."""
    paths = {"/api", "/apis", *others}
    for group, versions in catalogue.groups().items():
        above = f"/apis/{group}" if group else "/api"
        paths.update((above, *(f"{above}/{version}" for version in versions)))
    return {"paths": sorted(paths)}


def api_versions(server: str) -> Object:
    """Return what `/api` answers. `server` is host:port."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server}],
    }


def api_group(catalogue: Catalogue, group: str) -> Object | None:
    """Return what `/apis/<group>` answers; None if the group is not served."""
    versions = catalogue.groups().get(group)
    if not versions or not group:
        return None
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(group, versions)}


def api_group_list(catalogue: Catalogue) -> Object:
    """Return what `/apis` answers."""
    groups = [_group(group, versions) for group, versions in catalogue.groups().items() if group]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def _group(group: str, versions: list[str]) -> dict[str, Any]:
    listed = [{"groupVersion": api_version(group, v), "version": v} for v in versions]
    return {"name": group, "versions": listed, "preferredVersion": listed[0]}


def resource_list(catalogue: Catalogue, group: str, version: str) -> Object | None:
    """Return what `/apis/<group>/<version>` answers; None if that is not served."""
    infos = catalogue.group_version(group, version)
    if not infos:
        return None
    resources = [entry for info in infos for entry in _resources(info)]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": api_version(group, version),
        "resources": resources,
    }


def _resources(info: ResourceInfo) -> Iterable[dict[str, Any]]:
    entry: dict[str, Any] = {
        "name": info.plural,
        "singularName": info.singular,
        "namespaced": info.namespaced,
        "kind": info.kind,
        "verbs": list(info.verbs),
    }
    if info.short_names:
        entry["shortNames"] = list(info.short_names)
    if info.categories:
        entry["categories"] = list(info.categories)
    yield entry
    for name in info.subresources:
        kind = subresource_kind(info, name)
        entry = {
            "name": f"{info.plural}/{name}",
            "singularName": "",
            "namespaced": info.namespaced,
            "kind": kind[2],
            "verbs": list(subresource_verbs(name)),
        }
        if kind[:2] != (info.group, info.version):
            entry |= {"group": kind[0], "version": kind[1]}
        yield entry


def subresource_kind(info: ResourceInfo, name: str) -> tuple[str, str, str]:
    """Return group, version and kind of what a subresource takes and gives."""
    if name == "scale":
        return ("autoscaling", "v1", "Scale")
    if name == "proxy":
        return (info.group, info.version, f"{info.kind}ProxyOptions")
    return _CREATE_ONLY.get(name, (info.group, info.version, info.kind))


def subresource_verbs(name: str) -> tuple[str, ...]:
    """Return the verbs of a subresource."""
    if name in _CREATE_ONLY:
        return ("create",)
    if name == "log":
        return ("get",)
    if name == "finalize":
        return ("update",)
    if name == "proxy":
        return ("create", "delete", "get", "patch", "update")
    return _SUBRESOURCE_VERBS


def aggregated(catalogue: Catalogue, *, core: bool, version: Literal["v2", "v2beta1"] = "v2") -> Object:
    """Return the aggregated discovery of `/api` (core) or `/apis` (all other groups)."""
    items = [
        {
            "metadata": {"name": group, "creationTimestamp": None},
            "versions": _versions(catalogue, group, versions),
        }
        for group, versions in catalogue.groups().items()
        if (group == "") == core
    ]
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": items,
    }


def _versions(catalogue: Catalogue, group: str, versions: list[str]) -> list[dict[str, Any]]:
    return [
        {
            "version": version,
            "resources": [_aggregated(info) for info in catalogue.group_version(group, version)],
            "freshness": "Current",
        }
        for version in versions
    ]


def _aggregated(info: ResourceInfo) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "resource": info.plural,
        "responseKind": _kind((info.group, info.version, info.kind)),
        "scope": "Namespaced" if info.namespaced else "Cluster",
        "singularResource": info.singular,
        "verbs": list(info.verbs),
    }
    if info.short_names:
        entry["shortNames"] = list(info.short_names)
    if info.categories:
        entry["categories"] = list(info.categories)
    if info.subresources:
        entry["subresources"] = [
            {
                "subresource": name,
                "responseKind": _kind(subresource_kind(info, name)),
                "verbs": list(subresource_verbs(name)),
            }
            for name in info.subresources
        ]
    return entry


def _kind(kind: tuple[str, str, str]) -> dict[str, str]:
    return {"group": kind[0], "version": kind[1], "kind": kind[2]}
