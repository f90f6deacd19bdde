"""What a history is made of: changes of states, and how a change looks through a selection. Pure.

Owns the rule that a state which was selected and is no longer is deleted for whoever watches the selection.

Next: `hanse.store.history.log`, which keeps changes; `hanse.store.history.contract`, which streams them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, TypeAlias, TypeVar

K = TypeVar("K")
T = TypeVar("T")
K_co = TypeVar("K_co", covariant=True)
T_co = TypeVar("T_co", covariant=True)

ChangeType: TypeAlias = Literal["ADDED", "MODIFIED", "DELETED"]
"""What a change is for whoever sees it."""

Select: TypeAlias = Callable[[K, T], bool]
"""Chooses states by their key and value."""


class Revisioned(Protocol):
    """Anything that happened at a revision."""

    @property
    def revision(self) -> int:
        """Return the revision of the store at which it happened."""


class RecordedChange(Revisioned, Protocol[K_co, T_co]):
    """One change of one key; one without a new state is a deletion."""

    @property
    def key(self) -> K_co:
        """Return what changed."""

    @property
    def old(self) -> T_co | None:
        """Return the state before, None if there was none or it is not known."""

    @property
    def new(self) -> T_co | None:
        """Return the state from now on, None if there is none."""


def seen_through(change: RecordedChange[K, T], select: Select[K, T]) -> ChangeType | None:
    """Return what a change is for a watch of the states that `select` chooses; None if it is not seen.

    One that was chosen and is no longer is deleted for that watch, one that was not and is now is added.
    """
    before = change.old is not None and select(change.key, change.old)
    if change.new is not None and select(change.key, change.new):
        return "MODIFIED" if before else "ADDED"
    return "DELETED" if before else None


def everything(key: object, value: object) -> bool:
    """Choose all states."""
    return True
