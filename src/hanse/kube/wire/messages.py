"""Messages that are made at run time from a table of their fields, for protobuf's own parser and serializer.

The proto files of others are not compiled here: a table has of each message what is read or written of it.
Fields are addressed by number. Text is bytes, so that bad UTF-8 is the reader's error and not the parser's; a
map is what it is on the wire, a repeated message of a key and a value. Pure; a pool of messages never changes
after it was made. Next: `hanse.kube.wire.protobuf`, which reads, and `hanse.kube.wire.openapi_protobuf`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

KEY: Final = 1
"""The number of the key in an entry of a map."""
VALUE: Final = 2
"""The number of the value in an entry of a map."""

_TYPES: Final = {
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
    "double": FieldDescriptorProto.TYPE_DOUBLE,
    "float": FieldDescriptorProto.TYPE_FLOAT,
    "int32": FieldDescriptorProto.TYPE_INT32,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "string": FieldDescriptorProto.TYPE_BYTES,
    "uint32": FieldDescriptorProto.TYPE_UINT32,
    "uint64": FieldDescriptorProto.TYPE_UINT64,
}


@dataclass(frozen=True, slots=True)
class MessageField:
    """A field: its number, and its type: a scalar of protobuf or the name of a message in the table."""

    number: int
    type: str
    repeated: bool = False
    map: bool = False


class MessagePool:
    """The classes of the messages in a table. `name` tells pools apart."""

    def __init__(self, name: str, table: Mapping[str, Sequence[MessageField]]) -> None:
        self._file = f"{name}.proto"
        self._names = {message: f"M{at}" for at, message in enumerate(table)}
        file = FileDescriptorProto(name=self._file, package=name, syntax="proto2")
        for message, fields in table.items():
            file.message_type.append(self._describe(name, self._names[message], fields))
        self._pool = DescriptorPool()
        self._pool.Add(file)
        self._package = name
        self._classes: dict[str, type[Message]] = {}

    def __contains__(self, message: object) -> bool:
        return message in self._names

    def new(self, message: str) -> Message:
        """Return an empty message. Raises KeyError for one that is not in the table."""
        known = self._classes.get(message)
        if known is None:
            descriptor = self._pool.FindMessageTypeByName(f"{self._package}.{self._names[message]}")
            known = self._classes[message] = GetMessageClass(descriptor)
        return known()

    def _describe(self, package: str, name: str, fields: Sequence[MessageField]) -> DescriptorProto:
        described = DescriptorProto(name=name)
        for field in fields:
            many = field.repeated or field.map
            label = FieldDescriptorProto.LABEL_REPEATED if many else FieldDescriptorProto.LABEL_OPTIONAL
            added = described.field.add(name=field_name(field.number), number=field.number, label=label)
            if field.map:
                entry = f"Entry{field.number}"
                pair = (MessageField(KEY, "string"), MessageField(VALUE, field.type))
                described.nested_type.append(self._describe(package, entry, pair))
                added.type = FieldDescriptorProto.TYPE_MESSAGE
                added.type_name = f".{package}.{name}.{entry}"
            elif field.type in _TYPES:
                added.type = _TYPES[field.type]
            else:
                added.type = FieldDescriptorProto.TYPE_MESSAGE
                added.type_name = f".{package}.{self._names[field.type]}"
        return described


def field_name(number: int) -> str:
    """Return the attribute of a message that has the field."""
    return f"f{number}"


def fields_of(message: Message) -> Iterator[tuple[int, Any]]:
    """Yield number and value of the fields that are set, by number."""
    for descriptor, value in message.ListFields():
        yield descriptor.number, value


def get(message: Message, number: int) -> Any:
    """Return the value of a field; its type's zero if it is not set."""
    return getattr(message, field_name(number))
