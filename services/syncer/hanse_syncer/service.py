"""SyncerService: sync states for those who ask, and what the members differ in.

Owns the RPCs. States are read from the store, so every syncer answers for all clusters; a member is asked
over a connection of its own, so that a person's question does not wait behind the cluster controller's work.

Concurrency: one task per call. Next: `hanse_syncer.report.state_table` for who writes them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final

import grpc
import orjson
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError

from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement
from hanse.api.syncer.v1 import syncer_service_pb2 as pb
from hanse.api.syncer.v1 import syncer_service_pb2_grpc as rpc
from hanse.api.syncer.v1.orphan_pb2 import Orphan
from hanse.api.syncer.v1.sync_state_pb2 import SyncState
from hanse.api.type.v1.object_reference_pb2 import ObjectReference
from hanse.documents import json_document
from hanse.errors import HanseError, InvalidArgumentError, NotFoundError
from hanse.federation.references import key_of
from hanse.kube.client import requests
from hanse.kube.client.client import KubeClient
from hanse.kube.client.requests import ApiRequest
from hanse.kube.model.objects import Object, child
from hanse.paths import path_of
from hanse.rpc.lists.parents import parent_prefix
from hanse.rpc.lists.query import ListQuery
from hanse.rpc.policy import Policy, service
from hanse.rpc.watch import responses
from hanse.security.credentials import Sealer
from hanse.store import KeyValue, Store, keys
from hanse.store.history.stored import StoreHistory
from hanse.store.keys import ObjectKey
from hanse.well_known import FIELD_MANAGER
from hanse_syncer.cluster.controller import ClusterController
from hanse_syncer.decide import drift, fingerprints
from hanse_syncer.decide.render import Manifest, ManifestRenderer
from hanse_syncer.dry_runs.asking import DryRuns
from hanse_syncer.federation.intent import Intent
from hanse_syncer.federation.state import FederationState
from hanse_syncer.member import connection
from hanse_syncer.member.client import MemberObject
from hanse_syncer.orphans import operations as orphan_operations
from hanse_syncer.orphans.operations import OrphanOperations

_SERVICE: Final = "hanse.api.syncer.v1.SyncerService"
POLICY: Final = Policy(
    {
        f"{_SERVICE}/*": [],
        f"{_SERVICE}/RenderObject": [],
        f"{_SERVICE}/DiffObject": [],
        f"{_SERVICE}/DryRunObject": [service("apiserver")],
        f"{_SERVICE}/ExportOrphan": [],
        f"{_SERVICE}/DeleteOrphan": [],
    }
)
"""Whole objects are shown, Secrets too: this is for admins, but for what the apiserver must know before it
stores an object."""

_PREFIX: Final = "syncStates/"


class SyncerServicer(rpc.SyncerServiceServicer):
    """Implements the service."""

    def __init__(
        self,
        *,
        store: Store,
        federation: FederationState,
        renderer: ManifestRenderer,
        sealer: Sealer,
        controllers: Mapping[str, ClusterController],
        timeout: float = 10.0,
    ) -> None:
        """Serve what `controllers` know, those that run here now; `timeout` (seconds) is for one answer of
        a member.
        """
        self._store = store
        self._federation = federation
        self._renderer = renderer
        self._sealer = sealer
        self._controllers = controllers
        self._timeout = timeout
        self._orphans = OrphanOperations(store=store, federation=federation, sealer=sealer, timeout=timeout)
        self._dry_runs = DryRuns(
            store=store, federation=federation, renderer=renderer, connect=self._connected
        )

    async def GetSyncState(
        self, request: pb.GetSyncStateRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> SyncState:
        key = _state_key(request.name)
        found = await self._store.get(key)
        if found is None:
            raise NotFoundError(
                f"there is no {request.name}: the object is not placed in that cluster, or not synced yet",
                reason="SYNC_STATE_NOT_FOUND",
                metadata={"name": request.name},
            )
        return _decode(found)

    async def ListSyncStates(
        self, request: pb.ListSyncStatesRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ListSyncStatesResponse:
        prefix = _prefix(request.parent)
        query = ListQuery.of(request, SyncState.DESCRIPTOR)
        cluster = query.chosen_by.fixed.get("cluster")  # the end of the key: others need not be decoded
        page = await query.read(
            self._store,
            prefix,
            _decode,
            wanted=lambda key: cluster is None or keys.last_segment(key) == cluster,
        )
        return pb.ListSyncStatesResponse(
            sync_states=page.items, next_page_token=page.next_page_token, revision=page.revision
        )

    async def WatchSyncStates(
        self, request: pb.WatchSyncStatesRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.WatchSyncStatesResponse]:
        history = StoreHistory(self._store, _prefix(request.parent))
        told = responses(
            history,
            request.revision,
            pb.WatchSyncStatesResponse,
            put=lambda response, kv: response.sync_state.CopyFrom(_decode(kv)),
            gone=lambda response, key, _: response.sync_state.MergeFrom(
                SyncState(name=_PREFIX + path_of(key))
            ),
        )
        async with aclosing(told):
            async for response in told:
                yield response

    async def RenderObject(
        self, request: pb.RenderObjectRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.RenderObjectResponse:
        key, intent, entries = self._placed(request.object, request.cluster)
        manifests = []
        for entry in entries:
            manifest = self._render(key, intent, entry)
            manifests.append(
                pb.RenderedManifest(cluster=entry.cluster, manifest=manifest.body(), hash=manifest.hash)
            )
        return pb.RenderObjectResponse(manifests=manifests)

    async def DiffObject(
        self, request: pb.DiffObjectRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.DiffObjectResponse:
        key, intent, entries = self._placed(request.object, request.cluster)
        diffs = await asyncio.gather(*(self._diff(key, intent, entry) for entry in entries))
        return pb.DiffObjectResponse(diffs=diffs)

    async def DryRunObject(
        self, request: pb.DryRunObjectRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.DryRunObjectResponse:
        key = key_of(request.object)
        manifest = json_document(request.manifest, what="the manifest")
        if not isinstance(manifest, dict) or not isinstance(manifest.get("metadata"), dict):
            raise InvalidArgumentError(
                "the manifest is not the JSON of an object", metadata={"field": "manifest"}
            )
        seconds = self._timeout
        if request.HasField("timeout"):
            seconds = min(seconds, request.timeout.ToNanoseconds() / 1e9)
        told = await self._dry_runs.ask(key, manifest, request.clusters, seconds=seconds)
        return pb.DryRunObjectResponse(clusters=told)

    async def Resync(
        self, request: pb.ResyncRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ResyncResponse:
        if request.cluster and request.cluster not in self._controllers:
            if self._federation.cluster(request.cluster) is None:
                raise _no_cluster(request.cluster)
            return pb.ResyncResponse(queued=0)
        paths = [key_of(request.object).path()] if request.HasField("object") else None
        chosen = [request.cluster] if request.cluster else list(self._controllers)
        return pb.ResyncResponse(queued=sum(self._controllers[name].resync(paths) for name in chosen))

    async def ListOrphans(
        self, request: pb.ListOrphansRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ListOrphansResponse:
        reports = await self._orphans.reports(request.cluster)
        query = ListQuery.of(request, Orphan.DESCRIPTOR)
        page = query.page(orphan_operations.listed(reports), revision=0)
        total = sum(report.total for report in reports)
        return pb.ListOrphansResponse(
            orphans=page.items, next_page_token=page.next_page_token, total_size=total
        )

    async def ExportOrphan(
        self, request: pb.ExportOrphanRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ExportOrphanResponse:
        manifest = await self._orphans.export(request.name, _uid(request.member_uid))
        return pb.ExportOrphanResponse(manifest=orjson.dumps(manifest))

    async def DeleteOrphan(
        self, request: pb.DeleteOrphanRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> Empty:
        path = await self._orphans.delete(request.name, _uid(request.member_uid))
        controller = self._controllers.get(keys.last_segment(request.name))
        if controller is not None:
            controller.orphans.changed(path)
        return Empty()

    def _placed(
        self, reference: ObjectReference, cluster: str
    ) -> tuple[ObjectKey, Intent, list[ClusterPlacement]]:
        key = key_of(reference)
        intent, placement = self._federation.intent(key.path()), self._federation.placement(key.path())
        if intent is None:
            raise NotFoundError(
                f"the federation has no {key}", reason="OBJECT_NOT_FOUND", metadata={"object": key.path()}
            )
        entries = sorted(
            (entry for entry in (placement.value.clusters if placement else ())),
            key=lambda entry: entry.cluster,
        )
        if not cluster:
            return key, intent, entries
        chosen = [entry for entry in entries if entry.cluster == cluster]
        if not chosen:
            if self._federation.cluster(cluster) is None:
                raise _no_cluster(cluster)
            raise NotFoundError(
                f"{key} is not placed in cluster {cluster}",
                reason="NOT_PLACED",
                metadata={"object": key.path(), "cluster": cluster},
            )
        return key, intent, chosen

    def _render(self, key: ObjectKey, intent: Intent, entry: ClusterPlacement) -> Manifest:
        return self._renderer.render(
            intent.encoded,
            key=key.path(),
            revision=intent.revision,
            placement=entry,
        )

    async def _diff(self, key: ObjectKey, intent: Intent, entry: ClusterPlacement) -> pb.ClusterDiff:
        cluster = entry.cluster
        try:
            manifest = self._render(key, intent, entry)
            live = await self._live(key, manifest, cluster)
        except HanseError as error:
            return pb.ClusterDiff(cluster=cluster, error=error.message)
        except (OSError, TimeoutError) as error:
            said = str(error) or type(error).__name__
            return pb.ClusterDiff(cluster=cluster, error=f"the cluster did not answer: {said}")
        if live is None:
            operations = [{"op": "add", "path": "", "value": manifest.object}]
            return pb.ClusterDiff(cluster=cluster, patch=orjson.dumps(operations))
        operations = await self._differences(key, manifest, cluster, live)
        return pb.ClusterDiff(cluster=cluster, in_sync=not operations, patch=orjson.dumps(operations))

    async def _differences(
        self, key: ObjectKey, manifest: Manifest, cluster: str, live: Object
    ) -> list[Object]:
        """Return what differs, by the rule by which it is repaired."""
        stored = await self._store.get(key.sync_state(cluster))
        state = _decode(stored) if stored is not None else SyncState()
        found = await asyncio.to_thread(fingerprints.fingerprint, live, manifest.object)
        if found == state.fingerprint and manifest.hash == state.applied_hash:
            return []
        async with self._asked(cluster) as client:
            applied = await client.ask(_preview(key, manifest, live))
        if applied.ok:
            return await asyncio.to_thread(drift.changes, live, applied.document)
        return await asyncio.to_thread(drift.changes_to_manifest, live, manifest.object)

    async def _live(self, key: ObjectKey, manifest: Manifest, cluster: str) -> Object | None:
        async with self._asked(cluster) as client:
            try:
                return await client.get(_target(key, manifest).resource, key.name, namespace=key.namespace)
            except NotFoundError:
                return None

    @asynccontextmanager
    async def _asked(self, cluster: str) -> AsyncIterator[KubeClient]:
        """Yield a client of the cluster for one question, which has its time for the answer."""
        async with asyncio.timeout(self._timeout), self._connected(cluster) as client:
            yield client

    @asynccontextmanager
    async def _connected(self, cluster: str) -> AsyncIterator[KubeClient]:
        """Yield a client of the cluster for one question."""
        sealed = self._federation.credential(cluster)
        if sealed is None:
            raise NotFoundError(f"there is no credential of cluster {cluster}", reason="NO_CREDENTIAL")
        await self._sealer.fetch([sealed])
        client = connection.client(
            connection.access(cluster, sealed, self._sealer, known_id=self._federation.cluster_id(cluster)),
            timeout=self._timeout,
            connections=1,
        )
        async with client:
            yield client


def _target(key: ObjectKey, manifest: Manifest) -> MemberObject:
    return MemberObject(key, manifest.api_version, kind=manifest.kind)


def _preview(key: ObjectKey, manifest: Manifest, live: Object) -> ApiRequest:
    """Return the request that asks what an apply would make of `live`, and stores nothing."""
    uid = str(child(live, "metadata", "uid") or "")
    return requests.apply_object(
        _target(key, manifest).resource,
        key.name,
        manifest.body(uid=uid),
        namespace=key.namespace,
        uid=uid,
        field_manager=FIELD_MANAGER,
        dry_run=True,
    )


def _uid(member_uid: str) -> str:
    if not member_uid:
        raise InvalidArgumentError(
            "member_uid is empty: give the uid that ListOrphans shows", metadata={"field": "member_uid"}
        )
    return member_uid


def _decode(kv: KeyValue) -> SyncState:
    """Return a stored sync state; one that cannot be read by its name, with the reason."""
    try:
        state = SyncState.FromString(kv.value)
    except DecodeError as error:
        message = f"what is stored of it cannot be read: {error}"
        state = SyncState(
            name=_PREFIX + path_of(kv.key),
            cluster=keys.last_segment(kv.key),
            reason="StatusUnreadable",
            message=message,
        )
    state.revision = kv.mod_revision
    return state


def _state_key(name: str) -> str:
    key = f"{keys.SYNCSTATES}/{name.removeprefix(_PREFIX)}"
    try:
        if not name.startswith(_PREFIX):
            raise InvalidArgumentError(name)
        keys.parse_sync_state(key)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(
            f"name {name!r} is not of the form syncStates/GROUP/RESOURCE/NAMESPACE/OBJECT/CLUSTER, with core "
            "for the core group and _ for no namespace",
            reason="INVALID_NAME",
            metadata={"field": "name"},
        ) from error
    return key


def _prefix(parent: str) -> str:
    """Return the start of the keys below a parent. Raises InvalidArgumentError."""
    prefix = parent_prefix(parent, _PREFIX.rstrip("/"), depth=4)
    return f"{keys.SYNCSTATES}/{prefix.removeprefix(_PREFIX)}"


def _no_cluster(cluster: str) -> NotFoundError:
    return NotFoundError(
        f"the federation has no cluster {cluster}",
        reason="CLUSTER_NOT_FOUND",
        metadata={"cluster": cluster},
    )
