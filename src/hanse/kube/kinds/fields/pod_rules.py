"""The rules for Pod specs that users hit: containers, ports, volumes, resources, restart policy.

Pure generators of `FieldError`, with Kubernetes' messages. They expect right types and defaults filled in.

Next: `hanse.kube.kinds.fields.rules`, which places Pod specs in workloads.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hanse.errors import InvalidArgumentError
from hanse.kube.model.fielderrors import FieldError, duplicate, forbidden, invalid, not_supported, required
from hanse.kube.model.names import env_name_problems, label_problems, port_name_problems
from hanse.kube.model.objects import mapping, sequence
from hanse.kube.model.quantity import Quantity

PORT_MESSAGE = "must be between 1 and 65535, inclusive"
NOT_NEGATIVE = "must be greater than or equal to 0"
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_RESTART_POLICIES = ("Always", "OnFailure", "Never")
_DNS_POLICIES = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
_ENV_SOURCES = (
    "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
)
_HANDLERS = ("exec", "grpc", "httpGet", "tcpSocket")


def pod_spec_errors(spec: dict[str, Any], path: str) -> Iterator[FieldError]:
    """Yield what is wrong with a Pod spec at `path`."""
    volumes: set[str] = set()
    for index, volume in enumerate(sequence(spec, "volumes")):
        yield from _volume_errors(volume, f"{path}.volumes[{index}]", volumes)
    if not sequence(spec, "containers"):
        yield required(f"{path}.containers")
    names: set[str] = set()
    for field in ("containers", "initContainers", "ephemeralContainers"):
        for index, container in enumerate(sequence(spec, field)):
            where = f"{path}.{field}[{index}]"
            yield from _name_errors(container, where, names)
            yield from _container_errors(container, where, volumes)
    restart = spec.get("restartPolicy")
    if restart not in (None, *_RESTART_POLICIES):
        yield not_supported(f"{path}.restartPolicy", restart, _RESTART_POLICIES)
    dns = spec.get("dnsPolicy")
    if dns not in (None, *_DNS_POLICIES):
        yield not_supported(f"{path}.dnsPolicy", dns, _DNS_POLICIES)
    grace = spec.get("terminationGracePeriodSeconds")
    if isinstance(grace, int) and grace < 0:
        yield invalid(f"{path}.terminationGracePeriodSeconds", grace, NOT_NEGATIVE)
    if spec.get("hostname"):
        for problem in label_problems(spec["hostname"]):
            yield invalid(f"{path}.hostname", spec["hostname"], problem)


def _name_errors(item: dict[str, Any], where: str, seen: set[str]) -> Iterator[FieldError]:
    name = item.get("name") or ""
    if not name:
        yield required(f"{where}.name")
        return
    for problem in label_problems(name):
        yield invalid(f"{where}.name", name, problem)
    if name in seen:
        yield duplicate(f"{where}.name", name)
    seen.add(name)


def _volume_errors(volume: dict[str, Any], where: str, seen: set[str]) -> Iterator[FieldError]:
    yield from _name_errors(volume, where, seen)
    sources = sorted(key for key, value in volume.items() if isinstance(value, dict))
    for extra in sources[1:]:
        yield forbidden(f"{where}.{extra}", "may not specify more than 1 volume type")
    if not sources:
        yield required(where, "must specify a volume type")


def _container_errors(container: dict[str, Any], where: str, volumes: set[str]) -> Iterator[FieldError]:
    image = container.get("image") or ""
    if not image:
        yield required(f"{where}.image")
    elif image != image.strip():
        yield invalid(f"{where}.image", image, "must not have leading or trailing whitespace")
    policy = container.get("imagePullPolicy")
    if policy not in (None, *_PULL_POLICIES):
        yield not_supported(f"{where}.imagePullPolicy", policy, _PULL_POLICIES)
    port_names: set[str] = set()
    for index, port in enumerate(sequence(container, "ports")):
        yield from _port_errors(port, f"{where}.ports[{index}]", port_names)
    for index, variable in enumerate(sequence(container, "env")):
        yield from _env_errors(variable, f"{where}.env[{index}]")
    mounts: set[str] = set()
    for index, mount in enumerate(sequence(container, "volumeMounts")):
        yield from _mount_errors(mount, f"{where}.volumeMounts[{index}]", volumes=volumes, seen=mounts)
    yield from resource_errors(mapping(container, "resources"), f"{where}.resources")
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe in container:
            yield from _probe_errors(container[probe], f"{where}.{probe}")


def is_port(value: Any) -> bool:
    """Return whether it is a port number."""
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65535


def _port_errors(port: dict[str, Any], where: str, names: set[str]) -> Iterator[FieldError]:
    name = port.get("name")
    if name:
        for problem in port_name_problems(name):
            yield invalid(f"{where}.name", name, problem)
        if name in names:
            yield duplicate(f"{where}.name", name)
        names.add(name)
    if not is_port(port.get("containerPort", 1)):
        yield invalid(f"{where}.containerPort", port["containerPort"], PORT_MESSAGE)
    if port.get("hostPort") and not is_port(port["hostPort"]):
        yield invalid(f"{where}.hostPort", port["hostPort"], PORT_MESSAGE)
    if port.get("protocol", "TCP") not in _PROTOCOLS:
        yield not_supported(f"{where}.protocol", port["protocol"], _PROTOCOLS)


def _env_errors(variable: dict[str, Any], where: str) -> Iterator[FieldError]:
    name = variable.get("name") or ""
    if not name:
        yield required(f"{where}.name")
    else:
        for problem in env_name_problems(name):
            yield invalid(f"{where}.name", name, problem)
    source = variable.get("valueFrom")
    if source is not None:
        if variable.get("value"):
            yield invalid(f"{where}.valueFrom", "", "may not be specified when `value` is not empty")
        if len(source) > 1:
            message = "may not have more than one field specified at a time"
            yield invalid(f"{where}.valueFrom", "", message)
        elif not source:
            yield invalid(f"{where}.valueFrom", "", _ENV_SOURCES)


def _mount_errors(
    mount: dict[str, Any], where: str, *, volumes: set[str], seen: set[str]
) -> Iterator[FieldError]:
    name, target = mount.get("name") or "", mount.get("mountPath") or ""
    if not name:
        yield required(f"{where}.name")
    elif name not in volumes:
        yield FieldError(f"{where}.name", "FieldValueNotFound", "", name)
    if not target:
        yield required(f"{where}.mountPath")
    elif target in seen:
        yield invalid(f"{where}.mountPath", target, "must be unique")
    seen.add(target)


def _probe_errors(probe: dict[str, Any], where: str) -> Iterator[FieldError]:
    handlers = [name for name in _HANDLERS if name in probe]
    if not handlers:
        yield required(where, "must specify a handler type")
    for extra in handlers[1:]:
        yield forbidden(f"{where}.{extra}", "may not specify more than 1 handler type")
    for field in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold"):
        value = probe.get(field)
        if isinstance(value, int) and value < 0:
            yield invalid(f"{where}.{field}", value, NOT_NEGATIVE)


def resource_errors(resources: dict[str, Any], where: str) -> Iterator[FieldError]:
    """Yield what is wrong with requests and limits."""
    limits, requests = mapping(resources, "limits"), mapping(resources, "requests")
    amounts: dict[tuple[str, str], Quantity] = {}
    for field, given in (("limits", limits), ("requests", requests)):
        for name, text in given.items():
            try:
                amounts[field, name] = amount = Quantity.parse(text)
            except InvalidArgumentError as error:
                yield invalid(f"{where}.{field}[{name}]", text, str(error))
                continue
            if amount.nanos < 0:
                yield invalid(f"{where}.{field}[{name}]", text, NOT_NEGATIVE)
    for name, text in requests.items():
        asked, limit = amounts.get(("requests", name)), amounts.get(("limits", name))
        if asked is not None and limit is not None and asked > limit:
            message = f"must be less than or equal to {name} limit of {limits[name]}"
            yield invalid(f"{where}.requests", text, message)
