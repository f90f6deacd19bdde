"""JSON patch (RFC 6902) at a bounded cost: operations, bytes that `copy` adds, and items that lists shift.

Owns `JsonPatcher`, which applies one list of operations after another to one copy of an object, so that the
bounds hold for all of them together, and `json_patch` for a single list. The first two bounds are
kube-apiserver's. Operations and object are never changed; a patcher belongs to one call. Safe from any task.

Next: `patch`, the door to all patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from hanse.documents import check_bounds
from hanse.errors import InvalidArgumentError
from hanse.kube.merge.typed import same
from hanse.kube.model.objects import Object
from hanse.numbers import whole_number

MAX_OPERATIONS = 10_000
"""As kube-apiserver: a patch with more operations is refused."""

MAX_COPIED_BYTES = 3 * 1024 * 1024
"""As kube-apiserver: what all `copy` operations of a patch may add, as JSON."""

MAX_POLICY_COPIED_BYTES = 256 * 1024
"""The same for all that override policies do to one object: each object that they select pays for it."""

MAX_SHIFTED_ITEMS = 20_000_000
"""By how many places the operations of a patch may move the items of lists, all together: about 30 ms."""

_ABSENT: Any = object()


def json_patch(obj: Object, ops: Any, *, max_copied: int = MAX_COPIED_BYTES) -> Object:
    """Return the object after the operations of a patch; all of them apply or none does.

    `max_copied` is how many bytes all copies together may add.

    Raises InvalidArgumentError if the patch is malformed or above a bound, a path does not exist, or a `test`
    fails.
    """
    patcher = JsonPatcher(obj, max_copied=max_copied)
    patcher.apply(ops)
    return patcher.result()


def check_operations(ops: Any) -> list[dict[str, Any]]:
    """Return the operations of a patch if they can be read. Raises InvalidArgumentError."""
    if not isinstance(ops, list) or not all(isinstance(op, dict) for op in ops):
        raise InvalidArgumentError("a JSON patch must be a list of operations", reason="BAD_PATCH")
    if len(ops) > MAX_OPERATIONS:
        raise _too_many(len(ops))
    for index, op in enumerate(ops):
        _check(op, f"operation {index} of the JSON patch")
    return ops


class JsonPatcher:
    """Changes a copy of one object, operation by operation."""

    def __init__(self, obj: Object, *, max_copied: int = MAX_COPIED_BYTES) -> None:
        """`max_copied` is how many bytes all copies together may add."""
        self._document: Any = _copied(obj, "the object")
        self._max_copied = max_copied
        self._done = 0
        self._copied = 0
        self._shifted = 0

    @property
    def document(self) -> Any:
        """Return what the operations have made so far. Do not change it."""
        return self._document

    def result(self) -> Object:
        """Return the patched object. Raises InvalidArgumentError if it is none any more, or too deep."""
        if not isinstance(self._document, dict):
            raise InvalidArgumentError(
                "the JSON patch replaces the object by something else", reason="BAD_PATCH"
            )
        check_bounds(self._document, what="the patched object")
        return self._document

    def apply(self, ops: Any) -> None:
        """Apply operations, on top of those before. Raises InvalidArgumentError."""
        checked = check_operations(ops)
        self._done += len(checked)
        if self._done > MAX_OPERATIONS:
            raise _too_many(self._done)
        for index, op in enumerate(checked):
            where = f"operation {index} of the JSON patch ({op['op']} {_shown(op['path'])})"
            self._operate(op, where)

    def _operate(self, op: dict[str, Any], where: str) -> None:
        path = _steps(op["path"], where)
        match op["op"]:
            case "test":
                self._test(path, op["value"], where)
            case "add":
                self._add(path, _copied(op["value"], where), where)
            case "replace":
                self._replace(path, _copied(op["value"], where), where)
            case "remove":
                self._remove(path, where)
            case "move":
                source = _steps(op["from"], where)
                if len(source) < len(path) and path[: len(source)] == source:
                    raise _conflict(f"{where}: a value cannot be moved into itself")
                if source != path:
                    self._add(path, self._remove(source, where), where)
                else:
                    self._found(source, where)
            case "copy":
                self._add(path, self._copy(_steps(op["from"], where), where), where)

    def _copy(self, source: tuple[str, ...], where: str) -> Any:
        found = self._found(source, where)
        encoded = _encoded(found, where)
        self._copied += len(encoded)
        if self._copied > self._max_copied:
            raise InvalidArgumentError(
                f"{where}: the copies add more than {self._max_copied} bytes: copy less",
                reason="PATCH_TOO_LARGE",
            )
        return orjson.loads(encoded)

    def _found(self, path: Sequence[str], where: str) -> Any:
        node = self._walk(path)
        if node is _ABSENT:
            raise _conflict(f"{where} does not apply: there is no such path")
        return node

    def _walk(self, path: Sequence[str]) -> Any:
        """Return what is at a path, _ABSENT for nothing."""
        node = self._document
        for step in path:
            if isinstance(node, dict):
                node = node.get(step, _ABSENT)
            elif isinstance(node, list):
                index = _index(step)
                node = node[index] if index is not None and index < len(node) else _ABSENT
            else:
                return _ABSENT
        return node

    def _test(self, path: tuple[str, ...], value: Any, where: str) -> None:
        found = self._walk(path)
        if found is _ABSENT and value is None:
            return  # as Kubernetes: testing for null holds where there is nothing
        if found is _ABSENT or not same(found, value):
            raise InvalidArgumentError(f"{where}: test failed", reason="PATCH_TEST_FAILED")

    def _add(self, path: tuple[str, ...], value: Any, where: str) -> None:
        if not path:
            self._document = value
            return
        node, last = self._found(path[:-1], where), path[-1]
        if isinstance(node, dict):
            node[last] = value
        elif isinstance(node, list):
            index = len(node) if last == "-" else _index(last)
            if index is None or index > len(node):
                raise _conflict(f"{where} does not apply: there is no such place in the list")
            self._shift(len(node) - index, where)
            node.insert(index, value)
        else:
            raise _conflict(f"{where} does not apply: there is no such path")

    def _replace(self, path: tuple[str, ...], value: Any, where: str) -> None:
        self._found(path, where)
        if not path:
            self._document = value
            return
        node = self._found(path[:-1], where)
        node[path[-1] if isinstance(node, dict) else int(path[-1])] = value

    def _remove(self, path: tuple[str, ...], where: str) -> Any:
        if not path:
            raise _conflict(f"{where} does not apply: the whole object cannot be removed")
        self._found(path, where)
        node = self._found(path[:-1], where)
        if isinstance(node, dict):
            return node.pop(path[-1])
        index = int(path[-1])
        self._shift(len(node) - index, where)
        return node.pop(index)

    def _shift(self, items: int, where: str) -> None:
        self._shifted += items
        if self._shifted > MAX_SHIFTED_ITEMS:
            raise InvalidArgumentError(
                f"{where}: the patch shifts items of lists by more than {MAX_SHIFTED_ITEMS} places: add at "
                "the end of lists, or replace the list",
                reason="PATCH_TOO_LARGE",
            )


_NEEDS = {
    "add": ("value",), "replace": ("value",), "test": ("value",), "remove": (),
    "move": ("from",), "copy": ("from",),
}  # fmt: skip


def _check(op: dict[str, Any], where: str) -> None:
    name = op.get("op")
    needs = _NEEDS.get(name) if isinstance(name, str) else None
    if needs is None:
        raise _conflict(f"{where}: op must be one of {', '.join(_NEEDS)}")
    for field in ("path", *needs):
        if field not in op:
            raise _conflict(f"{where} ({name}) has no {field}")
        if field != "value":
            _steps(op[field], f"{where} ({name})")


def _steps(pointer: Any, where: str) -> tuple[str, ...]:
    """Return the steps of a JSON pointer (RFC 6901). Raises InvalidArgumentError."""
    if not isinstance(pointer, str) or (pointer and not pointer.startswith("/")):
        raise _conflict(f"{where}: {_shown(pointer)} is not a JSON pointer: it must be empty or start with /")
    if "~" not in pointer:
        return tuple(pointer.split("/")[1:])
    if pointer.count("~") != pointer.count("~0") + pointer.count("~1"):
        raise _conflict(f"{where}: {_shown(pointer)} is not a JSON pointer: ~ must be written ~0")
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:])


def _index(step: str) -> int | None:
    """Return the list index that a step writes; None for one that no list has."""
    return None if len(step) > 1 and step.startswith("0") else whole_number(step)


def _copied(value: Any, where: str) -> Any:
    return orjson.loads(_encoded(value, where)) if isinstance(value, dict | list) else value


def _encoded(value: Any, where: str) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError as error:  # deeper than orjson goes
        raise InvalidArgumentError(f"{where}: the value is too deep", reason="PATCH_TOO_LARGE") from error


def _shown(pointer: Any) -> str:
    text = repr(pointer) if not isinstance(pointer, str) else pointer
    return text if len(text) <= 200 else text[:197] + "..."


def _too_many(count: int) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"the JSON patch has {count} operations, more than {MAX_OPERATIONS}: split it",
        reason="PATCH_TOO_LARGE",
    )


def _conflict(problem: str) -> InvalidArgumentError:
    return InvalidArgumentError(problem, reason="PATCH_CONFLICT")
