"""A change that would take away much of what runs is refused, unless whoever makes it says that it is meant.

Owns `ImpactAdmission`. It is about users' writes of policies, of Clusters and of the labels and annotations
by which objects are placed; what services write is not asked about, nor an unjoin, which is a request to
empty a cluster. The scheduler counts (`PreviewPolicy`). Where it does not answer nobody knows what the
change takes away, so it is refused, too, until the scheduler answers or the annotation says `unknown`.

Stateless; runs inside the request's task. Next: `hanse.federation.policies.impact` for the limits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import orjson

from hanse.api.scheduler.v1.scheduler_service_pb2 import PreviewPolicyRequest, PreviewPolicyResponse
from hanse.errors import (
    HanseError,
    InvalidArgumentError,
    PermissionDeniedError,
    UnavailableError,
    UnimplementedError,
)
from hanse.federation.kinds import CLUSTER
from hanse.federation.policies.impact import RUNS, UNKNOWN, Impact, ImpactLimits, confirms, confirms_unknown
from hanse.federation.policies.titles import is_policy
from hanse.kube.engine.hooks import AdmissionRequest
from hanse.kube.model.objects import Object, annotations_of, is_deleting, labels_of
from hanse.process.telemetry import get_logger
from hanse.security.auth import SERVICES
from hanse.store.keys import ObjectKey
from hanse.well_known import CONFIRM_IMPACT, is_instruction

Preview = Callable[[PreviewPolicyRequest], Awaitable[PreviewPolicyResponse]]
"""The scheduler's PreviewPolicy."""

_NAMED: Final = 3
"""Workloads that a message names."""

_log = get_logger(__name__)


class ImpactAdmission:
    """Asks what a change takes away, and refuses it beyond the limits. `preview` None asks nobody.

    `is_placed` returns whether clusters have the object: what is placed nowhere loses nothing by its labels.
    """

    def __init__(
        self, preview: Preview | None, *, limits: ImpactLimits, is_placed: Callable[[ObjectKey], bool]
    ) -> None:
        self._preview = preview
        self._limits = limits
        self._is_placed = is_placed

    async def admit(self, request: AdmissionRequest) -> Object:
        """Return the object as it is. Raises PermissionDeniedError for what must be confirmed first, and
        UnavailableError if nobody can say what it takes away."""
        preview = self._preview
        if preview is None or not self._concerns(request):
            return request.object
        said = _said(request)
        asked = PreviewPolicyRequest(
            manifest=orjson.dumps(request.object), deleted=request.operation == "DELETE"
        )
        try:
            found = await preview(asked)
        except (
            InvalidArgumentError,
            UnimplementedError,
        ) as error:  # it has no say, or the scheduler is older
            _log.debug("the impact of a change is not counted", object=request.key.path(), error=str(error))
            return request.object
        except HanseError as error:
            if not confirms_unknown(said):
                raise _uncounted(request, error) from error
            _log.warning("a change was made that nobody could count", object=request.key.path())
            return request.object
        self._judge(request, _impact(found), said)
        return request.object

    def _concerns(self, request: AdmissionRequest) -> bool:
        """Return whether the write may move what runs, and is a user's."""
        if request.subresource or SERVICES in request.user.groups or is_deleting(request.object):
            return False
        key, old = request.key, request.old
        if is_policy(key):
            changed = old is None or request.object.get("spec") != old.get("spec")
            return changed or request.operation == "DELETE"
        if old is None or request.operation == "DELETE":
            return False
        if (key.group, key.resource) == CLUSTER.group_plural:
            return _says(request.object) != _says(old)
        runs = (key.group, key.resource) in RUNS
        return runs and _chosen_by(request.object) != _chosen_by(old) and self._is_placed(key)

    def _judge(self, request: AdmissionRequest, impact: Impact, said: str) -> None:
        if self._limits.exceeded(impact) and not confirms(said, impact):
            raise _refused(request, impact)
        if request.dry_run and impact.objects:
            request.warnings.append(f"this change {impact}")


def _says(cluster: Object) -> tuple[object, object]:
    """Return what a Cluster says that decisions depend on."""
    return labels_of(cluster), cluster.get("spec")


def _chosen_by(obj: Object) -> tuple[object, object]:
    """Return what policies and selectors of clusters look at in an object."""
    told = {name: value for name, value in annotations_of(obj).items() if is_instruction(name)}
    told.pop(CONFIRM_IMPACT, None)
    return labels_of(obj), told


def _said(request: AdmissionRequest) -> str:
    """Return the confirmation; "" for one that an earlier write made."""
    said = str(annotations_of(request.object).get(CONFIRM_IMPACT) or "")
    if request.operation == "DELETE" or request.old is None:
        return said
    return said if annotations_of(request.old).get(CONFIRM_IMPACT) != said else ""


def _impact(found: PreviewPolicyResponse) -> Impact:
    return Impact(
        objects=found.objects,
        replicas=found.replicas,
        removed=found.removed_replicas,
        moved=found.moved_replicas,
        emptied=(*found.emptied, *("" for _ in range(found.emptied_count - len(found.emptied)))),
    )


def _refused(request: AdmissionRequest, impact: Impact) -> PermissionDeniedError:
    message = f"{_title(request)}: the change {impact}"
    if impact.emptied:
        named = ", ".join(filter(None, impact.emptied[:_NAMED]))
        more = len(impact.emptied) - _NAMED
        message += f", and {named}{f' and {more} more' if more > 0 else ''} would run nowhere"
    if request.warnings:  # which say what in a policy names nothing, perhaps by one wrong letter
        message += f" ({'; '.join(request.warnings[:_NAMED])})"
    message += (
        f"; if it is meant, {_how(request)} the annotation {CONFIRM_IMPACT}: {impact.confirmation} "
        "(what follows a space in it is a comment)"
    )
    return PermissionDeniedError(
        message,
        reason="IMPACT_NOT_CONFIRMED",
        metadata={"object": request.key.path(), "annotation": f"{CONFIRM_IMPACT}={impact.confirmation}"},
    )


def _uncounted(request: AdmissionRequest, error: Exception) -> UnavailableError:
    return UnavailableError(
        f"{_title(request)}: what the change would take away from what runs is not known, because the "
        f"scheduler does not answer ({error}): try again, or {_how(request)} the annotation "
        f"{CONFIRM_IMPACT}: {UNKNOWN}",
        reason="IMPACT_UNKNOWN",
        retry_after=1.0,
    )


def _how(request: AdmissionRequest) -> str:
    return "first give it" if request.operation == "DELETE" else "give it"


def _title(request: AdmissionRequest) -> str:
    return f'{request.info.group_resource} "{request.key.name}" is not changed'
