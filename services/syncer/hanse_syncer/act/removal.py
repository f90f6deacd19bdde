"""How an object leaves a member: deleted, or released with our marks taken off.

Owns both, and the rules that a namespace goes only when nothing foreign is in it, and that what belongs to
the member itself is never deleted: our marks are taken off it. Everything is done by uid: an object of the
same name that somebody else has made meanwhile is never touched. Being removed is a fact that the member has
confirmed, never a conclusion from silence. That a DELETE is sent is stored before: one whose outcome is
unknown may arrive at any time later, and whoever wants the object again must know of it.

Concurrency: called by the reconciler, for one object at a time. Next: `hanse_syncer.act.namespaces`.
"""

from __future__ import annotations

from collections.abc import Awaitable

from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.api.syncer.v1.sync_state_pb2 import SyncState
from hanse.control.reconcile import Result
from hanse.federation import belongings
from hanse.federation.exclusive import stops_first
from hanse.federation.jobs import job_runs
from hanse.kube.client.answer import Answer
from hanse.kube.kinds.kubernetes import core, extensions
from hanse.kube.model.objects import Object, is_deleting
from hanse_syncer import ownership
from hanse_syncer.act import namespaces
from hanse_syncer.act.context import ReconcileContext
from hanse_syncer.act.request import SyncRequest
from hanse_syncer.decide import kinds
from hanse_syncer.decide.contents import Contents, phrase
from hanse_syncer.decide.errors import SyncCondition, SyncError
from hanse_syncer.decide.plan import Desired
from hanse_syncer.decide.verdicts import MemberVerdict
from hanse_syncer.report import transitions

_STILL_DELETING_SECONDS = 5.0
_COLLECTED_SECONDS = 30.0
"""How long the member's collector may take for what has lost its owners, since it last did something."""
_LONGEST_WAIT = 5.0
"""The longest time, in seconds, between two looks at what is still being removed."""


class Removal:
    """Takes objects out of the member."""

    def __init__(self, context: ReconcileContext) -> None:
        self._context = context

    async def remove(self, request: SyncRequest) -> Result | None:
        """Delete the object by the uid that is known. Raises SyncError, LinkDownError."""
        if _must_read(request):
            return await self.search(request)
        version = self._version(request)
        return await (self._delete(request, request.uid, version) if version else self.search(request))

    async def search(self, request: SyncRequest) -> Result | None:
        """Read the object, and remove or release it if it is ours. Raises SyncError, LinkDownError."""
        context = self._context
        answer = await context.member.get(request.target)
        verdict = context.member.verdict(request.target, answer)
        if verdict is MemberVerdict.ABSENT:
            return self._gone(request, reason="Removed", message="nothing is left in the cluster")
        if verdict is MemberVerdict.NO_API and await context.member.lacks(
            request.target.api_version, request.key.resource
        ):
            return self._gone(request, reason="Removed", message="the cluster does not serve such objects")
        if verdict is not MemberVerdict.DONE:
            raise SyncError.of(verdict, answer)
        live = answer.document
        if not ownership.owned(live, context.federation_id):
            return self._gone(
                request, reason="NotOurs", message="what is there is not ours; it was left alone"
            )
        uid, version = str(live["metadata"]["uid"]), str(live["metadata"]["resourceVersion"])
        if belongs := request.belongs(live):
            if uid != request.uid and belongings.is_told_by_content(request.key.group, request.key.resource):
                # its controller copied our marks from what it made it for
                return self._gone(request, reason="NotOurs", message=f"{belongs}; it was left alone")
            return await self._release(request, uid, why=f"{belongs}; it was left in the cluster")
        if request.desired is Desired.RELEASED:
            return await self._release(request, uid, why="it was asked to be left in the cluster")
        if request.run is not None:
            self._see_run(request, live)
        if is_deleting(live):
            return self._deleting(request, live)
        if _is_namespace(request):
            return await self._namespace(request, uid, version)
        if _is_definition(request):
            instances = namespaces.instances(context.member, live, federation_id=context.federation_id)
            return await self._delete_with(request, uid, version, instances)
        return await self._delete(request, uid, version)

    def _version(self, request: SyncRequest) -> str:
        """Return the newest resourceVersion that is known of the object; empty if none is."""
        seen, _ = self._context.view.seen(request.target)
        if seen is not None and seen.uid == request.uid:
            return seen.resource_version
        return request.state.member_resource_version if request.state is not None else ""

    async def _delete(self, request: SyncRequest, uid: str, version: str) -> Result | None:
        context = self._context
        subject, now = request.subject(context.cluster), context.clock()
        context.states.update(
            request.path,
            lambda before: transitions.deleting(subject, before, uid=uid, version=version, now=now),
        )
        await context.states.stored(request.path)
        if not context.is_current(request):
            return Result(requeue_after=0.0)
        answer = await context.member.delete(
            request.target, uid=uid, version=version, foreground=_must_have_stopped(request)
        )
        verdict = context.member.verdict(request.target, answer)
        if verdict is MemberVerdict.ABSENT:
            return self._gone(request, reason="Removed", message="nothing is left in the cluster")
        if verdict in (MemberVerdict.CHANGED, MemberVerdict.NO_API):
            return await self._changed(request, answer)
        if verdict is not MemberVerdict.DONE:
            raise SyncError.of(verdict, answer)
        context.metrics.deletes.add(1, {"hanse.cluster": context.cluster})
        live = answer.document
        if is_deleting(live):
            return self._deleting(request, live)
        await context.member.confirm_deleted(request.target, answer, uid=uid)
        return self._gone(request, reason="Removed", message="deleted", deleted=True)

    async def _changed(self, request: SyncRequest, answer: Answer) -> Result | None:
        """Have the object read again: it has changed, another one has that name, or its API is gone.

        Its uid stays known: if it is the same object it is ours, whatever has become its owner meanwhile.
        """
        if request.uid:
            message = "changed meanwhile" if request.sealed else answer.message
            self._removing(request, message, uid=request.uid)
        self._context.view.note(request.target, None)
        return Result(requeue_after=0.05)

    async def _namespace(self, request: SyncRequest, uid: str, version: str) -> Result | None:
        context = self._context
        name = request.key.name
        if context.federation.wanted_inside(name, context.cluster):
            raise SyncError(
                SyncCondition(
                    sync.WAITING, "NamespaceInUse", f"objects in namespace {name} are still placed here"
                ),
                retry_after=1.0,
            )
        known = [resource for versions in context.served.values() for resource in versions]
        found = namespaces.contents(context.member, name, known=known, federation_id=context.federation_id)
        return await self._delete_with(request, uid, version, found)

    async def _delete_with(
        self, request: SyncRequest, uid: str, version: str, look: Awaitable[Contents]
    ) -> Result | None:
        """Delete what others go with, if the look finds nothing foreign among them; else release it."""
        try:
            obstacle = self._obstacle(request, await look)
        except namespaces.Hidden as hidden:
            obstacle = str(hidden)
        if obstacle:
            return await self._release(request, uid, why=f"it was left in the cluster because {obstacle}")
        return await self._delete(request, uid, version)

    def _obstacle(self, request: SyncRequest, found: Contents) -> str:
        """Return what stands against the deletion; raises SyncError while the member is still at work on
        it."""
        if found.foreign:
            return phrase(found.foreign)
        transient, now = request.transient, self._context.monotonic()
        stuck = frozenset(item.uid for item in found.going if not item.deleting)
        if stuck != transient.stuck:
            transient.stuck, transient.stuck_since = stuck, now
        if stuck and now - transient.stuck_since >= _COLLECTED_SECONDS:
            left = [item for item in found.going if item.uid in stuck]
            return phrase(left, what="of owners that are gone, and are not collected")
        if found.going:
            raise SyncError(
                SyncCondition(sync.WAITING, "ContentsGoing", phrase(found.going, what="still being removed")),
                retry_after=min(_LONGEST_WAIT, 0.25 * 2.0 ** min(request.transient.failures, 8)),
            )
        return ""

    async def _release(self, request: SyncRequest, uid: str, *, why: str) -> Result | None:
        context = self._context
        intent: Object | None = request.intent.object() if request.intent is not None else None
        patch = ownership.release_patch(uid=uid, intent=intent)
        if intent is not None and request.run is not None and request.run.kept:
            patch |= kinds.withheld_of(intent)
        answer = await context.member.merge(request.target, patch)
        verdict = context.member.verdict(request.target, answer)
        if verdict is MemberVerdict.ABSENT:
            return self._gone(request, reason="Removed", message="nothing is left in the cluster")
        if verdict is MemberVerdict.CHANGED:
            return Result(requeue_after=0.05)
        if verdict is not MemberVerdict.DONE:
            raise SyncError.of(verdict, answer)
        return self._gone(request, reason="Released", message=why)

    def _deleting(self, request: SyncRequest, live: Object) -> Result:
        finalizers = ", ".join(live["metadata"].get("finalizers") or ()) or "its dependents"
        if _is_namespace(request):
            finalizers = "its contents"
        message = f"the cluster is deleting it and waits for {finalizers}"
        self._removing(request, message, uid=str(live["metadata"]["uid"]), accepted=True)
        return Result(requeue_after=_STILL_DELETING_SECONDS)

    def _removing(self, request: SyncRequest, message: str, *, uid: str, accepted: bool = False) -> None:
        """Record that the object is being removed; `accepted` if the member has said that it is."""
        subject, now = request.subject(self._context.cluster), self._context.clock()

        def change(before: SyncState | None) -> SyncState:
            state = transitions.removing(subject, before, message=message, now=now)
            state.member_uid = uid
            if accepted and state.HasField("run"):
                state.run.CopyFrom(job_runs.stopping(state.run))
            return state

        self._context.states.update(request.path, change)

    def _see_run(self, request: SyncRequest, live: Object) -> None:
        """Record how far the Job is before it goes."""
        subject = request.subject(self._context.cluster)
        self._context.states.update(request.path, lambda before: transitions.seen(subject, before, live=live))

    def _gone(
        self, request: SyncRequest, *, reason: str, message: str, deleted: bool = False
    ) -> Result | None:
        """Record that nothing of ours is left; `deleted` if that is so by a DELETE that the member
        confirmed."""
        context = self._context
        context.view.note(request.target, None)
        context.transients.pop(request.path, None)
        context.waiting.remove(request.path)
        subject, now = request.subject(context.cluster), context.clock()
        sent = request.state is not None and bool(request.state.delete_uid)
        ending = transitions.RunEnding(
            taken_away=deleted or (sent and request.ttl is None),
            left=reason in ("Released", "NotOurs"),
            ttl=request.ttl,
        )
        context.states.update(
            request.path,
            lambda before: transitions.removed(
                subject, before, reason=reason, message=message, now=now, ending=ending
            ),
        )
        return None


def _must_read(request: SyncRequest) -> bool:
    """Return whether the object has to be read before it is deleted: more goes with it, or it may not be
    ours."""
    content = belongings.is_told_by_content(request.key.group, request.key.resource)
    return _is_namespace(request) or _is_definition(request) or content or bool(request.belongs())


def _must_have_stopped(request: SyncRequest) -> bool:
    """Return whether the object counts as gone only when its Pods are: others take over what it did."""
    placement = request.placement
    return stops_first(
        request.key.group,
        request.key.resource,
        marked=placement is not None and placement.at_most_one,
    )


def _is_namespace(request: SyncRequest) -> bool:
    return (request.key.group, request.key.resource) == core.NAMESPACE.group_plural


def _is_definition(request: SyncRequest) -> bool:
    return (request.key.group, request.key.resource) == extensions.CUSTOM_RESOURCE_DEFINITION.group_plural
