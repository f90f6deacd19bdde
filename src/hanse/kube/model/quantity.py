"""Resource quantities such as '250m', '1.5Gi' and '2e3', exactly.

Owns parsing, arithmetic, comparison and the canonical form. Values are whole nanos, so nothing is ever
rounded but what is finer than a nano (up, as Kubernetes does). Immutable; safe from any task.

The format is that of Kubernetes' resource.Quantity: the canonical form has no fraction and the largest
possible suffix, and keeps the family of suffixes that it was written in.

Next: `hanse.kube.kinds.decoding` for who uses it here; the scheduler for capacity.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, total_ordering
from typing import Literal

from hanse.errors import InvalidArgumentError, shown

Family = Literal["decimal", "binary", "exponent"]

NANOS = 10**9
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BY_EXPONENT = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
MAX_LENGTH = 64
"""Characters of a quantity. Its exponent has at most two digits."""

_PATTERN = re.compile(r"([+-]?)(\d+\.?\d*|\.\d+)(?:([KMGTPE]i|[numkMGTPE])|[eE]([+-]?\d{1,2}))?", re.ASCII)
_MESSAGE = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


@total_ordering
@dataclass(frozen=True, slots=True, eq=False)
class Quantity:
    """An amount in `nanos` (1e-9 of the unit); `family` says which suffixes it is written with.

    Two quantities are equal if their amounts are: '1' == '1000m' == '1e0'.
    """

    nanos: int
    family: Family = "decimal"

    @classmethod
    def parse(cls, text: str | int | float) -> Quantity:
        """Return the quantity that the text (or JSON number) says.

        Raises InvalidArgumentError if it is not one.
        """
        if isinstance(text, bool) or not isinstance(text, str | int | float):
            raise InvalidArgumentError(f"{shown(text)} is not a quantity: {_MESSAGE}", reason="BAD_QUANTITY")
        return _parse(text if isinstance(text, str) else repr(text))

    @property
    def value(self) -> Fraction:
        """The amount, exactly."""
        return Fraction(self.nanos, NANOS)

    def as_int(self) -> int:
        """Return the amount as a whole number, rounded up."""
        return -(-self.nanos // NANOS)

    def milli(self) -> int:
        """Return the amount in thousandths, rounded up."""
        return -(-self.nanos // (NANOS // 1000))

    def __add__(self, other: Quantity) -> Quantity:
        return Quantity(self.nanos + other.nanos, self.family if self.nanos else other.family)

    def __sub__(self, other: Quantity) -> Quantity:
        return Quantity(self.nanos - other.nanos, self.family if self.nanos else other.family)

    def __mul__(self, factor: int) -> Quantity:
        return Quantity(self.nanos * factor, self.family)

    def __neg__(self) -> Quantity:
        return Quantity(-self.nanos, self.family)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantity) and self.nanos == other.nanos

    def __lt__(self, other: Quantity) -> bool:
        return self.nanos < other.nanos

    def __hash__(self) -> int:
        return hash(self.nanos)

    def __bool__(self) -> bool:
        return self.nanos != 0

    def __str__(self) -> str:
        if not self.nanos:
            return "0"
        if self.family == "binary" and abs(self.nanos) >= 1024 * NANOS:
            return self._binary()
        exponent = -9
        mantissa = self.nanos
        while exponent < 18 and mantissa % 1000 == 0:
            mantissa //= 1000
            exponent += 3
        if self.family == "exponent":
            return f"{mantissa}e{exponent}" if exponent else str(mantissa)
        return f"{mantissa}{_BY_EXPONENT[exponent]}"

    def _binary(self) -> str:
        mantissa = self.as_int() if self.nanos > 0 else -(-self).as_int()
        for suffix in ("", *_BINARY):
            if mantissa % 1024 or suffix == "Ei":
                return f"{mantissa}{suffix}"
            mantissa //= 1024
        raise AssertionError("unreachable: Ei is the last suffix")


@lru_cache(maxsize=4096)
def _parse(text: str) -> Quantity:
    match = _PATTERN.fullmatch(text) if len(text) <= MAX_LENGTH else None
    if match is None:
        raise InvalidArgumentError(
            f"{shown(text)} is not a quantity of at most {MAX_LENGTH} characters: {_MESSAGE}",
            reason="BAD_QUANTITY",
        )
    sign, digits, suffix, exponent = match.groups()
    amount = Fraction(digits.rstrip(".") or "0")
    family: Family = "decimal"
    if exponent is not None:
        family = "exponent"
        amount *= Fraction(10) ** int(exponent)
    elif suffix in _BINARY:
        family = "binary"
        amount *= 2 ** _BINARY[suffix]
    else:
        amount *= Fraction(10) ** _DECIMAL[suffix or ""]
    scaled = amount * NANOS
    nanos = -(-scaled.numerator // scaled.denominator)
    return Quantity(-nanos if sign == "-" else nanos, family)
