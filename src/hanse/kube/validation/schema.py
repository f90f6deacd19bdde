"""What a schema alone says about values: required fields, and for custom resources enums, bounds, patterns.

Pure; expects an object whose types are right (`decoding`). Of built-in kinds only required plain values and
objects are checked, as Kubernetes' own validation does (strategies have the rest). CEL rules
(x-kubernetes-validations) are not evaluated here.

Next: `hanse.kube.validation.objects`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from hanse.kube.kinds.types.table import LEAVES, TYPE_CHECKS
from hanse.kube.merge.schema import ANY, Schema
from hanse.kube.merge.typed import same
from hanse.kube.model.fielderrors import FieldError, duplicate, invalid, not_supported, required
from hanse.kube.model.patterns import Work

# OpenAPI calls these required, Kubernetes takes their zero value.
_NOT_ENFORCED = frozenset(
    {"metadata", "podSelector", "revision", "serviceName", "spec", "status", "template", "value"}
)


def schema_errors(value: Any, schema: Schema, path: str = "") -> Iterator[FieldError]:
    """Yield what the schema refuses in a value; `status` of built-in kinds is not looked at."""
    yield from _errors(value, schema, path, Work())


def _errors(value: Any, schema: Schema, path: str, work: Work) -> Iterator[FieldError]:
    if schema.builtin:
        yield from _builtin_errors(value, schema, path)
    else:
        yield from _value_errors(value, schema.raw, path, work)
        yield from _custom_errors(value, schema, path, work)


def _at(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _enforced(name: str, schema: Schema) -> bool:
    child = schema.field(name)
    if child is None or name in _NOT_ENFORCED:
        return False
    return child.shape == "struct" or (child.shape == "scalar" and child.type != "boolean")


def _builtin_errors(value: Any, schema: Schema, path: str) -> Iterator[FieldError]:
    if isinstance(value, dict) and schema.shape in ("struct", "map"):
        check = TYPE_CHECKS.get(schema.name)
        if check is not None:
            yield from check(value, path)
        else:
            for name in schema.required:
                if name not in value and _enforced(name, schema):
                    yield required(_at(path, name))
        if schema.name in LEAVES:
            return
        if not path and "spec" not in value and schema.declares("spec"):
            yield from _builtin_errors({}, schema.field("spec") or ANY, "spec")
        for name, item in value.items():
            if isinstance(item, dict | list) and (path or name not in ("status", "metadata")):
                yield from _builtin_errors(item, schema.field(name) or ANY, _at(path, name))
    elif isinstance(value, list) and schema.shape == "list":
        element = schema.element or ANY
        if element.shape != "scalar":
            for index, item in enumerate(value):
                yield from _builtin_errors(item, element, f"{path}[{index}]")


def _custom_errors(value: Any, schema: Schema, path: str, work: Work) -> Iterator[FieldError]:
    if isinstance(value, dict):
        for name in schema.required:
            if name not in value:
                yield required(_at(path, name))
        for name, item in value.items():
            child = schema.field(name)
            if child is not None and not child.builtin:
                yield from _errors(item, child, _at(path, name), work)
    elif isinstance(value, list) and schema.shape == "list":
        yield from _repeated(value, schema, path)
        element = schema.element or ANY
        for index, item in enumerate(value):
            yield from _errors(item, element, f"{path}[{index}]", work)


def _repeated(value: list[Any], schema: Schema, path: str) -> Iterator[FieldError]:
    """Yield the items of a set, or of a list with keys, that are there already."""
    if schema.list_type not in ("set", "map"):
        return
    seen: set[bytes] = set()
    for index, item in enumerate(value):
        said = item
        if schema.list_type == "map":
            said = {k: item[k] for k in schema.list_keys if k in item} if isinstance(item, dict) else item
        key = orjson.dumps(said, option=orjson.OPT_SORT_KEYS)
        if key in seen:
            yield duplicate(f"{path}[{index}]", said)
        seen.add(key)


def _value_errors(value: Any, raw: Mapping[str, Any], path: str, work: Work) -> Iterator[FieldError]:
    """Yield what the value validations of one OpenAPI schema node refuse."""
    if value is None:
        return
    work.check(1 + len(raw.get("enum") or ()))
    if "enum" in raw and not any(same(value, allowed) for allowed in raw["enum"]):
        yield not_supported(path, value, [str(allowed) for allowed in raw["enum"]])
    if isinstance(value, str):
        yield from _string_errors(value, raw, path, work)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _number_errors(value, raw, path)
    elif isinstance(value, list):
        yield from _size_errors(len(value), raw, path, low="minItems", high="maxItems", unit="items")
        if raw.get("uniqueItems") and len(
            {orjson.dumps(v, option=orjson.OPT_SORT_KEYS) for v in value}
        ) < len(value):
            yield invalid(path, value, f"{path} in body shouldn't contain duplicates")
    elif isinstance(value, dict):
        yield from _size_errors(
            len(value), raw, path, low="minProperties", high="maxProperties", unit="properties"
        )
    yield from _logic_errors(value, raw, path, work)


def _string_errors(value: str, raw: Mapping[str, Any], path: str, work: Work) -> Iterator[FieldError]:
    if len(value) > raw.get("maxLength", len(value)):
        yield FieldError(path, "FieldValueTooLong", f"may not be more than {raw['maxLength']} bytes")
    if len(value) < raw.get("minLength", 0):
        yield invalid(path, value, f"{path} in body should be at least {raw['minLength']} chars long")
    pattern = raw.get("pattern")
    if pattern and (mismatch := work.mismatch(pattern, value)):
        yield invalid(path, value, f"{path} in body {mismatch}")


def _number_errors(value: float, raw: Mapping[str, Any], path: str) -> Iterator[FieldError]:
    low, high = raw.get("minimum"), raw.get("maximum")
    if low is not None and (value < low or (raw.get("exclusiveMinimum") is True and value == low)):
        relation = "greater than" if raw.get("exclusiveMinimum") is True else "greater than or equal to"
        yield invalid(path, value, f"{path} in body should be {relation} {low}")
    if high is not None and (value > high or (raw.get("exclusiveMaximum") is True and value == high)):
        relation = "less than" if raw.get("exclusiveMaximum") is True else "less than or equal to"
        yield invalid(path, value, f"{path} in body should be {relation} {high}")
    step = raw.get("multipleOf")
    if step and value % step:
        yield invalid(path, value, f"{path} in body should be a multiple of {step}")


def _size_errors(
    size: int, raw: Mapping[str, Any], path: str, *, low: str, high: str, unit: str
) -> Iterator[FieldError]:
    if size > raw.get(high, size):
        message = f"must have at most {raw[high]} {unit}"
        yield FieldError(path, "FieldValueTooMany", message, size)
    if size < raw.get(low, 0):
        yield invalid(path, size, f"{path} in body should have at least {raw[low]} {unit}")


def _fits(value: Any, raw: Mapping[str, Any], work: Work) -> bool:
    """Return True if a value meets a schema that stands in a logical combination (value validations only)."""
    if next(_value_errors(value, raw, "", work), None) is not None:
        return False
    if "type" in raw and not _is_a(value, raw["type"]):
        return False
    if isinstance(value, dict):
        if any(name not in value for name in raw.get("required") or ()):
            return False
        return all(
            _fits(value[n], sub, work) for n, sub in (raw.get("properties") or {}).items() if n in value
        )
    if isinstance(value, list) and isinstance(raw.get("items"), Mapping):
        return all(_fits(item, raw["items"], work) for item in value)
    return True


def _is_a(value: Any, kind: str) -> bool:
    if kind in ("integer", "number"):
        return isinstance(value, int if kind == "integer" else int | float) and not isinstance(value, bool)
    kinds = {"string": str, "boolean": bool, "array": list, "object": dict}
    return isinstance(value, kinds.get(kind, object))


def _logic_errors(value: Any, raw: Mapping[str, Any], path: str, work: Work) -> Iterator[FieldError]:
    if any(not _fits(value, sub, work) for sub in raw.get("allOf") or ()):
        yield invalid(path, value, f"{path} in body must validate all the schemas (allOf)")
    if raw.get("anyOf") and not any(_fits(value, sub, work) for sub in raw["anyOf"]):
        yield invalid(path, value, f"{path} in body must validate at least one schema (anyOf)")
    if raw.get("oneOf") and sum(_fits(value, sub, work) for sub in raw["oneOf"]) != 1:
        yield invalid(path, value, f"{path} in body must validate one and only one schema (oneOf)")
    if raw.get("not") and _fits(value, raw["not"], work):
        yield invalid(path, value, f"{path} in body must not validate the schema (not)")
