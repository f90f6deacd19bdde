"""A controller for every cluster, while this registry leads.

Owns `Registrar`: it follows the Cluster objects and the credentials, starts a controller for each cluster,
tells it what changed, and stops it when the object is gone. A CustomResourceDefinition that reached a cluster
has its catalogue read again at once, because the objects of the new kind wait for it. Views of clusters that
have no object any more are removed, once the objects were read. `hanse_registry.membership_controller` is
next.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from hanse.api.registry.v1 import cluster_pb2
from hanse.api.syncer.v1 import orphan_pb2
from hanse.api.type.v1 import condition_pb2
from hanse.boundary import Boundary
from hanse.control.leading import lead
from hanse.errors import ConflictError, NotFoundError, UnavailableError
from hanse.federation.events import EventRecorder
from hanse.federation.records import decode_cluster
from hanse.kube.client.access import ClusterAccess
from hanse.kube.model.objects import Object
from hanse.process.telemetry import get_logger
from hanse.security.credentials import Sealer, sealed_with
from hanse.security.keyring import KeyName
from hanse.store import Collection, Compare, Delete, Follower, KeyValue, Store, keys
from hanse.store.decoding import decode, leased
from hanse.store.election import Leadership
from hanse_registry import intent
from hanse_registry.intent import ClusterIntents
from hanse_registry.member.credentials import end_of, fingerprint, to_access
from hanse_registry.member.renewal import TokenRenewal
from hanse_registry.membership_controller import Connect, MembershipController
from hanse_registry.resealing import Resealer
from hanse_registry.settings import RegistrySettings

ELECTION = "registry"
RETRY_SECONDS = 5.0
"""After so long a cluster whose controller failed gets another."""
_log = get_logger(__name__)
_CUSTOM_KINDS = f"{keys.SYNCSTATES}/apiextensions.k8s.io/customresourcedefinitions/"


def stored_cluster(kv: KeyValue) -> cluster_pb2.Cluster:
    """Return a compiled cluster; its etag is the revision that wrote it. Raises ValueError."""
    cluster = decode_cluster(kv)
    cluster.etag = str(kv.mod_revision)
    return cluster


class Registrar:
    """Attends to all clusters."""

    def __init__(
        self,
        *,
        store: Store,
        settings: RegistrySettings,
        sealer: Sealer,
        intents: ClusterIntents,
        connect: Connect,
        identity: str,
        recorder: EventRecorder | None = None,
    ) -> None:
        """Prepare; nothing is done before `run`. Without a `recorder` there are no Events about clusters."""
        self._recorder = recorder
        self._store = store
        self.settings = settings
        self._sealer = sealer
        self._intents = intents
        self._connect = connect
        self._identity = identity
        self.objects = Collection(intent.PREFIX, intent.decode)
        self.clusters = Collection(f"{keys.CLUSTERS}/", stored_cluster)
        self.credentials = Collection(f"{keys.CREDENTIALS}/", lambda kv: kv.value)
        self.custom_kinds = Collection(_CUSTOM_KINDS, lambda kv: kv.value)
        self.reports = Collection(
            f"{keys.MEMBER_REPORTS}/", lambda kv: decode(condition_pb2.Condition, leased(kv))
        )
        self.orphans = Collection(f"{keys.ORPHANS}/", lambda kv: decode(orphan_pb2.OrphanReport, kv.value))
        self.follower = Follower(
            store,
            self.objects,
            self.clusters,
            self.credentials,
            self.custom_kinds,
            self.reports,
            self.orphans,
        )
        self.credential_ends: dict[str, float] = {}
        """When the credentials end that do, by cluster, in seconds since the epoch."""
        self.renewed: set[str] = set()
        """Clusters whose credential is a token that this service renews."""
        self._controllers: dict[str, MembershipController] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._leadership: Leadership | None = None
        self._group: asyncio.TaskGroup | None = None
        self._boundary = Boundary("registry clusters")
        self.unreadable_credentials: set[str] = set()
        """Keys in the store of credentials that cannot be opened now."""
        self._resealer = Resealer(store, self.credentials, sealer)
        sealer.ring.subscribe(self._ring_changed)
        self.objects.subscribe(self._object_changed)
        self.credentials.subscribe(self._credential_changed)
        self.custom_kinds.subscribe(self._custom_kind_changed)
        self.reports.subscribe(self._report_changed)
        self.orphans.subscribe(self._orphans_changed)

    @property
    def leads(self) -> bool:
        """Whether this registry leads, and so keeps the clusters' records."""
        return self._leadership is not None

    async def run(self) -> None:
        """Lead whenever it may, until cancelled."""
        await self.follower.synced()
        await lead(
            self._store,
            election=ELECTION,
            identity=self._identity,
            ttl=self.settings.leader_ttl,
            while_leading=self._lead,
        )

    def look(self, cluster: str) -> None:
        """Have a cluster probed now. Raises NotFoundError if this registry does not probe it."""
        controller = self._controllers.get(cluster)
        if controller is None:
            raise NotFoundError(
                f"this registry does not probe cluster {cluster} now: it does not lead, or has just "
                "begun to; try again in a moment",
                metadata={"name": f"clusters/{cluster}"},
            )
        controller.look()

    def access(self, cluster: str) -> tuple[ClusterAccess | None, str]:
        """Return the credential of a cluster and its fingerprint; (None, "") if there is none."""
        credential, found = self.credential(cluster)
        return (to_access(credential) if credential is not None else None), found

    def credential(self, cluster: str) -> tuple[cluster_pb2.ClusterCredential | None, str]:
        """Return what is stored of a credential, and its fingerprint; (None, "") if there is none."""
        sealed = self.credentials.get(keys.credential(cluster))
        if sealed is None:
            return None, ""
        return decode(cluster_pb2.ClusterCredential, self._sealer.open(cluster, sealed)), fingerprint(sealed)

    def keys_in_use(self) -> Counter[KeyName]:
        """Return how many credentials are sealed with which key."""
        names = (sealed_with(sealed) for _, sealed in self.credentials.items())
        return Counter(name for name in names if name is not None)

    async def _lead(self, leadership: Leadership) -> None:
        """Keep the views of all clusters true until cancelled. A task that fails ends this leadership."""
        async with asyncio.TaskGroup() as group:
            try:
                await self._remove_departed(leadership)
                self._leadership, self._group = leadership, group
                for key, stored in list(self.objects.items()):
                    with self._boundary.around(key):
                        self._follow_cluster(keys.last_segment(key), stored)
                await self._reseal(leadership)
            finally:
                self._step_down()

    def _step_down(self) -> None:
        """Start nothing any more in this leadership; the group ends what runs."""
        self._leadership = self._group = None
        self._tasks, self._controllers = {}, {}

    async def _reseal(self, leadership: Leadership) -> None:
        """Seal credentials again; once more after an error."""
        while True:
            try:
                await self._resealer.run(leadership.fence())
            except Exception as error:  # noqa: BLE001 - what the old key has sealed can still be opened
                _log.error("credentials are not sealed again, trying again", exc_info=error)
                await asyncio.sleep(RETRY_SECONDS)

    async def _remove_departed(self, leadership: Leadership) -> None:
        """Remove what is stored of clusters whose object is gone."""
        await self.follower.current()
        for key in [key for key, _ in self.clusters.items()]:
            name = keys.last_segment(key)
            where = intent.object_key(name)
            if self.objects.get(where) is None and where not in self.objects.broken:
                await self._forget(leadership, name, credential=self.credential_revision(name))

    def credential_revision(self, name: str) -> int:
        """Return the revision that wrote the credential of a cluster; 0 if there is none."""
        found = self.credentials.versioned(keys.credential(name))
        return found.mod_revision if found is not None else 0

    async def _forget(self, leadership: Leadership, name: str, *, credential: int) -> None:
        """Remove what is stored of a cluster whose object is gone.

        A credential of another revision than `credential` stays: it came with a cluster that joins now.
        """
        alone = [leadership.fence(), Compare.absent(intent.object_key(name))]
        await self._store.txn(alone, [Delete(keys.cluster(name)), Delete(keys.catalogue(name))])
        secret = keys.credential(name)
        await self._store.txn([*alone, Compare.mod(secret, credential)], [Delete(secret)])
        _log.info("cluster forgotten, its object is gone", cluster=name)

    def _follow_cluster(self, name: str, stored: Object) -> None:
        """Tells the controller of a cluster its object, and starts one if there is none."""
        controller = self._controllers.get(name)
        if controller is not None:
            controller.tell(stored)
        elif self._leadership is not None and self._group is not None:
            if name in self._tasks:
                self._tasks[
                    name
                ].cancel()  # it waits after an error, and what the error came from has changed
            controller = self._start(name, stored, self._leadership)
            self._tasks[name] = self._group.create_task(
                self._supervise(name, controller), name=f"controller-{name}"
            )

    def _start(self, name: str, stored: Object, leadership: Leadership) -> MembershipController:
        controller = self._controllers[name] = MembershipController(
            name,
            store=self._store,
            settings=self.settings,
            intent=self._intents,
            connect=self._connect,
            fence=leadership.fence(),
            previous=without_etag(self.clusters.get(keys.cluster(name))),
            renewal=TokenRenewal(
                name,
                store=self._store,
                sealer=self._sealer,
                connect=self._connect,
                fence=leadership.fence(),
                settings=self.settings,
            ),
            recorder=self._recorder,
        )
        self._give(name)
        controller.tell_orphans(self.orphans.get(keys.orphans(name)))
        controller.tell(stored)
        controller.report(self.reports.get(keys.member_report(name)))
        return controller

    async def _supervise(self, name: str, controller: MembershipController) -> None:
        """Run the controller of a cluster until the cluster has left.

        That leadership or the store is lost ends this leadership, and the next one begins with all. Any other
        error, such as a value that the store refuses, is of this cluster alone, and so is the new controller.
        """
        task = asyncio.current_task()
        while True:
            try:
                await controller.run()
            except (ConflictError, UnavailableError):
                self._step_down()
                raise
            except Exception as error:  # noqa: BLE001 - of this cluster; all others go on
                _log.error(
                    "the controller of a cluster failed, another one starts", cluster=name, exc_info=error
                )
                if self._tasks.get(name) is not task:
                    return  # the cluster is no longer this task's
            else:
                break
            self._controllers.pop(name, None)
            await asyncio.sleep(RETRY_SECONDS)
            stored, leadership = self.objects.get(intent.object_key(name)), self._leadership
            if stored is None or leadership is None:
                break
            controller = self._start(name, stored, leadership)
        if self._tasks.get(name) is task:
            del self._tasks[name]
            self._controllers.pop(name, None)

    def _give(self, name: str) -> None:
        controller = self._controllers.get(name)
        if controller is None:
            return
        try:
            credential, found = self.credential(name)
            controller.renewal.take(credential, revision=self.credential_revision(name))
            controller.give(to_access(credential) if credential is not None else None, found)
        except UnavailableError as error:  # not known now: what the controller has goes on
            _log.warning("a credential cannot be opened now", cluster=name, error=error.message)
            controller.give(None, "", why=error.message)
        except Exception as error:  # noqa: BLE001 - of this cluster; its condition says that it has none
            self._boundary.failed(f"credential of {name}", error)
            controller.give(None, "unreadable")

    def _object_changed(self, key: str, old: Object | None, new: Object | None, revision: int) -> None:
        if self._leadership is None:
            return
        name = keys.last_segment(key)
        if new is not None:
            self._follow_cluster(name, new)
            return
        task = self._tasks.pop(name, None)
        self._controllers.pop(name, None)
        if task is not None and self._group is not None:
            task.cancel()
            forgetting = self._forget_removed(
                self._leadership, name, credential=self.credential_revision(name)
            )
            self._group.create_task(forgetting, name=f"forget-{name}")

    async def _forget_removed(self, leadership: Leadership, name: str, *, credential: int) -> None:
        """Remove what is stored of a cluster whose object was just deleted."""
        try:
            await self._forget(leadership, name, credential=credential)
        except (ConflictError, UnavailableError):
            self._step_down()
            raise
        except Exception as error:  # noqa: BLE001 - of this cluster; the next leadership forgets it
            _log.error("cluster not forgotten", cluster=name, exc_info=error)

    def _ring_changed(self) -> None:
        """Try again what could not be opened."""
        for key in list(self.unreadable_credentials):
            self._credential_changed(key, None, None, 0)

    def _credential_changed(self, key: str, old: bytes | None, new: bytes | None, revision: int) -> None:
        name = keys.last_segment(key)
        self._give(name)
        self.credential_ends.pop(name, None)
        self.renewed.discard(name)
        self.unreadable_credentials.discard(key)
        try:
            credential, _ = self.credential(name)
            end = end_of(to_access(credential)) if credential is not None else None
        except UnavailableError:
            self.unreadable_credentials.add(key)
            return
        except Exception as error:  # noqa: BLE001 - of this cluster; that it cannot be used is told elsewhere
            self.unreadable_credentials.add(key)
            self._boundary.failed(f"end of the credential of {name}", error)
            return
        if credential is not None and credential.HasField("account"):
            self.renewed.add(name)
        if end is not None:
            self.credential_ends[name] = end

    def _orphans_changed(
        self,
        key: str,
        old: orphan_pb2.OrphanReport | None,
        new: orphan_pb2.OrphanReport | None,
        revision: int,
    ) -> None:
        controller = self._controllers.get(keys.last_segment(key))
        if controller is not None:
            controller.tell_orphans(new)

    def _custom_kind_changed(self, key: str, old: bytes | None, new: bytes | None, revision: int) -> None:
        """Take note that a kind of the federation came to a cluster, or left it: what the cluster serves
        has changed.
        """
        controller = self._controllers.get(keys.last_segment(key))
        if controller is not None:
            controller.look()

    def _report_changed(
        self,
        key: str,
        old: condition_pb2.Condition | None,
        new: condition_pb2.Condition | None,
        revision: int,
    ) -> None:
        controller = self._controllers.get(keys.last_segment(key))
        if controller is not None:
            controller.report(new)


def without_etag(cluster: cluster_pb2.Cluster | None) -> cluster_pb2.Cluster | None:
    """Return a cluster as it is stored."""
    if cluster is None:
        return None
    stored = cluster_pb2.Cluster()
    stored.CopyFrom(cluster)
    stored.ClearField("etag")
    return stored
