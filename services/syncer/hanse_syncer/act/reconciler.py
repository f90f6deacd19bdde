"""Brings one object of one member to what the federation wants, and writes down how it is.

Owns the flow: read the federation, ask `plan` for the next action, have it carried out; and that nothing is
written of what belongs to the member itself, whatever a placement says. It is level based: nothing is
remembered that matters, and running twice equals running once.

Concurrency: one object is looked at by one task at a time; different objects at once. A member that does not
answer ends a look with LinkDownError, which the controller handles for all of them together.

Next: `hanse_syncer.act.applying` for how objects come, `hanse_syncer.act.removal` for how they leave,
`hanse_syncer.cluster.controller` for who calls.
"""

from __future__ import annotations

from typing import Final

from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.boundary import Boundary
from hanse.control.reconcile import Result
from hanse.errors import HanseError, InternalError, InvalidArgumentError
from hanse.federation import belongings
from hanse.federation.clusters import CREDENTIAL_REFUSED
from hanse.federation.placements import is_placed_in
from hanse.kube.model.objects import Object, child
from hanse.paths import namespace_path
from hanse.process.telemetry import get_logger
from hanse_syncer.act import waiting
from hanse_syncer.act.applying import Applying
from hanse_syncer.act.context import ReconcileContext
from hanse_syncer.act.removal import Removal
from hanse_syncer.act.request import SyncRequest
from hanse_syncer.act.state_recorder import UNREACHABLE, StateRecorder, sooner
from hanse_syncer.decide import plan
from hanse_syncer.decide.errors import BELONGS, SyncCondition, SyncError
from hanse_syncer.decide.plan import Desired, Seen, SyncAction
from hanse_syncer.decide.render import Manifest
from hanse_syncer.member.client import CredentialRefusedError, LinkDownError

_log = get_logger(__name__)

NAMESPACE_SECONDS: Final = 1.0
"""How long our own namespace is waited for."""


class ObjectReconciler:
    """Reconciles the objects of one cluster. Keys are `<group>/<resource>/<namespace>/<name>`."""

    def __init__(self, context: ReconcileContext) -> None:
        self._context = context
        self._recorder = StateRecorder(context)
        self._applying = Applying(context, self._recorder)
        self._removal = Removal(context)
        self._boundary = Boundary("syncer objects")

    async def reconcile(self, path: str) -> Result | None:
        """Reconcile the object at `path`. Raises LinkDownError."""
        request = self._context.request(path)
        if request.desired is Desired.PRESENT and self._context.federation.awaits_decision(path):
            return None  # this is looked at again with the decision, or when it is late
        try:
            result = await self._act(request)
        except SyncError as error:
            return self._recorder.failed(request, error)
        except InvalidArgumentError as error:
            return self._recorder.failed(
                request, SyncError(SyncCondition(sync.FAILED, "OverrideInvalid", error.message), slow=True)
            )
        except LinkDownError as error:
            refused = isinstance(error, CredentialRefusedError)
            self._recorder.unreachable(
                request, error.message, reason=CREDENTIAL_REFUSED if refused else UNREACHABLE
            )
            raise
        except HanseError:
            raise
        except Exception as error:  # noqa: BLE001 - of this object there; it is its condition
            why = self._boundary.failed(f"{request.path} in {self._context.cluster}", error)
            message = f"what is stored of it, or what the cluster answered, cannot be used: {why}"
            return self._recorder.failed(
                request, SyncError(SyncCondition(sync.FAILED, "Unreadable", message), slow=True)
            )
        request.transient.failures = 0
        request.transient.forced = False
        return result

    async def _act(self, request: SyncRequest) -> Result | None:
        context = self._context
        manifest: Manifest | None = None
        if request.desired is Desired.PRESENT and (belongs := request.belongs()):
            raise SyncError(
                SyncCondition(sync.CONFLICT, BELONGS, f"{belongs}; nothing of it is written"), slow=True
            )
        if request.desired is Desired.PRESENT:
            self._refuse_other_version(request)
            manifest = self._context.render(request)
        seen, listed = context.view.seen(request.target)
        if seen is not None and request.transient.live is not None:
            seen = Seen(seen.uid, seen.resource_version, fresh=True)
        action = plan.next_action(
            request.desired,
            state=request.state,
            rendered_hash=manifest.hash if manifest is not None else "",
            seen=seen,
            listed=listed,
            force=request.transient.forced,
            outdated=not request.left_over
            if request.tombstone is not None
            else plan.is_outdated(
                request.state, intent=request.intent, placement=request.placement, cluster=context.cluster
            ),
        )
        live, request.transient.live = request.transient.live, None
        last, request.transient.last = request.transient.last or live, None
        if last is not None and request.run is not None and _is_the_known(last, request):
            self._recorder.ran(request, last)
            request = context.request(request.path)
        if manifest is not None:
            return await self._ensure_present(request, manifest, action=action, seen=seen, live=live)
        return await self._ensure_absent(request, action)

    def _refuse_other_version(self, request: SyncRequest) -> None:
        """Raise SyncError if the member serves the kind in other versions than the object's alone."""
        if request.intent is not None and (served := self._context.unspoken(request)):
            kind, version = request.intent.kind, request.intent.api_version
            said = f"the cluster serves {kind} in {', '.join(served)}, not in {version}: nothing is written"
            token = waiting.api(request.key.group, request.key.resource)
            raise SyncError(SyncCondition(sync.WAITING, "ApiNotServed", said), waits_for=token)

    async def _ensure_absent(self, request: SyncRequest, action: SyncAction) -> Result | None:
        context = self._context
        if action is SyncAction.REMOVE:
            return await self._removal.remove(request)
        if action is SyncAction.SEARCH:
            return await self._removal.search(request)
        if action is SyncAction.FORGET:
            context.states.drop(request.path)
            context.transients.pop(request.path, None)
            context.waiting.remove(request.path)
        elif action is SyncAction.NOTHING and request.state is None:
            context.transients.pop(request.path, None)
        if request.desired is Desired.UNKNOWN and (
            action is SyncAction.REPORT or context.view.seen(request.target)[0]
        ):
            context.consider_orphan(request.path)
        return None

    def unreachable(self, path: str, message: str, *, reason: str = UNREACHABLE) -> None:
        """Write down that a change of the object waits for the member, without trying."""
        self._recorder.unreachable(self._context.request(path), message, reason=reason)

    async def _ensure_present(
        self,
        request: SyncRequest,
        manifest: Manifest,
        *,
        action: SyncAction,
        seen: Seen | None,
        live: Object | None,
    ) -> Result | None:
        if action is SyncAction.CREATE:
            if self._namespace_pending(request):
                context = self._context
                context.waiting.add(waiting.namespace(request.key.namespace), request.path)
                return Result(requeue_after=NAMESPACE_SECONDS)
            return await self._applying.create(request, manifest)
        if action is SyncAction.APPLY:
            told_by_content = belongings.is_told_by_content(request.key.group, request.key.resource)
            if told_by_content or (seen is not None and not request.uid):
                return await self._applying.resolve(request, manifest)
            return await self._applying.apply(request, manifest, uid=request.uid)
        if action is SyncAction.KEEP:
            return await self._applying.keep(request, manifest)
        if action is SyncAction.CHECK:
            return await self._applying.check(request, manifest)
        if action is SyncAction.COMPARE:
            if live is None:
                raise InternalError("an object that is not in the member is not compared")
            return await self._applying.compare(request, manifest, live)
        if seen is not None:  # what was said of it before the member has shown it again may be out of date
            self._recorder.noted(request, manifest)
        quiet = self._recorder.quiet(request)
        if quiet is not None and not quiet.requeue_after:
            return await self._applying.check(request, manifest)  # it may be healthy again
        return sooner(await self._recorder.count_stuck_pods(request, manifest), quiet)

    def _namespace_pending(self, request: SyncRequest) -> bool:
        """Return whether the object's namespace is one of ours that is on its way into this cluster."""
        if not request.key.namespace or belongings.is_system_namespace(request.key.namespace):
            return False  # that one is there
        path = namespace_path(request.key.namespace)
        placement = self._context.federation.placement(path)
        if placement is None or not is_placed_in(placement.value, self._context.cluster):
            return False
        state = self._context.states.get(path)
        if state is not None and state.phase in (sync.APPLIED, sync.CONFLICT):
            return False
        now, transient = self._context.monotonic(), request.transient
        if transient.namespace_until is None:
            transient.namespace_until = now + NAMESPACE_SECONDS
        return now < transient.namespace_until


def _is_the_known(live: Object, request: SyncRequest) -> bool:
    """Return whether what the watch brought is the very object that the sync state is about."""
    return bool(request.uid) and child(live, "metadata", "uid") == request.uid
