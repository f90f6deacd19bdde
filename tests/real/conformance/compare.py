"""What differs between two records, as lines of text. Pure.

What must differ (uids, times, revisions, addresses) is made equal first, and managedFields are compared by
manager, without times. Next: `known`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from tests.real.conformance.sides import Answer

PROSE = {"Status": ("message",)}
"""What is text for people, by kind; the reason and the causes of a Status are compared."""

_ABSENT: Any = object()
_UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_AGE = re.compile(r"\d+s")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_RANDOM = {"resourceVersion", "uid", "continue", "selfLink"}


def differences(ours: Sequence[Answer], real: Sequence[Answer]) -> Iterator[str]:
    """Yield a line `label path: ours X, real Y` for everything that two records do not agree on."""
    for a, b in zip(ours, real, strict=False):
        if a.label != b.label:
            yield f"{a.label} label: ours {a.label}, real {b.label}"
            return
        if a.status != b.status:
            yield f"{a.label} HTTP: ours {a.status} {_short(a.body)}, real {b.status} {_short(b.body)}"
            continue
        yield from _walk(normal(a.body), normal(b.body), f"{a.label} ")
    if len(ours) != len(real):
        yield f"the record: ours {len(ours)} answers, real {len(real)}"


def normal(value: Any, name: str = "") -> Any:
    """Return a value with what must differ made equal."""
    if name == "managedFields":
        return {
            " ".join((e["manager"], e["operation"], e.get("subresource", ""), e["apiVersion"])): e["fieldsV1"]
            for e in value
        }
    if isinstance(value, dict):
        prose = PROSE.get(value.get("kind", ""), ())
        return {
            key: normal(item, key)
            for key, item in value.items()
            if key not in prose and not (key == "details" and item == {})
        }
    if name == "causes" and isinstance(value, list):  # kube-apiserver's are in the order of a Go map
        value = sorted(value, key=lambda c: (c.get("field", ""), c.get("message", "")))
    if name == "columnDefinitions" and isinstance(value, list):
        return [{key: item for key, item in column.items() if key != "description"} for column in value]
    if isinstance(value, list):
        return [normal(item) for item in value]
    if name in _RANDOM and value:
        return f"<{name}>"
    if isinstance(value, str):
        if _AGE.fullmatch(value):
            return "<age>"
        return _TIME.sub("<time>", _UID.sub("<uid>", value))
    return value


def _walk(ours: Any, real: Any, path: str) -> Iterator[str]:
    if isinstance(ours, dict) and isinstance(real, dict):
        for key in sorted(ours.keys() | real.keys()):
            yield from _walk(ours.get(key, _ABSENT), real.get(key, _ABSENT), f"{path}.{key}")
    elif isinstance(ours, list) and isinstance(real, list) and len(ours) == len(real):
        for index, (a, b) in enumerate(zip(ours, real, strict=True)):
            yield from _walk(a, b, f"{path}[{index}]")
    elif ours != real:
        yield f"{path}: ours {_short(ours)}, real {_short(real)}"


def _short(value: Any) -> str:
    if value is _ABSENT:
        return "nothing"
    if isinstance(value, dict) and value.get("kind") == "Status":
        value = f"{value.get('reason')}: {value.get('message')}"
    text = json.dumps(value)
    return text if len(text) <= 500 else text[:497] + "..."
