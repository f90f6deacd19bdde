"""The records that services read of each other, decoded: clusters, catalogues, placements, sync states.

Owns what makes a stored value a record: it is a message of its kind, below a key of its form, and a cluster
is the one that its key names. What is none is unknown, which is not the same as that there is none: each
reader keeps what it knew before and says that it cannot read the key.

Pure functions; they raise ValueError for the value and InvalidArgumentError for the key. Next:
`hanse.store.decoding`, and `hanse.store.follow`, which calls decoders.
"""

from __future__ import annotations

from hanse.api.registry.v1.cluster_pb2 import ApiCatalogue, Cluster
from hanse.api.scheduler.v1.placement_pb2 import Placement
from hanse.api.syncer.v1.sync_state_pb2 import SyncState
from hanse.store import KeyValue
from hanse.store.decoding import decode
from hanse.store.keys import ObjectKey, parse_cluster, parse_sync_state


def decode_cluster(kv: KeyValue) -> Cluster:
    """Return the cluster that is stored under `clusters/<name>`, by that name."""
    name = parse_cluster(kv.key)
    cluster = decode(Cluster, kv.value)
    if cluster.name != f"clusters/{name}":
        raise ValueError(f"the stored cluster is {cluster.name!r}, its key that of {name!r}")
    return cluster


def decode_catalogue(kv: KeyValue) -> ApiCatalogue:
    """Return what a cluster serves, as the registry found it."""
    return decode(ApiCatalogue, kv.value)


def decode_placement(kv: KeyValue) -> Placement:
    """Return a placement."""
    ObjectKey.parse(kv.key)
    return decode(Placement, kv.value)


def decode_sync_state(kv: KeyValue) -> SyncState:
    """Return a sync state."""
    parse_sync_state(kv.key)
    return decode(SyncState, kv.value)
