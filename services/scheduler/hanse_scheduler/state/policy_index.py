"""The policies that there are, by what they are about, and which of them count for an object.

Owns `PolicyIndex`, and the order among policies that select the same object: of placement policies one
decides, of override policies all apply and the one that wins comes last.

Concurrency: one event loop; the functions are pure. Next: `hanse_scheduler.decide.policies` for what a policy
says, `hanse_scheduler.state.selection`, which asks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

from hanse.kube.model.objects import Object, namespace_of
from hanse_scheduler.decide.policies import OverridePolicy, PlacementPolicy, PolicyHead, selects


class _Policy(Protocol):
    @property
    def head(self) -> PolicyHead: ...


P = TypeVar("P", bound=_Policy)


class PolicyIndex(Generic[P]):
    """Policies by the group and kind that they are about. `version` counts its changes."""

    def __init__(self) -> None:
        self.version = 0
        self._by_key: dict[str, P] = {}
        self._by_kind: dict[tuple[str, str], dict[str, P]] = {}

    def set(self, key: str, policy: P | None) -> P | None:
        """Put or (None) remove the policy stored at `key`; return what was there."""
        self.version += 1
        old = self._by_key.pop(key, None)
        if old is not None:
            for selector in old.head.selectors:
                self._by_kind.get((selector.group, selector.kind), {}).pop(key, None)
        if policy is not None:
            self._by_key[key] = policy
            for selector in policy.head.selectors:
                self._by_kind.setdefault((selector.group, selector.kind), {})[key] = policy
        return old

    def about(self, obj: Object, *, group: str) -> tuple[P, ...]:
        """Return the policies that may select the object: they are about its kind, and in its namespace."""
        candidates = self._by_kind.get((group, str(obj.get("kind", ""))))
        if not candidates:
            return ()
        near = ("", namespace_of(obj))
        return tuple(policy for policy in candidates.values() if policy.head.namespace in near)

    def heads(self, title: str) -> list[PolicyHead]:
        """Return the head of the policy with this title, if there is one."""
        return [policy.head for policy in self._by_key.values() if policy.head.title == title]

    def __len__(self) -> int:
        return len(self._by_key)


def selecting(policies: Iterable[P], obj: Object, *, group: str) -> list[P]:
    """Return those of the policies that select the object."""
    return [policy for policy in policies if selects(policy.head, obj, group=group)]


def ranking(policies: Iterable[PlacementPolicy]) -> list[PlacementPolicy]:
    """Return the placement policies by precedence: the first decides."""
    return sorted(policies, key=lambda item: _rank(item.head))


def applying(policies: Iterable[OverridePolicy]) -> list[OverridePolicy]:
    """Return the override policies in the order in which they apply: what wins comes last."""
    return sorted(policies, key=lambda item: _rank(item.head), reverse=True)


def _rank(head: PolicyHead) -> tuple[int, bool, float, str, str]:
    return -head.priority, not head.namespace, head.created, head.namespace, head.name
