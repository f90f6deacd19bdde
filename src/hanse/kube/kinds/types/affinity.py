"""Types of placing Pods on nodes: node selectors, affinity, tolerations, spreading, taints.

Pure. Next: `hanse.kube.kinds.types.pods`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from hanse.kube.kinds.types.checks import POSITIVE, Check, Given, Plain, choice, each, struct, text, within
from hanse.kube.kinds.types.metadata import LABEL_KEY, requirement
from hanse.kube.model.fielderrors import FieldError, duplicate, invalid, not_supported, required
from hanse.kube.model.names import label_problems, label_value_problems, subdomain_problems
from hanse.kube.model.objects import mapping, sequence
from hanse.numbers import whole_number

_EFFECTS: Final = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_WEIGHT: Final = within(1, 100, "must be in the range 1-100")


def _field_requirement(value: Any, where: str) -> Iterator[FieldError]:
    values = value.get("values") or []
    if value.get("operator") in ("In", "NotIn"):
        if len(values) != 1:
            message = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
            yield required(f"{where}.values", message)
    else:
        yield invalid(f"{where}.operator", value.get("operator"), "not a valid selector operator")
    if value.get("key") != "metadata.name":
        yield invalid(f"{where}.key", value.get("key"), "not a valid field selector key")
        return
    for index, name in enumerate(values):
        for problem in subdomain_problems(name):
            yield invalid(f"{where}.values[{index}]", name, problem)


NODE_TERM: Final = struct(
    matchExpressions=each(requirement(comparing=True)), matchFields=each(_field_requirement)
)
_LOOSE_TERM: Final = struct(
    matchExpressions=each(requirement(comparing=True, values=None)), matchFields=each(_field_requirement)
)


def _toleration(value: Any, where: str) -> Iterator[FieldError]:
    key, operator = value.get("key") or "", value.get("operator") or ""
    said = value.get("value") or ""
    if not key and operator != "Exists":
        message = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        yield invalid(f"{where}.operator", operator, message)
    if value.get("tolerationSeconds") is not None and value.get("effect") != "NoExecute":
        message = "effect must be 'NoExecute' when `tolerationSeconds` is set"
        yield invalid(f"{where}.effect", value.get("effect", ""), message)
    if operator in ("", "Equal"):
        problems = label_value_problems(said)
        if problems:
            yield invalid(f"{where}.operator", said, ";".join(problems))
    elif operator == "Exists":
        if said:
            yield invalid(f"{where}.operator", said, "value must be empty when `operator` is 'Exists'")
    elif operator in ("Lt", "Gt"):
        number = whole_number(said.removeprefix("-"))
        if number is None or str(number) != said.removeprefix("-") or said == "-0":
            yield invalid(f"{where}.value", said, "must be a valid decimal integer in canonical form")
    else:
        yield not_supported(f"{where}.operator", operator, ("Equal", "Exists"))


def _spread(value: Any, where: str) -> Iterator[FieldError]:
    least = value.get("minDomains")
    if least is not None and value.get("whenUnsatisfiable") != "DoNotSchedule":
        message = "can only use minDomains if whenUnsatisfiable=DoNotSchedule"
        yield invalid(f"{where}.minDomains", least, message)
    yield from match_label_keys(value, where, merged=False)


def spreads(value: Any, where: str) -> Iterator[FieldError]:
    """Yield the constraints that are there twice."""
    seen: list[tuple[Any, Any]] = []
    for index, item in enumerate(value):
        pair = (item.get("topologyKey"), item.get("whenUnsatisfiable"))
        if pair in seen:
            yield duplicate(f"{where}[{index}].{{topologyKey, whenUnsatisfiable}}", list(pair))
        seen.append(pair)


def match_label_keys(value: Any, where: str, *, merged: bool) -> Iterator[FieldError]:
    """Yield what is wrong with the keys of labels that are taken from the Pod itself.

    `merged` says that the member adds them to the selector when a Pod is made, where a template may not name
    them again.
    """
    keys, other = sequence(value, "matchLabelKeys"), sequence(value, "mismatchLabelKeys")
    selector = value.get("labelSelector")
    for field, names in (("matchLabelKeys", keys), ("mismatchLabelKeys", other)):
        if names and selector is None:
            yield forbidden_keys(f"{where}.{field}")
        for index, key in enumerate(names):
            yield from LABEL_KEY(key, f"{where}.{field}[{index}]")
    seen = set(mapping(selector, "matchLabels"))
    for index, expression in enumerate(sequence(selector, "matchExpressions")):
        key = expression.get("key")
        if key in keys and key in seen:
            yield invalid(f"{where}[{index}]", key, "exists in both matchLabelKeys and labelSelector")
        seen.add(key)
    for index, key in enumerate(keys):
        if key in other:
            message = "exists in both matchLabelKeys and mismatchLabelKeys"
            yield invalid(f"{where}.matchLabelKeys[{index}]", key, message)


def forbidden_keys(where: str) -> FieldError:
    """Return the error for keys that stand without a selector."""
    return FieldError(where, "FieldValueForbidden", "must not be specified when labelSelector is not set")


def _pod_term(value: Any, where: str) -> Iterator[FieldError]:
    yield from match_label_keys(value, where, merged=True)


def _required_selector(value: Any, where: str) -> Iterator[FieldError]:
    """Yield the error for a required affinity to nodes without terms."""
    chosen = value.get("requiredDuringSchedulingIgnoredDuringExecution")
    at = f"{where}.requiredDuringSchedulingIgnoredDuringExecution"
    if chosen is None:
        return
    if not chosen.get("nodeSelectorTerms"):
        yield required(f"{at}.nodeSelectorTerms", "must have at least one node selector term")
    for index, term in enumerate(sequence(chosen, "nodeSelectorTerms")):
        yield from NODE_TERM(term, f"{at}.nodeSelectorTerms[{index}]")


def _preferred(value: Any, where: str) -> Iterator[FieldError]:
    yield from _WEIGHT(value.get("weight", 0), f"{where}.weight")
    yield from _LOOSE_TERM(mapping(value, "preference"), f"{where}.preference")


def _weighted(value: Any, where: str) -> Iterator[FieldError]:
    yield from _WEIGHT(value.get("weight", 0), f"{where}.weight")


def _volume_affinity(value: Any, where: str) -> Iterator[FieldError]:
    chosen = value.get("required")
    if chosen is None:
        yield required(f"{where}.required", "must specify required node constraints")
        return
    if not chosen.get("nodeSelectorTerms"):
        yield required(f"{where}.required.nodeSelectorTerms", "must have at least one node selector term")
    for index, term in enumerate(sequence(chosen, "nodeSelectorTerms")):
        yield from NODE_TERM(term, f"{where}.required.nodeSelectorTerms[{index}]")


TYPES: Final[dict[str, Check]] = {
    "core.v1.NodeAffinity": struct(_required_selector),
    "core.v1.PodAffinityTerm": struct(
        _pod_term, needs="topologyKey", topologyKey=LABEL_KEY, namespaces=each(text(label_problems))
    ),
    "core.v1.PreferredSchedulingTerm": struct(_preferred),
    "core.v1.Taint": struct(
        key=Plain(LABEL_KEY),
        value=text(label_value_problems),
        effect=Given(choice(*_EFFECTS)),
        needs="effect",
    ),
    "core.v1.Toleration": struct(_toleration, key=LABEL_KEY, effect=choice(*_EFFECTS)),
    "core.v1.TopologySpreadConstraint": struct(
        _spread,
        needs="topologyKey",
        maxSkew=Plain(POSITIVE, 0),
        minDomains=Given(POSITIVE),
        whenUnsatisfiable=Plain(choice("DoNotSchedule", "ScheduleAnyway")),
        nodeAffinityPolicy=Given(choice("Honor", "Ignore")),
        nodeTaintsPolicy=Given(choice("Honor", "Ignore")),
    ),
    "core.v1.VolumeNodeAffinity": struct(_volume_affinity),
    "core.v1.WeightedPodAffinityTerm": struct(_weighted, needs="podAffinityTerm"),
}
"""The checks of these types, by their short names."""
