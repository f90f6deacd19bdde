"""Quantities parse exactly and print canonically."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hanse.errors import InvalidArgumentError
from hanse.kube.model.quantity import Family, Quantity


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0.5", "500m"),
        ("1000m", "1"),
        ("1500m", "1500m"),
        ("1000", "1k"),
        ("1.5Gi", "1536Mi"),
        ("2048Mi", "2Gi"),
        ("1023Ki", "1023Ki"),
        ("0.1Ki", "102400m"),
        ("1e3", "1e3"),
        ("12E", "12E"),
        ("1E2", "100"),
        ("-5Gi", "-5Gi"),
        ("+.5", "500m"),
        ("5.", "5"),
        ("0Gi", "0"),
        ("1n", "1n"),
        ("0.1n", "1n"),
        ("100u", "100u"),
    ],
)
def test_canonical_form(text: str, canonical: str) -> None:
    """No fraction, the largest suffix, the family that it was written in."""
    assert str(Quantity.parse(text)) == canonical


@pytest.mark.parametrize(
    "text", ["", "1 Gi", "Gi", "1gi", "1.5.5", "--1", "1e", "0x1", "1KiB", "½", True, None]
)
def test_what_is_not_a_quantity_is_refused(text: str) -> None:
    """Bad syntax and other types are InvalidArgumentError."""
    with pytest.raises(InvalidArgumentError, match="not a quantity"):
        Quantity.parse(text)


def test_json_numbers_are_quantities() -> None:
    """A number in JSON means the same as its text."""
    assert Quantity.parse(2) == Quantity.parse("2")
    assert str(Quantity.parse(0.5)) == "500m"


def test_rounding_is_up() -> None:
    """Whole and thousandth amounts round up, so that capacity is never overstated."""
    amount = Quantity.parse("1500001u")
    assert (amount.as_int(), amount.milli(), amount.value) == (2, 1501, Fraction(1500001, 10**6))


FAMILIES = st.sampled_from(["decimal", "binary", "exponent"])


@given(st.integers(-(10**27), 10**27), FAMILIES)
@example(3124999000000001, "binary")
def test_the_canonical_form_parses_to_the_same(nanos: int, family: Family) -> None:
    """Printing and parsing keeps the amount, but for binary amounts that are not whole (rounded up), and the
    form, but for binary amounts that have no suffix: those are decimal when they are read, in Kubernetes too.
    """
    amount = Quantity(nanos, family)
    again = Quantity.parse(str(amount))
    if family == "binary" and abs(nanos) >= 1024 * 10**9:
        assert abs(again.nanos) == -(-abs(nanos) // 10**9) * 10**9
    else:
        assert again == amount
    if family != "binary" or str(amount).endswith("i"):
        assert str(again) == str(amount)


@given(st.integers(-(10**20), 10**20), st.integers(-(10**20), 10**20))
def test_arithmetic_is_exact(a: int, b: int) -> None:
    """Adding and subtracting are those of the amounts, order too."""
    left, right = Quantity(a), Quantity(b, "binary")
    assert (left + right).nanos == a + b
    assert (left - right).nanos == a - b
    assert (left < right) == (a < b)
    assert left * 3 == left + left + left
    assert left - left == Quantity(0)
