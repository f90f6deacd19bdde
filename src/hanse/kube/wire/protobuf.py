"""Kubernetes' protobuf encoding, read into the same plain objects as JSON.

kubectl and other Go clients send built-in kinds so. The messages' fields are in a data file made from
Kubernetes' own definitions (`scripts/gen_kube_protobuf.py`); this is a decoder of the wire format that is
driven by it, with what Go does to JSON (inline structs, omitted zeros, times, quantities) done alike. Pure;
answers are always JSON, which these clients read too. Next: `hanse.kube.server.negotiation`.
"""

from __future__ import annotations

import base64
import functools
import gzip
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib import resources
from typing import Any

import orjson

from hanse.documents import MAX_VALUES, json_document
from hanse.errors import InvalidArgumentError
from hanse.kube.merge.schema import SchemaSet
from hanse.kube.model.objects import Object

MAGIC = b"k8s\x00"
"""What every encoded object starts with; a runtime.Unknown follows."""

_META = "io.k8s.apimachinery.pkg.apis.meta.v1"
_EXTENSIONS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1"
_MAX_DEPTH = 100

Field = tuple[int, str, str, str]
Wire = tuple[int, int, Any]


@functools.lru_cache(maxsize=1)
def _messages() -> dict[str, dict[int, Field]]:
    body = gzip.decompress((resources.files("hanse.kube") / "data" / "protobuf.gz").read_bytes())
    raw: dict[str, list[Field]] = orjson.loads(body)
    return {name: {field[0]: field for field in fields} for name, fields in raw.items()}


@functools.lru_cache(maxsize=1)
def _by_kind() -> dict[tuple[str, str], str]:
    """Return the name of each kind's message, by apiVersion and kind."""
    schemas = SchemaSet.builtin()
    return {
        (f"{g}/{v}" if g else v, k): name
        for g, v, k in schemas.kinds()
        if (name := schemas.definition_name(g, v, k)) is not None
    }


def decode_object(body: bytes) -> Object:
    """Return the object in a protobuf body. Raises InvalidArgumentError if it cannot be read."""
    try:
        return _decode_object(body)
    except (LookupError, ValueError, TypeError, ArithmeticError, OSError, struct.error) as error:
        raise InvalidArgumentError(f"the protobuf body cannot be decoded: {error}") from error


def _decode_object(body: bytes) -> Object:
    if not body.startswith(MAGIC):
        raise ValueError("it does not start with Kubernetes' prefix")
    api_version = kind = ""
    raw = b""
    for number, _, value in _fields(body[len(MAGIC) :]):
        if number == 1:
            names = {n: _bytes(v).decode() for n, _, v in _fields(_bytes(value)) if n in (1, 2)}
            api_version, kind = names.get(1, ""), names.get(2, "")
        elif number == 2:
            raw = _bytes(value)
    message = _by_kind().get((api_version, kind)) or _COMMON.get(kind)
    if message is None or message not in _messages():
        raise ValueError(f"{api_version} {kind} is not a built-in kind; send it as JSON")
    decoded = _message(raw, message, 0)
    return {"apiVersion": api_version, "kind": kind, **decoded}


_COMMON = {"DeleteOptions": f"{_META}.DeleteOptions", "Status": f"{_META}.Status"}


def _fields(data: bytes) -> Iterator[Wire]:
    """Iterate over number, wire type and value of the fields of a message."""
    position, end = 0, len(data)
    count = 0
    while position < end:
        count += 1
        if count > MAX_VALUES:
            raise ValueError(f"a message has more than {MAX_VALUES} fields")
        tag, position = _varint(data, position)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, position = _varint(data, position)
            yield number, wire, value
        elif wire == 2:
            size, position = _varint(data, position)
            if position + size > end:
                raise ValueError("a field is longer than its message")
            yield number, wire, data[position : position + size]
            position += size
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
            yield number, wire, data[position : position + size]
            position += size
        else:
            raise ValueError(f"unknown wire type {wire}")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")


def _message(data: bytes, name: str, depth: int) -> Any:
    special = _SPECIAL.get(name)
    if special is not None:
        return special(data, depth)
    if depth > _MAX_DEPTH:
        raise ValueError("it is nested too deeply")
    fields = _messages().get(name)
    if fields is None:
        raise ValueError(f"unknown message {name}")
    result: Object = {}
    for number, wire, value in _fields(data):
        field = fields.get(number)
        if field is not None:
            _put(result, field, wire, value, depth)
    return result


def _put(result: Object, field: Field, wire: int, value: Any, depth: int) -> None:
    _, name, kind, flags = field
    if "m" in flags:
        parts = {number: (w, v) for number, w, v in _fields(_bytes(value))}
        key = _bytes(parts.get(1, (2, b""))[1]).decode()
        inner_wire, inner = parts.get(2, (2, b""))
        result.setdefault(name, {})[key] = _value(kind, inner_wire, inner, depth)
    elif "r" in flags:
        items = result.setdefault(name, [])
        if wire == 2 and kind in _NUMBERS:
            items += list(_packed(kind, value))
        else:
            items.append(_value(kind, wire, value, depth))
    elif "i" in flags:
        result.update(_value(kind, wire, value, depth))
    else:
        decoded = _value(kind, wire, value, depth)
        if decoded is None or ("z" in flags and decoded in (0, "", False)):
            return
        result[name] = decoded


_NUMBERS = frozenset({"int32", "int64", "uint32", "uint64", "bool"})


def _bytes(value: Any) -> bytes:
    """Return what a field of wire type 2 holds. Of a number, `bytes` would make as many zeros."""
    if not isinstance(value, bytes):
        raise ValueError("a field has another wire type than its message says")
    return value


def _value(kind: str, wire: int, value: Any, depth: int) -> Any:
    match kind:
        case "string":
            return _bytes(value).decode()
        case "bool":
            return bool(value)
        case "int32" | "int64":
            return value - (1 << 64) if value >= 1 << 63 else value
        case "uint32" | "uint64":
            return value
        case "bytes":
            return base64.b64encode(_bytes(value)).decode()
        case "double":
            return struct.unpack("<d", value)[0]
        case "float":
            return struct.unpack("<f", value)[0]
    return _message(_bytes(value), kind, depth + 1)


def _packed(kind: str, data: bytes) -> Iterator[Any]:
    position = 0
    if len(data) > 10 * MAX_VALUES:
        raise ValueError(f"a list has more than {MAX_VALUES} numbers")
    while position < len(data):
        number, position = _varint(data, position)
        yield _value(kind, 0, number, 0)


# Messages that JSON writes in another way.


def _numbers(data: bytes) -> dict[int, Any]:
    return {number: _value("int64", 0, v, 0) if wire == 0 else v for number, wire, v in _fields(data)}


def _time(data: bytes, depth: int, *, micro: bool = False) -> str | None:
    parts = _numbers(data)
    if not parts:
        return None
    then = datetime.fromtimestamp(parts.get(1, 0), tz=UTC)
    text = then.strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{parts.get(2, 0) // 1000:06d}Z" if micro else f"{text}Z"


def _duration(data: bytes, depth: int) -> str:
    nanoseconds = _numbers(data).get(1, 0)
    sign, rest = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    seconds, fraction = divmod(rest, 1_000_000_000)
    hours, minutes = seconds // 3600, seconds // 60 % 60
    shown = f"{seconds % 60}" + (f".{fraction:09d}".rstrip("0") if fraction else "")
    if hours:
        return f"{sign}{hours}h{minutes}m{shown}s"
    return f"{sign}{minutes}m{shown}s" if minutes else f"{sign}{shown}s"


def _text(data: bytes, depth: int) -> str | None:
    value = _numbers(data).get(1)
    return _bytes(value).decode() if value is not None else None


def _int_or_string(data: bytes, depth: int) -> int | str:
    parts = _numbers(data)
    return _bytes(parts.get(3, b"")).decode() if parts.get(1) else int(parts.get(2, 0))


def _raw_json(data: bytes, depth: int) -> Any:
    raw = _numbers(data).get(1)
    return json_document(_bytes(raw), what="JSON in the body") if raw else None


def _items(data: bytes, depth: int) -> list[str]:
    return [_bytes(v).decode() for number, _, v in _fields(data) if number == 1]


def _schema(data: bytes, depth: int) -> Any:
    return _message(data, f"{_EXTENSIONS}.JSONSchemaProps", depth + 1)


def _schema_or_array(data: bytes, depth: int) -> Any:
    schemas = [(number, _schema(_bytes(v), depth)) for number, _, v in _fields(data)]
    many = [schema for number, schema in schemas if number == 2]
    return many or (schemas[0][1] if schemas else None)


def _schema_or_bool(data: bytes, depth: int) -> Any:
    parts = {number: v for number, _, v in _fields(data)}
    return _schema(_bytes(parts[2]), depth) if 2 in parts else bool(parts.get(1))


def _schema_or_strings(data: bytes, depth: int) -> Any:
    parts = list(_fields(data))
    for number, _, value in parts:
        if number == 1:
            return _schema(_bytes(value), depth)
    return [_bytes(value).decode() for number, _, value in parts if number == 2]


_SPECIAL: dict[str, Callable[[bytes, int], Any]] = {
    f"{_META}.Time": _time,
    f"{_META}.MicroTime": functools.partial(_time, micro=True),
    f"{_META}.Duration": _duration,
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
