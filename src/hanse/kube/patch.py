"""The three patches of the Kubernetes API that are not apply: JSON patch, merge patch, strategic merge patch.

Owns applying them, and making merge and strategic merge patches from two versions of an object. Pure: never
changes its inputs; safe from any task. JSON patch is RFC 6902, merge patch RFC 7386; strategic merge patch
is Kubernetes' own, with merge keys and strategies from the schema and its `$` directives.

Next: `strategic` for the strategic merge patch itself.
"""

from __future__ import annotations

import copy
from typing import Any

import jsonpatch
import jsonpointer

from hanse.errors import InvalidArgumentError
from hanse.kube.merge import same
from hanse.kube.objects import Object
from hanse.kube.strategic import (
    UnsupportedPatchError,
    diff_strategic_merge_patch,
    strategic_merge_patch,
)

__all__ = [
    "MAX_JSON_PATCH_OPERATIONS",
    "UnsupportedPatchError",
    "diff_merge_patch",
    "diff_strategic_merge_patch",
    "json_patch",
    "merge_patch",
    "strategic_merge_patch",
]

MAX_JSON_PATCH_OPERATIONS = 10_000
"""As in Kubernetes: a longer JSON patch is refused."""


def json_patch(obj: Object, ops: Any) -> Object:
    """Return the object after the operations of an RFC 6902 patch; all of them apply or none does.

    Raises InvalidArgumentError if the patch is malformed, a path does not exist, a `test` fails, or there
    are more than MAX_JSON_PATCH_OPERATIONS operations.
    """
    if not isinstance(ops, list) or not all(isinstance(op, dict) for op in ops):
        raise InvalidArgumentError("a JSON patch must be a list of operations", reason="BAD_PATCH")
    if len(ops) > MAX_JSON_PATCH_OPERATIONS:
        raise InvalidArgumentError(
            f"the JSON patch has {len(ops)} operations, more than {MAX_JSON_PATCH_OPERATIONS}: split it",
            reason="PATCH_TOO_LARGE",
        )
    document: Any = copy.deepcopy(obj)
    for index, op in enumerate(ops):
        document = _operate(document, op, f"operation {index} of the JSON patch")
    if not isinstance(document, dict):
        raise InvalidArgumentError("the JSON patch replaces the object by something else", reason="BAD_PATCH")
    return document


def _operate(document: Any, op: dict[str, Any], where: str) -> Any:
    name, path = op.get("op"), op.get("path")
    if name == "test" and isinstance(path, str) and "value" in op:
        _test(document, path, op["value"], where)
        return document
    try:
        return jsonpatch.JsonPatch([copy.deepcopy(op)]).apply(document, in_place=True)
    except jsonpatch.JsonPatchConflict as error:
        raise InvalidArgumentError(
            f"{where} ({name} {path}) does not apply: {error}", reason="PATCH_CONFLICT"
        ) from None
    except jsonpointer.JsonPointerException as error:
        problem = "there is no such path" if " not found in " in str(error) else str(error)
        raise InvalidArgumentError(
            f"{where} ({name} {path}) does not apply: {problem}", reason="PATCH_CONFLICT"
        ) from None
    except (jsonpatch.JsonPatchException, TypeError, KeyError) as error:
        raise InvalidArgumentError(
            f"{where} ({name} {path}) is not valid: {error}", reason="PATCH_CONFLICT"
        ) from None


def _test(document: Any, path: str, value: Any, where: str) -> None:
    absent = object()
    try:
        found = jsonpointer.JsonPointer(path).resolve(document, absent)
    except jsonpointer.JsonPointerException as error:
        raise InvalidArgumentError(
            f"{where} (test {path}) is not valid: {error}", reason="BAD_PATCH"
        ) from None
    if found is absent and value is None:
        return  # as Kubernetes: testing for null holds where there is nothing
    if not same(found, value):
        raise InvalidArgumentError(
            f"{where}: testing value {path} failed: test failed", reason="PATCH_TEST_FAILED"
        )


def merge_patch(obj: Object, patch: Any) -> Object:
    """Return the object after an RFC 7386 merge patch: null removes, maps merge, all else replaces.

    Raises InvalidArgumentError if the patch is not a JSON object.
    """
    if not isinstance(patch, dict):
        raise InvalidArgumentError("a merge patch must be a JSON object", reason="BAD_PATCH")
    merged: Object = _merge(obj, patch)
    return merged


def _merge(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    out: dict[str, Any] = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = _merge(out.get(key), value)
    return out


def diff_merge_patch(old: Object, new: Object) -> Object:
    """Return the merge patch that turns `old` into `new`.

    A null value in `new` cannot be expressed: it means removal.
    """
    patch: Object = {key: None for key in old if key not in new}
    for key, value in new.items():
        if key not in old:
            patch[key] = value
        elif isinstance(value, dict) and isinstance(old[key], dict):
            below = diff_merge_patch(old[key], value)
            if below:
                patch[key] = below
        elif not same(value, old[key]):
            patch[key] = value
    return patch
