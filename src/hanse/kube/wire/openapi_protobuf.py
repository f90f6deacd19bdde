"""The OpenAPI v2 document in the protobuf form that kubectl reads: `openapi.v2.Document` of gnostic.

kubectl checks the items of a `kind: List` against this document, and reads it in no other form. Owns the
messages of what `hanse.kube.wire.openapi` writes into its documents, and how they are filled; what clients do
not read (responses, security, tags) is omitted. Field numbers: those of OpenAPIv2.proto in
github.com/google/gnostic-models. Pure. Next: `hanse.kube.server.endpoints.discovery`, which serves and caches
it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Final

import orjson
from google.protobuf.message import Message

from hanse.kube.model.objects import Object
from hanse.kube.wire.messages import MessageField, MessagePool, field_name, get

_METHODS: Final = {"get": 2, "put": 3, "post": 4, "delete": 5, "options": 6, "head": 7, "patch": 8}
_STRINGS: Final = {"$ref": 1, "format": 2, "title": 3, "description": 4, "pattern": 13}
_DOUBLES: Final = {"multipleOf": 6, "maximum": 7, "minimum": 9}
_FLAGS: Final = {"exclusiveMaximum": 8, "exclusiveMinimum": 10, "uniqueItems": 16, "readOnly": 27}
_NUMBERS: Final = {
    "maxLength": 11, "minLength": 12, "maxItems": 14, "minItems": 15, "maxProperties": 17,
    "minProperties": 18,
}  # fmt: skip
_DEFAULT, _REQUIRED, _ENUM, _ADDITIONAL, _TYPE, _ITEMS, _ALL_OF, _PROPERTIES, _EXTENSION = (
    5, 19, 20, 21, 22, 23, 24, 25, 31,
)  # fmt: skip


def encode_document(document: Object) -> bytes:
    """Return an OpenAPI v2 document (decoded JSON) as a serialized `openapi.v2.Document`."""
    message = _pool().new("Document")
    _set(message, 1, document["swagger"])
    _set(get(message, 2), 1, document["info"]["title"])
    _set(get(message, 2), 2, document["info"]["version"])
    for name, item in document["paths"].items():
        path = _named(_add(get(message, 8), 2), name)
        for method, operation in item.items():
            _operation(get(path, _METHODS[method]), operation)
    for name, schema in document["definitions"].items():
        _schema(_named(_add(get(message, 9), 1), name), schema)
    return message.SerializeToString()


@functools.lru_cache(maxsize=1)
def _pool() -> MessagePool:
    """Return the messages with the fields that are written. The source has the names as they are here."""

    def one(number: int, kind: str) -> MessageField:
        return MessageField(number, kind)

    def many(number: int, kind: str) -> MessageField:
        return MessageField(number, kind, repeated=True)

    return MessagePool(
        "openapi",
        {
            "Any": [one(2, "string")],
            "NamedAny": [one(1, "string"), one(2, "Any")],
            "AdditionalPropertiesItem": [one(1, "Schema"), one(2, "bool")],
            "TypeItem": [many(1, "string")],
            "ItemsItem": [many(1, "Schema")],
            "NamedSchema": [one(1, "string"), one(2, "Schema")],
            "Properties": [many(1, "NamedSchema")],
            "Schema": [
                *(one(number, "string") for number in _STRINGS.values()),
                *(one(number, "double") for number in _DOUBLES.values()),
                *(one(number, "bool") for number in _FLAGS.values()),
                *(one(number, "int64") for number in _NUMBERS.values()),
                one(_DEFAULT, "Any"),
                many(_REQUIRED, "string"),
                many(_ENUM, "Any"),
                one(_ADDITIONAL, "AdditionalPropertiesItem"),
                one(_TYPE, "TypeItem"),
                one(_ITEMS, "ItemsItem"),
                many(_ALL_OF, "Schema"),
                one(_PROPERTIES, "Properties"),
                many(_EXTENSION, "NamedAny"),
            ],
            "QueryParameterSubSchema": [
                one(2, "string"),
                one(4, "string"),
                one(6, "string"),
                one(20, "bool"),
            ],
            "NonBodyParameter": [one(3, "QueryParameterSubSchema")],
            "Parameter": [one(2, "NonBodyParameter")],
            "ParametersItem": [one(1, "Parameter")],
            "Operation": [
                one(5, "string"),
                many(7, "string"),
                many(8, "ParametersItem"),
                many(13, "NamedAny"),
            ],
            "PathItem": [one(number, "Operation") for number in _METHODS.values()],
            "NamedPathItem": [one(1, "string"), one(2, "PathItem")],
            "Paths": [many(2, "NamedPathItem")],
            "Definitions": [many(1, "NamedSchema")],
            "Info": [one(1, "string"), one(2, "string")],
            "Document": [one(1, "string"), one(2, "Info"), one(8, "Paths"), one(9, "Definitions")],
        },
    )


def _schema(message: Message, schema: Mapping[str, Any]) -> None:
    for name, value in schema.items():
        if name in _STRINGS:
            _set(message, _STRINGS[name], value)
        elif name.startswith("x-"):
            _named_any(message, _EXTENSION, name, value)
        elif name in _DOUBLES:
            _set(message, _DOUBLES[name], float(value))
        elif name in _NUMBERS:
            _set(message, _NUMBERS[name], int(value))
        elif name in _FLAGS:
            _set(message, _FLAGS[name], bool(value))
        else:
            _structured(message, name, value)


def _structured(message: Message, name: str, value: Any) -> None:
    match name:
        case "default":
            _any(get(message, _DEFAULT), value)
        case "required":
            get(message, _REQUIRED).extend(item.encode() for item in value)
        case "enum":
            for item in value:
                _any(_add(message, _ENUM), item)
        case "additionalProperties":
            if isinstance(value, bool):
                _set(get(message, _ADDITIONAL), 2, value)
            else:
                _filled(get(get(message, _ADDITIONAL), 1), value)
        case "type":
            get(get(message, _TYPE), 1).append(value.encode())
        case "items":
            _schema(_add(get(message, _ITEMS), 1), value)
        case "allOf":
            for item in value:
                _schema(_add(message, _ALL_OF), item)
        case "properties":
            properties = get(message, _PROPERTIES)
            properties.SetInParent()
            for key, item in value.items():
                _schema(_named(_add(properties, 1), key), item)


def _filled(message: Message, schema: Mapping[str, Any]) -> None:
    message.SetInParent()
    _schema(message, schema)


def _operation(message: Message, operation: Mapping[str, Any]) -> None:
    _set(message, 5, operation["operationId"])
    get(message, 7).extend(media.encode() for media in operation.get("consumes", ()))
    for parameter in operation["parameters"]:
        query = get(get(get(_add(message, 8), 1), 2), 3)
        _set(query, 2, parameter["in"])
        _set(query, 4, parameter["name"])
        _set(query, 6, parameter["type"])
        _set(query, 20, bool(parameter["uniqueItems"]))
    for name, value in operation.items():
        if name.startswith("x-"):
            _named_any(message, 13, name, value)


def _named(message: Message, name: str) -> Message:
    """Set the name of a named value; return the value."""
    _set(message, 1, name)
    value: Message = get(message, 2)
    value.SetInParent()
    return value


def _named_any(message: Message, number: int, name: str, value: Any) -> None:
    _any(_named(_add(message, number), name), value)


def _any(message: Message, value: Any) -> None:
    _set(message, 2, orjson.dumps(value))  # the message holds YAML, which JSON is


def _set(message: Message, number: int, value: Any) -> None:
    setattr(message, field_name(number), value.encode() if isinstance(value, str) else value)


def _add(message: Message, number: int) -> Message:
    added: Message = get(message, number).add()
    return added
