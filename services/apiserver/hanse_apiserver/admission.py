"""What the federation adds to every write: finalizers, the trace, and what must not be lost.

Owns `FederationAdmission`. Objects that can be in members get the finalizer `hanse.dev/sync`, Clusters
`hanse.dev/unjoin`; an update cannot take them off (only the members' confirmation, or the registry, does).
The traceparent of the change goes into an annotation that is never served, and so does what the schema of a
custom resource filled in. Who creates an object that nothing here obeys, or that goes nowhere, is warned. A
placement annotation that makes no sense is not refused here: the scheduler says so in an event, and the
placement before it stays in force.

Stateless; runs inside the request's task. Next: `hanse_apiserver.finalize`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from hanse.errors import PermissionDeniedError
from hanse.federation.propagation import hints, placeable
from hanse.federation.stored.authorship import with_defaulted
from hanse.federation.tracing import with_traceparent
from hanse.kube.engine.hooks import AdmissionRequest
from hanse.kube.engine.lifecycle import ORPHAN, unchanged
from hanse.kube.engine.options import SYSTEM
from hanse.kube.engine.resources.errors import invalid_object
from hanse.kube.kinds.kubernetes import core
from hanse.kube.kinds.strategy import NO_STRATEGY
from hanse.kube.model.fielderrors import FieldError, invalid
from hanse.kube.model.objects import Object, is_deleting, mapping, sequence
from hanse.process.telemetry import inject_traceparent
from hanse.security.auth import SERVICES, service_name
from hanse.well_known import DEFAULTED, GROUP, SYNC_FINALIZER, TRACEPARENT, UNJOIN_FINALIZER

PERMANENT_NAMESPACES: Final = ("default", "kube-system", "kube-public")
"""Namespaces that exist from the start and cannot be deleted."""

HIDDEN: Final = (TRACEPARENT, DEFAULTED)
"""Annotations that are stored and never served."""
_REGISTRY: Final = service_name("registry")


class FederationAdmission:
    """Adds what makes an object federated."""

    def __init__(self, *, node_ports: range | None = None) -> None:
        """Admit writes. `node_ports` are the ports that a Service may ask of nodes, None for any."""
        self._node_ports = node_ports

    async def admit(self, request: AdmissionRequest) -> Object:
        """Return the object to store. Raises PermissionDeniedError for the deletion of a permanent
        namespace, InvalidObjectError for a Service with a port that no member gives away.
        """
        if request.operation == "DELETE":
            _check_delete(request)
            return request.object
        if request.subresource:
            return request.object
        if request.operation == "CREATE":
            _warn(request)
        if self._node_ports is not None and core.SERVICE.matches(request.object):
            problems = list(node_port_errors(request, self._node_ports))
            if problems:
                raise invalid_object(request.info, request.key.name, problems)
        obj = with_finalizer(request)
        if request.old is not None and unchanged(obj, request.old, hidden=HIDDEN):
            return obj  # nothing will be written, so there is nothing to trace
        if request.info.strategy is NO_STRATEGY and request.written is not None:
            obj = with_defaulted(obj, written=request.written, old=request.old)
        return with_traceparent(obj, inject_traceparent())


def _warn(request: AdmissionRequest) -> None:
    """Say what the author of an object may not expect; Hanse's own services know it."""
    if SERVICES in request.user.groups:
        return
    found = hints(request.info.storage_group, request.info.storage_resource, request.object)
    request.warnings.extend(each for each in found if each not in request.warnings)


def node_port_errors(request: AdmissionRequest, ports: range) -> Iterator[FieldError]:
    """Yield the ports of nodes that are asked for, were not stored before, and are not in the range."""
    before = {port.get("nodePort") for port in sequence(mapping(request.old, "spec"), "ports")}
    for index, port in enumerate(sequence(mapping(request.object, "spec"), "ports")):
        wanted = port.get("nodePort")
        if isinstance(wanted, int) and wanted and wanted not in before and wanted not in ports:
            message = (
                "provided port is not in the valid range. The range of valid ports is"
                f" {ports.start}-{ports.stop - 1}"
            )
            yield invalid(f"spec.ports[{index}].nodePort", wanted, message)


def _check_delete(request: AdmissionRequest) -> None:
    key = request.key
    if (key.group, key.resource) == core.NAMESPACE.group_plural and key.name in PERMANENT_NAMESPACES:
        raise PermissionDeniedError(
            f'namespaces "{key.name}" is forbidden: this namespace may not be deleted',
            metadata={"name": key.name, "kind": core.NAMESPACE.plural},
        )


def with_finalizer(request: AdmissionRequest) -> Object:
    """Return the object with the finalizer of its kind, unless it may be without it."""
    metadata = mapping(request.object, "metadata")
    present = sequence(metadata, "finalizers")
    missing = [name for name in _required(request) if name not in present]
    if not missing:
        return request.object
    return {**request.object, "metadata": {**metadata, "finalizers": [*present, *missing]}}


def _required(request: AdmissionRequest) -> list[str]:
    """Return the finalizers that the object must have after this write."""
    finalizer = _finalizer(request)
    if not finalizer:
        return []
    had = sequence(mapping(request.old, "metadata"), "finalizers")
    if not is_deleting(request.object):
        return [finalizer]
    if finalizer not in had:
        return []  # nothing can be added to what is being deleted
    if finalizer == UNJOIN_FINALIZER:
        return [] if request.user.name in (_REGISTRY, SYSTEM.name) else [finalizer]
    # Until the members have confirmed they must be able to see that they are to keep their objects.
    return [finalizer, ORPHAN] if ORPHAN in had else [finalizer]


def _finalizer(request: AdmissionRequest) -> str:
    group, resource = request.info.storage_key
    if (group, resource) == (GROUP, "clusters"):
        return UNJOIN_FINALIZER
    if (group, resource) == core.NAMESPACE.group_plural and request.key.name in PERMANENT_NAMESPACES:
        return ""
    return SYNC_FINALIZER if placeable(group, resource) else ""
