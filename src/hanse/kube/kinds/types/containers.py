"""Types of containers: images, ports, environment, probes, resources, mounts, security.

Pure; what needs the whole Pod is in `hanse.kube.kinds.types.pods`, which is next.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from hanse.kube.kinds.types.checks import (
    MAX_INT32,
    NOT_NEGATIVE,
    PORT,
    Check,
    Given,
    Plain,
    amount,
    at_most,
    choice,
    descending,
    no_backsteps,
    nothing,
    one_of,
    port_or_name,
    struct,
    text,
    unique,
    within,
)
from hanse.kube.kinds.types.resources import container_resources
from hanse.kube.model.fielderrors import FieldError, duplicate, forbidden, invalid, not_supported, required
from hanse.kube.model.names import (
    config_key_problems,
    env_name_problems,
    label_problems,
    port_name_problems,
    qualified_name_problems,
    subdomain_problems,
)
from hanse.kube.model.objects import mapping, sequence

_HANDLERS: Final = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
_ENV_SOURCES: Final = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")
_ENV_PATHS: Final = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
    "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip
_FILE_PATHS: Final = (
    "metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid",
)  # fmt: skip
_HEADER: Final = re.compile(r"[-A-Za-z0-9]+")
_SUBSCRIPT: Final = re.compile(r"(.*)\['(.*)'\]")
_USER_MESSAGE: Final = "must be between 0 and 2147483647, inclusive"
USER: Final = within(0, MAX_INT32, _USER_MESSAGE)
KEY: Final = text(config_key_problems)
NAMED_PORT: Final = port_or_name(text(port_name_problems))

_handler = one_of(*_HANDLERS, message="must specify a handler type",
                  found="may not specify more than 1 handler type")  # fmt: skip


def field_selector(*paths: str) -> Check:
    """Return the check of an ObjectFieldSelector that may name these paths."""

    def check(value: Any, where: str) -> Iterator[FieldError]:
        path = value.get("fieldPath") or ""
        if not path:
            yield required(f"{where}.fieldPath")
            return
        if value.get("apiVersion", "v1") != "v1":
            yield invalid(f"{where}.fieldPath", path, "error converting fieldPath: unsupported pod version")
            return
        found = _SUBSCRIPT.fullmatch(path)
        if found is None:
            if path not in paths:
                yield not_supported(f"{where}.fieldPath", path, paths)
            return
        owner, key = found.groups()
        if owner not in ("metadata.annotations", "metadata.labels"):
            yield invalid(where, owner, "does not support subscript")
            return
        for problem in qualified_name_problems(key.lower() if owner == "metadata.annotations" else key):
            yield invalid(where, key, problem)

    return check


_RESOURCES: Final = tuple(
    f"{of}.{name}" for of in ("limits", "requests") for name in ("cpu", "ephemeral-storage", "memory")
)
_BINARY: Final = tuple(amount(f"1{unit}") for unit in ("", *"kMGTPE", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"))
_MILLI: Final = (amount("1m"), amount("1"))


def resource_selector(*, container: bool) -> Check:
    """Return the check of a ResourceFieldSelector, which must name its `container` or not."""

    def check(value: Any, where: str) -> Iterator[FieldError]:
        name = value.get("resource") or ""
        huge = name.startswith(("limits.hugepages-", "requests.hugepages-"))
        if container and not value.get("containerName"):
            yield required(f"{where}.containerName")
        elif not name:
            yield required(f"{where}.resource")
        elif name not in _RESOURCES and not huge:
            yield not_supported(f"{where}.resource", name, _RESOURCES)
        divisor = amount(value.get("divisor", "0")) or 0
        if divisor and (huge or name in _RESOURCES):
            allowed = _MILLI if name.endswith(".cpu") else _BINARY
            if divisor not in allowed:
                yield invalid(f"{where}.divisor", name, "this divisor is not supported with the resource")

    return check


def downward_file(value: Any, where: str) -> Iterator[FieldError]:
    """Yield what is wrong with the source of a file with a field of the Pod."""
    if value.get("fieldRef") is not None:
        yield from field_selector(*_FILE_PATHS)(value["fieldRef"], f"{where}.fieldRef")
        if value.get("resourceFieldRef") is not None:
            message = "fieldRef and resourceFieldRef can not be specified simultaneously"
            yield invalid(where, "resource", message)
    elif value.get("resourceFieldRef") is not None:
        yield from resource_selector(container=True)(value["resourceFieldRef"], f"{where}.resourceFieldRef")
    else:
        yield required(where, "one of fieldRef and resourceFieldRef is required")


def _env_value(value: Any, where: str) -> Iterator[FieldError]:
    source = value.get("valueFrom")
    if source is None:
        return
    at = f"{where}.valueFrom"
    present = [name for name in _ENV_SOURCES if source.get(name) is not None]
    if not present:
        listed = ", ".join(f"`{name}`" for name in _ENV_SOURCES[:-1])
        yield invalid(at, "", f"must specify one of: {listed} or `{_ENV_SOURCES[-1]}`")
    elif value.get("value"):
        yield invalid(at, "", "may not be specified when `value` is not empty")
    elif len(present) > 1:
        yield invalid(at, "", "may not have more than one field specified at a time")


def _http_header(value: Any, where: str) -> Iterator[FieldError]:
    name = value.get("name") or ""
    if not _HEADER.fullmatch(name):
        message = "a valid HTTP header must consist of alphanumeric characters or '-'"
        yield invalid(where.partition("[")[0], name, message)


def _seccomp(value: Any, where: str) -> Iterator[FieldError]:
    profile = value.get("localhostProfile")
    if value.get("type") == "Localhost":
        if profile is None:
            yield required(f"{where}.localhostProfile", "must be set when seccomp type is Localhost")
        else:
            yield from descending(profile, f"{where}.localhostProfile")
    elif profile is not None:
        message = "can only be set when seccomp type is Localhost"
        yield invalid(f"{where}.localhostProfile", profile, message)


def _apparmor(value: Any, where: str) -> Iterator[FieldError]:
    profile = value.get("localhostProfile")
    at = f"{where}.localhostProfile"
    if value.get("type") == "Localhost":
        if not (profile or "").strip():
            yield required(at, "must be set when AppArmor type is Localhost")
        elif profile != profile.strip():
            yield invalid(at, profile, "must not be padded with whitespace")
    elif value.get("type") in ("RuntimeDefault", "Unconfined") and profile is not None:
        yield invalid(at, profile, "can only be set when AppArmor type is Localhost")


def _privileges(value: Any, where: str) -> Iterator[FieldError]:
    if value.get("allowPrivilegeEscalation") is not False:
        return
    if value.get("privileged") is True:
        message = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
        yield invalid(where, value, message)
    if "CAP_SYS_ADMIN" in sequence(value, "capabilities", "add"):
        message = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
        yield invalid(where, value, message)


def _not_empty(value: Any, where: str) -> Iterator[FieldError]:
    if value == "":
        yield invalid(where, value, f"{where.rpartition('.')[2]} cannot be an empty string")


def _user_name(value: Any, where: str) -> Iterator[FieldError]:
    yield from _not_empty(value, where)
    domain, slash, user = value.rpartition("\\")
    if "\\" in domain:
        yield invalid(where, value, "runAsUserName cannot contain more than one backslash")
    elif value and (len(user) > 104 or not user):
        yield invalid(where, value, "runAsUserName's User length must not be longer than 104 characters")
    elif re.search(r'["/\\:;|=,+*?<>@\[\]]', user) or (user and not user.strip(". ")):
        yield invalid(where, value, "runAsUserName's User cannot contain these characters")
    elif slash and (len(domain) >= 256 or not re.fullmatch(r"[A-Za-z0-9][-A-Za-z0-9.]*", domain)):
        yield invalid(where, value, "runAsUserName's Domain must be a DNS or NetBIOS name")


def container(value: Any, where: str) -> Iterator[FieldError]:
    """Yield what is wrong with a container by itself, of whatever sort."""
    mounts, devices = sequence(value, "volumeMounts"), sequence(value, "volumeDevices")
    names = {each_.get("name") for each_ in mounts}
    paths = {each_.get("mountPath") for each_ in mounts}
    for index, device in enumerate(devices):
        at = f"{where}.volumeDevices[{index}]"
        if device.get("name") in names:
            yield invalid(f"{at}.name", device.get("name"), "must not already exist in volumeMounts")
        if device.get("devicePath") in paths:
            message = "must not already exist as a path in volumeMounts"
            yield invalid(f"{at}.devicePath", device.get("devicePath"), message)
    privileged = mapping(value, "securityContext").get("privileged") is True
    for index, mount in enumerate(mounts):
        if mount.get("mountPropagation") == "Bidirectional" and not privileged:
            message = "Bidirectional mount propagation is available only to privileged containers"
            yield forbidden(f"{where}.volumeMounts[{index}].mountPropagation", message)
    if len(sequence(value, "restartPolicyRules")) and not value.get("restartPolicy"):
        message = "must specify restartPolicy when restart rules are used"
        yield required(f"{where}.restartPolicy", message)


def _mount(value: Any, where: str) -> Iterator[FieldError]:
    if value.get("subPathExpr") and value.get("subPath"):
        message = "subPathExpr and subPath are mutually exclusive"
        yield invalid(f"{where}.subPathExpr", value["subPathExpr"], message)
    recursive = value.get("recursiveReadOnly")
    if recursive in ("Enabled", "IfPossible"):
        at = f"{where}.recursiveReadOnly"
        if not value.get("readOnly"):
            yield forbidden(at, "may only be specified when readOnly is true")
        if value.get("mountPropagation") not in (None, "None"):
            yield forbidden(at, "may only be specified when mountPropagation is None or not specified")


def _ports(value: Any, where: str) -> Iterator[FieldError]:
    seen: set[str] = set()
    for index, port in enumerate(value):
        name = port.get("name")
        if name and not port_name_problems(name):
            if name in seen:
                yield duplicate(f"{where}[{index}].name", name)
            seen.add(name)


def _unique_value(field: str) -> Check:
    def check(value: Any, where: str) -> Iterator[FieldError]:
        seen: set[Any] = set()
        for index, item in enumerate(value):
            said = item.get(field)
            if said and said in seen:
                yield invalid(f"{where}[{index}].{field}", said, "must be unique")
            seen.add(said)

    return check


def _http(value: Any, where: str) -> Iterator[FieldError]:
    if value.get("path") == "":
        yield required(f"{where}.path")
    if value.get("port") in (None, "", 0):
        yield invalid(f"{where}.port", value.get("port"), "must be between 1 and 65535, inclusive")


def _needs_port(value: Any, where: str) -> Iterator[FieldError]:
    if value.get("port") in (None, "", 0):
        yield invalid(f"{where}.port", value.get("port"), "must be between 1 and 65535, inclusive")


def _prefix(value: Any, where: str) -> Iterator[FieldError]:
    yield from text(env_name_problems)(value, where)


_ENV_FROM: Final = one_of(
    "configMapRef", "secretRef",
    message="must specify one of: `configMapRef` or `secretRef`",
    found="may not have more than one field specified at a time",
)  # fmt: skip

TYPES: Final[dict[str, Check]] = {
    "core.v1.Container": struct(
        container,
        needs="name image",
        name=text(label_problems),
        imagePullPolicy=choice("Always", "IfNotPresent", "Never"),
        terminationMessagePolicy=choice("FallbackToLogsOnError", "File"),
        ports=_ports,
        volumeMounts=_unique_value("mountPath"),
        volumeDevices=_unique_value("devicePath"),
        resizePolicy=unique("resourceName"),
        restartPolicy=Given(choice("Always", "Never", "OnFailure")),
        restartPolicyRules=at_most(20),
    ),
    "core.v1.ContainerPort": struct(
        needs="containerPort",
        name=text(port_name_problems),
        containerPort=PORT,
        hostPort=PORT,
        protocol=choice("SCTP", "TCP", "UDP"),
    ),
    "core.v1.EnvVar": struct(_env_value, needs="name", name=text(env_name_problems)),
    "core.v1.EnvVarSource": struct(
        fieldRef=field_selector(*_ENV_PATHS), resourceFieldRef=resource_selector(container=False)
    ),
    "core.v1.EnvFromSource": struct(_ENV_FROM, prefix=_prefix),
    "core.v1.ConfigMapEnvSource": struct(needs="name", name=text(subdomain_problems)),
    "core.v1.SecretEnvSource": struct(needs="name", name=text(subdomain_problems)),
    "core.v1.ConfigMapKeySelector": struct(needs="name key", name=text(subdomain_problems), key=KEY),
    "core.v1.SleepAction": nothing,
    "core.v1.SecretKeySelector": struct(needs="key", key=KEY),
    "core.v1.FileKeySelector": struct(needs="volumeName path key", path=descending,
                                      key=text(env_name_problems)),
    "core.v1.VolumeMount": struct(
        _mount,
        needs="name mountPath",
        subPath=descending,
        subPathExpr=descending,
        mountPropagation=Given(choice("Bidirectional", "HostToContainer", "None")),
        recursiveReadOnly=Given(choice("Disabled", "Enabled", "IfPossible")),
    ),
    "core.v1.VolumeDevice": struct(needs="name devicePath", devicePath=no_backsteps),
    "core.v1.ResourceRequirements": struct(container_resources),
    "core.v1.ContainerResizePolicy": struct(
        needs="resourceName restartPolicy",
        resourceName=choice("cpu", "memory"),
        restartPolicy=choice("NotRequired", "RestartContainer"),
    ),
    "core.v1.ContainerRestartRule": struct(
        needs="exitCodes", action=Given(choice("Restart", "RestartAllContainers"))
    ),
    "core.v1.ContainerRestartRuleOnExitCodes": struct(
        operator=Given(choice("In", "NotIn")), values=at_most(255)
    ),
    "core.v1.Probe": struct(
        _handler,
        initialDelaySeconds=NOT_NEGATIVE,
        timeoutSeconds=NOT_NEGATIVE,
        periodSeconds=NOT_NEGATIVE,
        successThreshold=NOT_NEGATIVE,
        failureThreshold=NOT_NEGATIVE,
        terminationGracePeriodSeconds=Given(within(1, message="must be greater than 0")),
    ),
    "core.v1.LifecycleHandler": struct(_handler),
    "core.v1.ExecAction": struct(needs="command"),
    "core.v1.HTTPGetAction": struct(
        _http, port=NAMED_PORT, scheme=choice("HTTP", "HTTPS")
    ),
    "core.v1.HTTPHeader": struct(_http_header),
    "core.v1.TCPSocketAction": struct(_needs_port, port=NAMED_PORT),
    "core.v1.GRPCAction": struct(_needs_port, port=PORT),
    "core.v1.SecurityContext": struct(
        _privileges,
        runAsUser=USER,
        runAsGroup=USER,
        procMount=Given(choice("Default", "Unmasked")),
    ),
    "core.v1.SeccompProfile": struct(
        _seccomp, type=Plain(choice("Localhost", "RuntimeDefault", "Unconfined"))
    ),
    "core.v1.AppArmorProfile": struct(
        _apparmor, needs="type", type=choice("Localhost", "RuntimeDefault", "Unconfined")
    ),
    "core.v1.WindowsSecurityContextOptions": struct(
        gmsaCredentialSpecName=Given(text(subdomain_problems)),
        gmsaCredentialSpec=Given(_not_empty),
        runAsUserName=Given(_user_name),
    ),
}  # fmt: skip
"""The checks of these types, by their short names."""

PROBES: Final = ("livenessProbe", "readinessProbe", "startupProbe")


def probes_errors(value: Any, where: str) -> Iterator[FieldError]:
    """Yield what is wrong with the probes of a container that may have some."""
    for name in ("livenessProbe", "startupProbe"):
        threshold = mapping(value, name).get("successThreshold")
        if threshold not in (None, 0, 1):
            yield invalid(f"{where}.{name}.successThreshold", threshold, "must be 1")
    if mapping(value, "readinessProbe").get("terminationGracePeriodSeconds") is not None:
        at = f"{where}.readinessProbe.terminationGracePeriodSeconds"
        yield invalid(
            at,
            value["readinessProbe"]["terminationGracePeriodSeconds"],
            "must not be set for readinessProbes",
        )
