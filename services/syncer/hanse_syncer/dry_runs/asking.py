"""Members are asked whether they would take an object, by the requests that would deliver it, as dry runs.

Owns `DryRuns`. What is sent is what the syncer would send to that cluster, in the same way
(`hanse_syncer.act.delivery`): rendered with the cluster's overrides and its share of the replicas, to the
very object that it has of ours, or to none. One member of each version is asked, all versions together.
If one does not tell, the next of that version is asked, in half of the time that is left; so one that is dead
costs half of it. One that did not answer in time is not asked about this kind in this namespace for
`SILENT_SECONDS`, so that it costs one write its time and not all of them. Whatever goes wrong is "unknown",
and none of it concerns another cluster.

Concurrency: one task per version and call, which end with the call. Next: `hanse_syncer.dry_runs.choice` for
who is asked, `hanse_syncer.dry_runs.meaning` for what an answer means.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final

from google.protobuf.message import DecodeError

from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement
from hanse.api.syncer.v1 import syncer_service_pb2 as pb
from hanse.api.syncer.v1.sync_state_pb2 import SyncState
from hanse.errors import HanseError
from hanse.kube.client.client import KubeClient
from hanse.kube.model.objects import Object
from hanse.process.telemetry import get_logger
from hanse.store import Store
from hanse.store.keys import ObjectKey
from hanse_syncer.act.delivery import Delivery
from hanse_syncer.decide.errors import SyncError
from hanse_syncer.decide.render import ManifestRenderer, render
from hanse_syncer.dry_runs import choice, meaning
from hanse_syncer.federation.state import FederationState
from hanse_syncer.member.client import LinkDownError, MemberClient, MemberObject
from hanse_syncer.member.limiter import Limiter

Connect = Callable[[str], AbstractAsyncContextManager[KubeClient]]
"""Gives a client of a cluster for one question. Raises HanseError."""

SILENT_SECONDS: Final = 10.0
"""How long a member is not asked again that did not answer."""
_FAIR_SECONDS: Final = 0.5
"""Less time than this says nothing of a member that did not answer within it."""

_MISTYPED = frozenset({"SchemaMismatch", "FieldsNotServed"})
"""Reasons for which a delivery gives an object up that the member's schema does not have."""

_log = get_logger(__name__)


class DryRuns:
    """Asks members. `connect` gives a client of one."""

    def __init__(
        self, *, store: Store, federation: FederationState, renderer: ManifestRenderer, connect: Connect
    ) -> None:
        self._store = store
        self._federation = federation
        self._renderer = renderer
        self._connect = connect
        self._silent: dict[tuple[str, str, str, str], float] = {}
        """Until when, in the loop's time, which cluster is not asked about what."""

    async def ask(
        self, key: ObjectKey, obj: Object, entries: Sequence[ClusterPlacement], *, seconds: float
    ) -> list[pb.ClusterDryRun]:
        """Return what members say of `obj`, within `seconds`, sorted by cluster; [] if none is to be asked.

        Raises UnavailableError while the federation is not founded.
        """
        self._renderer.check()
        chosen = choice.groups(
            entries,
            api_version=str(obj.get("apiVersion")),
            group_resource=(key.group, key.resource),
            cluster_of=self._federation.cluster,
            catalogue_of=self._federation.catalogue,
        )
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(self._one_of(key, obj, each, until=until)) for each in chosen]
        return sorted((task.result() for task in asked), key=lambda told: told.cluster)

    async def _one_of(
        self, key: ObjectKey, obj: Object, entries: Sequence[ClusterPlacement], *, until: float
    ) -> pb.ClusterDryRun:
        """Return what the first of them says that tells; else that it is unknown."""
        told = pb.ClusterDryRun()
        for number, entry in enumerate(entries, start=1):
            now = asyncio.get_running_loop().time()
            left = until - now
            if told.cluster and left <= 0:
                break
            if self._silent.get(_about(key, entry.cluster), 0.0) > now:
                told = meaning.unknown(entry.cluster, "the cluster did not answer the last time")
                continue
            share = left if number == len(entries) else left / 2
            told = await self._within(key, obj, entry, seconds=share)
            if told.outcome != pb.UNKNOWN:
                break
        return told

    async def _within(
        self, key: ObjectKey, obj: Object, entry: ClusterPlacement, *, seconds: float
    ) -> pb.ClusterDryRun:
        cluster = entry.cluster
        try:
            async with asyncio.timeout(seconds):
                return await self._asked(key, obj, entry)
        except SyncError as error:
            if error.condition.reason in _MISTYPED:
                return meaning.mistyped(cluster, error.condition.message)
            return meaning.unknown(cluster, error.condition.message)
        except TimeoutError:
            if seconds >= _FAIR_SECONDS:
                self._keep_silent(key, cluster)
            return meaning.unknown(cluster, f"the cluster did not answer within {seconds:.1f} s")
        except (LinkDownError, HanseError) as error:
            return meaning.unknown(cluster, error.message)
        except OSError as error:
            return meaning.unknown(cluster, f"the cluster did not answer: {error or type(error).__name__}")
        except Exception as error:  # noqa: BLE001 - of this cluster's answer: nothing is known of it
            _log.warning("a dry run failed", cluster=cluster, object=key.path(), error=repr(error))
            return meaning.unknown(cluster, f"its answer cannot be used: {type(error).__name__}")

    async def _asked(self, key: ObjectKey, obj: Object, entry: ClusterPlacement) -> pb.ClusterDryRun:
        cluster = entry.cluster
        manifest = render(obj, placement=entry, federation_id=self._renderer.federation_id)
        target = MemberObject(key, manifest.api_version, kind=manifest.kind)
        uid = await self._known_uid(key, cluster)
        async with self._connect(cluster) as client:
            member = MemberClient(client, cluster=cluster, limiter=Limiter(), dry_run=True)
            delivery = Delivery(member)
            if uid:
                delivered = await delivery.apply(target, manifest, uid=uid)
            else:
                delivered = await delivery.create(target, manifest)
            answer = delivered.answer
            return meaning.told(cluster, member.verdict(target, answer), answer)

    async def _known_uid(self, key: ObjectKey, cluster: str) -> str:
        """Return the uid of the cluster's object of ours; "" if none is known."""
        stored = await self._store.get(key.sync_state(cluster))
        try:
            return SyncState.FromString(stored.value).member_uid if stored is not None else ""
        except DecodeError:
            return ""

    def _keep_silent(self, key: ObjectKey, cluster: str) -> None:
        """Remember that a cluster did not answer, and forget what is over."""
        now = asyncio.get_running_loop().time()
        self._silent = {about: until for about, until in self._silent.items() if until > now}
        self._silent[_about(key, cluster)] = now + SILENT_SECONDS


def _about(key: ObjectKey, cluster: str) -> tuple[str, str, str, str]:
    return cluster, key.group, key.resource, key.namespace
