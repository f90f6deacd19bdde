"""What of a member's object is ours, and what it is worth there: the rule by which drift is told.

The rule, stated here once: the answer to an apply has what the API server made of it, and its managedFields
say which fields are ours. `fingerprint` is a digest of that entry and of the values of exactly those fields.
A later version of the object is in sync if it has the same fingerprint, and has drifted if it has another.
So no schema is needed: values are compared as the server wrote them, with its quantities and its defaults; a
list or map that the server treats as one value is taken whole; what others add beside our fields is theirs.
A change by another client takes the ownership away, so that it is seen even if the value is put back.

An unknown fingerprint equals none: the manifest is applied once, and the answer has the next one. Where
managedFields do not name us (somebody in between removes them, or an API server that lies), the fields are
those that the manifest has, with lists whole: then a change beside ours costs an apply that changes nothing,
which is never repeated for the same version. That is not silent: see `caveat_of`.

Pure functions. Next: `hanse_syncer.act.applying`, which compares, and `hanse_syncer.decide.drift`, which
shows what differs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final

import orjson

from hanse.kube.merge.managed import APPLY
from hanse.kube.model.objects import Object
from hanse.kube.model.untrusted import mapping, mappings
from hanse.well_known import FIELD_MANAGER
from hanse_syncer.decide import caveats
from hanse_syncer.decide.caveats import Caveat

_DEPTH: Final = 128
"""Levels below which a value is taken whole; no object of Kubernetes has as many."""
_BYTES: Final = 12
"""Length of a fingerprint: two objects in one cluster are never compared, so it need not be longer."""

OWNERSHIP_UNKNOWN: Final = Caveat(
    caveats.OWNERSHIP_UNKNOWN,
    "the cluster's answer does not say in metadata.managedFields which fields are the federation's: what is "
    "in the manifest is compared, and lists whole. See whether something in front of its API server removes "
    "managedFields",
)


def fingerprint(live: Mapping[str, Any], manifest: Mapping[str, Any]) -> bytes:
    """Return a digest of what is ours in `live`, an object of a member; it is never empty.

    `manifest` is what was applied: it tells an empty map or list, into which others may put something, from
    one that is a single value.
    """
    entry = our_entry(live)
    told: list[Any]
    if entry is None:
        told = ["written", written_values(live, manifest)]
    else:
        fields = entry["fieldsV1"]
        told = ["owned", fields, str(entry.get("time")), _values(live, fields, manifest, depth=0)]
    encoded = orjson.dumps(told, option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(encoded, digest_size=_BYTES).digest()


def caveat_of(live: Mapping[str, Any]) -> Caveat | None:
    """Return what should be said if the answer to an apply does not say which fields are ours."""
    return None if our_entry(live) is not None else OWNERSHIP_UNKNOWN


def our_entry(live: Mapping[str, Any]) -> Object | None:
    """Return the entry of managedFields that has what we applied, None if there is none that can be used."""
    for entry in mappings(mapping(live.get("metadata")).get("managedFields")):
        if entry.get("manager") == FIELD_MANAGER and entry.get("operation") == APPLY:
            usable = not entry.get("subresource") and entry.get("apiVersion") == live.get("apiVersion")
            if usable and mapping(entry.get("fieldsV1")):
                return entry
    return None


def written_values(value: Any, manifest: Any) -> Any:
    """Return what of `value` the manifest has, as far as maps go."""
    if isinstance(value, dict) and isinstance(manifest, dict):
        return {name: written_values(value[name], manifest[name]) for name in manifest if name in value}
    return value


def _values(value: Any, fields: Any, written: Any, *, depth: int) -> Any:
    """Return what of `value` the FieldsV1 set `fields` names; `written` is the manifest at this place."""
    if not isinstance(fields, dict) or not fields or depth > _DEPTH:
        below = []
    else:
        below = [each for each in fields.items() if each[0] != "."]
    if not below:
        if isinstance(value, (dict, list)) and not written:
            return type(value)()  # that it is there is ours, and what is in it somebody else's
        return value
    if isinstance(value, dict):
        given = written if isinstance(written, dict) else {}
        found: Object = {}
        for element, subtree in below:
            name = element[2:]
            if element.startswith("f:") and name in value:
                item = value[name]
                plain = not isinstance(item, (dict, list))
                found[name] = item if plain else _values(item, subtree, given.get(name), depth=depth + 1)
        return found
    if isinstance(value, list):
        return _item_values(value, below, written, depth=depth)
    return value


def _item_values(value: list[Any], below: list[tuple[str, Any]], written: Any, *, depth: int) -> list[Any]:
    subtrees = _Keyed()
    single: dict[bytes, Any] = {}
    for element, subtree in below:
        kind, text = element[:2], element[2:]
        if kind == "k:" and (key := _key(text)):
            subtrees.put(key, subtree)
        elif kind == "v:":
            single[_canonical(_decoded(text))] = subtree
        elif kind == "i:":
            single[b"#" + text.encode()] = subtree
    manifests = _Keyed()
    names = subtrees.names()
    for item in written if isinstance(written, list) and names else ():
        if isinstance(item, dict):
            manifests.put(tuple((name, item[name]) for name in names if name in item), item)
    found: list[Any] = []
    for number, item in enumerate(value):
        if isinstance(item, dict) and (named := subtrees.of(item)) is not None:
            found.append(_values(item, named, manifests.of(item), depth=depth + 1))
        elif single and (f"#{number}".encode() in single or _canonical(item) in single):
            found.append(item)
    return found


class _Keyed:
    """Values by the key fields of list items; keys may have different names."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], dict[tuple[Any, ...], Any]] = {}

    def put(self, key: tuple[tuple[str, Any], ...], value: Any) -> None:
        """Remember a value; what has a map or a list for a key tells nothing apart."""
        known = self._known.setdefault(tuple(name for name, _ in key), {})
        with suppress(TypeError):
            known[tuple(part for _, part in key)] = value

    def names(self) -> list[str]:
        """Return the names of all key fields, sorted."""
        return sorted({name for names in self._known for name in names})

    def of(self, item: Mapping[str, Any]) -> Any:
        """Return the value whose key the item has, that of the most key fields first; None without one."""
        known = self._known
        for names in known if len(known) < 2 else sorted(known, key=len, reverse=True):
            try:
                found = known[names].get(tuple([item[name] for name in names]))
            except (KeyError, TypeError):
                continue
            if found is not None:
                return found
        return None


@lru_cache(maxsize=4096)
def _key(text: str) -> tuple[tuple[str, Any], ...]:
    """Return the key fields that an element of a set names, sorted; () if it names none."""
    told = _decoded(text)
    return tuple(sorted(told.items())) if isinstance(told, dict) else ()


def _canonical(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _decoded(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
