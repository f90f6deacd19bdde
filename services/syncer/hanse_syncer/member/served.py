"""Which kinds of a member may have objects in a namespace, and which of them no list shows.

Owns the choice, from what `hanse.kube.client.discovery` has read. It is for what cannot be undone, where the
catalogue that the registry took a while ago is not enough. Pure functions; all or nothing: what the member
cannot tell of one group is not known of the whole.

Next: `hanse_syncer.act.namespaces`, which asks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from hanse.errors import UnavailableError
from hanse.kube.client.discovery import ServedApis, ServedResource

_READ: Final = frozenset({"get", "watch"})
_REVIEW: Final = frozenset({"create"})


def all_kinds(served: ServedApis) -> list[ServedResource]:
    """Return each resource once, in its group's preferred version. Raises UnavailableError for a doubt."""
    if served.unknown:
        raise UnavailableError(f"the cluster cannot tell what {min(served.unknown)} has")
    found: dict[tuple[str, str], ServedResource] = {}
    for resource in served.resources:
        found.setdefault((resource.group, resource.resource), resource)
    return [found[identity] for identity in sorted(found)]


def hidden(kinds: Iterable[ServedResource]) -> list[ServedResource]:
    """Return the namespaced kinds that may have objects which no list shows.

    Not those of which nothing is kept: that can only be read (metrics), or only be sent (reviews, bindings).
    A subresource is of the objects of its resource, in whichever group that is listed.
    """
    every = list(kinds)
    listed = {kind.resource for kind in every if kind.listable}
    return [
        kind
        for kind in every
        if kind.namespaced
        and not kind.listable
        and not _keeps_nothing(kind)
        and not (not kind.verbs and kind.resource.partition(".")[0] in listed)
    ]


def _keeps_nothing(kind: ServedResource) -> bool:
    verbs = kind.verbs or frozenset().union(*(verbs for _, verbs in kind.subresources))
    return bool(verbs) and (verbs <= _READ or verbs <= _REVIEW)
