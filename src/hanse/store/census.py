"""What in etcd is sealed with which key, and what of it cannot be opened.

Owns `take`, which reads all objects and credentials once and keeps nothing of them but counts. It is what
tells whether a key may go: the services count too, but each only what it has read.

Concurrency: pages of a list, one after the other.

Next: `hanse keys`, in `hanse_local.keys.commands`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from hanse.errors import HanseError
from hanse.security import credentials, sealing
from hanse.security.credentials import Sealer
from hanse.security.envelope import is_sealed
from hanse.security.keyring import KeyName, KeyRing
from hanse.security.sealing import ObjectSealer
from hanse.store.keys import CREDENTIALS, OBJECTS, last_segment
from hanse.store.types import KeyValue, Store

_PAGE: Final = 500
NAMED: Final = 20
"""How many that cannot be opened are named."""


@dataclass(slots=True)
class Census:
    """What is sealed with the keys of one ring."""

    sealed: Counter[KeyName] = field(default_factory=Counter)
    openable: Counter[KeyName] = field(default_factory=Counter)
    """Of `sealed`, what can be opened."""
    unreadable: int = 0
    reasons: list[str] = field(default_factory=list)
    """Why, for the first of those that cannot be opened."""

    def count(self, key_id: str) -> int:
        """Return how much is sealed with a key of the file."""
        return self.sealed[KeyName(key_id)]

    @property
    def by_id(self) -> dict[str, int]:
        """How much is sealed with each key, the plugin's among them."""
        found: Counter[str] = Counter()
        for name, count in self.sealed.items():
            found[name.id] += count
        return dict(found)

    @property
    def plugin_keys(self) -> tuple[str, ...]:
        """Ids of the keys of a KMS plugin that something is sealed with."""
        return tuple(sorted({name.id for name in self.sealed if name.grant}))


async def take_objects(store: Store, ring: KeyRing | None = None) -> Census:
    """Count sealed objects; with `ring` also try whether they can be opened. Raises HanseError."""

    def open_one(kv: KeyValue) -> bytes:
        return ObjectSealer(ring or ()).open(kv.key, kv.value)

    return await _take(
        store,
        f"{OBJECTS}/",
        ring,
        sealed_with=lambda kv: sealing.sealed_with(kv.value),
        counts=lambda kv: is_sealed(kv.value),
        open_one=None if ring is None else open_one,
    )


async def take_credentials(store: Store, ring: KeyRing | None = None) -> Census:
    """Count credentials, as `take_objects`."""

    def open_one(kv: KeyValue) -> bytes:
        return Sealer(ring or ()).open(last_segment(kv.key), kv.value)

    return await _take(
        store,
        f"{CREDENTIALS}/",
        ring,
        sealed_with=lambda kv: credentials.sealed_with(kv.value),
        counts=lambda kv: True,
        open_one=None if ring is None else open_one,
    )


async def _take(
    store: Store,
    prefix: str,
    ring: KeyRing | None,
    *,
    sealed_with: Callable[[KeyValue], KeyName | None],
    counts: Callable[[KeyValue], bool],
    open_one: Callable[[KeyValue], bytes] | None,
) -> Census:
    found = Census()
    after: str | None = None
    revision = 0
    while True:
        page = await store.range(prefix, start_after=after, limit=_PAGE, revision=revision)
        revision = revision or page.revision
        sealed = [kv for kv in page.items if counts(kv)]
        names = {kv.key: name for kv in sealed if (name := sealed_with(kv)) is not None}
        found.sealed.update(names.values())
        if ring is not None:
            await ring.fetch(list(names.values()))
        for kv, reason in _tried(sealed, open_one):
            if not reason:
                found.openable.update([names[kv.key]] if kv.key in names else [])
                continue
            found.unreadable += 1
            if len(found.reasons) < NAMED:
                found.reasons.append(reason)
        if not page.more:
            return found
        after = page.items[-1].key


def _tried(
    items: Iterable[KeyValue], open_one: Callable[[KeyValue], bytes] | None
) -> Iterator[tuple[KeyValue, str]]:
    """Yield each with why it cannot be opened, "" if it can; none if there is nothing to open with."""
    if open_one is None:
        return
    for kv in items:
        try:
            open_one(kv)
        except HanseError as error:
            yield kv, error.message
        else:
            yield kv, ""
