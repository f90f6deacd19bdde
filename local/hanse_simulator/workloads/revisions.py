"""The history of a StatefulSet or DaemonSet: a ControllerRevision for each template that it had.

`kubectl rollout history` and `undo` read them. A template that comes back gets its old revision with a new
number. Next: `hanse_simulator.workloads.statefulsets` and `.daemonsets`.
"""

from __future__ import annotations

from collections.abc import Collection

from hanse.errors import AlreadyExistsError
from hanse.kube.model.objects import Object, mapping, name_of
from hanse_simulator.controllers import pods as pod_rules
from hanse_simulator.world import REVISIONS, ClusterContext, owner_reference

HASH = "controller-revision-hash"
_HISTORY = 10


def hash_of(revision: Object) -> str:
    """Return the hash in a revision's label: what its Pods carry."""
    return str((revision["metadata"].get("labels") or {}).get(HASH, ""))


def template_in(revision: Object) -> Object:
    """Return the Pod template that a revision keeps."""
    template = {**mapping(revision, "data", "spec", "template")}
    template.pop("$patch", None)
    return template


async def current(world: ClusterContext, owner: Object) -> Object:
    """Return the revision of the owner's template, made or numbered again if need be."""
    known = sorted(world.owned(owner, REVISIONS), key=_number)
    template = pod_rules.template_of(owner)
    highest = _number(known[-1]) if known else 0
    for revision in known:
        if pod_rules.same_template(template_in(revision), template, ignoring=HASH):
            if _number(revision) < highest:
                await world.modify(REVISIONS, revision, lambda obj: {**obj, "revision": highest + 1})
            return revision
    salt = 0
    while True:
        digest = pod_rules.template_hash(template, salt=salt)
        try:
            return await world.create(REVISIONS, _revision(owner, template, digest, highest + 1))
        except AlreadyExistsError:
            salt += 1
            if salt > 10:
                raise


async def forget_old(world: ClusterContext, owner: Object, *, used: Collection[str]) -> None:
    """Delete revisions beyond revisionHistoryLimit that no Pod and no rollout uses, oldest first."""
    limit = int(mapping(owner, "spec").get("revisionHistoryLimit", _HISTORY))
    unused = [r for r in sorted(world.owned(owner, REVISIONS), key=_number) if hash_of(r) not in used]
    for revision in unused[: max(0, len(unused) - limit)]:
        await world.delete(REVISIONS, revision)


def _revision(owner: Object, template: Object, digest: str, number: int) -> Object:
    labels = {**(mapping(template, "metadata").get("labels") or {}), HASH: digest}
    return {
        "metadata": {
            "name": f"{name_of(owner)[:240]}-{digest}",
            "namespace": owner["metadata"]["namespace"],
            "labels": labels,
            "ownerReferences": [owner_reference(owner)],
        },
        "revision": number,
        "data": {"spec": {"template": {**template, "$patch": "replace"}}},
    }


def _number(revision: Object) -> int:
    return int(revision.get("revision") or 0)
