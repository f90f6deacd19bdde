"""How an object leaves a member: deleted, or released with our marks taken off.

Owns both, and the rules that a namespace goes only when nothing foreign is in it, and that what belongs to
the member itself is never deleted: our marks are taken off it. Everything is done by uid: an object of the
same name that somebody else has made meanwhile is never touched. Being removed is a fact that the member has
confirmed, never a conclusion from silence. That a DELETE is sent is stored before: one whose outcome is
unknown may arrive at any time later, and whoever wants the object again must know of it.

Concurrency: called by the reconciler, for one object at a time. Next: `hanse_syncer.act.namespaces`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.api.syncer.v1.sync_state_pb2 import SyncState
from hanse.control.reconcile import Result
from hanse.federation import belongings
from hanse.kube.model.objects import Object
from hanse_syncer import ownership
from hanse_syncer.act import namespaces
from hanse_syncer.act.desk import Case, Desk
from hanse_syncer.decide.contents import Contents, phrase
from hanse_syncer.decide.outcome import Outcome, Trouble
from hanse_syncer.decide.plan import Wish
from hanse_syncer.member.answers import Answer, Verdict
from hanse_syncer.report import report

_STILL_DELETING_SECONDS = 5.0
_COLLECTED_SECONDS = 30.0
"""How long the member's collector may take for what has lost its owners, since it last did something."""
_LONGEST_LOOK = 5.0
"""The longest time, in seconds, between two looks at what is still being removed."""


class Removal:
    """Takes objects out of the desk's member."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def remove(self, case: Case) -> Result | None:
        """Delete the object by the uid that is known. Raises Trouble, LinkDownError."""
        if _must_look(case):
            return await self.search(case)
        version = self._version(case)
        return await (self._delete(case, case.uid, version) if version else self.search(case))

    async def search(self, case: Case) -> Result | None:
        """Read the object, and remove or release it if it is ours. Raises Trouble, LinkDownError."""
        desk = self._desk
        answer = await desk.member.get(case.target)
        verdict = desk.member.verdict(case.target, answer)
        if verdict is Verdict.ABSENT:
            return self._gone(case, reason="Removed", message="nothing is left in the cluster")
        if verdict is Verdict.NO_API and await desk.member.lacks(case.target.api_version, case.key.resource):
            return self._gone(case, reason="Removed", message="the cluster does not serve such objects")
        if verdict is not Verdict.DONE:
            raise Trouble.of(verdict, answer)
        live = answer.json()
        if not ownership.owned(live, desk.federation_id):
            return self._gone(case, reason="NotOurs", message="what is there is not ours; it was left alone")
        uid, version = str(live["metadata"]["uid"]), str(live["metadata"]["resourceVersion"])
        if belongs := case.belongs(live):
            if uid != case.uid and belongings.is_told_by_content(case.key.group, case.key.resource):
                # its controller copied our marks from what it made it for
                return self._gone(case, reason="NotOurs", message=f"{belongs}; it was left alone")
            return await self._release(case, uid, why=f"{belongs}; it was left in the cluster")
        if case.wanted is Wish.RELEASED:
            return await self._release(case, uid, why="it was asked to be left in the cluster")
        if live["metadata"].get("deletionTimestamp"):
            return self._deleting(case, live)
        if _is_namespace(case):
            return await self._namespace(case, uid, version)
        if _is_definition(case):
            instances = namespaces.instances(desk.member, live, federation_id=desk.federation_id)
            return await self._delete_with(case, uid, version, instances)
        return await self._delete(case, uid, version)

    def _version(self, case: Case) -> str:
        """Return the newest resourceVersion that is known of the object; empty if none is."""
        seen, _ = self._desk.shown.seen(case.target)
        if seen is not None and seen.uid == case.uid:
            return seen.resource_version
        return case.state.member_resource_version if case.state is not None else ""

    async def _delete(self, case: Case, uid: str, version: str) -> Result | None:
        desk = self._desk
        subject, now = case.subject(desk.cluster), desk.clock()
        desk.book.update(
            case.path, lambda before: report.deleting(subject, before, uid=uid, version=version, now=now)
        )
        await desk.book.stored(case.path)
        if not self._stands(case):
            return Result(requeue_after=0.0)
        answer = await desk.member.delete(case.target, uid=uid, version=version)
        verdict = desk.member.verdict(case.target, answer)
        if verdict is Verdict.ABSENT:
            return self._gone(case, reason="Removed", message="nothing is left in the cluster")
        if verdict in (Verdict.CHANGED, Verdict.NO_API):
            return await self._changed(case, answer)
        if verdict is not Verdict.DONE:
            raise Trouble.of(verdict, answer)
        desk.metrics.deletes.add(1, {"hanse.cluster": desk.cluster})
        live = answer.json()
        if (live.get("metadata") or {}).get("deletionTimestamp"):
            return self._deleting(case, live)
        await desk.member.confirm_deleted(case.target, answer, uid=uid)
        return self._gone(case, reason="Removed", message="deleted")

    def _stands(self, case: Case) -> bool:
        """Whether the object and its placement are still those on which the case was decided."""
        intent, entry = self._desk.world.intent(case.path), self._desk.world.placement(case.path)
        return (intent.revision if intent is not None else 0) == (
            case.intent.revision if case.intent is not None else 0
        ) and (entry.mod_revision if entry is not None else 0) == case.placement_revision

    async def _changed(self, case: Case, answer: Answer) -> Result | None:
        """Another object has that name now, or its API is gone: look before anything else is done."""
        if case.uid:
            self._removing(case, "changed meanwhile" if case.sealed else answer.message, uid="")
        self._desk.shown.note(case.target, None)
        return Result(requeue_after=0.05)

    async def _namespace(self, case: Case, uid: str, version: str) -> Result | None:
        desk = self._desk
        name = case.key.name
        if desk.world.wanted_inside(name, desk.cluster):
            raise Trouble(
                Outcome(sync.WAITING, "NamespaceInUse", f"objects in namespace {name} are still placed here"),
                retry_after=1.0,
            )
        known = [resource for versions in desk.served.values() for resource in versions]
        found = namespaces.contents(desk.member, name, known=known, federation_id=desk.federation_id)
        return await self._delete_with(case, uid, version, found)

    async def _delete_with(
        self, case: Case, uid: str, version: str, look: Awaitable[Contents]
    ) -> Result | None:
        """Delete what others go with, if the look finds nothing foreign among them; else release it."""
        try:
            obstacle = self._obstacle(case, await look)
        except namespaces.Hidden as hidden:
            obstacle = str(hidden)
        if obstacle:
            return await self._release(case, uid, why=f"it was left in the cluster because {obstacle}")
        return await self._delete(case, uid, version)

    def _obstacle(self, case: Case, found: Contents) -> str:
        """Return what stands against the deletion; raises Trouble while the member is still at work on it."""
        if found.foreign:
            return phrase(found.foreign)
        memory, now = case.memory, asyncio.get_running_loop().time()
        stuck = frozenset(item.uid for item in found.going if not item.deleting)
        if stuck != memory.stuck:
            memory.stuck, memory.stuck_since = stuck, now
        if stuck and now - memory.stuck_since >= _COLLECTED_SECONDS:
            left = [item for item in found.going if item.uid in stuck]
            return phrase(left, what="of owners that are gone, and are not collected")
        if found.going:
            raise Trouble(
                Outcome(sync.WAITING, "ContentsGoing", phrase(found.going, what="still being removed")),
                retry_after=min(_LONGEST_LOOK, 0.25 * 2.0 ** min(case.memory.failures, 8)),
            )
        return ""

    async def _release(self, case: Case, uid: str, *, why: str) -> Result | None:
        desk = self._desk
        intent: Object | None = case.intent.object() if case.intent is not None else None
        answer = await desk.member.merge(case.target, ownership.release_patch(uid=uid, intent=intent))
        verdict = desk.member.verdict(case.target, answer)
        if verdict is Verdict.ABSENT:
            return self._gone(case, reason="Removed", message="nothing is left in the cluster")
        if verdict is Verdict.CHANGED:
            return Result(requeue_after=0.05)
        if verdict is not Verdict.DONE:
            raise Trouble.of(verdict, answer)
        return self._gone(case, reason="Released", message=why)

    def _deleting(self, case: Case, live: Object) -> Result:
        finalizers = ", ".join(live["metadata"].get("finalizers") or ()) or "its dependents"
        if case.key.resource == "namespaces" and not case.key.group:
            finalizers = "its contents"
        message = f"the cluster is deleting it and waits for {finalizers}"
        self._removing(case, message, uid=str(live["metadata"]["uid"]))
        return Result(requeue_after=_STILL_DELETING_SECONDS)

    def _removing(self, case: Case, message: str, *, uid: str) -> None:
        subject, now = case.subject(self._desk.cluster), self._desk.clock()

        def change(before: SyncState | None) -> SyncState:
            state = report.removing(subject, before, message=message, now=now)
            state.member_uid = uid
            return state

        self._desk.book.update(case.path, change)

    def _gone(self, case: Case, *, reason: str, message: str) -> Result | None:
        desk = self._desk
        desk.shown.note(case.target, None)
        desk.memories.pop(case.path, None)
        desk.waiting.remove(case.path)
        subject, now = case.subject(desk.cluster), desk.clock()
        desk.book.update(
            case.path,
            lambda before: report.removed(subject, before, reason=reason, message=message, now=now),
        )
        return None


def _must_look(case: Case) -> bool:
    """Whether the object has to be read before it is deleted: more goes with it, or it may not be ours."""
    content = belongings.is_told_by_content(case.key.group, case.key.resource)
    return _is_namespace(case) or _is_definition(case) or content or bool(case.belongs())


def _is_namespace(case: Case) -> bool:
    return case.key.resource == "namespaces" and not case.key.group


def _is_definition(case: Case) -> bool:
    return case.key.resource == "customresourcedefinitions" and case.key.group == "apiextensions.k8s.io"
