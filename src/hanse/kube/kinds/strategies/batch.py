"""Jobs and CronJobs.

Pure functions, and the strategies made of them. Next: `hanse.kube.kinds.strategies.kubernetes`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from hanse.errors import InvalidArgumentError
from hanse.kube.kinds.fields.cells import (
    NONE,
    columns,
    container_texts,
    number,
    selector_text,
    template_texts,
)
from hanse.kube.kinds.fields.filling import dicts, ensure, fill, fill_texts, section
from hanse.kube.kinds.fields.pod_defaults import default_template
from hanse.kube.kinds.fields.rules import IMMUTABLE, selected_errors, template_errors
from hanse.kube.kinds.kubernetes.batch import CRON_JOB, JOB
from hanse.kube.kinds.strategy import Cell, Strategy
from hanse.kube.kinds.table import age, human_duration
from hanse.kube.kinds.types.batch import job_name
from hanse.kube.merge.typed import same
from hanse.kube.model.fielderrors import FieldError, invalid, required
from hanse.kube.model.objects import Object, is_deleting, mapping, name_of, sequence
from hanse.kube.model.selectors import LabelSelector
from hanse.kube.model.times import parse_time

MAX_INT32 = 2**31 - 1


_SUSPENDED_FREE = ("nodeSelector", "affinity", "tolerations", "schedulingGates")


def _default_job(obj: Object) -> None:
    spec = ensure(obj, "spec")
    default_template(spec)
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    fill(
        spec,
        {
            "parallelism": 1,
            "backoffLimit": MAX_INT32 if "backoffLimitPerIndex" in spec else 6,
            "completionMode": "NonIndexed",
            "suspend": False,
            "manualSelector": False,
            "podReplacementPolicy": "Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed",
        },
    )
    for rule in dicts(section(spec, "podFailurePolicy"), "rules"):
        for pattern in dicts(rule, "onPodConditions"):
            fill_texts(pattern, {"status": "True"})
    labels = section(section(section(spec, "template"), "metadata"), "labels")
    metadata = ensure(obj, "metadata")
    if labels and not metadata.get("labels"):
        metadata["labels"] = dict(labels)


def _default_cron_job(obj: Object) -> None:
    spec = ensure(obj, "spec")
    fill_texts(spec, {"concurrencyPolicy": "Allow"})
    fill(spec, {"suspend": False, "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1})
    job = section(section(spec, "jobTemplate"), "spec")
    if job is not None:
        default_template(job)


def _job_errors(obj: Object) -> Iterator[FieldError]:
    spec = mapping(obj, "spec")
    yield from job_name(obj)
    yield from template_errors(spec, "spec", ("OnFailure", "Never"))
    selector = spec.get("selector")
    if spec.get("manualSelector"):
        if selector is None:
            yield required("spec.selector")
        else:
            yield from selected_errors(spec)
    elif selector and not _is_generated(obj, selector):
        yield invalid("spec.selector", selector, "`selector` not auto-generated")


def _is_generated(obj: Object, selector: Object) -> bool:
    uid = str(mapping(obj, "metadata").get("uid") or "")
    labels = {"controller-uid": uid, "job-name": name_of(obj)}
    labels |= {f"batch.kubernetes.io/{name}": value for name, value in labels.items()}
    try:
        return bool(uid) and LabelSelector.from_object(selector).matches(labels)
    except InvalidArgumentError:
        return False


def _cron_job_name_errors(obj: Object) -> Iterator[FieldError]:
    if len(name_of(obj)) > 52:
        yield invalid("metadata.name", name_of(obj), "must be no more than 52 characters")


def _cron_job_errors(obj: Object) -> Iterator[FieldError]:
    job = mapping(obj, "spec", "jobTemplate", "spec")
    yield from template_errors(job, "spec.jobTemplate.spec", ("OnFailure", "Never"))


def _job_changes(old: Object, new: Object) -> Iterator[FieldError]:
    before, after = mapping(old, "spec"), mapping(new, "spec")
    if not same(before.get("completions"), after.get("completions")) and not (
        after.get("completionMode") == "Indexed" and after.get("completions") == after.get("parallelism")
    ):
        yield invalid("spec.completions", after.get("completions"), IMMUTABLE)
    for field in ("podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"):
        if not same(before.get(field), after.get(field)):
            yield invalid(f"spec.{field}", after.get(field), IMMUTABLE)
    template, wanted = mapping(before, "template"), mapping(after, "template")
    if before.get("suspend") is True:
        template, wanted = _without_scheduling(template), _without_scheduling(wanted)
    if not same(template, wanted):
        yield invalid("spec.template", after.get("template"), IMMUTABLE)


def _without_scheduling(template: dict[str, Any]) -> dict[str, Any]:
    spec = {k: v for k, v in mapping(template, "spec").items() if k not in _SUSPENDED_FREE}
    return {"spec": spec}


def _job_row(obj: Object, now: datetime) -> Sequence[Cell]:
    spec, status = mapping(obj, "spec"), mapping(obj, "status")
    succeeded = number(obj, "status", "succeeded")
    if spec.get("completions") is not None:
        completions = f"{succeeded}/{spec['completions']}"
    elif number(obj, "spec", "parallelism") > 1:
        completions = f"{succeeded}/1 of {spec['parallelism']}"
    else:
        completions = f"{succeeded}/1"
    started, ended = parse_time(status.get("startTime")), parse_time(status.get("completionTime"))
    duration = human_duration(((ended or now) - started).total_seconds()) if started else ""
    return _job_status(obj), completions, duration, *template_texts(obj), selector_text(spec.get("selector"))


def _job_status(obj: Object) -> str:
    true = {c.get("type") for c in sequence(obj, "status", "conditions") if c.get("status") == "True"}
    for condition, text in (
        ("Complete", "Complete"), ("Failed", "Failed"), ("Suspended", "Suspended"),
        ("FailureTarget", "FailureTarget"), ("SuccessCriteriaMet", "SuccessCriteriaMet"),
    ):  # fmt: skip
        if condition in true:
            return text
    return "Terminating" if is_deleting(obj) else "Running"


def _cron_job_row(obj: Object, now: datetime) -> Sequence[Cell]:
    spec, status = mapping(obj, "spec"), mapping(obj, "status")
    template = mapping(spec, "jobTemplate", "spec")
    last = status.get("lastScheduleTime")
    return (
        spec.get("schedule", ""),
        spec.get("timeZone") or NONE,
        str(bool(spec.get("suspend"))),
        len(sequence(status, "active")),
        age(last, now) if last else NONE,
        *container_texts(mapping(template, "template", "spec")),
        selector_text(template.get("selector")),
    )


STRATEGIES: Final = {
    CRON_JOB: Strategy(
        defaults=_default_cron_job,
        rules=_cron_job_errors,
        create_rules=_cron_job_name_errors,
        table=columns(
            "Schedule,Timezone,Suspend,Active#,Last Schedule,Age,Containers*,Images*,Selector*", _cron_job_row
        ),
    ),
    JOB: Strategy(
        defaults=_default_job,
        rules=_job_errors,
        immutable=("spec.selector", "spec.completionMode"),
        update_rules=_job_changes,
        table=columns("Status,Completions,Duration,Age,Containers*,Images*,Selector*", _job_row),
    ),
}
"""The strategies of the kinds that have one."""
