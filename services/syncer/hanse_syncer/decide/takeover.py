"""Whose fields of a member's object become ours, so that an apply can take them out.

Owns two judgements, both about managedFields alone: none of them changes a value.

- `adopted`: an object that a policy lets us adopt was written by others by Update (kubectl without
  `--server-side`, Helm, a script). What they own becomes ours, as client-go's csaupgrade does it; then what
  the manifest does not have goes away with the first apply.
- `contested`: an apply was refused because somebody put something beside our fields that cannot be there
  together with them (another source of a volume, the value of a variable that comes from elsewhere, the
  parameters of another strategy). Server-side apply leaves such fields to their owner; made ours, they go.

Only labels, annotations and what is outside the metadata can become ours, and nothing that a cluster's
controllers decide: `hanse_syncer.decide.retained` has those by kind. Ownership is moved in one request with
the uid and the resourceVersion that were read, and the apply comes after it: whoever is stopped in between
does the same again.

Pure functions. Next: `hanse_syncer.act.delivery`, which sends it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from hanse.errors import InvalidArgumentError
from hanse.kube.merge.fieldsets import Fields, Path, from_wire, is_member, to_wire, union
from hanse.kube.merge.managed import APPLY, UPDATE
from hanse.kube.model.objects import Object
from hanse.kube.model.untrusted import mapping, mappings, text
from hanse.well_known import FIELD_MANAGER

_ITEM: Final = "[]"
_STEP: Final = re.compile(r"([^.\[\]]+)|\[([^\]]*)\]")
_UNTOUCHED: Final = frozenset({"f:apiVersion", "f:kind", "f:status"})
_METADATA: Final = frozenset({"f:labels", "f:annotations"})
"""What of the metadata can be ours."""
_FOR_EVER: Final = ("immutable", "updates to", "may not change", "may not be changed")
"""Words of a refusal that no ownership helps with."""


def adopted(live: Mapping[str, Any], *, retained: Iterable[str]) -> list[Object] | None:
    """Return the managedFields with which all that was written by Update is ours; None if nothing was.

    `retained` are paths such as `spec.ports[].nodePort` that stay with the member.
    """
    pattern = _pattern(retained)
    ours, others = _entries(live)
    taken: Fields = {}
    rest: list[Object] = []
    for entry in others:
        fields = _fields(entry)
        if entry.get("operation") != UPDATE or entry.get("subresource") or fields is None:
            rest.append(entry)
            continue
        mine, kept = _split(_possible(fields), pattern)
        unmoved = {**{e: fields[e] for e in _UNTOUCHED if e in fields}, **kept}
        unmoved.update(_metadata_left(fields))
        taken = union(taken, mine)
        if unmoved:
            rest.append({**entry, "fieldsV1": to_wire(unmoved)})
    return [_entry(live, union(ours, taken)), *rest] if taken else None


def contested(
    live: Mapping[str, Any], manifest: Mapping[str, Any], causes: Sequence[Any], *, retained: Iterable[str]
) -> list[Object] | None:
    """Return the managedFields with which what stands in the way of an apply is ours; None if nothing does.

    `causes` are those of the Status with which the apply was refused.
    """
    ours, others = _entries(live)
    taken: Fields = {}
    for cause in mappings(list(causes)):
        if not any(word in text(cause.get("message")) for word in _FOR_EVER):
            for path in _in_the_way(_steps(text(cause.get("field"))), ours, live, manifest):
                taken = union(taken, _of_path(path))
    taken, _ = _split(_possible(taken), _pattern(retained))
    if not taken or union(ours, taken) == ours:
        return None
    rest: list[Object] = []
    for entry in others:
        fields = _fields(entry)
        if fields is None or entry.get("subresource"):
            rest.append(entry)
        elif left := _without(fields, taken):
            rest.append({**entry, "fieldsV1": to_wire(left)})
    return [_entry(live, union(ours, taken)), *rest]


def updated_by_us(live: Mapping[str, Any]) -> bool:
    """Return whether something is ours by an Update: an earlier write that was no apply."""
    return any(
        entry.get("manager") == FIELD_MANAGER
        and entry.get("operation") == UPDATE
        and not entry.get("subresource")
        for entry in mappings(mapping(live.get("metadata")).get("managedFields"))
    )


def as_update(live: Mapping[str, Any]) -> list[Object]:
    """Return the managedFields in which what we applied is ours by Update."""
    ours, others = _entries(live)
    rest: list[Object] = []
    for entry in others:
        if updated_by_us({"metadata": {"managedFields": [entry]}}):
            ours = union(ours, _fields(entry) or {})
        else:
            rest.append(entry)
    return [*rest, {**_entry(live, ours), "operation": UPDATE}] if ours else rest


def as_apply(live: Mapping[str, Any]) -> list[Object]:
    """Return the managedFields in which all that is ours is ours by Apply."""
    rest = [entry for entry in as_update(live) if not updated_by_us({"metadata": {"managedFields": [entry]}})]
    return [_entry(live, _possible(our_fields(live))), *rest]


def our_fields(live: Mapping[str, Any]) -> Fields:
    """Return the set of all that is ours, by Apply or by Update."""
    found = as_update(live)
    mine = [entry for entry in found if updated_by_us({"metadata": {"managedFields": [entry]}})]
    return (_fields(mine[0]) or {}) if mine else {}


def _entries(live: Mapping[str, Any]) -> tuple[Fields, list[Object]]:
    """Return what is ours by Apply, and the other entries."""
    ours: Fields = {}
    others: list[Object] = []
    for entry in mappings(mapping(live.get("metadata")).get("managedFields")):
        applied = entry.get("manager") == FIELD_MANAGER and entry.get("operation") == APPLY
        if applied and not entry.get("subresource"):
            ours = union(ours, _fields(entry) or {})
        else:
            others.append(entry)
    return ours, others


def _fields(entry: Mapping[str, Any]) -> Fields | None:
    try:
        return from_wire(entry.get("fieldsV1"))
    except InvalidArgumentError:
        return None


def _entry(live: Mapping[str, Any], fields: Fields) -> Object:
    return {
        "manager": FIELD_MANAGER,
        "operation": APPLY,
        "apiVersion": live.get("apiVersion"),
        "fieldsType": "FieldsV1",
        "fieldsV1": to_wire(fields),
    }


def _possible(fields: Fields) -> Fields:
    """Return what of a set can become ours at all."""
    found = {element: below for element, below in fields.items() if element not in _UNTOUCHED}
    metadata = {e: below for e, below in mapping(found.pop("f:metadata", None)).items() if e in _METADATA}
    return {**found, "f:metadata": metadata} if metadata else found


def _metadata_left(fields: Fields) -> Fields:
    left = {e: below for e, below in mapping(fields.get("f:metadata")).items() if e not in _METADATA | {"."}}
    return {"f:metadata": left} if left else {}


def _pattern(retained: Iterable[str]) -> Fields:
    """Return the paths as a trie in which `[]` is any item."""
    root: Fields = {}
    for path in retained:
        node = root
        for step in _steps(path):
            node = node.setdefault(step if step == _ITEM else f"f:{step}", {})
    return root


def _split(fields: Fields, pattern: Fields) -> tuple[Fields, Fields]:
    """Return the set without what the pattern has, and that."""
    taken: Fields = {}
    kept: Fields = {}
    for element, below in fields.items():
        found = pattern.get(element if element.startswith("f:") else _ITEM)
        if found is None or element == ".":
            taken[element] = below
        elif not found:
            kept[element] = below
        else:
            mine, theirs = _split(below, found)
            if theirs:
                kept[element] = theirs
            if mine or not below:
                taken[element] = mine
    return taken, kept


def _without(fields: Fields, taken: Fields) -> Fields:
    """Return a set without the members of another and what is below them."""
    left: Fields = {}
    for element, below in fields.items():
        found = taken.get(element)
        if found is None:
            left[element] = below
        elif not is_member(found) and (rest := _without(below, found)):
            left[element] = rest
    return left if left.keys() != {"."} else {}


def _steps(field: str) -> list[str]:
    """Return the steps of a path such as `spec.volumes[0].hostPath`; an index is `[]`."""
    return [
        name or (_ITEM if not inside or inside.isdecimal() else inside.strip('"'))
        for name, inside in _STEP.findall(field)
    ]


def _of_path(path: Path) -> Fields:
    fields: Fields = {}
    for element in reversed(path):
        fields = {element: fields}
    return fields


def _in_the_way(
    steps: list[str], ours: Fields, live: Mapping[str, Any], manifest: Mapping[str, Any]
) -> Iterator[Path]:
    """Yield the paths of what the member has and the manifest does not, at the field that a refusal names.

    That is the field itself; where the manifest has it, what is beside it and in it. What is right below the
    root or the spec is beside too much for that. An index says nothing, since it is one of an object that was
    never stored: so of lists all items that we have are looked at.
    """
    if len(steps) < 2:
        return
    for path, there, wanted in _parents(steps, ours, live, manifest):
        name = steps[-1]
        if name in there and name not in wanted:
            yield (*path, f"f:{name}")
            continue
        if len(steps) > 2:
            yield from ((*path, f"f:{other}") for other in there if other not in wanted)
        below, given = there.get(name), wanted.get(name)
        if isinstance(below, dict) and isinstance(given, dict):
            yield from ((*path, f"f:{name}", f"f:{other}") for other in below if other not in given)


def _parents(
    steps: list[str], ours: Fields, live: Any, manifest: Any, path: Path = ()
) -> Iterator[tuple[Path, Object, Object]]:
    """Yield (path, what is there, what the manifest has) of each map that the last step is in."""
    if len(steps) == 1:
        if isinstance(live, dict) and isinstance(manifest, dict) and steps[0] != _ITEM:
            yield path, live, manifest
        return
    step, rest = steps[0], steps[1:]
    if step == _ITEM:
        if isinstance(live, list) and isinstance(manifest, list):
            for element, below in ours.items():
                if element.startswith("k:"):
                    key = orjson.loads(element[2:])
                    yield from _parents(rest, below, _item(live, key), _item(manifest, key), (*path, element))
    elif isinstance(live, dict) and isinstance(manifest, dict):
        below = mapping(ours.get(f"f:{step}"))
        yield from _parents(rest, dict(below), live.get(step), manifest.get(step), (*path, f"f:{step}"))


def _item(items: list[Any], key: Mapping[str, Any]) -> Any:
    """Return the item of that key; one that has only a part of the key fields has the defaults of others."""
    for item in items:
        named = isinstance(item, dict) and any(name in item for name in key)
        if named and all(item.get(name, value) == value for name, value in key.items()):
            return item
    return None
