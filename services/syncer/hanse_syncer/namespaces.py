"""Whether a namespace, or a definition of custom resources, may be deleted in a member: only when nothing
goes with it that is not ours.

Owns that question. Deleting a namespace deletes all that is in it, so it is asked of every resource that the
member serves; deleting a CustomResourceDefinition deletes all objects of its kind. What will not be told
counts as "something may be there"; what cannot be told at the moment is asked for again.

Next: `hanse_syncer.removal`, which asks before it removes a namespace.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from hanse.api.registry.v1.cluster_pb2 import ApiResource
from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.kube.client import ResourcePath
from hanse.kube.objects import api_version
from hanse_syncer import ownership
from hanse_syncer.member import Member
from hanse_syncer.outcome import Outcome, Trouble

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

_PAGE: Final = "500"
_PASSING: Final = frozenset({408, 410, 429})


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

    Raises LinkDownError, and Trouble while it cannot be known.
    """
    looked = False
    for resource in listable(resources):
        looked = True
        path = ResourcePath(api_version(resource.group, resource.version), resource.resource, resource.kind)
        found = await _obstacle_in(member, path, namespace, federation_id=federation_id)
        if found:
            return found
    if not looked:
        raise _unknown("it is not known yet what the cluster serves")
    return ""


async def definition_obstacle(member: Member, definition: Mapping[str, Any], *, federation_id: str) -> str:
    """Return what stands against deleting a CustomResourceDefinition, as `obstacle` does."""
    spec = definition.get("spec") or {}
    plural = str((spec.get("names") or {}).get("plural"))
    version = next((v["name"] for v in spec.get("versions") or () if v.get("served")), "")
    if not version:
        return f"it serves no version in which its {plural} could be listed"
    path = ResourcePath(f"{spec.get('group')}/{version}", plural, str((spec.get("names") or {}).get("kind")))
    return await _obstacle_in(member, path, "", federation_id=federation_id)


async def _obstacle_in(member: Member, path: ResourcePath, namespace: str, *, federation_id: str) -> str:
    """Return what of one resource is foreign, or why that will not be told; empty for nothing."""
    plural = path.plural
    more: dict[str, str] = {}
    while True:
        answer = await member.page(path, namespace, {"limit": _PAGE, **more}, partial=True)
        if answer.status == 404:
            if await member.lacks(path.api_version, plural):
                return ""
            raise _unknown(f"{plural} are not found there, and the cluster does not say that it has none")
        if answer.status in _PASSING or answer.status >= 500:
            raise _unknown(f"{plural} cannot be listed there now: {answer.message}", answer.retry_after())
        if answer.status != 200:
            return f"{plural} cannot be listed there ({answer.message})"
        body = answer.json()
        found = foreign(plural, body.get("items") or (), federation_id)
        if found:
            return f"{plural} {', '.join(sorted(found)[:3])} there are not of this federation"
        token = (body.get("metadata") or {}).get("continue")
        if not token:
            return ""
        more = {"continue": str(token)}


def _unknown(message: str, retry_after: float | None = None) -> Trouble:
    """What is there will be known later: nothing is deleted, and nothing let go of, before."""
    return Trouble(Outcome(sync.WAITING, "ContentsUnknown", message), retry_after=retry_after)
