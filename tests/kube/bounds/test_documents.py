"""JSON and YAML from outside are decoded within bounds, or refused with the bound in the message."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hanse.documents import (
    MAX_DEPTH,
    MAX_EXPANDED_BYTES,
    MAX_VALUES,
    TOO_DEEP,
    TOO_LARGE,
    YamlText,
    json_document,
    json_text,
    read_yaml,
    repeated_fields,
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

        b"!!int abc", b"!!float x", b"!<tag:yaml.org,2002:int> ''", b".nan", b".inf", b"!!binary a",
        b"? [a]\n: b", b"? {a: b}\n: b", b"null: x", b"*x", b"<<: 1", b"<<: [1]",
        b"a: &l [{x: 1}]\nb: {<<: *l}", b"\xff\xfe\x00", b"a\x00b", b"%YAML 9.9\n---\na",
        b"18446744073709551615: a", b"!!timestamp now", b"---\na\n---\nb", b"a: [",
    ],
)  # fmt: skip
def test_what_json_cannot_say_is_refused(text: bytes) -> None:
    """Tags, keys and numbers that JSON does not have are errors, not values that break later."""
    refusal(text)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("1:30", "1:30"), ("12:30:45.5", "12:30:45.5"), ("2020-01-01", "2020-01-01"), ("=", "="),
        ("<<", "<<"), ("yes", True), ("y", True), ("on", True), ("No", False), ("n", False),
        ("OFF", False), ("yEs", "yEs"), ("~", None), ("Null", None), ("nul", "nul"), ("017", 15),
        ("0o17", 15), ("0O17", 15), ("08", 8), ("0o8", "0o8"), ("0x1F", 31), ("0b101", 5), ("-0b101", -5),
        ("0b-1", -1), ("1_000", 1000), ("_1", "_1"), ("1e3", 1000), ("1.", 1), (".5", 0.5), (".5_0", 0.5),
        ("._5", "._5"), ("1e400", "1e400"), ("-0", 0), ("18446744073709551615", 2**64-1),
        ("18446744073709551616", 2.0**64), ("+18446744073709551615", 2.0**64),
        ("0xFFFFFFFFFFFFFFFFFF", "0xFFFFFFFFFFFFFFFFFF"), ("inf", "inf"), ("1,000", "1,000"),
        ("1.2.3", "1.2.3"), ("9"*5000, "9"*5000), ("!!str 1", "1"), ("!!int '5'", 5), ("!!float 5", 5),
        ("!!binary aGk=", "hi"), ("!!binary /w==", "\ufffd"), ("!!set {a}", {"a": None}),
        ("!!python/object:os.system x", "x"), ("!foo 5", "5"), ("'yes'", "yes"), ('"1"', "1"),
        ("|-\n  yes", "yes"),
    ],
)  # fmt: skip
def test_words_are_what_kubernetes_makes_of_them(word: str, value: Any) -> None:
    """As sigs.k8s.io/yaml: mostly YAML 1.2, with the truth values and octal numbers of YAML 1.1."""
    found = yaml_document(f"a: {word}")
    assert (found, type(found["a"])) == ({"a": value}, type(value))


@pytest.mark.parametrize(
    ("text", "value", "repeated"),
    [
        ("a: 1\nb: 2\na: 3\n", {"a": 3, "b": 2}, ['line 3: key "a" already set in map']),
        ("x: [{a: 1,\n  a: 2}]", {"x": [{"a": 2}]}, ['line 2: key "a" already set in map']),
        ("1: a\n1: b", {"1": "b"}, ["line 2: key 1 already set in map"]),
        ("true: a\nyes: b", {"true": "b"}, ["line 2: key true already set in map"]),
        ("<<: {a: 1}\na: 2", {"a": 2}, ['line 2: key "a" already set in map']),
        ("<<: [{a: 1}, {a: 2, b: 3}]", {"a": 1, "b": 3}, ['line 1: key "a" already set in map']),
        ("'<<': {a: 1}", {"<<": {"a": 1}}, []),
    ],
)
def test_a_key_that_is_said_again_is_named(text: str, value: Any, repeated: list[str]) -> None:
    """It takes effect, as in Kubernetes, and whoever asked for strictness is told."""
    found = read_yaml(text)
    assert (found.value, list(found.repeated)) == (value, repeated)


def test_of_several_documents_the_first_is_read() -> None:
    """A reader of one says that there are more, whatever they are; one of all does not take a broken one."""
    assert read_yaml("a: 1\n---\n{ broken") == YamlText({"a": 1}, more=True)
    assert read_yaml("# c\n---\na: 1\n") == YamlText({"a": 1})
    with pytest.raises(InvalidArgumentError, match="not valid YAML"):
        yaml_documents("a: 1\n---\n{ broken", what="it")


def test_what_an_alias_stands_for_is_a_value_of_its_own() -> None:
    """Nothing that is changed later shows at the anchor."""
    found = yaml_document("a: &a {x: [1]}\nb: *a")
    assert found["a"] == found["b"]
    assert found["a"] is not found["b"]
    assert found["a"]["x"] is not found["b"]["x"]


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ('{"a":{"b":1,"b":2},"c":[{"d":1},{"d":1,"d":2,"d":3}],"a":0}', ["a.b", "c[1].d", "a"]),
        ('{"a":"x:y:z","b":"{\\"c\\":1}"}', []),
        ("[]", []),
        ("1", []),
    ],
)
def test_fields_that_json_says_more_than_once_are_found(text: str, fields: list[str]) -> None:
    """By their paths, once each; colons in texts are none."""
    assert list(repeated_fields(text.encode(), json_document(text))) == fields


@given(
    st.recursive(
        st.none() | st.text('a:"\\', max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text('k:"', max_size=2), inner, max_size=3)
        ),
    )
)
def test_json_without_repeated_fields_has_none(value: Any) -> None:
    """Whatever its texts say."""
    text = json.dumps(value).encode()
    assert repeated_fields(text, json_document(text)) == ()


def test_a_key_that_is_no_text_is_not_told_in_full() -> None:
    """It may be as long as the document, and longer with aliases."""
    long = f"a: &a [{'word, ' * 10_000}]\n? [{'*a, ' * 10}]\n: 1\n"
    with pytest.raises(InvalidArgumentError, match="a key that is not a text") as refused:
        read_yaml(long)
    assert len(str(refused.value)) < 200


def test_yaml_is_read_as_kubernetes_reads_it() -> None:
    """Keys are texts, large numbers are floats, dates stay texts."""
    assert yaml_document(b"2: a\ntrue: b\nd: 2020-01-01\nx: 99999999999999999999999") == {
        "2": "a",
        "true": "b",
        "d": "2020-01-01",
        "x": 1e23,
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


@given(
    st.sampled_from(("y", "N", "on", "1:30", "017", "0o17", "1_000", "~", "=", "<<", "2020-01-01", ".inf"))
)
def test_text_that_looks_like_something_else_is_quoted(text: str) -> None:
    """Whoever reads it as Kubernetes does reads text."""
    assert yaml_document(to_yaml({text: text})) == {text: text}


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
    assert found == ["src/hanse/documents/yaml_text.py"]
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
        patch.setattr(json_text, "MAX_VALUES", bound)
        patch.setattr(json_text, "_PIECE", piece)
        text = json.dumps(value).encode()
        assert json_text._surely_too_many(text) == (max(commas(value), brackets(value)) > bound)
