"""RegistryService: join, unjoin and look at clusters over gRPC, and replace their credentials.

Reads come from what the registry follows, after it has caught up with the store; changes of what the user
wants go through FederationService. Any registry answers, leading or not.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from functools import partial
from typing import Any

from hanse.api.registry.v1 import cluster_pb2, registry_service_pb2, registry_service_pb2_grpc
from hanse.errors import (
    AlreadyExistsError,
    ConflictError,
    DeadlineError,
    FailedPreconditionError,
    HanseError,
    NotFoundError,
)
from hanse.federation.clusters import is_leaving, is_ready
from hanse.kube.client.access import ClusterAccess
from hanse.kube.model.objects import is_deleting
from hanse.kube.model.selectors import LabelSelector
from hanse.kube.model.times import utc_now
from hanse.process.telemetry import get_logger
from hanse.rpc.lists.query import ListQuery
from hanse.rpc.masks import apply_update
from hanse.rpc.policy import Policy, group
from hanse.rpc.watch import responses
from hanse.security.auth import VIEWERS
from hanse.security.credentials import Sealer
from hanse.store import Compare, Delete, Put, Store, keys
from hanse.store.history.logged import CollectionHistory
from hanse.well_known import FORCE_UNJOIN, GROUP
from hanse_registry import intent
from hanse_registry.catalogues import stored_catalogue
from hanse_registry.controller import Registrar
from hanse_registry.intent import ClusterIntents
from hanse_registry.member.account import (
    check_rights,
    credential_of,
    has_account,
    make_account,
    remove_account,
)
from hanse_registry.member.credentials import fingerprint, read_kubeconfig, to_message
from hanse_registry.member.probe import Inventory, take_inventory
from hanse_registry.member.rights import in_use, missing
from hanse_registry.membership import intended, says
from hanse_registry.membership_controller import Connect
from hanse_registry.names import check_id, parse_name
from hanse_registry.remaining import held_by
from hanse_registry.updating import (
    changed_since,
    check_etag,
    check_mask,
    confirmed,
    difference,
    gives_up,
    named,
)

JOIN_TIMEOUT = 12.0
"""Seconds that one request to a cluster that joins may take: longer than a connection may take to be made,
which says better what is wrong (`hanse.kube.client.transport`).
"""
READY_TIMEOUT = 10.0
"""Seconds that JoinCluster waits for the new cluster to be probed; it has joined all the same after that."""
FORGET_TIMEOUT = 10.0
"""Seconds that JoinCluster waits for scheduler and syncer to forget an earlier cluster of the name."""
FORGET_INTERVAL = 0.05
UPDATE_TIMEOUT = 10.0
"""Seconds that UpdateCluster waits for the leading registry to take a change up."""
NODES_TIMEOUT = 1.0
"""Seconds that it waits for region and zones of the nodes; they may be those that were set by hand."""
SHOWN_RIGHTS = 12
"""How many missing rights an error names."""
_log = get_logger(__name__)
_SERVICE = "hanse.api.registry.v1.RegistryService"
POLICY = Policy(
    {
        f"{_SERVICE}/GetCluster": [group(VIEWERS)],
        f"{_SERVICE}/ListClusters": [group(VIEWERS)],
        f"{_SERVICE}/WatchClusters": [group(VIEWERS)],
        f"{_SERVICE}/GetApiCatalogue": [group(VIEWERS)],
        f"{_SERVICE}/ProbeCluster": [],
        f"{_SERVICE}/JoinCluster": [],
        f"{_SERVICE}/ReplaceCredential": [],
        f"{_SERVICE}/UnjoinCluster": [],
        f"{_SERVICE}/UpdateCluster": [],
    }
)
"""Viewers may look; who belongs to the federation, and what its clusters are asked, is for admins to say."""


class RegistryServicer(registry_service_pb2_grpc.RegistryServiceServicer):
    """Serves RegistryService."""

    def __init__(
        self, *, store: Store, registrar: Registrar, intents: ClusterIntents, sealer: Sealer, connect: Connect
    ) -> None:
        self._store = store
        self._registrar = registrar
        self._intents = intents
        self._sealer = sealer
        self._connect = connect
        self._history = CollectionHistory(registrar.clusters, lambda value, _: value)

    async def JoinCluster(
        self, request: registry_service_pb2.JoinClusterRequest, context: Any
    ) -> cluster_pb2.Cluster:
        """Check the cluster, creates the Cluster, stores the credential, and waits for its first probe."""
        name = check_id(request.cluster_id, field="cluster_id")
        access = read_kubeconfig(request.kubeconfig, context=request.context)
        credential = to_message(access)  # refuses what cannot be stored before anything is asked
        await self._registrar.objects.current()
        await self._registrar.credentials.current()
        known = self._registrar.credential_revision(name)
        existing = self._registrar.objects.get(intent.object_key(name))
        if existing is not None and self._registrar.credentials.get(keys.credential(name)) is not None:
            raise AlreadyExistsError(
                f"cluster {name} is in the federation: choose another name, or unjoin it; "
                f"`hanse update-credentials {name}` changes how it is reached",
                metadata=named(name),
            )
        if existing is not None and is_deleting(existing):
            raise FailedPreconditionError(
                f"cluster {name} is leaving the federation; join it when it has left", metadata=named(name)
            )
        async with self._connect(access) as api:
            found = await take_inventory(api, name, timeout=JOIN_TIMEOUT)
            refuse_federation(found)
            self._refuse_another(name, found)
            self._refuse_twice(name, found)
            if request.service_account:
                await check_rights(api, timeout=JOIN_TIMEOUT)
        if request.validate_only:
            return preview(name, access.server, found)
        await self._forgotten(name)
        if existing is None:  # first, because only one of two who join by one name can create it
            spec = {"server": access.server, "credentialRef": {"name": name}}
            await self._intents.create(name, spec=spec, labels=dict(request.labels))
        try:
            if request.service_account:
                credential = await self._own_credential(name, access)
            credential.cluster_id = found.cluster_id
            await self._store_credential(name, credential, known=known)
            await self._withdraw_if_twice(name, found, created=existing is None)
        except HanseError:
            if credential.HasField("account") and not await self._uses(name, credential.account):
                await self._discard(name, access, credential.account)
            raise
        joined = await self._seen(name, is_ready, timeout=READY_TIMEOUT)
        return joined or preview(name, access.server, found)

    async def ReplaceCredential(
        self, request: registry_service_pb2.ReplaceCredentialRequest, context: Any
    ) -> cluster_pb2.Cluster:
        """Check that the new credential reaches the same cluster and may do there what is done, stores it,
        and waits for a probe with it."""
        name = parse_name(request.name)
        access = read_kubeconfig(request.kubeconfig, context=request.context)
        credential = to_message(access)
        await self._cluster(name)
        await self._registrar.credentials.current()
        known = self._registrar.credential_revision(name)
        if not known:
            raise FailedPreconditionError(
                f"cluster {name} has no credential yet: join it with `hanse join {name}`",
                metadata=named(name),
            )
        async with self._connect(access) as api:
            found = await take_inventory(api, name, timeout=JOIN_TIMEOUT)
            refuse_federation(found)
            self._refuse_another(name, found)
            self._refuse_twice(name, found)
            lacks = await missing(api, await in_use(self._store, name), timeout=JOIN_TIMEOUT)
            if request.service_account:
                await check_rights(api, timeout=JOIN_TIMEOUT)
        if lacks:
            raise FailedPreconditionError(
                f"the credential may not do in cluster {name} what the federation does there: "
                f"{', '.join(lacks[:SHOWN_RIGHTS])}{', ...' if len(lacks) > SHOWN_RIGHTS else ''}. Give it "
                "these rights, or another credential",
                reason="RIGHTS_MISSING",
                metadata=named(name),
            )
        if request.validate_only:
            return preview(name, access.server, found)
        before = self._account_of(name)
        if request.service_account:
            credential = await self._own_credential(name, access)
        credential.cluster_id = found.cluster_id
        stored = await self._store_credential(name, credential, known=known)
        if before is not None and credential.account.namespace_uid != before.namespace_uid:
            await self._discard(name, access, before)
        if (cluster := await self._cluster(name)).server != access.server:
            await self._intents.patch(name, {"spec": {"server": access.server}})
        probed = await self._seen(
            name,
            lambda seen: seen.credential_hash == stored and (is_ready(seen) or is_leaving(seen)),
            timeout=READY_TIMEOUT,
        )
        cluster.credential_hash = stored
        if is_ready(cluster):  # by the old credential
            cluster.state = cluster_pb2.PENDING
        return probed or cluster

    async def UnjoinCluster(
        self, request: registry_service_pb2.UnjoinClusterRequest, context: Any
    ) -> cluster_pb2.Cluster:
        """Says how the cluster is to be left, and asks for its Cluster to be deleted."""
        name = parse_name(request.name)
        cluster = await self._cluster(name)
        check_etag(cluster, request.etag)
        change: dict[str, Any] = {}
        if request.orphan_objects:
            change["spec"] = {"orphanObjects": True}
        if request.force:
            change["metadata"] = {"annotations": {FORCE_UNJOIN: "true"}}
        change = confirmed(change, request.confirm_impact, cluster)
        if change:
            await self._intents.patch(name, change)
        await self._intents.delete(name)
        cluster.state = cluster_pb2.UNJOINING
        cluster.orphan_objects = cluster.orphan_objects or request.orphan_objects
        return cluster

    async def GetCluster(
        self, request: registry_service_pb2.GetClusterRequest, context: Any
    ) -> cluster_pb2.Cluster:
        """Return one cluster. Raises NotFoundError."""
        return await self._cluster(parse_name(request.name))

    async def ListClusters(
        self, request: registry_service_pb2.ListClustersRequest, context: Any
    ) -> registry_service_pb2.ListClustersResponse:
        """Return a page of clusters."""
        revision = await self._registrar.clusters.current()
        selector = LabelSelector.parse(request.label_selector)
        query = ListQuery.of(request, cluster_pb2.Cluster.DESCRIPTOR)
        clusters = self._registrar.clusters.items()
        chosen = ((key, cluster) for key, cluster in clusters if selector.matches(cluster.labels))
        page = query.page(chosen, revision=revision)
        return registry_service_pb2.ListClustersResponse(
            clusters=page.items, next_page_token=page.next_page_token, revision=page.revision
        )

    async def UpdateCluster(
        self, request: registry_service_pb2.UpdateClusterRequest, context: Any
    ) -> cluster_pb2.Cluster:
        """Change what the user says of a cluster; with an etag only if nobody else did meanwhile.

        Returns the cluster as it is stored, once the leading registry has taken the change up. Raises
        DeadlineError if it does not; the change is stored all the same.
        """
        check_mask(request.update_mask)
        name = parse_name(request.cluster.name, field="cluster.name")
        await self._registrar.objects.current()
        current = await self._cluster(name)
        check_etag(current, request.cluster.etag)
        change = difference(current, apply_update(current, request.cluster, request.update_mask))
        change = confirmed(change, request.confirm_impact, current)
        entry = self._registrar.objects.versioned(intent.object_key(name))
        if request.cluster.etag and entry is not None:
            if not says(current, entry.value):
                raise changed_since(current, request.cluster.etag)
            change.setdefault("metadata", {})["resourceVersion"] = str(entry.mod_revision)
        stored, revision = await self._intents.patch(name, change)
        if entry is not None and gives_up(change, entry.value):
            await self._seen(name, lambda found: int(found.etag) >= revision, timeout=NODES_TIMEOUT)
        updated = await self._seen(name, lambda found: says(found, stored), timeout=UPDATE_TIMEOUT)
        if updated is None:
            raise DeadlineError(
                f"the change of {request.cluster.name} is stored, but no registry took it up within "
                f"{UPDATE_TIMEOUT:g} s: see whether one leads, then read the cluster again",
                metadata=named(name),
            )
        return updated

    async def WatchClusters(
        self, request: registry_service_pb2.WatchClustersRequest, context: Any
    ) -> AsyncIterator[registry_service_pb2.WatchClustersResponse]:
        """Yield the clusters as they are, then every change."""
        told = responses(
            self._history,
            request.revision,
            registry_service_pb2.WatchClustersResponse,
            put=lambda response, cluster: response.cluster.CopyFrom(cluster),
            gone=lambda response, key, _: response.cluster.MergeFrom(cluster_pb2.Cluster(name=key)),
        )
        async with aclosing(told):
            async for response in told:
                yield response

    async def GetApiCatalogue(
        self, request: registry_service_pb2.GetApiCatalogueRequest, context: Any
    ) -> cluster_pb2.ApiCatalogue:
        """Return what a cluster serves. Raises NotFoundError while nobody looked."""
        name = parse_name(request.name, child="apiCatalogue")
        found = await stored_catalogue(self._store, name)
        if found is None:
            raise NotFoundError(
                f"what cluster {name} serves is not known: it was never reached",
                metadata={"name": request.name},
            )
        return found

    async def ProbeCluster(
        self, request: registry_service_pb2.ProbeClusterRequest, context: Any
    ) -> cluster_pb2.Cluster:
        """Look at a cluster now: asks it over a connection of its own, and has its controller look too."""
        name = parse_name(request.name)
        cluster = await self._cluster(name)
        access, _ = self._registrar.access(name)
        if access is None:
            raise FailedPreconditionError(
                f"no credential of cluster {name} is stored; join it again", metadata=named(name)
            )
        with contextlib.suppress(NotFoundError):
            self._registrar.look(name)
        async with self._connect(access) as api:
            known = partial(stored_catalogue, self._store, name)
            found = await take_inventory(api, name, timeout=JOIN_TIMEOUT, known=known)
        cluster.MergeFrom(
            cluster_pb2.Cluster(
                kubernetes_version=found.kubernetes_version, catalogue_hash=found.catalogue.hash
            )
        )
        cluster.capacity.CopyFrom(found.capacity)
        return cluster

    async def _own_credential(self, name: str, access: ClusterAccess) -> cluster_pb2.ClusterCredential:
        """Make an account in the member by `access`; return the credential that it gives. Raises as
        `hanse_registry.member.account.make_account`."""
        await self._registrar.objects.current()
        stored = self._registrar.objects.get(intent.object_key(name))
        if stored is None:
            raise NotFoundError(f"there is no cluster {name} in the federation", metadata=named(name))
        async with self._connect(access) as api:
            given = await make_account(
                api,
                cluster=name,
                uid=stored["metadata"]["uid"],
                seconds=self._registrar.settings.token_seconds,
                clock=utc_now,
                timeout=JOIN_TIMEOUT,
            )
        return credential_of(access, given)

    def _account_of(self, name: str) -> cluster_pb2.MemberAccount | None:
        """Return the account of the stored credential; None if there is none, or it cannot be read."""
        try:
            credential, _ = self._registrar.credential(name)
        except (HanseError, ValueError):
            return None
        return credential.account if credential is not None and credential.HasField("account") else None

    async def _uses(self, name: str, account: cluster_pb2.MemberAccount) -> bool:
        """Return whether the stored credential is of that account, or nobody knows: two who join by one name
        at the same time share it, and a cluster that is withdrawn removes it itself."""
        try:
            await self._registrar.credentials.current()
            credential, _ = self._registrar.credential(name)
        except (HanseError, ValueError):
            return True
        return credential is not None and credential.account.namespace_uid == account.namespace_uid

    async def _discard(self, name: str, access: ClusterAccess, account: cluster_pb2.MemberAccount) -> None:
        """Remove an account that is used no more, by another credential; say in the log if it cannot be."""
        try:
            async with self._connect(access) as api:
                if await has_account(api, account, timeout=JOIN_TIMEOUT):
                    await remove_account(api, account, timeout=JOIN_TIMEOUT)
        except HanseError as error:
            _log.warning(
                "an account that is used no more stays in the cluster: delete its namespace",
                cluster=name,
                namespace=account.namespace,
                error=error.message,
            )

    async def _store_credential(
        self, name: str, credential: cluster_pb2.ClusterCredential, *, known: int
    ) -> str:
        """Store it over that of revision `known` (0: none); returns its fingerprint.

        Raises ConflictError if there is another.
        """
        secret = keys.credential(name)
        sealed = self._sealer.seal(name, credential.SerializeToString())
        stored = await self._store.txn([Compare.mod(secret, known)], [Put(secret, sealed)])
        if not stored.succeeded:
            raise ConflictError(
                f"somebody else joins a cluster as {name}, or changes it, right now; look at what came of it",
                metadata=named(name),
            )
        return fingerprint(sealed)

    async def _cluster(self, name: str) -> cluster_pb2.Cluster:
        """Return a copy of a cluster as it is now. Raises NotFoundError.

        There is one as long as there is its object, the first that comes and the last that goes.
        """
        await self._registrar.objects.current()
        await self._registrar.clusters.current()
        found = self._registrar.clusters.get(keys.cluster(name))
        if found is not None:
            copy = cluster_pb2.Cluster()
            copy.CopyFrom(found)
            return copy
        stored = self._registrar.objects.get(intent.object_key(name))
        if stored is None:
            raise NotFoundError(f"there is no cluster {name} in the federation", metadata=named(name))
        cluster = intended(stored)
        leaving = cluster.HasField("delete_time")
        cluster.state = cluster_pb2.UNJOINING if leaving else cluster_pb2.PENDING
        return cluster

    async def _forgotten(self, name: str) -> None:
        """Wait until no placement and no sync state speaks of an earlier cluster of that name.

        What the scheduler wanted taken out of one that was unjoined by force is not to be taken out of one
        that joins: what was there was to stay. Raises FailedPreconditionError if that takes too long.
        """
        if self._registrar.clusters.get(keys.cluster(name)) is not None:
            return  # it is a member, without a credential
        deadline = asyncio.get_running_loop().time() + FORGET_TIMEOUT
        while holder := await held_by(self._store, name):
            if asyncio.get_running_loop().time() > deadline:
                raise FailedPreconditionError(
                    f"placements or sync states still name an earlier cluster {name} ({holder}): see whether "
                    "a scheduler and a syncer run, then join again",
                    reason="CLUSTER_STILL_PLACED",
                    metadata=named(name),
                )
            await asyncio.sleep(FORGET_INTERVAL)

    async def _seen(
        self, name: str, condition: Callable[[cluster_pb2.Cluster], bool], *, timeout: float
    ) -> cluster_pb2.Cluster | None:
        """Wait until a cluster is as wanted; None if that takes longer than `timeout` seconds."""
        seen: asyncio.Future[cluster_pb2.Cluster] = asyncio.get_running_loop().create_future()

        def changed(key: str, old: object, new: cluster_pb2.Cluster | None, revision: int) -> None:
            if key == keys.cluster(name) and new is not None and not seen.done() and condition(new):
                seen.set_result(new)

        unsubscribe = self._registrar.clusters.subscribe(changed, replay=True)
        try:
            async with asyncio.timeout(timeout):
                return await seen
        except TimeoutError:
            return None
        finally:
            unsubscribe()

    def _refuse_another(self, name: str, found: Inventory) -> None:
        """Raise FailedPreconditionError if the member of that name is another cluster."""
        viewed = self._registrar.clusters.get(keys.cluster(name))
        known = self._id_of(name) or (viewed.cluster_id if viewed is not None else "")
        if known not in ("", found.cluster_id):
            raise FailedPreconditionError(
                f"another cluster is a member as {name}: its kube-system has uid {known}, not "
                f"{found.cluster_id}. Choose another name, or unjoin {name} with --force",
                reason="IDENTITY_MISMATCH",
                metadata=named(name),
            )

    def _refuse_twice(self, name: str, found: Inventory) -> None:
        """Raise FailedPreconditionError if the same cluster is a member by another name."""
        for key, cluster in self._registrar.clusters.items():
            other = keys.last_segment(key)
            if found.cluster_id and cluster.cluster_id == found.cluster_id and other != name:
                raise already_member(other)
        if other := self._other_name(name, found):
            raise already_member(other)

    async def _withdraw_if_twice(self, name: str, found: Inventory, *, created: bool) -> None:
        """Take the join back if somebody who joined the same cluster by another name was earlier.

        Each of those who join at the same time has stored its credential before it looks, so that all of
        them find the earliest one. Nothing is removed from the cluster. Raises FailedPreconditionError.
        """
        await self._registrar.objects.current()
        await self._registrar.credentials.current()
        secret, revision = keys.credential(name), self._registrar.credential_revision(name)
        other = self._other_name(name, found, before=revision)
        if not other:
            return
        if created:
            await self._intents.patch(name, {"spec": {"orphanObjects": True}})
            await self._intents.delete(name)
        else:
            await self._store.txn([Compare.mod(secret, revision)], [Delete(secret)])
        raise already_member(other)

    def _other_name(self, name: str, found: Inventory, *, before: int = 0) -> str:
        """Another name by which the cluster has joined, before that revision if one is given; else "".

        Credentials have the id of their cluster from the start, views only after the first look.
        """
        for key, entry in self._registrar.credentials.all_versioned():
            other = keys.last_segment(key)
            if other == name or (before and entry.mod_revision > before):
                continue
            known = self._registrar.objects.get(intent.object_key(other)) is not None
            if known and found.cluster_id and self._id_of(other) == found.cluster_id:
                return other
        return ""

    def _id_of(self, name: str) -> str:
        """Return the id of the cluster that a credential is for; "" if it cannot be read or has none."""
        try:
            access, _ = self._registrar.access(name)
        except (HanseError, ValueError):
            return ""
        return access.cluster_id if access is not None else ""


def already_member(other: str) -> FailedPreconditionError:
    """Return the error for a cluster that is a member as `other`."""
    return FailedPreconditionError(
        f"this cluster is in the federation already, as {other}: by two names its capacity would count "
        "twice, and what is removed by one would be gone by the other",
        reason="CLUSTER_ALREADY_MEMBER",
        metadata={"cluster": other},
    )


def refuse_federation(found: Inventory) -> None:
    """Raise FailedPreconditionError if what was found is a federation's API server and no cluster's.

    As a member of itself a federation would place everything in itself, and delete it there on the way out.
    """
    if any(resource.group == GROUP for resource in found.catalogue.resources):
        raise FailedPreconditionError(
            "this is the API server of a federation, this one or another, and not a cluster: name a "
            "kubeconfig or context of a cluster",
            reason="CLUSTER_IS_FEDERATION",
        )


def preview(name: str, server: str, found: Inventory) -> cluster_pb2.Cluster:
    """Return a cluster that was looked at and is not stored."""
    return cluster_pb2.Cluster(
        name=f"clusters/{name}",
        server=server,
        region=found.topology.region,
        zones=found.topology.zones,
        state=cluster_pb2.PENDING,
        kubernetes_version=found.kubernetes_version,
        capacity=found.capacity,
        catalogue_hash=found.catalogue.hash,
        cluster_id=found.cluster_id,
    )
