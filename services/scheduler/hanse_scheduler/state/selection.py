"""Which policies are about an object, and which objects a policy is about.

Owns `PolicySelection`: the placement and override policies, the question for one object, and the search for
the objects that a changed policy selects. The search takes slices of the event loop's time, since a policy
can be about ten thousand objects; an object that very many selectors may select is compared with them in a
thread.

Concurrency: one event loop. Next: `hanse_scheduler.decide.policies` for what a policy says.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from hanse.boundary import Boundary
from hanse.paths import resource_of
from hanse.turns import SLICE_SECONDS
from hanse_scheduler.decide.policies import (
    OverridePolicy,
    PlacementPolicy,
    PolicyHead,
    names,
    selects,
)
from hanse_scheduler.state.object_index import ObjectIndex
from hanse_scheduler.state.policy_index import PolicyIndex, applying, ranking, selecting
from hanse_scheduler.state.records import ObjectRecord

MANY_SELECTORS: Final = 5_000
"""Selectors that an object is compared with on the loop: about 5 ms."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The placement policy that decides about an object, if any, those that it takes precedence over, and the
    override policies in the order in which they apply."""

    placing: PlacementPolicy | None
    changing: list[OverridePolicy]
    shadowed: Sequence[PlacementPolicy] = ()


@dataclass(frozen=True, slots=True)
class SupposedPolicy:
    """A policy as it would be stored, in the field of its kind; with neither, as it would be deleted."""

    title: str
    placing: tuple[PlacementPolicy, ...] = ()
    changing: tuple[OverridePolicy, ...] = ()


class PolicySelection:
    """The policies and what they select. `selected` is called with each path that a changed policy is
    about."""

    def __init__(self, objects: ObjectIndex, *, selected: Callable[[str], None]) -> None:
        self._objects = objects
        self._selected = selected
        self._placing: PolicyIndex[PlacementPolicy] = PolicyIndex()
        self._changing: PolicyIndex[OverridePolicy] = PolicyIndex()
        self._searches: deque[Iterator[None]] = deque()
        self._scheduled = False
        self._boundary = Boundary("scheduler policies")

    @property
    def has_overrides(self) -> bool:
        """Whether any override policy may look at the whole of an object."""
        return bool(len(self._changing))

    @property
    def versions(self) -> tuple[int, int]:
        """Change with every change of a policy."""
        return self._placing.version, self._changing.version

    def set_placing(self, path: str, policy: PlacementPolicy | None) -> None:
        """Take a placement policy in, or out, and look for the objects that it is or was about."""
        replaced = self._placing.set(path, policy)
        self._search(replaced.head if replaced else None, policy.head if policy else None)

    def set_changing(self, path: str, policy: OverridePolicy | None) -> None:
        """Take an override policy in, or out, and look for the objects that it is or was about."""
        replaced = self._changing.set(path, policy)
        self._search(replaced.head if replaced else None, policy.head if policy else None)

    async def of(
        self, path: str, record: ObjectRecord, *, supposing: SupposedPolicy | None = None
    ) -> Selection | None:
        """Return the policies that select the object; None if policies changed while that was found out.

        `supposing` is a policy that is taken for stored, or for deleted.
        """
        group = resource_of(path)[0]
        placing: Collection[PlacementPolicy] = self._placing.about(record.reduced, group=group)
        changing: Collection[OverridePolicy] = self._changing.about(record.reduced, group=group)
        if supposing is not None:
            placing = [*(each for each in placing if each.head.title != supposing.title), *supposing.placing]
            changing = [
                *(each for each in changing if each.head.title != supposing.title),
                *supposing.changing,
            ]
        heads = [*(policy.head for policy in placing), *(policy.head for policy in changing)]
        if sum(len(head.selectors) for head in heads) <= MANY_SELECTORS:
            return _selection(record, placing, changing, group=group)
        versions = self.versions
        found = await asyncio.to_thread(_selection, record, placing, changing, group=group)
        return found if versions == self.versions else None

    def about(self, supposed: SupposedPolicy) -> Iterator[str]:
        """Yield the path of each object that a policy selects, as it is stored or as it is supposed; "" after
        each one that it does not, so that whoever iterates can give way to others."""
        heads = [each.head for each in supposed.placing] + [each.head for each in supposed.changing]
        heads += self._placing.heads(supposed.title) + self._changing.heads(supposed.title)
        for group, kind in {(each.group, each.kind) for head in heads for each in head.selectors}:
            for path in self._objects.of_kind(group, kind):
                record = self._objects.get(path)
                meant = record is not None and any(selects(h, record.reduced, group=group) for h in heads)
                yield path if meant else ""

    def _search(self, *heads: PolicyHead | None) -> None:
        """Look for the objects that any of the policies selects: what takes long, in later turns of the
        loop."""
        self._searches.extend(self._selected_by(head) for head in heads if head is not None)
        if not self._scheduled:
            self._go_on()

    def _go_on(self) -> None:
        """Search for the length of a slice; go on in the loop's next turn."""
        until = time.perf_counter() + SLICE_SECONDS
        while self._searches and time.perf_counter() < until:
            try:
                next(self._searches[0])
            except StopIteration:
                self._searches.popleft()
        self._scheduled = bool(self._searches)
        if self._scheduled:
            asyncio.get_running_loop().call_soon(self._go_on)

    def _selected_by(self, head: PolicyHead) -> Iterator[None]:
        """Yield after each object that a policy may select; report those that it does or cannot be compared
        with."""
        for group, kind in {(selector.group, selector.kind) for selector in head.selectors}:
            for path in self._objects.of_kind(group, kind):
                record = self._objects.get(path)
                if record is not None:
                    try:
                        meant = selects(head, record.reduced, group=group)
                    except Exception as error:  # noqa: BLE001 - its decision says what is wrong with it
                        meant = bool(self._boundary.failed(path, error))
                    if meant:
                        self._selected(path)
                yield


def _selection(
    record: ObjectRecord,
    placing: Iterable[PlacementPolicy],
    changing: Iterable[OverridePolicy],
    *,
    group: str,
) -> Selection:
    """Return which of the policies are about the object; of what belongs to clusters those that name it."""
    found = selecting(placing, record.reduced, group=group)
    if record.belongs:
        found = [policy for policy in found if names(policy.head, record.reduced, group=group)]
    ranked = ranking(found)
    return Selection(
        placing=ranked[0] if ranked else None,
        changing=applying(selecting(changing, record.reduced, group=group)),
        shadowed=ranked[1:],
    )
