"""What people do about orphans: see them, have one exported as a manifest, have one deleted in its member.

Owns `OrphanOperations`, which answers for all clusters from any syncer: the reports are read from the store,
and a member is asked over a connection of its own. What is deleted has been read at that moment: it carries
our marks, it has the uid that was named, the store says that nobody wants it, and nothing goes with it that
is not itself an orphan that was removed before. Whatever is not certain is refused.

Concurrency: one task per call. Next: `hanse_syncer.service`, which serves it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from hanse.api.registry.v1.cluster_pb2 import ApiResource
from hanse.api.scheduler.v1.placement_pb2 import Placement
from hanse.api.syncer.v1.orphan_pb2 import Orphan, OrphanReport
from hanse.errors import (
    ConflictError,
    FailedPreconditionError,
    HanseError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
)
from hanse.federation import belongings
from hanse.federation.deletion.tombstones import decode_tombstone
from hanse.federation.records import decode_placement
from hanse.kube.client.answer import Answer
from hanse.kube.client.client import KubeClient
from hanse.kube.client.requests import GroupVersionResource
from hanse.kube.kinds.kubernetes import core, extensions
from hanse.kube.model.objects import Object, is_deleting
from hanse.security.credentials import Sealer
from hanse.store import Store, keys
from hanse.store.decoding import decode
from hanse.store.keys import ObjectKey
from hanse_syncer import ownership
from hanse_syncer.act import namespaces
from hanse_syncer.decide import kinds, plan, retained
from hanse_syncer.decide.contents import phrase
from hanse_syncer.decide.errors import SyncError
from hanse_syncer.decide.verdicts import MemberVerdict
from hanse_syncer.federation.intent import Intent, decode_intent
from hanse_syncer.federation.state import FederationState
from hanse_syncer.member import connection
from hanse_syncer.member.client import MemberClient, MemberObject
from hanse_syncer.member.limiter import Limiter
from hanse_syncer.orphans import rules as orphans

_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class _Found:
    """An orphan that was read just now, with what is needed to act on it."""

    key: ObjectKey
    cluster: str
    client: KubeClient
    member: MemberClient
    target: MemberObject
    live: Object
    resources: list[ApiResource]


class OrphanOperations:
    """Answers for the orphans of all clusters. `timeout` (seconds) is for one answer of a member."""

    def __init__(self, *, store: Store, federation: FederationState, sealer: Sealer, timeout: float) -> None:
        self._store = store
        self._federation = federation
        self._sealer = sealer
        self._timeout = timeout

    async def reports(self, cluster: str = "") -> list[OrphanReport]:
        """Return the stored reports, sorted by cluster. A report that cannot be read is an error.

        What is stored of no cluster is no report.

        Raises NotFoundError for a cluster that there is not, FailedPreconditionError for such a report.
        """
        if cluster:
            self._known(cluster)
        wanted = {keys.orphans(name) for name in ([cluster] if cluster else self._federation.cluster_names())}
        found: list[OrphanReport] = []
        stored = await self._store.range(f"{keys.ORPHANS}/")
        for kv in stored.items:
            if kv.key not in wanted:
                continue
            try:
                found.append(decode(OrphanReport, kv.value))
            except ValueError as error:
                raise FailedPreconditionError(
                    f"{kv.key} cannot be read: a syncer of another release has written it",
                    metadata={"key": kv.key},
                ) from error
        return found

    async def export(self, name: str, member_uid: str) -> Object:
        """Return the orphan as a manifest for the federation. Raises as `delete`."""
        async with self._found(name, member_uid) as found:
            kept = kinds.authored({**found.live, "metadata": retained.metadata(found.live)})
            labels = dict(kept["metadata"].get("labels") or {})
            for label in ownership.labels(self._federation_id()):
                labels.pop(label, None)
            metadata = {k: v for k, v in kept["metadata"].items() if k != "labels"}
            return {**kept, "metadata": {**metadata, "labels": labels} if labels else metadata}

    async def delete(self, name: str, member_uid: str) -> str:
        """Delete the orphan in its member; return the path of the object.

        Raises InvalidArgumentError for a malformed name, NotFoundError if it is not there, ConflictError if
        it is another object or has just changed, FailedPreconditionError if it is no orphan or may not go,
        and UnavailableError if the member does not answer or still has the object.
        """
        async with self._found(name, member_uid) as found:
            belongs = belongings.of(found.key.group, found.key.resource, found.live, controlled=False)
            if belongs:
                why = f"{belongs}; it is never removed: take the federation's labels off it there"
                raise _no_orphan(found.key, found.cluster, why)
            await self._refuse_contents(found)
            version = str(found.live["metadata"]["resourceVersion"])
            answer = await found.member.delete(found.target, uid=member_uid, version=version)
            verdict = found.member.verdict(found.target, answer)
            if verdict is MemberVerdict.CHANGED:
                raise ConflictError(
                    f"{found.key} in cluster {found.cluster} changed meanwhile: look at it, then try again",
                    metadata={"name": name},
                )
            if verdict not in (MemberVerdict.DONE, MemberVerdict.ABSENT):
                raise _refused(found.cluster, answer)
            if verdict is MemberVerdict.DONE and not is_deleting(answer.document):
                await found.member.confirm_deleted(found.target, answer, uid=member_uid)
            return found.key.path()

    @asynccontextmanager
    async def _found(self, name: str, member_uid: str) -> AsyncIterator[_Found]:
        """Read the orphan, and make sure that it is one."""
        key, cluster = orphans.parse_name(name)
        self._known(cluster)
        sealed = self._federation.credential(cluster)
        catalogue = self._federation.catalogue(cluster)
        if sealed is None or catalogue is None:
            raise FailedPreconditionError(
                f"cluster {cluster} was never reached: there is no credential of it, or nobody knows what it "
                "serves",
                reason="NO_CREDENTIAL",
                metadata={"cluster": cluster},
            )
        await self._refuse_wanted(key, cluster)
        served = [r for r in catalogue.resources if (r.group, r.resource) == (key.group, key.resource)]
        if not served:
            raise _absent(name, key, cluster)
        target = MemberObject(key, plan.choose_version(served, ""), kind=served[0].kind)
        await self._sealer.fetch([sealed])
        client = connection.client(
            connection.access(cluster, sealed, self._sealer, known_id=self._federation.cluster_id(cluster)),
            timeout=self._timeout,
            connections=1,
        )
        try:
            async with client:
                member = MemberClient(client, cluster=cluster, limiter=Limiter(maximum=1))
                live = await self._live(member, target, name=name, member_uid=member_uid)
                yield _Found(key, cluster, client, member, target, live, list(catalogue.resources))
        except SyncError as error:
            raise UnavailableError(f"cluster {cluster}: {error.condition.message}") from error
        except (OSError, TimeoutError) as error:
            said = str(error) or type(error).__name__
            raise UnavailableError(f"cluster {cluster} did not answer: {said}") from error

    async def _live(
        self, member: MemberClient, target: MemberObject, *, name: str, member_uid: str
    ) -> Object:
        answer = await member.get(target)
        verdict = member.verdict(target, answer)
        if verdict is MemberVerdict.ABSENT:
            raise _absent(name, target.key, member.cluster)
        if verdict is not MemberVerdict.DONE:
            raise _refused(member.cluster, answer)
        live = answer.document
        if not orphans.is_ours(live, self._federation_id()):
            raise _no_orphan(
                target.key,
                member.cluster,
                "it does not carry the federation's marks, has an owner there, or is being deleted",
            )
        if str(live["metadata"].get("uid")) != member_uid:
            raise ConflictError(
                f"{target.key} in cluster {member.cluster} is another object now, with another uid: see "
                "`hanse orphans`",
                metadata={"name": name},
            )
        return live

    async def _refuse_wanted(self, key: ObjectKey, cluster: str) -> None:
        """Raise FailedPreconditionError if the store, as it is now, explains the object."""
        store = self._federation.store
        intent_kv, left_kv, placement_kv = await asyncio.gather(
            store.get(key.key()), store.get(key.key(keys.TOMBSTONES)), store.get(key.key(keys.PLACEMENTS))
        )
        try:
            intent = decode_intent(intent_kv) if intent_kv is not None else None
            tombstone = decode_tombstone(left_kv) if left_kv is not None else None
            placement = decode_placement(placement_kv) if placement_kv is not None else None
        except (ValueError, LookupError, InvalidArgumentError) as error:
            raise _no_orphan(
                key, cluster, f"what the federation stores of it cannot be read: {error}"
            ) from error
        if orphans.unexplained(intent, tombstone, placement, cluster) is None:
            raise _no_orphan(key, cluster, "its placement or tombstone names the cluster")
        if intent is not None and placement is not None and not _decided(intent, placement):
            raise _no_orphan(key, cluster, "the scheduler has not decided yet where the object goes")

    async def _refuse_contents(self, found: _Found) -> None:
        """Raise FailedPreconditionError if something would go with the object."""
        key, federation_id = found.key, self._federation_id()
        if (key.group, key.resource) == core.NAMESPACE.group_plural:
            obstacle = await self._ours_in(found, key.name)
            look = namespaces.contents(
                found.member, key.name, known=found.resources, federation_id=federation_id
            )
        elif (key.group, key.resource) == extensions.CUSTOM_RESOURCE_DEFINITION.group_plural:
            obstacle = await self._ours_of(found)
            look = namespaces.instances(found.member, found.live, federation_id=federation_id)
        else:
            return
        try:
            contents = await look
        except namespaces.Hidden as hidden:
            obstacle = obstacle or str(hidden)
        else:
            left = (*contents.foreign, *contents.going)
            obstacle = obstacle or (phrase(left, what="and would go with it") if left else "")
        if obstacle:
            raise FailedPreconditionError(
                f"{key} in cluster {found.cluster} is not empty: {obstacle}",
                reason="ORPHAN_NOT_EMPTY",
                metadata={"cluster": found.cluster, "object": key.path()},
            )

    async def _ours_in(self, found: _Found, namespace: str) -> str:
        for resource in orphans.places(found.resources):
            if resource.namespaced:
                said = await self._ours(found, resource, namespace=namespace)
                if said:
                    return said
        return ""

    async def _ours_of(self, found: _Found) -> str:
        spec: Mapping[str, Any] = found.live.get("spec") or {}
        plural = str((spec.get("names") or {}).get("plural"))
        for resource in orphans.places(found.resources):
            if (resource.group, resource.resource) == (str(spec.get("group")), plural):
                return await self._ours(found, resource)
        return ""

    async def _ours(self, found: _Found, resource: ApiResource, *, namespace: str = "") -> str:
        """Return what of ours is there of a resource, as one phrase; empty for nothing."""
        listed = await found.client.list_metadata(
            GroupVersionResource.of(resource.group, resource.version, resource.resource, resource.kind),
            namespace=namespace,
            label_selector=ownership.selector(self._federation_id()),
            limit=_PAGE,
        )
        names = sorted(str(item["metadata"]["name"]) for item in listed.items)[:3]
        said = f"{resource.resource} {', '.join(names)} of this federation are there: remove them first"
        return said if names else ""

    def _federation_id(self) -> str:
        federation = self._federation.founding.get(keys.FEDERATION)
        if federation is None:
            raise UnavailableError("the federation is not founded yet: start the apiserver")
        return federation.id

    def _known(self, cluster: str) -> None:
        if self._federation.cluster(cluster) is None:
            raise NotFoundError(
                f"the federation has no cluster {cluster}",
                reason="CLUSTER_NOT_FOUND",
                metadata={"cluster": cluster},
            )


def listed(reports: list[OrphanReport]) -> list[tuple[str, Orphan]]:
    """Return the orphans that are listed, each with what they are ordered by: the cluster, then the name."""
    found = [
        (f"{orphan.cluster}/{orphan.name}", _with_create_time(orphan))
        for report in reports
        for orphan in report.orphans
    ]
    return sorted(found, key=lambda each: each[0])


def _with_create_time(orphan: Orphan) -> Orphan:
    """Return an orphan as it is shown: an earlier release has stored its create_time as found_time alone."""
    if orphan.HasField("create_time") or not orphan.HasField("found_time"):
        return orphan
    shown = Orphan()
    shown.CopyFrom(orphan)
    shown.create_time.CopyFrom(orphan.found_time)
    return shown


def _decided(intent: Intent, placement: Placement) -> bool:
    """Return whether the placement is of the object as it is now."""
    return (intent.uid, intent.generation) == (placement.object.uid, placement.generation)


def _no_orphan(key: ObjectKey, cluster: str, why: str) -> FailedPreconditionError:
    return FailedPreconditionError(
        f"{key} in cluster {cluster} is no orphan: {why}",
        reason="NOT_AN_ORPHAN",
        metadata={"cluster": cluster, "object": key.path()},
    )


def _absent(name: str, key: ObjectKey, cluster: str) -> NotFoundError:
    return NotFoundError(
        f"cluster {cluster} has no {key}", reason="ORPHAN_NOT_FOUND", metadata={"name": name}
    )


def _refused(cluster: str, answer: Answer) -> HanseError:
    return FailedPreconditionError(
        f"cluster {cluster} answered {answer.status}: {answer.message}",
        reason="MEMBER_REFUSED",
        metadata={"cluster": cluster},
    )
