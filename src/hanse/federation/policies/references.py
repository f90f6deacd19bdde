"""What a policy names that is not there: clusters that nobody has joined, kinds that nobody serves.

Owns `unresolved`. Nothing of it is an error: a cluster can join later, and a CustomResourceDefinition can
come after the policy. But one wrong letter empties clusters, so whoever writes the policy is told at once,
with what may have been meant, and its status says so for as long as it holds.

Pure functions. Next: `hanse.federation.policies.validation` for what is an error.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from hanse.errors import HanseError
from hanse.federation.propagation import placeable
from hanse.kube.kinds.resource_info import ResourceInfo
from hanse.kube.model.objects import Object, mapping, parse_api_version, sequence
from hanse.kube.model.selectors import LabelSelector

_EVERY_OTHER_CLUSTER: Final = "*"
MAX_UNRESOLVED: Final = 20
"""How many are named: they are headers of an answer, and conditions."""


@dataclass(frozen=True, slots=True)
class Known:
    """What policies can name: the labels of each cluster by its name, and by group and name the plural of
    each kind and the versions in which it is served; of a kind without versions they are not known."""

    clusters: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    kinds: Mapping[tuple[str, str], str] = field(default_factory=dict)
    versions: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)


def kinds_of(resources: Iterable[ResourceInfo]) -> dict[tuple[str, str], str]:
    """Return the plural of each kind that is served, by group and name."""
    return {(info.group, info.kind): info.plural for info in resources}


def versions_of(resources: Iterable[ResourceInfo]) -> dict[tuple[str, str], frozenset[str]]:
    """Return the versions of each kind that is served, by group and name."""
    found: dict[tuple[str, str], frozenset[str]] = {}
    for info in resources:
        known = found.get((info.group, info.kind), frozenset())
        found[info.group, info.kind] = known | {info.version}
    return found


def unresolved(policy: Object, known: Known) -> list[str]:
    """Return a sentence for each thing in a policy that names nothing; at most `MAX_UNRESOLVED`."""
    spec = mapping(policy, "spec")
    found = [*_objects(spec, known), *_choice(spec, "spec", known)]
    for index, rule in enumerate(sequence(spec, "rules")):
        found += _choice(mapping(rule), f"spec.rules[{index}]", known)
    found += _clusters(
        mapping(spec, "replicas", "clusters"), "spec.replicas.clusters", known, but=_EVERY_OTHER_CLUSTER
    )
    if len(found) > MAX_UNRESOLVED:
        found = [*found[: MAX_UNRESOLVED - 1], f"and {len(found) - MAX_UNRESOLVED + 1} more name nothing"]
    return found


def _objects(spec: Object, known: Known) -> Iterator[str]:
    selectors = sequence(spec, "resourceSelectors")
    if not selectors:
        yield "spec.resourceSelectors is empty, so the policy selects nothing"
    for index, selector in enumerate(selectors):
        where = f"spec.resourceSelectors[{index}]"
        said, kind = str(mapping(selector).get("apiVersion", "")), str(mapping(selector).get("kind", ""))
        group, version = parse_api_version(said)
        versions = known.versions.get((group, kind), ())
        plural = known.kinds.get((group, kind))
        if plural is None:
            hint = _kind_hint(group, kind, known)
            yield f"{where}: the federation serves no kind {kind!r} of {said or 'v1'}{hint}"
        elif not placeable(group, plural):
            yield f"{where}: objects of kind {kind} never leave the federation, whatever a policy says"
        elif said and versions and version not in versions:
            others = ", ".join(f"{group}/{each}" if group else each for each in sorted(versions))
            yield f"{where}: kind {kind!r} is not served as {said!r}, but as {others}"


def _kind_hint(group: str, kind: str, known: Known) -> str:
    elsewhere = sorted(other for other, name in known.kinds if name == kind)
    if elsewhere:
        return f": did you mean the {kind} of group {elsewhere[0] or 'core'}?"
    near = [name for other, name in known.kinds if other == group]
    return _hint(kind, near) or _hint(kind, {name for _, name in known.kinds})


def _choice(spec: Object, where: str, known: Known) -> Iterator[str]:
    for name in ("clusterNames", "excludeClusters"):
        yield from _clusters(sequence(spec, name), f"{where}.{name}", known)
    labels = mapping(spec, "clusterSelector")
    if labels and known.clusters:
        try:
            selector = LabelSelector.from_object(labels)
        except HanseError:
            return  # which validation says
        if not any(selector.matches(each) for each in known.clusters.values()):
            yield f"{where}.clusterSelector matches no cluster{_label_hint(labels, known)}"


def _label_hint(selector: Object, known: Known) -> str:
    """Return which label of a selector no cluster has, and what may have been meant; "" if each is there."""
    wanted = [(key, [value]) for key, value in mapping(selector, "matchLabels").items()]
    wanted += [
        (str(each.get("key")), sequence(each, "values"))
        for each in map(mapping, sequence(selector, "matchExpressions"))
        if each.get("operator") in ("In", "Exists")
    ]
    for key, values in wanted:
        there = {labels[key] for labels in known.clusters.values() if key in labels}
        if not there:
            keys = {name for labels in known.clusters.values() for name in labels}
            return f", and none has the label {key!r}{_hint(key, keys)}"
        if values and not there.intersection(map(str, values)):
            return f", and none has {values[0]!r} as its {key!r}{_hint(str(values[0]), there)}"
    return ""


def _clusters(names: Iterable[Any], where: str, known: Known, *, but: str = "") -> Iterator[str]:
    for name in names:
        if name != but and name not in known.clusters:
            yield f"{where}: there is no cluster {name!r}{_hint(str(name), known.clusters)}"


def _hint(text: str, among: Iterable[str]) -> str:
    folded = {name.lower(): name for name in sorted(among)}
    near = difflib.get_close_matches(text.lower()[:253], folded, n=1)
    return f": did you mean {folded[near[0]]!r}?" if near else ""
