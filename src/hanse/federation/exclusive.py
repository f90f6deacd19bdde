"""What must not run in two clusters at the same time, as far as anybody knows.

Owns two questions. *Does it stop first?* Then a cluster gets it only when those that it leaves have confirmed
that nothing of it is left, Pods included: StatefulSets, whose Pods have identities, Jobs and CronJobs, and
whatever is marked. *Does it run in one cluster only?* That is so for CronJobs, since a schedule is meant to
run once, and for whatever is marked. An object is marked by the label `hanse.dev/at-most-one: "true"`, or by
its placement policy.

Pure functions (ADR 35). Next: `hanse_scheduler.decide.once.one_at_a_time`.
"""

from __future__ import annotations

from typing import Final

from hanse.kube.kinds.kubernetes import apps, batch
from hanse.kube.model.objects import Object, labels_of
from hanse.well_known import AT_MOST_ONE

_STOPS_FIRST: Final = frozenset(kind.group_plural for kind in (apps.STATEFUL_SET, batch.JOB, batch.CRON_JOB))
_IN_ONE_CLUSTER: Final = frozenset((batch.CRON_JOB.group_plural,))


def is_marked(obj: Object) -> bool:
    """Return whether the object says of itself that it must run at most once."""
    return labels_of(obj).get(AT_MOST_ONE) == "true"


def stops_first(group: str, resource: str, *, marked: bool) -> bool:
    """Return whether an object leaves one cluster, and is known to have stopped there, before another gets
    it. `marked` says that it or its policy asks for that."""
    return marked or (group, resource) in _STOPS_FIRST


def in_one_cluster(group: str, resource: str, *, marked: bool, duplicated: bool) -> bool:
    """Return whether an object is placed in one cluster at most; `duplicated` says that its policy wants one
    in each cluster, which a mark overrules."""
    return marked or (not duplicated and (group, resource) in _IN_ONE_CLUSTER)
