"""What a plain word of YAML is: text, a number, a truth value or nothing, as Kubernetes reads it.

Kubernetes reads YAML with sigs.k8s.io/yaml, which decodes with go.yaml.in/yaml/v2 and makes JSON of the
result: mostly YAML 1.2, and of YAML 1.1 `yes`, `on`, `y` and the like, underscores in numbers, and octal
numbers with a leading 0. `1:30`, dates and `=` are text. `resolve` says what a plain scalar is, `tagged` what
one with a tag is, `key_text` how a key of a map is written in JSON. Pure functions. Next:
`hanse.documents.yaml_text`.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct
from typing import Any, Final, TypeAlias

Scalar: TypeAlias = str | int | float | bool | None

PREFIX: Final = "tag:yaml.org,2002:"
"""Of the tags that are written as `!!int`."""

_WORDS: Final[dict[str, Scalar]] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
_NUMERIC: Final = frozenset("0123456789+-")
_INTEGER: Final = re.compile(
    r"(?P<sign>[-+]?)(?:0[xX](?P<hex>[0-9a-fA-F]+)|0[bB](?P<binary>[01]+)|0[oO]?(?P<octal>[0-7]+)"
    r"|(?P<decimal>0|[1-9][0-9]*))"
)
_BASES: Final = {"hex": 16, "binary": 2, "octal": 8, "decimal": 10}
_SIGNED_BINARY: Final = re.compile(r"0b([-+][01]+)")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SEPARATING: Final = re.compile(r"(?<=[0-9])_(?=[0-9])")
_DATE: Final = re.compile(
    r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}"
    r"([Tt][0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}(\.[0-9]+)?(Z|[-+][0-9]{2}:[0-9]{2})"
    r"| [0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}(\.[0-9]+)?)?"
)
_EXPONENT_FROM = 6
"""Digits before the point from which on Go writes an exponent."""

_LONGEST = 400
"""Characters of a number; a longer text of digits is read as text rather than worked at for long."""


def resolve(text: str) -> Scalar:
    """Return what a plain scalar without a tag is."""
    if text in _WORDS:
        return _WORDS[text]
    first = text[0]
    if first == ".":
        return _floating(_SEPARATING.sub("", text), text)
    if first not in _NUMERIC or len(text) > _LONGEST:
        return text
    plain = text.replace("_", "")
    whole = _integer(plain)
    return _floating(plain, text) if whole is None else whole


def _integer(plain: str) -> int | None:
    """Return a whole number of at most 64 bits, None for what is none."""
    found = _INTEGER.fullmatch(plain)
    if found is None:
        signed = _SIGNED_BINARY.fullmatch(plain)
        number = int(signed[1], 2) if signed else None
        return number if number is not None and -(2**63) <= number < 2**63 else None
    base = next(name for name in _BASES if found[name] is not None)
    number = int(found["sign"] + found[base], _BASES[base])
    limit = 2**63 if found["sign"] else 2**64
    return number if -(2**63) <= number < limit else None


def _floating(plain: str, text: str) -> Scalar:
    """Return a number with a point or an exponent; the text if it is none, or too large."""
    if not _FLOAT.fullmatch(plain):
        return text
    number = float(plain)
    return text if math.isinf(number) else number


def tagged(tag: str, text: str) -> Scalar:
    """Return what a scalar with a tag is. A tag of somebody's own says nothing. Raises ValueError."""
    name = tag.removeprefix(PREFIX)
    if name == "binary":
        try:
            data = base64.b64decode(text.replace("\n", "").replace("\r", ""), validate=True)
        except binascii.Error:
            raise ValueError("!!binary value contains invalid base64 data") from None
        # As in Go each byte that is no UTF-8 is one replacement character.
        return "".join(
            "\ufffd" if 0xD800 <= ord(char) < 0xE000 else char
            for char in data.decode("utf-8", "surrogateescape")
        )
    if name not in ("bool", "int", "float", "null", "timestamp"):
        return text
    value = text if name == "timestamp" else resolve(text)
    if name == "float" and type(value) is int and value < 2**63:
        return float(value)
    fits = {
        "bool": isinstance(value, bool),
        "int": type(value) is int,
        "float": isinstance(value, float),
        "null": value is None,
        "timestamp": bool(_DATE.fullmatch(text)),
    }
    if not fits[name]:
        raise ValueError(f"cannot decode {text[:40]!r} as a !!{name}")
    return value


def json_number(value: Any) -> Any:
    """Return a number as it is read back from Go's JSON: `1e3` and `5.0` are whole. Raises ValueError."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"the number {value}, which JSON does not have")
        if value.is_integer() and abs(value) < 2**63:
            return int(value)
    return value


def key_text(key: Any) -> str:
    """Return a key of a map as JSON has it. Raises ValueError for one that is no text and no number."""
    if isinstance(key, str):
        return key
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, int) and key < 2**63:
        return str(key)
    if isinstance(key, float):
        return _float_text(key)
    raise ValueError(f"a key that is not a text: {str(key)[:80]}")


def _float_text(value: float) -> str:
    """Return the shortest text of a number in single precision, as Go's `%g` writes it."""
    if math.isnan(value):
        return ".nan"
    try:
        single = struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        single = math.copysign(math.inf, value)
    if math.isinf(single):
        return ".inf" if single > 0 else "-.inf"
    digits = next(
        n for n in range(1, 18) if struct.unpack("f", struct.pack("f", float(f"{single:.{n}g}")))[0] == single
    )
    mantissa, _, exponent = f"{single:.{digits - 1}e}".partition("e")
    power = int(exponent)
    if power < -4 or power >= _EXPONENT_FROM:
        return f"{mantissa}e{power:+03d}"
    return f"{single:.{max(0, digits - 1 - power)}f}"
