"""Roles, their bindings, and certificates.

Pure functions, and the strategies made of them. Next: `hanse.kube.kinds.strategies.kubernetes`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from hanse.kube.kinds.fields.cells import NONE, columns
from hanse.kube.kinds.fields.filling import dicts, section
from hanse.kube.kinds.kubernetes.core import SERVICE_ACCOUNT
from hanse.kube.kinds.kubernetes.security import (
    CERTIFICATE_SIGNING_REQUEST,
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    CLUSTER_TRUST_BUNDLE,
    POD_CERTIFICATE_REQUEST,
    ROLE,
    ROLE_BINDING,
)
from hanse.kube.kinds.strategy import Cell, Strategy
from hanse.kube.kinds.table import human_duration
from hanse.kube.merge.typed import same
from hanse.kube.model.fielderrors import FieldError, forbidden, invalid, not_supported, required
from hanse.kube.model.identity import User
from hanse.kube.model.names import path_segment_problems
from hanse.kube.model.objects import Object, mapping, sequence

_RBAC = "rbac.authorization.k8s.io"


def _default_binding(obj: Object) -> None:
    for subject in dicts(obj, "subjects"):
        if not subject.get("apiGroup") and subject.get("kind") in ("User", "Group"):
            subject["apiGroup"] = _RBAC
    reference = section(obj, "roleRef")
    if reference is not None and not reference.get("apiGroup"):
        reference["apiGroup"] = _RBAC


def _role_errors(obj: Object) -> Iterator[FieldError]:
    for index, rule in enumerate(sequence(obj, "rules")):
        if rule.get("nonResourceURLs"):
            message = "namespaced rules cannot apply to non-resource URLs"
            yield invalid(f"rules[{index}].nonResourceURLs", rule["nonResourceURLs"], message)


def _cluster_binding_errors(obj: Object) -> Iterator[FieldError]:
    kind = mapping(obj, "roleRef").get("kind")
    if kind == "Role":
        yield not_supported("roleRef.kind", kind, ("ClusterRole",))
    for index, subject in enumerate(sequence(obj, "subjects")):
        if subject.get("kind") == SERVICE_ACCOUNT.name and not subject.get("namespace"):
            yield required(f"subjects[{index}].namespace")


def _binding_changes(old: Object, new: Object) -> Iterator[FieldError]:
    if not same(old.get("roleRef"), new.get("roleRef")):
        yield invalid("roleRef", new.get("roleRef"), "cannot change roleRef")


def _role_row(obj: Object, now: datetime) -> Sequence[Cell]:
    return (obj["metadata"].get("creationTimestamp", ""),)


def _binding_row(obj: Object, now: datetime) -> Sequence[Cell]:
    role = mapping(obj, "roleRef")
    by_kind: dict[str, list[str]] = {}
    for subject in sequence(obj, "subjects"):
        name = str(subject.get("name"))
        if subject.get("kind") == SERVICE_ACCOUNT.name:
            name = f"{subject.get('namespace')}/{name}"
        by_kind.setdefault(str(subject.get("kind")), []).append(name)
    return (
        f"{role.get('kind')}/{role.get('name')}",
        ", ".join(by_kind.get("User", [])),
        ", ".join(by_kind.get("Group", [])),
        ", ".join(by_kind.get(SERVICE_ACCOUNT.name, [])),
    )


def _keep_request(old: Object, new: Object) -> None:
    if "spec" in old:
        new["spec"] = old["spec"]


def _stamp_request(obj: Object, user: User) -> None:
    """Say who asks: a signer believes these fields, and no client may set them."""
    spec = obj["spec"] if isinstance(obj.get("spec"), dict) else {}
    for field in ("username", "uid", "groups", "extra"):
        spec.pop(field, None)
    spec["username"] = user.name
    if user.uid:
        spec["uid"] = user.uid
    if user.groups:
        spec["groups"] = list(user.groups)
    if user.extra:
        spec["extra"] = {name: list(values) for name, values in user.extra.items()}
    obj["spec"], obj["status"] = spec, {}


def _conditions(obj: Object) -> list[dict[str, Any]]:
    return [each for each in sequence(obj, "status", "conditions") if isinstance(each, dict)]


def _of_type(obj: Object, type_: str) -> list[dict[str, Any]]:
    return [each for each in _conditions(obj) if each.get("type") == type_]


def _restrict_request(old: Object, new: Object, subresource: str, now: str) -> None:
    """Let an approval change conditions and no certificate, and a status no approval."""
    if subresource == "approval":
        conditions = _conditions(new)
        new["status"] = {**mapping(old, "status")}
        new["status"].pop("conditions", None)
        if conditions:
            new["status"]["conditions"] = conditions
    else:
        for type_ in _DECIDED:
            before, after = _of_type(old, type_), _of_type(new, type_)
            if len(before) == len(after):
                for condition, kept in zip(after, before, strict=True):
                    condition.clear()
                    condition.update(kept)
    for condition in _conditions(new):
        if not condition.get("lastUpdateTime"):
            condition["lastUpdateTime"] = now
        if not condition.get("lastTransitionTime"):
            same_state = (
                each.get("lastTransitionTime")
                for each in _of_type(old, str(condition.get("type")))
                if each.get("status") == condition.get("status")
            )
            condition["lastTransitionTime"] = next(filter(None, same_state), now)


_DECIDED: Final = ("Approved", "Denied")
"""Conditions of a signing request that an approval alone sets."""


def _request_changes(old: Object, new: Object, subresource: str) -> Iterator[FieldError]:
    for type_ in (*_DECIDED, "Failed"):
        before, after = len(_of_type(old, type_)), len(_of_type(new, type_))
        if after < before:
            yield forbidden("status.conditions", f'updates may not remove a condition of type "{type_}"')
        if after > before and type_ in _DECIDED and subresource != "approval":
            yield forbidden("status.conditions", f'updates may not add a condition of type "{type_}"')


def _signing_request_row(obj: Object, now: datetime) -> Sequence[Cell]:
    spec = mapping(obj, "spec")
    seconds = spec.get("expirationSeconds")
    conditions = [str(c.get("type")) for c in sequence(obj, "status", "conditions")]
    if mapping(obj, "status").get("certificate"):
        conditions.append("Issued")
    return (
        spec.get("signerName", ""),
        spec.get("username", ""),
        human_duration(seconds) if isinstance(seconds, int) else NONE,
        ",".join(conditions) or "Pending",
    )


def _trust_bundle_row(obj: Object, now: datetime) -> Sequence[Cell]:
    return (mapping(obj, "spec").get("signerName") or NONE,)


def _pod_certificate_request_row(obj: Object, now: datetime) -> Sequence[Cell]:
    spec = mapping(obj, "spec")
    states = [c.get("type") for c in sequence(obj, "status", "conditions")]
    state = next((state for state in ("Issued", "Denied", "Failed") if state in states), "Pending")
    return *(
        spec.get(field, "") for field in ("podName", "serviceAccountName", "nodeName", "signerName")
    ), state


_ROLE: Final = Strategy(name_problems=path_segment_problems, table=columns("Created At", _role_row))
_BINDING: Final = Strategy(
    name_problems=path_segment_problems,
    defaults=_default_binding,
    update_rules=_binding_changes,
    table=columns("Role,Age,Users*,Groups*,ServiceAccounts*", _binding_row),
)

STRATEGIES: Final = {
    CERTIFICATE_SIGNING_REQUEST: Strategy(
        stamp=_stamp_request,
        restrict_subresource=_restrict_request,
        subresource_rules=_request_changes,
        carry_over=_keep_request,
        table=columns("Age,SignerName,Requestor,RequestedDuration,Condition", _signing_request_row),
    ),
    CLUSTER_TRUST_BUNDLE: Strategy(requires_version=True, table=columns("SignerName", _trust_bundle_row)),
    POD_CERTIFICATE_REQUEST: Strategy(
        requires_version=True,
        table=columns("PodName,ServiceAccountName,NodeName,SignerName,State", _pod_certificate_request_row),
    ),
    CLUSTER_ROLE: _ROLE,
    CLUSTER_ROLE_BINDING: replace(_BINDING, rules=_cluster_binding_errors),
    ROLE: replace(_ROLE, rules=_role_errors),
    ROLE_BINDING: _BINDING,
}
"""The strategies of the kinds that have one."""
