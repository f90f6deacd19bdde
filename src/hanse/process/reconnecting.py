"""How gRPC clients connect, and connect again: the options that all channels of Hanse share.

The rule, stated here once: how soon a server that refuses is tried again is one thing, how long a connection
may take to come about is another. Tries follow each other quickly, since a refusal costs nothing. TCP, TLS
and HTTP/2 together get `CONNECT_SECONDS`: they take four round trips, and a busy machine does not answer at
once. gRPC calls that time `min_reconnect_backoff_ms`; it delays no try.

Next: `hanse.rpc.channel`, `hanse.store.etcd.channel` and `hanse.security.kms`, which connect.
"""

from __future__ import annotations

from typing import Final

CONNECT_SECONDS: Final = 5.0
"""What is given up after so long is tried again: a host that is gone may have another address by then."""


def reconnecting(*, first: float, most: float) -> tuple[tuple[str, int], ...]:
    """Return options for a channel that tries again after `first` seconds, and later after `most`."""
    return (
        ("grpc.initial_reconnect_backoff_ms", round(first * 1000)),
        ("grpc.max_reconnect_backoff_ms", round(most * 1000)),
        ("grpc.min_reconnect_backoff_ms", round(CONNECT_SECONDS * 1000)),
    )
