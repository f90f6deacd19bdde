"""The OpenAPI v2 document in the protobuf form that kubectl reads: `openapi.v2.Document` of gnostic.

kubectl checks the items of a `kind: List` against this document, and reads it in no other form. Owns one
encoder of what `hanse.kube.wire.openapi` writes into its documents; what Kubernetes' clients do not read
(responses, security, tags) is left out. Field numbers: github.com/google/gnostic-models,
openapiv2/OpenAPIv2.proto. Pure. Next: `hanse.kube.server.endpoints.discovery`, which serves and caches it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from hanse.kube.model.objects import Object

_VARINT, _FIXED64, _BYTES = 0, 1, 2

_METHODS = {"get": 2, "put": 3, "post": 4, "delete": 5, "options": 6, "head": 7, "patch": 8}
_STRINGS = {"$ref": 1, "format": 2, "title": 3, "description": 4, "pattern": 13}
_DOUBLES = {"multipleOf": 6, "maximum": 7, "minimum": 9}
_FLAGS = {"exclusiveMaximum": 8, "exclusiveMinimum": 10, "uniqueItems": 16, "readOnly": 27}
_NUMBERS = {
    "maxLength": 11, "minLength": 12, "maxItems": 14, "minItems": 15, "maxProperties": 17,
    "minProperties": 18,
}  # fmt: skip
_DEFAULT, _REQUIRED, _ENUM, _ADDITIONAL, _TYPE, _ITEMS, _ALL_OF, _PROPERTIES, _EXTENSION = (
    5, 19, 20, 21, 22, 23, 24, 25, 31,
)  # fmt: skip


def encode_document(document: Object) -> bytes:
    """Return an OpenAPI v2 document (decoded JSON) as a serialized `openapi.v2.Document`."""
    info = document["info"]
    paths = b"".join(_field(2, _named(name, _path(item))) for name, item in document["paths"].items())
    definitions = b"".join(
        _field(1, _named(name, encode_schema(schema))) for name, schema in document["definitions"].items()
    )
    return b"".join(
        (
            _text(1, document["swagger"]),
            _field(2, _text(1, info["title"]) + _text(2, info["version"])),
            _field(8, paths),
            _field(9, definitions),
        )
    )


def encode_schema(schema: Mapping[str, Any]) -> bytes:
    """Return a schema as a serialized `openapi.v2.Schema`; other keywords are left out."""
    out: list[bytes] = []
    for name, value in schema.items():
        if name in _STRINGS:
            out.append(_text(_STRINGS[name], value))
        elif name.startswith("x-"):
            out.append(_field(_EXTENSION, _named_any(name, value)))
        elif name in _DOUBLES:
            out.append(_key(_DOUBLES[name], _FIXED64) + struct.pack("<d", value))
        elif name in _NUMBERS:
            out.append(_key(_NUMBERS[name], _VARINT) + _varint(int(value)))
        elif name in _FLAGS:
            out.append(_key(_FLAGS[name], _VARINT) + _varint(int(value)))
        else:
            out.append(_structured(name, value))
    return b"".join(out)


def _structured(name: str, value: Any) -> bytes:
    match name:
        case "default":
            return _field(_DEFAULT, _any(value))
        case "required":
            return b"".join(_text(_REQUIRED, item) for item in value)
        case "enum":
            return b"".join(_field(_ENUM, _any(item)) for item in value)
        case "additionalProperties":
            if isinstance(value, bool):
                return _field(_ADDITIONAL, _key(2, _VARINT) + _varint(int(value)))
            return _field(_ADDITIONAL, _field(1, encode_schema(value)))
        case "type":
            return _field(_TYPE, _text(1, value))
        case "items":
            return _field(_ITEMS, _field(1, encode_schema(value)))
        case "allOf":
            return b"".join(_field(_ALL_OF, encode_schema(item)) for item in value)
        case "properties":
            named = (_field(1, _named(key, encode_schema(item))) for key, item in value.items())
            return _field(_PROPERTIES, b"".join(named))
    return b""


def _path(item: Mapping[str, Any]) -> bytes:
    return b"".join(_field(_METHODS[method], _operation(op)) for method, op in item.items())


def _operation(operation: Mapping[str, Any]) -> bytes:
    consumes: Sequence[str] = operation.get("consumes", ())
    return b"".join(
        (
            _text(5, operation["operationId"]),
            *(_text(7, media) for media in consumes),
            *(_field(8, _parameter(parameter)) for parameter in operation["parameters"]),
            *(
                _field(13, _named_any(name, value))
                for name, value in operation.items()
                if name.startswith("x-")
            ),
        )
    )


def _parameter(parameter: Mapping[str, Any]) -> bytes:
    """Return a query parameter as a ParametersItem, three messages deep."""
    query = b"".join(
        (
            _text(2, parameter["in"]),
            _text(4, parameter["name"]),
            _text(6, parameter["type"]),
            _key(20, _VARINT) + _varint(int(parameter["uniqueItems"])),
        )
    )
    return _field(1, _field(2, _field(3, query)))


def _named(name: str, value: bytes) -> bytes:
    return _text(1, name) + _field(2, value)


def _named_any(name: str, value: Any) -> bytes:
    return _named(name, _any(value))


def _any(value: Any) -> bytes:
    # The message holds YAML, which JSON is.
    return _field(2, orjson.dumps(value))


def _text(number: int, value: str) -> bytes:
    return _field(number, value.encode())


def _field(number: int, payload: bytes) -> bytes:
    return _key(number, _BYTES) + _varint(len(payload)) + payload


def _key(number: int, wire: int) -> bytes:
    return _varint(number << 3 | wire)


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
