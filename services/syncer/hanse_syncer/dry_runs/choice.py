"""Which members are asked whether they would take an object: one of each version, of those chosen for it.

Owns the rule. Members of one version of Kubernetes that serve the object's kind in the same versions, and for
which the same is overridden, judge alike, but for what their own operators added, so one of them speaks for
all; the others of that version are asked in its place if it does not answer. At most `MAX_ASKED` are asked at
the same time. A member is not asked about an object that the syncer would not
write there now: the cluster is not ready, its part is suspended or about to leave, it does not serve the kind
in the object's version. What a cluster serves is not known until somebody has looked: then it is asked.

Pure. Next: `hanse_syncer.dry_runs.asking`, which asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from hanse.api.registry.v1.cluster_pb2 import ApiCatalogue, Cluster
from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement
from hanse.federation.clusters import is_leaving, is_ready

MAX_ASKED: Final = 20
"""Groups of members, by the names of their first: each cluster may have overrides of its own."""


def groups(
    entries: Iterable[ClusterPlacement],
    *,
    api_version: str,
    group_resource: tuple[str, str],
    cluster_of: Callable[[str], Cluster | None],
    catalogue_of: Callable[[str], ApiCatalogue | None],
) -> list[list[ClusterPlacement]]:
    """Return the members to ask, those of one version together, in the order in which to try them.

    `group_resource` is the object's ("" for core). Names are sorted, so that the same one is asked each time.
    """
    found: dict[tuple[str, tuple[str, ...], bytes], list[ClusterPlacement]] = {}
    for entry in sorted(entries, key=lambda each: each.cluster):
        cluster = cluster_of(entry.cluster)
        if cluster is None or entry.suspended or entry.leaving or not is_ready(cluster):
            continue
        if is_leaving(cluster):
            continue
        served = _served(catalogue_of(entry.cluster), group_resource)
        if served is None or api_version in served:
            alike = (cluster.kubernetes_version, served or (), entry.overrides)
            found.setdefault(alike, []).append(entry)
    return list(found.values())[:MAX_ASKED]


def _served(catalogue: ApiCatalogue | None, group_resource: tuple[str, str]) -> tuple[str, ...] | None:
    """Return the apiVersions in which a cluster serves a resource; None if that is not known."""
    if catalogue is None or not catalogue.resources:
        return None
    return tuple(
        f"{each.group}/{each.version}" if each.group else each.version
        for each in catalogue.resources
        if (each.group, each.resource) == group_resource
    )
