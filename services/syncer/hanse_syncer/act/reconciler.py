"""Brings one object of one member to what the federation wants, and writes down how it is.

Owns the flow: read the world, ask `plan` for the next step, have it carried out; and that nothing is written
of what belongs to the member itself, whatever a placement says. It is level based: nothing is remembered that
matters, and running twice equals running once.

Concurrency: one object is looked at by one task at a time; different objects at once. A member that does not
answer ends a look with LinkDownError, which the pipeline handles for all of them together.

Next: `hanse_syncer.act.applying` for how objects come, `hanse_syncer.act.removal` for how they leave,
`hanse_syncer.pipeline` for who calls.
"""

from __future__ import annotations

import asyncio
import functools
from typing import Final

from hanse.api.registry.v1 import cluster_pb2 as registry
from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.boundary import Boundary
from hanse.control.reconcile import Request, Result
from hanse.errors import HanseError, InvalidArgumentError
from hanse.federation import belongings
from hanse.federation.placements import is_placed_in
from hanse.kube.model.objects import Object
from hanse.process.telemetry import get_logger
from hanse.store.keys import ObjectKey
from hanse_syncer.act import waiting
from hanse_syncer.act.applying import Applying
from hanse_syncer.act.desk import Case, Desk
from hanse_syncer.act.removal import Removal
from hanse_syncer.decide import health, plan
from hanse_syncer.decide.outcome import BELONGS, Outcome, Trouble
from hanse_syncer.decide.plan import Seen, Step, Wish
from hanse_syncer.decide.render import Manifest
from hanse_syncer.member.member import LinkDownError, Target
from hanse_syncer.report.recording import UNREACHABLE, Recorder

_log = get_logger(__name__)

PATIENCE_SECONDS: Final = 1.0
"""How long a decision for the newest generation, or our own namespace, is waited for."""


class ObjectReconciler:
    """Reconciles the objects of the desk's cluster. Keys are `<group>/<resource>/<namespace>/<name>`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._recorder = Recorder(desk)
        self._applying = Applying(desk, self._recorder)
        self._removal = Removal(desk)
        self._boundary = Boundary("syncer objects")

    async def reconcile(self, request: Request) -> Result | None:
        """Look at one object. Raises LinkDownError."""
        case = await self._informed(request.key)
        if self._undecided(case):
            return Result(requeue_after=PATIENCE_SECONDS)
        try:
            result = await self._act(case)
        except Trouble as trouble:
            return self._recorder.troubled(case, trouble)
        except InvalidArgumentError as error:
            return self._recorder.troubled(
                case, Trouble(Outcome(sync.FAILED, "OverrideInvalid", error.message), slow=True)
            )
        except LinkDownError as error:
            self._recorder.unreachable(case, error.message)
            raise
        except HanseError:
            raise
        except Exception as error:  # noqa: BLE001 - of this object there; it is its condition
            why = self._boundary.failed(f"{case.path} in {self._desk.cluster}", error)
            message = f"what is stored of it, or what the cluster answered, cannot be used: {why}"
            return self._recorder.troubled(
                case, Trouble(Outcome(sync.FAILED, "Unreadable", message), slow=True)
            )
        case.memory.failures = 0
        case.memory.forced = False
        return result

    async def _informed(self, path: str) -> Case:
        """Return the case, knowing of the cluster all that the scheduler knew that had the object leave it.

        The cluster's record comes by another watch than the placement: it may say that the cluster leaves the
        federation and keeps its objects. Raises DeadlineError while that cannot be known.
        """
        world = self._desk.world
        case = self._case(path)
        while _is_released(case) and world.clusters.revision < case.placement_revision:
            await world.clusters.reached(case.placement_revision)
            case = self._case(path)
        return case

    def _case(self, path: str) -> Case:
        desk = self._desk
        key = _key(path)
        intent = desk.world.intent(path)
        entry = desk.world.placement(path)
        placement = entry.value if entry is not None else None
        if intent is not None and placement is not None:
            uid = placement.object.uid
            if uid and intent.uid and uid != intent.uid:
                placement = None  # one of the two is of an object of that name that is no more
        cluster = desk.world.cluster(desk.cluster)
        leaving = (
            cluster is not None
            and cluster.orphan_objects
            and (cluster.state == registry.UNJOINING or cluster.HasField("delete_time"))
        )
        wanted, desired = plan.wish(intent, placement, desk.cluster, orphan_cluster=leaving)
        if desk.world.unreadable(path):
            wanted, desired = Wish.UNTOUCHED, None
        state = desk.book.get(path)
        if intent is not None:
            version = intent.api_version
        elif state is not None and state.object.version:
            version = f"{key.group}/{state.object.version}" if key.group else state.object.version
        else:
            version = f"{key.group}/v1" if key.group else "v1"
        return Case(
            path=path,
            key=key,
            intent=intent,
            placement=placement,
            placement_revision=entry.mod_revision if entry is not None else 0,
            wanted=wanted,
            entry=desired,
            state=state,
            target=Target(
                key,
                desk.api_version(key, version),
                metadata_only=(key.group, key.resource) in health.STATELESS_KINDS,
                kind=intent.kind if intent is not None else "",
            ),
            memory=desk.memory(path),
        )

    def _undecided(self, case: Case) -> bool:
        """Whether the object and its placement are of different generations, and there is still time to wait.

        Either the scheduler has not decided yet, or its decision came before the object that it is about:
        the two are followed by different watches.
        """
        if (
            case.wanted is not Wish.PRESENT
            or case.intent is None
            or case.placement is None
            or case.intent.generation == case.placement.generation
        ):
            case.memory.decision_until = None
            return False
        now = asyncio.get_running_loop().time()
        if case.memory.decision_until is None:
            case.memory.decision_until = now + PATIENCE_SECONDS
        return now < case.memory.decision_until

    async def _act(self, case: Case) -> Result | None:
        desk = self._desk
        manifest: Manifest | None = None
        if case.wanted is Wish.PRESENT and (belongs := case.belongs()):
            raise Trouble(Outcome(sync.CONFLICT, BELONGS, f"{belongs}; nothing of it is written"), slow=True)
        if case.wanted is Wish.PRESENT:
            manifest = self._desk.render(case)
        seen, listed = desk.shown.seen(case.target)
        if seen is not None and case.memory.live is not None:
            seen = Seen(seen.uid, seen.resource_version, fresh=True)
        step = plan.decide(
            case.wanted,
            state=case.state,
            rendered_hash=manifest.hash if manifest is not None else "",
            seen=seen,
            listed=listed,
            force=case.memory.forced,
            outdated=plan.is_outdated(
                case.state, intent=case.intent, placement=case.placement, cluster=desk.cluster
            ),
        )
        live, case.memory.live = case.memory.live, None
        if manifest is not None:
            return await self._bring(case, manifest, step=step, seen=seen, live=live)
        return await self._take_away(case, step)

    async def _take_away(self, case: Case, step: Step) -> Result | None:
        desk = self._desk
        if step is Step.REMOVE:
            return await self._removal.remove(case)
        if step is Step.SEARCH:
            return await self._removal.search(case)
        if step is Step.FORGET:
            desk.book.drop(case.path)
            desk.memories.pop(case.path, None)
            desk.waiting.remove(case.path)
        elif step is Step.NOTHING and case.state is None:
            desk.memories.pop(case.path, None)
        if case.wanted is Wish.UNKNOWN and (step is Step.REPORT or desk.shown.seen(case.target)[0]):
            desk.suspect(case.path)
        return None

    def unreachable(self, path: str, message: str, *, reason: str = UNREACHABLE) -> None:
        """Write down that a change of the object waits for the member, without trying."""
        self._recorder.unreachable(self._case(path), message, reason=reason)

    def target(self, path: str) -> Target:
        """Return where the object at `path` is in the member."""
        return self._case(path).target

    async def _bring(
        self, case: Case, manifest: Manifest, *, step: Step, seen: Seen | None, live: Object | None
    ) -> Result | None:
        if step is Step.CREATE:
            if self._namespace_pending(case):
                desk = self._desk
                desk.waiting.add(waiting.namespace(case.key.namespace), case.path)
                return Result(requeue_after=PATIENCE_SECONDS)
            return await self._applying.create(case, manifest)
        if step is Step.APPLY and belongings.is_told_by_content(case.key.group, case.key.resource):
            return await self._applying.resolve(case, manifest)
        if step is Step.APPLY:
            return await self._applying.apply(case, manifest, uid=case.uid or (seen.uid if seen else ""))
        if step is Step.KEEP:
            return await self._applying.keep(case, manifest)
        if step is Step.CHECK:
            return await self._applying.check(case, manifest)
        if step is Step.COMPARE:
            assert live is not None
            return await self._applying.compare(case, manifest, live)
        self._recorder.noted(case, manifest)
        return await self._recorder.look_at_pods(case, manifest)

    def _namespace_pending(self, case: Case) -> bool:
        """Whether the object's namespace is one of ours that is on its way into this cluster."""
        if not case.key.namespace or belongings.is_system_namespace(case.key.namespace):
            return False  # that one is there
        path = f"core/namespaces/_/{case.key.namespace}"
        placement = self._desk.world.placement(path)
        if placement is None or not is_placed_in(placement.value, self._desk.cluster):
            return False
        state = self._desk.book.get(path)
        if state is not None and state.phase in (sync.APPLIED, sync.CONFLICT):
            return False
        now, memory = asyncio.get_running_loop().time(), case.memory
        if memory.namespace_until is None:
            memory.namespace_until = now + PATIENCE_SECONDS
        return now < memory.namespace_until


def _is_released(case: Case) -> bool:
    """Whether the object is to be deleted there only because it is no longer placed there."""
    return case.wanted is Wish.ABSENT and case.intent is not None and not case.intent.deleting


@functools.lru_cache(maxsize=4096)
def _key(path: str) -> ObjectKey:
    return ObjectKey.parse(f"objects/{path}")
