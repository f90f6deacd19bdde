"""What a CustomResourceDefinition must be before anything is served by it, at a write and at load.

Owns the rules for its group, names and versions, and for what of its schemas is used later: patterns, list
types, printer columns, paths. A group must have a dot and not be a reserved one, so that no object of a CRD
is ever stored among those of a built-in resource. Pure; the object has been decoded as its kind at a write,
and may be anything at load.

Next: `hanse.kube.engine.crds`, which serves what is right and sets apart what is not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from hanse.kube.model import jsonpath
from hanse.kube.model.fielderrors import FieldError, duplicate, forbidden, invalid, not_supported, required
from hanse.kube.model.names import label_1035_problems, subdomain_problems
from hanse.kube.model.objects import Object, mapping, sequence
from hanse.kube.model.patterns import examined

MAX_SCHEMA_NODES = 50_000
"""Schemas inside the schemas of one CRD, all versions together."""

MAX_PATTERNS = 2_000
"""Patterns in the schemas of one CRD, all versions together."""

MAX_INSTRUCTIONS = 200_000
"""Instructions of RE2 that all patterns in the schemas of one CRD may have: about 50 ms to make."""

MAX_VERSIONS = 100
"""Versions of one CRD."""

MAX_COLUMNS = 100
"""Printer columns of one version."""

_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_LIST_TYPES = ("atomic", "map", "set")
_FORBIDDEN = ("$ref", "additionalItems", "definitions", "dependencies", "patternProperties")
_MANY = ("allOf", "anyOf", "oneOf")
_MAX_PATH = 1_000


def reserved_group_error(group: Any, reserved: Collection[str]) -> FieldError | None:
    """Return what is wrong with a CRD's group if it is one of `reserved`."""
    if not isinstance(group, str) or group not in reserved:
        return None
    return forbidden("spec.group", f"{group} is a built-in API group: choose a domain of your own")


def crd_errors(obj: Object) -> Iterator[FieldError]:
    """Yield what is wrong with a CRD."""
    spec = mapping(obj, "spec")
    yield from _group_errors(spec.get("group"))
    yield from _names_errors(mapping(spec, "names"))
    if spec.get("scope") not in ("Cluster", "Namespaced"):
        yield not_supported("spec.scope", spec.get("scope"), ("Cluster", "Namespaced"))
    versions = sequence(spec, "versions")
    if len(versions) > MAX_VERSIONS:
        message = f"must have at most {MAX_VERSIONS} items"
        yield FieldError("spec.versions", "FieldValueTooMany", message, len(versions))
        return
    if len([each for each in versions if mapping(each).get("storage")]) != 1:
        names = [mapping(each).get("name") for each in versions]
        yield invalid("spec.versions", names, "must have exactly one version marked as storage version")
    seen: set[str] = set()
    for index, version in enumerate(versions):
        where = f"spec.versions[{index}]"
        name = mapping(version).get("name")
        yield from _name_errors(name, f"{where}.name")
        if isinstance(name, str) and name in seen:
            yield duplicate(f"{where}.name", name)
        seen.add(str(name))
        yield from _version_errors(mapping(version), where)
    yield from _schema_errors(versions)


def load_errors(obj: Object) -> Iterator[FieldError]:
    """Yield why a stored CRD, which an older or newer release may have let through, is not served at all.

    Versions, names and columns that cannot be used are left out one by one; see `crds`.
    """
    spec = mapping(obj, "spec")
    yield from _group_errors(spec.get("group"))
    yield from _schema_errors(sequence(spec, "versions"))


def _group_errors(group: Any) -> Iterator[FieldError]:
    where = "spec.group"
    if not isinstance(group, str) or not group:
        yield required(where)
        return
    for problem in subdomain_problems(group):
        yield invalid(where, group, problem)
    if "." not in group:
        yield invalid(where, group, "should be a domain with at least one dot")


def _name_errors(name: Any, where: str, *, optional: bool = False) -> Iterator[FieldError]:
    if name in (None, "") and optional:
        return
    if not isinstance(name, str) or not name:
        yield required(where)
        return
    for problem in label_1035_problems(name):
        yield invalid(where, name, problem)


def _names_errors(names: Mapping[str, Any]) -> Iterator[FieldError]:
    yield from _name_errors(names.get("plural"), "spec.names.plural")
    yield from _name_errors(names.get("singular"), "spec.names.singular", optional=True)
    for field in ("kind", "listKind"):
        value = names.get(field)
        lower = value.lower() if isinstance(value, str) and value.isascii() else value
        yield from _name_errors(lower, f"spec.names.{field}", optional=field == "listKind")
    for field in ("shortNames", "categories"):
        for index, value in enumerate(sequence(names, field)):
            yield from _name_errors(value, f"spec.names.{field}[{index}]")


def _version_errors(version: Mapping[str, Any], where: str) -> Iterator[FieldError]:
    columns = sequence(version, "additionalPrinterColumns")
    if len(columns) > MAX_COLUMNS:
        message = f"must have at most {MAX_COLUMNS} items"
        yield FieldError(f"{where}.additionalPrinterColumns", "FieldValueTooMany", message, len(columns))
    for index, column in enumerate(columns[:MAX_COLUMNS]):
        yield from _column_errors(mapping(column), f"{where}.additionalPrinterColumns[{index}]")
    for index, field in enumerate(sequence(version, "selectableFields")):
        at = f"{where}.selectableFields[{index}].jsonPath"
        yield from _dotted_errors(mapping(field).get("jsonPath"), at)
    scale = mapping(version, "subresources", "scale")
    if "scale" in mapping(version, "subresources"):
        for name, start in (("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")):
            yield from _dotted_errors(scale.get(name), f"{where}.subresources.scale.{name}", start=start)
        selector = scale.get("labelSelectorPath")
        if selector:
            yield from _dotted_errors(selector, f"{where}.subresources.scale.labelSelectorPath")


def _column_errors(column: Mapping[str, Any], where: str) -> Iterator[FieldError]:
    if not isinstance(column.get("name"), str) or not column["name"]:
        yield required(f"{where}.name")
    if column.get("type") not in _COLUMN_TYPES:
        yield not_supported(f"{where}.type", column.get("type"), _COLUMN_TYPES)
    path = column.get("jsonPath")
    if not isinstance(path, str) or not path:
        yield required(f"{where}.jsonPath")
        return
    if len(path) > _MAX_PATH:
        yield FieldError(f"{where}.jsonPath", "FieldValueTooLong", f"may not be more than {_MAX_PATH} bytes")
        return
    try:
        jsonpath.parse(path)
    except ValueError as error:
        yield invalid(f"{where}.jsonPath", path, str(error))


def _dotted_errors(path: Any, where: str, *, start: str = ".") -> Iterator[FieldError]:
    if not isinstance(path, str) or not path:
        yield required(where)
    elif len(path) > _MAX_PATH:
        yield FieldError(where, "FieldValueTooLong", f"may not be more than {_MAX_PATH} bytes")
    elif not path.startswith(start) or not all(path.removeprefix(".").split(".")) or "[" in path:
        yield invalid(where, path, f"must be a path of fields that begins with {start}")


def _schema_errors(versions: list[Any]) -> Iterator[FieldError]:
    """Yield what is wrong in the schemas of all versions."""
    nodes = patterns = instructions = 0
    todo: list[tuple[Any, str]] = [
        (schema, f"spec.versions[{index}].schema.openAPIV3Schema")
        for index, version in enumerate(versions)
        if (schema := mapping(version, "schema").get("openAPIV3Schema")) is not None
    ]
    while todo:
        node, where = todo.pop()
        nodes += 1
        if nodes > MAX_SCHEMA_NODES:
            yield forbidden("spec.versions", f"the schemas must have at most {MAX_SCHEMA_NODES} parts")
            return
        if not isinstance(node, Mapping):
            yield invalid(where, None, "must be a schema")
            continue
        yield from _node_errors(node, where)
        if "pattern" in node:
            patterns += 1
            if patterns > MAX_PATTERNS:
                yield forbidden("spec.versions", f"the schemas must have at most {MAX_PATTERNS} patterns")
                return
            said = node["pattern"]
            problem, size = examined(said) if isinstance(said, str) else ("must be a text", 0)
            instructions += size
            if instructions > MAX_INSTRUCTIONS:
                message = f"the patterns must have at most {MAX_INSTRUCTIONS} instructions together"
                yield forbidden("spec.versions", message)
                return
            if problem:
                yield invalid(f"{where}.pattern", node["pattern"], problem)
        todo += _parts(node, where)


def _parts(node: Mapping[str, Any], where: str) -> Iterator[tuple[Any, str]]:
    """Iterate over the schemas in a schema, with where they are."""
    properties = node.get("properties")
    if isinstance(properties, Mapping):
        for name, child in properties.items():
            yield child, f"{where}.properties[{name[:60]}]"
    for name in ("items", "not"):
        if name in node:
            yield node[name], f"{where}.{name}"
    if isinstance(node.get("additionalProperties"), Mapping):
        yield node["additionalProperties"], f"{where}.additionalProperties"
    for name in _MANY:
        for index, child in enumerate(node.get(name) or () if isinstance(node.get(name), list) else ()):
            yield child, f"{where}.{name}[{index}]"


def _node_errors(node: Mapping[str, Any], where: str) -> Iterator[FieldError]:
    for name in _FORBIDDEN:
        if node.get(name) is not None:
            yield forbidden(f"{where}.{name}", f"{name} is not supported")
    if "type" in node and node["type"] not in _TYPES and node["type"] != "":
        yield not_supported(f"{where}.type", node["type"], _TYPES)
    kind = node.get("x-kubernetes-list-type")
    if kind is not None and kind not in _LIST_TYPES:
        yield not_supported(f"{where}.x-kubernetes-list-type", kind, _LIST_TYPES)
    if kind == "map" and not sequence(node, "x-kubernetes-list-map-keys"):
        yield required(
            f"{where}.x-kubernetes-list-map-keys", "a list of type map needs the names of its keys"
        )
    for name, wanted in (("properties", Mapping), ("enum", list), ("required", list)):
        if node.get(name) is not None and not isinstance(node[name], wanted):
            yield invalid(f"{where}.{name}", None, "has the wrong type")
