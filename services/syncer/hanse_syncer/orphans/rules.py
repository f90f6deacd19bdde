"""What counts as an orphan: an object of a member that carries our marks and that nothing explains.

Owns the rules: where to look, which objects are meant, and why one is not wanted. An object that the cluster
made for one of ours carries our labels too where its controller copies them (a Service's Endpoints), or has
an owner: it is no orphan. What the federation stores and cannot read explains everything: unknown is not
unwanted. Pure functions; nothing here, nor in what calls it, removes anything by itself.

Next: `hanse_syncer.orphans.scanner`, which looks, and `hanse_syncer.orphans.operations`, which does what
people ask.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from hanse.api.registry.v1.cluster_pb2 import ApiResource
from hanse.api.scheduler.v1.placement_pb2 import Placement
from hanse.api.syncer.v1 import orphan_pb2 as pb
from hanse.errors import InvalidArgumentError
from hanse.federation.placements import is_named
from hanse.federation.propagation import placeable
from hanse.federation.references import reference_to
from hanse.kube.kinds.kubernetes import core, networking
from hanse.kube.model.objects import is_deleting
from hanse.paths import parse_group
from hanse.store import keys
from hanse.store.keys import ObjectKey
from hanse_syncer import ownership
from hanse_syncer.federation.intent import Intent

MAX_LISTED: Final = 100
"""Orphans of one cluster that are stored by name; of more there is the number only."""
MAX_NAME: Final = 253
"""Longest name of a Kubernetes object, in characters."""
MAX_UID: Final = 128
"""Longest uid that is believed, in characters; Kubernetes' have 36."""
PREFIX: Final = "orphans/"
"""How names of orphans begin."""

_COPIES: Final = frozenset(
    {
        core.ENDPOINTS.group_plural,
        networking.ENDPOINT_SLICE.group_plural,
        ("metrics.k8s.io", "nodes"),
        ("metrics.k8s.io", "pods"),
    }
)
"""What members make with the labels of other objects."""


def places(resources: Iterable[ApiResource]) -> list[ApiResource]:
    """Return the resources in which objects of ours can be, each once, in the version the member prefers."""
    chosen: dict[tuple[str, str], ApiResource] = {}
    for resource in resources:
        identity = (resource.group, resource.resource)
        fits = "list" in resource.verbs and placeable(*identity) and identity not in _COPIES
        if fits and (identity not in chosen or resource.preferred):
            chosen[identity] = resource
    return [chosen[identity] for identity in sorted(chosen)]


def may_be_copied(path: str) -> bool:
    """Return whether members make objects of the kind at `path` with the labels of others, so that nobody can
    tell whose they are.
    """
    group, resource, _ = path.split("/", 2)
    return (parse_group(group), resource) in _COPIES


def is_path(path: str) -> bool:
    """Return whether `path` names one object, whatever a member called it."""
    parts = path.split("/")
    return len(parts) == 4 and all(0 < len(part) <= MAX_NAME for part in parts)


def is_ours(item: Mapping[str, Any], federation_id: str) -> bool:
    """Return whether we made an object of a member, and it is not on its way out."""
    metadata = item.get("metadata") or {}
    made_for_another = bool(metadata.get("ownerReferences"))
    going = is_deleting(item)
    return ownership.owned(item, federation_id) and not made_for_another and not going


def unexplained(
    intent: Intent | None, placement: Placement | None, cluster: str
) -> pb.OrphanReason.ValueType | None:
    """Return why nothing explains an object in `cluster`; None if something does."""
    if placement is not None and is_named(placement, cluster):
        return None
    return pb.NO_SUCH_OBJECT if intent is None else pb.NOT_PLACED_THERE


def orphan(
    key: ObjectKey, cluster: str, *, uid: str, served: ApiResource, reason: pb.OrphanReason.ValueType
) -> pb.Orphan:
    """Return what is said of the object `uid` that was found, without the time."""
    if reason == pb.NO_SUCH_OBJECT:
        message = "it carries the federation's marks, and the federation has no such object"
    else:
        message = "it carries the federation's marks, and the object's placement leaves this cluster out"
    return pb.Orphan(
        name=f"{PREFIX}{key.path()}/{cluster}",
        object=reference_to(key, version=served.version, kind=served.kind),
        cluster=cluster,
        member_uid=uid,
        reason=reason,
        message=message,
    )


def parse_name(name: str) -> tuple[ObjectKey, str]:
    """Return the object and the cluster of an orphan's name. Raises InvalidArgumentError."""
    try:
        if not name.startswith(PREFIX):
            raise InvalidArgumentError(name)
        return keys.parse_sync_state(f"{keys.SYNCSTATES}/{name.removeprefix(PREFIX)}")
    except InvalidArgumentError as error:
        raise InvalidArgumentError(
            f"name {name!r} is not of the form orphans/GROUP/RESOURCE/NAMESPACE/OBJECT/CLUSTER, with core "
            "for the core group and _ for no namespace",
            reason="INVALID_NAME",
            metadata={"field": "name"},
        ) from error
