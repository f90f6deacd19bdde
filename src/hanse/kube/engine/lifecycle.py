"""What an API server does to an object between the client and the store: pure functions.

Server-owned metadata on create, what an update may and may not change, generation, what a delete does at
once and what waits for finalizers. No I/O; inputs are never changed. The rules are those of Kubernetes' API
conventions. Next: `hanse.kube.engine.resources.store`, which runs them inside transactions.
"""

from __future__ import annotations

import base64
import secrets
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import orjson

from hanse.errors import ConflictError, InvalidArgumentError
from hanse.kube.kinds.kubernetes import core
from hanse.kube.kinds.resource_info import ResourceInfo
from hanse.kube.model.identity import User
from hanse.kube.model.objects import Object, mapping
from hanse.kube.model.status import Cause, InvalidObjectError
from hanse.kube.model.times import format_time

Propagation = Literal["", "Background", "Foreground", "Orphan"]

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_RANDOM = 5


def invalid(info: ResourceInfo, name: str, *causes: Cause) -> InvalidObjectError:
    """Return the error for an object of a resource that breaks rules."""
    return InvalidObjectError(kind=info.kind, group=info.group, name=name, causes=causes)


def generate_name(prefix: str) -> str:
    """Return a name that starts with `prefix` (cut to leave room) and ends in five random characters."""
    return prefix[: 63 - _RANDOM] + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM))


def for_create(
    info: ResourceInfo, obj: Object, *, namespace: str, name: str, now: datetime, user: User
) -> Object:
    """Return a new object as the server completes it: identity, times, generation and first status.

    `user` makes it. What the server owns is the server's, whatever the client wrote of it.
    """
    given = mapping(obj, "metadata")
    metadata = {k: v for k, v in given.items() if k not in _SERVER_OWNED and v is not None}
    metadata["name"] = name
    if namespace:
        metadata["namespace"] = namespace
    metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": format_time(now), "generation": 1}
    result = {**obj, "metadata": metadata}
    if "status" in info.subresources and not info.strategy.keeps_status:
        result.pop("status", None)
    if info.strategy.first_status:
        result["status"] = dict(info.strategy.first_status)
    if info.strategy.stamp is not None:
        result = orjson.loads(orjson.dumps(result))
        metadata = result["metadata"]
        info.strategy.stamp(result, user)
    if info.storage_key == core.NAMESPACE.group_plural:
        result["spec"] = {**mapping(obj, "spec"), "finalizers": ["kubernetes"]}
        metadata["labels"] = {**(metadata.get("labels") or {}), "kubernetes.io/metadata.name": name}
    return normalize(info, result)


_SERVER_OWNED = frozenset(
    {"uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds",
     "generation", "selfLink", "namespace"}
)  # fmt: skip


_SET_BY_DELETE = ("deletionTimestamp", "deletionGracePeriodSeconds")
"""What a delete sets, and no update."""


def normalize(info: ResourceInfo, obj: Object) -> Object:
    """Move write-only fields to where they are kept: a Secret's stringData becomes data."""
    if info.storage_key == core.SECRET.group_plural and obj.get("stringData"):
        if not all(isinstance(v, str) for v in obj["stringData"].values()):
            raise InvalidArgumentError("stringData of a Secret must map strings to strings")
        encoded = {k: base64.b64encode(v.encode()).decode() for k, v in obj["stringData"].items()}
        obj = {k: v for k, v in obj.items() if k != "stringData"}
        obj["data"] = {**(obj.get("data") or {}), **encoded}
    return obj


def for_update(
    info: ResourceInfo, new: Object, current: Object, *, subresource: str, now: datetime
) -> Object:
    """Return `new` with everything taken from `current` that this kind of update cannot change.

    Raises InvalidObjectError if the name, namespace or uid differ, or finalizers are added while the object
    is being deleted.
    """
    old = current["metadata"]
    if subresource in ("status", "approval"):
        result = {**current, "status": new.get("status")}
        if new.get("status") is None:
            result.pop("status")
        metadata = {**old, "managedFields": mapping(new, "metadata").get("managedFields")}
        if metadata["managedFields"] is None:
            metadata.pop("managedFields")
        result["metadata"] = metadata
        if info.strategy.restrict_subresource is not None:
            result = orjson.loads(orjson.dumps(result))
            info.strategy.restrict_subresource(current, result, subresource, format_time(now))
        return result
    metadata = {k: v for k, v in mapping(new, "metadata").items() if k not in _SERVER_OWNED and v is not None}
    name = str(old["name"])
    given_uid = mapping(new, "metadata").get("uid")
    if given_uid and given_uid != old.get("uid"):
        raise ConflictError(
            f"Precondition failed: UID in precondition: {given_uid}, UID in object meta: {old.get('uid')}",
            metadata={"name": name},
        )
    if metadata.get("name", name) != name:
        cause = Cause(
            "FieldValueInvalid", f'Invalid value: "{metadata["name"]}": field is immutable', "metadata.name"
        )
        raise invalid(info, name, cause)
    for field in _SET_BY_DELETE:
        given = mapping(new, "metadata").get(field)
        if given is not None and given != old.get(field):
            shown = orjson.dumps(given).decode()
            cause = Cause(
                "FieldValueInvalid", f"Invalid value: {shown}: field is immutable", f"metadata.{field}"
            )
            raise invalid(info, name, cause)
    metadata |= {k: old[k] for k in _SERVER_OWNED if k in old}
    metadata["name"] = name
    _check_finalizers(info, metadata, old)
    result = {**new, "metadata": metadata}
    if "status" in info.subresources:
        result.pop("status", None)
        if "status" in current:
            result["status"] = current["status"]
    if info.storage_key == core.NAMESPACE.group_plural and subresource != "finalize":
        result["spec"] = {
            **mapping(new, "spec"),
            "finalizers": mapping(current, "spec").get("finalizers", []),
        }
    return normalize(info, result)


def _check_finalizers(info: ResourceInfo, metadata: dict[str, Any], old: dict[str, Any]) -> None:
    if not old.get("deletionTimestamp"):
        return
    added = set(metadata.get("finalizers") or ()) - set(old.get("finalizers") or ())
    if added:
        message = f"Forbidden: no new finalizers can be added if the object is being deleted: {sorted(added)}"
        raise invalid(info, str(old["name"]), Cause("FieldValueForbidden", message, "metadata.finalizers"))


def spec_changed(info: ResourceInfo, new: Object, current: Object) -> bool:
    """Report whether anything but metadata and status differs: what raises the generation."""
    ignored = {"metadata", "status"} if "status" in info.subresources else {"metadata"}
    return any(new.get(k) != current.get(k) for k in new.keys() | current.keys() if k not in ignored)


def bumped(obj: Object, current: Object) -> Object:
    """Return `obj` with the generation after `current`'s."""
    generation = int(current["metadata"].get("generation") or 0) + 1
    return {**obj, "metadata": {**obj["metadata"], "generation": generation}}


def unchanged(new: Object, current: Object, *, hidden: Collection[str]) -> bool:
    """Report whether writing `new` over `current` would change nothing that anybody can see.

    Times in managedFields, the resourceVersion and hidden annotations do not count.
    """
    if any(new.get(k) != current.get(k) for k in new.keys() | current.keys() if k != "metadata"):
        return False
    return _visible(new["metadata"], hidden) == _visible(current["metadata"], hidden)


def _visible(metadata: dict[str, Any], hidden: Collection[str]) -> dict[str, Any]:
    shown = {k: v for k, v in metadata.items() if k != "resourceVersion" and v not in (None, {}, [])}
    fields = shown.get("managedFields")
    if fields:
        shown["managedFields"] = [{k: v for k, v in f.items() if k != "time"} for f in fields]
    annotations = shown.get("annotations")
    if annotations:
        shown["annotations"] = {k: v for k, v in annotations.items() if k not in hidden}
        if not shown["annotations"]:
            del shown["annotations"]
    return shown


def with_hidden(new: Object, current: Object, hidden: Collection[str]) -> Object:
    """Return `new` with the hidden annotations of `current`, which its client never saw."""
    old = current["metadata"].get("annotations") or {}
    kept = {k: old[k] for k in hidden if k in old}
    if not kept:
        return new
    annotations = {**kept, **(new["metadata"].get("annotations") or {})}
    return {**new, "metadata": {**new["metadata"], "annotations": annotations}}


def has_finished_deletion(obj: Object) -> bool:
    """Report whether nothing keeps an object any more whose deletion was asked for."""
    metadata = obj["metadata"]
    if not metadata.get("deletionTimestamp") or metadata.get("finalizers"):
        return False
    if int(metadata.get("deletionGracePeriodSeconds") or 0) > 0:
        return False
    return not (core.NAMESPACE.matches(obj) and mapping(obj, "spec").get("finalizers"))


@dataclass(frozen=True, slots=True)
class Deletion:
    """What a delete does: remove the object now, or store it like this and wait."""

    remove: bool
    object: Object


def for_delete(
    info: ResourceInfo,
    current: Object,
    *,
    now: datetime,
    propagation: Propagation = "",
    grace_seconds: int | None = None,
    graceful_pods: bool = False,
) -> Deletion:
    """Decide what a delete does to an object.

    `graceful_pods` is for servers with kubelets: a scheduled Pod stays until the kubelet confirms. Deleting
    twice changes nothing, except that a shorter grace period counts.
    """
    old = current["metadata"]
    metadata = dict(old)
    metadata["finalizers"] = _finalizers(old.get("finalizers") or [], propagation)
    grace = _grace(info, current, grace_seconds) if graceful_pods else 0
    if not old.get("deletionTimestamp"):
        metadata["deletionTimestamp"] = format_time(now) if not grace else _later(now, grace)
        metadata["deletionGracePeriodSeconds"] = grace
        metadata["generation"] = int(old.get("generation") or 0) + 1
    elif grace < int(old.get("deletionGracePeriodSeconds") or 0):
        metadata["deletionGracePeriodSeconds"] = grace
    if not metadata["finalizers"]:
        del metadata["finalizers"]
    result = {**current, "metadata": metadata}
    if info.storage_key == core.NAMESPACE.group_plural:
        result["status"] = {**mapping(current, "status"), "phase": "Terminating"}
    return Deletion(has_finished_deletion(result), result)


def _finalizers(present: list[str], propagation: Propagation) -> list[str]:
    if not propagation:
        return list(present)
    kept = [f for f in present if f not in (FOREGROUND, ORPHAN)]
    wanted = {"Foreground": [FOREGROUND], "Orphan": [ORPHAN]}.get(propagation, [])
    return kept + wanted


def _grace(info: ResourceInfo, pod: Object, asked: int | None) -> int:
    if info.storage_key != core.POD.group_plural or not mapping(pod, "spec").get("nodeName"):
        return 0
    if mapping(pod, "status").get("phase") in ("Succeeded", "Failed"):
        return 0
    default = mapping(pod, "spec").get("terminationGracePeriodSeconds")
    return asked if asked is not None else int(30 if default is None else default)


def _later(now: datetime, seconds: int) -> str:
    return format_time(datetime.fromtimestamp(now.timestamp() + seconds, tz=now.tzinfo))
