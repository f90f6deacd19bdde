"""Reading an object as its kind: wrong types, unknown fields, and what decoding makes of it.

Owns one walk over object and schema that does what decoding JSON into Kubernetes' types does: it finds
values of the wrong type, names unknown fields and drops them (also from custom resources: pruning), drops
nulls and empty lists and maps, and writes quantities in their canonical form. Pure;
returns the same object if nothing is to change.

Next: `hanse.kube.kinds.defaults`, then `hanse.kube.validation.objects`.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Any

from hanse.errors import InvalidArgumentError
from hanse.kube.merge.schema import ANY, Schema
from hanse.kube.model.fielderrors import FieldError
from hanse.kube.model.objects import Object
from hanse.kube.model.quantity import Quantity

_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_INT_BITS = {"int32": 31, "int64": 63, "": 63}
_DROP: Any = object()


@dataclass(slots=True)
class Decoded:
    """An object read as its kind: `obj` is pruned; `errors` are wrong types; `unknown` paths were dropped.

    `nulls` says that nulls stay, as in the configuration of a server-side apply, where they mean something.
    """

    obj: Object
    nulls: bool = False
    errors: list[FieldError] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def decode(obj: Object, schema: Schema | None, *, keep_nulls: bool = False) -> Decoded:
    """Read `obj` as the kind that `schema` describes; without a schema nothing is checked or dropped.

    `keep_nulls` is for what is to be applied: there a null takes a value away.
    """
    out = Decoded(obj, keep_nulls)
    if schema is None:
        return out
    walked = _walk(obj, schema, "", out)
    out.obj = walked if isinstance(walked, dict) else obj
    return out


def decode_errors(obj: Object, schema: Schema | None) -> list[FieldError]:
    """Return the fields whose value has the wrong type (HTTP 400)."""
    return decode(obj, schema).errors


def unknown_fields(obj: Object, schema: Schema | None) -> list[str]:
    """Return the paths of the fields that the kind does not have, such as 'spec.containers[0].imag'."""
    return decode(obj, schema).unknown


def prune(obj: Object, schema: Schema | None) -> Object:
    """Return the object without unknown fields and nulls and with canonical quantities."""
    return decode(obj, schema).obj


def _walk(value: Any, schema: Schema, path: str, out: Decoded) -> Any:
    shape = schema.shape
    if value is None:
        return None if out.nulls or schema.nullable or shape == "any" else _DROP
    if shape == "scalar":
        return _scalar(value, schema, path, out)
    if shape == "any":
        return value
    if shape == "list":
        if not isinstance(value, list):
            return _mistyped(value, schema, path, out)
        return _walk_list(value, schema.element or ANY, path, out)
    if not isinstance(value, dict):
        return _mistyped(value, schema, path, out)
    return _walk_map(value, schema, path, out)


def _walk_map(value: dict[str, Any], schema: Schema, path: str, out: Decoded) -> dict[str, Any]:
    result = value
    for name, child in value.items():
        where = f"{path}.{name}" if path else name
        child_schema = schema.field(name)
        if child_schema is None:
            out.unknown.append(where)
            kept: Any = _DROP
        elif child is None and _is_text_of_map(schema, child_schema):
            kept = ""
        else:
            kept = _walk(child, child_schema, where, out)
            if not out.nulls and schema.builtin and _says_nothing(kept, name, schema, child_schema):
                kept = _DROP
        if kept is child:
            continue
        result = dict(value) if result is value else result
        if kept is _DROP:
            del result[name]
        else:
            result[name] = kept
    return result


def _is_text_of_map(schema: Schema, child: Schema) -> bool:
    """Report whether these are a map of texts and its values: there Go reads null as the empty text."""
    return schema.builtin and schema.shape == "map" and child.shape == "scalar" and child.type == "string"


def _says_nothing(value: Any, name: str, schema: Schema, child: Schema) -> bool:
    """Report whether a value is an empty list or map that Go leaves out when it writes the object."""
    if value or not isinstance(value, dict | list):
        return False
    return (
        child.builtin
        and child.shape in ("map", "list")
        and schema.declares(name)
        and name not in schema.required
    )


def _walk_list(value: list[Any], element: Schema, path: str, out: Decoded) -> list[Any]:
    result = [_walk(item, element, f"{path}[{index}]", out) for index, item in enumerate(value)]
    if all(a is b for a, b in zip(result, value, strict=True)):
        return value
    for index, item in enumerate(result):
        if item is _DROP:
            result[index] = (
                _zero(element) if element.builtin else _mistyped(None, element, f"{path}[{index}]", out)
            )
    return result


def _zero(schema: Schema) -> Any:
    """Return what Go makes of a null in a list: the zero value, a new one each time."""
    if schema.shape in ("struct", "map"):
        return {}
    if schema.shape == "list":
        return []
    zeros: dict[str, Any] = {"integer": 0, "number": 0, "boolean": False}
    return zeros.get(schema.type, "0" if schema.format == "quantity" else "")


def _scalar(value: Any, schema: Schema, path: str, out: Decoded) -> Any:
    kind, form = schema.type, schema.format
    if form == "quantity":
        return _quantity(value, schema, path, out)
    if form == "int-or-string":
        fine = isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))
    elif kind == "string":
        fine = isinstance(value, str)
        if fine and form in ("byte", "date-time") and schema.builtin:
            return _formatted(value, schema, path, out)
    elif kind == "integer":
        fine = isinstance(value, int) and not isinstance(value, bool) and _fits(value, form)
        if not schema.builtin and isinstance(value, float) and value.is_integer() and _fits(int(value), form):
            return int(value)
    elif kind == "number":
        fine = isinstance(value, int | float) and not isinstance(value, bool)
    elif kind == "boolean":
        fine = isinstance(value, bool)
    else:
        fine = True
    return value if fine else _mistyped(value, schema, path, out)


def _fits(value: int, form: str) -> bool:
    bits = _INT_BITS.get(form, 63)
    return -(1 << bits) <= value < (1 << bits)


def _quantity(value: Any, schema: Schema, path: str, out: Decoded) -> Any:
    try:
        canonical = str(Quantity.parse(value))
    except InvalidArgumentError as error:
        if not isinstance(value, str | int | float) or isinstance(value, bool):
            return _mistyped(value, schema, path, out)
        out.errors.append(FieldError(path, "FieldValueInvalid", str(error).partition(": ")[2], value))
        return value
    return value if canonical == value else canonical


def _formatted(value: str, schema: Schema, path: str, out: Decoded) -> str:
    if schema.format == "date-time":
        if not _TIME.fullmatch(value):
            out.errors.append(FieldError(path, "FieldValueInvalid", "must be a time in RFC 3339 form", value))
        return value
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        out.errors.append(FieldError(path, "FieldValueInvalid", "illegal base64 data", value[:16]))
    return value


def _json_type(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return f"number {value}" if isinstance(value, float) else "number"
    if isinstance(value, str):
        return "string"
    if value is None:
        return "null"
    return "array" if isinstance(value, list) else "object"


def _wanted(schema: Schema) -> str:
    if schema.format in ("int32", "int64"):
        return schema.format
    if schema.format in ("quantity", "int-or-string"):
        return schema.format
    names = {"integer": "int64", "boolean": "bool", "array": "list", "number": "float64"}
    return names.get(schema.type, schema.type)


def _mistyped(value: Any, schema: Schema, path: str, out: Decoded) -> Any:
    if schema.builtin:
        message = f"json: cannot unmarshal {_json_type(value)} into field {path} of type {_wanted(schema)}"
    else:
        message = f"{path} in body must be of type {schema.type}: {_json_type(value)!r}"
    out.errors.append(FieldError(path, "FieldValueTypeInvalid", message, value))
    return value
