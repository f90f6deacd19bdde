"""The kinds that a server knows from its start, each with its strategy.

A `KindRegistry` is a value: made once, given to an engine's catalogue, never changed. What CRDs add at run
time is in the catalogue alone. Next: `hanse.kube.kinds.catalogue`; `hanse.kube.kinds.builtin` for Kubernetes'
own kinds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from hanse.kube.kinds.kind import Kind
from hanse.kube.kinds.resource_info import ResourceInfo
from hanse.kube.kinds.strategy import NO_STRATEGY, Strategy


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
        deprecation=kind.deprecation,
        strategy=strategy,
        lenient=kind.lenient,
    )
