"""All that a cluster has: every object of every resource that can be listed, to compare before and after.

Owns what counts as restless: what a cluster writes by itself all the time is compared without its contents,
and Events, which come and go, not at all. Everything else is compared as it is, resourceVersion included: not
one write may have been made to it.

Concurrency: none. Next: `api`.
"""

from __future__ import annotations

from collections.abc import Iterable

from .api import Api, Json
from .waiting import until

_LEFT_OUT = frozenset({"events"})
_RESTLESS = frozenset({"componentstatuses", "leases", "nodes"})
_VERSIONS = ("resourceVersion", "managedFields", "generation")


def dump(api: Api) -> dict[str, Json]:
    """Return all objects by path; of restless ones the metadata without versions."""
    found: dict[str, Json] = {}
    for root in ("/api/v1", *_group_roots(api)):
        for resource in api.request("GET", root)["resources"]:
            name = resource["name"]
            if "/" in name or "list" not in resource["verbs"] or name in _LEFT_OUT:
                continue
            for item in api.request("GET", f"{root}/{name}")["items"]:
                data = item["metadata"]
                kept = {"metadata": _unversioned(data)} if name in _RESTLESS else item
                found[f"{root}/{name}/{data.get('namespace', '')}/{data['name']}"] = kept
    return found


def settled(api: Api) -> dict[str, Json]:
    """Wait until the cluster is at rest, and return its dump."""
    last: dict[str, Json] = {}

    def same() -> bool:
        nonlocal last
        before, last = last, dump(api)
        return before == last

    until(same, what="the cluster is at rest", seconds=60)
    return last


def unversioned(objects: dict[str, Json]) -> dict[str, Json]:
    """Return a dump without what tells only how often, and by whom, an object was written."""
    return {path: {**item, "metadata": _unversioned(item["metadata"])} for path, item in objects.items()}


def differences(before: dict[str, Json], after: dict[str, Json], *, but: Iterable[str] = ()) -> list[str]:
    """Return which paths came, went or changed; not those that contain one of `but`."""
    said = [f"gone {path}" for path in before.keys() - after.keys()]
    said += [f"new {path}" for path in after.keys() - before.keys()]
    said += [f"changed {path}" for path in before.keys() & after.keys() if before[path] != after[path]]
    return sorted(line for line in said if not any(part in line for part in but))


def check_same(before: dict[str, Json], after: dict[str, Json], *, but: Iterable[str] = ()) -> None:
    """Fail unless `differences` finds none."""
    found = differences(before, after, but=but)
    assert not found, f"the cluster has changed: {found[:10]}"


def _unversioned(metadata: Json) -> Json:
    return {name: value for name, value in metadata.items() if name not in _VERSIONS}


def _group_roots(api: Api) -> list[str]:
    groups = api.request("GET", "/apis")["groups"]
    return [f"/apis/{group['preferredVersion']['groupVersion']}" for group in groups]
