"""Whether a namespace, or a definition of custom resources, may be deleted in a member: only when nothing
goes with it that is not ours.

Owns the requests for that question. Deleting a namespace deletes all that is in it, so it is asked of every
resource that the member serves at the moment; deleting a CustomResourceDefinition deletes all objects of its
kind. What will not be told counts as "something may be there"; what cannot be told at the moment is asked for
again.

Next: `hanse_syncer.decide.contents` for whose the objects are, `hanse_syncer.act.removal` for what is done
about it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any, Final

from hanse.api.registry.v1.cluster_pb2 import ApiResource
from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.errors import UnavailableError
from hanse.kube.client import requests
from hanse.kube.client.answer import Answer
from hanse.kube.client.bounds import MisbehavingMemberError
from hanse.kube.client.discovery import ServedResource, read_discovery
from hanse.kube.client.requests import ApiRequest, GroupVersionResource
from hanse.kube.kinds.kubernetes import core
from hanse.kube.model.objects import api_version, child, sequence
from hanse_syncer.decide.contents import Contents, Item, item_of, judge
from hanse_syncer.decide.errors import SyncCondition, SyncError
from hanse_syncer.member import served
from hanse_syncer.member.client import LinkDownError, MemberClient

_MOMENTARY: Final = frozenset({core.EVENT.group_plural, core.EVENTS_K8S_IO_EVENT.group_plural})
_COMPUTED: Final = frozenset({"metrics.k8s.io", "custom.metrics.k8s.io", "external.metrics.k8s.io"})
"""Resources and groups of which nothing is kept for long, or at all."""

_KINDS: Final = 2000
_OBJECTS: Final = 100_000
"""How many kinds, and objects in all, are looked through; whatever a member says."""
_PASSING: Final = frozenset({404, 408, 410, 429})
"""404 too: what is asked for is what the member said that it serves."""


class Hidden(Exception):  # noqa: N818 - an outcome on its way, not a defect
    """Something may be there that the member does not show; the message says why, as a phrase."""


async def contents(
    member: MemberClient, namespace: str, *, known: Iterable[ApiResource], federation_id: str
) -> Contents:
    """Return what of a namespace is not ours. `known` is what the member served when it was last asked.

    Raises LinkDownError, Hidden, and SyncError while it cannot be known.
    """
    chosen = listable(await _served(member, known))
    if len(chosen) > _KINDS:
        raise Hidden(
            f"the cluster serves {len(chosen)} kinds, more than the {_KINDS} that are looked through"
        )
    items: list[Item] = []
    for kind in chosen:
        most = _OBJECTS - len(items)
        items += await _items(member, kind, namespace, federation_id=federation_id, most=most)
    return await _judged(items, chosen)


async def instances(member: MemberClient, definition: Mapping[str, Any], *, federation_id: str) -> Contents:
    """Return what of the kind of a CustomResourceDefinition is not ours. Raises as `contents`."""
    plural = str(child(definition, "spec", "names", "plural"))
    versions = (v for v in sequence(definition, "spec", "versions") if child(v, "served"))
    version = next((str(child(v, "name")) for v in versions), "")
    if not version:
        raise Hidden(f"it serves no version in which its {plural} could be listed")
    kind = ServedResource(
        group=str(child(definition, "spec", "group")),
        version=version,
        resource=plural,
        kind=str(child(definition, "spec", "names", "kind")),
        namespaced=child(definition, "spec", "scope") == "Namespaced",
        verbs=frozenset({"list"}),
    )
    items = await _items(member, kind, "", federation_id=federation_id, most=_OBJECTS)
    return await _judged(items, [kind])


async def _judged(items: list[Item], kinds: Iterable[ServedResource]) -> Contents:
    """Return the judgement, made in a thread: a hundred thousand items take half a second, which may not hold
    the loop."""
    return await asyncio.to_thread(judge, items, listed={(kind.group, kind.kind) for kind in kinds})


def listable(kinds: Iterable[ServedResource]) -> list[ServedResource]:
    """Return the kinds to list in a namespace. Raises Hidden if others may have something there."""
    every = list(kinds)
    if hidden := served.hidden(every):
        raise Hidden(f"{hidden[0].resource} cannot be listed there")
    return [
        kind
        for kind in every
        if kind.namespaced
        and kind.listable
        and kind.group not in _COMPUTED
        and (kind.group, kind.resource) not in _MOMENTARY
    ]


async def _served(member: MemberClient, known: Iterable[ApiResource]) -> list[ServedResource]:
    """Return what the member serves at the moment.

    What it served before and does not tell of now it has to deny: a document that leaves something out, as
    that of an API server which has just started can, is no denial.
    """
    what = "what the cluster serves"
    try:
        documents = [(await _shown(member, request, what=what)).document for request in requests.DISCOVERY]
        found = served.all_kinds(await asyncio.to_thread(read_discovery, documents))
    except MisbehavingMemberError as error:
        raise member.too_much(error) from error
    except LinkDownError:
        raise
    except UnavailableError as error:
        raise _unknown(error.message) from error
    if not any(kind.namespaced and kind.listable for kind in found):
        raise _unknown("it is not known what the cluster serves")
    told = {(kind.group, kind.resource) for kind in found}
    for each in known:
        if each.namespaced and (each.group, each.resource) not in told:
            version = api_version(each.group, each.version)
            if not await _denied(member, version, each.resource):
                raise _unknown(
                    f"the cluster served {each.resource} of {version}, and does not tell of it now"
                )
    return found


async def _denied(member: MemberClient, api_version: str, resource: str) -> bool:
    """Return whether the member says that it does not serve the resource."""
    try:
        return await member.lacks(api_version, resource)
    except SyncError:
        return False


async def _items(
    member: MemberClient, kind: ServedResource, namespace: str, *, federation_id: str, most: int
) -> list[Item]:
    """Return all objects of one kind. Raises Hidden for more than `most`, SyncError for a list without
    end."""
    found: list[Item] = []
    listing = requests.list_objects(
        GroupVersionResource(kind.api_version, kind.resource, kind.kind),
        namespace=namespace,
        metadata_only=True,
        watchable=False,
    )
    found_pages = member.pages(
        listing, what=f"the list of {kind.resource}", send=partial(_shown, member, what=kind.resource)
    )
    async with aclosing(found_pages) as pages:
        async for page in pages:
            found += [
                item_of(kind.group, kind.resource, item, federation_id=federation_id) for item in page.items
            ]
            if page.more and len(found) > most:
                raise Hidden(f"{kind.resource} there are more than can be looked through")
    return found


async def _shown(member: MemberClient, request: ApiRequest, *, what: str) -> Answer:
    """Return what was asked for. Raises Hidden where the member refuses it, SyncError where that may pass,
    and as `MemberClient.send_page`."""
    try:
        answer = await member.send_page(request)
    except SyncError as error:
        raise _unknown(error.condition.message) from error
    if answer.status in _PASSING or answer.status >= 500:
        raise _unknown(f"{what} cannot be listed there now: {answer.message}", answer.retry_after())
    if not answer.ok:
        raise Hidden(f"{what} cannot be listed there ({answer.message})")
    return answer


def _unknown(message: str, retry_after: float | None = None) -> SyncError:
    """Return the error for what will be known later: nothing is deleted or released before."""
    return SyncError(SyncCondition(sync.WAITING, "ContentsUnknown", message), retry_after=retry_after)
