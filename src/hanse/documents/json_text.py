"""JSON, decoded within bounds, and the fields that a text of it says more than once.

A decoder takes the last of them and says nothing; kube-apiserver names them, as `duplicate field "spec.a"`.
Pure functions. Next: `hanse.kube.server.negotiation`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from hanse.documents.bounds import MALFORMED, MAX_DEPTH, MAX_VALUES, check_bounds, too_deep, too_many
from hanse.errors import InvalidArgumentError

MAX_REPEATED = 100
"""Repeated fields of a text that are named."""

_PIECE = 64 * 1024


def json_document(body: bytes | str, *, what: str = "the body") -> Any:
    """Return decoded JSON. Raises InvalidArgumentError if it is none, too deep or has too many values."""
    if isinstance(body, str):
        body = body.encode(errors="surrogatepass")
    separators = body.count(b"{") + body.count(b"[") + body.count(b",")
    if separators > MAX_VALUES and _surely_too_many(body):
        raise too_many(what)
    try:
        decoded = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if "depth limit" in str(error) or "recursion" in str(error):
            raise too_deep(what) from None
        raise InvalidArgumentError(f"{what} is not JSON: {error}", reason=MALFORMED) from error
    if separators >= MAX_DEPTH:
        check_bounds(decoded, what=what)
    return decoded


def repeated_fields(body: bytes, decoded: Any) -> tuple[str, ...]:
    """Return the paths of fields that a JSON text says more than once, as `spec.items[0].name`, in order.

    `decoded` is what `json_document` made of the text. A text without any is found by counting.
    """
    colons = 0
    for counted in structure(body):
        colons = counted.colons
    if colons == _fields(decoded):
        return ()
    found: dict[str, None] = {}
    _name_repeated(json.loads(body, object_pairs_hook=_Pairs), "", found)
    return tuple(found)[:MAX_REPEATED]


class _Pairs(tuple[tuple[str, Any], ...]):
    """What a JSON object says, in order."""

    def __new__(cls, pairs: list[tuple[str, Any]]) -> _Pairs:
        return super().__new__(cls, pairs)


def _fields(value: Any) -> int:
    """Return how many fields all maps of a value have."""
    count, pending = 0, [value]
    while pending:
        node = pending.pop()
        if type(node) is dict:
            count += len(node)
            pending += [child for child in node.values() if type(child) is dict or type(child) is list]
        elif type(node) is list:
            pending += [child for child in node if type(child) is dict or type(child) is list]
    return count


def _name_repeated(value: Any, path: str, found: dict[str, None]) -> None:
    """Add the repeated fields of a value at `path`; the bounds of the text bound the recursion."""
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for name, child in value:
            field = f"{path}.{name}" if path else name
            if name in seen:
                found[field] = None
            seen.add(name)
            _name_repeated(child, field, found)
    elif isinstance(value, list):
        for index, child in enumerate(value):
            _name_repeated(child, f"{path}[{index}]", found)


def _surely_too_many(body: bytes) -> bool:
    """Report whether a JSON text has more values than are taken, without decoding it."""
    return any(found.commas > MAX_VALUES or found.brackets > MAX_VALUES for found in structure(body))


@dataclass(frozen=True, slots=True)
class Structure:
    """How many of JSON's signs there are outside of texts: `brackets` that open, of both kinds."""

    commas: int = 0
    colons: int = 0
    brackets: int = 0


def structure(body: bytes) -> Iterator[Structure]:
    """Yield what has been counted of a JSON text so far, after each piece of it.

    In pieces, so that a thread that does it lets others run meanwhile.
    """
    commas = colons = brackets = start = 0
    in_text = False
    while start < len(body):
        end = start + _PIECE
        # A backslash and what it escapes are not parted.
        while body[end - 1 : end] == b"\\" and end < len(body):
            end += 1
        piece = body[start:end].replace(b"\\\\", b"").replace(b'\\"', b"")
        parts = piece.split(b'"')
        outside = b"".join(parts[in_text::2])
        commas += outside.count(b",")
        colons += outside.count(b":")
        brackets += outside.count(b"{") + outside.count(b"[")
        in_text ^= len(parts) % 2 == 0
        start = end
        yield Structure(commas, colons, brackets)
