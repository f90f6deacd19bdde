"""What people write about replicas: Federation v1's preference annotations, and a policy's `replicas`.

Owns reading and checking `{"rebalance": bool, "clusters": {"<name>"|"*": {"minReplicas", "maxReplicas",
"weight"}}}`. Errors name the annotation, the cluster and the field. Pure.

Next: `hanse_scheduler.decide.planner`, which divides by them.
"""

from __future__ import annotations

import difflib
from typing import Any

import orjson

from hanse.errors import InvalidArgumentError
from hanse_scheduler.decide.planner import ClusterPreference, Preferences

_MAX_INT = 2**31 - 1
_FORM = '{"rebalance": false, "clusters": {"*": {"minReplicas": 0, "maxReplicas": 10, "weight": 1}}}'
_TOP = {"rebalance": "rebalance", "clusters": "clusters"}
_FIELDS = {"minreplicas": "minReplicas", "maxreplicas": "maxReplicas", "weight": "weight"}


def parse_preferences(value: str, *, annotation: str) -> Preferences:
    """Return the preferences in an annotation's value.

    Field names are matched whatever their case, as v1 did. Raises InvalidArgumentError that names
    `annotation`, what is wrong and what to write.
    """
    where = f"annotation {annotation}"
    try:
        parsed = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise _bad(where, f"it is not JSON ({error})") from error
    return preferences_from(parsed, where=where)


def preferences_from(parsed: Any, *, where: str) -> Preferences:
    """Return the preferences in decoded JSON; `where` begins the message of an InvalidArgumentError."""
    if not isinstance(parsed, dict):
        raise _bad(where, "it is not a JSON object")
    fields = _named(parsed, _TOP, where=where, inside="")
    rebalance = fields.get("rebalance")
    if not isinstance(rebalance, bool | None):
        raise _bad(where, f"rebalance is {rebalance!r}, not true or false")
    clusters = fields.get("clusters")
    if not isinstance(clusters, dict | None):
        raise _bad(where, "clusters is not an object of cluster names")
    return Preferences(
        clusters={
            name: _preference(item, where=where, cluster=name) for name, item in (clusters or {}).items()
        },
        rebalance=bool(rebalance),
    )


def _preference(item: Any, *, where: str, cluster: str) -> ClusterPreference:
    if not isinstance(item, dict):
        raise _bad(where, f"clusters[{cluster!r}] is not an object")
    fields = _named(item, _FIELDS, where=where, inside=f"clusters[{cluster!r}].")
    for name, value in fields.items():
        if value is None:
            continue
        if type(value) is not int or not 0 <= value <= _MAX_INT:
            raise _bad(
                where, f"clusters[{cluster!r}].{name} is {value!r}, not a whole number from 0 to {_MAX_INT}"
            )
    return ClusterPreference(
        min_replicas=fields.get("minReplicas") or 0,
        max_replicas=fields.get("maxReplicas"),
        weight=fields.get("weight") or 0,
    )


def _named(parsed: dict[str, Any], known: dict[str, str], *, where: str, inside: str) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in parsed.items():
        proper = known.get(str(name).casefold())
        if proper is None:
            close = difflib.get_close_matches(str(name).casefold()[:64], known, n=1)
            hint = f" (did you mean {known[close[0]]}?)" if close else ""
            raise _bad(where, f"{inside}{name} is not a field{hint}")
        result[proper] = value
    return result


def _bad(where: str, why: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"{where} cannot be used: {why[:500]}; write for example {_FORM}", reason="BAD_REPLICA_PREFERENCES"
    )
