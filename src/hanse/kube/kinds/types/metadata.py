"""Types of apimachinery: label selectors, and the metadata of templates.

Pure. Next: `hanse.kube.kinds.types.pods`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from hanse.kube.kinds.types.checks import Check, each, entries, nothing, struct, text
from hanse.kube.model.fielderrors import FieldError, forbidden, invalid, required
from hanse.kube.model.names import label_value_problems, qualified_name_problems

LABEL_KEY: Final = text(qualified_name_problems)
LABEL_VALUE: Final = text(label_value_problems)
LABELS: Final = entries(LABEL_KEY, LABEL_VALUE)
ANNOTATION_KEY: Final = text(lambda key: qualified_name_problems(key.lower()))


def requirement(*, comparing: bool = False, values: Check | None = LABEL_VALUE) -> Check:
    """Return the check of a requirement of a selector; `comparing` ones know Gt and Lt."""

    def check(value: Any, where: str) -> Iterator[FieldError]:
        operator, given = value.get("operator") or "", value.get("values") or []
        if operator in ("In", "NotIn"):
            if not given:
                message = "must be specified when `operator` is 'In' or 'NotIn'"
                yield required(f"{where}.values", message)
        elif operator in ("Exists", "DoesNotExist"):
            if given:
                message = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                yield forbidden(f"{where}.values", message)
        elif comparing and operator in ("Gt", "Lt"):
            if len(given) != 1:
                message = "must be specified single value when `operator` is 'Lt' or 'Gt'"
                yield required(f"{where}.values", message)
        else:
            yield invalid(f"{where}.operator", operator, "not a valid selector operator")
        yield from LABEL_KEY(value.get("key") or "", f"{where}.key")
        if values is not None:
            yield from each(values)(given, f"{where}.values")

    return check


TYPES: Final[dict[str, Check]] = {
    "meta.v1.LabelSelector": struct(matchLabels=LABELS),
    "meta.v1.ObjectMeta": nothing,
    "meta.v1.LabelSelectorRequirement": requirement(),
}
"""The checks of these types, by their short names."""
