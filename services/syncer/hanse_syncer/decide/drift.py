"""What differs in a member, for people: operations that lead from its object to what an apply makes of it.

Owns the comparison of two whole objects. Whether an object has drifted at all is told by its fingerprint, and
what differs by the API server itself, which is asked what an apply would make of the object. Where it
refuses to say, the manifest is compared, and lists whole. Pure functions.

Next: `hanse_syncer.decide.fingerprints` for the rule, `hanse_syncer.service` for who asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from hanse.kube.model.objects import Object
from hanse.kube.model.untrusted import mapping
from hanse_syncer.decide.fingerprints import written_values

_SERVERS_OWN: Final = frozenset(
    {"creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"}
)
"""Metadata that says nothing about what an object is."""


def changes(live: Mapping[str, Any], applied: Mapping[str, Any]) -> list[Object]:
    """Return RFC 6902 operations that lead from `live` to `applied`, an object that an API server made of it.

    Status and what servers write into metadata are left out. Lists of equal length are compared item by item,
    others are replaced whole.
    """
    return list(_changes(_comparable(live), _comparable(applied), ""))


def changes_to_manifest(live: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[Object]:
    """Return operations that lead from `live` to what the manifest has, with lists whole."""
    wanted = {name: value for name, value in manifest.items() if name != "apiVersion"}
    return list(_changes(written_values(live, wanted), wanted, ""))


def _comparable(obj: Mapping[str, Any]) -> Object:
    metadata = {
        name: value for name, value in mapping(obj.get("metadata")).items() if name not in _SERVERS_OWN
    }
    return {**{name: value for name, value in obj.items() if name != "status"}, "metadata": metadata}


def _changes(live: Any, wanted: Any, path: str) -> Iterator[Object]:
    if isinstance(live, dict) and isinstance(wanted, dict):
        for name, value in wanted.items():
            where = f"{path}/{_escape(str(name))}"
            if name in live:
                yield from _changes(live[name], value, where)
            else:
                yield {"op": "add", "path": where, "value": value}
        for name in live:
            if name not in wanted:
                yield {"op": "remove", "path": f"{path}/{_escape(str(name))}"}
    elif isinstance(live, list) and isinstance(wanted, list) and len(live) == len(wanted):
        for number, (item, other) in enumerate(zip(live, wanted, strict=True)):
            yield from _changes(item, other, f"{path}/{number}")
    elif live != wanted or isinstance(live, bool) != isinstance(wanted, bool):
        yield {"op": "replace", "path": path, "value": wanted}


def _escape(token: str) -> str:
    return token.replace("~", "~0").replace("/", "~1")
