"""Resource names of the services: how an object is named in requests.

Pure functions. A core object has the group "core" in names, an object without a namespace the
namespace "_".

Next: nothing; this is the end of the client.
"""

from __future__ import annotations

from hanse.api.type.v1.object_reference_pb2 import ObjectReference
from hanse.paths import path_to, resource_path
from hanse.well_known import GROUP


def _path(reference: ObjectReference) -> str:
    return path_to(
        group=reference.group,
        resource=reference.resource,
        namespace=reference.namespace,
        name=reference.name,
    )


def object_name(reference: ObjectReference) -> str:
    """`objects/apps/deployments/shop/web`, for FederationService."""
    return f"objects/{_path(reference)}"


def placement_name(reference: ObjectReference) -> str:
    """`placements/apps/deployments/shop/web`, for SchedulerService."""
    return f"placements/{_path(reference)}"


def sync_state_parent(reference: ObjectReference) -> str:
    """`syncStates/apps/deployments/shop/web`, the parent of the sync states of all clusters."""
    return f"syncStates/{_path(reference)}"


def tombstone_object_name(reference: ObjectReference) -> str:
    """`objects/hanse.dev/tombstones/shop/deployments.apps.web`, for FederationService."""
    resource = "tombstones" if reference.namespace else "clustertombstones"
    name = ".".join(part for part in (reference.resource, reference.group, reference.name) if part)
    return f"objects/{path_to(group=GROUP, resource=resource, namespace=reference.namespace, name=name)}"


def quoted(text: str) -> str:
    """Return the text as a filter has it, in quotes."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def collection_name(*, group: str, resource: str, namespace: str = "") -> str:
    """`objects/apps/deployments` or, in one namespace, `objects/apps/deployments/shop`."""
    return "/".join(filter(None, ("objects", resource_path(group, resource), namespace)))


def cluster_name(cluster: str) -> str:
    """`clusters/eu-west`, for RegistryService. A full name stays as it is."""
    return cluster if cluster.startswith("clusters/") else f"clusters/{cluster}"
