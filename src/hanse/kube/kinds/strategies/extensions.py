"""What extends the API server: admission by webhooks and policies, custom resources, aggregated APIs.

Pure functions, and the strategies made of them. Next: `hanse.kube.kinds.strategies.kubernetes`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from hanse.kube.kinds.fields.cells import UNSET, columns, selector_text
from hanse.kube.kinds.fields.crds import crd_errors
from hanse.kube.kinds.fields.filling import Spec, dicts, ensure, fill, section
from hanse.kube.kinds.kubernetes.extensions import (
    API_SERVICE,
    CUSTOM_RESOURCE_DEFINITION,
    MUTATING_ADMISSION_POLICY,
    MUTATING_ADMISSION_POLICY_BINDING,
    MUTATING_WEBHOOK_CONFIGURATION,
    VALIDATING_ADMISSION_POLICY,
    VALIDATING_ADMISSION_POLICY_BINDING,
    VALIDATING_WEBHOOK_CONFIGURATION,
)
from hanse.kube.kinds.strategy import Cell, Strategy
from hanse.kube.model.fielderrors import FieldError, invalid
from hanse.kube.model.identity import User
from hanse.kube.model.objects import Object, child, mapping, name_of, sequence


def _default_webhooks(obj: Object) -> None:
    for webhook in dicts(obj, "webhooks"):
        fill(
            webhook,
            {
                "failurePolicy": "Fail",
                "matchPolicy": "Equivalent",
                "namespaceSelector": {},
                "objectSelector": {},
                "timeoutSeconds": 10,
            },
        )
        if MUTATING_WEBHOOK_CONFIGURATION.matches(obj):
            webhook.setdefault("reinvocationPolicy", "Never")
        for rule in dicts(webhook, "rules"):
            rule.setdefault("scope", "*")
        service = section(section(webhook, "clientConfig"), "service")
        if service is not None:
            service.setdefault("port", 443)


def _default_admission_policy(obj: Object) -> None:
    spec = ensure(obj, "spec")
    spec.setdefault("failurePolicy", "Fail")
    _default_matched(section(spec, "matchConstraints"))


def _default_admission_binding(obj: Object) -> None:
    _default_matched(section(ensure(obj, "spec"), "matchResources"))


def _default_matched(resources: Spec | None) -> None:
    if resources is None:
        return
    fill(resources, {"matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {}})
    for rules in ("resourceRules", "excludeResourceRules"):
        for rule in dicts(resources, rules):
            rule.setdefault("scope", "*")


def _default_crd(obj: Object) -> None:
    spec = ensure(obj, "spec")
    names = ensure(spec, "names")
    kind = str(names.get("kind") or "")
    if kind:
        fill(names, {"singular": kind.lower(), "listKind": f"{kind}List"})
    ensure(spec, "conversion").setdefault("strategy", "None")


def _definition_errors(obj: Object) -> Iterator[FieldError]:
    spec = mapping(obj, "spec")
    wanted = f"{child(spec, 'names', 'plural')}.{spec.get('group')}"
    if name_of(obj) and name_of(obj) != wanted:
        yield invalid("metadata.name", name_of(obj), f'must be spec.names.plural+"."+spec.group ({wanted})')
    yield from crd_errors(obj)


def _crd_row(obj: Object, now: datetime) -> Sequence[Cell]:
    return (obj["metadata"].get("creationTimestamp", ""),)


def _api_service_row(obj: Object, now: datetime) -> Sequence[Cell]:
    service = mapping(obj, "spec", "service")
    available: Object = next(
        (c for c in sequence(obj, "status", "conditions") if c.get("type") == "Available"), {}
    )
    shown = f"{service.get('namespace')}/{service.get('name')}" if service else "Local"
    return shown, str(available.get("status", "Unknown"))


def _policy_row(obj: Object, now: datetime) -> Sequence[Cell]:
    spec = mapping(obj, "spec")
    kind = mapping(spec, "paramKind")
    shown = f"{kind.get('apiVersion')}/{kind.get('kind')}" if kind else UNSET
    return len(sequence(spec, "validations") or sequence(spec, "mutations")), shown


def _policy_binding_row(obj: Object, now: datetime) -> Sequence[Cell]:
    spec = mapping(obj, "spec")
    parameter = mapping(spec, "paramRef")
    named = f"{parameter.get('namespace') or '*'}/{parameter.get('name')}"
    if not parameter.get("name"):
        named = selector_text(parameter["selector"]) if "selector" in parameter else UNSET
    return spec.get("policyName", ""), named


def _stamp_api_service(obj: Object, user: User) -> None:
    """Say nothing of a server that nobody has asked yet; what is served here is available."""
    obj["status"] = {}
    if not mapping(obj, "spec").get("service"):
        condition = {
            "type": "Available",
            "status": "True",
            "reason": "Local",
            "message": "Local APIServices are always available",
            "lastTransitionTime": obj["metadata"]["creationTimestamp"],
        }
        obj["status"] = {"conditions": [condition]}


_POLICY_BINDING: Final = Strategy(
    requires_version=True,
    defaults=_default_admission_binding,
    table=columns("PolicyName,ParamRef,Age", _policy_binding_row),
)

STRATEGIES: Final = {
    API_SERVICE: Strategy(stamp=_stamp_api_service, table=columns("Service,Available,Age", _api_service_row)),
    CUSTOM_RESOURCE_DEFINITION: Strategy(
        requires_version=True,
        defaults=_default_crd,
        rules=_definition_errors,
        immutable=("spec.group", "spec.scope", "spec.names.kind"),
        table=columns("Created At", _crd_row),
    ),
    MUTATING_ADMISSION_POLICY: Strategy(
        requires_version=True,
        defaults=_default_admission_policy,
        table=columns("Mutations#,ParamKind,Age", _policy_row),
    ),
    VALIDATING_ADMISSION_POLICY: Strategy(
        requires_version=True,
        defaults=_default_admission_policy,
        table=columns("Validations#,ParamKind,Age", _policy_row),
    ),
    MUTATING_ADMISSION_POLICY_BINDING: _POLICY_BINDING,
    VALIDATING_ADMISSION_POLICY_BINDING: _POLICY_BINDING,
    MUTATING_WEBHOOK_CONFIGURATION: Strategy(requires_version=True, defaults=_default_webhooks),
    VALIDATING_WEBHOOK_CONFIGURATION: Strategy(requires_version=True, defaults=_default_webhooks),
}
"""The strategies of the kinds that have one."""
