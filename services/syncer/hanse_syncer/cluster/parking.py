"""Keys that wait for the member: reconciled when it answers, parked while it does not.

Owns `ParkedKeys` and `ParkingReconciler`. A member that does not answer is asked by one task
(`hanse_syncer.member.session`), never by the objects that wait for it: their keys leave the queue, their sync
states say that they wait, and all of them are queued again when the member is back.

Concurrency: one event loop; `reconcile` runs for different keys at once.

Next: `hanse_syncer.act.reconciler`, which does the work, and `hanse_syncer.cluster.controller`.
"""

from __future__ import annotations

from collections.abc import Callable

from hanse.control.reconcile import Result
from hanse.federation.clusters import CREDENTIAL_REFUSED
from hanse.kube.client.bounds import MisbehavingMemberError
from hanse.process.telemetry import get_logger
from hanse_syncer.act.state_recorder import UNREACHABLE
from hanse_syncer.cluster.connection import MemberConnection
from hanse_syncer.member.behaviour import REASON
from hanse_syncer.member.client import LinkDownError

_log = get_logger(__name__)


class ParkedKeys:
    """The keys that wait for the member; `add` queues one again."""

    def __init__(self, add: Callable[[str], None]) -> None:
        self._add = add
        self._keys: set[str] = set()

    def __len__(self) -> int:
        return len(self._keys)

    def park(self, key: str) -> None:
        """Have `key` wait until the next `release`."""
        self._keys.add(key)

    def release(self) -> None:
        """Queue all parked keys again."""
        parked, self._keys = self._keys, set()
        for key in sorted(parked):
            self._add(key)


class ParkingReconciler:
    """Reconciles an object of one cluster, or parks its key.

    `current` is the connection that is open now, `latest` the newest one, open or not; `misbehaviour` says
    what the member did, while it is left alone.
    """

    def __init__(
        self,
        cluster: str,
        parked: ParkedKeys,
        *,
        current: Callable[[], MemberConnection | None],
        latest: Callable[[], MemberConnection | None],
        misbehaviour: Callable[[], str],
    ) -> None:
        self._cluster = cluster
        self._parked = parked
        self._current = current
        self._latest = latest
        self._misbehaviour = misbehaviour

    async def reconcile(self, path: str) -> Result | None:
        """Reconcile the object at `path`, or park it while the member does not answer."""
        connection = self._current()
        if connection is None or not connection.session.up:
            self._parked.park(path)
            self._report_unreachable(path)
            return None
        try:
            return await connection.reconciler.reconcile(path)
        except LinkDownError as error:
            _log.info("a request had no answer", cluster=self._cluster, error=error.message)
            self._parked.park(path)
            if connection is not self._current():
                self._parked.release()
            elif isinstance(error.__cause__, MisbehavingMemberError):
                connection.session.misbehaved(error.__cause__)
            else:
                connection.session.lost(error)
            return None

    def _report_unreachable(self, path: str) -> None:
        connection = self._latest()
        if connection is None:
            return
        if why := self._misbehaviour():
            connection.reconciler.unreachable(path, why, reason=REASON)
        elif refusal := connection.session.refusal:
            connection.reconciler.unreachable(path, refusal, reason=CREDENTIAL_REFUSED)
        else:
            message = f"cluster {self._cluster} does not answer"
            connection.reconciler.unreachable(path, message, reason=UNREACHABLE)
