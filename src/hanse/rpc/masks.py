"""Field masks (AIP-134, AIP-161): what an update changes, and what a read returns.

Owns `apply_update` and `project`. Fields annotated OUTPUT_ONLY are ignored in an update and IMMUTABLE
and IDENTIFIER ones may not change, as `google.api.field_behavior` says in the descriptor.

Concurrency: pure functions; arguments are not changed.

Next: `hanse.rpc.etags`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from google.api import field_behavior_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from hanse.errors import InvalidArgumentError

M = TypeVar("M", bound=Message)


def apply_update(current: M, update: M, mask: FieldMask | None = None) -> M:
    """Return `current` with the masked fields taken from `update`.

    An empty mask means every field that is set in `update`; `*` means full replacement. Lists and maps
    are replaced whole. Raises InvalidArgumentError for an unknown path or a changed IMMUTABLE
    or IDENTIFIER field.
    """
    paths = tuple(mask.paths) if mask is not None else ()
    result = type(current)()
    result.CopyFrom(current)
    if not paths:
        paths = tuple(field.name for field, _ in update.ListFields())
    elif "*" in paths:
        if len(paths) > 1:
            raise InvalidArgumentError('update_mask has "*" beside other paths: give only one of both')
        paths = tuple(field.name for field in current.DESCRIPTOR.fields)
    for path in paths:
        chain = _resolve(current.DESCRIPTOR, path)
        if any(_has(field, field_behavior_pb2.OUTPUT_ONLY) for field in chain):
            continue
        _assign(result, update, chain)
    _restore(current, result)
    return result


def project(message: M, mask: FieldMask | None) -> M:
    """Return only the masked fields of `message`; all of it for an empty mask or `*` (AIP-157)."""
    if mask is None or not mask.paths or "*" in mask.paths:
        return message
    result = type(message)()
    for path in mask.paths:
        _assign(result, message, _resolve(message.DESCRIPTOR, path))
    return result


def _resolve(descriptor: Any, path: str) -> list[FieldDescriptor]:
    chain: list[FieldDescriptor] = []
    current: Any = descriptor
    for part in path.split("."):
        field: FieldDescriptor | None = current.fields_by_name.get(part) if current is not None else None
        if field is None or (chain and chain[-1].is_repeated):
            known = ", ".join(sorted(each.name for each in descriptor.fields))
            raise InvalidArgumentError(
                f"field mask path {path!r} is not a field of {descriptor.name}; its fields are {known}",
                reason="FIELD_MASK_INVALID",
                metadata={"path": path},
            )
        chain.append(field)
        current = field.message_type
    return chain


def _assign(target: Any, source: Any, chain: Iterable[FieldDescriptor]) -> None:
    """Set the field at the end of `chain` in `target` to what `source` has, or clear it."""
    *parents, last = chain
    for parent in parents:
        if not source.HasField(parent.name) and not target.HasField(parent.name):
            return
        source, target = getattr(source, parent.name), getattr(target, parent.name)
    target.ClearField(last.name)
    if last.is_repeated:
        getattr(target, last.name).MergeFrom(getattr(source, last.name))
    elif last.has_presence:
        if source.HasField(last.name):
            if last.message_type is not None:
                getattr(target, last.name).CopyFrom(getattr(source, last.name))
            else:
                setattr(target, last.name, getattr(source, last.name))
    else:
        setattr(target, last.name, getattr(source, last.name))


def _restore(current: Any, result: Any, path: str = "") -> None:
    """Put nested OUTPUT_ONLY fields back and refuse changes of IMMUTABLE ones."""
    for field in current.DESCRIPTOR.fields:
        where = f"{path}{field.name}"
        if _has(field, field_behavior_pb2.OUTPUT_ONLY):
            _assign(result, current, [field])
        elif _has(field, field_behavior_pb2.IMMUTABLE) or _has(field, field_behavior_pb2.IDENTIFIER):
            if not _equal(current, result, field) and not _is_empty(current, field):
                raise InvalidArgumentError(
                    f"field {where} of {current.DESCRIPTOR.name} cannot be changed: "
                    "delete the resource and create another",
                    reason="FIELD_IMMUTABLE",
                    metadata={"path": where},
                )
        elif (
            field.message_type is not None
            and not field.is_repeated
            and current.HasField(field.name)
            and result.HasField(field.name)
        ):
            _restore(getattr(current, field.name), getattr(result, field.name), f"{where}.")


def _equal(left: Any, right: Any, field: FieldDescriptor) -> bool:
    return bool(getattr(left, field.name) == getattr(right, field.name))


def _is_empty(message: Any, field: FieldDescriptor) -> bool:
    return all(present.number != field.number for present, _ in message.ListFields())


def _has(field: FieldDescriptor, behavior: int) -> bool:
    options: Any = field.GetOptions()
    return behavior in options.Extensions[field_behavior_pb2.field_behavior]
