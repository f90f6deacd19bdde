"""Whether a member's object still has what was rendered for it.

Owns the comparison. It needs no schema: an answer "differs" that is not so (a quantity written in another
way, say) costs one server-side apply that changes nothing, after which `fingerprint` tells that this very
object was found to be right. Pure functions.

Next: `hanse_syncer.decide.plan`, which decides what a difference means.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from hanse.kube.kinds.kubernetes import core
from hanse.kube.model.objects import Object

_LIST_KEYS: Final = (
    ("name",),
    ("containerPort", "protocol"),
    ("port", "protocol"),
    ("mountPath",),
    ("devicePath",),
    ("key",),
    ("ip",),
    ("topologyKey", "whenUnsatisfiable"),
    ("type",),
    ("uid",),
)
"""Keys by which Kubernetes' own kinds tell the items of a list apart (x-kubernetes-list-map-keys)."""

_UNREAL: Final = ("resourceVersion", "managedFields", "generation", "selfLink")


def contained(rendered: object, live: object) -> bool:
    """Return whether everything in `rendered` is in `live`.

    Fields that only `live` has are other people's. An empty value is in an object that does not have the
    field. Items of a list are matched by their key where they have one: then `live` may have more of them,
    as other appliers may add theirs; other lists must be equal in length and order.
    """
    if isinstance(rendered, Mapping):
        if not isinstance(live, Mapping):
            return not rendered and live is None
        return all(
            contained(value, live[key]) if key in live else _empty(value) for key, value in rendered.items()
        )
    if isinstance(rendered, list):
        return _list_contained(rendered, live)
    return rendered == live and isinstance(rendered, bool) == isinstance(live, bool)


def in_sync(rendered: Object, live: Object) -> bool:
    """Return whether a member's whole object has what was rendered, in whatever version the member
    answers."""
    if core.SECRET.matches(rendered) and rendered.get("stringData"):
        return False
    return all(contained(value, live.get(key)) for key, value in rendered.items() if key != "apiVersion")


def fingerprint(live: Mapping[str, Any]) -> bytes:
    """Return a digest of what somebody can set of a live object: not its status, not its counters."""
    metadata = {key: value for key, value in (live.get("metadata") or {}).items() if key not in _UNREAL}
    rest = {key: value for key, value in live.items() if key not in ("metadata", "status")}
    encoded = orjson.dumps([metadata, rest], option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(encoded, digest_size=12).digest()


def difference(rendered: object, live: object, path: str = "") -> list[Object]:
    """Return RFC 6902 operations that lead from `live` to something that contains `rendered`.

    `add` stands for fields that are missing and `replace` for those that differ. Lists are replaced whole
    unless their items can be matched one by one.
    """
    if isinstance(rendered, Mapping) and isinstance(live, Mapping):
        operations: list[Object] = []
        for key, value in rendered.items():
            where = f"{path}/{_escape(str(key))}"
            if key in live:
                operations += difference(value, live[key], where)
            elif not _empty(value):
                operations.append({"op": "add", "path": where, "value": value})
        return operations
    if contained(rendered, live):
        return []
    if isinstance(rendered, list) and isinstance(live, list):
        pairs = _pairs(rendered, live)
        if pairs is not None:
            operations = []
            for item, index in pairs:
                if index is None:
                    operations.append({"op": "add", "path": f"{path}/-", "value": item})
                else:
                    operations += difference(item, live[index], f"{path}/{index}")
            return operations
    return [{"op": "replace", "path": path, "value": rendered}]


def _list_contained(rendered: Sequence[object], live: object) -> bool:
    if not isinstance(live, list):
        return not rendered and live is None
    pairs = _pairs(rendered, live)
    if pairs is not None:
        return all(index is not None and contained(item, live[index]) for item, index in pairs)
    return len(rendered) == len(live) and all(
        contained(item, other) for item, other in zip(rendered, live, strict=True)
    )


def _pairs(rendered: Sequence[object], live: Sequence[object]) -> list[tuple[object, int | None]] | None:
    """Match items by key; None if the items have none. Items may leave out the later parts of a key."""
    for keys in _LIST_KEYS:
        first = keys[0]
        if rendered and all(isinstance(item, Mapping) and first in item for item in (*rendered, *live)):
            break
    else:
        return None
    try:
        pairs = list(_looked_up(rendered, live, keys))
    except TypeError:  # a key that is a map or a list tells nothing apart
        return None
    taken = [index for _, index in pairs if index is not None]
    return pairs if len(taken) == len(set(taken)) else None


def _looked_up(
    rendered: Sequence[object], live: Sequence[object], keys: tuple[str, ...]
) -> Iterator[tuple[object, int | None]]:
    """Yield each item with the first live one that has its key, by one look at each.

    Raises TypeError for a key that cannot be hashed.
    """
    places: dict[tuple[str, ...], dict[tuple[object, ...], int]] = {}
    for item in rendered:
        if not isinstance(item, Mapping):
            raise TypeError("an item of a list with keys is no object")
        given = tuple(key for key in keys if key in item)
        if given not in places:
            known = places[given] = {}
            for number, other in enumerate(live):
                if isinstance(other, Mapping):
                    known.setdefault(tuple(other.get(key) for key in given), number)
        yield item, places[given].get(tuple(item[key] for key in given))


def _empty(value: object) -> bool:
    """Return whether a value says no more than an absent field: servers leave such values out."""
    if value is None or value == "" or value is False or (value == 0 and not isinstance(value, str)):
        return True
    if isinstance(value, Mapping):
        return all(_empty(item) for item in value.values())
    return isinstance(value, list) and not value


def _escape(token: str) -> str:
    return token.replace("~", "~0").replace("/", "~1")
