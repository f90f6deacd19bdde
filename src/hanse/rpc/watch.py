"""Watch streams over gRPC: how the messages of `hanse.store.history.contract` are told. Pure.

Next: `hanse.store.history.contract`, which says what a watch promises.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

from hanse.api.type.v1 import change_pb2

CHANGE_KINDS: Final[Mapping[Literal["updated", "deleted", "bookmark"], change_pb2.ChangeKind.ValueType]] = (
    MappingProxyType(
        {"updated": change_pb2.UPDATED, "deleted": change_pb2.DELETED, "bookmark": change_pb2.BOOKMARK}
    )
)
"""The kind of each message."""
