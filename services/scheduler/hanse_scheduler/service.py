"""SchedulerService: placements for people and programs, and what they may ask of the scheduler.

Owns the RPCs. Reading, explaining and previewing work on every scheduler; rebalancing and evicting only on
the one that leads. A read sees everything that was acknowledged before it.

Concurrency: one loop; a task per call.

Next: `hanse_scheduler.placing.evaluator` for explanations, `hanse_scheduler.placing.reconciler` for changes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

from google.protobuf.message import DecodeError

from hanse.api.scheduler.v1 import scheduler_service_pb2 as pb
from hanse.api.scheduler.v1 import scheduler_service_pb2_grpc
from hanse.api.scheduler.v1.placement_pb2 import Placement
from hanse.errors import ConflictError, FailedPreconditionError, InvalidArgumentError, NotFoundError
from hanse.federation.placements import is_placed_in
from hanse.federation.references import key_of
from hanse.rpc.lists.parents import parent_prefix
from hanse.rpc.lists.query import ListQuery
from hanse.rpc.policy import Policy, service
from hanse.rpc.watch import responses
from hanse.store import KeyValue, Store
from hanse.store.history.logged import CollectionHistory
from hanse.store.keys import PLACEMENTS
from hanse_scheduler.decide.decision import PlacementDecision
from hanse_scheduler.leading import PlacementController
from hanse_scheduler.placing.evaluator import Evaluator, manifest_of
from hanse_scheduler.placing.impact import ImpactPreview
from hanse_scheduler.state.scheduler_state import SchedulerState

_SERVICE = "hanse.api.scheduler.v1.SchedulerService"
POLICY = Policy(
    {
        f"{_SERVICE}/*": [],
        f"{_SERVICE}/PreviewPlacement": [service("apiserver")],
        f"{_SERVICE}/PreviewPolicy": [service("apiserver")],
        f"{_SERVICE}/RebalancePlacement": [],
        f"{_SERVICE}/EvictPlacement": [],
    }
)
"""For admins, but for what the apiserver must know before it stores a change."""

MAX_EMPTIED = 20
"""Workloads that a preview names."""
_ATTEMPTS = 5


class SchedulerServicer(scheduler_service_pb2_grpc.SchedulerServiceServicer):
    """Serves SchedulerService. Make it after the state's follower has synced."""

    def __init__(
        self, *, store: Store, state: SchedulerState, evaluator: Evaluator, scheduler: PlacementController
    ) -> None:
        self._store = store
        self._state = state
        self._evaluator = evaluator
        self._impact = ImpactPreview(store, state, evaluator)
        self._scheduler = scheduler
        self._history = CollectionHistory(state.placements, _with_revision)

    async def GetPlacement(self, request: pb.GetPlacementRequest, context: Any) -> Placement:
        """Return one placement. Raises NotFoundError."""
        path = _path(request.name)
        kv = await self._store.get(f"{PLACEMENTS}/{path}")
        if kv is None:
            raise _missing(request.name)
        return _decode(kv)

    async def ListPlacements(
        self, request: pb.ListPlacementsRequest, context: Any
    ) -> pb.ListPlacementsResponse:
        """Return one page of placements."""
        prefix = parent_prefix(request.parent, PLACEMENTS, depth=3)
        query = ListQuery.of(request, Placement.DESCRIPTOR)
        if query.plain:
            page = await query.read(self._store, prefix, _decode)
        else:
            revision = await self._state.follower.current()
            chosen = (found for found in self._presented() if found[0].startswith(prefix))
            page = query.page(chosen, revision=revision)
        return pb.ListPlacementsResponse(
            placements=page.items, next_page_token=page.next_page_token, revision=page.revision
        )

    async def WatchPlacements(
        self, request: pb.WatchPlacementsRequest, context: Any
    ) -> AsyncIterator[pb.WatchPlacementsResponse]:
        """Yield the placements as they are, then every change."""
        prefix = parent_prefix(request.parent, PLACEMENTS, depth=3)
        if not request.revision:
            await self._state.follower.current()

        def selected(name: str, _: Placement) -> bool:
            return name.startswith(prefix)

        told = responses(
            self._history,
            request.revision,
            pb.WatchPlacementsResponse,
            put=lambda response, placement: response.placement.CopyFrom(placement),
            gone=lambda response, key, _: response.placement.MergeFrom(Placement(name=key)),
            select=selected,
        )
        async with aclosing(told):
            async for response in told:
                yield response

    def _presented(self) -> Iterator[tuple[str, Placement]]:
        for name, found in self._state.placements.all_versioned():
            yield name, _with_revision(found.value, found.mod_revision)

    async def ExplainPlacement(
        self, request: pb.ExplainPlacementRequest, context: Any
    ) -> pb.ExplainPlacementResponse:
        """Return what would be decided now, and how."""
        path = key_of(request.object).path()
        for _ in range(_ATTEMPTS):
            await self._state.follower.current()
            if self._state.record(path) is None:
                raise NotFoundError(
                    f"there is no object {path}, or its kind is never placed: name one that exists",
                    metadata={"object": path},
                )
            decision = await self._evaluator.decide(path, explain=True)
            if decision is not None:
                return self._explained(path, decision)
        raise ConflictError(
            f"{path} keeps changing while it is explained: ask again", metadata={"object": path}
        )

    async def PreviewPlacement(
        self, request: pb.PreviewPlacementRequest, context: Any
    ) -> pb.ExplainPlacementResponse:
        """Return what would be decided for a manifest, and how."""
        await self._state.follower.current()
        key, decision = await self._evaluator.preview(request.manifest)
        return self._explained(key.path(), decision)

    async def PreviewPolicy(self, request: pb.PreviewPolicyRequest, context: Any) -> pb.PreviewPolicyResponse:
        """Count what a change would take away."""
        obj = manifest_of(request.manifest)
        await self._state.follower.current()
        impact = await self._impact.of(await self._evaluator.key_of(obj), obj, deleted=request.deleted)
        return pb.PreviewPolicyResponse(
            objects=impact.objects,
            replicas=impact.replicas,
            removed_replicas=impact.removed,
            moved_replicas=impact.moved,
            emptied_count=len(impact.emptied),
            emptied=impact.emptied[:MAX_EMPTIED],
            confirmation=impact.confirmation,
        )

    async def RebalancePlacement(self, request: pb.RebalancePlacementRequest, context: Any) -> Placement:
        """Divide again, once."""
        path = _path(request.name)
        reconciler = self._scheduler.reconciler
        await self._state.follower.current()
        return await reconciler.change(path, rebalance=True)

    async def EvictPlacement(self, request: pb.EvictPlacementRequest, context: Any) -> Placement:
        """Move an object away from a cluster."""
        path = _path(request.name)
        reconciler = self._scheduler.reconciler
        await self._state.follower.current()
        stored = self._state.placement(path)
        if stored is None:
            raise _missing(request.name)
        if not is_placed_in(stored.value, request.cluster):
            raise FailedPreconditionError(
                f"{request.name} is not placed in cluster {request.cluster!r}: name one that it is placed in",
                metadata={"name": request.name, "cluster": request.cluster},
            )
        return await reconciler.change(path, evict=request.cluster)

    def _explained(self, path: str, decision: PlacementDecision) -> pb.ExplainPlacementResponse:
        response = pb.ExplainPlacementResponse(
            decision=decision.placement,
            steps=[
                pb.ExplainStep(step=step.step, cluster=step.cluster, message=step.message)
                for step in decision.steps
            ],
        )
        stored = self._state.placement(path)
        if stored is not None:
            response.current.CopyFrom(_with_revision(stored.value, stored.revision))
        return response


def _with_revision(placement: Placement, revision: int) -> Placement:
    result = Placement()
    result.CopyFrom(placement)
    result.revision = revision
    return result


def _decode(kv: KeyValue) -> Placement:
    """Return a stored placement; one that cannot be read by its name, with the reason."""
    try:
        placement = Placement.FromString(kv.value)
    except DecodeError as error:
        placement = Placement(name=kv.key, error=f"what is stored of it cannot be read: {error}")
    placement.revision = kv.mod_revision
    return placement


def _path(name: str) -> str:
    """Return the path in a placement's name. Raises InvalidArgumentError."""
    prefix, _, path = name.partition("/")
    if prefix != PLACEMENTS or path.count("/") != 3 or not all(path.split("/")):
        raise InvalidArgumentError(
            f"name {name!r} is not of the form placements/GROUP/RESOURCE/NAMESPACE/OBJECT (core for the core "
            "group, _ for no namespace)",
            metadata={"field": "name"},
        )
    return path


def _missing(name: str) -> NotFoundError:
    return NotFoundError(
        f"there is no placement {name!r}: its object does not exist or is not placed",
        metadata={"name": name},
    )
