"""What all suites ask for: a federation with three members, and a namespace of one's own in it.

A suite is a class of tests that are collected where it is subclassed: in `tests.system` with simulated
members, in `tests.real` with real ones. The fixtures `federation` and `ns` come from there.

Concurrency: none. Next: `objects`.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Collection, Iterator

from tests.system.harness import Api, ApiError, Federation, Json, until, until_passes
from tests.system.manifests import metadata

FEDERATION_LABEL = "hanse.dev/federation"
MANAGED_BY = "app.kubernetes.io/managed-by"

_numbers = itertools.count()


def fresh_namespace(federation: Federation) -> Iterator[str]:
    """A new namespace of the federation; it is deleted afterwards, without waiting for that."""
    name = f"t{os.getpid() % 10_000}-{next(_numbers)}"
    federation.api.create(
        "namespaces", "", {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata(name, "")}
    )
    yield name
    try:
        federation.api.delete("namespaces", "", name)
    except ApiError as error:
        if error.status not in {404, 409}:
            raise


def has(federation: Federation, resource: str, namespace: str, name: str) -> set[str]:
    """The members that have an object."""
    return {cluster for cluster, api in federation.each.items() if api.find(resource, namespace, name)}


def until_in(
    federation: Federation, clusters: Collection[str], resource: str, namespace: str, name: str
) -> None:
    """Wait until exactly these members have an object."""
    wanted = set(clusters)

    def check() -> None:
        assert has(federation, resource, namespace, name) == wanted

    until_passes(check, what=f"{resource} {namespace}/{name} is in {sorted(wanted) or 'no member'}")


def everywhere(federation: Federation, check: Callable[[Api], object], *, what: str) -> None:
    """Wait until `check` is true of every member."""
    for cluster, api in federation.each.items():
        until(lambda api=api: check(api), what=f"in {cluster}: {what}")  # type: ignore[misc]


def replicas(federation: Federation, resource: str, namespace: str, name: str) -> dict[str, int]:
    """spec.replicas in each member that has the object."""
    found: dict[str, int] = {}
    for cluster, api in federation.each.items():
        obj = api.find(resource, namespace, name)
        if obj is not None:
            found[cluster] = obj["spec"]["replicas"]
    return found


def events_on(federation: Federation, namespace: str, name: str) -> list[Json]:
    """The Events about an object of the federation, of type Warning."""
    return [
        event
        for event in federation.api.list("events", namespace)
        if event["involvedObject"]["name"] == name and event["type"] == "Warning"
    ]


def is_ours(obj: Json) -> bool:
    """Whether an object of a member has Hanse's marks."""
    labels = obj["metadata"].get("labels", {})
    return FEDERATION_LABEL in labels or labels.get(MANAGED_BY) == "hanse"
