"""Placement and override policies, compiled once, and found for an object by an inverted index.

Owns what `PlacementPolicy`, `ClusterPlacementPolicy`, `OverridePolicy` and `ClusterOverridePolicy` of
`hanse.dev/v1alpha1` mean. A namespaced policy is about objects in its own namespace. Of the placement
policies that select an object one decides: the highest priority, then a namespaced one before a cluster
one, then the older, then by name. All override policies that select it apply, in rising priority.

A policy that cannot be compiled keeps its resource selectors: objects that it selects keep what they have.
Compiled policies are immutable; a `PolicyIndex` belongs to one event loop.

Next: `hanse_scheduler.decide.filtering` for what a placement policy does, `hanse_scheduler.decide.overrides`
for the other kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, TypeVar

from hanse.api.scheduler.v1.placement_pb2 import EQUAL, HIDDEN, MAX, MIN, SUM, StatusField
from hanse.boundary import reason_of
from hanse.errors import HanseError, InvalidArgumentError, shown
from hanse.federation.policies.titles import title
from hanse.kube.model.objects import (
    Object,
    child,
    labels_of,
    mapping,
    name_of,
    namespace_of,
    parse_api_version,
    sequence,
)
from hanse.kube.model.selectors import LabelSelector
from hanse.kube.model.times import parse_time
from hanse_scheduler.decide.planner import Preferences
from hanse_scheduler.decide.preferences import preferences_from
from hanse_scheduler.decide.taints import Toleration, toleration_from
from hanse_scheduler.handshake.moves import MoveRules, move_rules

PLACEMENT_RESOURCES = ("placementpolicies", "clusterplacementpolicies")
OVERRIDE_RESOURCES = ("overridepolicies", "clusteroverridepolicies")

_FOLDS: Final = {"Equal": EQUAL, "Sum": SUM, "Min": MIN, "Max": MAX, "Hidden": HIDDEN}
SpreadBy: TypeAlias = Literal["", "region", "zone"]
Mode: TypeAlias = Literal["", "Duplicated", "Divided"]
WhenUnknown: TypeAlias = Literal["", "Wait", "Restart"]


@dataclass(frozen=True, slots=True)
class ResourceSelector:
    """Which objects a policy is about; empty fields match everything."""

    group: str
    kind: str
    namespace: str = ""
    name: str = ""
    labels: LabelSelector | None = None

    def matches(self, obj: Object) -> bool:
        """Return whether the object (of this group and kind) is meant."""
        return (
            (not self.namespace or self.namespace == namespace_of(obj))
            and (not self.name or self.name == name_of(obj))
            and (self.labels is None or self.labels.matches(labels_of(obj)))
        )


@dataclass(frozen=True, slots=True)
class PolicyHead:
    """What both kinds of policies have. `error` is not empty for a policy that cannot be used."""

    kind: str
    namespace: str
    name: str
    created: float
    priority: int
    selectors: tuple[ResourceSelector, ...]
    error: str = ""

    @property
    def title(self) -> str:
        """Return for example `PlacementPolicy shop/web`."""
        return title(self.kind, self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class ClusterChoice:
    """Which clusters: by label (None: all), by name (empty: all), and never."""

    labels: LabelSelector | None = None
    names: frozenset[str] = frozenset()
    excluded: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class PlacementPolicy:
    """A compiled placement policy. `max_clusters` 0 is no limit; times are in seconds, None: the setting."""

    head: PolicyHead
    choice: ClusterChoice = field(default_factory=ClusterChoice)
    max_clusters: int = 0
    spread_by: SpreadBy = ""
    tolerations: tuple[Toleration, ...] = ()
    mode: Mode = ""
    preferences: Preferences | None = None
    adopt: bool = False
    toleration_seconds: float | None = None
    status_fields: tuple[StatusField, ...] = ()
    moves: MoveRules | None = None
    when_unknown: WhenUnknown = ""
    """What becomes of work of which nobody knows whether it is done; "" is Wait."""
    at_most_one: bool = False
    ordinals: int | None = None
    """Ordinals of each cluster, for StatefulSets; None: they are the same everywhere."""


@dataclass(frozen=True, slots=True)
class OverrideRule:
    """Changes for some clusters."""

    choice: ClusterChoice
    operations: tuple[Mapping[str, Any], ...] = ()
    image: Mapping[str, Any] | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    replicas: int | None = None


@dataclass(frozen=True, slots=True)
class OverridePolicy:
    """A compiled override policy; its rules apply in order."""

    head: PolicyHead
    rules: tuple[OverrideRule, ...] = ()


def selects(head: PolicyHead, obj: Object, *, group: str) -> bool:
    """Return whether the policy is about the object."""
    return any(True for _ in _selectors(head, obj, group=group))


def names(head: PolicyHead, obj: Object, *, group: str) -> bool:
    """Return whether the policy is about the object by name, and not only among others."""
    return any(selector.name for selector in _selectors(head, obj, group=group))


def _selectors(head: PolicyHead, obj: Object, *, group: str) -> Iterator[ResourceSelector]:
    """Yield the policy's selectors that select the object."""
    if head.namespace and head.namespace != namespace_of(obj):
        return
    kind = obj.get("kind")
    for selector in head.selectors:
        if selector.group == group and selector.kind == kind and selector.matches(obj):
            yield selector


def compile_placement(obj: Object, *, fault: str = "") -> PlacementPolicy:
    """Return the compiled policy; one with `head.error` if something in it is wrong.

    `fault` says what is wrong with the rest of the object: then the policy is only about what it selects.
    """
    head, spec = _head(obj, fault)
    if head.error:
        return PlacementPolicy(head=head)
    try:
        replicas = mapping(spec, "replicas")
        where = f"{head.title}: spec.replicas"
        divided = {name: replicas[name] for name in ("rebalance", "clusters") if name in replicas}
        return PlacementPolicy(
            head=head,
            choice=_choice(spec, where=f"{head.title}: spec"),
            max_clusters=_count(spec, "maxClusters", head=head) or 0,
            spread_by=_one_of(spec, "spreadBy", ("", "region", "zone"), head=head),
            tolerations=tuple(
                toleration_from(item, where=f"{head.title}: spec.tolerations[{index}]")
                for index, item in enumerate(sequence(spec, "tolerations"))
            ),
            mode=_one_of(replicas, "mode", ("", "Duplicated", "Divided"), head=head),
            preferences=preferences_from(divided, where=where) if "clusters" in divided else None,
            adopt=_one_of(spec, "conflictResolution", ("", "Abort", "Adopt"), head=head) == "Adopt",
            toleration_seconds=_count(spec, "tolerationSeconds", head=head),
            status_fields=tuple(
                StatusField(
                    path=str(mapping(item).get("path", "")),
                    fold=_FOLDS[
                        _one_of(mapping(item), "fold", ("Equal", "Sum", "Min", "Max", "Hidden"), head=head)
                    ],
                )
                for item in sequence(spec, "statusFields")
            ),
            moves=move_rules(mapping(spec, "move"), where=f"{head.title}: spec.move"),
            at_most_one=spec.get("atMostOne") is True,
            ordinals=_count(replicas, "ordinalsPerCluster", head=head) or None,
            when_unknown=_one_of(spec, "whenUnknown", ("", "Wait", "Restart"), head=head),
        )
    except Exception as error:  # noqa: BLE001 - of this policy; objects that it selects keep what they have
        return PlacementPolicy(head=_broken(head, error))


def compile_override(obj: Object, *, fault: str = "") -> OverridePolicy:
    """Return the compiled policy, as `compile_placement` does."""
    head, spec = _head(obj, fault)
    if head.error:
        return OverridePolicy(head=head)
    try:
        rules = tuple(
            OverrideRule(
                choice=_choice(rule, where=f"{head.title}: spec.rules[{index}]"),
                operations=tuple(item for item in sequence(rule, "jsonPatch") if isinstance(item, dict)),
                image=mapping(rule, "image") or None,
                labels=mapping(rule, "labels"),
                annotations=mapping(rule, "annotations"),
                replicas=_count(rule, "replicas", head=head),
            )
            for index, rule in enumerate(sequence(spec, "rules"))
        )
        return OverridePolicy(head=head, rules=rules)
    except Exception as error:  # noqa: BLE001 - of this policy; objects that it selects keep what they have
        return OverridePolicy(head=_broken(head, error))


def _head(obj: Object, fault: str) -> tuple[PolicyHead, dict[str, Any]]:
    spec = mapping(obj, "spec")
    kind, namespace, name = str(obj.get("kind", "")), namespace_of(obj), name_of(obj)
    priority = spec.get("priority")
    head = PolicyHead(
        kind=kind,
        namespace=namespace,
        name=name,
        created=_epoch(child(obj, "metadata", "creationTimestamp")),
        priority=priority if type(priority) is int else 0,
        selectors=(),
    )
    selectors: list[ResourceSelector] = []
    error = f"{head.title} cannot be used: {fault}; delete it, or create it again" if fault else ""
    for index, item in enumerate(sequence(spec, "resourceSelectors")):
        try:
            selectors.append(_resource_selector(item))
        except Exception as problem:  # noqa: BLE001 - see above; it may mean any object of that kind
            why = reason_of(problem)
            error = f"{head.title} cannot be used: spec.resourceSelectors[{index}]: {why}; correct it"
            if (anything := _whatever_labels(item)) is not None:
                selectors.append(anything)
    return _replace(head, selectors=tuple(selectors), error=error), spec


def _resource_selector(item: Any) -> ResourceSelector:
    group, _ = parse_api_version(str(child(item, "apiVersion") or ""))
    labels = child(item, "labelSelector")
    return ResourceSelector(
        group=group,
        kind=str(child(item, "kind") or ""),
        namespace=str(child(item, "namespace") or ""),
        name=str(child(item, "name") or ""),
        labels=LabelSelector.from_object(labels) if labels else None,
    )


def _whatever_labels(item: Any) -> ResourceSelector | None:
    """Return a selector of all objects that one with labels that cannot be read may mean."""
    try:
        return _resource_selector({k: v for k, v in item.items() if k != "labelSelector"})
    except Exception:  # noqa: BLE001 - it names no kind
        return None


def _choice(spec: Any, *, where: str) -> ClusterChoice:
    if not isinstance(spec, dict):
        raise InvalidArgumentError(f"{where} is not a map")
    labels = spec.get("clusterSelector")
    try:
        selector = LabelSelector.from_object(labels) if labels else None
    except HanseError as error:
        raise InvalidArgumentError(f"{where}.clusterSelector: {error}") from error
    return ClusterChoice(
        labels=selector,
        names=frozenset(map(str, sequence(spec, "clusterNames"))),
        excluded=frozenset(map(str, sequence(spec, "excludeClusters"))),
    )


def _count(spec: dict[str, Any], name: str, *, head: PolicyHead) -> int | None:
    value = spec.get(name)
    if value is None:
        return None
    if type(value) is not int or value < 0:
        raise InvalidArgumentError(f"{head.title}: {name} is {shown(value)}, not a whole number of 0 or more")
    return value


T = TypeVar("T", bound=str)


def _one_of(spec: dict[str, Any], name: str, allowed: tuple[T, ...], *, head: PolicyHead) -> T:
    value = spec.get(name) or ""
    for item in allowed:
        if item == value:
            return item
    raise InvalidArgumentError(
        f"{head.title}: {name} is {shown(value)}: use {' or '.join(filter(None, allowed))}"
    )


def _broken(head: PolicyHead, error: Exception) -> PolicyHead:
    why = reason_of(error)
    which = "" if head.title in why else f"{head.title} cannot be used: "
    return _replace(head, selectors=head.selectors, error=f"{which}{why}; correct the policy")


def _replace(head: PolicyHead, *, selectors: tuple[ResourceSelector, ...], error: str) -> PolicyHead:
    return PolicyHead(
        kind=head.kind, namespace=head.namespace, name=head.name, created=head.created,
        priority=head.priority, selectors=selectors, error=error,
    )  # fmt: skip


def _epoch(stamp: Any) -> float:
    moment = parse_time(stamp)
    return moment.timestamp() if moment is not None else 0.0
