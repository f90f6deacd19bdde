"""What a patch request says before it is applied, and how its failures read. Pure functions.

Next: `hanse.kube.merge.patch` and `hanse.kube.merge.apply`, which apply.
"""

from __future__ import annotations

from typing import Any

from hanse.errors import ConflictError, InvalidArgumentError
from hanse.kube.kinds.resource_info import ResourceInfo
from hanse.kube.merge.apply import ApplyConflictError
from hanse.kube.model.objects import mapping
from hanse.kube.model.status import BAD_PATCH_RESULT, Cause, StatusConflictError
from hanse.store.keys import ObjectKey


def wanted_version(patch: Any) -> str:
    """Return the resourceVersion that a merge patch sets: an optimistic lock; "" for none."""
    if not isinstance(patch, dict):
        return ""
    return str(mapping(patch, "metadata").get("resourceVersion") or "")


def bad_result(error: InvalidArgumentError) -> InvalidArgumentError:
    """Return the error for a patch that makes something else than an object of the kind: 422, not 400."""
    return InvalidArgumentError(f"the patch does not fit: {error}", reason=BAD_PATCH_RESULT)


def conflict(info: ResourceInfo, key: ObjectKey, error: ConflictError) -> ConflictError:
    """Return the conflict of a server-side apply with the details that Kubernetes clients read."""
    metadata = {"name": key.name, "group": info.group, "kind": info.plural}
    if isinstance(error, ApplyConflictError):
        causes = [Cause(c["reason"], c["message"], c["field"]) for c in error.causes()]
        return StatusConflictError(error.message, causes=causes, metadata={})
    return ConflictError(error.message, reason=error.reason, metadata={**error.metadata, **metadata})
