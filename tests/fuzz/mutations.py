"""Values that break things, and small changes of bytes, texts and JSON.

Owns the tables and the mutations; all take the random generator, so that a seed gives the same inputs again.

Next: `tests.fuzz.surfaces`, which make requests of them.
"""

from __future__ import annotations

import json
from random import Random
from typing import Any, Final

import yaml

MAX_BODY: Final = 24 * 1024
"""Bytes of a body that mutations make; the costly ones below are larger."""

NUMBERS: Final = (
    "0",
    "1",
    "-1",
    "²",
    "٣",
    "1e3",
    "0x10",
    " 1",
    "1_000",
    "+1",
    "1.0",
    "NaN",
    "true",
    "9" * 19,
    "9" * 20,
    "9" * 400,
    "9" * 5000,
    "18446744073709551616",
    "9223372036854775807",
)

NAMES: Final = (
    "_",
    "core",
    ".",
    "..",
    "-",
    "a.b",
    "a/b",
    "a\0b",
    "a\nb",
    "\x7f",
    "é",
    "\ud800",
    "x" * 64,
    "x" * 254,
    "x" * 600,
    "A",
    "%2e",
    "%2F",
    "a%00b",
    "%ff",
    "default",
    "kube-system",
    "~",
    "*",
    "{}",
    "a b",
    "'",
    '"',
    "$patch",
    "metadata",
)

PATTERNS: Final = (
    "^(a+)+$",
    "(a|a)*b",
    "(.*a.*){20}$",
    "(?=x)",
    r"(a)\1",
    "a**",
    "(",
    "[",
    "x{1000}",
    ".{0,1000}x.{0,1000}y",
    "\\pL{20}",
    "(?i)^é",
    "(" * 500 + ")" * 500,
    "a{2}{3}",
    "\\Z",
    "(?P<n>a)",
    "^[a-z]([-a-z0-9]*[a-z0-9])?$",
)

QUANTITIES: Final = (
    "1e9999",
    "1e-9999",
    "9" * 100,
    "1Ei",
    "0.0000000000000001",
    "-0",
    "1m",
    "1.",
    ".",
    "1e",
    "²",
)

TIMES: Final = (
    "2020-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999999+23:59",
    "0000-00-00T00:00:00Z",
    "now",
    "",
)

SCALARS: Final = (
    None,
    True,
    False,
    0,
    1,
    -1,
    2**31,
    2**53,
    2**63 - 1,
    2**63,
    -(2**63),
    1.5,
    1e308,
    -0.0,
    "",
    " ",
    "x",
    "a" * 1000,
)

TEXTS: Final = (*NUMBERS, *NAMES, *PATTERNS, *QUANTITIES, *TIMES)


def nested(rng: Random, depth: int) -> Any:
    """A value of this depth, of maps or lists."""
    value: Any = rng.choice(SCALARS)
    for _ in range(depth):
        value = (
            [value] if rng.random() < 0.5 else {rng.choice(("a", "spec", "metadata", "properties")): value}
        )
    return value


def value(rng: Random) -> Any:
    """Some value."""
    kind = rng.random()
    if kind < 0.35:
        return rng.choice(TEXTS)
    if kind < 0.7:
        return rng.choice(SCALARS)
    if kind < 0.8:
        return nested(rng, rng.choice((1, 2, 5, 60, 150, 199, 200, 201, 260, 450, 900)))
    if kind < 0.9:
        return [rng.choice(SCALARS)] * rng.choice((0, 1, 2, 50, 1000))
    return {f"k{i}": rng.choice(SCALARS) for i in range(rng.choice((0, 1, 2, 50, 500)))}


def _places(node: Any, found: list[tuple[Any, Any]], depth: int = 0) -> None:
    if depth > 100 or len(found) > 2000:
        return
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in items:
        found.append((node, key))
        _places(child, found, depth + 1)


def _copy(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _copy(child) for key, child in node.items()}
    return [_copy(child) for child in node] if isinstance(node, list) else node


def mutate_json(rng: Random, document: Any, *, times: int = 0) -> Any:
    """A copy of the document with one to four places changed."""
    holder = [_copy(document)]
    for _ in range(times or rng.choice((1, 1, 1, 2, 4))):
        places: list[tuple[Any, Any]] = []
        _places(holder, places)
        node, key = rng.choice(places)
        kind = rng.random()
        if kind < 0.5:
            node[key] = value(rng)
        elif kind < 0.6 and isinstance(node, dict):
            del node[key]
        elif kind < 0.7:
            other, there = rng.choice(places)
            node[key] = _copy(other[there]) if there in other or isinstance(other, list) else None
        elif kind < 0.8 and isinstance(node, dict):
            node[rng.choice(TEXTS)] = node[key]
        elif kind < 0.9 and isinstance(node[key], str):
            node[key] = mutate_text(rng, node[key])
        elif isinstance(node[key], list) and node[key]:
            node[key] = node[key] * rng.choice((2, 3, 100))
        else:
            node[key] = [node[key]]
    return holder[0]


def mutate_text(rng: Random, text: str) -> str:
    """The text with something put in, taken out, repeated or replaced."""
    at = rng.randint(0, len(text))
    kind = rng.random()
    if kind < 0.3:
        return text[:at] + rng.choice(TEXTS) + text[at:]
    if kind < 0.5:
        return text[:at] + text[at + rng.randint(1, 4) :]
    if kind < 0.6:
        return text * rng.choice((2, 10, 300))
    if kind < 0.8:
        return text[:at] + rng.choice(list("/.,:;=!()[]{}%&?#~*\\'\" \t\n\0²é-_")) + text[at:]
    return rng.choice(TEXTS)


def mutate_bytes(rng: Random, data: bytes) -> bytes:
    """The bytes with some changed, cut, put in or repeated."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randint(0, len(out))
        kind = rng.random()
        if kind < 0.4 and at < len(out):
            out[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randint(0, 255)))
        elif kind < 0.6:
            out[at:at] = bytes(rng.randint(0, 255) for _ in range(rng.choice((1, 2, 16))))
        elif kind < 0.75:
            del out[at : at + rng.choice((1, 2, 16, 100))]
        elif kind < 0.9:
            piece = bytes(out[at : at + rng.choice((1, 8, 64))])
            out[at:at] = piece * rng.choice((1, 10, 200))
        else:
            del out[at:]
    return bytes(out[:MAX_BODY])


def costly(rng: Random) -> bytes:
    """A small text that is costly for who reads it without bounds."""
    depth = rng.choice((199, 201, 450, 900, 1100, 25_000))
    laughs = [b"l0: &l0 [x]"] + [
        b"l%d: &l%d [%s]" % (i, i, b",".join([b"*l%d" % (i - 1)] * 9)) for i in range(1, 9)
    ]
    return rng.choice(
        (
            b"[" * depth,
            b"[" * depth + b"]" * depth,
            b'{"a":' * depth + b"1" + b"}" * depth,
            b"- " * depth,
            b"{a: " * depth,
            b"? " * depth,
            b"\n".join(laughs),
            b"a: &a [*a]",
            b"&a {<<: *a}",
            b"!!int x",
            b"!!binary aGk=",
            b"!!set {a}",
            b"1: 2",
            b"null: 1",
            b"? [a]\n: b",
            b".nan",
            b"9" * 5000,
            b"\xff\xfe\x00",
            b"%YAML 3.0\n--- a",
            b"--- a\n--- b",
            b"a: " + b"x" * 20_000,
            b'{"a":' + b"9" * 400 + b"}",
            b'"\\ud800"',
            b"{" + b",".join(b'"k%d":0' % i for i in range(4000)) + b"}",
            b"[" + b"0," * 8000 + b"0]",
            b"",
            b"null",
            b"- &a " + b"x" * 20_000 + b"\n" + b"- *a\n" * 400,
        )
    )


def encode(rng: Random, document: Any) -> tuple[bytes, str]:
    """A document as JSON, or now and then as YAML, and its media type."""
    if rng.random() < 0.15:
        try:
            text = yaml.dump(document, Dumper=yaml.CSafeDumper, allow_unicode=True)
            return text.encode(errors="surrogatepass")[:MAX_BODY], "application/yaml"
        except (yaml.YAMLError, RecursionError, UnicodeError, MemoryError):
            pass
    try:
        text = json.dumps(document)
    except (RecursionError, ValueError):
        text = "null"
    return text.encode(errors="surrogatepass"), "application/json"
