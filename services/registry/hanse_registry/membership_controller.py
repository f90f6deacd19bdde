"""Keeps the view of one cluster true: probes it, takes its inventory, and sees it off when it leaves.

One task per cluster, so that a cluster that hangs delays nobody else. What it finds is compiled and stored
only if it differs from what is stored. `hanse_registry.controller` starts and stops controllers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import datetime
from functools import partial

from hanse.api.registry.v1 import cluster_pb2
from hanse.api.syncer.v1 import orphan_pb2
from hanse.api.type.v1 import condition_pb2
from hanse.boundary import Boundary
from hanse.errors import (
    ConflictError,
    DataLossError,
    HanseError,
    InternalError,
    InvalidArgumentError,
    ResourceExhaustedError,
    UnavailableError,
)
from hanse.federation.events import EventRecorder
from hanse.kube.client.access import ClusterAccess
from hanse.kube.model.objects import Object, is_deleting
from hanse.kube.model.times import utc_now
from hanse.process.telemetry import get_logger
from hanse.store import Compare, Delete, Op, Put, Store, is_too_large, keys
from hanse.store.decoding import carry
from hanse.store.times import stamp
from hanse.well_known import FORCE_UNJOIN
from hanse_registry.catalogues import stored_catalogue
from hanse_registry.intent import ClusterIntents, object_key
from hanse_registry.member import events
from hanse_registry.member.account import has_account, remove_account
from hanse_registry.member.health import ClusterHealth, ProbeOutcome, Standing, after
from hanse_registry.member.probe import MISBEHAVING, Inventory, MemberApi, outcome_of, probe, take_inventory
from hanse_registry.member.renewal import TokenRenewal
from hanse_registry.member.rights import lacking_in_use
from hanse_registry.membership import compile_cluster, removes_account, standing_of
from hanse_registry.remaining import held_by
from hanse_registry.settings import RegistrySettings

Connect = Callable[[ClusterAccess], AbstractAsyncContextManager[MemberApi]]
"""Opens a connection to a member."""
LEAVE_INTERVAL = 1.0
"""Seconds between two looks at what is left of a cluster that leaves."""
DOUBT_PAUSE = 300.0
"""Most seconds between two looks at all that a cluster has that is not to be trusted."""
RIGHTS_SECONDS = 60.0
LIMITED_SECONDS = 300.0
"""Between two looks at the rights of a credential; the second for one that may do what it needs and no more,
since those are many questions.
"""
SEPARATE_BYTES = 512 * 1024
"""A catalogue of more bytes is stored before the cluster that names it, and not with it."""
_log = get_logger(__name__)


class MembershipController:
    """The registry's attention to one cluster."""

    def __init__(
        self,
        cluster: str,
        *,
        store: Store,
        settings: RegistrySettings,
        intent: ClusterIntents,
        connect: Connect,
        fence: Compare,
        previous: cluster_pb2.Cluster | None,
        renewal: TokenRenewal,
        recorder: EventRecorder | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """`previous` is what is stored of the cluster; the controller goes on from there."""
        self.renewal = renewal
        self._removing_account = removes_account(previous)
        self._clock = clock
        self._name = cluster
        self._store = store
        self._settings = settings
        self._intent = intent
        self._connect = connect
        self._fence = fence
        self._stored = previous
        self._recorder = recorder
        self._health: ClusterHealth = standing_of(previous)
        self._inventory: Inventory | None = None
        self._doubt: ProbeOutcome | None = None
        """What the last inventory found that proves that the cluster is not to be trusted."""
        self._object: Object | None = None
        self._access: ClusterAccess | None = None
        self._credential_hash = ""
        self._tried_hash = previous.credential_hash if previous is not None else ""
        """The credential that `_health` speaks of: another one is told when it has been tried."""
        self._changed = asyncio.Event()
        self._reconnect = asyncio.Event()
        self._free_since: float | None = None
        self._held_by = ""
        self._orphans: orphan_pb2.OrphanReport | None = None
        self._boundary = Boundary("registry inventory")
        self._inventory_at = 0.0
        self._asked_for = False
        self._rights_at = 0.0
        self._lacks: list[str] | None = None
        self._locked = ""
        """Why the credential that is stored cannot be opened."""
        self._doubted = 0
        """Inventories in a row that found the cluster not to be trusted."""
        self._reported: ProbeOutcome | None = None

    def report(self, condition: condition_pb2.Condition | None) -> None:
        """Take in what the syncer says of how the cluster behaves; None if it says nothing."""
        reported = None
        if condition is not None:
            reported = ProbeOutcome(condition.reason or MISBEHAVING, condition.message, Standing.MISBEHAVING)
        if reported != self._reported:
            self._reported = reported
            self._changed.set()

    def tell(self, stored: Object) -> None:
        """Take in the Cluster object."""
        if stored != self._object:
            self._object = stored
            self._changed.set()

    def give(self, access: ClusterAccess | None, credential_hash: str, *, why: str = "") -> None:
        """Take in the credential; None if there is none, or `why` it cannot be opened."""
        if why and self._access is not None:
            return  # it cannot be told whether it is another: what is known holds
        if why != self._locked:
            self._locked = why
            self._changed.set()
        if credential_hash != self._credential_hash:
            known = self._stored.cluster_id if self._stored is not None else ""
            if access is not None and not access.cluster_id:  # stored by a release that did not keep it there
                access = replace(access, cluster_id=known)
            if access is None or access != self._access:
                self._reconnect.set()  # one that was sealed again is the same
            self._access, self._credential_hash = access, credential_hash
            self._changed.set()

    def tell_orphans(self, report: orphan_pb2.OrphanReport | None) -> None:
        """Take in the orphans that the syncer reports in the cluster; None if there are none."""
        if report != self._orphans:
            self._orphans = report
            self._changed.set()

    def look(self) -> None:
        """Probes and takes the inventory now instead of at the next turn."""
        self._inventory_at, self._asked_for = 0.0, True
        self._rights_at = 0.0
        self._changed.set()

    async def run(self) -> None:
        """Works until cancelled, or until the cluster has left. Raises ConflictError when not leading."""
        while True:
            self._reconnect.clear()
            async with contextlib.AsyncExitStack() as stack:
                api = None
                if self._access is not None:
                    try:
                        api = await stack.enter_async_context(self._connect(self._access))
                    except HanseError as error:
                        self._health = after(
                            self._health,
                            ProbeOutcome(error.reason, error.message),
                            threshold=self._settings.failure_threshold,
                        )
                if await self._follow_connection(api):
                    return

    async def _follow_connection(self, api: MemberApi | None) -> bool:
        """Look at the cluster again and again over one connection; True when the cluster has left."""
        self._inventory_at = self._rights_at = 0.0
        while not self._reconnect.is_set():
            self._changed.clear()
            if self._object is not None and self._stored is not None:
                await self._record(self._object)  # what the user says does not wait for the probe
            tried, credential_hash = True, self._credential_hash
            if api is None:
                self._health = ClusterHealth(
                    reason="CredentialLocked" if self._locked else "NoCredential",
                    message=self._locked or f"no credential is stored; join it with: hanse join {self._name}",
                )
            else:
                outcome = await probe(api, timeout=self._settings.probe_timeout)
                outcome = await self._attend_credential(api, outcome)
                if outcome.ok and asyncio.get_running_loop().time() >= self._inventory_at:
                    await self._take_inventory(api)
                if outcome.ok:  # it answers; whether it is to be trusted others have found out
                    outcome = self._doubt or self._reported or outcome
                before = self._health.standing
                self._health = after(self._health, outcome, threshold=self._settings.failure_threshold)
                if not outcome.ok and self._health.standing is Standing.READY:
                    tried = False  # that it is READY is known by the credential before
                if before is not self._health.standing:
                    _log.info(
                        "cluster changed",
                        cluster=self._name,
                        standing=self._health.standing.value,
                        reason=self._health.reason,
                        message=self._health.message,
                    )
            if tried and not self._reconnect.is_set():
                self._tried_hash = credential_hash
            if self._object is not None:
                await self._record(self._object)
                if is_deleting(self._object):
                    if await self._has_left() and await self._account_removed(api):
                        await self._forget()
                        return True
                    await self._record(self._object)  # with what it waits for
            await self._pause()
        return False

    async def _attend_credential(self, api: MemberApi, outcome: ProbeOutcome) -> ProbeOutcome:
        """Have the token renewed if it is due, and the rights looked at.

        Return the outcome of the probe, with what is known of why the credential is refused.
        """
        if outcome.unauthenticated:
            self.renewal.refuse()
            if revoked := self.renewal.revoked:
                return replace(outcome, message=f"{revoked}; {outcome.message}")
        elif self._object is not None and not is_deleting(self._object):
            await self.renewal.attend(api, problem=outcome.message)
        if outcome.ok and asyncio.get_running_loop().time() >= self._rights_at:
            await self._look_at_rights(api)
        return outcome

    async def _take_inventory(self, api: MemberApi) -> None:
        """Look at all that it has and serves. If that cannot be believed, what was known before stays.

        One that is not to be trusted is asked ever less often, and is fine as soon as it answers as it
        should.
        """
        timeout = max(10.0, self._settings.probe_timeout)
        pause = self._settings.inventory_interval
        try:
            known = partial(stored_catalogue, self._store, self._name)
            self._inventory = await take_inventory(api, self._name, timeout=timeout, known=known)
        except HanseError as error:
            _log.warning("cannot take the inventory", cluster=self._name, error=error.message)
            doubt = outcome_of(error)
            if doubt.standing not in (Standing.OFFLINE, Standing.CREDENTIAL_REFUSED):
                self._doubt = doubt
                self._doubted += 1
                pause = min(max(pause, DOUBT_PAUSE), pause * 2 ** min(self._doubted - 1, 10))
            elif self._inventory is None or self._asked_for:
                return  # with the next probe
        except Exception as error:  # noqa: BLE001 - what the cluster says of itself cannot be read
            self._boundary.failed(self._name, error)
        else:
            self._doubt, self._doubted, self._asked_for = None, 0, False
        self._inventory_at = asyncio.get_running_loop().time() + pause

    async def _look_at_rights(self, api: MemberApi) -> None:
        """Find out what the credential may not do of what is done in the cluster; unknown changes nothing."""
        timeout = max(10.0, self._settings.probe_timeout)
        pause = RIGHTS_SECONDS
        try:
            found = await lacking_in_use(api, self._store, self._name, timeout=timeout)
        except HanseError as error:
            _log.warning("cannot ask for the rights", cluster=self._name, error=error.message)
        else:
            self._lacks, everything = found
            pause = RIGHTS_SECONDS if everything or self._lacks else LIMITED_SECONDS
        self._rights_at = asyncio.get_running_loop().time() + pause

    async def _record(self, stored: Object) -> None:
        """Store what is known if it is new."""
        now = self._clock()
        cluster = compile_cluster(
            stored,
            health=self._health,
            inventory=self._inventory,
            previous=self._stored,
            credential_hash=self._tried_hash,
            held_by=self._held_by,
            removing_account=self._removing_account,
            expiring=self.renewal.condition,
            lacks=self._lacks,
            orphans=self._orphans,
            now=now,
        )
        if cluster == self._stored:
            return
        there = object_key(self._name)
        compares = [self._fence, Compare.exists(there)]
        ops: list[Op] = [Put(keys.cluster(self._name), cluster.SerializeToString())]
        known = self._stored.catalogue_hash if self._stored is not None else ""
        if self._inventory is not None and self._inventory.catalogue.hash != known:
            served = await self._stamped(self._inventory.catalogue, now)
            catalogue = Put(keys.catalogue(self._name), served.SerializeToString())
            if len(catalogue.value) > SEPARATE_BYTES:  # both may not fit into one request
                await self._store.txn(compares, [catalogue])
            else:
                ops.append(catalogue)
        try:
            result = await self._store.txn(compares, ops)
        except ResourceExhaustedError as error:  # the next look tries again
            _log.warning("what is known cannot be stored", cluster=self._name, error=error.message)
            return
        except InvalidArgumentError as error:
            if not is_too_large(error):
                raise
            _log.error("cluster is too large to be stored", cluster=self._name, error=error.message)
            return
        if result.succeeded:
            if self._recorder is not None:
                events.record(self._recorder, stored, self._stored, cluster)
            self._stored = cluster
        elif await self._store.get(there) is not None:
            raise ConflictError("another registry leads now", reason="NOT_LEADER")

    async def _stamped(self, found: cluster_pb2.ApiCatalogue, now: datetime) -> cluster_pb2.ApiCatalogue:
        """Return a catalogue with its times, to take the place of the one that is stored."""
        before = None
        with contextlib.suppress(DataLossError):  # it takes the place of what cannot be read, too
            before = await stored_catalogue(self._store, self._name)
        made = cluster_pb2.ApiCatalogue()
        made.CopyFrom(found)
        return stamp(before, carry(before, made), now=now)

    async def _has_left(self) -> bool:
        """Return whether nothing of the cluster is left to be removed, or the user will not wait.

        It must have been so for a while: a placement that was decided just before the scheduler learnt of the
        unjoin may be stored after the first look.
        """
        if self._object is None:
            raise InternalError("the Cluster object is not known yet")
        if self._is_forced():
            return True
        self._held_by = await held_by(self._store, self._name)
        now = asyncio.get_running_loop().time()
        if self._held_by:
            self._free_since = None
        elif self._free_since is None:
            self._free_since = now
        return self._free_since is not None and now - self._free_since >= LEAVE_INTERVAL / 2

    def _is_forced(self) -> bool:
        annotations = self._object["metadata"].get("annotations") if self._object is not None else None
        return (annotations or {}).get(FORCE_UNJOIN) == "true"

    async def _account_removed(self, api: MemberApi | None) -> bool:
        """Remove the account that Hanse made in the cluster, if it made one; return whether that is done, or
        the user will not wait.

        The credential ends with it, so that it has begun is recorded before: a cluster that refuses the
        credential afterwards has confirmed it, one that did before has not.
        """
        account = self.renewal.account
        if account is None:
            return True
        if self._removing_account and self._health.standing is Standing.CREDENTIAL_REFUSED:
            return True
        what = f"namespace {account.namespace}, which Hanse made for its credential"
        timeout = max(10.0, self._settings.probe_timeout)
        try:
            if api is None:
                raise UnavailableError("there is no credential to remove it with")
            if not await has_account(api, account, timeout=timeout):
                return True
            self._held_by, self._removing_account = f"{what}: it is being removed", True
            if self._object is not None:
                await self._record(self._object)
            await remove_account(api, account, timeout=timeout)
        except (HanseError, OSError) as error:
            if isinstance(error, ConflictError):
                raise
            self._held_by = f"{what}: {error}; --force leaves it there"
            _log.warning("cannot remove the account in a cluster yet", cluster=self._name, error=str(error))
            return self._is_forced()
        return True

    async def _forget(self) -> None:
        """Forgets the cluster, its credential first, and lets the Cluster object go."""
        ops = [Delete(key(self._name)) for key in (keys.credential, keys.catalogue, keys.cluster)]
        result = await self._store.txn([self._fence], ops)
        if not result.succeeded:
            raise ConflictError("another registry leads now", reason="NOT_LEADER")
        while True:
            try:
                await self._intent.finish(self._name)
            except HanseError as error:
                _log.warning("cannot finish the unjoin yet", cluster=self._name, error=error.message)
                await asyncio.sleep(LEAVE_INTERVAL)
            else:
                _log.info("cluster has left", cluster=self._name)
                return

    async def _pause(self) -> None:
        """Wait for the next turn, or for a reason to look earlier."""
        leaving = self._object is not None and is_deleting(self._object)
        seconds = LEAVE_INTERVAL if leaving else self._settings.probe_interval
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    @property
    def standing(self) -> Standing:
        """What the probes say."""
        return self._health.standing
