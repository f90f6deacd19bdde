"""Keeps a connection to one member open, for the credential that the registry has stored.

Owns `MemberConnector`: when a connection is opened, when another credential ends it, how long a member that
misbehaves is left alone, and what a new catalogue wakes. A credential that was only sealed again is the same
one. A credential that cannot be opened, because this syncer does not have its key yet, is not known to be
another.

Concurrency: one task, `run`; the session of each connection is in a task group that ends with it.

Next: `hanse_syncer.member.session`, which follows the member, `hanse_syncer.member.behaviour`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Callable

from hanse.api.registry.v1.cluster_pb2 import ApiCatalogue
from hanse.boundary import reason_of
from hanse.errors import HanseError
from hanse.kube.client.bounds import MisbehavingMemberError
from hanse.process.telemetry import get_logger
from hanse.security.credentials import Sealer
from hanse_syncer.cluster.connection import MemberConnection
from hanse_syncer.federation.state import FederationState
from hanse_syncer.member.behaviour import Behaviour

_log = get_logger(__name__)


class MemberConnector:
    """The connection to the member of one cluster.

    `connect` makes one of a sealed credential; `opened` is called with each, and whether it is the first.
    """

    def __init__(
        self,
        cluster: str,
        *,
        federation: FederationState,
        sealer: Sealer,
        behaviour: Behaviour,
        connect: Callable[[bytes], MemberConnection],
        opened: Callable[[MemberConnection, bool], None],
    ) -> None:
        self._cluster = cluster
        self._federation = federation
        self._sealer = sealer
        self._behaviour = behaviour
        self._connect = connect
        self._opened = opened
        self._changed = asyncio.Event()
        self._digest = b""
        """Of the credential of the newest connection."""
        self._catalogue: ApiCatalogue | None = None
        self._latest: MemberConnection | None = None
        self._open = False

    def current(self) -> MemberConnection | None:
        """Return the connection that is open now, None if there is none."""
        return self._latest if self._open else None

    def latest(self) -> MemberConnection | None:
        """Return the newest connection, open or not; None before the first."""
        return self._latest

    def cluster_changed(self) -> None:
        """Take note that the cluster, its credential, its catalogue or the keys of the sealer changed."""
        self._changed.set()

    async def run(self) -> None:
        """Keep a connection open until cancelled. Raises what ends a session and is not the member's
        fault."""
        first = True
        while True:
            self._changed.clear()
            sealed = self._federation.credential(self._cluster)
            connection = self._make(sealed) if sealed is not None else None
            if sealed is None or connection is None:
                await self._changed.wait()
                continue
            misbehaved = await self._keep(connection, sealed, first=first)
            first = False
            if misbehaved is not None:
                await self._leave_alone(sealed, self._behaviour.misbehaved(misbehaved))

    def _make(self, sealed: bytes) -> MemberConnection | None:
        """Return a connection that is not open yet; None if this credential does not allow one."""
        try:
            self._digest = _digest(self._sealer.open(self._cluster, sealed))
            connection = self._connect(sealed)
        except Exception as error:  # noqa: BLE001 - of this credential; another one may be better
            _log.error("no connection is possible", cluster=self._cluster, error=reason_of(error))
            return None
        self._latest, self._open, self._catalogue = connection, True, None
        self._refresh_catalogue()
        return connection

    async def _keep(
        self, connection: MemberConnection, sealed: bytes, *, first: bool
    ) -> MisbehavingMemberError | None:
        """Keep the connection open until there is another credential; return how the member misbehaved."""
        misbehaved: list[MisbehavingMemberError] = []
        try:
            async with asyncio.TaskGroup() as group:
                running = group.create_task(connection.session.run(), name=f"session {self._cluster}")
                await asyncio.sleep(0)  # the session's task group is open now
                self._opened(connection, first)
                await self._until_other_credential(sealed)
                self._open = False
                running.cancel()
        except* MisbehavingMemberError as errors:
            misbehaved += [error for error in errors.exceptions if isinstance(error, MisbehavingMemberError)]
        finally:
            self._open = False
        return misbehaved[0] if misbehaved else None

    async def _leave_alone(self, sealed: bytes, seconds: float) -> None:
        """Wait, unless there is another credential, and so perhaps another server."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._has_other_credential(sealed):
                    self._changed.clear()
                    await self._changed.wait()

    async def _until_other_credential(self, sealed: bytes) -> None:
        while not self._has_other_credential(sealed):
            self._refresh_catalogue()
            await self._changed.wait()
            self._changed.clear()

    def _has_other_credential(self, sealed: bytes) -> bool:
        """Return whether there is another credential than that of the connection, which was sealed so."""
        now = self._federation.credential(self._cluster)
        if now is None or now == sealed:
            return now is None
        try:
            return self._digest != _digest(self._sealer.open(self._cluster, now))
        except HanseError as error:
            _log.warning("a credential cannot be opened", cluster=self._cluster, error=error.message)
            return False

    def _refresh_catalogue(self) -> None:
        """Take in what the member serves now, and wake what waited for that."""
        catalogue = self._federation.catalogue(self._cluster)
        if catalogue is None or catalogue is self._catalogue or self._latest is None:
            return
        self._catalogue = catalogue
        self._latest.context.serve(catalogue.resources)


def _digest(credential: bytes) -> bytes:
    return hashlib.sha256(credential).digest()
