"""A member of an older Kubernetes: kinds in older versions only, and schemas without newer fields."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, Final

import orjson
import pytest
from aiohttp import web
from hanse_syncer.decide import inapplicable

from hanse.api.registry.v1.cluster_pb2 import ApiResource
from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.errors import InvalidArgumentError
from hanse.kube.client.answer import Answer
from hanse.kube.kinds.builtin import KUBERNETES
from hanse.kube.kinds.catalogue import Catalogue
from hanse.kube.kinds.defaults import apply_defaults
from hanse.kube.kinds.kubernetes.autoscaling import HORIZONTAL_POD_AUTOSCALER
from hanse.kube.kinds.registry import KindRegistry
from hanse.kube.kinds.strategies.kubernetes import STRATEGIES
from hanse.kube.merge.schema import Schema, SchemaSet
from hanse.kube.merge.typed import fields_of
from hanse.kube.model.objects import Object, value_at
from hanse.store.keys import ObjectKey
from tests.support import objects
from tests.support.federation.federation import Federation
from tests.support.federation.member import Fault, Member
from tests.support.kinds import strategy_of

HPA: Final = ObjectKey("autoscaling", "horizontalpodautoscalers", "default", "cpu")
LACKING: Final = {
    "io.k8s.api.core.v1.ServiceSpec": "internalTrafficPolicy",
    "io.k8s.api.core.v1.PersistentVolumeClaimSpec": "volumeMode",
    "io.k8s.api.apps.v1.StatefulSetSpec": "persistentVolumeClaimRetentionPolicy",
    "io.k8s.api.core.v1.Container": "terminationMessagePolicy",
}
"""By type: a field with a default that the member does not know."""


def old_schemas(lacking: Mapping[str, str]) -> SchemaSet:
    """The schemas of a current Kubernetes without some fields."""
    built = SchemaSet.builtin()
    old = SchemaSet(version="old", kinds=built._kinds, index=built._index, body=built._body, definitions={})
    for name, field in lacking.items():
        raw = built.named(name).raw
        properties = {each: value for each, value in raw["properties"].items() if each != field}
        assert properties != raw["properties"]
        old._definitions[name] = Schema(old, {**raw, "properties": properties}, name=name)
    return old


def old_catalogue() -> Catalogue:
    """What a cluster serves that has autoscaling/v1 alone, and none of `LACKING`."""
    old = replace(HORIZONTAL_POD_AUTOSCALER, versions=("v1",))
    kinds = [old if kind is HORIZONTAL_POD_AUTOSCALER else kind for kind in KUBERNETES]
    strategies = {kind: replace(strategy, defaults=None) for kind, strategy in STRATEGIES.items()}
    found = Catalogue(KindRegistry(kinds, strategies))
    found.schemas = old_schemas(LACKING)
    return found


def _lacking(obj: Object, schema: Schema) -> str | None:
    try:
        fields_of(obj, schema)
    except InvalidArgumentError as error:
        return str(error)
    return None


def in_kubernetes_words(catalogue: Catalogue) -> Fault:
    """Answer an apply with fields that the schema lacks as kube-apiserver does: before it looks at anything
    else."""

    async def answer(request: web.Request) -> web.StreamResponse | None:
        if request.method != "PATCH" or "apply-patch" not in request.headers.get("Content-Type", ""):
            return None
        obj = orjson.loads(await request.read())
        group, _, version = obj["apiVersion"].rpartition("/")
        schema = catalogue.schemas.lookup(group, version, obj["kind"])
        assert schema is not None
        errors: list[str] = []
        while (lacking := _lacking(obj, schema)) is not None:
            errors.append(lacking)
            found = inapplicable.problems(Answer(500, {}, b"", {"message": lacking}))
            assert found is not None
            obj = inapplicable.without(obj, found.lacking)
        if errors:
            said = "failed to create typed patch object (default/w; v1, Kind=X): errors:\n  " + "\n  ".join(
                errors
            )
            status = {"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": 500, "message": said}
            return web.json_response(status, status=500)
        return None

    return answer


@pytest.fixture
async def fed() -> AsyncIterator[Federation]:
    """A federation with a current member and an old one."""
    async with AsyncExitStack() as stack:
        catalogue = old_catalogue()
        members = [Member("new"), Member("old", catalogue=catalogue)]
        members[1].fault = in_kubernetes_words(catalogue)
        for member in members:
            await stack.enter_async_context(member)
        made = await stack.enter_async_context(Federation(members=members))
        await made.found()
        yield made
        await made.store.close()


def _pod(**more: Any) -> Object:
    return {"containers": [{"name": "c", "image": "i:1", "ports": [{"containerPort": 80}]}], **more}


LABELS: Final = {"a": "b"}
TEMPLATE: Final[Object] = {"metadata": {"labels": LABELS}, "spec": _pod()}
CASES: Final = {
    "services": (
        objects.build("v1", "Service", name="w", spec={"selector": LABELS, "ports": [{"port": 80}]}),
        ("spec", "internalTrafficPolicy"),
        "Local",
    ),
    "persistentvolumeclaims": (
        objects.build(
            "v1",
            "PersistentVolumeClaim",
            name="w",
            spec={"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        ),
        ("spec", "volumeMode"),
        "Block",
    ),
    "statefulsets": (
        objects.build(
            "apps/v1",
            "StatefulSet",
            name="w",
            spec={"serviceName": "w", "selector": {"matchLabels": LABELS}, "template": TEMPLATE},
        ),
        ("spec", "persistentVolumeClaimRetentionPolicy"),
        {"whenDeleted": "Delete", "whenScaled": "Retain"},
    ),
    "deployments": (
        objects.build(
            "apps/v1",
            "Deployment",
            name="w",
            spec={"selector": {"matchLabels": LABELS}, "template": TEMPLATE},
        ),
        ("spec", "template", "spec", "containers", 0, "terminationMessagePolicy"),
        "FallbackToLogsOnError",
    ),
}


def _with(obj: Any, place: tuple[str | int, ...], value: Any) -> Any:
    step, rest = place[0], place[1:]
    changed = _with(obj[step], rest, value) if rest else value
    if isinstance(obj, list):
        return [changed if number == step else item for number, item in enumerate(obj)]
    return {**obj, step: changed}


@pytest.mark.parametrize("plural", CASES)
async def test_a_default_that_nobody_wrote_is_missed_by_nobody(fed: Federation, plural: str) -> None:
    """It is left out where the schema lacks it, and nothing is said; what the author wrote is named there,
    and the rest is applied; the current member has all of it."""
    plain, place, other = CASES[plural]
    group = plain["apiVersion"].rpartition("/")[0]
    written = _with(apply_defaults(plain, None, strategy=strategy_of(plain)), place, other)
    async with fed.syncer():
        for name, obj, reason in (("plain", plain, ""), ("written", written, "FieldsNotServed")):
            key = ObjectKey(group, plural, "default", name)
            whole = apply_defaults(obj, None, strategy=strategy_of(obj))
            whole = {**whole, "metadata": {**whole["metadata"], "name": name, "namespace": "default"}}
            await fed.put(key, whole)
            await fed.place(key, "new", "old")
            for cluster, said in (("new", ""), ("old", reason)):
                state = await fed.reaches(key, cluster, sync.APPLIED)
                assert (cluster, state.reason) == (cluster, said), state.message
            assert str(place[-1]) in (await fed.reaches(key, "old", sync.APPLIED)).message or not reason
            there, old = fed.members["new"].get(key.path()), fed.members["old"].get(key.path())
            assert value_at(there, place) == value_at(whole, place)
            assert old is not None
            assert place[-1] not in value_at(old, place[:-1])


async def test_a_version_that_a_member_lacks_is_refused_and_nothing_is_bent(fed: Federation) -> None:
    """An autoscaler of v2 goes to the member that serves it; where v1 alone is served nothing is written.
    What is there when v2 goes stays, with the reason."""
    spec: Object = {
        "maxReplicas": 5,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "w"},
    }
    hpa = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "spec": spec}
    await fed.start_scheduler()
    async with fed.syncer():
        await fed.put(HPA, hpa)
        placement = await fed.placed(HPA, {"new": None})
        assert [(each.cluster, each.reason) for each in placement.refused] == [("old", "ApiNotServed")]
        await fed.reaches(HPA, "new", sync.APPLIED)
        assert fed.members["old"].get(HPA.path()) is None
        before = fed.members["new"].get(HPA.path())
        downgraded = ApiResource(
            group=HPA.group,
            version="v1",
            resource=HPA.resource,
            kind="HorizontalPodAutoscaler",
            namespaced=True,
        )
        await fed.serves("new", downgraded)
        state = await fed.reaches(HPA, "new", sync.WAITING)
        assert state.reason == "ApiNotServed"
        assert fed.members["new"].get(HPA.path()) == before
        assert not (await fed.placed(HPA, {"new": None})).releasing
        assert not any("horizontalpodautoscalers" in path for _, path in fed.members["old"].writes)
        await fed.mark_deleted(HPA)
        await fed.reaches(HPA, "new", sync.REMOVED)
    assert fed.members["new"].get(HPA.path()) is None
