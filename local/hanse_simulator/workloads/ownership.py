"""Which objects a controller counts as its own: those it controls, and orphans that its selector selects.

Orphans are adopted, as `kubectl delete --cascade=orphan` and a new owner expect; what no longer matches the
selector is released. Next: the controllers beside this module.
"""

from __future__ import annotations

import asyncio
from typing import Any

from hanse.kube.model.objects import Object, is_deleting, labels_of
from hanse_simulator.world import (
    ClusterContext,
    Resource,
    controller_of,
    owner_reference,
    selector_of,
)


async def claim(world: ClusterContext, owner: Object, resource: Resource) -> list[Object]:
    """Return the objects that `owner` controls, after adopting and releasing; deleting ones included.

    An owner that is being deleted adopts nothing.
    """
    selector = selector_of(owner)
    owned = world.owned(owner, resource)
    stray = [obj for obj in owned if not selector.matches(labels_of(obj)) and not is_deleting(obj)]
    for obj in stray:
        await world.modify(resource, obj, lambda current: _released(current, owner))
    kept = [obj for obj in owned if obj not in stray]
    if is_deleting(owner) or selector.empty:
        return kept
    orphans = [
        obj
        for obj in world.matching(resource, owner["metadata"]["namespace"], selector)
        if controller_of(obj) is None and not is_deleting(obj)
    ]
    if not orphans:
        return kept
    await asyncio.gather(
        *(world.modify(resource, obj, lambda current: _adopted(current, owner)) for obj in orphans)
    )
    await world.fresh()
    return [obj for obj in world.owned(owner, resource) if selector.matches(labels_of(obj))]


def _adopted(obj: Object, owner: Object) -> Object | None:
    if controller_of(obj) is not None or is_deleting(obj):
        return None
    return _with_owners(obj, [*(obj["metadata"].get("ownerReferences") or ()), owner_reference(owner)])


def _released(obj: Object, owner: Object) -> Object:
    references = obj["metadata"].get("ownerReferences") or ()
    return _with_owners(obj, [r for r in references if r.get("uid") != owner["metadata"]["uid"]])


def _with_owners(obj: Object, references: list[dict[str, Any]]) -> Object:
    return {**obj, "metadata": {**obj["metadata"], "ownerReferences": references}}
