"""Whether a namespace, or a definition of custom resources, may be deleted in a member: only when nothing
goes with it that is not ours.

Owns that question. Deleting a namespace deletes all that is in it, so it is asked of every resource that the
member serves; deleting a CustomResourceDefinition deletes all objects of its kind. An answer that cannot be
had counts as "something may be there".

Next: `hanse_syncer.removal`, which asks before it removes a namespace.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from hanse.api.registry.v1.cluster_pb2 import ApiResource
from hanse_syncer import ownership
from hanse_syncer.member import Member

_TRANSIENT: Final = frozenset(
    {
        ("", "events"),
        ("events.k8s.io", "events"),
        ("", "endpoints"),
        ("discovery.k8s.io", "endpointslices"),
        ("metrics.k8s.io", "pods"),
    }
)
"""What members make and drop by themselves."""

_AUTOMATIC: Final = frozenset({("configmaps", "kube-root-ca.crt"), ("serviceaccounts", "default")})
"""What is in every namespace."""

_METADATA: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"


def listable(resources: Iterable[ApiResource]) -> list[ApiResource]:
    """Return the resources to look through, each once: namespaced, and listed by the member."""
    chosen: dict[tuple[str, str], ApiResource] = {}
    for resource in resources:
        identity = (resource.group, resource.resource)
        fits = resource.namespaced and "list" in resource.verbs and identity not in _TRANSIENT
        if fits and (identity not in chosen or resource.preferred):
            chosen[identity] = resource
    return [chosen[identity] for identity in sorted(chosen)]


def foreign(resource: str, items: Iterable[Mapping[str, Any]], federation_id: str) -> list[str]:
    """Return the names of the items that neither we nor the member itself made.

    What has an owner goes with its owner, which is itself in one of the lists.
    """
    names: list[str] = []
    for item in items:
        metadata = item.get("metadata") or {}
        name = str(metadata.get("name"))
        automatic = (resource, name) in _AUTOMATIC or metadata.get("ownerReferences")
        if not automatic and not ownership.owned(item, federation_id):
            names.append(name)
    return names


async def obstacle(
    member: Member, namespace: str, *, resources: Iterable[ApiResource], federation_id: str
) -> str:
    """Return what stands against deleting the namespace, as one phrase; empty if nothing does.

    Raises LinkDownError.
    """
    looked = False
    for resource in listable(resources):
        looked = True
        root = f"apis/{resource.group}/{resource.version}" if resource.group else f"api/{resource.version}"
        path = f"/{root}/namespaces/{namespace}/{resource.resource}"
        answer = await member.read(path, {"limit": "500"}, accept=_METADATA)
        if answer.status == 404:
            continue
        if answer.status != 200:
            return f"{resource.resource} cannot be listed there ({answer.message})"
        body = answer.json()
        found = foreign(resource.resource, body.get("items") or (), federation_id)
        if found:
            return f"{resource.resource} {', '.join(sorted(found)[:3])} there are not of this federation"
        if (body.get("metadata") or {}).get("continue"):
            return f"there are too many {resource.resource} in it to look at"
    return "" if looked else "it is not known what the cluster serves"


async def definition_obstacle(member: Member, definition: Mapping[str, Any], *, federation_id: str) -> str:
    """Return what stands against deleting a CustomResourceDefinition, as `obstacle` does."""
    spec = definition.get("spec") or {}
    plural = str((spec.get("names") or {}).get("plural"))
    version = next((v["name"] for v in spec.get("versions") or () if v.get("served")), "")
    if not version:
        return f"it serves no version in which its {plural} could be listed"
    answer = await member.read(
        f"/apis/{spec.get('group')}/{version}/{plural}", {"limit": "500"}, accept=_METADATA
    )
    if answer.status == 404:
        return ""
    if answer.status != 200:
        return f"{plural} cannot be listed there ({answer.message})"
    body = answer.json()
    found = foreign(plural, body.get("items") or (), federation_id)
    if found:
        return f"{plural} {', '.join(sorted(found)[:3])} there are not of this federation"
    return f"there are too many {plural} to look at" if (body.get("metadata") or {}).get("continue") else ""
