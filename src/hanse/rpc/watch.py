"""Watch streams over gRPC: how the messages of `hanse.store.history.contract` are told, for every service.

Owns `responses`. Concurrency: one generator for each call; close it with `aclosing`.

Next: `hanse.store.history.contract`, which says what a watch promises.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from types import MappingProxyType
from typing import Any, Final, Literal, TypeVar

from hanse.api.type.v1 import change_pb2
from hanse.store.history.changes import Select, everything
from hanse.store.history.contract import ChangeHistory, watch

K = TypeVar("K")
T = TypeVar("T")
R = TypeVar("R")

CHANGE_KINDS: Final[Mapping[Literal["updated", "deleted", "bookmark"], change_pb2.ChangeKind.ValueType]] = (
    MappingProxyType(
        {"updated": change_pb2.UPDATED, "deleted": change_pb2.DELETED, "bookmark": change_pb2.BOOKMARK}
    )
)
"""The kind of each message."""


async def responses(
    history: ChangeHistory[K, T],
    revision: int,
    response: Callable[..., R],
    *,
    put: Callable[[R, T], object],
    gone: Callable[[R, K, T | None], object],
    select: Select[K, T] = everything,
) -> AsyncGenerator[R, None]:
    """Yield what a watch from `revision` tells, each as a `response` with its `kind` and `revision`.

    `put` fills one in with what is there now, `gone` with what names what is there no more.
    """
    async with aclosing(watch(history, revision, select=select)) as messages:
        async for message in messages:
            made: Any = response(kind=CHANGE_KINDS[message.kind], revision=message.revision)
            if message.kind == "updated" and message.value is not None:
                put(made, message.value)
            elif message.key is not None:
                gone(made, message.key, message.value)
            yield made
