"""What the fields of Kubernetes objects mean: types, list and map semantics, merge keys, required, defaults.

Owns the compact schema of the built-in kinds (src/hanse/kube/data, made by scripts/build_schema.py) and the
schemas of CRDs. A `SchemaSet` is immutable; adding a CRD gives a new one that shares the rest. `Schema`
nodes resolve their children when first asked and remember them: the memo is idempotent, so use from several
tasks or threads is safe.

Descriptions are a separate file, read only when OpenAPI is served.

Next: `typed` and `apply` for who uses the list semantics, `hanse.kube.validation.schema` and
`hanse.kube.kinds.defaults` for the rest.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib import resources
from typing import Any, Literal

import orjson

from hanse.kube.model.objects import GroupVersionKind

Shape = Literal["scalar", "struct", "map", "list", "any"]

OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
LIST_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"
INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"

_ABSENT: Any = object()
_OVERLAY = frozenset({"description", "$ref"})


class Schema:
    """The meaning of one value, by its OpenAPI schema.

    `shape` is what merging needs: 'struct' has named fields, 'map' has keys with one type of value, 'list',
    'scalar', or 'any' (no schema: deduced from the value). `type` is the OpenAPI type ('' for any). `atomic`
    is true if the value has one owner and is replaced whole. `list_type` is 'atomic', 'set' or 'map';
    `list_keys` are its map keys. `merge_key` and `strategies` are those of strategic merge patch.
    `preserve` keeps unknown fields. `builtin` is false for CRDs.
    """

    __slots__ = (
        "_children",
        "_element",
        "_properties",
        "_set",
        "atomic",
        "builtin",
        "default",
        "format",
        "key_defaults",
        "list_keys",
        "list_type",
        "merge_key",
        "name",
        "nullable",
        "preserve",
        "raw",
        "required",
        "shape",
        "strategies",
        "type",
    )

    def __init__(
        self, owner: SchemaSet, raw: Mapping[str, Any], *, name: str = "", builtin: bool = True
    ) -> None:
        self._set = owner
        self._children: dict[str, Schema | None] = {}
        self._element: Schema | None = _ABSENT
        self._properties: Mapping[str, Any] = raw.get("properties") or {}
        self.raw = raw
        self.name = name
        self.builtin = builtin
        self.type: str = raw.get("type", "")
        self.format: str = raw.get("format", "")
        self.required: tuple[str, ...] = tuple(raw.get("required") or ())
        self.nullable: bool = bool(raw.get("nullable")) and not builtin
        self.default: Any = raw.get("default", _ABSENT)
        self.merge_key: str = raw.get("x-kubernetes-patch-merge-key", "")
        self.strategies = frozenset(filter(None, raw.get("x-kubernetes-patch-strategy", "").split(",")))
        self.preserve = bool(raw.get("x-kubernetes-preserve-unknown-fields"))
        self.shape: Shape = self._shape()
        self.list_type, self.list_keys = self._list_semantics()
        self.atomic = self._atomic()
        self.key_defaults: dict[str, Any] | None = None

    def _shape(self) -> Shape:
        raw = self.raw
        if self.name == QUANTITY or self.format == "int-or-string" or raw.get("x-kubernetes-int-or-string"):
            self.format = "quantity" if self.name == QUANTITY else "int-or-string"
            return "scalar"
        if self.type == "array":
            return "list"
        if self.type in ("object", ""):
            if self._properties:
                return "struct"
            if isinstance(raw.get("additionalProperties"), Mapping):
                return "map"
            self.preserve = self.preserve or self.builtin or raw.get("additionalProperties") is True
            return "any" if self.preserve or not self.type else "struct"
        return "scalar"

    def _list_semantics(self) -> tuple[str, tuple[str, ...]]:
        if self.shape != "list":
            return "", ()
        kind = self.raw.get("x-kubernetes-list-type")
        if kind:
            return kind, tuple(sorted(self.raw.get("x-kubernetes-list-map-keys") or ()))
        if "merge" in self.strategies:  # what Kubernetes falls back to
            return ("map", (self.merge_key,)) if self.merge_key else ("set", ())
        return "atomic", ()

    def _atomic(self) -> bool:
        if self.shape == "list":
            return self.list_type == "atomic"
        if self.shape == "any" and not self.type and not self.preserve:
            return True
        if self.shape == "any" and self.builtin and not self.type:
            return True
        return bool(self.raw.get("x-kubernetes-map-type") == "atomic")

    @property
    def has_default(self) -> bool:
        """True if the schema gives a default for this value."""
        return self.default is not _ABSENT

    @property
    def fields(self) -> Iterable[str]:
        """The names of the fields that the schema declares."""
        return self._properties.keys()

    def declares(self, name: str) -> bool:
        """Return True if `name` is a declared field (and not only allowed by additional or preserved
        fields).
        """
        return name in self._properties

    def field(self, name: str) -> Schema | None:
        """Return the schema of a field or map value; None if the schema does not know the name."""
        try:
            return self._children[name]
        except KeyError:
            found: Schema | None = None
            if name in self._properties:
                found = self._children[name] = self._set.resolve(self._properties[name], builtin=self.builtin)
            elif self.shape in ("map", "struct", "any"):
                found = self.element  # not remembered: the names are data
            return found

    @property
    def element(self) -> Schema | None:
        """The schema of list items or of map values; None if there is none."""
        if self._element is _ABSENT:
            self._element = self._resolve_element()
        return self._element

    def _resolve_element(self) -> Schema | None:
        if self.shape == "list":
            raw = self.raw.get("items")
            return self._set.resolve(raw, builtin=self.builtin) if isinstance(raw, Mapping) else ANY
        raw = self.raw.get("additionalProperties")
        if isinstance(raw, Mapping):
            return self._set.resolve(raw, builtin=self.builtin)
        return ANY if self.preserve or self.shape == "any" or raw is True else None

    def keys_defaults(self) -> dict[str, Any]:
        """Return the defaults that this list's map keys have in its items' schema, by key."""
        if self.key_defaults is None:
            item = self.element
            found = {key: item.field(key) for key in self.list_keys} if item else {}
            self.key_defaults = {k: s.default for k, s in found.items() if s is not None and s.has_default}
        return self.key_defaults

    def at(self, path: str) -> Schema | None:
        """Return the schema at a dotted path such as 'spec.template'; '[]' steps into list items."""
        node: Schema | None = self
        for step in path.split("."):
            if node is None:
                return None
            node = node.element if step == "[]" else node.field(step)
        return node

    def __repr__(self) -> str:
        return f"Schema({self.name or self.type or 'any'!r}, shape={self.shape!r})"


class SchemaSet:
    """The schemas of a set of kinds: the built-in ones and those added with `with_kind`."""

    def __init__(
        self,
        *,
        version: str,
        kinds: Mapping[GroupVersionKind, str],
        index: Mapping[str, tuple[int, int]],
        body: bytes,
        custom: Mapping[GroupVersionKind, Schema] | None = None,
        definitions: dict[str, Schema] | None = None,
    ) -> None:
        self.version = version
        self._kinds = kinds
        self._index = index
        self._body = body
        self._custom: Mapping[GroupVersionKind, Schema] = custom or {}
        self._definitions: dict[str, Schema] = {} if definitions is None else definitions

    @classmethod
    def builtin(cls) -> SchemaSet:
        """Return the schemas of the built-in kinds; the file is read once per process (about 10 ms)."""
        return _builtin()

    def lookup(self, group: str, version: str, kind: str) -> Schema | None:
        """Return the schema of a kind, or None if it is neither built in nor added."""
        gvk = GroupVersionKind(group, version, kind)
        if gvk in self._custom:
            return self._custom[gvk]
        name = self._kinds.get(gvk)
        return self.named(name) if name else None

    def kinds(self) -> list[GroupVersionKind]:
        """Return every kind that `lookup` knows, sorted."""
        return sorted({*self._kinds, *self._custom})

    def with_kind(
        self, *, group: str, version: str, kind: str, openapi_v3_schema: Mapping[str, Any]
    ) -> SchemaSet:
        """Return a set that also has this kind, described as in a CRD's `schema.openAPIV3Schema`.

        `apiVersion`, `kind` and `metadata` always have their standard schema.
        """
        custom = dict(self._custom)
        raw = dict(openapi_v3_schema)
        raw["properties"] = {
            **(raw.get("properties") or {}),
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"$ref": OBJECT_META},
        }
        raw["type"] = "object"
        custom[GroupVersionKind(group, version, kind)] = Schema(self, raw, builtin=False)
        return self._copy(custom)

    def without(self, group: str, kind: str) -> SchemaSet:
        """Return a set without an added kind (all of its versions); built-in kinds stay."""
        return self._copy({g: s for g, s in self._custom.items() if (g.group, g.kind) != (group, kind)})

    def _copy(self, custom: Mapping[GroupVersionKind, Schema]) -> SchemaSet:
        return SchemaSet(
            version=self.version,
            kinds=self._kinds,
            index=self._index,
            body=self._body,
            custom=custom,
            definitions=self._definitions,
        )

    def named(self, name: str) -> Schema:
        """Return a built-in definition by its full name. Raises KeyError if there is none."""
        found = self._definitions.get(name)
        if found is None:
            found = self._definitions[name] = Schema(self, self._raw(name), name=name)
        return found

    def _raw(self, name: str) -> dict[str, Any]:
        start, length = self._index[name]
        raw: dict[str, Any] = orjson.loads(self._body[start : start + length])
        return raw

    def resolve(self, raw: Mapping[str, Any], *, builtin: bool) -> Schema:
        """Return the node for a raw schema, following `$ref` and keeping what stands beside it."""
        reference = raw.get("$ref")
        if reference is None and isinstance(raw.get("allOf"), list) and len(raw["allOf"]) == 1:
            reference = raw["allOf"][0].get("$ref")  # how OpenAPI v3 writes a reference with siblings
        if reference is None:
            return Schema(self, raw, builtin=builtin)
        target = self.named(reference.rsplit("/", 1)[-1])
        beside = {key: value for key, value in raw.items() if key not in _OVERLAY and key != "allOf"}
        if not beside:
            return target
        return Schema(self, {**target.raw, **beside}, name=target.name, builtin=target.builtin)

    # What serving OpenAPI needs.

    def definition_names(self) -> list[str]:
        """Return the full names of all built-in definitions, sorted."""
        return sorted(self._index)

    def definition_name(self, group: str, version: str, kind: str) -> str | None:
        """Return the name of a built-in kind's definition, or None."""
        return self._kinds.get(GroupVersionKind(group, version, kind))

    def definition(self, name: str, *, ref_prefix: str = "#/definitions/") -> dict[str, Any]:
        """Return a built-in definition as OpenAPI, with descriptions; references get `ref_prefix`."""
        return _openapi(self._raw(name), path="", texts=_descriptions()[name], ref_prefix=ref_prefix)

    def closure(self, names: Iterable[str]) -> set[str]:
        """Return the definitions that these refer to, directly or not, and these themselves."""
        found: set[str] = set()
        todo = list(names)
        while todo:
            name = todo.pop()
            if name not in found:
                found.add(name)
                todo += _references(self._raw(name))
        return found


def _references(raw: Any) -> list[str]:
    if isinstance(raw, dict):
        own = [raw["$ref"]] if isinstance(raw.get("$ref"), str) else []
        return own + [name for value in raw.values() for name in _references(value)]
    return []


def _openapi(
    raw: Mapping[str, Any], *, path: str, texts: Mapping[str, str], ref_prefix: str
) -> dict[str, Any]:
    out: dict[str, Any] = {}
    if path in texts:
        out["description"] = texts[path]
    for key, value in raw.items():
        if key == "properties":
            out[key] = {
                name: _openapi(child, path=f"{path}/{name}", texts=texts, ref_prefix=ref_prefix)
                for name, child in value.items()
            }
        elif key == "items":
            out[key] = _openapi(value, path=f"{path}/[]", texts=texts, ref_prefix=ref_prefix)
        elif key == "additionalProperties" and isinstance(value, dict):
            out[key] = _openapi(value, path=f"{path}/{{}}", texts=texts, ref_prefix=ref_prefix)
        else:
            out[key] = ref_prefix + value if key == "$ref" else value
    return out


def _read(name: str) -> bytes:
    return gzip.decompress((resources.files("hanse.kube") / "data" / name).read_bytes())


@lru_cache(maxsize=1)
def _builtin() -> SchemaSet:
    head, _, body = _read("schema.gz").partition(b"\n")
    header = orjson.loads(head)
    return SchemaSet(
        version=header["version"],
        kinds={
            GroupVersionKind(group, version, kind): name for group, version, kind, name in header["kinds"]
        },
        index={name: (start, length) for name, (start, length) in header["definitions"].items()},
        body=body,
    )


@lru_cache(maxsize=1)
def _descriptions() -> dict[str, dict[str, str]]:
    texts: dict[str, dict[str, str]] = orjson.loads(_read("descriptions.gz"))
    return texts


_EMPTY = SchemaSet(version="", kinds={}, index={}, body=b"")

ANY = Schema(_EMPTY, {"type": "object"})
"""No schema: maps are granular, lists atomic (structured-merge-diff's deduced type)."""
