"""Flags for the fields of a request, and the request that the given flags make.

Owns the mapping of protobuf to a command line: `page_size` is --page-size; a field of a nested message is
--cluster.region, and --cluster takes the whole message as JSON; repeated fields repeat their flag; maps
take KEY=VALUE; enums take names; bytes take text or @FILE (@- for standard input); a field mask takes
paths separated by commas; timestamps and durations are written as in protobuf's JSON. --request takes the
whole request as JSON or @FILE, and the other flags are put on top. Fields that only the service writes
have no flag.

Pure functions but for reading the files that are named.

Next: `hanse_cli.generated`.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import click
from google.api import field_behavior_pb2
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from hanse.documents import yaml_document
from hanse.errors import InternalError, InvalidArgumentError
from hanse_cli import comments

M = TypeVar("M", bound=Message)
REQUEST = "request"
MAX_DEPTH = 3
_INTEGERS = frozenset(
    {
        FieldDescriptor.CPPTYPE_INT32,
        FieldDescriptor.CPPTYPE_INT64,
        FieldDescriptor.CPPTYPE_UINT32,
        FieldDescriptor.CPPTYPE_UINT64,
    }
)
_FLOATS = frozenset({FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE})


@dataclass(frozen=True, slots=True)
class FieldFlag:
    """One flag: the fields that lead to what it sets, outermost first."""

    path: tuple[FieldDescriptor, ...]

    @property
    def field(self) -> FieldDescriptor:
        """The field that the flag sets."""
        return self.path[-1]

    @property
    def flag(self) -> str:
        """As a user types it, such as --cluster.region."""
        return "--" + ".".join(field.name.replace("_", "-") for field in self.path)

    @property
    def parameter(self) -> str:
        """Name of the click parameter."""
        return "field__" + "__".join(field.name for field in self.path)


def flags_of(message: Descriptor) -> Iterator[FieldFlag]:
    """Yield the flags for a request, outer fields before their inner ones."""
    yield from _flags(message, (), (message,))


def _flags(
    message: Descriptor, path: tuple[FieldDescriptor, ...], seen: tuple[Descriptor, ...]
) -> Iterator[FieldFlag]:
    for field in message.fields:
        if path and field_behavior_pb2.OUTPUT_ONLY in behaviors(field):
            continue
        yield FieldFlag((*path, field))
        inner = field.message_type
        if inner is None or field.is_repeated or inner.full_name.startswith("google.protobuf."):
            continue
        if inner not in seen and len(path) + 1 < MAX_DEPTH:
            yield from _flags(inner, (*path, field), (*seen, inner))


def behaviors(field: FieldDescriptor) -> tuple[int, ...]:
    """Return the google.api.field_behavior annotations of a field."""
    options: Any = field.GetOptions()
    return tuple(options.Extensions[field_behavior_pb2.field_behavior])


def is_required(field: FieldDescriptor) -> bool:
    """Return whether a request needs the field."""
    return field_behavior_pb2.REQUIRED in behaviors(field)


def is_map(field: FieldDescriptor) -> bool:
    """Return whether the field is a map."""
    inner = field.message_type
    return inner is not None and bool(inner.GetOptions().map_entry)


def options_of(message: Descriptor) -> list[click.Parameter]:
    """Return the click options for a request."""
    options: list[click.Parameter] = [_option(each) for each in flags_of(message)]
    options.append(
        click.Option(
            [f"--{REQUEST}", REQUEST], metavar="JSON|@FILE", help="The whole request; flags are put on top."
        )
    )
    return options


def _option(each: FieldFlag) -> click.Option:
    field = each.field
    text = comments.of_field(field)
    if len(each.path) == 1 and is_required(field):
        text = f"{text} [required]".strip()
    names = [each.flag, each.parameter]
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL and not field.is_repeated:
        *outer, last = each.flag.removeprefix("--").split(".")
        negative = ".".join([*outer, f"no-{last}"])
        return click.Option([f"{each.flag}/--{negative}", each.parameter], default=None, help=text)
    kind, metavar = _click_type(field)
    return click.Option(names, type=kind, metavar=metavar, multiple=field.is_repeated, help=text)


def _click_type(field: FieldDescriptor) -> tuple[click.ParamType[Any], str | None]:
    if is_map(field):
        return click.STRING, "KEY=VALUE"
    if field.enum_type is not None:
        return click.Choice(enum_names(field.enum_type), case_sensitive=False), None
    if field.message_type is not None:
        return click.STRING, _message_metavar(field.message_type)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return click.STRING, "TEXT|@FILE"
    if field.cpp_type in _INTEGERS:
        return click.INT, "N"
    if field.cpp_type in _FLOATS:
        return click.FLOAT, "NUMBER"
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return click.BOOL, "true|false"
    return click.STRING, "TEXT"


def _message_metavar(message: Descriptor) -> str:
    known = {
        "google.protobuf.Timestamp": "RFC3339",
        "google.protobuf.Duration": "SECONDSs",
        "google.protobuf.FieldMask": "PATH,...",
    }
    return known.get(message.full_name, "JSON|@FILE")


def enum_names(enum: EnumDescriptor) -> list[str]:
    """Return the names of an enum that a user may give: all but the zero value, which means nothing."""
    return [value.name for value in enum.values if value.number != 0]


def build(kind: type[M], given: Mapping[str, Any]) -> M:
    """Make the request from click's parameters. Raises click.UsageError that names the flag."""
    descriptor = cast(Descriptor, kind.DESCRIPTOR)
    document: dict[str, Any] = {}
    whole = given.get(REQUEST)
    if whole is not None:
        loaded = _json(f"--{REQUEST}", whole)
        if not isinstance(loaded, dict):
            raise click.UsageError(f"--{REQUEST} must be a JSON object")
        document = _with_bytes(descriptor, loaded)
    for each in flags_of(descriptor):
        value = given.get(each.parameter)
        if value is None or value == ():
            continue
        _put(document, each, _value(each, value))
    request = kind()
    try:
        json_format.ParseDict(document, request)
    except json_format.ParseError as error:
        raise click.UsageError(f"the request is wrong: {error}") from error
    for field in descriptor.fields:
        if is_required(field) and not _is_set(request, field):
            raise click.UsageError(f"missing option --{field.name.replace('_', '-')}")
    return request


def _is_set(request: Message, field: FieldDescriptor) -> bool:
    return any(present.number == field.number for present, _ in request.ListFields())


def _put(document: dict[str, Any], each: FieldFlag, value: Any) -> None:
    for field in each.path[:-1]:
        key = field.json_name if field.json_name in document else field.name
        document = document.setdefault(key, {})
    document.pop(each.field.json_name, None)
    document[each.field.name] = value


def _value(each: FieldFlag, value: Any) -> Any:
    field = each.field
    if is_map(field):
        return dict(_entry(each, text) for text in value)
    if field.is_repeated:
        return [_single(each, one) for one in value]
    return _single(each, value)


def _entry(each: FieldFlag, text: str) -> tuple[str, Any]:
    key, separator, value = text.partition("=")
    if not separator:
        raise click.UsageError(f"{each.flag} {text!r} must be KEY=VALUE")
    if each.field.message_type is None:
        raise InternalError(f"{each.flag} is no map")
    inner = each.field.message_type.fields_by_name["value"]
    if inner.message_type is not None:
        return key, _json(each.flag, value)
    return key, value


def _single(each: FieldFlag, value: Any) -> Any:
    field = each.field
    if field.type == FieldDescriptor.TYPE_BYTES:
        return base64.b64encode(read_bytes(each.flag, value)).decode()
    message = field.message_type
    if message is not None and _message_metavar(message) == "JSON|@FILE":
        loaded = _json(each.flag, value)
        if not isinstance(loaded, dict):
            raise click.UsageError(f"{each.flag} must be a JSON object")
        return _with_bytes(message, loaded)
    if message is not None and message.full_name == "google.protobuf.FieldMask":
        return ",".join(_camel(path.strip()) for path in value.split(",") if path.strip())
    return value


def _camel(path: str) -> str:
    """Return a field mask path as protobuf's JSON wants it: updateTime for update_time."""
    words = path.split("_")
    return words[0] + "".join(word[:1].upper() + word[1:] for word in words[1:])


def read_bytes(flag: str, value: str) -> bytes:
    """Return the bytes that a user gave as text, @FILE or @-. Raises click.UsageError."""
    if not value.startswith("@"):
        return value.encode()
    try:
        return sys.stdin.buffer.read() if value == "@-" else Path(value[1:]).read_bytes()
    except OSError as error:
        raise click.UsageError(f"{flag}: cannot read {value[1:]}: {error.strerror}") from error


def _json(flag: str, value: str) -> Any:
    """JSON, or YAML, that a user gave as text or @FILE."""
    text = read_bytes(flag, value)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        if not value.startswith("@"):
            raise click.UsageError(f"{flag} is not valid JSON: {value[:60]!r}") from None
    try:
        return yaml_document(text, what=value[1:])
    except InvalidArgumentError as error:
        raise click.UsageError(f"{flag}: {value[1:]} is neither JSON nor YAML: {error}") from error


def _with_bytes(message: Descriptor, document: Mapping[str, Any]) -> dict[str, Any]:
    """`document` with the objects that stand where bytes belong encoded, as `hanse_cli.output` shows them."""
    result: dict[str, Any] = {}
    by_name = {name: field for field in message.fields for name in (field.name, field.json_name)}
    for key, value in document.items():
        field = by_name.get(key)
        if field is not None and field.type == FieldDescriptor.TYPE_BYTES and isinstance(value, dict | list):
            value = base64.b64encode(json.dumps(value).encode()).decode()  # noqa: PLW2901
        elif (
            field is not None
            and field.message_type is not None
            and isinstance(value, dict)
            and not is_map(field)
        ):
            value = _with_bytes(field.message_type, value)  # noqa: PLW2901
        result[key] = value
    return result
