"""One object of one cluster with all that is known of it at the moment: what a reconcile works on.

Owns `SyncRequest`, a value that is built for every reconcile, and `TransientState`, what is kept of an object
between two reconciles and can be lost without harm.

Concurrency: one event loop; one object is reconciled by one task at a time.

Next: `hanse_syncer.act.context`, which builds requests, and `hanse_syncer.act.reconciler`, which acts on
them.
"""

from __future__ import annotations

from dataclasses import dataclass

from hanse.api.federation.v1.tombstone_pb2 import Tombstone
from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement, Placement
from hanse.api.syncer.v1.sync_state_pb2 import SyncState
from hanse.api.type.v1.job_run_pb2 import JobRun
from hanse.federation import belongings
from hanse.federation.jobs import job_runs
from hanse.kube.kinds.kubernetes import core
from hanse.kube.model.objects import Object, child
from hanse.store.keys import ObjectKey
from hanse_syncer.decide import job_claims
from hanse_syncer.decide.plan import Desired
from hanse_syncer.federation.intent import Intent
from hanse_syncer.member.client import MemberObject
from hanse_syncer.report.transitions import Subject


@dataclass(slots=True)
class TransientState:
    """What is worth remembering of an object between looks, and can be lost without harm."""

    failures: int = 0
    live: Object | None = None
    """The newest object that the watch brought, until it is looked at."""
    last: Object | None = None
    """A Job as it was when the watch showed it last, until that is written down."""
    repairs: int = 0
    repaired_at: float = float("-inf")
    undone_by: str = ""
    """Field manager that undid the last repair, as far as it is known."""
    removed: bool = False
    """Whether the object was gone when it was found not to be right."""
    queued_at: float = float("-inf")
    lagging_since: float | None = None
    namespace_until: float | None = None
    """Until when our own namespace is waited for without asking the member."""
    stuck: frozenset[str] = frozenset()
    """uids of what was in the namespace when it was looked through last, and only waits for the collector."""
    stuck_since: float = float("-inf")
    forced: bool = False


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """One object in the context's cluster, as everything is now."""

    path: str
    key: ObjectKey
    intent: Intent | None
    placement: Placement | None
    placement_revision: int
    desired: Desired
    entry: ClusterPlacement | None
    """The cluster's part of the placement, where it is desired."""
    state: SyncState | None
    target: MemberObject
    transient: TransientState
    tombstone: Tombstone | None = None
    """What is acted on if that is what deleted objects have left; the intent stands for them then."""
    left_over: bool = False
    """Whether nothing of that is there any more."""
    tombstone_revision: int = 0
    """The revision of the tombstone of the name, whatever is acted on."""
    run: JobRun | None = None
    """For a Job: the run that the cluster has or is to start, by all that is known of it."""

    @property
    def uid(self) -> str:
        """The uid that the member's object was last known by; empty if there is none."""
        return self.state.member_uid if self.state is not None else ""

    @property
    def ttl(self) -> int | None:
        """For how many seconds a Job stays in the member after it has finished; None if it stays.

        Of one that may be there and was not sent without a ttlSecondsAfterFinished, only that of the intent
        is known: where that has none it may have gone at once.
        """
        if self.run is None or self.run.kept or self.intent is None:
            return None
        ttl = job_claims.ttl_of(self.intent.object())
        return 0 if ttl is None and not job_runs.never_started(self.run) else ttl

    @property
    def sealed(self) -> bool:
        """Whether nothing of what a cluster says of the object may be written down. Secrets may be sealed
        though their intent is not known any more."""
        return (self.key.group, self.key.resource) == core.SECRET.group_plural or (
            self.intent is not None and self.intent.sealed
        )

    def belongs(self, live: Object | None = None) -> str:
        """Return why the object belongs to the cluster itself, "" if it does not.

        `live` is what the cluster has of that name. That a controller owns it counts, unless it is the very
        object that is ours: that one can have got an owner later.
        """
        key = self.key
        if self.intent is not None and (self.intent.belongs or live is None):
            return self.intent.belongs
        if live is None:
            return belongings.by_name(key.group, key.resource, namespace=key.namespace, name=key.name)
        ours = bool(self.uid) and child(live, "metadata", "uid") == self.uid
        return belongings.of(key.group, key.resource, live, controlled=not ours)

    def subject(self, cluster: str) -> Subject:
        """Return what every sync state says of the object."""
        traceparent = self.placement.traceparent if self.placement is not None else ""
        if self.intent is not None and not traceparent:
            traceparent = self.intent.traceparent
        return Subject(
            key=self.key,
            cluster=cluster,
            uid=self.intent.uid if self.intent is not None else "",
            generation=self.intent.generation if self.intent is not None else 0,
            placement_revision=self.placement_revision,
            traceparent=traceparent,
            run=self.run,
        )
