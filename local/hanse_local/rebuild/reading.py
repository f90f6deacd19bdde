"""Reads from the joined members what carries the federation's marks, for a plan. It writes nothing anywhere.

Owns what counts: objects with our marks that Hanse applied itself, that have no owner and are not being
deleted, and of which the federation has no object. A member that does not answer is an error: what it has
is not known, and a plan without it would read as if it had nothing.

Concurrency: the members are read at the same time, the kinds of one after the other.

Next: `hanse_local.rebuild.rebuilding`, which puts them together.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field

from hanse_syncer import ownership
from hanse_syncer.member import connection
from hanse_syncer.member.connection import access
from hanse_syncer.orphans import rules as orphans

from hanse.api.federation.v1.federation_pb2 import Federation
from hanse.api.registry.v1.cluster_pb2 import ApiCatalogue, ApiResource
from hanse.errors import (
    FailedPreconditionError,
    HanseError,
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
)
from hanse.kube.client.client import KubeClient
from hanse.kube.client.requests import GroupVersionResource
from hanse.kube.model.objects import Object
from hanse.security.credentials import Sealer
from hanse.store import EtcdStore, Store, keys
from hanse.store.decoding import decode
from hanse.store.keys import ObjectKey
from hanse_local.backup.contents import etcds_of
from hanse_local.layout import DataDir
from hanse_local.rebuild.rebuilding import applied
from hanse_local.supervise.state import DirectoryState

TIMEOUT = 30.0
"""Seconds that one answer of a member may take."""


@dataclass(slots=True)
class Reading:
    """What was found."""

    federation_id: str
    clusters: tuple[str, ...]
    copies: dict[ObjectKey, dict[str, Object]] = field(default_factory=lambda: defaultdict(dict))
    """What Hanse applied, by object and cluster."""
    known: int = 0
    """How many objects with our marks the federation has, so that they need no rebuilding."""
    notes: list[str] = field(default_factory=list)
    """What could not be read, and why."""


async def read_members(data: DataDir) -> Reading:
    """Read all members of the federation that runs in `data`. Raises HanseError."""
    state = DirectoryState.load(data.state)
    etcd = next(iter(etcds_of(data, state)))
    prefix = state.options.get("etcd_prefix") or "/hanse"
    store = await EtcdStore.connect(etcd.endpoints, prefix=prefix, tls=etcd.tls)
    try:
        return await read(store, Sealer.from_file(data.credentials_key))
    finally:
        await store.close()


async def read(store: Store, sealer: Sealer) -> Reading:
    """Read all members that are joined. Raises HanseError."""
    there = await store.get(keys.FEDERATION)
    if there is None:
        raise FailedPreconditionError("etcd has no federation: found it again with `hanse up --rebuild ID`")
    federation = decode(Federation, there.value)
    joined = await store.range(f"{keys.CLUSTERS}/", keys_only=True)
    names = tuple(keys.last_segment(kv.key) for kv in joined.items)
    if not names:
        raise FailedPreconditionError(
            "the federation has no cluster: join its members with `hanse join` first"
        )
    stored = await store.range(f"{keys.OBJECTS}/", keys_only=True)
    known = {kv.key for kv in stored.items}
    reading = Reading(federation.id, names)
    await asyncio.gather(*(_read_one(store, sealer, name, known, reading) for name in names))
    return reading


async def _read_one(store: Store, sealer: Sealer, cluster: str, known: set[str], reading: Reading) -> None:
    sealed = await store.get(keys.credential(cluster))
    catalogue = await store.get(keys.catalogue(cluster))
    if sealed is None or catalogue is None:
        raise FailedPreconditionError(f"cluster {cluster} was never reached: see `hanse clusters`")
    resources = orphans.places(decode(ApiCatalogue, catalogue.value).resources)
    where = access(cluster, sealed.value, sealer)
    try:
        async with connection.client(where, timeout=TIMEOUT, connections=4) as client:
            for resource in resources:
                await _read_kind(client, cluster, resource, known, reading)
    except (HanseError, OSError, TimeoutError) as error:
        said = error.message if isinstance(error, HanseError) else str(error) or type(error).__name__
        raise UnavailableError(f"cluster {cluster} cannot be read: {said}") from error


async def _read_kind(
    client: KubeClient, cluster: str, resource: ApiResource, known: set[str], reading: Reading
) -> None:
    title = f"{resource.resource}.{resource.group}" if resource.group else resource.resource
    try:
        listed = await client.list(
            GroupVersionResource.of(resource.group, resource.version, resource.resource, resource.kind),
            label_selector=ownership.selector(reading.federation_id),
        )
    except (PermissionDeniedError, NotFoundError) as error:
        reading.notes.append(f"{title} in {cluster}: {error.message}")
        return
    for item in listed.items:
        if not orphans.is_ours(item, reading.federation_id) or ownership.is_copy(item):
            continue
        metadata = item["metadata"]
        key = ObjectKey(
            resource.group, resource.resource, str(metadata.get("namespace") or ""), str(metadata["name"])
        )
        if key.key() in known:
            reading.known += 1
        else:
            reading.copies[key][cluster] = applied(item)
