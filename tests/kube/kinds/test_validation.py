"""Validation refuses what Kubernetes refuses, with its words."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from hanse.errors import InvalidArgumentError
from hanse.kube.kinds.defaults import apply_defaults
from hanse.kube.merge.schema import Schema, SchemaSet
from hanse.kube.model.objects import Object, gvk_of
from hanse.kube.validation.objects import (
    MAX_ANNOTATIONS,
    FieldError,
    decode,
    invalid_message,
    prune,
    unknown_fields,
    validate,
    validate_update,
)
from tests.support.kinds import strategy_of

SCHEMAS = SchemaSet.builtin()


def schema_of(obj: Object) -> Schema | None:
    """The schema of an object's kind."""
    return SCHEMAS.lookup(*gvk_of(obj))


def problems(obj: Object, *, defaults: bool = True, strict: bool = True) -> list[str]:
    """All errors as text."""
    full = apply_defaults(obj, schema_of(obj), strategy=strategy_of(obj)) if defaults else obj
    return [str(error) for error in validate(full, schema_of(obj), strict=strict, strategy=strategy_of(obj))]


def deployment(**changes: Any) -> Object:
    """A valid Deployment, with dotted paths ('__') set to other values; None removes."""
    obj: Object = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "nginx"}]},
            },
        },
    }
    for path, value in changes.items():
        *parents, last = path.split("__")
        node = obj
        for step in parents:
            node = node[step]
        if value is None:
            del node[last]
        else:
            node[last] = value
    return obj


def service(**spec: Any) -> Object:
    """A Service."""
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": spec}


def config_map(data: Object, **more: Any) -> Object:
    """A ConfigMap."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data, **more}


def test_a_valid_object_has_no_errors() -> None:
    """Nothing is wrong with what is right."""
    assert problems(deployment()) == []


CONTAINERS = "spec__template__spec__containers"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"spec__selector": None}, "spec.selector: Required value"),
        (
            {"spec__selector": {}},
            "spec.selector: Invalid value: {}: empty selector is invalid for deployment",
        ),
        (
            {"spec__selector": {"matchLabels": {"app": "x"}}},
            (
                'spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` '
                "does not match template "
                "`labels`"
            ),
        ),
        ({"spec__replicas": -1}, "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
        ({CONTAINERS: []}, "spec.template.spec.containers: Required value"),
        ({CONTAINERS: [{"name": "a"}]}, "spec.template.spec.containers[0].image: Required value"),
        ({CONTAINERS: [{"image": "i"}]}, "spec.template.spec.containers[0].name: Required value"),
        (
            {CONTAINERS: [{"name": "a", "image": "i"}, {"name": "a", "image": "i"}]},
            'spec.template.spec.containers[1].name: Duplicate value: "a"',
        ),
        (
            {CONTAINERS: [{"name": "a", "image": "i", "ports": [{"containerPort": 65536}]}]},
            (
                "spec.template.spec.containers[0].ports[0].containerPort: Invalid value: "
                "65536: must be between 1 "
                "and 65535, inclusive"
            ),
        ),
        (
            {CONTAINERS: [{"name": "a", "image": "i", "ports": [{"containerPort": 1, "protocol": "tcp"}]}]},
            (
                "spec.template.spec.containers[0].ports[0].protocol: Unsupported value: "
                '"tcp": supported values: '
                '"SCTP", "TCP", "UDP"'
            ),
        ),
        (
            {CONTAINERS: [{"name": "a", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/"}]}]},
            'spec.template.spec.containers[0].volumeMounts[0].name: Not found: "v"',
        ),
        (
            {
                CONTAINERS: [
                    {
                        "name": "a",
                        "image": "i",
                        "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}},
                    }
                ]
            },
            (
                'spec.template.spec.containers[0].resources.requests: Invalid value: "2": '
                "must be less than or "
                "equal to cpu limit of 1"
            ),
        ),
        (
            {"spec__template__spec__restartPolicy": "Never"},
            'spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"',
        ),
        (
            {"spec__strategy": {"type": "Recreate", "rollingUpdate": {}}},
            "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
        ),
        (
            {"spec__strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}}},
            'spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "0%": may not be 0 when',
        ),
        ({"spec__nope": 1}, 'spec.nope: Forbidden: unknown field "spec.nope"'),
        (
            {"metadata__labels": {"a": "-"}},
            'metadata.labels: Invalid value: "-": a valid label must be an empty string or consist of',
        ),
        ({"metadata__name": None}, "metadata.name: Required value: name or generateName is required"),
        (
            {"metadata__finalizers": ["mine"]},
            (
                'metadata.finalizers[0]: Invalid value: "mine": name is neither a standard '
                "finalizer name nor is it "
                "fully qualified"
            ),
        ),
        (
            {"metadata__annotations": {"a": "x" * MAX_ANNOTATIONS}},
            "metadata.annotations: Too long: may not be more than 262144 bytes",
        ),
        (
            {"metadata__name": "Web"},
            'metadata.name: Invalid value: "Web": a lowercase RFC 1123 subdomain must consist of',
        ),
    ],
)
def test_what_is_wrong_with_a_deployment(changes: Object, expected: str) -> None:
    """One mistake gives one error, with Kubernetes' path and text."""
    (found,) = problems(deployment(**changes))
    assert found.startswith(expected)


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (service(), "spec.ports: Required value"),
        (service(ports=[{"port": 1, "name": "a"}, {"port": 2}]), "spec.ports[1].name: Required value"),
        (
            service(ports=[{"port": 0, "targetPort": 1}]),
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535",
        ),
        (service(type="Zap", ports=[{"port": 1}]), 'spec.type: Unsupported value: "Zap": supported values:'),
        (service(type="ExternalName"), "spec.externalName: Required value"),
        (
            service(ports=[{"port": 1, "name": "a"}, {"port": 1, "name": "b"}]),
            'spec.ports[1]: Duplicate value: {"port":1,"protocol":"TCP"}',
        ),
        (config_map({"a b": ""}), 'data[a b]: Invalid value: "a b": a valid config key must consist of'),
        (
            config_map({"a": ""}, binaryData={"a": ""}),
            'data[a]: Invalid value: "a": duplicate of key present',
        ),
        (config_map({"a": "x" * (2**20 + 1)}), "[]: Too long: may not be more than 1048576 bytes"),
        (
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "s"},
                "type": "kubernetes.io/tls",
                "data": {"tls.crt": ""},
            },
            "data[tls.key]: Required value",
        ),
        (
            {
                "apiVersion": "autoscaling/v2",
                "kind": "HorizontalPodAutoscaler",
                "metadata": {"name": "h"},
                "spec": {
                    "minReplicas": 3,
                    "maxReplicas": 2,
                    "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "D", "name": "d"},
                },
            },
            "spec.maxReplicas: Invalid value: 2: must be greater than or equal to `minReplicas`",
        ),
        (
            {
                "apiVersion": "autoscaling/v2",
                "kind": "HorizontalPodAutoscaler",
                "metadata": {"name": "h"},
                "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "D", "name": "d"}},
            },
            "spec.maxReplicas: Required value: must be set and greater than 0",
        ),
        (
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a.b"}},
            'metadata.name: Invalid value: "a.b": a lowercase RFC 1123 label must consist of',
        ),
        (
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "Role",
                "metadata": {"name": "system:x/y"},
            },
            "metadata.name: Invalid value: \"system:x/y\": may not contain '/'",
        ),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
def test_what_is_wrong_with_other_kinds(obj: Object, expected: str) -> None:
    """One mistake gives one error, with Kubernetes' path and text."""
    (found,) = problems(obj)
    assert found.startswith(expected)


def test_a_jobs_pods_must_end() -> None:
    """The default restartPolicy is not one for Jobs, as every first-time user finds out."""
    template = {"spec": {"containers": [{"name": "a", "image": "i"}]}}
    job: Object = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "j"},
        "spec": {"template": template},
    }
    assert problems(job) == [
        'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"'
    ]


@pytest.mark.parametrize(
    ("path", "value", "wanted"),
    [
        ("spec__replicas", "3", "cannot unmarshal string into field spec.replicas of type int32"),
        ("spec__replicas", True, "cannot unmarshal bool into"),
        ("spec__replicas", 2**31, "cannot unmarshal number into"),
        ("spec__paused", "yes", "of type bool"),
        ("spec__template", [], "cannot unmarshal array into field spec.template of type object"),
        (CONTAINERS, {}, "cannot unmarshal object into field spec.template.spec.containers of type list"),
        ("metadata__labels", {"a": 1}, "cannot unmarshal number into field metadata.labels.a of type string"),
        ("metadata__creationTimestamp", "now", "RFC 3339"),
        (CONTAINERS, [{"name": "a", "resources": {"limits": {"cpu": "1x"}}}], "quantities must match"),
    ],
)
def test_wrong_types_are_named(path: str, value: Any, wanted: str) -> None:
    """Each wrong type is one decoding error, and no rule runs on such an object."""
    (found,) = problems(deployment(**{path: value}), defaults=False)
    assert wanted in found


def test_decoding_prunes() -> None:
    """Unknown fields and nulls go, quantities become canonical, the input stays."""
    obj = deployment(
        **{
            CONTAINERS: [
                {
                    "name": "a",
                    "image": "i",
                    "imag": 1,
                    "command": None,
                    "resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}},
                }
            ],
            "nope": {"a": 1},
        }
    )
    before = copy.deepcopy(obj)
    decoded = decode(obj, schema_of(obj))
    assert sorted(decoded.unknown) == ["nope", "spec.template.spec.containers[0].imag"]
    assert unknown_fields(obj, schema_of(obj)) == decoded.unknown
    assert decoded.obj["spec"]["template"]["spec"]["containers"] == [
        {"name": "a", "image": "i", "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}}}
    ]
    assert obj == before
    assert prune(decoded.obj, schema_of(obj)) is decoded.obj


def update(old: Object, new: Object) -> list[str]:
    """Errors of an update, as text."""
    return [str(e) for e in validate_update(old, new, strategy=strategy_of(new))]


def test_selectors_are_immutable() -> None:
    """A Deployment keeps its selector; everything else may change."""
    other = deployment(spec__selector={"matchLabels": {"app": "x"}})
    assert update(deployment(), other) == [
        'spec.selector: Invalid value: {"matchLabels":{"app":"x"}}: field is immutable'
    ]
    assert update(deployment(), deployment(spec__replicas=5)) == []


def test_immutable_data_stays() -> None:
    """An immutable ConfigMap takes metadata changes only."""
    frozen = config_map({"a": "1"}, immutable=True)
    assert update(frozen, {**frozen, "metadata": {"name": "c", "labels": {"a": "b"}}}) == []
    assert update(frozen, config_map({"a": "2"})) == [
        "immutable: Forbidden: field is immutable when `immutable` is set",
        "data: Forbidden: field is immutable when `immutable` is set",
    ]


def test_other_immutable_fields() -> None:
    """Cluster IPs, Job templates, StatefulSet claims, role references and identity."""
    assert update(service(clusterIP="10.0.0.1"), service(clusterIP="10.0.0.2")) == [
        'spec.clusterIPs[0]: Invalid value: ["10.0.0.2"]: may not change once set'
    ]
    assert update(service(clusterIP="10.0.0.1"), service()) == []
    job: Object = {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": {"a": 1}}}}
    (found,) = update(job, {**job, "spec": {"template": {"spec": {"a": 2}}}})
    assert found.endswith("field is immutable")
    sets: Object = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "spec": {"serviceName": "a", "replicas": 1},
    }
    assert update(sets, {**sets, "spec": {"serviceName": "a", "replicas": 2}}) == []
    (found,) = update(sets, {**sets, "spec": {"serviceName": "b", "replicas": 1}})
    assert found.startswith("spec: Forbidden: updates to statefulset spec for fields other than")
    bound: Object = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "roleRef": {"name": "a"},
    }
    assert update(bound, {**bound, "roleRef": {"name": "b"}}) == [
        'roleRef: Invalid value: {"name":"b"}: cannot change roleRef'
    ]
    assert update(deployment(metadata__uid="a"), deployment(metadata__uid="b")) == [
        'metadata.uid: Invalid value: "b": field is immutable'
    ]


def test_custom_resources_are_checked_against_their_schema() -> None:
    """Required, enum, bounds, pattern, lengths, unknown fields and logical combinations."""
    spec = {
        "type": "object",
        "required": ["mode"],
        "properties": {
            "mode": {"type": "string", "enum": ["a", "b"]},
            "size": {"type": "integer", "minimum": 1, "maximum": 9},
            "name": {"type": "string", "pattern": "^x", "maxLength": 3},
            "list": {"type": "array", "maxItems": 1, "items": {"type": "string"}},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            "either": {
                "type": "object",
                "properties": {"p": {"type": "string"}, "q": {"type": "string"}},
                "oneOf": [{"required": ["p"]}, {"required": ["q"]}],
            },
            "port": {"x-kubernetes-int-or-string": True},
        },
    }
    schemas = SCHEMAS.with_kind(
        group="x.org",
        version="v1",
        kind="W",
        openapi_v3_schema={"type": "object", "properties": {"spec": spec}},
    )
    schema = schemas.lookup("x.org", "v1", "W")

    def errors(**given: Any) -> list[str]:
        obj = {"apiVersion": "x.org/v1", "kind": "W", "metadata": {"name": "w"}, "spec": given}
        return [f"{e.field} {e.type}" for e in validate(obj, schema, strict=True, strategy=strategy_of(obj))]

    assert errors(mode="a", size=1, name="x", list=["a"], free={"z": 1}, either={"p": ""}, port="http") == []
    assert errors() == ["spec.mode FieldValueRequired"]
    assert errors(mode="c") == ["spec.mode FieldValueNotSupported"]
    assert errors(mode="a", size=10) == ["spec.size FieldValueInvalid"]
    assert errors(mode="a", name="y") == ["spec.name FieldValueInvalid"]
    assert errors(mode="a", name="xxxx") == ["spec.name FieldValueTooLong"]
    assert errors(mode="a", list=["a", "b"]) == ["spec.list FieldValueTooMany"]
    assert errors(mode="a", either={"p": "", "q": ""}) == ["spec.either FieldValueInvalid"]
    assert errors(mode="a", zap=1) == ["spec.zap FieldValueForbidden"]
    assert errors(mode=1) == ["spec.mode FieldValueTypeInvalid"]
    assert errors(mode="a", port=1.5) == ["spec.port FieldValueTypeInvalid"]


def test_the_message_of_an_invalid_status() -> None:
    """One error stands alone, several stand in brackets, repeats stand once."""
    one = FieldError("spec.a", "FieldValueRequired")
    two = FieldError("spec.b", "FieldValueInvalid", "no", 1)
    assert invalid_message(kind="Deployment", group="apps", name="w", errors=[one, one]) == (
        'Deployment.apps "w" is invalid: spec.a: Required value'
    )
    assert invalid_message(kind="Pod", group="", name="w", errors=[one, two]) == (
        'Pod "w" is invalid: [spec.a: Required value, spec.b: Invalid value: 1: no]'
    )
    assert two.cause() == {
        "reason": "FieldValueInvalid",
        "message": "Invalid value: 1: no",
        "field": "spec.b",
    }


@pytest.mark.parametrize(
    ("obj", "reason", "field"),
    [({"kind": "Pod"}, "MISSING_API_VERSION", "apiVersion"), ({"apiVersion": "v1"}, "MISSING_KIND", "kind")],
)
def test_an_object_that_does_not_say_what_it_is_is_refused(obj: Object, reason: str, field: str) -> None:
    """The error has the field that is missing."""
    with pytest.raises(InvalidArgumentError, match="is missing") as caught:
        gvk_of(obj)
    assert (caught.value.reason, caught.value.metadata) == (reason, {"field": field})
