"""The kinds that a server knows from its start, each with its strategy.

A `KindRegistry` is a value: made once, given to an engine's catalogue, never changed. What CRDs add at run
time is in the catalogue alone. `KUBERNETES` has Kubernetes' own kinds; what is left out, and why, is in
tests/real/test_discovery.py. Next: `hanse.kube.kinds.catalogue`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from hanse.kube.kinds.kind import Kind
from hanse.kube.kinds.kubernetes import (
    apps,
    autoscaling,
    batch,
    core,
    extensions,
    networking,
    scheduling,
    security,
    storage,
)
from hanse.kube.kinds.resource_info import ResourceInfo
from hanse.kube.kinds.strategy import NO_STRATEGY, Strategy

_DISCOVERY: Final = (
    "", "apiregistration.k8s.io", "apps", "events.k8s.io", "authentication.k8s.io", "authorization.k8s.io",
    "autoscaling", "batch", "certificates.k8s.io", "networking.k8s.io", "policy", "rbac.authorization.k8s.io",
    "storage.k8s.io", "admissionregistration.k8s.io", "apiextensions.k8s.io", "scheduling.k8s.io",
    "coordination.k8s.io", "node.k8s.io", "discovery.k8s.io", "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io", "storagemigration.k8s.io",
)  # fmt: skip
"""Kubernetes' groups in the order of discovery, which decides what a short name means to kubectl."""

KUBERNETES: Final = tuple(
    sorted(
        (
            *core.KINDS, *apps.KINDS, *autoscaling.KINDS, *batch.KINDS, *extensions.KINDS, *networking.KINDS,
            *scheduling.KINDS, *security.KINDS, *storage.KINDS,
        ),
        key=lambda kind: (_DISCOVERY.index(kind.group), kind.plural),
    )
)  # fmt: skip
"""Kubernetes' own kinds in discovery order."""


class KindRegistry:
    """Kinds with their strategies, found by name."""

    def __init__(self, kinds: Iterable[Kind], strategies: Mapping[Kind, Strategy] | None = None) -> None:
        """Take these kinds in discovery order; one that has no strategy is treated as all are."""
        self._kinds = tuple(kinds)
        self._strategies = dict(strategies or {})
        self._by_kind = {kind.group_kind: kind for kind in self._kinds}
        self._by_resource = {kind.group_plural: kind for kind in self._kinds}

    def __iter__(self) -> Iterator[Kind]:
        """Iterate over the kinds in discovery order."""
        return iter(self._kinds)

    def __add__(self, other: KindRegistry) -> KindRegistry:
        """Return a registry with the kinds of both, the other's last."""
        return KindRegistry((*self._kinds, *other._kinds), {**self._strategies, **other._strategies})

    def by_kind(self, group: str, name: str) -> Kind | None:
        """Return the kind that objects of the group call so; None if it is not known. `group` "" is core."""
        return self._by_kind.get((group, name))

    def by_resource(self, group: str, plural: str) -> Kind | None:
        """Return the kind whose resource is called so; None if it is not known."""
        return self._by_resource.get((group, plural))

    def strategy(self, kind: Kind) -> Strategy:
        """Return the strategy of a kind."""
        return self._strategies.get(kind, NO_STRATEGY)

    def resources(self) -> tuple[ResourceInfo, ...]:
        """Return each kind in each of its versions, in discovery order."""
        return tuple(
            _resource(kind, version, self.strategy(kind)) for kind in self._kinds for version in kind.versions
        )


def _resource(kind: Kind, version: str, strategy: Strategy) -> ResourceInfo:
    stored = kind.stored_as or kind
    return ResourceInfo(
        group=kind.group,
        version=version,
        kind=kind.name,
        plural=kind.plural,
        singular=kind.name.lower(),
        namespaced=kind.namespaced,
        short_names=kind.short_names,
        categories=kind.categories,
        verbs=kind.verbs,
        subresources=kind.subresources,
        storage_version=stored.versions[0],
        storage_group=stored.group,
        storage_resource=stored.plural,
        virtual=kind.virtual,
        schema=kind.schema,
        columns=kind.columns,
        selectable=kind.selectable,
        scale=kind.scale,
        strategy=strategy,
    )
