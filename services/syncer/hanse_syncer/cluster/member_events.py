"""What the connection to a member reports, made into keys of the queue.

Owns `MemberEventHandler`: an object changed or vanished, a list is complete, the endpoints of a Service
changed. What the sync state says already queues nothing; an object that its member changes all the time is
queued a few times a second; one that nothing explains goes to the orphan scanner.

Concurrency: one event loop; nothing here waits.

Next: `hanse_syncer.member.session`, which reports, `hanse_syncer.cluster.in_flight`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from hanse.control.queue import WorkQueue
from hanse.federation.confirmation import is_removed
from hanse.kube.kinds.kubernetes import batch, core
from hanse.kube.model.objects import Object
from hanse.paths import path_to
from hanse_syncer.cluster.connection import MemberConnection
from hanse_syncer.cluster.in_flight import InFlight
from hanse_syncer.decide.plan import Seen
from hanse_syncer.federation.state import FederationState
from hanse_syncer.orphans.scanner import OrphanScanner
from hanse_syncer.report import transitions
from hanse_syncer.report.state_table import SyncStateTable

REPORT_WINDOW_SECONDS: Final = 0.1
"""How often an object that its member changes all the time is reconciled."""


_JOBS: Final = f"{batch.JOB.group}/{batch.JOB.plural}/"


class MemberEventHandler:
    """Queues what a member's changes concern. `latest` is the newest connection, `current` the open one."""

    def __init__(
        self,
        *,
        federation: FederationState,
        states: SyncStateTable,
        queue: WorkQueue,
        orphans: OrphanScanner,
        in_flight: InFlight,
        latest: Callable[[], MemberConnection | None],
        current: Callable[[], MemberConnection | None],
        monotonic: Callable[[], float],
    ) -> None:
        self._federation = federation
        self._states = states
        self._queue = queue
        self._orphans = orphans
        self._in_flight = in_flight
        self._latest = latest
        self._current = current
        self._monotonic = monotonic

    def changed(self, path: str, seen: Seen, live: Object | None) -> None:
        """Take note that the member has an object with our marks at `path`; `live` is the whole of it, if
        it was sent.
        """
        if self._in_flight.defer(path, partial(self.changed, path, seen, live)):
            return
        state = self._states.get(path)
        if state is None:
            self._unexpected(path)
            return
        if state.member_uid == seen.uid and state.member_resource_version == seen.resource_version:
            return
        connection = self._latest()
        if connection is None:
            return
        transient = connection.context.transient(path)
        current = self._current()
        up = current is not None and current.session.up
        transient.live = live if up else None  # nothing is kept of one that is not reconciled soon
        now = self._monotonic()
        wait = transient.queued_at + REPORT_WINDOW_SECONDS - now
        if wait > 0:
            self._queue.add_after(path, wait)
        else:
            transient.queued_at = now
            self._queue.add(path)

    def vanished(self, path: str, last: Object | None = None) -> None:
        """Take note that the member no longer shows the object; `last` is what it was, if the watch said."""
        if self._in_flight.defer(path, partial(self.vanished, path, last)):
            return
        connection = self._latest()
        if last is not None and connection is not None and path.startswith(_JOBS):
            connection.context.transient(path).last = last
        self._orphans.changed(path)
        state = self._states.get(path)
        if state is not None and not is_removed(state):
            self._queue.add(path)

    def listed(self, prefix: str) -> None:
        """Take note that a list is complete: whatever of ours it does not have is asked for by name.

        That a new one was needed can mean that the member was restored: then other kinds have changed unseen.
        """
        self._orphans.scan_soon()
        connection = self._current()
        if connection is None:
            return
        for path, state in self._states.items():
            if path.startswith(prefix) and not is_removed(state) and not connection.session.shows(path):
                self._queue.add(path)

    def endpoints_changed(self, namespace: str, service: str) -> None:
        """Take note that the ready endpoints of a Service changed."""
        path = path_to(group="", resource=core.SERVICE.plural, namespace=namespace, name=service)
        state, connection = self._states.get(path), self._current()
        if state is None or is_removed(state) or connection is None:
            return
        ready = connection.session.endpoints(namespace, service)
        if ready is not None:
            self._states.update(path, lambda before: transitions.counted(before, ready=ready), lazy=True)

    def _unexpected(self, path: str) -> None:
        """Take note of an object with our marks and without a sync state: placed here and new, or an
        orphan.
        """
        federation = self._federation
        if federation.intent(path) or federation.placement(path) or federation.tombstone(path):
            self._queue.add(path)
        else:
            self._orphans.consider(path)
