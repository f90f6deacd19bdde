"""What a member says, made safe to compute with: types checked, sizes bounded.

A member may write anything into what it reports, by mistake or on purpose. Whoever reads a field of it reads
it through here: each function takes any JSON value and returns one of the type and size that its name says;
what is not of that type is absent. What nobody here computes with is passed on as it is, if `too_large` has
no objection.

Pure functions; nothing raises, inputs are never changed. Next: `hanse_syncer.report.transitions`, which
stores what members report, and `hanse_apiserver.aggregate`, which folds it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import accumulate
from typing import Any, Final

from hanse.kube.model.objects import Object

MAX_DEPTH: Final = 100
"""Nesting that is passed on. The JSON encoder refuses 254 levels, and a status goes inside other objects."""
MAX_STATUS_BYTES: Final = 256 * 1024
"""Size of a status that is passed on. Those of built-in kinds have some KiB; a sync state must fit into one
request to etcd, which takes 1.5 MiB, and those of all objects into etcd."""
MAX_CONDITIONS: Final = 64
"""Conditions of one object in one member that are folded; more than any known kind has types."""
MAX_ADDRESSES: Final = 256
"""Load balancer addresses of one object in one member."""
MAX_WORD: Final = 316
"""Characters of a condition's type, Kubernetes' own bound; also of a reason here, and of a name."""
MAX_MESSAGE: Final = 1024
"""Characters of a message, and of a reason: some members quote the whole object back."""
MAX_COUNT: Final = 2**31 - 1
"""Counts of pods are int32 in Kubernetes."""
MAX_GENERATION: Final = 2**63 - 1

_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})", re.ASCII)
_STATUSES: Final = ("True", "False", "Unknown")


def count(value: Any, default: int = 0) -> int:
    """Return a number of things, from 0 to 2³¹-1; `default` for anything else."""
    return value if type(value) is int and 0 <= value <= MAX_COUNT else default


def generation(value: Any) -> int:
    """Return a generation; 0 for anything that is none."""
    return value if type(value) is int and 0 <= value <= MAX_GENERATION else 0


def text(value: Any, limit: int = MAX_MESSAGE) -> str:
    """Return a text of at most `limit` characters, cut; "" for anything that is not text."""
    return value[:limit] if isinstance(value, str) else ""


def time(value: Any) -> str:
    """Return an RFC 3339 time as it is; "" for anything that is none."""
    return value if isinstance(value, str) and _TIME.fullmatch(value) else ""


def mapping(value: Any) -> Mapping[str, Any]:
    """Return an object; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def mappings(value: Any, limit: int = MAX_COUNT) -> list[Object]:
    """Return the first `limit` objects of a list without its other items; none of anything else."""
    if not isinstance(value, list):
        return []
    return [item for item in value if isinstance(item, dict)][:limit]


def conditions(status: Any) -> dict[str, Object]:
    """Return the conditions of a status by type, each with texts only and a status that is one.

    A status that is neither True nor False is Unknown; a time that is none is left out.
    """
    found: dict[str, Object] = {}
    for item in mappings(mapping(status).get("conditions")):
        kind = item.get("type")
        if not isinstance(kind, str) or not 0 < len(kind) <= MAX_WORD:
            continue
        if kind not in found and len(found) >= MAX_CONDITIONS:
            continue
        found[kind] = condition(item)
    return found


def condition(item: Mapping[str, Any]) -> Object:
    """Return a condition with texts only."""
    said = item.get("status")
    result: Object = {
        "type": text(item.get("type"), MAX_WORD),
        "status": said if isinstance(said, str) and said in _STATUSES else "Unknown",
        "reason": text(item.get("reason")),
        "message": text(item.get("message")),
    }
    return result | {name: stamp for name in TIMES if (stamp := time(item.get(name)))}


TIMES: Final = ("lastUpdateTime", "lastTransitionTime", "lastProbeTime", "lastHeartbeatTime")
"""Times of a condition, of any kind that has conditions."""


def addresses(status: Any) -> list[Object]:
    """Return the load balancer addresses of a status: objects with an `ip` or a `hostname` that is text."""
    found = mappings(mapping(mapping(status).get("loadBalancer")).get("ingress"), MAX_ADDRESSES)
    return [kept for item in found if (kept := _address(item))]


def _address(item: Object) -> Object:
    kept = {name: said for name in ("ip", "hostname") if (said := text(item.get(name), MAX_WORD))}
    if not kept:
        return {}
    if mode := text(item.get("ipMode"), MAX_WORD):
        kept["ipMode"] = mode
    if ports := mappings(item.get("ports"), MAX_CONDITIONS):
        kept["ports"] = ports  # type: ignore[assignment]
    return kept


def too_large(
    encoded: bytes, *, limit: int = MAX_STATUS_BYTES, deepest: int = MAX_DEPTH, decoded: Any = None
) -> str:
    """Return why a value that was received in this encoding is not passed on; "" if it may be.

    `limit` is in bytes, `deepest` in levels. What it is `decoded` is looked at instead of the encoding where
    that is known already: that is faster.
    """
    if len(encoded) > limit:
        return f"it has {len(encoded)} bytes, more than {limit}"
    deep = decoded is not None and depth_of(decoded, deepest) > deepest
    if decoded is None and encoded.count(b"[") + encoded.count(b"{") > deepest:
        deep = _depth(encoded) > deepest
    return f"it is nested more than {deepest} levels deep" if deep else ""


_TEXT = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_ALL_ELSE = bytes(byte for byte in range(256) if byte not in _STEPS)


def _depth(encoded: bytes) -> int:
    # A megabyte of it must not take longer than the loop may be held: no step of Python for each bracket.
    brackets = _TEXT.sub(b"", encoded).translate(None, _ALL_ELSE)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0)


def depth_of(value: Any, limit: int = MAX_DEPTH) -> int:
    """Return how deep a value is nested, `limit` + 1 for anything deeper."""
    level = [value]
    for depth in range(limit + 1):
        level = [
            child
            for node in level
            if isinstance(node, (dict, list))
            for child in (node.values() if isinstance(node, dict) else node)
        ]
        if not level:
            return depth
    return limit + 1
