"""YAML means here what it means to Kubernetes: a table of scalars and generated documents, read by both.

The other reader is a program on sigs.k8s.io/yaml, of the version that the control plane is built with.
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hanse.documents import read_yaml
from hanse.errors import InvalidArgumentError

HERE = Path(__file__).parent
BUILD = HERE / "build.sh"

WORDS = """
y Y yes Yes YES yEs n N no No NO on On ON off Off OFF true True TRUE tRue false null Null NULL ~ nul 1:30
1:30:45 190:20:30.15 2020-01-01 2020-1-1 2001-12-14t21:59:43.10-05:00 = << 0 00 07 08 09 017 0o17 0O17 0o
0o8 0x1F 0X1f 0xg 0x 0b101 0B11 0b2 0b -0b101 0b+1 0b-1 -017 +017 -0o17 -0x1f 1_000 1_ _1 1__0 0x_1 0_1
-_1 1_0.5 ._5 .5_0 .5__0 1e3 1E3 1e+3 1e-3 1. .5 -.5 +.5 .e5 . .. 1.e3 1e 1e400 -1e400 1e-400 .inf .Inf
.INF +.inf -.inf .nan .NaN inf Infinity nan + - -1 +1 -0 0.0 -0.0 1.0 100000000000000000000
9223372036854775807 9223372036854775808 18446744073709551615 18446744073709551616 -9223372036854775808
-9223372036854775809 +18446744073709551615 0xFFFFFFFFFFFFFFFF 0xFFFFFFFFFFFFFFFFFF 1e20 1e22 1.10 1,000
0.1 1e6 1234567.0 0.0001 0.00001 1e-7 v1 1.2.3 1Gi 100m 5s a:b :a a#b 1.5.2 0777 0800 0x1p3 ½
""".split()  # noqa: SIM905
NO_JSON = (".inf", ".Inf", ".INF", "+.inf", "-.inf", ".nan", ".NaN")
TAGS = ("", "!!str", "!!int", "!!float", "!!bool", "!!null", "!!binary", "!!timestamp", "!!map", "!foo", "!")
DOCUMENTS = (
    "a: !!binary aGk=", "a: !!binary /w==", "a: !!set {a, b}", "a: &x [1]\nb: *x", "a: &a [*a]", "a: *z",
    "a: &x 5\n*x : 6", "<<: {a: 1}\na: 2", "a: 1\n<<: {a: 2}", "a: &m {x: 1, y: 2}\nb: {<<: *m, x: 3}",
    "a: &m {x: 1}\nn: &n {w: 2, z: 3}\nb: {<<: [*m, *n]}", "b: {<<: []}", "b: {<<: 1}", "b: {<<: [1]}",
    "a: &l [{x: 1}]\nb: {<<: *l}", "b: {'<<': {a: 1}}", "a: 1\na: 2\na: 3",
    "a: {x: 1}\nb: 1\na:\n  z: 2\n  z: 3", "1: a\n1: b", "true: a\nyes: b", "~: a", "? [a]\n: b",
    "---\na: 1\n---\nb: 2", "---\n---\na: 1", "# c\n---\n# d\na: 1\n...\n", "a: 1\n---\n{ broken", "",
    "# x", "---", '{"a":\t1}', '{\n\t"a": 1}', "\ta: 1", "a:\n\tb: 1", "a:\tb", '{"a":1}',
    '{"a":"\\ud83d"}', "a: |+\n  x\n\n", "a: >\n  x\n  y\n", "a: b: c", "a: [", "a: 'x", "a: @x",
    "%YAML 1.1\n---\na: y", "\ufeffa: 1", "a: x\x07", "{a: 1, a: 2}", "1.5: a", "1e3: a", "0x10: a",
    "0.1: a", "1e21: a", "1234567.5: a", "1e39: a", ".inf: a", "18446744073709551615: a", "2020-01-01: a",
)  # fmt: skip


@pytest.fixture(scope="module")
def reader() -> Path:
    """The program that reads as Kubernetes does."""
    built = subprocess.run(["bash", BUILD], stdout=subprocess.PIPE, text=True, timeout=1700, check=True)
    return Path(built.stdout.splitlines()[-1]) / "yaml"


def read(reader: Path, texts: Sequence[str]) -> list[dict[str, Any]]:
    """Return what the program makes of texts."""
    lines = "".join(base64.b64encode(text.encode()).decode() + "\n" for text in texts)
    ran = subprocess.run([reader], input=lines, stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    return [json.loads(line) for line in ran.stdout.splitlines()]


def differences(reader: Path, texts: Sequence[str]) -> list[str]:
    """Return the texts that are read otherwise, with what both make of them."""
    found = []
    for text, real in zip(texts, read(reader, texts), strict=True):
        try:
            ours = read_yaml(text)
        except InvalidArgumentError as error:
            if "error" not in real:
                found.append(f"{text!r}: ours {error}, real {real}")
            continue
        repeated = [line.strip() for line in real.get("strict", "").splitlines()[1:]]
        same = "error" not in real and _text(ours.value) == _text(real["json"])
        if not same or list(ours.repeated) != repeated:
            found.append(f"{text!r}: ours {ours}, real {real}")
    return found


def _text(value: Any) -> str:
    """Return JSON in which a number of more than 64 bits is as a server keeps it."""

    def kept(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: kept(child) for name, child in value.items()}
        if isinstance(value, list):
            return [kept(child) for child in value]
        return float(value) if type(value) is int and not -(2**63) <= value < 2**63 else value

    return json.dumps(kept(value), sort_keys=True)


def test_scalars_are_those_of_kubernetes(reader: Path) -> None:
    """Each word as a value and as a key, plain, quoted and with each tag."""
    texts = [
        form.format(f"{tag} {word}".strip())
        for word in WORDS
        for tag in TAGS
        for form in ("a: {}", "- {}", "{}", "? {}\n: a")
    ]
    texts += [f"{quote}{word}{quote}" for word in WORDS for quote in "'\""]
    assert not differences(reader, texts)


def test_documents_are_those_of_kubernetes(reader: Path) -> None:
    """Anchors, merges, repeated keys, several documents, tabs, and what is no YAML."""
    assert not differences(reader, DOCUMENTS)


KEYS = st.sampled_from(("a", "b", "1", "1.5", "yes", "'1 x'", '"q"'))
LEAVES = st.sampled_from(WORDS).filter(lambda word: word not in NO_JSON) | st.text(
    "019_+-.eExobyn:", min_size=1, max_size=7
)


def _block(value: Any, indent: int) -> str:
    pad = "  " * indent
    if isinstance(value, list):
        if all(isinstance(each, tuple) for each in value) and value:
            return "".join(f"\n{pad}{key}:{_block(child, indent + 1)}" for key, child in value)
        return "".join(f"\n{pad}-{_block(child, indent + 1)}" for child in value) or " []"
    return f" {value}"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(
    st.lists(
        st.recursive(
            LEAVES, lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(KEYS, inner), max_size=3)
        ),
        min_size=20,
        max_size=40,
    )
)
def test_generated_documents_are_those_of_kubernetes(reader: Path, values: list[Any]) -> None:
    """Maps and lists of words and of texts that nearly are numbers, with repeated keys."""
    texts = [_block(value, 0).lstrip("\n ") + "\n" for value in values]
    assert not differences(reader, texts)
