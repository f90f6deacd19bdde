"""The errors of writes as Kubernetes words them, with the details that its clients read. Pure functions.

Next: `hanse.kube.model.status`, which makes a Status of them; `hanse.kube.engine.resources.store`, whose
verbs raise them.
"""

from __future__ import annotations

from collections.abc import Sequence

from hanse.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    UnimplementedError,
)
from hanse.kube.kinds.kubernetes import core
from hanse.kube.kinds.resource_info import ResourceInfo
from hanse.kube.merge.apply import ApplyConflictError
from hanse.kube.model.fielderrors import FieldError
from hanse.kube.model.status import BAD_PATCH_RESULT, Cause, InvalidObjectError, StatusConflictError
from hanse.store.keys import ObjectKey

MAX_CAUSES = 100
"""Problems of an object that an answer lists; of more it says how many there are."""


def not_found(info: ResourceInfo, key: ObjectKey) -> NotFoundError:
    """Return the error for an object that is not there."""
    return NotFoundError(f'{info.group_resource} "{key.name}" not found', metadata=_details(info, key))


def already_exists(info: ResourceInfo, key: ObjectKey) -> AlreadyExistsError:
    """Return the error for an object that is there already."""
    message = f'{info.group_resource} "{key.name}" already exists'
    return AlreadyExistsError(message, metadata=_details(info, key))


def conflict(info: ResourceInfo, key: ObjectKey, why: str) -> ConflictError:
    """Return the error for a write that does not fit the object as it is now."""
    message = f'Operation cannot be fulfilled on {info.group_resource} "{key.name}": {why}'
    return ConflictError(message, metadata=_details(info, key))


def modified(info: ResourceInfo, key: ObjectKey) -> ConflictError:
    """Return the conflict of a write that is for an older version of the object."""
    return conflict(
        info,
        key,
        "the object has been modified; please apply your changes to the latest version and try again",
    )


def wrong_uid(info: ResourceInfo, key: ObjectKey, *, wanted: str, found: str | None) -> ConflictError:
    """Return the conflict of a delete that is for another object of the same name."""
    return conflict(
        info,
        key,
        f"the UID in the precondition ({wanted:.80}) does not match the UID in record ({found}). The object"
        " might have been deleted and then recreated",
    )


def wrong_version(info: ResourceInfo, key: ObjectKey, *, wanted: str, found: int) -> ConflictError:
    """Return the conflict of a delete that is for another state of the object."""
    return conflict(
        info,
        key,
        f"the ResourceVersion in the precondition ({wanted:.80}) does not match the ResourceVersion in record"
        f" ({found}). The object might have been modified",
    )


def too_busy(info: ResourceInfo, key: ObjectKey, *, attempts: int) -> ConflictError:
    """Return the conflict of a write that lost against others too often."""
    return conflict(info, key, f"it changed {attempts} times while this write was made; try again")


def apply_conflict(info: ResourceInfo, key: ObjectKey, error: ConflictError) -> ConflictError:
    """Return the conflict of a server-side apply with the details that Kubernetes clients read."""
    if isinstance(error, ApplyConflictError):
        causes = [Cause(c["reason"], c["message"], c["field"]) for c in error.causes()]
        return StatusConflictError(error.message, causes=causes, metadata={})
    return ConflictError(
        error.message, reason=error.reason, metadata={**error.metadata, **_details(info, key)}
    )


def bad_patch_result(error: InvalidArgumentError) -> InvalidArgumentError:
    """Return the error for a patch that makes something else than an object of the kind: 422, not 400."""
    return InvalidArgumentError(f"the patch does not fit: {error}", reason=BAD_PATCH_RESULT)


def read_only(info: ResourceInfo, verb: str) -> UnimplementedError:
    """Return the error for a verb that a resource does not have."""
    return UnimplementedError(
        f"the server does not allow {verb} on {info.group_resource}: it is read-only",
        metadata={"kind": info.plural, "group": info.group},
    )


def no_namespace(namespace: str) -> NotFoundError:
    """Return the error for an object in a namespace that does not exist."""
    return NotFoundError(f'namespaces "{namespace}" not found', metadata=_about_namespace(namespace))


def terminating(namespace: str) -> PermissionDeniedError:
    """Return the error for a new object in a namespace that is being deleted."""
    return PermissionDeniedError(
        f"unable to create new content in namespace {namespace} because it is being terminated",
        metadata=_about_namespace(namespace),
    )


def invalid_object(info: ResourceInfo, name: str, errors: Sequence[FieldError]) -> InvalidObjectError:
    """Return the error 422 for these problems."""
    unique = dict.fromkeys((e.type, e.body, e.field) for e in errors)
    causes = [Cause(kind, body, field) for kind, body, field in list(unique)[:MAX_CAUSES]]
    if len(unique) > MAX_CAUSES:
        causes.append(Cause("FieldValueInvalid", f"and {len(unique) - MAX_CAUSES} problems more"))
    return InvalidObjectError(kind=info.kind, group=info.group, name=name, causes=causes)


def undecodable(info: ResourceInfo, problems: str) -> InvalidArgumentError:
    """Return the error for a document that is no object of the kind."""
    return InvalidArgumentError(
        f'{info.kind} in version "{info.version}" cannot be handled as a {info.kind}: {problems}'
    )


def _details(info: ResourceInfo, key: ObjectKey) -> dict[str, str]:
    return {"name": key.name, "group": info.group, "kind": info.plural}


def _about_namespace(namespace: str) -> dict[str, str]:
    return {"name": namespace, "kind": core.NAMESPACE.plural}
