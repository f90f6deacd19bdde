"""The three patches of the Kubernetes API that are not apply: JSON patch, merge patch, strategic merge patch.

Owns merge patch. Pure: never changes its inputs; safe from any task. JSON patch is RFC 6902, merge patch
RFC 7386; strategic merge patch is Kubernetes' own, with merge keys and strategies from the schema and its `$`
directives.

Next: `hanse.kube.merge.json_patch` and `hanse.kube.merge.strategic` for two of them.
"""

from __future__ import annotations

from typing import Any

from hanse.errors import InvalidArgumentError
from hanse.kube.merge.json_patch import json_patch
from hanse.kube.merge.strategic import UnsupportedPatchError, strategic_merge_patch
from hanse.kube.model.objects import Object

__all__ = ["UnsupportedPatchError", "json_patch", "merge_patch", "strategic_merge_patch"]


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
