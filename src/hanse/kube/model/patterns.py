"""Regular expressions that users write, in RE2: the engine of Kubernetes' own, in which none backtracks.

Owns compiling them and what they may cost: the size of a pattern, of its program, and the work of matching,
which is at most program size times text. Compiled patterns are kept, the last few hundred of them. Pure, safe
from any task. Next: `hanse.kube.validation.schema`, which matches; `hanse.kube.kinds.fields.crds`, which
refuses.
"""

from __future__ import annotations

import functools
from typing import Any

import re2

from hanse.documents import TOO_LARGE
from hanse.errors import InvalidArgumentError

MAX_PATTERN = 4096
"""Characters of one pattern."""

MAX_PROGRAM = 10_000
"""Instructions that RE2 makes of one pattern: `.{0,1000}` has 9,000, the patterns in use some hundred."""

MAX_WORK = 64_000_000
"""Instructions times bytes that the patterns of one object may cost at worst, all together: about 50 ms."""

MAX_CHECKS = 250_000
"""Values of an object times the schemas that they are checked against, `enum` and `anyOf` one by one."""

_MEMORY = 1024 * 1024


@functools.lru_cache(maxsize=128)
def _compiled(pattern: str) -> Any:
    """Return the compiled pattern, or what is wrong with it as text."""
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = _MEMORY
    try:
        found = re2.compile(pattern, options)
    except (re2.error, UnicodeEncodeError) as error:
        said = error.args[0] if error.args else error
        text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
        return f"the pattern is not valid in RE2: {text}"
    if found.programsize > MAX_PROGRAM:
        return f"the pattern makes {found.programsize} instructions, more than {MAX_PROGRAM}: repeat less"
    return found


@functools.lru_cache(maxsize=4096)
def _examined(pattern: str) -> tuple[str, int]:
    found = _compiled(pattern)
    return (found, 0) if isinstance(found, str) else ("", int(found.programsize))


def examined(pattern: str) -> tuple[str, int]:
    """Return what is wrong with a pattern, "" for nothing, and how many instructions it has."""
    if len(pattern) > MAX_PATTERN:
        return f"the pattern has {len(pattern)} characters, more than {MAX_PATTERN}", 0
    return _examined(pattern)


def pattern_problem(pattern: str) -> str:
    """Return what is wrong with a pattern; "" if it can be used."""
    return examined(pattern)[0]


class Work:
    """What validating one object may still cost. Belongs to one call."""

    def __init__(self) -> None:
        self._checks = MAX_CHECKS
        self._steps = MAX_WORK
        self._programs: dict[str, Any] = {}  # as many as one CRD may have: more than are kept for all

    def check(self, count: int = 1) -> None:
        """Count checks. Raises InvalidArgumentError when there were too many."""
        self._checks -= count
        if self._checks < 0:
            raise InvalidArgumentError(
                f"the schema needs more than {MAX_CHECKS} checks for this object: make the object smaller, "
                "or enum, anyOf, oneOf and allOf of its schema",
                reason=TOO_LARGE,
            )

    def mismatch(self, pattern: str, value: str) -> str:
        """Return why a value does not pass a pattern; "" if it matches somewhere in it."""
        compiled = self._programs.get(pattern)
        if compiled is None:
            problem = pattern_problem(pattern)
            if problem:
                return problem
            compiled = self._programs[pattern] = _compiled(pattern)
        encoded = value.encode(errors="surrogatepass")
        self._steps -= int(compiled.programsize) * len(encoded)
        if self._steps < 0:
            return f"matching '{pattern}' would take too long: at most {MAX_WORK} steps for one object"
        return "" if compiled.search(encoded) is not None else f"should match '{pattern}'"
