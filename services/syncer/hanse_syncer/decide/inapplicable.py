"""Manifests that a member's API server cannot take by server-side apply, though they are right.

Owns the reading of what it says of the configuration itself, before it looks at the object: kube-apiserver
answers 500 without a reason there, and the same each time. Three things are told apart:

- The member's schema lacks fields, because its Kubernetes or its CRD is older: they are taken out, the rest
  is applied, and the sync state names those of them that the author wrote.
- A list with keys has two items of one key, or an item without one. An Update stores such lists, an apply
  cannot merge them: `patch` makes a JSON merge patch, which has lists whole, with the preconditions.
- A value has another type than in the member's schema: that is refused, and said.

Pure functions. Next: `hanse_syncer.act.delivery`, which asks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from hanse.kube.client.answer import Answer
from hanse.kube.kinds.defaults import filled_in
from hanse.kube.model.objects import Object, gvk_of, without_place
from hanse.kube.model.untrusted import mapping, text
from hanse_syncer.decide import caveats, takeover
from hanse_syncer.decide.caveats import Caveat

_UNDECLARED: Final = ": field not declared in schema"
_PATH: Final = re.compile(r"(?:^|\s)(\.[^\s:].*)")
_UNMERGEABLE: Final = ("duplicate entries for key", "omits all key fields", "omits key field")
_CONFIGURATION: Final = "failed to create typed"
_INDEX: Final = re.compile(r"\[([^\]]*)\]")
_SHOWN: Final = 5
"""Fields that a message names."""

BY_PATCH: Final = Caveat(
    caveats.APPLIED_BY_PATCH,
    "two items of a list have one key, or one has none, so that server-side apply cannot express it: it was "
    "written by a merge patch, lists whole",
)


@dataclass(frozen=True, slots=True)
class Problems:
    """What an API server said of a configuration. `lacking` are paths of fields that it does not know."""

    lacking: tuple[str, ...] = ()
    unmergeable: bool = False
    mistyped: bool = False


def problems(answer: Answer) -> Problems | None:
    """Return what a refusal says of the configuration; None if it is about something else."""
    if answer.status not in (400, 422, 500) or not answer.document:
        return None
    said = text(answer.document.get("message"), 64 * 1024)
    lacking = tuple(dict.fromkeys(_lacking(said)))
    unmergeable = any(words in said for words in _UNMERGEABLE)
    mistyped = _CONFIGURATION in said and not lacking and not unmergeable
    return Problems(lacking, unmergeable, mistyped) if lacking or unmergeable or mistyped else None


def _lacking(said: str) -> Iterator[str]:
    """Yield the paths that are named, in time proportional to the message, whatever it says."""
    for before in said.split(_UNDECLARED)[:-1]:
        found = _PATH.search(before.rpartition("\n")[2])
        if found is not None:
            yield found.group(1)


def lacking_caveat(lacking: Iterable[str]) -> Caveat:
    """Return what is said of fields that were not applied. Names of fields are no values."""
    names = sorted(lacking)
    shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    return Caveat(
        caveats.FIELDS_NOT_SERVED,
        f"the cluster's schema does not have {shown}: the rest was applied. Update its "
        "CustomResourceDefinition or its Kubernetes, or override the field there",
    )


def without(obj: Object, paths: Iterable[str]) -> Object | None:
    """Return an object without the fields at the paths that an API server named; None if one is not there."""
    result: Any = obj
    for path in paths:
        place = next(_located(obj, path), None)
        if not place:
            return None
        result = without_place(result, place)
    changed: Object = result
    return changed


def written(obj: Object, paths: Iterable[str]) -> list[str]:
    """Return those of the paths, in their order, whose values its author wrote, as far as can be told.

    The others are what the federation's own defaulting makes of the object without them (see
    `hanse.kube.kinds.defaults.filled_in`): the member fills in its own there, and misses nothing.
    """
    # Loaded only once a member lacks something: strategies take a while that each start would pay for.
    from hanse.kube.kinds.strategies.kubernetes import kubernetes

    registry, gvk = kubernetes(), gvk_of(obj)
    kind = registry.by_kind(gvk.group, gvk.kind)
    named = list(paths)
    if kind is None:
        return named
    places = {path: place for path in named if (place := next(_located(obj, path), None))}
    defaulted = filled_in(obj, places.values(), strategy=registry.strategy(kind))
    return [path for path in named if places.get(path) not in defaulted]


def _located(value: Any, path: str) -> Iterator[tuple[str | int, ...]]:
    """Yield where a path such as `.spec.containers[name="c"].bar` leads; names may have dots in them."""
    if not path:
        yield ()
    elif path.startswith(".") and isinstance(value, dict):
        for name in value:
            rest = path[1 + len(name) :]
            if path[1:].startswith(name) and (not rest or rest[0] in ".["):
                yield from ((name, *more) for more in _located(value[name], rest))
    elif path.startswith("[") and isinstance(value, list):
        for number, item in enumerate(value):
            if (rest_ := _after_item(path, number, item)) is not None:
                yield from ((number, *more) for more in _located(item, rest_))


def _after_item(path: str, number: int, item: Any) -> str | None:
    """Return the rest of a path that begins with this item; None if it begins with another."""
    found = _INDEX.match(path)
    if found is None:
        return None
    inside, rest = found.group(1), path[found.end() :]
    if inside == str(number):
        return rest
    for part in inside.split(","):
        name, equals, shown = part.partition("=")
        try:
            wanted = orjson.loads(shown)
        except orjson.JSONDecodeError:
            return None
        if not equals or not isinstance(item, dict) or item.get(name, wanted) != wanted:
            return None
    return rest


def patch(live: Mapping[str, Any], manifest: Mapping[str, Any]) -> Object:
    """Return the JSON merge patch that gives `live` what the manifest has, and nothing else that was ours.

    It names the uid and the resourceVersion, so that it is of no other object and of no other version.
    """
    changes: Object = {name: value for name, value in manifest.items() if name not in ("apiVersion", "kind")}
    gone = _gone(live, manifest, takeover.our_fields(live))
    changes = _merged(gone, changes)
    identity = {name: mapping(live.get("metadata")).get(name) for name in ("uid", "resourceVersion")}
    metadata = {**changes["metadata"], **identity, "managedFields": takeover.as_update(live)}
    return {**changes, "metadata": metadata}


def _gone(live: Any, manifest: Any, ours: Mapping[str, Any]) -> Object:
    """Return nulls for what is ours in `live` and not in the manifest, as far as maps go."""
    found: Object = {}
    for element, below in ours.items():
        name = element[2:]
        if not element.startswith("f:") or not isinstance(live, dict) or name not in live:
            continue
        if not isinstance(manifest, dict) or name not in manifest:
            found[name] = None
        elif deeper := _gone(live[name], manifest[name], below):
            found[name] = deeper
    return found


def _merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> Object:
    both = {
        name: _merged(first[name], second[name])
        for name in first
        if isinstance(second.get(name), dict) and isinstance(first[name], dict)
    }
    return {**first, **second, **both}
