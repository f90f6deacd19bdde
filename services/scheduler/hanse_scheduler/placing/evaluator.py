"""Deciding for stored objects and for manifests, without writing: what controller and explanations share.

Owns reading the whole object where override policies look at it; everything else a decision needs is in the
`SchedulerState` already.

Concurrency: one event loop. A decision and the state's revisions of what it was made on belong together until
the next await.

Next: `hanse_scheduler.decide.decision`, the pure function; `hanse_scheduler.placing.reconciler`, which stores
what comes out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import orjson

from hanse.boundary import Boundary
from hanse.documents import json_document
from hanse.errors import ConflictError, InvalidArgumentError
from hanse.federation.kinds import KINDS as HANSE
from hanse.kube.engine import unreadable
from hanse.kube.kinds.builtin import KUBERNETES
from hanse.kube.kinds.kubernetes import extensions
from hanse.kube.model.objects import Object, child, gvk_of, name_of, namespace_of
from hanse.security.envelope import shown
from hanse.store import KeyValue, Store
from hanse.store.keys import OBJECTS, ObjectKey, resource_prefix
from hanse_scheduler.decide.clusters import ClusterTable
from hanse_scheduler.decide.decision import PlacementDecision, decide
from hanse_scheduler.decide.filtering import EligibilityCache
from hanse_scheduler.decide.inputs import DecisionInput, Rules
from hanse_scheduler.state.records import record_of
from hanse_scheduler.state.scheduler_state import SchedulerState
from hanse_scheduler.state.selection import SupposedPolicy

_CRDS = extensions.CUSTOM_RESOURCE_DEFINITION.group_plural
_KINDS = {kind.group_kind: kind for kind in (*KUBERNETES, *HANSE)}
"""What is served besides what CRDs define."""


@dataclass(frozen=True, slots=True)
class Supposition:
    """What is taken for stored in a decision, in place of what is: a policy, or the clusters."""

    policy: SupposedPolicy | None = None
    table: ClusterTable | None = None
    cache: EligibilityCache = field(default_factory=EligibilityCache)


class Evaluator:
    """Decides; `clock` returns seconds since the epoch."""

    def __init__(
        self, *, store: Store, state: SchedulerState, rules: Rules, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._state = state
        self._rules = rules
        self._clock = clock
        self._cache = EligibilityCache()
        self._boundary = Boundary("scheduler decisions")

    async def decide(
        self,
        path: str,
        *,
        rebalance: bool = False,
        evict: str = "",
        explain: bool = False,
        supposing: Supposition | None = None,
    ) -> PlacementDecision | None:
        """Return the decision for a stored object; None if it changed while it was read, or is gone."""
        record = self._state.record(path)
        if record is None:
            return None
        policy = supposing.policy if supposing is not None else None
        selection = await self._state.selection(path, record, supposing=policy)
        if selection is None or self._state.record(path) is not record:
            return None
        whole: Object | None = None
        if selection.changing:
            kv = await self._store.get(f"{OBJECTS}/{path}")
            if kv is None or kv.mod_revision != self._state.object_revision(path):
                await self._state.objects.reached(kv.mod_revision if kv else await self._store.revision())
                return None
            record = self._state.record(path)
            selection = (
                await self._state.selection(path, record, supposing=policy) if record is not None else None
            )
            if record is None or selection is None or kv.mod_revision != self._state.object_revision(path):
                return None
            whole = orjson.loads(shown(kv.value))
        inputs = self._state.decision_input(path, record, selection)
        if supposing is not None and supposing.table is not None:
            inputs = replace(inputs, table=supposing.table)
        if rebalance or evict or whole is not None:
            inputs = replace(
                inputs,
                obj=whole or inputs.obj,
                overrides=selection.changing if whole is not None else (),
                rebalance=rebalance,
                evict=evict,
            )
        cache = self._cache if supposing is None else supposing.cache
        return self._decided(path, inputs, cache=cache, explain=explain)

    def _decided(
        self, path: str, inputs: DecisionInput, *, cache: EligibilityCache, explain: bool
    ) -> PlacementDecision:
        """Return the decision. Where deciding fails the object keeps what it has, and its placement says
        why."""
        now = self._clock()
        try:
            return decide(inputs, rules=self._rules, now=now, cache=cache, explain=explain)
        except Exception as error:  # noqa: BLE001 - of this object; all others are decided on
            why = self._boundary.failed(path, error)
        fault = f"it cannot be decided on: {why}; see the scheduler's log"
        return decide(replace(inputs, fault=fault), rules=self._rules, now=now, explain=explain)

    async def preview(self, manifest: bytes) -> tuple[ObjectKey, PlacementDecision]:
        """Return the decision for a manifest as if it was stored now.

        Raises InvalidArgumentError for what is not a manifest of a kind that is known here.
        """
        obj = manifest_of(manifest)
        key = await self.key_of(obj)
        return key, await self.decide_as(key, obj, explain=True)

    async def decide_as(
        self, key: ObjectKey, obj: Object, *, explain: bool = False, supposing: Supposition | None = None
    ) -> PlacementDecision:
        """Return the decision for an object as if it was stored now as `obj`, whole; of `supposing` the
        clusters count."""
        path = key.path()
        record = record_of(obj, key=key)
        selection = await self._state.selection(path, record)
        if selection is None:
            raise ConflictError("policies changed while the manifest was compared with them: try again")
        inputs = self._state.decision_input(path, record, selection)
        inputs = replace(inputs, obj=obj, overrides=selection.changing)
        cache = self._cache
        if supposing is not None and supposing.table is not None:
            inputs, cache = replace(inputs, table=supposing.table), supposing.cache
        return decide(inputs, rules=self._rules, now=self._clock(), cache=cache, explain=explain)

    async def key_of(self, obj: Object) -> ObjectKey:
        """Return the key of an object that may not be stored yet. Raises InvalidArgumentError for a kind that
        is not known."""
        gvk = gvk_of(obj)
        kind = _KINDS.get((gvk.group, gvk.kind))
        if kind is not None and gvk.version in kind.versions:
            plural, namespaced = kind.plural, kind.namespaced
        else:
            plural, namespaced = await self._custom(gvk.group, gvk.kind)
        name = name_of(obj) or f"{child(obj, 'metadata', 'generateName') or 'preview-'}xxxxx"
        namespace = (namespace_of(obj) or "default") if namespaced else ""
        return ObjectKey(gvk.group, plural, namespace, name)

    async def _custom(self, group: str, kind: str) -> tuple[str, bool]:
        """Return the plural of a kind that a stored CRD defines, and whether it is namespaced."""
        stored = await self._store.range(resource_prefix(group=_CRDS[0], resource=_CRDS[1]))
        for kv in stored.items:
            crd = _readable(kv)
            if child(crd, "spec", "group") == group and child(crd, "spec", "names", "kind") == kind:
                return str(child(crd, "spec", "names", "plural")), child(crd, "spec", "scope") == "Namespaced"
        raise InvalidArgumentError(
            f"kind {kind} of group {group or 'core'} is not known: create its CustomResourceDefinition first",
            metadata={"kind": kind},
        )


def manifest_of(value: bytes) -> Object:
    """Return the object of a manifest in JSON. Raises InvalidArgumentError."""
    obj = json_document(value, what="the manifest")
    if not isinstance(obj, dict):
        raise InvalidArgumentError("the manifest is not a JSON object")
    return obj


def _readable(kv: KeyValue) -> Object:
    """Return a stored object; an empty one where it cannot be read."""
    try:
        obj, why = unreadable.decode(ObjectKey.parse(kv.key), kv.value)
    except InvalidArgumentError:
        return {}
    return {} if why else obj
