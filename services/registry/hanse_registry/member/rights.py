"""Whether a credential may do in a member what the federation does there.

Owns the questions: for each kind that is synced to the cluster, each verb that the syncer uses, and what the
registry reads itself, asked of the cluster by SelfSubjectAccessReviews. A credential that may do everything
is asked about once. Reads only; a review is stored nowhere. And it owns what is said of a right that is
missing: which verb of which kind, as the condition RightsMissing. Whoever is forbidden one kind (403) is
still known: that is no refusal of the credential, and nothing but those kinds is concerned.

Next: `hanse_registry.service`, which asks before it replaces a credential, and
`hanse_registry.membership_controller`, which asks from time to time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

from hanse.api.type.v1 import condition_pb2
from hanse.errors import HanseError, UnauthenticatedError, UnavailableError
from hanse.kube.client.requests import review_access
from hanse.kube.kinds.kubernetes import core
from hanse.store import Store, keys
from hanse_registry.member.probe import MemberApi

VERBS: Final = ("get", "list", "watch", "create", "patch", "delete")
"""What the syncer does with each kind."""
OWN: Final = (("get", *core.NAMESPACE.group_plural), ("list", *core.NODE.group_plural))
"""What the registry reads."""
CONDITION: Final = "RightsMissing"
"""Type of the condition about rights that the credential lacks."""
SHOWN: Final = 12
"""How many of them it names."""
_PAGE: Final = 2000
Kind = tuple[str, str]
"""Group and plural."""
Right = tuple[str, str, str]
"""Verb, group, and plural, with a subresource after a slash."""


async def in_use(store: Store, cluster: str) -> set[Kind]:
    """Return the kinds of which there are objects in a cluster, or are to be removed from it."""
    found: set[Kind] = set()
    after: str | None = None
    while True:
        page = await store.range(f"{keys.SYNCSTATES}/", start_after=after, limit=_PAGE, keys_only=True)
        for item in page.items:
            try:
                key, where = keys.parse_sync_state(item.key)
            except HanseError:
                continue  # of no object
            if where == cluster:
                found.add((key.group, key.resource))
        if not page.more:
            return found
        after = page.items[-1].key


async def missing(api: MemberApi, kinds: Iterable[Kind], *, timeout: float) -> list[str]:
    """Return what the credential of a connection may not do, in words such as "patch deployments.apps".

    Raises UnauthenticatedError, UnavailableError, WrongAnswerError.
    """
    if await _allowed(api, "*", ("*", "*"), timeout=timeout):
        return []
    lacks: list[str] = []
    for group, resource in sorted(kinds):
        wanted = [(verb, group, resource) for verb in VERBS]
        lacks += await _refused(api, wanted, timeout=timeout)
    return lacks


async def lacking(api: MemberApi, rights: Iterable[Right], *, timeout: float) -> list[str]:
    """Return which of these rights the credential of a connection does not have, as `missing` does."""
    if await _allowed(api, "*", ("*", "*"), timeout=timeout):
        return []
    return await _refused(api, list(rights), timeout=timeout)


async def lacking_in_use(
    api: MemberApi, store: Store, cluster: str, *, timeout: float
) -> tuple[list[str], bool]:
    """Return which rights the credential lacks of those that are used in a cluster, and whether it may do
    everything. Raises as `missing`."""
    if await _allowed(api, "*", ("*", "*"), timeout=timeout):
        return [], True
    kinds = sorted(await in_use(store, cluster))
    wanted = [(verb, group, resource) for group, resource in kinds for verb in VERBS]
    return await _refused(api, [*OWN, *wanted], timeout=timeout), False


def rights_missing(
    lacks: Sequence[str] | None, *, cluster: str, known: condition_pb2.Condition | None
) -> condition_pb2.Condition | None:
    """Return what is to be said of the rights that a credential lacks; None for one that never lacked any.

    `lacks` is None if it is not known; what is `known` holds then.
    """
    if lacks is None or (not lacks and known is None):
        return known
    if not lacks:
        return condition_pb2.Condition(
            type=CONDITION,
            status=condition_pb2.FALSE,
            reason="NoneMissing",
            message="the credential may do what is done in the cluster",
        )
    more = f" and {len(lacks) - SHOWN} more" if len(lacks) > SHOWN else ""
    return condition_pb2.Condition(
        type=CONDITION,
        status=condition_pb2.TRUE,
        reason="Forbidden",
        message=f"the credential may not {', '.join(lacks[:SHOWN])}{more}: these kinds are not changed or "
        "seen there, and nothing moves because of it; give it the rights, or another one with "
        f"`hanse update-credentials {cluster}`",
    )


async def _refused(api: MemberApi, rights: Sequence[Right], *, timeout: float) -> list[str]:
    asked = (_allowed(api, verb, (group, resource), timeout=timeout) for verb, group, resource in rights)
    allowed = await asyncio.gather(*asked)
    return [
        f"{verb} {f'{resource}.{group}' if group else resource}"
        for (verb, group, resource), may in zip(rights, allowed, strict=True)
        if not may
    ]


async def _allowed(api: MemberApi, verb: str, kind: Kind, *, timeout: float) -> bool:
    group, (resource, _, subresource) = kind[0], kind[1].partition("/")
    review = review_access(verb=verb, group=group, resource=resource, subresource=subresource)
    try:
        async with asyncio.timeout(timeout):
            answer = await api.ask(review)
    except (TimeoutError, OSError) as error:
        raise UnavailableError(
            f"the cluster does not say what the credential may do: {str(error) or 'timed out'}"
        ) from error
    if answer.status == 401:
        raise UnauthenticatedError("the cluster does not accept the credential (HTTP 401)")
    if not answer.ok:
        raise UnavailableError(f"the cluster does not say what the credential may do: HTTP {answer.status}")
    return bool(answer.document["status"]["allowed"])
