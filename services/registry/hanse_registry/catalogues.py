"""The API catalogues that are stored: what each cluster serves, by its last inventory.

Owns the reading. Stateless. Next: `hanse_registry.member.inventory`, which makes them.
"""

from __future__ import annotations

from hanse.api.registry.v1.cluster_pb2 import ApiCatalogue
from hanse.errors import DataLossError
from hanse.federation.records import decode_catalogue
from hanse.store import Store, keys


async def stored_catalogue(store: Store, cluster: str) -> ApiCatalogue | None:
    """Return what a cluster serves as far as is known; None before its first inventory.

    Raises DataLossError if it cannot be read, UnavailableError.
    """
    stored = await store.get(keys.catalogue(cluster))
    if stored is None:
        return None
    try:
        return decode_catalogue(stored)
    except ValueError as error:
        raise DataLossError(
            f"what is stored of clusters/{cluster}/apiCatalogue cannot be read: {error}"
        ) from error
