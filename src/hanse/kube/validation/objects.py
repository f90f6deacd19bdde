"""Whether an object may be stored: the door to all validation.

Owns the order of the checks and the rules for metadata; those of a kind are in its strategy. Pure; safe from
any task. A write goes `decoding` (types, unknown fields) → `defaults` → `validate` (and `validate_update`).

Next: `hanse.kube.validation.schema`, `hanse.kube.kinds.strategies`.
"""

from __future__ import annotations

from collections.abc import Iterator

from hanse.kube.kinds.decoding import Decoded, decode, decode_errors, prune, unknown_fields
from hanse.kube.kinds.fields.rules import IMMUTABLE, label_errors
from hanse.kube.kinds.strategy import Strategy
from hanse.kube.merge.schema import Schema
from hanse.kube.merge.typed import same
from hanse.kube.model.fielderrors import (
    FieldError,
    forbidden,
    invalid,
    invalid_message,
    required,
    too_long,
)
from hanse.kube.model.names import qualified_name_problems
from hanse.kube.model.objects import Object, child, mapping, sequence
from hanse.kube.validation.schema import schema_errors

__all__ = [
    "MAX_ANNOTATIONS",
    "Decoded",
    "FieldError",
    "decode",
    "decode_errors",
    "invalid_message",
    "prune",
    "unknown_fields",
    "validate",
    "validate_update",
]

MAX_ANNOTATIONS = 256 * 1024
"""Bytes that all keys and values of an object's annotations may have together."""

MAX_ANNOTATION_KEYS = 10_000
"""Annotations that one object may have."""

_STANDARD_FINALIZERS = frozenset(
    {"kubernetes", "orphan", "foregroundDeletion", "customresourcecleanup.apiextensions.k8s.io"}
)


def validate(
    obj: Object,
    schema: Schema | None,
    *,
    strict: bool,
    strategy: Strategy,
    decoded: bool = False,
    new: bool = False,
) -> list[FieldError]:
    """Return all that is wrong with an object that has its defaults; an empty list if it may be stored.

    `strict` counts unknown fields too; `decoded` says that the object has been read as its kind already,
    `new` that it is not stored yet. With
    a value of the wrong type nothing else is checked.
    """
    errors: list[FieldError] = []
    known = obj
    if strict or not decoded:
        read = decode(obj, schema)
        errors += read.errors
        if strict:
            errors += [
                FieldError(path, "FieldValueForbidden", f'unknown field "{path}"') for path in read.unknown
            ]
        if read.errors:
            return errors
        known = read.obj
    custom = schema is not None and not schema.builtin
    errors += _metadata_errors(known, strategy, bare=custom or strategy.bare_finalizers)
    found = [] if schema is None else list(schema_errors(known, schema))
    found += strategy.rules(known)
    if new:
        found += strategy.create_rules(known)
    return errors + _without_repeats(found)


def _without_repeats(errors: list[FieldError]) -> list[FieldError]:
    """Return the errors without those that say the same of the same field."""
    seen: set[tuple[str, str]] = set()
    out: list[FieldError] = []
    for error in errors:
        key = (error.field, error.body if error.type != "FieldValueRequired" else error.type)
        if key not in seen:
            seen.add(key)
            out.append(error)
    return out


def validate_update(old: Object, new: Object, *, strategy: Strategy) -> list[FieldError]:
    """Return what `new` changes of `old` that may not change; `validate` the new object as well."""
    return [
        *_identity_errors(old, new),
        *_immutable_errors(old, new, strategy),
        *strategy.update_rules(old, new),
    ]


def _identity_errors(old: Object, new: Object) -> Iterator[FieldError]:
    for field in ("name", "namespace", "uid", "creationTimestamp"):
        before, after = child(old, "metadata", field), child(new, "metadata", field)
        if before and after is not None and before != after:
            yield invalid(f"metadata.{field}", after, IMMUTABLE)


def _immutable_errors(old: Object, new: Object, strategy: Strategy) -> Iterator[FieldError]:
    for path in strategy.immutable:
        before, after = child(old, *path.split(".")), child(new, *path.split("."))
        if before is not None and not same(before, after):
            yield invalid(path, after, IMMUTABLE)


def _metadata_errors(obj: Object, strategy: Strategy, *, bare: bool) -> Iterator[FieldError]:
    metadata = mapping(obj, "metadata")
    problems = strategy.name_problems
    name, prefix = metadata.get("name"), metadata.get("generateName")
    if name:
        for problem in problems(name):
            yield invalid("metadata.name", name, problem)
    elif not prefix:
        yield required("metadata.name", "name or generateName is required")
    if prefix:
        for problem in problems(prefix.rstrip("-.") or "x"):
            yield invalid("metadata.generateName", prefix, problem)
    yield from label_errors(mapping(metadata, "labels"), "metadata.labels")
    annotations = mapping(metadata, "annotations")
    if sum(len(k.encode()) + len(str(v).encode()) for k, v in annotations.items()) > MAX_ANNOTATIONS:
        yield too_long("metadata.annotations", MAX_ANNOTATIONS)
    for key in annotations if len(annotations) <= MAX_ANNOTATION_KEYS else ():
        for problem in qualified_name_problems(key.lower()):
            yield invalid("metadata.annotations", key, problem)
    if len(annotations) > MAX_ANNOTATION_KEYS:
        message = f"must have at most {MAX_ANNOTATION_KEYS} items"
        yield FieldError("metadata.annotations", "FieldValueTooMany", message, len(annotations))
    for index, finalizer in enumerate(sequence(metadata, "finalizers")):
        yield from _finalizer_errors(finalizer, f"metadata.finalizers[{index}]", bare=bare)
    yield from _owner_errors(metadata)


def _finalizer_errors(finalizer: str, where: str, *, bare: bool) -> Iterator[FieldError]:
    for problem in qualified_name_problems(finalizer):
        yield invalid(where, finalizer, problem)
    if not bare and "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS:
        message = "name is neither a standard finalizer name nor is it fully qualified"
        yield invalid(where, finalizer, message)


def _owner_errors(metadata: Object) -> Iterator[FieldError]:
    owners = sequence(metadata, "ownerReferences")
    for index, owner in enumerate(owners):
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                yield invalid(f"metadata.ownerReferences[{index}].{field}", "", f"{field} must not be empty")
    controllers = [owner for owner in owners if owner.get("controller") is True]
    if len(controllers) > 1:
        yield forbidden("metadata.ownerReferences", "Only one reference can have Controller set to true")
