"""JSON and YAML from outside are decoded within bounds, or refused with the bound in the message."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hanse import documents
from hanse.documents import (
    MAX_DEPTH,
    MAX_EXPANDED_BYTES,
    MAX_VALUES,
    TOO_DEEP,
    TOO_LARGE,
    json_document,
    to_yaml,
    yaml_document,
    yaml_documents,
)
from hanse.errors import InvalidArgumentError
from hanse.numbers import MAX_WHOLE, whole_number


def refusal(text: bytes, *, as_yaml: bool = True) -> InvalidArgumentError:
    """The error for a text that must be refused."""
    with pytest.raises(InvalidArgumentError) as caught:
        yaml_document(text) if as_yaml else json_document(text)
    return caught.value


@pytest.mark.parametrize("text", [b"[" * 25_000, b"{a: " * 25_000, b"- " * 25_000, b"? " * 25_000])
def test_a_deep_yaml_text_is_refused_before_it_is_composed(text: bytes) -> None:
    """25,000 brackets are an error that names the bound; composed they would overflow the stack of C."""
    error = refusal(text)
    assert error.reason == TOO_DEEP
    assert str(MAX_DEPTH) in str(error)


def test_json_may_be_as_deep_as_the_bound_and_no_deeper() -> None:
    """The bound is the same for JSON, also where the decoder itself would give up."""
    assert json_document(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH) is not None
    for depth in (MAX_DEPTH + 1, 900, 25_000):
        error = refusal(b"[" * depth + b"]" * depth, as_yaml=False)
        assert error.reason == TOO_DEEP
        assert str(MAX_DEPTH) in str(error)


def laughs(line: bytes) -> bytes:
    """A text of which each line has nine aliases of the line before."""
    lines = (line % (i, i, b", ".join([b"*l%d" % (i - 1)] * 9)) for i in range(1, 10))
    return b"\n".join([b"l0: &l0 {x: 1}", *lines])


@pytest.mark.parametrize("line", [b"l%d: &l%d [%s]", b"l%d: &l%d {<<: [%s]}"])
def test_aliases_count_as_what_they_stand_for(line: bytes) -> None:
    """Nested aliases and merges do not grow beyond the number of values that is taken."""
    error = refusal(laughs(line))
    assert error.reason == TOO_LARGE
    assert str(MAX_VALUES) in str(error)


def test_the_text_behind_aliases_is_bounded() -> None:
    """A long text with many aliases is refused; a few are fine."""
    text = b"- &a " + b"x" * 1_000_000 + b"\n" + b"- *a\n"
    assert len(yaml_document(text)) == 2
    error = refusal(text + b"- *a\n" * 5)
    assert str(MAX_EXPANDED_BYTES) in str(error)


def test_aliases_neither_deepen_without_bound_nor_contain_themselves() -> None:
    """Depth counts through aliases, and a loop is refused."""
    steps = b"".join(b"- &a%d [*a%d]\n" % (i + 1, i) for i in range(300))
    assert refusal(b"- &a0 []\n" + steps).reason == TOO_DEEP
    assert "inside what it stands for" in str(refusal(b"&a [*a]"))


@pytest.mark.parametrize(
    "text",
    [
        b"!!int abc", b"!!float x", b"!<tag:yaml.org,2002:int> ''", b"9" * 5000, b"0x" + b"f" * 100_000,
        b".nan", b".inf", b"!!binary aGk=", b"!!set {a}", b"!!python/object:os.system x", b"? [a]\n: b",
        b"? {a: b}\n: b", b"null: x", b"*x", b"<<: 1", b"\xff\xfe\x00", b"a\x00b", b"%YAML 9.9\n---\na",
        b"---\na\n---\nb", b"a: [",
    ],
)  # fmt: skip
def test_what_json_cannot_say_is_refused(text: bytes) -> None:
    """Tags, keys and numbers that JSON does not have are errors, not values that break later."""
    refusal(text)


def test_yaml_is_read_as_kubernetes_reads_it() -> None:
    """Keys are texts, large numbers are floats, dates stay texts."""
    assert yaml_document(b"2: a\ntrue: b\nd: 2020-01-01\nn: 99999999999999999999999") == {
        "2": "a",
        "true": "b",
        "d": "2020-01-01",
        "n": 1e23,
    }
    assert yaml_documents("---\na: 1\n---\nb: 2\n", what="it") == [{"a": 1}, {"b": 2}]
    assert yaml_document(b"") is None


def test_a_text_of_too_many_values_is_refused_before_it_is_decoded() -> None:
    """Commas in texts do not count, values do."""
    assert json_document(b'["' + b"," * 1_000_000 + b'"]') == ["," * 1_000_000]
    assert json_document(b'["\\\\", "\\"' + b"," * 1_000_000 + b'"]')[0] == "\\"
    for body in (
        b"[" + b"[]," * 1_000_000 + b"0]",
        b"[" + b"0," * 1_400_000 + b"0]",
        b'["' + b'","' * 900_000 + b'"]',
    ):
        error = refusal(body, as_yaml=False)
        assert error.reason == TOO_LARGE
        assert str(MAX_VALUES) in str(error)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text(max_size=8).filter(str.isprintable),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_json_means_the_same_as_yaml(value: Any) -> None:
    """What is written as JSON or YAML is read back as it was."""
    assert json_document(json.dumps(value)) == value
    assert yaml_document(to_yaml(value)) == value


@given(st.text(max_size=60) | st.binary(max_size=60))
def test_no_text_breaks_the_decoder(text: str | bytes) -> None:
    """Every text is a value or an InvalidArgumentError."""
    for decode in (yaml_document, json_document):
        try:
            value = decode(text)
        except InvalidArgumentError:
            continue
        json.dumps(value, allow_nan=False)


@given(st.text(max_size=30))
def test_whole_numbers_are_ascii_digits(text: str) -> None:
    """Only plain digits are a number, and only as many as an int64 has."""
    number = whole_number(text)
    if number is None:
        assert not (text.isascii() and text.isdigit()) or len(text) > 19 or int(text) > MAX_WHOLE
    else:
        assert int(text) == number <= MAX_WHOLE


def test_numbers_that_python_takes_and_others_do_not() -> None:
    """Digits of other scripts, signs, underscores and endless numbers are none."""
    for text in ("²", "٣", "+1", "-1", "1_0", " 1", "", "1" * 400, "9" * 5000, str(2**63)):
        assert whole_number(text) is None
    assert whole_number(str(MAX_WHOLE)) == MAX_WHOLE
    assert whole_number("65536", maximum=65535) is None


def test_only_one_module_loads_yaml() -> None:
    """No other loader of YAML is called: its input would have no bounds."""
    from pathlib import Path

    root = Path(__file__).parents[3]
    calls = (
        "yaml.load(",
        "yaml.load_all(",
        "yaml.safe_load",
        "yaml.compose",
        "yaml.parse(",
        "yaml.full_load",
    )
    found = [
        str(path.relative_to(root))
        for folder in ("src", "services", "clients", "local")
        for path in (root / folder).rglob("*.py")
        if any(call in path.read_text() for call in calls)
    ]
    assert found == ["src/hanse/documents.py"]
    assert yaml.__with_libyaml__


JSON_VALUES = st.recursive(
    st.none() | st.integers(0, 9) | st.text('a,[{"\\\u20ac'),
    lambda inner: st.lists(inner) | st.dictionaries(st.text('k"\\,:{', max_size=3), inner),
    max_leaves=20,
)


@given(value=JSON_VALUES, bound=st.integers(0, 12), piece=st.integers(1, 9))
def test_values_are_counted_in_pieces_as_they_are_in_the_whole(value: Any, bound: int, piece: int) -> None:
    """Whatever texts say, and wherever a piece ends."""

    def commas(value: Any) -> int:
        if not isinstance(value, dict | list):
            return 0
        below = value.values() if isinstance(value, dict) else value
        return max(0, len(value) - 1) + sum(map(commas, below))

    def brackets(value: Any) -> int:
        if not isinstance(value, dict | list):
            return 0
        return 1 + sum(map(brackets, value.values() if isinstance(value, dict) else value))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "MAX_VALUES", bound)
        patch.setattr(documents, "_PIECE", piece)
        text = json.dumps(value).encode()
        assert documents._surely_too_many(text) == (max(commas(value), brackets(value)) > bound)
