"""Kubernetes' protobuf encoding, read into the same plain objects as JSON.

kubectl and other Go clients send built-in kinds so. The messages' fields are in a data file made from
Kubernetes' own definitions (`scripts/gen_kube_protobuf.py`), from which protobuf's own parser reads them.
What Go does to JSON (inline structs, omitted zeros, times, quantities) is done alike here. Pure; answers are
JSON, which these clients read too. Next: `hanse.kube.wire.messages`; `hanse.kube.server.negotiation`, which
calls.
"""

from __future__ import annotations

import base64
import functools
import gzip
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from typing import Any, Final

import orjson
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from hanse.documents import MAX_VALUES, json_document
from hanse.errors import InvalidArgumentError
from hanse.kube.merge.schema import SchemaSet
from hanse.kube.model.objects import Object
from hanse.kube.wire.messages import KEY, VALUE, MessageField, MessagePool, fields_of, get

MAGIC: Final = b"k8s\x00"
"""What every encoded object starts with; a runtime.Unknown follows."""

_META = "io.k8s.apimachinery.pkg.apis.meta.v1"
_EXTENSIONS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1"
_UNKNOWN, _TYPE_META = "runtime.Unknown", "runtime.TypeMeta"
_MAX_DEPTH = 100


@dataclass(frozen=True, slots=True)
class _JsonField:
    """How a field is in JSON. `inline` says that its fields are those of its parent, `omits_zero` that a zero
    is the same as none."""

    name: str
    type: str
    map: bool
    repeated: bool
    inline: bool
    omits_zero: bool


@dataclass(frozen=True, slots=True)
class _Definitions:
    """The messages, and how their fields are in JSON, by message and number."""

    pool: MessagePool
    fields: dict[str, dict[int, _JsonField]]


@functools.lru_cache(maxsize=1)
def _definitions() -> _Definitions:
    body = gzip.decompress((resources.files("hanse.kube") / "data" / "protobuf.gz").read_bytes())
    raw: dict[str, list[tuple[int, str, str, str]]] = orjson.loads(body)
    table = {
        name: [MessageField(number, kind, "r" in flags, "m" in flags) for number, _, kind, flags in fields]
        for name, fields in raw.items()
    }
    table[_TYPE_META] = [MessageField(1, "string"), MessageField(2, "string")]
    table[_UNKNOWN] = [MessageField(1, _TYPE_META), MessageField(2, "bytes")]
    return _Definitions(
        MessagePool("kubernetes", table),
        {
            message: {
                number: _JsonField(name, kind, "m" in flags, "r" in flags, "i" in flags, "z" in flags)
                for number, name, kind, flags in fields
            }
            for message, fields in raw.items()
        },
    )


@functools.lru_cache(maxsize=1)
def _by_kind() -> dict[tuple[str, str], str]:
    """Return the name of each kind's message, by apiVersion and kind."""
    schemas = SchemaSet.builtin()
    return {
        (f"{g}/{v}" if g else v, k): name
        for g, v, k in schemas.kinds()
        if (name := schemas.definition_name(g, v, k)) is not None
    }


_COMMON = {"DeleteOptions": f"{_META}.DeleteOptions", "Status": f"{_META}.Status"}


def decode_object(body: bytes) -> Object:
    """Return the object in a protobuf body. Raises InvalidArgumentError if it cannot be read."""
    try:
        return _decode_object(body)
    except (DecodeError, LookupError, ValueError, TypeError, ArithmeticError, OSError) as error:
        raise InvalidArgumentError(f"the protobuf body cannot be decoded: {error}") from error


def _decode_object(body: bytes) -> Object:
    if not body.startswith(MAGIC):
        raise ValueError("it does not start with Kubernetes' prefix")
    definitions = _definitions()
    unknown = definitions.pool.new(_UNKNOWN)
    unknown.ParseFromString(body[len(MAGIC) :])
    api_version, kind = get(get(unknown, 1), 1).decode(), get(get(unknown, 1), 2).decode()
    name = _by_kind().get((api_version, kind)) or _COMMON.get(kind)
    if name is None or name not in definitions.fields:
        raise ValueError(f"{api_version} {kind} is not a built-in kind; send it as JSON")
    message = definitions.pool.new(name)
    message.ParseFromString(get(unknown, 2))
    return {"apiVersion": api_version, "kind": kind, **_Reader(definitions.fields).read(message, name)}


class _Reader:
    """Makes plain values of one message and all in it."""

    def __init__(self, fields: dict[str, dict[int, _JsonField]]) -> None:
        self._fields = fields
        self._values = 0

    def read(self, message: Message, name: str, depth: int = 0) -> Any:
        """Return the value of a message. Raises ValueError."""
        special = _SPECIAL.get(name)
        if special is not None:
            return special(self, message, depth)
        if depth > _MAX_DEPTH:
            raise ValueError("it is nested too deeply")
        known = self._fields[name]
        unknown = UnknownFieldSet(message)
        if any(unknown[at].field_number in known for at in range(len(unknown))):
            raise ValueError("a field has another wire type than its message says")
        result: Object = {}
        for number, value in fields_of(message):
            self._put(result, known[number], value, depth)
        return result

    def _put(self, result: Object, field: _JsonField, value: Any, depth: int) -> None:
        if field.map:
            result[field.name] = {
                get(entry, KEY).decode(): self._value(field.type, get(entry, VALUE), depth) for entry in value
            }
        elif field.repeated:
            result[field.name] = [self._value(field.type, item, depth) for item in value]
        elif field.inline:
            result.update(self._value(field.type, value, depth))
        else:
            decoded = self._value(field.type, value, depth)
            if decoded is None or (field.omits_zero and decoded in (0, "", False)):
                return
            result[field.name] = decoded

    def _value(self, kind: str, value: Any, depth: int) -> Any:
        self._values += 1
        if self._values > MAX_VALUES:
            raise ValueError(f"it has more than {MAX_VALUES} values")
        if kind == "string":
            return value.decode()
        if kind == "bytes":
            return base64.b64encode(value).decode()
        return self.read(value, kind, depth + 1) if isinstance(value, Message) else value


# Messages that JSON writes in another way.


def _time(reader: _Reader, message: Message, depth: int, *, micro: bool = False) -> str | None:
    parts = dict(fields_of(message))
    if not parts:
        return None
    then = datetime.fromtimestamp(parts.get(1, 0), tz=UTC)
    text = then.strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{parts.get(2, 0) // 1000:06d}Z" if micro else f"{text}Z"


def _text(reader: _Reader, message: Message, depth: int) -> str | None:
    value = dict(fields_of(message)).get(1)
    return value.decode() if value is not None else None


def _int_or_string(reader: _Reader, message: Message, depth: int) -> int | str:
    return str(get(message, 3).decode()) if get(message, 1) else int(get(message, 2))


def _raw_json(reader: _Reader, message: Message, depth: int) -> Any:
    raw = get(message, 1)
    return json_document(raw, what="JSON in the body") if raw else None


def _items(reader: _Reader, message: Message, depth: int) -> list[str]:
    return [item.decode() for item in get(message, 1)]


def _schema(reader: _Reader, message: Message, depth: int) -> Any:
    return reader.read(message, f"{_EXTENSIONS}.JSONSchemaProps", depth + 1)


def _schema_or_array(reader: _Reader, message: Message, depth: int) -> Any:
    parts = dict(fields_of(message))
    if many := parts.get(2):
        return [_schema(reader, schema, depth) for schema in many]
    return _schema(reader, parts[1], depth) if 1 in parts else None


def _schema_or_bool(reader: _Reader, message: Message, depth: int) -> Any:
    parts = dict(fields_of(message))
    return _schema(reader, parts[2], depth) if 2 in parts else bool(parts.get(1))


def _schema_or_strings(reader: _Reader, message: Message, depth: int) -> Any:
    parts = dict(fields_of(message))
    return _schema(reader, parts[1], depth) if 1 in parts else [item.decode() for item in parts.get(2, ())]


_SPECIAL: Final[dict[str, Callable[[_Reader, Message, int], Any]]] = {
    f"{_META}.Time": _time,
    f"{_META}.MicroTime": functools.partial(_time, micro=True),
    f"{_META}.FieldsV1": _raw_json,
    f"{_META}.Verbs": _items,
    "io.k8s.apimachinery.pkg.api.resource.Quantity": _text,
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": _int_or_string,
    "io.k8s.apimachinery.pkg.runtime.RawExtension": _raw_json,
    "io.k8s.api.authentication.v1.ExtraValue": _items,
    "io.k8s.api.authorization.v1.ExtraValue": _items,
    "io.k8s.api.certificates.v1.ExtraValue": _items,
    f"{_EXTENSIONS}.JSON": _raw_json,
    f"{_EXTENSIONS}.JSONSchemaPropsOrArray": _schema_or_array,
    f"{_EXTENSIONS}.JSONSchemaPropsOrBool": _schema_or_bool,
    f"{_EXTENSIONS}.JSONSchemaPropsOrStringArray": _schema_or_strings,
}
