"""Patterns of schemas run in RE2 and cost what is said at most."""

from __future__ import annotations

import pytest

from hanse.errors import InvalidArgumentError
from hanse.kube.merge.schema import Schema, SchemaSet
from hanse.kube.model.patterns import (
    MAX_CHECKS,
    MAX_PATTERN,
    MAX_PROGRAM,
    MAX_WORK,
    Work,
    _compiled,
    pattern_problem,
)
from hanse.kube.validation.schema import schema_errors


def schema(**spec: object) -> Schema:
    """The schema of a custom kind with one field `spec`."""
    raw = {"type": "object", "properties": {"spec": spec}}
    found = SchemaSet.builtin().with_kind(group="e.io", version="v1", kind="E", openapi_v3_schema=raw)
    result = found.lookup("e.io", "v1", "E")
    assert result is not None
    return result


def problems(value: object, **spec: object) -> list[str]:
    """What is wrong with a value of the field."""
    return [str(error) for error in schema_errors({"spec": value}, schema(**spec))]


def test_a_pattern_that_backtracks_elsewhere_takes_no_time() -> None:
    """RE2 matches in time that grows with the text only."""
    assert problems("a" * 50_000 + "!", type="string", pattern="^(a+)+$")
    assert not problems("a" * 50_000, type="string", pattern="^(a+)+$")


@pytest.mark.parametrize(
    "pattern", [r"(?=x)", r"(a)\1", r"a**", "(", "x{2000}", "(?<!a)b", r"\Z", "[", "a" * 5000]
)
def test_what_re2_does_not_take_is_a_problem(pattern: str) -> None:
    """Look-around, back references, broken syntax and endless repeats are named."""
    assert pattern_problem(pattern)
    assert problems("x", type="string", pattern=pattern)


def test_patterns_have_a_size() -> None:
    """Both bounds are in the messages."""
    assert str(MAX_PATTERN) in pattern_problem("a" * (MAX_PATTERN + 1))
    assert str(MAX_PROGRAM) in pattern_problem("x{1000}" * 11)
    assert pattern_problem("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$") == ""


def test_the_work_of_one_object_is_bounded() -> None:
    """A large pattern over a long text is refused rather than matched."""
    found = problems(
        ["xy" * 5_000] * 10, type="array", items={"type": "string", "pattern": ".{0,900}z.{0,90}q"}
    )
    assert any(str(MAX_WORK) in problem for problem in found)


def test_a_pattern_is_compiled_once_for_an_object() -> None:
    """More patterns than are kept for all objects are not compiled again for each of its values."""
    items = {"type": "string", "oneOf": [{"pattern": f"^r{number}(a|b)*$"} for number in range(200)]}
    before = _compiled.cache_info().misses
    assert not problems([f"r{number}ab" for number in range(50)], type="array", items=items)
    assert _compiled.cache_info().misses - before <= 2 * 200


def test_the_checks_of_one_object_are_bounded() -> None:
    """Many values times many alternatives are refused, with the bound."""
    items = {"anyOf": [{"enum": [f"e{i}" for i in range(1000)]}] * 10}
    with pytest.raises(InvalidArgumentError, match=str(MAX_CHECKS)):
        problems(["x"] * 1000, type="array", items=items)
    work = Work()
    work.check(MAX_CHECKS)
    with pytest.raises(InvalidArgumentError):
        work.check()
