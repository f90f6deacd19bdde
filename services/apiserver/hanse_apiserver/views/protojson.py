"""Protobuf messages as the JSON that Kubernetes clients expect: pure.

Like protobuf's own JSON mapping (camelCase names, what is unset left out), except that 64-bit integers are
numbers, enum values are CamelCase words (`APPLIED` is `Applied`; one of a newer release is its number), times
have whole seconds, and a bytes field that holds JSON is that JSON, unless it is too large to be served.

Next: `hanse_apiserver.views.derived`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from hanse.kube.model import untrusted
from hanse.kube.model.objects import Object
from hanse.kube.model.times import format_time

_BYTES = FieldDescriptor.TYPE_BYTES
_LAST_SECOND = 253402300799  # 9999-12-31T23:59:59Z, the last that RFC 3339 can write


def words(value: str) -> str:
    """Return `NO_SCHEDULE` as `NoSchedule`."""
    return "".join(part.capitalize() for part in value.split("_"))


def time_of(stamp: Timestamp) -> str:
    """Return a time as Kubernetes writes it; "" for one that is not set."""
    if not 0 < stamp.seconds <= _LAST_SECOND:
        return ""
    return format_time(datetime.fromtimestamp(stamp.seconds, tz=UTC))


def to_object(message: Message) -> Object:
    """Return a message as a JSON object."""
    return {field.json_name: _field(field, value) for field, value in message.ListFields()}


def _field(field: FieldDescriptor, value: Any) -> Any:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        return {str(key): _value(item) for key, item in value.items()}
    if field.is_repeated:
        return [_scalar(field, item) for item in value]
    return _scalar(field, value)


def _value(value: Any) -> Any:
    if isinstance(value, Timestamp):
        return time_of(value)
    return to_object(value) if isinstance(value, Message) else value


def _scalar(field: FieldDescriptor, value: Any) -> Any:
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return words(known.name) if known is not None else str(value)
    if field.type == _BYTES:
        if untrusted.too_large(value):
            return ""
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value.decode("utf-8", "replace")
    return _value(value)
