"""Types of Jobs and CronJobs: what is done how often, what counts as success or failure, and when.

Pure. Next: `hanse.kube.kinds.types.schedules`, which reads schedules.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from hanse.kube.kinds.types.checks import (
    NOT_NEGATIVE,
    Check,
    Given,
    Plain,
    at_most,
    both,
    choice,
    longest,
    nothing,
    struct,
    text,
)
from hanse.kube.kinds.types.networking import domain_path
from hanse.kube.kinds.types.schedules import schedule, time_zone
from hanse.kube.model.fielderrors import FieldError, duplicate, invalid, required
from hanse.kube.model.names import label_problems, qualified_name_problems
from hanse.kube.model.objects import mapping, name_of, sequence
from hanse.numbers import whole_number

_MOST: Final = 100_000
_ACTIONS: Final = ("Count", "FailIndex", "FailJob", "Ignore")


def _job(value: Any, where: str) -> Iterator[FieldError]:
    completions, parallelism = value.get("completions"), value.get("parallelism")
    each_index, failed = value.get("backoffLimitPerIndex"), value.get("maxFailedIndexes")
    if failed is not None and each_index is None:
        yield required(f"{where}.backoffLimitPerIndex", "when maxFailedIndexes is specified")
    if value.get("completionMode") == "Indexed":
        if completions is None:
            yield required(f"{where}.completions", "when completion mode is Indexed")
        if parallelism is not None and parallelism > _MOST:
            message = f"must be less than or equal to {_MOST} when completion mode is Indexed"
            yield invalid(f"{where}.parallelism", parallelism, message)
        if completions is not None and failed is not None and failed > completions:
            yield invalid(f"{where}.maxFailedIndexes", failed, "must be less than or equal to completions")
        if failed is not None and failed > _MOST:
            yield invalid(f"{where}.maxFailedIndexes", failed, f"must be less than or equal to {_MOST}")
        if completions is not None and completions > _MOST and each_index is not None:
            yield from _many(value, where)
    else:
        for field in ("backoffLimitPerIndex", "maxFailedIndexes", "successPolicy"):
            if value.get(field) is not None:
                yield invalid(f"{where}.{field}", value[field], "requires indexed completion mode")
    yield from _failure_policy(value, where)
    if value.get("successPolicy") is not None and value.get("completionMode") == "Indexed":
        yield from _success_policy(value["successPolicy"], f"{where}.successPolicy", completions or 0)


def _many(value: Any, where: str) -> Iterator[FieldError]:
    failed, parallelism = value.get("maxFailedIndexes"), value.get("parallelism")
    if failed is None:
        message = f"must be specified when completions is above {_MOST}"
        yield required(f"{where}.maxFailedIndexes", message)
    for field, found in (("parallelism", parallelism), ("maxFailedIndexes", failed)):
        if found is not None and found > 10_000:
            yield invalid(
                f"{where}.{field}",
                found,
                f"must be less than or equal to 10000 when completions are above {_MOST}",
            )


def _failure_policy(value: Any, where: str) -> Iterator[FieldError]:
    policy = value.get("podFailurePolicy")
    if policy is None:
        return
    pod = mapping(value, "template", "spec")
    names = [c.get("name") for f in ("containers", "initContainers") for c in sequence(pod, f)]
    restart = pod.get("restartPolicy")
    if restart == "OnFailure":
        message = 'only "Never" is supported when podFailurePolicy is specified'
        yield invalid(f"{where}.template.spec.restartPolicy", restart, message)
    replacement = value.get("podReplacementPolicy")
    if replacement not in (None, "Failed"):
        yield invalid(f"{where}.podReplacementPolicy", replacement, 'supported values: "Failed"')
    for index, rule in enumerate(sequence(policy, "rules")):
        at = f"{where}.podFailurePolicy.rules[{index}]"
        if rule.get("action") == "FailIndex" and value.get("backoffLimitPerIndex") is None:
            message = "requires the backoffLimitPerIndex to be set"
            yield invalid(f"{at}.action", "FailIndex", message)
        name = mapping(rule, "onExitCodes").get("containerName")
        if name is not None and name not in names:
            message = "must be one of the container or initContainer names in the pod template"
            yield invalid(f"{at}.onExitCodes.containerName", name, message)


def _failure_rule(value: Any, where: str) -> Iterator[FieldError]:
    codes, conditions = value.get("onExitCodes"), value.get("onPodConditions")
    if codes is not None and conditions:
        yield invalid(where, None, "specifying both OnExitCodes and OnPodConditions is not supported")
    if codes is None and not conditions:
        yield invalid(where, None, "specifying one of OnExitCodes and OnPodConditions is required")


def _exit_codes(value: Any, where: str) -> Iterator[FieldError]:
    values = sequence(value, "values")
    at = f"{where}.values"
    if not values:
        yield invalid(at, values, "at least one value is required")
    if len(values) > 255:
        yield FieldError(at, "FieldValueTooMany", "must have at most 255 items", len(values))
    for index, code in enumerate(values):
        if value.get("operator") == "In" and code == 0:
            yield invalid(f"{at}[{index}]", code, "must not be 0 for the In operator")
        if code in values[:index]:
            yield duplicate(f"{at}[{index}]", code)
    if values != sorted(values):
        yield invalid(at, values, "must be ordered")


def _success_policy(policy: Any, where: str, completions: int) -> Iterator[FieldError]:
    rules = sequence(policy, "rules")
    if not rules:
        message = "at least one rules must be specified when the successPolicy is specified"
        yield required(f"{where}.rules", message)
    for index, rule in enumerate(rules):
        at = f"{where}.rules[{index}]"
        count, indexes = rule.get("succeededCount"), rule.get("succeededIndexes")
        if count is None and indexes is None:
            message = "at least one of succeededCount or succeededIndexes must be specified"
            yield required(at, message)
        total = indexes_in(indexes, completions) if indexes is not None else None
        if indexes is not None and total is None:
            yield invalid(f"{at}.succeededIndexes", indexes, "error parsing succeededIndexes")
        if count is not None:
            most = completions if total is None else min(completions, total)
            if count < 0:
                yield from NOT_NEGATIVE(count, f"{at}.succeededCount")
            elif count > most:
                yield invalid(f"{at}.succeededCount", count, f"must be less than or equal to {most}")


def indexes_in(said: str, completions: int) -> int | None:
    """Return how many indexes below `completions` a text such as `1,3-5` names; None for what is none."""
    total, last = 0, -1
    for part in said.split(",") if said else ():
        first, dash, end = part.partition("-")
        low = whole_number(first)
        high = whole_number(end) if dash else low
        if low is None or high is None or low <= last or high >= completions or (dash and high <= low):
            return None
        total, last = total + high - low + 1, high
    return total


def _job_template(value: Any, where: str) -> Iterator[FieldError]:
    spec = mapping(value, "spec")
    if spec.get("selector") is not None:
        yield invalid(f"{where}.spec.selector", spec["selector"], "`selector` will be auto-generated")
    if spec.get("manualSelector"):
        yield invalid(f"{where}.spec.manualSelector", True, 'supported values: "nil", "false"')


def _cron_job(value: Any, where: str) -> Iterator[FieldError]:
    if not value.get("schedule"):
        yield required(f"{where}.schedule")


def job_name(obj: Any) -> Iterator[FieldError]:
    """Yield what is wrong with the name of an Indexed Job: its Pods are named after it."""
    spec = mapping(obj, "spec")
    completions = spec.get("completions")
    if spec.get("completionMode") == "Indexed" and isinstance(completions, int) and completions > 0:
        name = f"{name_of(obj)}-{completions - 1}"
        if name_of(obj) and label_problems(name):
            message = f"will not able to create pod with invalid DNS label: {name}"
            yield invalid("metadata.name", name_of(obj), message)


def _managed_by(value: Any, where: str) -> Iterator[FieldError]:
    yield from domain_path(value, where)
    yield from longest(63)(value, where)


TYPES: Final[dict[str, Check]] = {
    "batch.v1.CronJobSpec": struct(
        _cron_job,
        schedule=schedule,
        timeZone=Given(time_zone),
        startingDeadlineSeconds=NOT_NEGATIVE,
        concurrencyPolicy=choice("Allow", "Forbid", "Replace"),
        successfulJobsHistoryLimit=NOT_NEGATIVE,
        failedJobsHistoryLimit=NOT_NEGATIVE,
    ),
    "batch.v1.JobSchedulingConfiguration": nothing,
    "batch.v1.JobSpec": struct(
        _job,
        parallelism=NOT_NEGATIVE,
        completions=NOT_NEGATIVE,
        activeDeadlineSeconds=NOT_NEGATIVE,
        backoffLimit=NOT_NEGATIVE,
        ttlSecondsAfterFinished=NOT_NEGATIVE,
        backoffLimitPerIndex=NOT_NEGATIVE,
        maxFailedIndexes=NOT_NEGATIVE,
        managedBy=Given(_managed_by),
        completionMode=Given(choice("Indexed", "NonIndexed")),
        podReplacementPolicy=Given(choice("Failed", "TerminatingOrFailed")),
    ),
    "batch.v1.JobTemplateSpec": struct(_job_template),
    "batch.v1.PodFailurePolicy": struct(rules=at_most(20)),
    "batch.v1.PodFailurePolicyOnExitCodesRequirement": struct(
        _exit_codes, operator=Plain(choice("In", "NotIn"))
    ),
    "batch.v1.PodFailurePolicyOnPodConditionsPattern": struct(
        type=Plain(text(qualified_name_problems)), status=Plain(choice("False", "True", "Unknown"))
    ),
    "batch.v1.PodFailurePolicyRule": struct(
        _failure_rule, action=Plain(choice(*_ACTIONS)), onPodConditions=at_most(20)
    ),
    "batch.v1.SuccessPolicy": struct(rules=both(at_most(20))),
    "scheduling.v1alpha3.TopologyConstraint": nothing,
    "scheduling.v1alpha3.WorkloadPodGroupResourceClaim": nothing,
}
"""The checks of these types, by their short names."""
