"""What a cluster made of values that it was sent: the difference is shown.

Owns the rule. An apply succeeded, and its answer has another value than the manifest, or none: an admission
webhook or policy of the cluster changed it as it was stored. No later look would find that as drift, since
what the server made of the object is what it is compared with, and to send it again would change nothing.
So it is a caveat of the sync state, and a condition of the federation's object.

The same value written in another way is no difference: quantities, times, numbers; nothing, where what was
sent means nothing (null, false, 0, an empty text, list or map). What the cluster adds is its own: defaults,
containers beside ours, labels. Items of a list are told by name, or by being the same.

How much is compared is bounded, since nothing bounds what a cluster answers.

Pure functions. Next: `hanse_syncer.act.state_recorder`, which writes it down.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from hanse.errors import InvalidArgumentError, shown
from hanse.federation.contention import VALUES_REWRITTEN
from hanse.kube.model.quantity import Quantity
from hanse.kube.model.times import parse_time
from hanse_syncer.decide.caveats import Caveat

_NAMED: Final = 3
"""Differences that are named; of the others there is only the number."""
_MOST: Final = 100
"""Differences that are looked for."""
_STEPS: Final = 20_000
"""Values that are compared of an object, besides those that are equal: some 0.2 s. What a cluster makes of a
long list takes no more; what was not compared counts as unchanged."""
_KEYS: Final = ("name", "mountPath", "containerPort", "port", "key", "ip")
"""Fields by which items of lists are told apart, the first one that all items have and no two share."""
_LEFT: Final = frozenset({"apiVersion", "kind", "status", "metadata"})


@dataclass(frozen=True, slots=True)
class Rewriting:
    """A field that has another value than it was sent, None for none."""

    path: str
    sent: Any
    stored: Any

    def __str__(self) -> str:
        """Return what is said of it."""
        if self.stored is None:
            return f"{self.path} {shown(self.sent)} is not there"
        return f"{self.path} is {shown(self.stored)} and not {shown(self.sent)}"


@dataclass(slots=True)
class _Steps:
    """How many values may still be compared."""

    left: int

    def take(self) -> bool:
        """Return whether another one may be compared, and count it."""
        self.left -= 1
        return self.left >= 0


def rewritings(live: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[Rewriting]:
    """Return what of `manifest`, which was just applied, is different in `live`, the answer; at most 100."""
    found: list[Rewriting] = []
    for difference in _of_object(live, manifest, _Steps(_STEPS)):
        found.append(difference)
        if len(found) == _MOST:
            break
    return found


def caveat_of(live: Mapping[str, Any], manifest: Mapping[str, Any], sealed: bool) -> Caveat | None:
    """Return what should be said if the cluster stored other values than it was sent.

    Of an object that is `sealed` no value is named.
    """
    found = rewritings(live, manifest)
    if not found:
        return None
    if sealed:
        return Caveat(VALUES_REWRITTEN, f"the cluster stored {len(found)} other values than it was sent")
    more = f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    named = "; ".join(str(each) for each in found[:_NAMED])
    message = f"the cluster stored other values than it was sent: {named}{more}. Something in it changes them"
    return Caveat(VALUES_REWRITTEN, f"{message} on admission", quoted=True)


def _of_object(live: Mapping[str, Any], manifest: Mapping[str, Any], steps: _Steps) -> Iterator[Rewriting]:
    for name in ("labels", "annotations"):
        sent, stored = (_mapping(_mapping(obj.get("metadata")).get(name)) for obj in (manifest, live))
        for key, value in sent.items():
            if stored.get(key) != value:
                yield Rewriting(f"metadata.{name}[{key}]", value, stored.get(key))
    for name, value in manifest.items():
        if name not in _LEFT:
            yield from _of_value(name, value, live.get(name), steps)


def _of_value(path: str, sent: Any, stored: Any, steps: _Steps) -> Iterator[Rewriting]:
    if sent == stored or not steps.take():
        return
    if isinstance(sent, dict) and sent and isinstance(stored, dict):
        for name, value in sent.items():
            yield from _of_value(f"{path}.{name}", value, stored.get(name), steps)
    elif isinstance(sent, list) and sent and isinstance(stored, list):
        yield from _of_list(path, sent, stored, steps)
    elif not _same(sent, stored):
        yield Rewriting(path, sent, stored)


def _of_list(path: str, sent: Sequence[Any], stored: Sequence[Any], steps: _Steps) -> Iterator[Rewriting]:
    key = _key(sent)
    if key and _key(stored, only=key):
        known = {item[key]: item for item in stored}
        for item in sent:
            yield from _of_value(f"{path}[{item[key]}]", item, known.get(item[key]), steps)
        return
    equal = {_encoded(item) for item in stored}
    for number, item in enumerate(sent):
        if _encoded(item) in equal or any(_is_in(item, found, steps) for found in stored):
            continue
        if len(sent) == len(stored):
            yield from _of_value(f"{path}[{number}]", item, stored[number], steps)
        else:
            yield Rewriting(f"{path}[{number}]", item, None)


def _encoded(item: Any) -> bytes:
    return orjson.dumps(item, option=orjson.OPT_SORT_KEYS)


def _is_in(sent: Any, stored: Any, steps: _Steps) -> bool:
    """Return whether the stored value has all that was sent, as far as it may be compared."""
    return next(_of_value("", sent, stored, steps), None) is None


def _key(items: Sequence[Any], *, only: str = "") -> str:
    """Return the field that tells the items apart, "" if none does."""
    for key in (only,) if only else _KEYS:
        values = [item.get(key) if isinstance(item, dict) else None for item in items]
        plain = all(isinstance(value, (str, int)) and value != "" for value in values)
        if plain and len(set(values)) == len(values):
            return key
    return ""


def _same(sent: Any, stored: Any) -> bool:
    """Return whether two values mean the same, as far as can be told without a schema."""
    if sent == stored or (not sent and not stored):
        return True
    if stored is None or isinstance(sent, (dict, list)) or isinstance(stored, (dict, list)):
        return _is_empty(sent) and _is_empty(stored)
    try:
        return Quantity.parse(sent) == Quantity.parse(stored)
    except InvalidArgumentError:
        moment = parse_time(sent)
        return moment is not None and moment == parse_time(stored)


def _is_empty(value: Any) -> bool:
    """Return whether a value says nothing, whatever is in it."""
    if isinstance(value, dict):
        return all(_is_empty(item) for item in value.values())
    return not value


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
