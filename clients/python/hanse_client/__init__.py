"""Typed asyncio client of a Hanse federation.

    async with HanseClient.from_config() as hanse:
        answer = await hanse.registry.ListClusters(ListClustersRequest())

Errors are `hanse.errors.HanseError`, with the code, reason and metadata that the service gave.

Read `client` for the client, `config` for where the services are, `names` for resource names.
"""

from hanse_client.client import HanseClient
from hanse_client.config import ClientConfig

__all__ = ["ClientConfig", "HanseClient"]
