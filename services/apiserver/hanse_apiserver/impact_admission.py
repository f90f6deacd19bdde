"""A change that would take away much of what runs is refused, unless whoever makes it says that it is meant.

Owns `ImpactAdmission`. It is about writes of policies, of Clusters and of the labels and annotations by which
objects are placed. Who writes does not matter: what the registry changes of a Cluster, somebody has asked for
by RPC. An unjoin counts as well, unless it leaves what runs in the cluster where it is. The scheduler counts
(`PreviewPolicy`). Where it does not answer nobody knows what the change takes away, so it is refused, too,
until the scheduler answers or the annotation says `unknown`.

Concurrency: runs inside the request's task. One change at a time is counted and stored, and the scheduler
counts by what is stored by then, so that two changes are never counted as if each was the only one.

Next: `hanse.federation.policies.impact` for the limits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Final

import orjson

from hanse.api.scheduler.v1.scheduler_service_pb2 import PreviewPolicyRequest, PreviewPolicyResponse
from hanse.errors import (
    ConflictError,
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
from hanse.kube.model.objects import Object, annotations_of, is_deleting, labels_of, mapping
from hanse.process.telemetry import get_logger
from hanse.store.keys import ObjectKey
from hanse.well_known import CONFIRM_IMPACT, FORCE_UNJOIN, is_instruction

Preview = Callable[[PreviewPolicyRequest], Awaitable[PreviewPolicyResponse]]
"""The scheduler's PreviewPolicy."""

_ATTEMPTS: Final = 3
_NAMED: Final = 3
"""Workloads that a message names."""

_NO_SAY: Final = frozenset(("server", "credentialRef", "orphanObjects"))
"""What a Cluster says that no placement depends on."""
_TURN_SECONDS: Final = 20.0
"""So long a change waits for those that are counted before it."""

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
        self._turn = asyncio.Lock()
        self._holder: AsyncExitStack | None = None

    async def admit(self, request: AdmissionRequest) -> Object:
        """Return the object as it is. Raises PermissionDeniedError for what must be confirmed first, and
        UnavailableError if nobody can say what it takes away."""
        preview = self._preview
        if preview is None or not self._concerns(request):
            return request.object
        await self._take_turn(request)
        said = _said(request)
        asked = PreviewPolicyRequest(
            manifest=orjson.dumps(request.object), deleted=request.operation == "DELETE"
        )
        try:
            found = await _counted(preview, asked)
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

    async def _take_turn(self, request: AdmissionRequest) -> None:
        """Wait until no other change is between its count and the store; a write that is made again has its
        turn still. Raises UnavailableError after 20 s."""
        if self._holder is request.until_done or request.dry_run:
            return
        try:
            async with asyncio.timeout(_TURN_SECONDS):
                await self._turn.acquire()
        except TimeoutError:
            raise UnavailableError(
                f"{_title(request)}: other changes that move what runs are being counted: try again",
                reason="IMPACT_UNKNOWN",
                retry_after=1.0,
            ) from None
        self._holder = request.until_done
        request.until_done.callback(self._end_turn)

    def _end_turn(self) -> None:
        self._holder = None
        self._turn.release()

    def _concerns(self, request: AdmissionRequest) -> bool:
        """Return whether the write may move what runs."""
        if request.subresource or is_deleting(request.object):
            return False
        key, old = request.key, request.old
        if is_policy(key):
            changed = old is None or request.object.get("spec") != old.get("spec")
            return changed or request.operation == "DELETE"
        if old is None:
            return False
        if (key.group, key.resource) == CLUSTER.group_plural:
            if request.operation == "DELETE":
                return not _leaves_what_runs(old)
            return _says(request.object) != _says(old)
        if request.operation == "DELETE":
            return False
        runs = (key.group, key.resource) in RUNS
        return runs and _chosen_by(request.object) != _chosen_by(old) and self._is_placed(key)

    def _judge(self, request: AdmissionRequest, impact: Impact, said: str) -> None:
        if self._limits.exceeded(impact) and not confirms(said, impact):
            raise _refused(request, impact)
        if request.dry_run and impact.objects:
            request.warnings.append(f"this change {impact}")


def _says(cluster: Object) -> tuple[object, object]:
    """Return what a Cluster says that decisions depend on."""
    spec = {name: value for name, value in mapping(cluster, "spec").items() if name not in _NO_SAY}
    return labels_of(cluster), spec


def _leaves_what_runs(cluster: Object) -> bool:
    """Return whether an unjoin leaves the objects in the cluster."""
    forced = annotations_of(cluster).get(FORCE_UNJOIN) == "true"
    return forced or mapping(cluster, "spec").get("orphanObjects") is True


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
        f"(what follows a space in it is a comment){_option(request, impact.confirmation)}"
    )
    return PermissionDeniedError(
        message,
        reason="IMPACT_NOT_CONFIRMED",
        metadata={"object": request.key.path(), "annotation": f"{CONFIRM_IMPACT}={impact.confirmation}"},
    )


def _uncounted(request: AdmissionRequest, error: Exception) -> UnavailableError:
    why = f"because the scheduler does not answer ({error})"
    if isinstance(error, ConflictError):
        why = f"because what it is about keeps changing ({error})"
    return UnavailableError(
        f"{_title(request)}: what the change would take away from what runs is not known, {why}: try again, "
        f"or {_how(request)} the annotation {CONFIRM_IMPACT}: {UNKNOWN}{_option(request, UNKNOWN)}",
        reason="IMPACT_UNKNOWN",
        retry_after=1.0,
    )


async def _counted(preview: Preview, asked: PreviewPolicyRequest) -> PreviewPolicyResponse:
    """Return what the scheduler counts; it is asked again while what it counts changes under its hands."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return await preview(asked)
        except ConflictError:
            continue
    return await preview(asked)


def _option(request: AdmissionRequest, value: str) -> str:
    """Return how commands that change a cluster confirm the same."""
    cluster = (request.key.group, request.key.resource) == CLUSTER.group_plural
    return f"; commands of hanse have --confirm-impact {value}" if cluster else ""


def _how(request: AdmissionRequest) -> str:
    return "first give it" if request.operation == "DELETE" else "give it"


def _title(request: AdmissionRequest) -> str:
    return f'{request.info.group_resource} "{request.key.name}" is not changed'
