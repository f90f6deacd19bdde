"""ETags of resources (AIP-154): opaque names of a version, made from the store's revision.

Concurrency: pure functions.

Next: `hanse.rpc.masks`, the other half of an update.
"""

from __future__ import annotations

from hanse.errors import ConflictError


def etag_of(revision: int) -> str:
    """Return the etag of the version written at `revision` (etcd's mod_revision)."""
    return f'"{revision:x}"'


def check_etag(given: str, revision: int, *, name: str) -> None:
    """Raise ConflictError unless `given` is the etag of `revision`. An empty etag always agrees.

    `name` is the resource's name, for the message.
    """
    if given and given != "*" and given != etag_of(revision):
        raise ConflictError(
            f"{name} has changed since it was read: read it again and repeat the change",
            reason="ETAG_MISMATCH",
            metadata={"name": name, "etag": etag_of(revision)},
        )
