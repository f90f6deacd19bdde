"""Whether a Job may be created in a cluster: once for each of its runs.

Owns which run a request is about, and what is known of it by both records: the one in the placement, which
outlives the member's Job, and the one in the sync state, which is newer. Pure functions.

Next: `hanse.federation.jobs.job_runs` for the law, `hanse_syncer.act.applying`, which asks before it creates.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement, Placement
from hanse.api.syncer.v1.sync_state_pb2 import SyncState
from hanse.api.type.v1 import job_run_pb2 as job
from hanse.api.type.v1.job_run_pb2 import JobRun
from hanse.federation.jobs import job_runs
from hanse.federation.references import is_same_object
from hanse.kube.kinds.kubernetes import batch
from hanse.kube.model import untrusted
from hanse.store.keys import ObjectKey


def current_run(
    key: ObjectKey,
    *,
    placement: Placement | None,
    entry: ClusterPlacement | None,
    state: SyncState | None,
    cluster: str,
    uid: str,
    membership: str = "",
) -> JobRun | None:
    """Return the run that the cluster has or is to start; None for what is no Job, or was never given there.

    `entry` is the cluster's part of the placement, None where the object is not to be; `uid` the federated
    Job's.
    """
    if (key.group, key.resource) != batch.JOB.group_plural:
        return None
    runs = placement.runs if placement is not None else ()
    own = state if state is not None and is_same_object(state.object.uid, uid) else None
    if entry is not None:
        number = entry.run or 1  # 0 is of a scheduler that does not count yet
    else:
        newest = job_runs.latest(runs, cluster)
        number = newest.number if newest is not None else own.run.number if own is not None else 0
    if number <= 0:
        return None
    known = job_runs.run_of(runs, cluster, number) or JobRun(
        cluster=cluster,
        number=number,
        outcome=job.PENDING,
        completions=entry.completions if entry is not None and entry.HasField("completions") else None,
    )
    if own is not None and own.run.number == number:
        known = job_runs.merged(known, own.run)
    elif own is not None and not own.run.number and own.member_uid:  # written before runs were: the same
        known = job_runs.observed(known, uid=own.member_uid, status=_status(own.status))
    return job_runs.in_membership(known, membership)


def may_create(run: JobRun | None, *, ttl: int | None, now: datetime) -> bool:
    """Return whether the member may get the object, which it does not have; always for what is no Job.

    `ttl` is the ttlSecondsAfterFinished with which the cluster may have been asked for it before.
    """
    return run is None or job_runs.may_start(run, ttl=ttl, now=now)


def ttl_of(obj: Mapping[str, Any]) -> int | None:
    """Return for how many seconds the Job stays after it has finished; None if it stays."""
    return job_runs.ttl_of(untrusted.mapping(obj.get("spec")))


def explained(run: JobRun) -> tuple[str, str]:
    """Return reason and message of a sync state whose Job is not there and is not created again."""
    if run.outcome == job.LOST:
        done = f"{run.succeeded} of {run.completions}" if run.HasField("completions") else str(run.succeeded)
        return "OutcomeUnknown", (
            f"the Job was here and is gone, and was not seen to end; {done} completions were done when "
            "it was seen last. It is not created again: a policy with whenUnknown Restart does so"
        )
    if run.outcome == job.STARTING:
        return "OutcomeUnknown", (
            "the Job was created, or not, and may have run and been removed by a ttlSecondsAfterFinished "
            "since. It is not created again: a policy with whenUnknown Restart does so"
        )
    return "Finished", "the Job has ended here and is gone; it is not run again"


def _status(value: bytes) -> Mapping[str, Any]:
    if not value or untrusted.too_large(value):
        return {}
    try:
        return untrusted.mapping(orjson.loads(value))
    except orjson.JSONDecodeError:
        return {}
