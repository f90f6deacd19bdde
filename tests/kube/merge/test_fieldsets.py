"""Field sets behave as sets of paths, and keep their meaning in FieldsV1 form."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.errors import InvalidArgumentError
from hanse.kube.merge import fieldsets

ELEMENTS = st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}', 'k:{"name":"y"}', 'v:"z"', "i:1"])
PATH = st.lists(ELEMENTS, min_size=1, max_size=4).map(tuple)
PATHS = st.frozensets(PATH, max_size=8)


def from_paths(paths: Iterable[fieldsets.Path]) -> fieldsets.Fields:
    """Return the set of the given paths; each needs at least one element."""
    out: fieldsets.Fields = {}
    for path in paths:
        node: fieldsets.Fields = fieldsets.LEAF
        for element in reversed(path):
            node = {element: node}
        out = fieldsets.union(out, node)
    return out


def paths(fields: fieldsets.Fields) -> set[fieldsets.Path]:
    """The set's paths as a Python set."""
    return set(fieldsets.paths(fields))


@given(PATHS)
def test_a_set_holds_exactly_its_paths(given_paths: frozenset[fieldsets.Path]) -> None:
    """What goes in comes out, and nothing else is contained."""
    fields = from_paths(given_paths)
    assert paths(fields) == given_paths
    for path in given_paths:
        assert fieldsets.contains(fields, path)
        assert fieldsets.contains(fields, path[:-1]) == (path[:-1] in given_paths)


@given(PATHS)
def test_the_wire_form_round_trips(given_paths: frozenset[fieldsets.Path]) -> None:
    """Encoding and decoding FieldsV1 gives the same set."""
    fields = from_paths(given_paths)
    assert fieldsets.from_wire(fieldsets.to_wire(fields)) == fields


@given(PATHS, PATHS)
def test_operations_are_those_of_sets(a: frozenset[fieldsets.Path], b: frozenset[fieldsets.Path]) -> None:
    """Union, difference and intersection agree with Python's sets and change no argument."""
    left, right = from_paths(a), from_paths(b)
    assert paths(fieldsets.union(left, right)) == a | b
    assert paths(fieldsets.difference(left, right)) == a - b
    assert paths(fieldsets.intersection(left, right)) == a & b
    below = {p for p in a if not any(p[: n + 1] in b for n in range(len(p)))}
    assert paths(fieldsets.recursive_difference(left, right)) == below
    assert paths(left) == a
    assert paths(right) == b


@given(PATHS, PATHS)
def test_equal_sets_are_equal_tries(a: frozenset[fieldsets.Path], b: frozenset[fieldsets.Path]) -> None:
    """There is one trie for one set, so comparing tries compares sets."""
    union = fieldsets.union(from_paths(a), from_paths(b))
    assert union == from_paths(a | b)
    assert fieldsets.difference(union, from_paths(b)) == from_paths(a - b)


def test_keys_become_canonical() -> None:
    """Two spellings of one list key are one path."""
    spaced: fieldsets.Fields = {'k:{"protocol": "TCP", "containerPort": 80}': {}}
    assert fieldsets.from_wire(spaced) == {'k:{"containerPort":80,"protocol":"TCP"}': {}}


@pytest.mark.parametrize("bad", [{"x:a": {}}, {"k:[]": {}}, {"k:{": {}}, {"i:a": {}}, {"f:a": 1}, []])
def test_what_is_not_fieldsv1_is_refused(bad: object) -> None:
    """Malformed path elements and values are InvalidArgumentError."""
    with pytest.raises(InvalidArgumentError):
        fieldsets.from_wire(bad)


def test_paths_print_as_kubernetes_prints_them() -> None:
    """Fields, keys, values and indexes have their own notation."""
    path = ("f:spec", 'k:{"name":"web","port":80}', 'v:"x"', "i:3")
    assert fieldsets.format_path(path) == '.spec[name="web",port=80][="x"][3]'
