"""The status of a policy: what it selects, where that is, and what in it has no effect. Pure.

Conditions: `InUse` is False for a policy that decides about nothing, and says whether others take precedence;
`ReferencesResolved` is False for one that names clusters or kinds that are not there.

Next: `hanse_apiserver.views.view`, which serves it; `hanse.federation.policies.references`.
"""

from __future__ import annotations

from collections.abc import Sequence

from hanse.kube.model.objects import Object
from hanse_apiserver.views.policy_use import Use

MAX_CLUSTERS = 100
"""Clusters that a status lists; it counts all."""


def with_status(policy: Object, use: Use, unresolved: Sequence[str]) -> Object:
    """Return a policy with its status. `unresolved` has a sentence for each thing that names nothing."""
    return {**policy, "status": _status(use, unresolved)}


def _status(use: Use, unresolved: Sequence[str]) -> Object:
    shadowed = use.shadowed.total()
    status: Object = {
        "objects": use.objects,
        "clusters": [
            {"name": name, "objects": count} for name, count in sorted(use.clusters.items())[:MAX_CLUSTERS]
        ],
        "clusterCount": len(use.clusters),
        "shadowedObjects": shadowed,
        "conditions": [_in_use(use, shadowed), _resolved(unresolved)],
    }
    if shadowed:
        status["shadowedBy"] = [
            {"policy": title, "objects": count} for title, count in use.shadowed.most_common(MAX_CLUSTERS)
        ]
    return status


def _in_use(use: Use, shadowed: int) -> Object:
    others = _listed([title for title, _ in use.shadowed.most_common(3)])
    if use.objects:
        message = (
            f"it is in force for {_count(use.objects, 'object')} in {_count(len(use.clusters), 'cluster')}"
        )
        if shadowed:
            message += f"; of {_count(shadowed, 'more object')} that it selects, {others} decides"
        return _condition("InUse", "True", "SelectsObjects", message)
    if shadowed:
        message = f"{others} takes precedence for all {_count(shadowed, 'object')} that it selects"
        return _condition("InUse", "False", "Shadowed", message)
    return _condition(
        "InUse", "False", "SelectsNothing", "no object that can be placed matches its selectors"
    )


def _resolved(unresolved: Sequence[str]) -> Object:
    if not unresolved:
        return _condition("ReferencesResolved", "True", "Resolved", "everything that it names is there")
    return _condition("ReferencesResolved", "False", "NamesNothing", "; ".join(unresolved))


def _condition(name: str, status: str, reason: str, message: str) -> Object:
    return {"type": name, "status": status, "reason": reason, "message": message}


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _listed(titles: Sequence[str]) -> str:
    return ", ".join(titles)
