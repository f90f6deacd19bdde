"""Group batch: Jobs and CronJobs.

Pure data. Next: `hanse.kube.kinds.builtin`.
"""

from __future__ import annotations

from typing import Final

from hanse.kube.kinds.kind import Kind, SelectableField

CRON_JOB: Final = Kind(
    "batch", "CronJob", "cronjobs", short_names=("cj",), categories=("all",), subresources=("status",)
)
JOB: Final = Kind(
    "batch",
    "Job",
    "jobs",
    categories=("all",),
    subresources=("status",),
    selectable=(SelectableField("status.successful", path="status.succeeded", absent="0"),),
    pod_count="parallelism",
)

KINDS: Final = (CRON_JOB, JOB)
