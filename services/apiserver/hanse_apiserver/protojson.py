"""Protobuf messages as the JSON that Kubernetes clients expect: pure.

Like protobuf's own JSON mapping (camelCase names, what is unset left out), except that 64-bit integers are
numbers, enum values are CamelCase words (`APPLIED` is `Applied`), times have whole seconds, and a bytes field
that holds JSON is that JSON.

Next: `hanse_apiserver.derived`.
"""

from __future__ import annotations

from datetime import UTC
from typing import Any

import orjson
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from hanse.kube.objects import Object

_BYTES = FieldDescriptor.TYPE_BYTES


def words(value: str) -> str:
    """Return `NO_SCHEDULE` as `NoSchedule`."""
    return "".join(part.capitalize() for part in value.split("_"))


def time_of(stamp: Timestamp) -> str:
    """Return a time as Kubernetes writes it; "" for one that is not set."""
    if not stamp.seconds:
        return ""
    return stamp.ToDatetime(tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


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
        return words(field.enum_type.values_by_number[value].name)
    if field.type == _BYTES:
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value.decode("utf-8", "replace")
    return _value(value)
