"""YAML, decoded within bounds into what JSON has, as Kubernetes decodes it.

Values are made of the parser's events, one after the other, and never by its composer: that recurses in C,
where a deep text ends the process. Bounds are checked as the events come. Aliases are copied, and count as
what they stand for; a merge (`<<`) sets the fields of its maps where it stands, as in go-yaml; tags of
collections say nothing. A key that is said again takes effect and is named, as sigs.k8s.io/yaml names it:
`line 7: key "a" already set in map`. What comes out is JSON: maps with text as keys, lists, texts, numbers,
booleans, null.

Pure functions; a YAML text of a megabyte takes a second, so callers in an event loop use a thread. Next:
`hanse.documents.yaml_scalars` for what a word is; `hanse.kube.server.negotiation`, `hanse_cli.manifests`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from hanse.documents.bounds import (
    MALFORMED,
    MAX_DEPTH,
    MAX_EXPANDED_BYTES,
    MAX_VALUES,
    TOO_LARGE,
    too_deep,
    too_many,
)
from hanse.documents.json_text import MAX_REPEATED
from hanse.documents.yaml_scalars import PREFIX, json_number, key_text, resolve, tagged
from hanse.errors import InvalidArgumentError

_LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
_DUMPER = yaml.CSafeDumper if yaml.__with_libyaml__ else yaml.SafeDumper


class _Dumper(_DUMPER):  # type: ignore[misc,valid-type]
    """Quotes what would be something else than text to Kubernetes, such as `y`."""


def _text(dumper: Any, text: str) -> Any:
    style = None if isinstance(resolve(text), str) else "'"
    return dumper.represent_scalar(f"{PREFIX}str", text, style=style)


_Dumper.add_representer(str, _text)


@dataclass(frozen=True, slots=True)
class YamlText:
    """One document of a YAML text: its value, and which keys it says again.

    `more` says that another document follows.
    """

    value: Any
    repeated: tuple[str, ...] = ()
    more: bool = False


def read_yaml(text: bytes | str, *, what: str = "the body") -> YamlText:
    """Return the first document of a YAML text, None if there is none; what follows it is not looked at.

    Raises InvalidArgumentError that says where it breaks.
    """
    return next(_documents(text, what), YamlText(None))


def yaml_texts(text: bytes | str, *, what: str) -> list[YamlText]:
    """Return the documents of a YAML text. Raises InvalidArgumentError that says where it breaks."""
    return list(_documents(text, what))


def yaml_documents(text: bytes | str, *, what: str) -> list[Any]:
    """Return the values of the documents of a YAML text. Raises as `yaml_texts`."""
    return [each.value for each in yaml_texts(text, what=what)]


def yaml_document(text: bytes | str, *, what: str = "the body") -> Any:
    """Return the one document of a YAML text, None if there is none. Raises InvalidArgumentError."""
    found = yaml_documents(text, what=what)
    if len(found) > 1:
        raise InvalidArgumentError(
            f"{what} has {len(found)} YAML documents: only one is taken", reason=MALFORMED
        )
    return found[0] if found else None


def to_yaml(document: Any, *, width: int = 110) -> str:
    """Return a JSON value as YAML, keys in their order; text stays text to Kubernetes, too."""
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=width)
    return text


_NO_KEY = object()


@dataclass(slots=True)
class _Extent:
    """How much a node stands for, aliases replaced; `depth` counts the maps and lists in each other."""

    values: int = 1
    size: int = 0
    depth: int = 0


@dataclass(slots=True)
class _Node:
    """A value with what it stands for. `plain` is the text of a plain scalar; `alias` says that it is one."""

    value: Any
    extent: _Extent
    line: int
    plain: str | None = None
    alias: bool = False


@dataclass(slots=True)
class _Collection:
    """A map or list that has begun, or the document around all of them."""

    value: Any
    anchor: str | None
    extent: _Extent
    line: int = 0
    key: Any = _NO_KEY
    merges: bool = False


@dataclass(slots=True)
class _Composer:
    """Makes the value of one document of its events."""

    what: str
    open_: list[_Collection] = field(default_factory=list)
    anchors: dict[str, _Node | None] = field(default_factory=dict)
    repeated: dict[str, None] = field(default_factory=dict)

    def begin(self) -> None:
        """Begin a document."""
        self.anchors, self.repeated = {}, {}
        self.open_ = [_Collection([], None, _Extent(values=0))]

    def take(self, event: Any) -> None:
        """Take in one event of the document. Raises InvalidArgumentError, ValueError."""
        kind = type(event)
        if kind is yaml.ScalarEvent:
            node = self._scalar(event)
            if event.anchor:
                self.anchors[event.anchor] = node
            self._add(node)
        elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
            value: Any = {} if kind is yaml.MappingStartEvent else []
            line = event.start_mark.line + 1
            self.open_.append(_Collection(value, event.anchor, _Extent(depth=1), line))
            if event.anchor:
                self.anchors[event.anchor] = None
            if len(self.open_) - 1 > MAX_DEPTH:
                raise too_deep(self.what)
        elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
            done = self.open_.pop()
            node = _Node(done.value, done.extent, done.line)
            if done.anchor:
                self.anchors[done.anchor] = node
            self._add(node)
        elif kind is yaml.AliasEvent:
            self._add(self._aliased(event))

    def _scalar(self, event: Any) -> _Node:
        text, line = event.value, event.start_mark.line + 1
        plain = text if event.implicit[0] or event.tag == f"{PREFIX}merge" else None
        if event.tag is not None:
            return _Node(tagged(event.tag, text), _Extent(size=len(text)), line, plain)
        value = text if plain is None else resolve(text)
        return _Node(value, _Extent(size=len(text)), line, plain)

    def _aliased(self, event: Any) -> _Node:
        name = event.anchor
        if name not in self.anchors:
            raise InvalidArgumentError(f"{self.what} is not valid YAML: no anchor {name!r}", reason=MALFORMED)
        found = self.anchors[name]
        if found is None:
            raise InvalidArgumentError(
                f"{self.what} cannot be decoded: the alias *{name} is inside what it stands for",
                reason=MALFORMED,
            )
        return _Node(found.value, found.extent, event.start_mark.line + 1, alias=True)

    def _add(self, node: _Node) -> None:
        """Add a finished node to the collection around it."""
        around = self.open_[-1]
        self._count(around.extent, node.extent)
        if type(around.value) is list:
            around.value.append(self._child(node))
        elif around.merges:
            around.merges = False
            self._merge(around.value, node)
        elif around.key is _NO_KEY:
            around.merges = node.plain == "<<"
            if not around.merges:
                around.key = node.value
        else:
            self._set(around.value, around.key, self._child(node), line=node.line)
            around.key = _NO_KEY

    def _count(self, around: _Extent, found: _Extent) -> None:
        around.values += found.values
        around.size += found.size
        if found.depth:
            around.depth = max(around.depth, found.depth + (1 if len(self.open_) > 1 else 0))
            if len(self.open_) - 1 + found.depth > MAX_DEPTH:
                raise too_deep(self.what)
        if around.values > MAX_VALUES:
            raise too_many(self.what)
        if around.size > MAX_EXPANDED_BYTES:
            raise InvalidArgumentError(
                f"{self.what} has more than {MAX_EXPANDED_BYTES} bytes of text, its aliases replaced: use"
                " fewer",
                reason=TOO_LARGE,
            )

    def _child(self, node: _Node) -> Any:
        try:
            return _copied(node.value) if node.alias else json_number(node.value)
        except ValueError as error:
            raise InvalidArgumentError(f"{self.what} has {error}", reason=MALFORMED) from None

    def _key(self, value: Any) -> str:
        try:
            return key_text(value)
        except ValueError as error:
            raise InvalidArgumentError(f"{self.what} has {error}", reason=MALFORMED) from None

    def _set(self, target: dict[str, Any], key: Any, value: Any, *, line: int) -> None:
        name = self._key(key)
        if name in target and len(self.repeated) < MAX_REPEATED:
            said = json.dumps(key, ensure_ascii=False) if isinstance(key, str) else name
            self.repeated[f"line {line}: key {said} already set in map"] = None
        target[name] = value

    def _merge(self, target: dict[str, Any], node: _Node) -> None:
        """Set the fields of a merged map, or of a list of them, of which the first count."""
        value = self._child(node)
        maps = [value] if isinstance(value, dict) else [] if node.alias else value
        if not isinstance(maps, list) or not maps or not all(isinstance(each, dict) for each in maps):
            if maps == [] and not node.alias:
                return
            raise InvalidArgumentError(
                f"{self.what} line {node.line} is not valid YAML: map merge requires map or sequence of maps"
                " as the value",
                reason=MALFORMED,
            )
        for each in reversed(maps):
            for name, child in each.items():
                self._set(target, name, child, line=node.line)


def _copied(value: Any) -> Any:
    """Return a value that shares nothing with the one that an anchor is at."""
    if type(value) is dict:
        return {name: _copied(child) for name, child in value.items()}
    if type(value) is list:
        return [_copied(child) for child in value]
    return json_number(value)


def _documents(text: bytes | str, what: str) -> Iterator[YamlText]:
    """Yield the documents of a text as they end. Raises InvalidArgumentError."""
    composer = _Composer(what)
    done: YamlText | None = None
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            if type(event) is yaml.DocumentStartEvent:
                if done is not None:
                    yield YamlText(done.value, done.repeated, more=True)
                    done = None
                composer.begin()
            elif type(event) is yaml.DocumentEndEvent:
                done = YamlText(composer.open_[0].value[0], tuple(composer.repeated))
            else:
                composer.take(event)
    except yaml.YAMLError as error:
        if done is not None:
            # Whoever takes the first document only need not know how the second is broken.
            yield YamlText(done.value, done.repeated, more=True)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        raise InvalidArgumentError(f"{what}{where} is not valid YAML: {problem}", reason=MALFORMED) from error
    except (ValueError, ArithmeticError, LookupError, TypeError, AttributeError) as error:
        # What is raised for a text that is none of its tag.
        raise InvalidArgumentError(f"{what} is not valid YAML: {error}", reason=MALFORMED) from error
    if done is not None:
        yield done
