"""What each policy does, counted from the placements: they name the policies that had a say.

Owns `PolicyNames`, the part of a placement that is about policies, and `PolicyUse`, the counts. A change of a
placement costs as much as it names policies and clusters, however many objects a policy selects.

Changed by the view only, from the cache's task. Next: `hanse_apiserver.views.policy_view`, which shows it.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from hanse.api.scheduler.v1.placement_pb2 import Placement


@dataclass(frozen=True, slots=True)
class PolicyNames:
    """The titles of the policies that a placement names, and the clusters that it places the object in."""

    decides: str = ""
    shadowed: tuple[str, ...] = ()
    overriding: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()

    @classmethod
    def of(cls, placement: Placement) -> PolicyNames:
        """Return what a placement says of policies; nothing if it says nothing."""
        if not placement.policy and not placement.override_policies:
            return NOBODY
        return cls(
            decides=sys.intern(placement.policy),
            shadowed=_interned(placement.shadowed_policies),
            overriding=_interned(placement.override_policies),
            clusters=_interned(entry.cluster for entry in placement.clusters),
        )

    @property
    def titles(self) -> tuple[str, ...]:
        """All policies that are named."""
        return tuple(filter(None, (self.decides, *self.shadowed, *self.overriding)))


NOBODY = PolicyNames()


@dataclass(slots=True)
class Use:
    """What one policy does. `objects` counts those that it decides about or overrides, `clusters` how many of
    them are in each cluster, and `shadowed` those that another policy decides about, by that policy."""

    objects: int = 0
    clusters: Counter[str] = field(default_factory=Counter)
    shadowed: Counter[str] = field(default_factory=Counter)


class PolicyUse:
    """The counts of all policies, by title."""

    def __init__(self) -> None:
        self._uses: dict[str, Use] = {}

    def clear(self) -> None:
        """Forget everything."""
        self._uses.clear()

    def of(self, title: str) -> Use:
        """Return what the policy with this title does."""
        return self._uses.get(title) or Use()

    def change(self, before: PolicyNames, after: PolicyNames) -> set[str]:
        """Count a placement that changed; return the titles of the policies that this is about."""
        if before == after:
            return set()
        self._count(before, -1)
        self._count(after, 1)
        return {*before.titles, *after.titles}

    def _count(self, named: PolicyNames, by: int) -> None:
        for title in filter(None, (named.decides, *named.overriding)):
            use = self._uses.setdefault(title, Use())
            use.objects += by
            for cluster in named.clusters:
                _add(use.clusters, cluster, by)
        for title in named.shadowed:
            _add(self._uses.setdefault(title, Use()).shadowed, named.decides, by)
        for title in set(named.titles):
            use = self._uses[title]
            if not use.objects and not use.shadowed:
                del self._uses[title]


def _add(counter: Counter[str], key: str, by: int) -> None:
    counter[key] += by
    if not counter[key]:
        del counter[key]


def _interned(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(sys.intern(text) for text in texts)
