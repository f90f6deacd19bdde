"""One member's pipeline: queue, workers, connection, sync states. A slow or dead member delays nobody else.

Owns `Pipeline`, which runs while this process holds the cluster's lease. Changes of the federation go to the
urgent lane, what members report and what a restart goes through to the bulk lane. How many objects are worked
on at once follows what the member takes (`hanse_syncer.member.limiter`). While the member does not answer, or
is left alone because it misbehaves (`hanse_syncer.member.behaviour`), keys are parked; all are looked at
afterwards.

Concurrency: everything in one task group that ends with `run`. Next: `hanse_syncer.sharing`, which runs
pipelines, and `hanse_syncer.act.reconciler`, which does the work.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final

from opentelemetry.trace import Tracer

from hanse.api.registry.v1.cluster_pb2 import ApiCatalogue, ApiResource
from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.api.syncer.v1.sync_state_pb2 import ZoneEndpoints
from hanse.boundary import reason_of
from hanse.control.controller import Controller
from hanse.control.queue import Backoff, WorkQueue
from hanse.control.reconcile import Request, Result
from hanse.errors import HanseError
from hanse.kube.client.bounds import MisbehavingMemberError
from hanse.kube.model.objects import Object
from hanse.process.telemetry import get_logger
from hanse.security.credentials import Sealer
from hanse.store import BatchWriter, Compare, Store
from hanse_syncer import ownership
from hanse_syncer.act.context import ReconcileContext
from hanse_syncer.act.reconciler import PATIENCE_SECONDS, ObjectReconciler
from hanse_syncer.decide.plan import Seen
from hanse_syncer.decide.render import Renderer
from hanse_syncer.member import connection
from hanse_syncer.member.behaviour import PAUSES, REASON, Behaviour
from hanse_syncer.member.limiter import Limiter
from hanse_syncer.member.member import LinkDownError, Member
from hanse_syncer.member.session import Session
from hanse_syncer.orphans.reporter import OrphanReporter
from hanse_syncer.orphans.scanner import OrphanScanner
from hanse_syncer.report import transitions
from hanse_syncer.report.events import EventSink
from hanse_syncer.report.metrics import SyncerMetrics
from hanse_syncer.report.state_table import SyncStateLoader, SyncStateTable
from hanse_syncer.world import World

_log = get_logger(__name__)
_REPORT_WINDOW: Final = 0.1
"""An object that its member changes all the time is looked at so often, in seconds."""
_DRAIN_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Parts:
    """What all pipelines of a process share."""

    store: Store
    writer: BatchWriter
    """Of sync states; it has no spacing of its own, since the books keep theirs."""
    world: World
    sealer: Sealer
    federation_id: str
    renderer: Renderer
    loader: SyncStateLoader
    events: EventSink
    metrics: SyncerMetrics
    tracer: Tracer | None = None
    concurrency: int = 32
    request_seconds: float = 15.0
    report_window: float = 0.2
    pauses: Backoff = PAUSES
    """How long a member that misbehaves is left alone."""
    orphan_interval: float = 300.0
    orphan_settle: float = 2.0


class Pipeline:
    """Keeps one cluster as it should be, for as long as `run` runs."""

    def __init__(self, parts: Parts, cluster: str, *, fence: Callable[[], Compare]) -> None:
        self.cluster = cluster
        self.states = SyncStateTable(parts.writer, cluster, fence=fence, window=parts.report_window)
        self.queue = WorkQueue(f"syncer-{cluster}")
        self.orphans = OrphanScanner(
            cluster,
            world=parts.world,
            states=self.states,
            report=OrphanReporter(
                cluster,
                store=parts.store,
                world=parts.world,
                fence=fence,
                events=parts.events,
                metrics=parts.metrics,
                clock=lambda: datetime.now(UTC),
            ),
            federation_id=parts.federation_id,
            session=lambda: self._session,
            settled=lambda: self.settled,
            interval=parts.orphan_interval,
            settle=parts.orphan_settle,
        )
        self._parts = parts
        self._limiter = Limiter(maximum=parts.concurrency)
        self._controller = Controller(
            f"syncer-{cluster}", self, self.queue, workers=self._limiter.limit, timeout=None
        )
        self.behaviour = Behaviour(parts.store, cluster, fence=fence, pauses=parts.pauses)
        self._session: Session | None = None
        self._context: ReconcileContext | None = None
        self._reconciler: ObjectReconciler | None = None
        self._parked: set[str] = set()
        self._looking: set[str] = set()
        self._heard: dict[str, Callable[[], None]] = {}
        """What the watch said of objects that are being looked at: mostly the echo of our own write."""
        self._cluster_changed = asyncio.Event()
        self._digest = b""
        """Of the credential of the session."""
        self._catalogue: ApiCatalogue | None = None

    @property
    def up(self) -> bool:
        """Whether there is a connection and the member answers."""
        return self._session is not None and self._session.up

    @property
    def limit(self) -> int:
        """How many requests the member gets at once, at most."""
        return self._limiter.limit

    @property
    def settled(self) -> bool:
        """Whether everything was looked at since the start, the member's lists are in, and nothing waits."""
        session = self._session
        return self.up and session is not None and session.listed and self.queue.idle and not self._parked

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; what is under way is finished then. Raises when the lease is lost."""
        self._parts.metrics.begin(self.cluster)
        self.states.load(await self._parts.loader.load(self.cluster))
        unlisten = self._parts.world.listen(self.cluster, self)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self.states.run(), name=f"states {self.cluster}"),
                    group.create_task(self._connections(), name=f"connections {self.cluster}"),
                    group.create_task(self.behaviour.run(), name=f"behaviour {self.cluster}"),
                    group.create_task(self._controller.run(), name=f"controller {self.cluster}"),
                    group.create_task(self.orphans.run(), name=f"orphans {self.cluster}"),
                ]
                self._seed()
                await stop.wait()
                unlisten()
                await self._controller.drain(timeout=_DRAIN_SECONDS)
                await self.states.flush(_DRAIN_SECONDS)
                for task in tasks:
                    task.cancel()
        finally:
            unlisten()

    async def reconcile(self, request: Request) -> Result | None:
        """Look at one object, or park it while the member does not answer."""
        path = request.key
        self._looking.add(path)
        try:
            return await self._look(request)
        finally:
            self._looking.discard(path)
            heard = self._heard.pop(path, None)
            if heard is not None and self._context is not None:
                heard()

    async def _look(self, request: Request) -> Result | None:
        session, reconciler = self._session, self._reconciler
        path = request.key
        if session is None or reconciler is None or not session.up:
            self._parked.add(path)
            if reconciler is not None:
                self._tell_unreachable(reconciler, path)
            return None
        try:
            return await reconciler.reconcile(path)
        except LinkDownError as error:
            _log.info("a request had no answer", cluster=self.cluster, error=error.message)
            self._parked.add(path)
            if session is not self._session:
                self._unpark()
            elif isinstance(error.__cause__, MisbehavingMemberError):
                session.misbehaved(error.__cause__)
            else:
                session.lost()
            return None
        finally:
            limit = self._limiter.limit
            if limit != self._controller.workers:
                self._controller.workers = limit

    def _tell_unreachable(self, reconciler: ObjectReconciler, path: str) -> None:
        why = self.behaviour.why
        if why:
            reconciler.unreachable(path, why, reason=REASON)
        else:
            reconciler.unreachable(path, f"cluster {self.cluster} does not answer")

    # --- told by the world

    def concerned(self, path: str, *, urgent: bool) -> None:
        """Something about the object changed in the federation."""
        self.orphans.changed(path)
        self.queue.add(path, urgent=urgent)

    def incomplete(self, path: str) -> None:
        """The object changed and its decision is to come, or the other way round: look when that is late.

        When it is not, `concerned` is called.
        """
        now = asyncio.get_running_loop().time()
        transient = self._context.transient(path) if self._context is not None else None
        if transient is None or (transient.decision_until is not None and transient.decision_until <= now):
            self.queue.add(path, urgent=True)
        elif transient.decision_until is None:
            transient.decision_until = now + PATIENCE_SECONDS
            asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._look_anyway, path)

    def _look_anyway(self, path: str) -> None:
        if self._parts.world.is_incomplete(path):
            self.queue.add(path, urgent=True)

    def cluster_changed(self) -> None:
        """The cluster, its credential or its catalogue changed."""
        self._cluster_changed.set()

    # --- asked for by people

    def resync(self, paths: Iterable[str] | None = None) -> int:
        """Compare objects with the member anew; all of them without `paths`. Returns how many were queued."""
        chosen = set(self._all()) if paths is None else set(paths) & set(self._all())
        for path in chosen:
            if self._context is not None:
                self._context.transient(path).forced = True
            self.queue.add(path)
        return len(chosen)

    # --- the connection

    async def _connections(self) -> None:
        """Keep a session open for the current credential.

        A new one knows nothing of the member: everything is looked at, which has it follow what is in use.
        """
        first = True
        while True:
            self._cluster_changed.clear()
            sealed = self._parts.world.credential(self.cluster)
            if sealed is None:
                await self._cluster_changed.wait()
                continue
            try:
                session = self._open(sealed)
            except Exception as error:  # noqa: BLE001 - of this credential; another one may be better
                _log.error("no connection is possible", cluster=self.cluster, error=reason_of(error))
                await self._cluster_changed.wait()
                continue
            running = asyncio.create_task(session.run(), name=f"session {self.cluster}")
            try:
                await asyncio.sleep(0)  # the session's task group is open now
                if self.behaviour.why:
                    self._follow(session)
                self._unpark()
                if not first:
                    self._seed()
                first = False
                await self._until_credential_changes(sealed, running)
            finally:
                self._session = None
                running.cancel()
                await asyncio.wait([running])
            ended = None if running.cancelled() else running.exception()
            if isinstance(ended, MisbehavingMemberError):
                await self._leave_alone(sealed, self.behaviour.misbehaved(ended))
            elif ended is not None:
                raise ended

    async def _leave_alone(self, sealed: bytes, seconds: float) -> None:
        """Wait, unless there is another credential, and so perhaps another server."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._has_other_credential(sealed):
                    self._cluster_changed.clear()
                    await self._cluster_changed.wait()

    def _follow(self, session: Session) -> None:
        """Have all resources listed that there are objects of, before any of them is written to."""
        assert self._context is not None
        of_each: dict[str, str] = {}
        for path, state in self.states.items():
            if state.phase != sync.REMOVED:
                of_each.setdefault("/".join(path.split("/", 2)[:2]), path)
        for path in of_each.values():
            session.follow(self._context.request(path).target)

    def _answers_again(self) -> None:
        """The member answers: it is no longer held against it that it misbehaved.

        It may have been restored from a backup meanwhile.
        """
        self.behaviour.behaves()
        self.orphans.look()
        self._unpark()

    async def _until_credential_changes(self, sealed: bytes, running: asyncio.Task[None]) -> None:
        while not self._has_other_credential(sealed):
            self._refresh_catalogue()
            changed = asyncio.create_task(self._cluster_changed.wait())
            try:
                await asyncio.wait([changed, running], return_when=asyncio.FIRST_COMPLETED)
            finally:
                changed.cancel()
            if running.done():
                return
            self._cluster_changed.clear()

    def _has_other_credential(self, sealed: bytes) -> bool:
        """Whether there is another credential than that of the session, which was sealed so.

        One that was only sealed again is the same. One that cannot be opened, because this syncer does not
        have its key yet, is not known to be another.
        """
        now = self._parts.world.credential(self.cluster)
        if now is None or now == sealed:
            return now is None
        try:
            return self._digest != _digest(self._parts.sealer.open(self.cluster, now))
        except HanseError as error:
            _log.warning("a credential cannot be opened", cluster=self.cluster, error=error.message)
            return False

    def _open(self, sealed: bytes) -> Session:
        parts = self._parts
        self._digest = _digest(parts.sealer.open(self.cluster, sealed))
        client = connection.client(
            connection.access(
                self.cluster, sealed, parts.sealer, known_id=parts.world.cluster_id(self.cluster)
            ),
            timeout=parts.request_seconds,
            connections=parts.concurrency + 64,
        )
        member = Member(client, cluster=self.cluster, limiter=self._limiter)
        session = Session(
            client,
            member,
            selector=ownership.selector(parts.federation_id),
            changed=self._changed,
            vanished=self._vanished,
            listed=self._listed,
            endpoints_changed=self._endpoints_changed,
            back=self._answers_again,
            probation=bool(self.behaviour.why),
        )
        self._context = ReconcileContext(
            cluster=self.cluster,
            federation_id=parts.federation_id,
            world=parts.world,
            member=member,
            states=self.states,
            view=session,
            renderer=parts.renderer,
            events=parts.events,
            metrics=parts.metrics,
            tracer=parts.tracer,
            clock=lambda: datetime.now(UTC),
            wake=lambda path: self.queue.add(path, urgent=True),
            suspect=self.orphans.suspect,
            endpoints=session.endpoints,
        )
        self._session = session
        self.orphans.look()
        self._reconciler = ObjectReconciler(self._context)
        self._catalogue = None
        self._refresh_catalogue()
        return session

    def _refresh_catalogue(self) -> None:
        """Take in what the member serves now, and wake what waited for that."""
        catalogue = self._parts.world.catalogue(self.cluster)
        if catalogue is None or catalogue is self._catalogue or self._context is None:
            return
        self._catalogue = catalogue
        served: dict[tuple[str, str], list[ApiResource]] = {}
        for resource in catalogue.resources:
            served.setdefault((resource.group, resource.resource), []).append(resource)
        self._context.served = {identity: tuple(found) for identity, found in served.items()}
        for token in self._context.waiting.tokens():
            group, _, plural = token.removeprefix("api ").partition("/")
            if token.startswith("api ") and (group, plural) in served:
                for path in self._context.waiting.take(token):
                    self.queue.add(path, urgent=True)

    # --- told by the session

    def _changed(self, path: str, seen: Seen, live: Object | None) -> None:
        if path in self._looking:
            self._heard[path] = partial(self._changed, path, seen, live)
            return
        state = self.states.get(path)
        if state is None:
            self._unexpected(path)
            return
        if state.member_uid == seen.uid and state.member_resource_version == seen.resource_version:
            return
        context = self._context
        assert context is not None
        transient = context.transient(path)
        transient.live = live if self.up else None  # of one that is not looked at soon nothing is kept
        now = asyncio.get_running_loop().time()
        wait = transient.looked_at + _REPORT_WINDOW - now
        if wait > 0:
            self.queue.add_after(path, wait)
        else:
            transient.looked_at = now
            self.queue.add(path)

    def _unexpected(self, path: str) -> None:
        """An object with our marks and without a sync state: placed here and new, or an orphan."""
        world = self._parts.world
        if world.intent(path) is not None or world.placement(path) is not None:
            self.queue.add(path)
            return
        self.orphans.suspect(path)

    def _vanished(self, path: str) -> None:
        if path in self._looking:
            self._heard[path] = partial(self._vanished, path)
            return
        self.orphans.changed(path)
        state = self.states.get(path)
        if state is not None and state.phase != sync.REMOVED:
            self.queue.add(path)

    def _listed(self, prefix: str) -> None:
        """A list is complete: whatever of ours it does not have is asked for by name.

        That a new one was needed can mean that the member was restored: then other kinds have changed unseen.
        """
        self.orphans.look()
        session = self._session
        if session is None:
            return
        for path, state in self.states.items():
            if path.startswith(prefix) and state.phase != sync.REMOVED and not session.shows(path):
                self.queue.add(path)

    def _endpoints_changed(self, namespace: str, service: str) -> None:
        path = f"core/services/{namespace}/{service}"
        state = self.states.get(path)
        if state is None or state.phase == sync.REMOVED or self._session is None:
            return
        ready: list[ZoneEndpoints] | None = self._session.endpoints(namespace, service)
        if ready is not None:
            self.states.update(path, lambda before: transitions.counted(before, ready=ready), lazy=True)

    # --- the queue

    def _all(self) -> Iterable[str]:
        yield from (path for path, _ in self.states.items())
        yield from self._parts.world.placed(self.cluster)

    def _seed(self) -> None:
        """Have everything looked at, what others need first."""
        first = ("core/namespaces/", "apiextensions.k8s.io/customresourcedefinitions/")
        for path in sorted(set(self._all()), key=lambda path: (not path.startswith(first), path)):
            self.queue.add(path)

    def _unpark(self) -> None:
        parked, self._parked = self._parked, set()
        for path in sorted(parked):
            self.queue.add(path)


def _digest(credential: bytes) -> bytes:
    return hashlib.sha256(credential).digest()
