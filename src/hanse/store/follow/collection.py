"""The decoded values under one prefix of the store, as a follower keeps them: what controllers read from.

Owns `Collection`. A value that cannot be decoded, or that a subscriber raises on, is named in `broken`, and
what was known of its key before stays: unknown is not empty. It stops neither the follower nor the news of
other keys. Subscribers are called right after the change, in the order of revisions, on the loop; they must
be quick and must not await. `decode` must be pure: large values are decoded in a thread.

Concurrency: one event loop; changed between two awaits, so do not await while going through it.

Next: `hanse.store.follow.follower`, which fills it.
"""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from types import MappingProxyType
from typing import Generic, Protocol, TypeVar

from hanse.boundary import Boundary
from hanse.store import keys
from hanse.store.follow.list_watch import ListWatch
from hanse.store.types import KeyValue

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


class OnChange(Protocol[T_contra]):
    """A subscriber. `old` is None for a key that is new, `new` None for one that was deleted."""

    def __call__(
        self, key: str, old: T_contra | None, new: T_contra | None, revision: int, /
    ) -> None:  # pragma: no cover
        """Take note that `key` changed at `revision`."""


@dataclass(frozen=True, slots=True)
class Versioned(Generic[T]):
    """A decoded value with the revisions to compare with when writing what is derived from it."""

    value: T
    mod_revision: int
    create_revision: int


@dataclass(frozen=True, slots=True)
class Difference(Generic[T]):
    """One change of one key, as subscribers are told it."""

    key: str
    old: T | None
    new: T | None
    revision: int


@dataclass(frozen=True, slots=True)
class DecodedValue(Generic[T]):
    """What came of a stored value: `result` is what was raised if it cannot be read."""

    key: str
    mod_revision: int
    result: Versioned[T] | Exception


class Collection(Generic[T]):
    """The values of the keys that start with `prefix`. `decode` makes a value of a `KeyValue`; what it raises
    marks that key as broken. Give it to a `Follower`."""

    def __init__(self, prefix: str, decode: Callable[[KeyValue], T]) -> None:
        self.prefix = prefix
        self._decode = decode
        self._values: dict[str, Versioned[T]] = {}
        self._broken: dict[str, int] = {}
        self._subscribers: list[OnChange[T]] = []
        self._follower: ListWatch | None = None
        self._boundary = Boundary(f"follower {prefix.partition('/')[0] or 'all'}")

    # --- reading

    @property
    def revision(self) -> int:
        """The revision that the values are of; 0 before the first list."""
        return self._followed_by.watermark(self.prefix).revision

    async def reached(self, revision: int, timeout: float = 10.0) -> None:
        """Wait until the values are of `revision` or later, as `ListWatch.reached`; other spans may lag."""
        await self._followed_by.reached(revision, timeout, prefix=self.prefix)

    async def current(self, timeout: float = 10.0) -> int:
        """Wait until the values are as new as the store is now; see `ListWatch.current`."""
        return await self._followed_by.current(timeout, prefix=self.prefix)

    @property
    def broken(self) -> Mapping[str, int]:
        """Keys whose current value cannot be decoded or taken in, with the revision of that value."""
        return MappingProxyType(self._broken)

    def is_unknown(self, key: str) -> bool:
        """Return whether a key is stored, and none of its values could ever be read.

        What it says is not known, which is not the same as that it is not there.
        """
        return key in self._broken and key not in self._values

    def unknown(self) -> list[str]:
        """Return the keys of which `is_unknown` is true."""
        return [key for key in self._broken if key not in self._values]

    def get(self, key: str) -> T | None:
        """Return the value of a key, or None."""
        found = self._values.get(key)
        return None if found is None else found.value

    def versioned(self, key: str) -> Versioned[T] | None:
        """Return the value of a key with its revisions, or None."""
        return self._values.get(key)

    def keys(self) -> KeysView[str]:
        """Return a live view of the keys, in no order."""
        return self._values.keys()

    def items(self) -> Iterator[tuple[str, T]]:
        """Yield (key, value), in no order."""
        return ((key, found.value) for key, found in self._values.items())

    def all_versioned(self) -> ItemsView[str, Versioned[T]]:
        """Return a live view of (key, value with revisions), in no order."""
        return self._values.items()

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def subscribe(self, on_change: OnChange[T], *, replay: bool = False) -> Callable[[], None]:
        """Call `on_change` for each change from now on; return what ends that.

        With `replay`, first call it once for everything that is there.
        """
        if replay:
            for key, found in list(self._values.items()):
                self._tell_one(on_change, Difference(key, None, found.value, found.mod_revision))
        self._subscribers.append(on_change)
        return lambda: self._subscribers.remove(on_change)

    # --- for the follower

    def attach(self, follower: ListWatch) -> None:
        """Be as far as `follower` is from now on. Raises ValueError if another one fills it."""
        if self._follower is not None:
            raise ValueError(f"{self.prefix} is followed already")
        self._follower = follower

    def decode(self, kv: KeyValue) -> DecodedValue[T]:
        """Decode a stored value. Pure."""
        try:
            keys.check(kv.key)
            value = Versioned(self._decode(kv), kv.mod_revision, kv.create_revision)
            return DecodedValue(kv.key, kv.mod_revision, value)
        except Exception as error:  # noqa: BLE001 - one bad value must not stop the others
            return DecodedValue(kv.key, kv.mod_revision, error)

    def set(self, decoded: DecodedValue[T]) -> Difference[T] | None:
        """Take a value in; return what subscribers are to be told."""
        key, result = decoded.key, decoded.result
        if isinstance(result, Exception):
            self._broken[key] = decoded.mod_revision
            self._boundary.failed(key, result)
            return None
        if self._broken:
            self._broken.pop(key, None)
        old = self._values.get(key)
        self._values[key] = result
        return Difference(key, old.value if old is not None else None, result.value, decoded.mod_revision)

    def drop(self, key: str, revision: int) -> Difference[T] | None:
        """Take a deletion in; return what subscribers are to be told."""
        self._broken.pop(key, None)
        old = self._values.pop(key, None)
        return None if old is None else Difference(key, old.value, None, revision)

    def tell(self, difference: Difference[T]) -> None:
        """Tell all subscribers."""
        for subscriber in tuple(self._subscribers):
            self._tell_one(subscriber, difference)

    def differs(self, kv: KeyValue) -> bool:
        """Return whether a listed value is not what is known of its key.

        What could not be read may be readable now, though nobody has written it: an encryption key came back.
        """
        known = self._values.get(kv.key)
        return kv.key in self._broken or known is None or known.mod_revision != kv.mod_revision

    def missing(self, there: AbstractSet[str]) -> list[str]:
        """Return the keys that are known and not `there`."""
        return [key for key in self._values.keys() | self._broken.keys() if key not in there]

    def count(self) -> int:
        """Return how many keys are stored, those that cannot be read among them."""
        return len(self._values) + len(self._broken.keys() - self._values.keys())

    @property
    def _followed_by(self) -> ListWatch:
        if self._follower is None:
            raise ValueError(f"{self.prefix} was given to no follower")
        return self._follower

    def _tell_one(self, subscriber: OnChange[T], told: Difference[T]) -> None:
        """Tell one subscriber of one change. What it makes of a value that it raises on is not known."""
        try:
            subscriber(told.key, told.old, told.new, told.revision)
        except Exception as error:  # noqa: BLE001 - one bad value must not stop the others
            self._boundary.failed(told.key, error)
            current = self._values.get(told.key)
            if told.new is not None and current is not None and current.mod_revision == told.revision:
                self._broken[told.key] = told.revision
