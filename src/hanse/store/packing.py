"""The form in which a store has large objects: packed, so that they fit into a request to etcd.

Owns which values are packed: those under `objects/` that are large as JSON, and only they
(`hanse.security.envelope`). It is done where values go into etcd and come out of it, so whoever reads a store
sees JSON, and what is small costs a comparison.

Concurrency: pure, but for the two functions that pack in a thread: a MiB takes some 50 ms. Next:
`hanse.store.etcd.store`, which sends what is packed; `hanse.store.mvcc`, which counts it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from hanse.security.envelope import PACKED_FROM, packed, unpacked
from hanse.store.keys import OBJECTS
from hanse.store.types import Op, Put

_OBJECTS: Final = f"{OBJECTS}/"


async def in_stored_form(ops: Sequence[Op]) -> Sequence[Op]:
    """Return the operations with the values that the store is to have."""
    if not any(isinstance(op, Put) and _is_large(op.key, op.value) for op in ops):
        return ops
    return await asyncio.to_thread(
        lambda: [
            replace(op, value=stored_value(op.key, op.value)) if isinstance(op, Put) else op for op in ops
        ]
    )


async def value_in_stored_form(key: str, value: bytes) -> bytes:
    """Return `stored_value`."""
    return await asyncio.to_thread(stored_value, key, value) if _is_large(key, value) else value


def stored_value(key: str, value: bytes) -> bytes:
    """Return a value as the store is to have it."""
    return packed(value) if _is_large(key, value) else value


def read_value(key: str, value: bytes) -> bytes:
    """Return a value of the store as its readers get it."""
    return unpacked(value) if key.startswith(_OBJECTS) else value


def _is_large(key: str, value: bytes) -> bool:
    return len(value) >= PACKED_FROM and key.startswith(_OBJECTS)
