"""What a member says that it serves, at the moment: read from its aggregated discovery.

Owns the reading, and which kinds can have objects that nobody can list. It is for what cannot be undone,
where the catalogue that the registry took a while ago is not enough. Pure functions; all or nothing: what the
member cannot tell of one group is not known of the whole.

Next: `hanse_syncer.act.namespaces`, which asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from hanse.errors import InvalidArgumentError
from hanse.kube.client.client import ResourcePath
from hanse.kube.model.objects import api_version, child, mapping, sequence

PATHS: Final = ("/api", "/apis")
KIND: Final = "APIGroupDiscoveryList"

_READ: Final = frozenset({"get", "watch"})
_REVIEW: Final = frozenset({"create"})


@dataclass(frozen=True, slots=True)
class Kind:
    """One resource, in the version that its group prefers. `verbs` of a mere subresource are its own."""

    group: str
    version: str
    resource: str
    kind: str
    namespaced: bool
    verbs: frozenset[str]
    partial: bool = False
    """Whether only subresources of it are served."""

    @property
    def listable(self) -> bool:
        """Whether its objects can be listed."""
        return not self.partial and "list" in self.verbs

    @property
    def path(self) -> ResourcePath:
        """Where its objects are listed."""
        return ResourcePath(api_version(self.group, self.version), self.resource, self.kind)


def kinds(documents: Iterable[Mapping[str, Any]]) -> list[Kind]:
    """Return all resources of APIGroupDiscoveryLists, each once. Raises InvalidArgumentError for a doubt."""
    found: dict[tuple[str, str], Kind] = {}
    for document in documents:
        groups = document.get("items")
        if document.get("kind") != KIND or not isinstance(groups, list):
            raise InvalidArgumentError("the cluster does not say what it serves")
        for group in groups:
            name = str(child(group, "metadata", "name") or "")
            for version in sequence(group, "versions"):
                label = str(child(version, "version") or "")
                if child(version, "freshness") == "Stale":
                    raise InvalidArgumentError(f"the cluster cannot tell what {name}/{label} has")
                for entry in sequence(version, "resources"):
                    kind = _kind(name, label, entry)
                    found.setdefault((kind.group, kind.resource), kind)
    return [found[identity] for identity in sorted(found)]


def _kind(group: str, version: str, entry: Any) -> Kind:
    verbs = frozenset(map(str, sequence(entry, "verbs")))
    partial = not verbs
    if partial:
        parts = sequence(entry, "subresources")
        verbs = frozenset(str(verb) for part in parts for verb in sequence(part, "verbs"))
    return Kind(
        group=group,
        version=version,
        resource=str(child(entry, "resource") or ""),
        kind=str(mapping(entry, "responseKind").get("kind") or ""),
        namespaced=child(entry, "scope") == "Namespaced",
        verbs=verbs,
        partial=partial,
    )


def hidden(served: Iterable[Kind]) -> list[Kind]:
    """Return the namespaced kinds that may have objects which no list shows.

    Not those of which nothing is kept: that can only be read (metrics), or only be sent (reviews, bindings).
    A subresource is of the objects of its resource, in whichever group that is listed.
    """
    every = list(served)
    listed = {kind.resource for kind in every if kind.listable}
    return [
        kind
        for kind in every
        if kind.namespaced
        and not kind.listable
        and not (kind.verbs and (kind.verbs <= _READ or kind.verbs <= _REVIEW))
        and not (kind.partial and kind.resource.partition(".")[0] in listed)
    ]
