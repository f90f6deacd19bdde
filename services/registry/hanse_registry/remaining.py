"""What holds a cluster in the federation: placements, tombstones and sync states that still speak of it.

Owns the question that an unjoin, and a join under a name that was taken before, wait for, and the words that
say which object it is. What cannot be read counts as there: unknown is not empty. Reads only.

Next: `hanse_registry.membership_controller`, which asks once a second while a cluster leaves.
"""

from __future__ import annotations

from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.errors import HanseError
from hanse.federation.confirmation import is_removed
from hanse.federation.deletion.tombstones import copies_in, decode_tombstone, is_gone, word_of_state
from hanse.federation.placements import is_named
from hanse.federation.records import decode_placement
from hanse.messages import word_of
from hanse.store import Store, keys
from hanse.store.decoding import decode
from hanse.store.keys import ObjectKey

PAGE = 500


async def held_by(store: Store, cluster: str) -> str:
    """Return which object holds the cluster, where, and why, as one phrase; empty if nothing does."""
    return (
        await _placed_in(store, cluster) or await _left_in(store, cluster) or await _synced_to(store, cluster)
    )


async def _placed_in(store: Store, cluster: str) -> str:
    """Return what is said of the first object whose placement names the cluster."""
    after_key: str | None = None
    while True:
        page = await store.range(f"{keys.PLACEMENTS}/", start_after=after_key, limit=PAGE)
        for item in page.items:
            try:
                key = ObjectKey.parse(item.key)
            except HanseError:
                continue  # of no object
            try:
                placement = decode_placement(item)
            except ValueError:
                return f"{key}: its placement cannot be read, and it may name cluster {cluster}"
            if is_named(placement, cluster):
                return await _why_placed(store, key, cluster)
        if not page.more:
            return ""
        after_key = page.items[-1].key


async def _why_placed(store: Store, key: ObjectKey, cluster: str) -> str:
    said = await _not_removed(store, key, cluster)
    return said or f"{key} in cluster {cluster}: its placement names it, and the scheduler has not let go"


async def _left_in(store: Store, cluster: str) -> str:
    """Return what is said of the first deleted object that may be left in the cluster."""
    after_key: str | None = None
    while True:
        page = await store.range(f"{keys.TOMBSTONES}/", start_after=after_key, limit=PAGE)
        for item in page.items:
            try:
                key = ObjectKey.parse(item.key)
            except HanseError:
                continue  # of no object
            try:
                tombstone = decode_tombstone(item)
            except ValueError:
                return f"{key}: its tombstone cannot be read, and it may name cluster {cluster}"
            if not copies_in(tombstone, cluster):
                continue
            found = await store.get(key.sync_state(cluster))
            state = _state(found.value) if found is not None else None
            if not is_gone(tombstone, word_of_state(state), successor=await _placed_uid(store, key)):
                said = await _not_removed(store, key, cluster)
                return said or f"{key} in cluster {cluster}: it is deleted, and not known to have left"
        if not page.more:
            return ""
        after_key = page.items[-1].key


async def _placed_uid(store: Store, key: ObjectKey) -> str:
    """Return the uid of the object that is placed under a name now; "" for none."""
    found = await store.get(key.key(keys.PLACEMENTS))
    try:
        return decode_placement(found).object.uid if found is not None else ""
    except ValueError:
        return ""


async def _not_removed(store: Store, key: ObjectKey, cluster: str) -> str:
    """Return what the sync state says of an object that is not removed from the cluster."""
    found = await store.get(key.sync_state(cluster))
    state = _state(found.value) if found is not None else None
    return _words(key, state, cluster) if state is not None and not is_removed(state) else ""


async def _synced_to(store: Store, cluster: str) -> str:
    """Return what is said of the first object that is not confirmed to be removed from the cluster."""
    states = await store.range(f"{keys.SYNCSTATES}/", keys_only=True)
    for item in states.items:
        try:
            key, where = keys.parse_sync_state(item.key)
        except HanseError:
            continue  # of no object
        found = await store.get(item.key) if where == cluster else None
        if found is None:
            continue
        state = _state(found.value)
        if state is None:
            return f"{key} in cluster {cluster}: its sync state cannot be read"
        if not is_removed(state):
            return _words(key, state, cluster)
    return ""


def _state(value: bytes) -> sync.SyncState | None:
    try:
        return decode(sync.SyncState, value)
    except ValueError:
        return None


def _words(key: ObjectKey, state: sync.SyncState, cluster: str) -> str:
    phase = word_of(sync.SyncPhase.DESCRIPTOR, state.phase)
    why = state.message or state.reason or "it is still to be removed"
    return f"{key} in cluster {cluster}: {phase}, {why}"
