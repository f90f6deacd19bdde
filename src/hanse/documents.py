"""JSON and YAML from outside, decoded within bounds: how deep, how many values, how far aliases expand.

Owns the bounds, and the only calls of a YAML loader. Whoever decodes what a person, a member or a file says
does it here, so that no text is too deep for what walks over it later, and none grows in memory. The bounds
of YAML are checked on the parser's events before anything is composed: the composer of libyaml's binding
recurses in C, where a deep text ends the process. What comes out is JSON: maps with text as keys, lists,
texts, numbers, booleans, null, as Kubernetes makes of YAML; what looks like a date stays text.

Pure functions; a YAML text of a megabyte takes a second, so callers in an event loop use a thread. Next:
`hanse.kube.server.negotiation`, `hanse_cli.manifests`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson
import yaml

from hanse.errors import InvalidArgumentError

MAX_DEPTH = 200
"""Maps and lists inside each other. The deepest schemas in use have about 60 levels; JSON cannot be written
with more than 254, and managedFields takes some of these."""

MAX_VALUES = 200_000
"""Values of a document, those in maps and lists and the maps and lists themselves. More do not fit into the
1.5 MiB that an object may have, unless they are nearly empty."""

MAX_EXPANDED_BYTES = 4 * 1024 * 1024
"""Bytes of text of a YAML document after its aliases are replaced by what they stand for."""

TOO_DEEP = "DOCUMENT_TOO_DEEP"
TOO_LARGE = "DOCUMENT_TOO_LARGE"
MALFORMED = "DOCUMENT_MALFORMED"

_MAX_INTEGER = 2**64
_PIECE = 64 * 1024
_LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
_DUMPER = yaml.CSafeDumper if yaml.__with_libyaml__ else yaml.SafeDumper


def json_document(body: bytes | str, *, what: str = "the body") -> Any:
    """Return decoded JSON. Raises InvalidArgumentError if it is none, too deep or has too many values."""
    if isinstance(body, str):
        body = body.encode(errors="surrogatepass")
    separators = body.count(b"{") + body.count(b"[") + body.count(b",")
    if separators > MAX_VALUES and _surely_too_many(body):
        raise _too_many(what)
    try:
        decoded = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if "depth limit" in str(error) or "recursion" in str(error):
            raise _too_deep(what) from None
        raise InvalidArgumentError(f"{what} is not JSON: {error}", reason=MALFORMED) from error
    if separators >= MAX_DEPTH:
        check_bounds(decoded, what=what)
    return decoded


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


def check_bounds(value: Any, *, what: str, deepest: int = MAX_DEPTH) -> None:
    """Check depth and number of values of something decoded. Raises InvalidArgumentError."""
    level: list[Any] = [value] if isinstance(value, dict | list) else []
    depth = count = 0
    while level:
        depth += 1
        if depth > deepest:
            raise _too_deep(what, deepest)
        count += sum(map(len, level))
        if count > MAX_VALUES:
            raise _too_many(what)
        below: list[Any] = []
        for node in level:
            children = node.values() if type(node) is dict else node
            below += [child for child in children if type(child) is dict or type(child) is list]
        level = below


def yaml_document(text: bytes | str, *, what: str = "the body") -> Any:
    """Return the one document of a YAML text, None if there is none. Raises InvalidArgumentError."""
    found = yaml_documents(text, what=what)
    if len(found) > 1:
        raise InvalidArgumentError(
            f"{what} has {len(found)} YAML documents: only one is taken", reason=MALFORMED
        )
    return found[0] if found else None


def yaml_documents(text: bytes | str, *, what: str) -> list[Any]:
    """Return the documents of a YAML text. Raises InvalidArgumentError that says where it breaks."""
    try:
        _scan(text, what)
        return [_as_json(each, what) for each in yaml.load_all(text, Loader=_Loader)]
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        raise InvalidArgumentError(f"{what}{where} is not valid YAML: {problem}", reason=MALFORMED) from error
    except (ValueError, ArithmeticError, LookupError, TypeError, AttributeError) as error:
        # What the constructors raise for a text that is none of its tag.
        raise InvalidArgumentError(f"{what} is not valid YAML: {error}", reason=MALFORMED) from error


def to_yaml(document: Any, *, width: int = 110) -> str:
    """Return a JSON value as YAML, keys in their order."""
    text: str = yaml.dump(document, Dumper=_DUMPER, sort_keys=False, allow_unicode=True, width=width)
    return text


class _Loader(_LOADER):  # type: ignore[misc,valid-type]
    """YAML as Kubernetes reads it: only what JSON has. A tag for anything else is an error."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in _LOADER.yaml_implicit_resolvers.items()
}
_Loader.yaml_constructors = {
    tag: constructor
    for tag, constructor in _LOADER.yaml_constructors.items()
    if str(tag).rpartition(":")[2] not in ("binary", "timestamp", "omap", "pairs", "set")
}


@dataclass(slots=True)
class _Extent:
    """How much a node stands for, aliases replaced; `depth` counts the maps and lists in each other."""

    values: int = 1
    size: int = 0
    depth: int = 0

    def add(self, child: _Extent) -> None:
        self.values += child.values
        self.size += child.size
        self.depth = max(self.depth, child.depth)


def _scan(text: bytes | str, what: str) -> None:
    """Check the bounds of every document in a text on its events. Raises InvalidArgumentError, YAMLError."""
    anchors: dict[str, _Extent | None] = {}
    open_: list[tuple[str | None, _Extent]] = []
    event: Any
    for event in yaml.parse(text, Loader=_LOADER):
        kind = type(event)
        if kind is yaml.DocumentStartEvent:
            anchors, open_ = {}, [(None, _Extent(values=0))]
        elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
            open_.append((event.anchor, _Extent(depth=1)))
            if event.anchor:
                anchors[event.anchor] = None
            if len(open_) - 1 > MAX_DEPTH:
                raise _too_deep(what)
        elif kind is yaml.ScalarEvent:
            found = _Extent(size=len(event.value))
            if event.anchor:
                anchors[event.anchor] = found
            _count(open_, found, what)
        elif kind is yaml.AliasEvent:
            _count(open_, _aliased(anchors, event.anchor, what), what)
        elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
            anchor, extent = open_.pop()
            if anchor:
                anchors[anchor] = extent
            _count(open_, _Extent(extent.values, extent.size, extent.depth), what)


def _aliased(anchors: dict[str, _Extent | None], name: str, what: str) -> _Extent:
    if name not in anchors:
        raise InvalidArgumentError(f"{what} is not valid YAML: no anchor {name!r}", reason=MALFORMED)
    found = anchors[name]
    if found is None:
        raise InvalidArgumentError(
            f"{what} cannot be decoded: the alias *{name} is inside what it stands for", reason=MALFORMED
        )
    return found


def _count(open_: list[tuple[str | None, _Extent]], found: _Extent, what: str) -> None:
    """Add a finished node to the one around it."""
    around = open_[-1][1]
    around.values += found.values
    around.size += found.size
    if found.depth:
        around.depth = max(around.depth, found.depth + (1 if len(open_) > 1 else 0))
        if len(open_) - 1 + found.depth > MAX_DEPTH:
            raise _too_deep(what)
    if around.values > MAX_VALUES:
        raise _too_many(what)
    if around.size > MAX_EXPANDED_BYTES:
        raise InvalidArgumentError(
            f"{what} has more than {MAX_EXPANDED_BYTES} bytes of text, its aliases replaced: use fewer",
            reason=TOO_LARGE,
        )


def _as_json(value: Any, what: str) -> Any:
    """Return what JSON can say of a YAML value: keys as text, numbers of at most 64 bits, no NaN."""
    if isinstance(value, dict):
        return {_key(name, what): _as_json(child, what) for name, child in value.items()}
    if isinstance(value, list):
        return [_as_json(child, what) for child in value]
    if (
        isinstance(value, int)
        and not isinstance(value, bool)
        and not -_MAX_INTEGER // 2 <= value < _MAX_INTEGER
    ):
        return float(value)
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        raise InvalidArgumentError(
            f"{what} has the number {value}, which JSON does not have", reason=MALFORMED
        )
    return value


def _key(name: Any, what: str) -> str:
    if isinstance(name, str):
        return name
    if isinstance(name, bool):
        return "true" if name else "false"
    if isinstance(name, int | float):
        return str(name)
    raise InvalidArgumentError(f"{what} has a key that is not a text: {name!r}", reason=MALFORMED)


def _too_deep(what: str, deepest: int = MAX_DEPTH) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"{what} is nested too deeply: at most {deepest} maps and lists may be inside each other",
        reason=TOO_DEEP,
    )


def _too_many(what: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"{what} has too many values: at most {MAX_VALUES} are taken, in all its maps and lists",
        reason=TOO_LARGE,
    )
