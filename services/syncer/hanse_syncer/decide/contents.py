"""What is in a namespace, or of a kind, of a member: ours, made by the cluster for what is ours, or foreign.

Owns that judgement, over all lists at once. Only what carries our marks, and was not given them by somebody
else, is ours. That an object has an
owner says nothing by itself: its owners count if they lead, by uid, to an object of ours that is in the
lists. What has owners that are not in the lists, though all of their kind are, is going: the member collects
it. Endpoints are of the Service of their name, EndpointSlices of the one that their label or owner names.

Pure functions. Next: `hanse_syncer.act.namespaces`, which lists.
"""

from __future__ import annotations

import enum
import heapq
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hanse.federation import belongings
from hanse.kube.client.bounds import FOLLOWED_NAME_CHARS
from hanse.kube.kinds.kubernetes import core, networking
from hanse.kube.model.objects import annotations_of, child, is_deleting, labels_of, mapping, name_of, sequence
from hanse_syncer import ownership

_SERVICES: Final = core.SERVICE.group_plural
_ENDPOINTS: Final = core.ENDPOINTS.group_plural
_SLICES: Final = networking.ENDPOINT_SLICE.group_plural
_SECRETS: Final = core.SECRET.group_plural
_SERVICE_NAME: Final = "kubernetes.io/service-name"
_ACCOUNT_UID: Final = "kubernetes.io/service-account.uid"
_AUTOMATIC: Final = frozenset(
    {(*core.CONFIG_MAP.group_plural, "kube-root-ca.crt"), (*core.SERVICE_ACCOUNT.group_plural, "default")}
)
"""What is in every namespace."""
_DEPTH: Final = 32
"""How many owners are followed: real chains have three or four."""


@dataclass(frozen=True, slots=True)
class Owner:
    """An entry of ownerReferences."""

    uid: str
    group: str
    kind: str


@dataclass(frozen=True, slots=True)
class Item:
    """One object of a list, as far as it matters whose it is."""

    group: str
    resource: str
    name: str
    uid: str
    ours: bool
    owners: tuple[Owner, ...] = ()
    deleting: bool = False
    service: str = ""
    """The Service of which it has the endpoints, if it has any's."""
    account: str = ""
    """uid of the ServiceAccount whose token it has, if the cluster made it for one."""
    collected: bool = False
    """Whether a controller that made it takes it away when its Service is gone."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What stands against deleting all of it: what is foreign; what is going, and should be gone first."""

    foreign: tuple[Item, ...] = ()
    going: tuple[Item, ...] = ()


def item_of(group: str, resource: str, obj: Mapping[str, Any], *, federation_id: str) -> Item:
    """Return the item for an object of a list, of which the metadata is enough."""
    whole = dict(obj)
    identity = (group, resource)
    name = name_of(whole)[:FOLLOWED_NAME_CHARS]
    made = identity in (_ENDPOINTS, _SECRETS) and belongings.of(group, resource, whole, controlled=False)
    service = account = ""
    if identity == _ENDPOINTS:
        service = name
    elif identity == _SLICES:
        service = str(labels_of(whole).get(_SERVICE_NAME) or "")
    elif identity == _SECRETS and made:
        account = str(annotations_of(whole).get(_ACCOUNT_UID) or "")
    return Item(
        group=group,
        resource=resource,
        name=name,
        uid=str(child(whole, "metadata", "uid") or ""),
        ours=ownership.owned(whole, federation_id) and not ownership.is_copy(whole),
        owners=tuple(_owner(each) for each in sequence(mapping(whole, "metadata"), "ownerReferences")),
        deleting=is_deleting(whole),
        service=service,
        account=account,
        collected=identity == _ENDPOINTS and bool(made),
    )


def _owner(reference: Any) -> Owner:
    group = str(child(reference, "apiVersion") or "").rpartition("/")[0]
    return Owner(str(child(reference, "uid") or ""), group, str(child(reference, "kind") or ""))


def judge(items: Sequence[Item], *, listed: Collection[tuple[str, str]]) -> Contents:
    """Return what of the items is not ours. `listed` are the (group, kind) of which all objects are items."""
    judgement = _Judgement(items, listed)
    foreign: list[Item] = []
    going: list[Item] = []
    for item in items:
        match judgement.of(item):
            case _Kind.FOREIGN:
                foreign.append(item)
            case _Kind.GOING:
                going.append(item)
    return Contents(tuple(foreign), tuple(going))


def phrase(items: Iterable[Item], *, what: str = "not of this federation") -> str:
    """Return for example `configmaps a, b there are not of this federation`, about the first kind of them."""
    by_resource: dict[tuple[str, str], list[str]] = {}
    for item in items:
        by_resource.setdefault((item.group, item.resource), []).append(item.name)
    (_, resource), names = min(by_resource.items(), key=lambda each: each[0])
    return f"{resource} {', '.join(heapq.nsmallest(3, names))} there are {what}"


class _Kind(enum.IntEnum):
    """Whose an item is; of several owners the worst counts."""

    OURS = 0
    """Ours, or made by the cluster for what is ours."""
    AUTOMATIC = 1
    """In every namespace: no obstacle, and no reason for what it owns."""
    GOING = 2
    FOREIGN = 3


class _Judgement:
    """Judges each item once."""

    def __init__(self, items: Sequence[Item], listed: Collection[tuple[str, str]]) -> None:
        self._listed = listed
        self._by_uid = {item.uid: item for item in items if item.uid}
        self._services = {item.name: item for item in items if (item.group, item.resource) == _SERVICES}
        self._known: dict[int, _Kind] = {}

    def of(self, item: Item) -> _Kind:
        """Return whose the item is."""
        return self._of(item, depth=0)

    def _of(self, item: Item, *, depth: int) -> _Kind:
        found = self._known.get(id(item))
        if found is None:
            self._known[id(item)] = _Kind.FOREIGN  # what owns itself, through others, is nobody's
            if depth < _DEPTH:
                self._known[id(item)] = self._judge(item, depth=depth + 1)
        return self._known[id(item)]

    def _judge(self, item: Item, *, depth: int) -> _Kind:
        if item.ours:
            return _Kind.OURS
        if (item.group, item.resource, item.name) in _AUTOMATIC:
            return _Kind.AUTOMATIC
        if item.account:
            account = self._by_uid.get(item.account)
            return self._of(account, depth=depth) if account is not None else _Kind.GOING
        service = self._services.get(item.service) if item.service else None
        if service is not None and self._of(service, depth=depth) is _Kind.OURS:
            return _Kind.OURS
        if item.collected and service is None and not item.owners:
            return _Kind.GOING
        return max((self._of_owner(owner, depth=depth) for owner in item.owners), default=_Kind.FOREIGN)

    def _of_owner(self, owner: Owner, *, depth: int) -> _Kind:
        known = self._by_uid.get(owner.uid)
        if known is None:
            return _Kind.GOING if (owner.group, owner.kind) in self._listed else _Kind.FOREIGN
        kind = self._of(known, depth=depth)
        return _Kind.FOREIGN if kind is _Kind.AUTOMATIC else kind
