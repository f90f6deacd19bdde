"""Members are asked whether they would take an object, before it is stored.

Owns `MemberAdmission`. The scheduler says where the object would go, with what each cluster gets of it
(`PreviewPlacement`), and a syncer asks one of these members of each version by a dry run (`DryRunObject`); a
refusal becomes a warning or the refusal, in the member's words with its name. Both together have a deadline.
Who does not answer, or answers something else, refuses nothing and warns of nothing: the object is stored as
if nobody had been asked. Dry runs of clients are tried like any other write.

Not asked about: subresources and deletions, writes that change nothing, what is being deleted, what services
write, what never goes to members. A kind for which it is off costs two look-ups. Values of kinds that are
sealed in etcd go to the syncer, which has the key to them, and not to the scheduler.

Runs inside the request's task; `PlacingPolicies` is changed by the cache's task. Next:
`hanse.federation.policies.member_admission` for who says whether, `hanse_syncer.dry_runs.asking` for how.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from hanse.api.scheduler.v1.scheduler_service_pb2 import ExplainPlacementResponse, PreviewPlacementRequest
from hanse.api.syncer.v1 import syncer_service_pb2 as pb
from hanse.documents import TOO_LARGE
from hanse.errors import HanseError, InvalidArgumentError, PermissionDeniedError
from hanse.federation import belongings
from hanse.federation.policies.member_admission import AdmissionMode, effective_mode, mode_of
from hanse.federation.policies.titles import PLACING, key_of_title
from hanse.federation.propagation import placeable
from hanse.federation.references import reference_to
from hanse.kube.engine.cache import ObjectCache
from hanse.kube.engine.hooks import AdmissionRequest
from hanse.kube.engine.lifecycle import unchanged
from hanse.kube.engine.resources.errors import invalid_object
from hanse.kube.engine.served import ObjectChange, ServedObject
from hanse.kube.kinds.kubernetes import core
from hanse.kube.model.fielderrors import FieldError
from hanse.kube.model.objects import annotations_of, is_deleting, mapping
from hanse.kube.model.status import AdmissionRefusalError, Cause
from hanse.process.telemetry import get_logger
from hanse.security.auth import SERVICES
from hanse.security.envelope import outline
from hanse.store.keys import ObjectKey
from hanse.well_known import GROUP, MEMBER_ADMISSION
from hanse_apiserver.admission import HIDDEN

PreviewPlacement = Callable[[PreviewPlacementRequest], Awaitable[ExplainPlacementResponse]]
"""The scheduler's."""
DryRun = Callable[[pb.DryRunObjectRequest], Awaitable[pb.DryRunObjectResponse]]
"""The syncer's DryRunObject."""

_MEMBERS_SHARE: Final = 0.9
"""Of the time that is left once it is known whom to ask: the rest is for the answer's way back."""

_log = get_logger(__name__)


class PlacingPolicies:
    """What placement policies say of member admission; those that say nothing are not kept."""

    def __init__(self, cache: ObjectCache) -> None:
        """Follow the policies in the cache, which need not be loaded yet."""
        self._cache = cache
        self._modes: dict[ObjectKey, AdmissionMode] | None = None
        cache.subscribe(self._take)

    def may_decide(self, namespace: str) -> bool:
        """Return whether a policy that may select objects of the namespace ("" for none) says something."""
        return any(not key.namespace or key.namespace == namespace for key in self._known())

    def of(self, title: str) -> AdmissionMode | None:
        """Return what the policy with this title says."""
        key = key_of_title(title)
        return self._known().get(key) if key is not None else None

    def _known(self) -> dict[ObjectKey, AdmissionMode]:
        """Return the modes. Of what the cache loads first nobody is told, so that is read."""
        if self._modes is None:
            stored = (entry for plural in sorted(PLACING) for entry in self._cache.objects(GROUP, plural))
            self._modes = {entry.key: mode for entry in stored if (mode := _said(entry)) is not None}
        return self._modes

    def _take(self, change: ObjectChange) -> None:
        key = change.key
        if self._modes is None or key.group != GROUP or key.resource not in PLACING:
            return
        mode = _said(change.new) if change.new is not None else None
        if mode is None:
            self._modes.pop(key, None)
        else:
            self._modes[key] = mode


def _said(policy: ServedObject) -> AdmissionMode | None:
    return mode_of(mapping(policy.object, "spec").get("memberAdmission"))


@dataclass(frozen=True, slots=True)
class MemberAdmissionOptions:
    """`federation` is the mode of the setting, None where it says nothing; `seconds` the time for everything.

    `sealed` are the kinds, as `secrets` or `widgets.example.org`, whose values the scheduler must not see.
    """

    federation: AdmissionMode | None
    seconds: float
    sealed: frozenset[str]


class MemberAdmission:
    """Asks members about valid objects. Without `preview` and `dry_run` nobody is asked."""

    def __init__(
        self,
        cache: ObjectCache,
        *,
        preview: PreviewPlacement | None,
        dry_run: DryRun | None,
        options: MemberAdmissionOptions,
    ) -> None:
        self._cache = cache
        self._preview = preview
        self._dry_run = dry_run
        self._options = options
        self._policies = PlacingPolicies(cache)

    async def check(self, request: AdmissionRequest) -> None:
        """Raise a HanseError, 422, 403 and so on as the member said, where it is to be refused."""
        _check_annotation(request)
        if self._preview is None or self._dry_run is None or not _concerns(request):
            return
        usual = self._mode(request)
        if usual is AdmissionMode.OFF and not self._policies.may_decide(request.key.namespace):
            return
        try:
            async with asyncio.timeout(self._options.seconds):
                mode, refusals = await self._ask(request, usual, self._preview, self._dry_run)
        except (HanseError, TimeoutError) as error:
            # Nobody knows: that refuses nothing. What is written is not logged, for it may be a Secret.
            _log.info("no member was asked about an object", object=request.key.path(), error=str(error))
            return
        if not refusals:
            return
        if mode is AdmissionMode.REFUSE:
            raise _refused(request, refusals)
        request.warnings.extend(
            f"cluster {each.cluster} would refuse this object: {each.message}" for each in refusals
        )

    def _mode(self, request: AdmissionRequest, title: str = "") -> AdmissionMode:
        """Return the mode for an object whose place the policy with this title decides; "" for none."""
        return effective_mode(
            request.info,
            policy=self._policies.of(title),
            namespace=self._of_namespace(request),
            federation=self._options.federation,
        )

    def _of_namespace(self, request: AdmissionRequest) -> AdmissionMode | None:
        name = request.key.namespace
        entry = self._cache.get(ObjectKey(*core.NAMESPACE.group_plural, "", name)) if name else None
        return mode_of(annotations_of(entry.object).get(MEMBER_ADMISSION)) if entry is not None else None

    async def _ask(
        self, request: AdmissionRequest, usual: AdmissionMode, preview: PreviewPlacement, dry_run: DryRun
    ) -> tuple[AdmissionMode, Sequence[pb.ClusterDryRun]]:
        """Return the mode, and what members refuse."""
        until = asyncio.get_running_loop().time() + self._options.seconds
        obj = request.object
        seen = outline(obj) if request.info.group_resource in self._options.sealed else obj
        placement = (await preview(PreviewPlacementRequest(manifest=orjson.dumps(seen)))).decision
        mode = self._mode(request, placement.policy) if placement.policy else usual
        if mode is AdmissionMode.OFF or not placement.clusters:
            return mode, ()
        asked = pb.DryRunObjectRequest(
            object=reference_to(request.key, version=request.info.version, kind=request.info.kind),
            manifest=orjson.dumps(obj),
            clusters=placement.clusters,
        )
        left = (until - asyncio.get_running_loop().time()) * _MEMBERS_SHARE
        asked.timeout.FromNanoseconds(max(0, round(left * 1e9)))
        told = (await dry_run(asked)).clusters
        return mode, [each for each in told if each.outcome == pb.REFUSED]


def _concerns(request: AdmissionRequest) -> bool:
    """Return whether the write is a user's, and of something that a member may be sent."""
    key, obj = request.key, request.object
    if request.subresource or request.operation == "DELETE" or SERVICES in request.user.groups:
        return False
    if not placeable(key.group, key.resource) or is_deleting(obj):
        return False
    if belongings.of(key.group, key.resource, obj):
        return False
    return request.old is None or not unchanged(obj, request.old, hidden=HIDDEN)


def _check_annotation(request: AdmissionRequest) -> None:
    """Raise InvalidObjectError for a Namespace that is given a mode which there is not."""
    if (request.key.group, request.key.resource) != core.NAMESPACE.group_plural or request.subresource:
        return
    said = annotations_of(request.object).get(MEMBER_ADMISSION)
    before = annotations_of(request.old).get(MEMBER_ADMISSION) if request.old is not None else None
    if said is None or said == before or mode_of(said) is not None:
        return
    modes = ", ".join(f'"{mode}"' for mode in AdmissionMode)
    problem = FieldError(
        f"metadata.annotations[{MEMBER_ADMISSION}]",
        "FieldValueNotSupported",
        f"supported values: {modes}",
        said,
    )
    raise invalid_object(request.info, request.key.name, [problem])


def _refused(request: AdmissionRequest, refusals: Sequence[pb.ClusterDryRun]) -> HanseError:
    """Return the error with the status that the first cluster gave."""
    key, info = request.key, request.info
    message = "; ".join(f"cluster {each.cluster} refuses it: {each.message}" for each in refusals)
    metadata = {"name": key.name, "group": info.group, "kind": info.plural}
    match refusals[0].code:
        case 422:
            causes = [
                Cause(
                    cause.reason or "FieldValueInvalid",
                    f"cluster {each.cluster}: {cause.message}",
                    cause.field,
                )
                for each in refusals
                for cause in each.causes or (pb.DryRunCause(message=each.message),)
            ]
            named = {**metadata, "kind": info.kind}
            return AdmissionRefusalError(message, reason="MEMBER_REFUSES", causes=causes, metadata=named)
        case 400:
            return InvalidArgumentError(message, reason="MEMBER_REFUSES", metadata=metadata)
        case 413:
            return InvalidArgumentError(message, reason=TOO_LARGE, metadata=metadata)
        case _:
            return PermissionDeniedError(message, reason="MEMBER_REFUSES", metadata=metadata)
