"""What another API server serves, read from its discovery: aggregated where it can, else group by group.

All or nothing: a part that cannot be read is an error, since an incomplete catalogue would read as if kinds
were gone. Next: `hanse.kube.client.client`.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from hanse.errors import HanseError, UnavailableError
from hanse.kube.client.expect import GROUPS, Expected, resource_list
from hanse.kube.kinds.resource_info import ResourceInfo
from hanse.kube.model.objects import Object, api_version, mapping, parse_api_version, sequence

_AGGREGATED = (
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
)


class _Reader(Protocol):
    async def call(self, method: str, path: str, *, expect: Expected, accept: str = ...) -> Object: ...


async def discover(client: _Reader) -> list[ResourceInfo]:
    """Return the resources of a server, group by group, the preferred version of each first."""
    core, others = await asyncio.gather(
        *(client.call("GET", path, expect=GROUPS, accept=_AGGREGATED) for path in ("/api", "/apis"))
    )
    if core.get("kind") == others.get("kind") == "APIGroupDiscoveryList":
        return [*_aggregated(core), *_aggregated(others)]
    return await _legacy(client, core, others)


def _aggregated(document: Object) -> list[ResourceInfo]:
    result = []
    for group in sequence(document, "items"):
        name = str(mapping(group, "metadata").get("name") or "")
        for version in sequence(group, "versions"):
            if version.get("freshness", "Current") != "Current":
                raise UnavailableError(
                    f"discovery of {name}/{version.get('version')} is {version.get('freshness')}: the API"
                    " server cannot reach what serves it"
                )
            entries = sequence(version, "resources")
            result += [_from_aggregated(name, str(version["version"]), entry) for entry in entries]
    return result


def _from_aggregated(group: str, version: str, entry: dict[str, Any]) -> ResourceInfo:
    kind = mapping(entry, "responseKind")
    return _info(
        group, version, plural=str(entry["resource"]), kind=str(kind.get("kind") or ""),
        singular=str(entry.get("singularResource") or ""), namespaced=entry.get("scope") == "Namespaced",
        entry=entry, subresources=[str(s["subresource"]) for s in sequence(entry, "subresources")],
    )  # fmt: skip


async def _legacy(client: _Reader, core: Object, others: Object) -> list[ResourceInfo]:
    versions = [("", str(v)) for v in sequence(core, "versions")]
    for group in sequence(others, "groups"):
        preferred = mapping(group, "preferredVersion").get("groupVersion")
        listed = [str(v["groupVersion"]) for v in sequence(group, "versions")]
        ordered = sorted(listed, key=lambda v, p=preferred: v != p)  # type: ignore[misc]
        versions += [parse_api_version(v) for v in ordered]
    documents = await asyncio.gather(*(_resources(client, group, version) for group, version in versions))
    result = []
    for (group, version), document in zip(versions, documents, strict=True):
        result += _from_list(group, version, document)
    return result


async def _resources(client: _Reader, group: str, version: str) -> Object:
    path = f"/apis/{group}/{version}" if group else f"/api/{version}"
    try:
        return await client.call("GET", path, expect=resource_list(api_version(group, version)))
    except HanseError as error:
        raise UnavailableError(f"discovery of {group}/{version} failed: {error}") from error


def _from_list(group: str, version: str, document: Object) -> list[ResourceInfo]:
    entries = sequence(document, "resources")
    subresources: dict[str, list[str]] = {}
    for entry in entries:
        plural, slash, name = str(entry["name"]).partition("/")
        if slash:
            subresources.setdefault(plural, []).append(name)
    return [
        _info(
            group,
            version,
            plural=str(e["name"]),
            kind=str(e["kind"]),
            singular=str(e.get("singularName") or ""),
            namespaced=bool(e.get("namespaced")),
            entry=e,
            subresources=subresources.get(str(e["name"]), []),
        )
        for e in entries
        if "/" not in str(e["name"])
    ]


def _info(
    group: str, version: str, *, plural: str, kind: str, singular: str, namespaced: bool,
    entry: dict[str, Any], subresources: list[str],
) -> ResourceInfo:  # fmt: skip
    return ResourceInfo(
        group=group, version=version, kind=kind, plural=plural, singular=singular or kind.lower(),
        namespaced=namespaced, short_names=tuple(sequence(entry, "shortNames")),
        categories=tuple(sequence(entry, "categories")), verbs=tuple(sequence(entry, "verbs")),
        subresources=tuple(subresources), storage_group=group, storage_version=version,
        storage_resource=plural,
    )  # fmt: skip
