"""State: values at revisions in etcd, or in memory for tests.

This package owns how Hanse talks to etcd and which key means what; it knows nothing of Kubernetes.
Everything is for one event loop; see each module for its own rule.

- `types`: the values and the `Store` protocol
- `keys`: what is kept where
- `etcd`, `watch`, `lease`, `channel`, `wire`: the store over etcd
- `memory`: the same semantics in memory, with a clock of your own
- `batch`: many small commits as few transactions
- `election`: one leader at a time, and the fence for what it writes
- `follow`: prefixes followed into collections of decoded values
- `history`: what changed lately, and what watches of it promise
- `maintenance`, `upkeep`, `fullness`: keeping etcd from filling up, making room in it, saying that it is full

Next: `hanse.store.types`.
"""

from hanse.process.settings import TlsFiles
from hanse.store import keys
from hanse.store.batch import BatchWriter
from hanse.store.election import Election, Leadership
from hanse.store.etcd.store import EtcdStore
from hanse.store.follow import Collection, Follower, Versioned
from hanse.store.memory import MemoryStore
from hanse.store.types import (
    MAX_REQUEST_BYTES,
    MAX_TXN_OPS,
    NOT_NOW,
    Compare,
    Delete,
    Event,
    Get,
    KeyValue,
    LeaseHandle,
    Op,
    Put,
    RangeResult,
    Store,
    TxnResult,
    WatchBatch,
    is_too_large,
)

__all__ = [
    "MAX_REQUEST_BYTES",
    "MAX_TXN_OPS",
    "NOT_NOW",
    "BatchWriter",
    "Collection",
    "Compare",
    "Delete",
    "Election",
    "EtcdStore",
    "Event",
    "Follower",
    "Get",
    "KeyValue",
    "Leadership",
    "LeaseHandle",
    "MemoryStore",
    "Op",
    "Put",
    "RangeResult",
    "Store",
    "TlsFiles",
    "TxnResult",
    "Versioned",
    "WatchBatch",
    "is_too_large",
    "keys",
]
