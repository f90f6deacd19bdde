"""JSON of every shape, for tests of what must take anything: arbitrary values, and valid ones gone wrong.

`anything()` is any JSON value. `gone_wrong(valid)` is `valid` with one of its parts, at any depth, replaced
by any JSON value: most defects are in what looks nearly right.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

Path = tuple[str | int, ...]

_ODD = (
    "", "True", "1e999999", "9" * 400, "²", "-1", "Infinity", "2026-01-01T00:00:00Z", "eu", "kube-system",
    "0001-01-01T00:00:00+23:59", "\x00", "a" * 3000, 2**31, 2**63 - 1, -1, 0, 1.5, 1e308, True, None,
)  # fmt: skip
_KEYS = ("type", "status", "reason", "conditions", "ip", "hostname", "name", "metadata", "labels", "uid", "x")


def scalars() -> st.SearchStrategy[Any]:
    """Texts, numbers, booleans and null, odd ones more often than not."""
    numbers = st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False))
    return st.one_of(st.sampled_from(_ODD), numbers, st.text(max_size=8))


def anything() -> st.SearchStrategy[Any]:
    """Any JSON value."""
    return st.recursive(
        scalars(),
        lambda inner: st.one_of(
            st.lists(inner, max_size=4),
            st.dictionaries(st.one_of(st.sampled_from(_KEYS), st.text(max_size=6)), inner, max_size=4),
        ),
        max_leaves=12,
    )


def paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the path of every part of a value, its own first."""
    yield path
    if isinstance(value, dict):
        for key, child in value.items():
            yield from paths(child, (*path, key))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from paths(child, (*path, index))


def replaced(value: Any, path: Path, by: Any) -> Any:
    """Return a copy of `value` with the part at `path` replaced."""
    if not path:
        return by
    head, *rest = path
    if isinstance(value, list):
        return [replaced(v, tuple(rest), by) if i == head else v for i, v in enumerate(value)]
    return {k: replaced(v, tuple(rest), by) if k == head else v for k, v in value.items()}


def gone_wrong(valid: Any) -> st.SearchStrategy[Any]:
    """Return `valid` with a part replaced by any JSON value; sometimes two parts, sometimes all of it."""
    places = list(paths(valid))
    once = st.builds(lambda path, by: replaced(valid, path, by), st.sampled_from(places), anything())

    def again(value: Any) -> st.SearchStrategy[Any]:
        found = list(paths(value))
        return st.builds(lambda path, by: replaced(value, path, by), st.sampled_from(found), anything())

    return st.one_of(once, once.flatmap(again), anything())


def deep(levels: int) -> Any:
    """Return a list inside a list inside a list, `levels` deep."""
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value
