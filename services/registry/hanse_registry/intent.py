"""The Cluster objects: read from the store, changed through FederationService, which alone writes them.

Every call is one RPC to the apiserver; errors are its own. `hanse_registry.service` and
`hanse_registry.controller` are the callers.
"""

from __future__ import annotations

from typing import Any

import orjson

from hanse.api.federation.v1 import federation_pb2, federation_service_pb2
from hanse.api.federation.v1.federation_service_pb2_grpc import FederationServiceStub
from hanse.errors import ConflictError, InvalidArgumentError, NotFoundError
from hanse.kube.engine import unreadable
from hanse.kube.model.objects import Object
from hanse.store import KeyValue, keys
from hanse.well_known import API_VERSION, GROUP, UNJOIN_FINALIZER

RESOURCE = "clusters"
MANAGER = "hanse-registry"
PREFIX = keys.resource_prefix(group=GROUP, resource=RESOURCE)


def decode(kv: KeyValue) -> Object:
    """Return a stored Cluster object. Raises ValueError for what is none."""
    found, why = unreadable.decode(keys.ObjectKey.parse(kv.key), kv.value)
    if why:
        raise ValueError(why)
    return found


def object_key(cluster: str) -> str:
    """Return the key of a Cluster object."""
    return keys.ObjectKey(GROUP, RESOURCE, "", cluster).key()


class ClusterIntents:
    """Creates, changes and deletes Cluster objects."""

    def __init__(self, stub: FederationServiceStub) -> None:
        self._stub = stub

    async def create(self, cluster: str, *, spec: dict[str, Any], labels: dict[str, str]) -> None:
        """Create a Cluster. Raises AlreadyExistsError."""
        manifest = {
            "apiVersion": API_VERSION,
            "kind": "Cluster",
            "metadata": {"name": cluster, "labels": labels, "finalizers": [UNJOIN_FINALIZER]},
            "spec": spec,
        }
        request = federation_service_pb2.CreateObjectRequest(
            manifest=orjson.dumps(manifest), field_manager=MANAGER
        )
        await self._stub.CreateObject(request)

    async def patch(self, cluster: str, change: dict[str, Any]) -> tuple[Object, int]:
        """Change a Cluster by a JSON merge patch; returns it with the revision at which it is so.

        Raises NotFoundError, ConflictError.
        """
        request = federation_service_pb2.PatchObjectRequest(
            name=name_of(cluster),
            patch=orjson.dumps(change),
            type=federation_service_pb2.MERGE_PATCH,
            field_manager=MANAGER,
        )
        patched: federation_pb2.Object = await self._stub.PatchObject(request)
        return orjson.loads(patched.manifest), int(patched.etag)

    async def delete(self, cluster: str) -> None:
        """Asks for a Cluster to be deleted; it stays until the finalizer is gone. Raises NotFoundError."""
        await self._stub.DeleteObject(federation_service_pb2.DeleteObjectRequest(name=name_of(cluster)))

    async def finish(self, cluster: str) -> None:
        """Take the finalizer off, so that the Cluster goes. Harmless if it is gone already."""
        try:
            found: federation_pb2.Object = await self._stub.GetObject(
                federation_service_pb2.GetObjectRequest(name=name_of(cluster))
            )
        except NotFoundError:
            return
        finalizers = orjson.loads(found.manifest)["metadata"].get("finalizers") or []
        if UNJOIN_FINALIZER not in finalizers:
            return
        position = finalizers.index(UNJOIN_FINALIZER)
        path = f"/metadata/finalizers/{position}"
        steps = [{"op": "test", "path": path, "value": UNJOIN_FINALIZER}, {"op": "remove", "path": path}]
        request = federation_service_pb2.PatchObjectRequest(
            name=name_of(cluster),
            patch=orjson.dumps(steps),
            type=federation_service_pb2.JSON_PATCH,
            field_manager=MANAGER,
        )
        try:
            await self._stub.PatchObject(request)
        except NotFoundError:
            return
        except InvalidArgumentError as error:
            raise ConflictError(f"Cluster {cluster} changed meanwhile: {error.message}") from error


def name_of(cluster: str) -> str:
    """Return the resource name of a Cluster object in FederationService."""
    return f"objects/{GROUP}/{RESOURCE}/_/{cluster}"
