"""OpenAPI documents of what a server serves: v3 per group and version, and v2 as a whole.

kubectl reads them to explain kinds, to know merge keys, and to see that the server validates fields; so paths
carry what it looks for (the kind, and the parameters of patch) and no more. Pure functions of a catalogue.
Next: `hanse.kube.server.endpoints.discovery`, which serves and caches them.
"""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from hanse.errors import InternalError
from hanse.kube.kinds.catalogue import Catalogue
from hanse.kube.kinds.resource_info import ResourceInfo
from hanse.kube.merge.schema import ANY, LIST_META, OBJECT_META, Schema, SchemaSet
from hanse.kube.model.objects import Object

_V3_PREFIX = "#/components/schemas/"
_V2_PREFIX = "#/definitions/"
_GVK = "x-kubernetes-group-version-kind"
_ALWAYS = (
    OBJECT_META,
    LIST_META,
    "io.k8s.apimachinery.pkg.apis.meta.v1.Status",
    "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions",
)
_WRITE_PARAMETERS = ("dryRun", "fieldManager", "fieldValidation")
_PATCH_TYPES = ("application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json")
_STRATEGIC = "application/strategic-merge-patch+json"


def group_version_path(group: str, version: str) -> str:
    """Return `api/v1` or `apis/<group>/<version>`."""
    return f"apis/{group}/{version}" if group else f"api/{version}"


def v3_index(catalogue: Catalogue) -> Object:
    """Return what `/openapi/v3` answers: a URL with a content hash for each group and version."""
    paths = {}
    for group, versions in catalogue.groups().items():
        for version in versions:
            path = group_version_path(group, version)
            digest = _digest(catalogue, group, version)
            paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
    return {"paths": paths}


def _digest(catalogue: Catalogue, group: str, version: str) -> str:
    infos = [(i, i.schema) for i in catalogue.group_version(group, version)]
    text = f"{catalogue.schemas.version}{infos}"
    return hashlib.sha256(text.encode()).hexdigest()[:32].upper()


def v3(catalogue: Catalogue, group: str, version: str) -> Object | None:
    """Return the OpenAPI v3 document of a group and version; None if it is not served."""
    infos = catalogue.group_version(group, version)
    if not infos:
        return None
    schemas = _definitions(catalogue, infos, prefix=_V3_PREFIX)
    paths: dict[str, Any] = {}
    for info in infos:
        _add_paths(paths, info, _operation_v3)
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": catalogue.schemas.version},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def v2(catalogue: Catalogue) -> Object:
    """Return the OpenAPI v2 document of everything that is served."""
    infos = list(catalogue)
    paths: dict[str, Any] = {}
    for info in infos:
        _add_paths(paths, info, _operation_v2)
    return {
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": catalogue.schemas.version},
        "paths": paths,
        "definitions": _definitions(catalogue, infos, prefix=_V2_PREFIX),
    }


def definition_name(catalogue: Catalogue, info: ResourceInfo) -> str:
    """Return the name of a kind's schema in OpenAPI documents: reversed group, version, kind."""
    known = catalogue.schemas.definition_name(info.group, info.version, info.kind)
    if known and info.schema is None:
        return known
    return ".".join([*reversed(info.group.split(".")), info.version, info.kind])


def check(info: ResourceInfo) -> None:
    """Raise, whatever it may be, if a kind's own schema cannot be put into the documents."""
    if info.schema is not None:
        orjson.dumps(simplified(_own(info, _V2_PREFIX)))
        _walk(Schema(SchemaSet.builtin(), info.schema, builtin=False))


def _walk(schema: Schema) -> None:
    """Read every schema that is inside a custom kind's: they are read when a value needs them, otherwise."""
    children = [schema.field(name) for name in schema.fields]
    if isinstance(schema.raw.get("items") or schema.raw.get("additionalProperties"), dict):
        children.append(schema.element)
    for child in children:
        if child is not None and not child.builtin and child is not ANY:
            _walk(child)


def _definitions(catalogue: Catalogue, infos: list[ResourceInfo], *, prefix: str) -> dict[str, Any]:
    schemas = catalogue.schemas
    own = {definition_name(catalogue, i): i for i in infos if i.schema is not None}
    builtin = {definition_name(catalogue, i) for i in infos if i.schema is None}
    known = set(schemas.definition_names())
    lists = {f"{name}List" for name in builtin} & known
    names = schemas.closure(sorted((builtin & known) | lists | set(_ALWAYS)))
    result = {name: schemas.definition(name, ref_prefix=prefix) for name in sorted(names)}
    for name, info in own.items():
        result[name] = _own(info, prefix) if prefix == _V3_PREFIX else simplified(_own(info, prefix))
        result[f"{name}List"] = _own_list(info, name, prefix)
    kinds = {definition_name(catalogue, info): info for info in infos}
    for name, info in kinds.items():
        if name in result and _GVK not in result[name]:
            result[name] = {**result[name], _GVK: [_gvk(info)]}
    return result


def _own(info: ResourceInfo, prefix: str) -> dict[str, Any]:
    if info.schema is None:
        raise InternalError(f"{info.kind} has no schema of its own")
    properties = dict(info.schema.get("properties") or {})
    properties["apiVersion"] = {"type": "string", "description": "The group and version of this form."}
    properties["kind"] = {"type": "string", "description": "The kind of the object."}
    properties["metadata"] = _reference(OBJECT_META, prefix, "Standard metadata of every object.")
    return {**info.schema, "type": "object", "properties": properties, _GVK: [_gvk(info)]}


def simplified(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a custom kind's schema as OpenAPI v2 can say it, which is never stricter than it is in v3.

    kubectl takes what it cannot say for mistakes: a null, a number or text, fields that are kept unseen.
    Source: apiextensions-apiserver, ToStructuralOpenAPIV2.
    """
    lost: set[str] = {"nullable", "anyOf", "oneOf", "not", "example", "externalDocs"}
    if schema.get("nullable"):
        lost |= {"type", "items", "properties", "additionalProperties"}
    if schema.get("x-kubernetes-int-or-string"):
        lost |= {"type"}
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        lost |= {"items", "properties"}
    result = {key: value for key, value in schema.items() if key not in lost}
    if isinstance(result.get("items"), dict):
        result["items"] = simplified(result["items"])
    if isinstance(result.get("additionalProperties"), dict):
        result["additionalProperties"] = simplified(result["additionalProperties"])
    if "properties" in result:
        result["properties"] = {name: simplified(child) for name, child in result["properties"].items()}
    if "allOf" in result:
        result["allOf"] = [simplified(child) for child in result["allOf"]]
    return result


def _own_list(info: ResourceInfo, name: str, prefix: str) -> dict[str, Any]:
    gvk = {**_gvk(info), "kind": info.list_kind or f"{info.kind}List"}
    return {
        "type": "object",
        "description": f"A list of {info.kind}.",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": _reference(LIST_META, prefix, "Standard metadata of every list."),
            "items": {"type": "array", "items": {"$ref": prefix + name}},
        },
        _GVK: [gvk],
    }


def _reference(name: str, prefix: str, description: str) -> dict[str, Any]:
    if prefix == _V3_PREFIX:
        return {"description": description, "default": {}, "allOf": [{"$ref": prefix + name}]}
    return {"description": description, "$ref": prefix + name}


def _gvk(info: ResourceInfo) -> dict[str, str]:
    return {"group": info.group, "version": info.version, "kind": info.kind}


def _add_paths(paths: dict[str, Any], info: ResourceInfo, operation: Any) -> None:
    root = f"/{group_version_path(info.group, info.version)}"
    if info.namespaced:
        root += "/namespaces/{namespace}"
    collection: dict[str, Any] = {}
    for method, verb, action in (
        ("get", "list", "list"), ("post", "create", "post"),
        ("delete", "deletecollection", "deletecollection"),
    ):  # fmt: skip
        if verb in info.verbs:
            collection[method] = operation(info, action)
    if collection:
        paths[f"{root}/{info.plural}"] = collection
    item = {
        method: operation(info, action)
        for method, verb, action in (
            ("get", "get", "get"), ("put", "update", "put"), ("patch", "patch", "patch"),
            ("delete", "delete", "delete"),
        )
        if verb in info.verbs
    }  # fmt: skip
    if item:
        paths[f"{root}/{info.plural}/{{name}}"] = item


def _operation_id(info: ResourceInfo, action: str) -> str:
    group = "".join(part.capitalize() for part in info.group.split(".")[0].split("-")) or "Core"
    scope = "Namespaced" if info.namespaced else ""
    return f"{action}{group}{info.version.capitalize()}{scope}{info.kind}"


def _parameters(action: str) -> list[str]:
    if action in ("post", "put"):
        return list(_WRITE_PARAMETERS)
    return [*_WRITE_PARAMETERS, "force"] if action == "patch" else []


def _patch_types(info: ResourceInfo) -> tuple[str, ...]:
    """Return the forms of patches that a kind takes: the strategic one only where Kubernetes defines the
    kind.

    kubectl chooses the form of its own patches by this.
    """
    return _PATCH_TYPES if info.schema is not None else (*_PATCH_TYPES, _STRATEGIC)


def _operation_v3(info: ResourceInfo, action: str) -> dict[str, Any]:
    result: dict[str, Any] = {
        "operationId": _operation_id(info, action),
        "x-kubernetes-action": action,
        _GVK: _gvk(info),
        "parameters": [
            {
                "name": name,
                "in": "query",
                "schema": {"type": "boolean" if name == "force" else "string", "uniqueItems": True},
            }
            for name in _parameters(action)
        ],
        "responses": {"200": {"description": "OK"}},
    }
    if action == "patch":
        forms = {media: {"schema": {"type": "object"}} for media in _patch_types(info)}
        result["requestBody"] = {"content": forms}
    return result


def _operation_v2(info: ResourceInfo, action: str) -> dict[str, Any]:
    result: dict[str, Any] = {
        "operationId": _operation_id(info, action),
        "x-kubernetes-action": action,
        _GVK: _gvk(info),
        "parameters": [
            {
                "name": name,
                "in": "query",
                "type": "boolean" if name == "force" else "string",
                "uniqueItems": True,
            }
            for name in _parameters(action)
        ],
        "responses": {"200": {"description": "OK"}},
    }
    if action == "patch":
        result["consumes"] = list(_patch_types(info))
    return result
