"""Defaults are those of Kubernetes, are filled in once, and never overwrite what a user says."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.kube.kinds import defaults
from hanse.kube.kinds.defaults import filled_in
from hanse.kube.merge.schema import Schema, SchemaSet
from hanse.kube.model.objects import Object, Place, without_place
from hanse.kube.validation.objects import validate
from tests.real.verdicts.manifests import manifests
from tests.support.kinds import strategy_of
from tests.support.shapes import replaced


def apply_defaults(obj: Object, schema: Schema | None = None) -> Object:
    """The object with the defaults of its kind."""
    return defaults.apply_defaults(obj, schema, strategy=strategy_of(obj))


def workload(api_version: str, kind: str, **spec: Any) -> Object:
    """A minimal workload."""
    labels = {"app": "a"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}
    selector = {} if kind == "Job" else {"selector": {"matchLabels": labels}}
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": "w"},
        "spec": {**selector, "template": template, **spec},
    }


def test_a_minimal_deployment_is_what_kubernetes_stores() -> None:
    """Every default of a Deployment, its Pod template and its container."""
    spec = apply_defaults(workload("apps/v1", "Deployment"))["spec"]
    assert spec == {
        "replicas": 1,
        "revisionHistoryLimit": 10,
        "progressDeadlineSeconds": 600,
        "selector": {"matchLabels": {"app": "a"}},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
        "template": {
            "metadata": {"labels": {"app": "a"}},
            "spec": {
                "containers": [
                    {
                        "name": "c",
                        "image": "nginx",
                        "imagePullPolicy": "Always",
                        "resources": {},
                        "terminationMessagePath": "/dev/termination-log",
                        "terminationMessagePolicy": "File",
                    }
                ],
                "dnsPolicy": "ClusterFirst",
                "restartPolicy": "Always",
                "schedulerName": "default-scheduler",
                "securityContext": {},
                "terminationGracePeriodSeconds": 30,
            },
        },
    }


OBJECTS: list[Object] = [
    workload("apps/v1", "Deployment"),
    workload("apps/v1", "ReplicaSet"),
    workload("apps/v1", "DaemonSet"),
    workload(
        "apps/v1",
        "StatefulSet",
        serviceName="s",
        volumeClaimTemplates=[
            {
                "metadata": {"name": "d"},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
            }
        ],
    ),
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s"},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
    },
    {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "b"}},
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}},
    {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {
            "containers": [
                {
                    "name": "c",
                    "image": "i:1",
                    "resources": {"limits": {"cpu": "1"}},
                    "livenessProbe": {"httpGet": {"port": 80}},
                }
            ],
            "volumes": [{"name": "v"}],
        },
    },
    {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "p"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    },
    {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "h"},
        "spec": {
            "maxReplicas": 3,
            "behavior": {},
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"},
        },
    },
    {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "n"},
        "spec": {"podSelector": {}, "egress": [{"ports": [{"port": 53}]}]},
    },
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "r"},
        "subjects": [{"kind": "User", "name": "u"}],
        "roleRef": {"kind": "Role", "name": "r"},
    },
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "b"}},
]


@pytest.mark.parametrize("obj", OBJECTS, ids=lambda obj: str(obj["kind"]))
def test_defaulted_objects_are_valid_and_stay(obj: Object) -> None:
    """Defaulting changes no input, gives a valid object, and a second time returns that same object."""
    before = copy.deepcopy(obj)
    schema = SchemaSet.builtin().lookup(*_gvk(obj))
    once = apply_defaults(obj, schema)
    assert obj == before
    assert apply_defaults(once, schema) is once
    assert validate(once, schema, strict=True, strategy=strategy_of(once)) == []


def _gvk(obj: Object) -> tuple[str, str, str]:
    group, _, version = obj["apiVersion"].rpartition("/")
    return group, version, obj["kind"]


def test_jobs() -> None:
    """One completion unless told, none for a work queue, labels from the template."""
    job = apply_defaults(workload("batch/v1", "Job"))
    assert (job["spec"]["completions"], job["spec"]["parallelism"], job["spec"]["backoffLimit"]) == (1, 1, 6)
    assert job["metadata"]["labels"] == {"app": "a"}
    queue = apply_defaults(workload("batch/v1", "Job", parallelism=3))
    assert "completions" not in queue["spec"]
    cron: Object = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "c"},
        "spec": {
            "schedule": "* * * * *",
            "jobTemplate": {"spec": {"template": {"spec": {"containers": []}}}},
        },
    }
    spec = apply_defaults(cron)["spec"]
    assert (spec["concurrencyPolicy"], spec["successfulJobsHistoryLimit"]) == ("Allow", 3)
    assert spec["jobTemplate"]["spec"]["template"]["spec"]["dnsPolicy"] == "ClusterFirst"


def test_services_by_type() -> None:
    """What is defaulted depends on the type of Service."""

    def spec(**given: Any) -> Object:
        service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": given}
        return dict(apply_defaults(service)["spec"])

    plain = spec(ports=[{"port": 80}])
    assert plain["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    assert (plain["type"], plain["internalTrafficPolicy"]) == ("ClusterIP", "Cluster")
    assert "externalTrafficPolicy" not in plain
    balanced = spec(type="LoadBalancer", ports=[{"port": 80, "targetPort": "web"}])
    assert (balanced["externalTrafficPolicy"], balanced["allocateLoadBalancerNodePorts"]) == ("Cluster", True)
    assert balanced["ports"][0]["targetPort"] == "web"
    external = spec(type="ExternalName", externalName="x.org")
    assert "internalTrafficPolicy" not in external
    sticky = spec(sessionAffinity="ClientIP", ports=[{"port": 80}])
    assert sticky["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10800}}


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.27", "IfNotPresent"),
        ("registry:5000/nginx", "Always"),
        ("registry:5000/nginx:1", "IfNotPresent"),
        ("nginx@sha256:abc", "IfNotPresent"),
    ],
)
def test_pull_policy_follows_the_tag(image: str, policy: str) -> None:
    """Always for latest, also where the registry has a port; never for a digest."""
    pod: Object = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": image}]},
    }
    assert apply_defaults(pod)["spec"]["containers"][0]["imagePullPolicy"] == policy


def test_string_data_becomes_data() -> None:
    """stringData overrides data and is not stored."""
    secret: Object = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s"},
        "data": {"a": "eA==", "b": "eQ=="},
        "stringData": {"a": "ü"},
    }
    out = apply_defaults(secret)
    assert (out["data"], out["type"]) == ({"a": "w7w=", "b": "eQ=="}, "Opaque")
    assert "stringData" not in out


def test_custom_resources_take_their_schemas_defaults() -> None:
    """Defaults apply at every level, inside defaulted objects too, and to list items."""
    item = {"type": "object", "properties": {"size": {"type": "integer", "default": 3}}}
    schemas = SchemaSet.builtin().with_kind(
        group="x.org",
        version="v1",
        kind="W",
        openapi_v3_schema={
            "type": "object",
            "properties": {
                "spec": {
                    "type": "object",
                    "default": {},
                    "properties": {
                        "mode": {"type": "string", "default": "a"},
                        "one": item,
                        "many": {"type": "array", "items": item},
                    },
                }
            },
        },
    )
    schema = schemas.lookup("x.org", "v1", "W")
    base: Object = {"apiVersion": "x.org/v1", "kind": "W", "metadata": {"name": "w"}}
    assert apply_defaults(base, schema)["spec"] == {"mode": "a"}
    given = {**base, "spec": {"mode": "b", "one": {}, "many": [{}, {"size": 1}]}}
    assert apply_defaults(given, schema)["spec"] == {
        "mode": "b",
        "one": {"size": 3},
        "many": [{"size": 3}, {"size": 1}],
    }
    full = apply_defaults(given, schema)
    assert apply_defaults(full, schema) is full


def added(before: Any, after: Any, place: Place = ()) -> Iterator[Place]:
    """Yield where `after` has a field that `before` has not."""
    if isinstance(after, dict) and isinstance(before, dict):
        for name, value in after.items():
            if name in before:
                yield from added(before[name], value, (*place, name))
            else:
                yield (*place, name)
    elif isinstance(after, list) and isinstance(before, list):
        for number, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from added(old, new, (*place, number))


OWN_VERSION = [*OBJECTS, *(obj for obj in manifests() if obj["kind"] != "List")]


RULED_BY_OTHERS = {
    ("spec", "completions"),
    ("spec", "parallelism"),
    ("spec", "jobTemplate", "spec", "completions"),
}
"""Fields of a Job that have a default only while the other is absent: one alone means something else."""


@given(st.sampled_from(OWN_VERSION), st.data())
def test_what_defaulting_added_is_told_from_what_was_written(obj: Object, data: st.DataObject) -> None:
    """Of each built-in kind, whichever of the fields are asked about; with another value it was written."""
    whole, strategy = apply_defaults(obj), strategy_of(obj)
    places = [place for place in added(obj, whole) if place[0] not in ("metadata", "data")]
    if not places:
        return
    assert filled_in(whole, places, strategy=strategy) == set(places)
    some = data.draw(st.sets(st.sampled_from(places), min_size=1))
    found, bare = filled_in(whole, some, strategy=strategy), whole
    assert some - RULED_BY_OTHERS <= found <= some
    for place in found:
        bare = without_place(bare, place)
    assert apply_defaults(bare) == whole
    assert filled_in(obj, some, strategy=strategy) == frozenset()
    other = data.draw(st.sampled_from(sorted(some, key=str)))
    changed = replaced(whole, other, "written")
    assert other not in filled_in(changed, some, strategy=strategy)


def test_of_two_fields_that_are_made_out_of_each_other_one_was_written() -> None:
    """A ServiceAccount has two names in a Pod: without both, nothing says which it was."""
    pod = {"serviceAccountName": "robot", "containers": []}
    whole = apply_defaults({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": pod})
    old, new = ("spec", "serviceAccount"), ("spec", "serviceAccountName")
    strategy = strategy_of(whole)
    assert filled_in(whole, [old], strategy=strategy) == {old}
    assert filled_in(whole, [new], strategy=strategy) == {new}
    assert filled_in(whole, [old, new], strategy=strategy) == frozenset()
