"""What is said of an object that was applied, though something about it is not as it should be.

Owns `Caveat`: a reason and a message of a sync state whose phase is APPLIED; and the reasons that there are.
A caveat stands until the next apply.

A value. Next: `hanse_syncer.report.transitions`, which writes it down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hanse.federation.contention import VALUES_REWRITTEN

OWNERSHIP_UNKNOWN: Final = "OwnershipUnknown"
FIELDS_NOT_SERVED: Final = "FieldsNotServed"
APPLIED_BY_PATCH: Final = "AppliedByPatch"
REASONS: Final = frozenset({OWNERSHIP_UNKNOWN, FIELDS_NOT_SERVED, APPLIED_BY_PATCH, VALUES_REWRITTEN})


@dataclass(frozen=True, slots=True)
class Caveat:
    """One CamelCase word, and a sentence for people. `quoted` is whether it has values of the object."""

    reason: str
    message: str
    quoted: bool = False
