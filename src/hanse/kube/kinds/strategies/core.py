"""Namespaces, ConfigMaps, Secrets and what else of the core group is neither Pods, Services nor volumes.

Pure functions, and the strategies made of them. Next: `hanse.kube.kinds.strategies.kubernetes`.
"""

from __future__ import annotations

import base64
import binascii
from base64 import b64decode
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

import orjson

from hanse.kube.kinds.fields.cells import NONE, columns, join
from hanse.kube.kinds.fields.filling import dicts, ensure, fill, section
from hanse.kube.kinds.kubernetes.core import (
    CONFIG_MAP,
    LIMIT_RANGE,
    NAMESPACE,
    NODE,
    RESOURCE_QUOTA,
    SECRET,
    SERVICE_ACCOUNT,
)
from hanse.kube.kinds.strategy import Cell, Strategy
from hanse.kube.merge.typed import same
from hanse.kube.model.fielderrors import FieldError, forbidden, invalid, required, too_long
from hanse.kube.model.names import config_key_problems, label_problems
from hanse.kube.model.objects import Object, mapping, name_of, sequence

MAX_DATA = 1024 * 1024
"""Bytes that the values of a ConfigMap or Secret may have."""


_SECRET_KEYS = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}


_JSON_SECRETS = ("kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg")
_ACCOUNT_TOKEN = "kubernetes.io/service-account-token"  # noqa: S105
_ACCOUNT = "kubernetes.io/service-account.name"


def _default_namespace(obj: Object) -> None:
    if name_of(obj):
        ensure(ensure(obj, "metadata"), "labels")["kubernetes.io/metadata.name"] = name_of(obj)
    ensure(obj, "status").setdefault("phase", "Active")


def _keep_namespace_finalizers(old: Object, new: Object) -> None:
    kept = mapping(old, "spec").get("finalizers")
    if kept:
        ensure(new, "spec")["finalizers"] = kept
    elif section(new, "spec"):
        new["spec"].pop("finalizers", None)


def _default_secret(obj: Object) -> None:
    obj["type"] = obj.get("type") or "Opaque"
    plain = obj.pop("stringData", None)
    if isinstance(plain, dict):
        data = ensure(obj, "data")
        for key, value in plain.items():
            data[key] = base64.b64encode(str(value).encode()).decode()


def _default_limit_range(obj: Object) -> None:
    for item in dicts(section(obj, "spec"), "limits"):
        if item.get("type") == "Container":
            for target, source in (
                ("default", "max"),
                ("defaultRequest", "default"),
                ("defaultRequest", "min"),
            ):
                values = section(item, source)
                if values:
                    fill(ensure(item, target), values)


def _data_key_errors(obj: Object, *fields: str) -> Iterator[FieldError]:
    for field in fields:
        for key in mapping(obj, field):
            for problem in config_key_problems(key):
                yield invalid(f"{field}[{key}]", key, problem)


def _config_map_errors(obj: Object) -> Iterator[FieldError]:
    yield from _data_key_errors(obj, "data", "binaryData")
    data, binary = mapping(obj, "data"), mapping(obj, "binaryData")
    for key in data.keys() & binary.keys():
        yield invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
    size = sum(len(str(value).encode()) for value in data.values())
    if size + sum(_decoded_bytes(str(value)) for value in binary.values()) > MAX_DATA:
        yield too_long("[]", MAX_DATA)  # Kubernetes' name for the whole object


def _decoded_bytes(text: str) -> int:
    """Return how many bytes base64 stands for."""
    return len(text) * 3 // 4 - text[-2:].count("=")


def _secret_errors(obj: Object) -> Iterator[FieldError]:
    yield from _data_key_errors(obj, "data", "stringData")
    data = mapping(obj, "data")
    size = 0
    for key, value in data.items():
        try:
            size += len(b64decode(value, validate=True))
        except (binascii.Error, ValueError):
            yield invalid(f"data[{key}]", "<secret>", "illegal base64 data")
    if size > MAX_DATA:
        yield too_long("data", MAX_DATA)
    plain = mapping(obj, "stringData")
    kind = str(obj.get("type") or "Opaque")
    for key in _SECRET_KEYS.get(kind, ()):
        if key not in data and key not in plain:
            yield required(f"data[{key}]")
        elif kind in _JSON_SECRETS and key in data and not _is_json_object(data[key]):
            yield invalid(f"data[{key}]", "<secret contents redacted>", "must be a JSON object")
    if kind == "kubernetes.io/ssh-auth" and data.get("ssh-privatekey") == "":
        yield required("data[ssh-privatekey]")
    if kind == _ACCOUNT_TOKEN and not mapping(obj, "metadata", "annotations").get(_ACCOUNT):
        yield required(f"metadata.annotations[{_ACCOUNT}]")
    if kind == "kubernetes.io/basic-auth" and not {"username", "password"} & (data.keys() | plain.keys()):
        yield required("data[username]")
        yield required("data[password]")


def _is_json_object(encoded: str) -> bool:
    try:
        found = orjson.loads(b64decode(encoded, validate=True))
    except (binascii.Error, ValueError):
        return False
    return found is None or isinstance(found, dict)


_WHEN_SET = "field is immutable when `immutable` is set"


def _frozen_data_changes(old: Object, new: Object) -> Iterator[FieldError]:
    if old.get("immutable") is not True:
        return
    if new.get("immutable") is not True:
        yield forbidden("immutable", _WHEN_SET)
    for field in ("data", "binaryData"):
        if not same(mapping(old, field), mapping(new, field)):
            yield forbidden(field, _WHEN_SET)


def _config_map_row(obj: Object, now: datetime) -> Sequence[Cell]:
    return (len(mapping(obj, "data")) + len(mapping(obj, "binaryData")),)


def _secret_row(obj: Object, now: datetime) -> Sequence[Cell]:
    return obj.get("type", "Opaque"), len(mapping(obj, "data"))


def _namespace_row(obj: Object, now: datetime) -> Sequence[Cell]:
    return (mapping(obj, "status").get("phase", ""),)


def _service_account_row(obj: Object, now: datetime) -> Sequence[Cell]:
    return (len(sequence(obj, "secrets")),)


def _node_row(obj: Object, now: datetime) -> Sequence[Cell]:
    ready: Object = next((c for c in sequence(obj, "status", "conditions") if c.get("type") == "Ready"), {})
    state = {"True": "Ready", "False": "NotReady"}.get(str(ready.get("status")), "Unknown")
    if mapping(obj, "spec").get("unschedulable"):
        state += ",SchedulingDisabled"
    prefix = "node-role.kubernetes.io/"
    roles = sorted(k.removeprefix(prefix) for k in mapping(obj, "metadata", "labels") if k.startswith(prefix))
    addresses = {a.get("type"): a.get("address") for a in sequence(obj, "status", "addresses")}
    info = mapping(obj, "status", "nodeInfo")
    return (
        state,
        join(roles),
        info.get("kubeletVersion", ""),
        addresses.get("InternalIP") or NONE,
        addresses.get("ExternalIP") or NONE,
        info.get("osImage") or "<unknown>",
        info.get("kernelVersion") or "<unknown>",
        info.get("containerRuntimeVersion") or "<unknown>",
    )


def _quota_row(obj: Object, now: datetime) -> Sequence[Cell]:
    hard, used = mapping(obj, "status", "hard"), mapping(obj, "status", "used")
    hard = hard or mapping(obj, "spec", "hard")
    limits = {k: v for k, v in hard.items() if k.startswith("limits.")}
    requests = {k: v for k, v in hard.items() if k not in limits}
    return (
        ", ".join(f"{k}: {used.get(k, 0)}/{v}" for k, v in sorted(requests.items())),
        ", ".join(f"{k}: {used.get(k, 0)}/{v}" for k, v in sorted(limits.items())),
    )


def _name_secrets(obj: Object) -> None:
    """Keep the names of Secrets: what else a reference has says nothing there."""
    if isinstance(obj.get("secrets"), list):
        obj["secrets"] = [
            {name: each[name] for name in ("name",) if name in each} if isinstance(each, dict) else each
            for each in obj["secrets"]
        ]


STRATEGIES: Final = {
    CONFIG_MAP: Strategy(
        rules=_config_map_errors,
        update_rules=_frozen_data_changes,
        table=columns("Data#,Age", _config_map_row),
    ),
    LIMIT_RANGE: Strategy(defaults=_default_limit_range),
    NAMESPACE: Strategy(
        first_status={"phase": "Active"},
        name_problems=label_problems,
        defaults=_default_namespace,
        carry_over=_keep_namespace_finalizers,
        table=columns("Status,Age", _namespace_row),
    ),
    NODE: Strategy(
        keeps_status=True,
        table=columns(
            "Status,Roles,Age,Version,Internal-IP*,External-IP*,OS-Image*,Kernel-Version*,Container-Runtime*",
            _node_row,
        ),
    ),
    RESOURCE_QUOTA: Strategy(table=columns("Request,Limit,Age", _quota_row)),
    SECRET: Strategy(
        defaults=_default_secret,
        rules=_secret_errors,
        immutable=("type",),
        update_rules=_frozen_data_changes,
        table=columns("Type,Data#,Age", _secret_row),
    ),
    SERVICE_ACCOUNT: Strategy(defaults=_name_secrets, table=columns("Secrets#,Age", _service_account_row)),
}
"""The strategies of the kinds that have one."""
