"""Which clusters an object has to leave: placed -> releasing -> (confirmed by the syncer) -> gone.

Owns that handshake, from the scheduler's side. A cluster never falls silently out of a placement: what is
placed and may not stay is released, and stays listed until the syncer has confirmed that nothing is left
there. What is found in a cluster that is refused for the moment only is left alone: it may be placed there in
a moment.

Pure; messages are never changed. Next: `hanse.federation.confirmation`, `hanse_scheduler.handshake.builder`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from hanse.api.scheduler.v1.placement_pb2 import ClusterRelease, Placement
from hanse_scheduler.reasons import TEMPORARY, UNJOINING, Refusal
from hanse_scheduler.times import timestamp_of

_NOT_PLACED: Final[Refusal] = ("NotPlaced", "the object is not placed there any more")
_DELETED: Final[Refusal] = ("Deleted", "the object is being deleted")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFacts:
    """What is known of the clusters of one object.

    `exists` are the clusters that there are, `confirmed` those whose release is confirmed, `lingering` those
    where the syncer says that something of the object is, `leaving` those that leave the federation.
    """

    exists: Collection[str]
    confirmed: Collection[str] = frozenset()
    lingering: Collection[str] = ()
    leaving: Collection[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseRules:
    """Makes releases at `now` (seconds since the epoch), after the placement that was written at
    `revision`."""

    facts: ClusterFacts
    revision: int
    now: float

    def releases(
        self,
        before: Placement | None,
        *,
        staying: Collection[str],
        refused: Mapping[str, Refusal],
    ) -> dict[str, ClusterRelease]:
        """Return, by cluster, what must leave: released before, placed before, or found there.

        `staying` are the clusters that the object is placed in now, `refused` why it is not in others.
        """
        facts = self.facts
        result: dict[str, ClusterRelease] = {}
        if before is not None:
            for release in before.releasing:
                name = release.cluster
                if name not in staying and name in facts.exists and name not in facts.confirmed:
                    result[name] = release
        placed = [item.cluster for item in before.clusters] if before is not None else []
        for name in (*placed, *facts.lingering):
            if name in staying or name in result or name not in facts.exists:
                continue
            reason, message = refused.get(name, _NOT_PLACED)
            if reason in TEMPORARY and name not in placed:
                continue
            result[name] = self.release(name, (reason, message))
        return dict(sorted(result.items()))

    def while_deleting(self, before: Placement, named: Collection[str]) -> list[ClusterRelease]:
        """Return what must leave while the object is being deleted, sorted by cluster.

        `named` are the clusters that stay placed: there the deletion itself takes the object away. A cluster
        that leaves the federation is released, and let go of when it has confirmed: it does not wait for the
        others to confirm. What lives somewhere and is in no list is added, so that it is deleted there too.
        """
        facts = self.facts
        result = [
            self.release(item.cluster, UNJOINING) for item in before.clusters if item.cluster in facts.leaving
        ]
        for release in before.releasing:
            left = release.cluster in facts.leaving and release.cluster in facts.confirmed
            if release.cluster in facts.exists and not left:
                result.append(release)
        known = {*named, *(release.cluster for release in result)}
        result += [
            self.release(name, _DELETED)
            for name in facts.lingering
            if name not in known and name in facts.exists
        ]
        return sorted(result, key=lambda release: release.cluster)

    def release(self, cluster: str, refusal: Refusal) -> ClusterRelease:
        """Return a new release of a cluster; only what is confirmed of it later counts."""
        reason, message = refusal
        return ClusterRelease(
            cluster=cluster,
            reason=reason,
            message=message,
            release_time=timestamp_of(self.now),
            after_revision=self.revision,
        )
