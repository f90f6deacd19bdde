"""What every member would refuse is refused at once: an example of each kind of mistake."""

from __future__ import annotations

from typing import Any, Final

import pytest

from hanse.kube.kinds.catalogue import Catalogue
from hanse.kube.kinds.defaults import apply_defaults, carried_over
from hanse.kube.kinds.strategies.kubernetes import kubernetes
from hanse.kube.model.objects import Object
from hanse.kube.validation.objects import validate, validate_update
from tests.support.kinds import strategy_of

CATALOGUE: Final = Catalogue(kubernetes())
POD: Final[Object] = {"containers": [{"name": "c", "image": "nginx:1.27"}]}
EMPTY: Final = {"name": "v", "emptyDir": {}}


def problems(obj: Object) -> list[str]:
    """All that is wrong with a new object, as text."""
    group, _, version = obj["apiVersion"].rpartition("/")
    schema = CATALOGUE.schemas.lookup(group, version, obj["kind"])
    full = apply_defaults(obj, schema, strategy=strategy_of(obj))
    return [str(e) for e in validate(full, schema, strict=False, strategy=strategy_of(obj), new=True)]


def made(version: str, kind: str, *, name: str = "a", **fields: Any) -> Object:
    """An object."""
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **fields}


def deployment(pod: Object | None = None, **spec: Any) -> Object:
    """A Deployment with a Pod spec."""
    labels = {"a": "b"}
    template = {"metadata": {"labels": labels}, "spec": {**POD, **(pod or {})}}
    return made(
        "apps/v1", "Deployment", spec={"selector": {"matchLabels": labels}, "template": template, **spec}
    )


def container(**fields: Any) -> Object:
    """A Pod spec with one container."""
    return {"containers": [{"name": "c", "image": "nginx:1.27", **fields}]}


def service(**spec: Any) -> Object:
    """A Service."""
    return made("v1", "Service", spec={"selector": {"a": "b"}, "ports": [{"port": 80}], **spec})


def job(**spec: Any) -> Object:
    """A Job."""
    template = {"spec": {**POD, "restartPolicy": "Never"}}
    return made("batch/v1", "Job", spec={"template": template, **spec})


_CRON: Final = {"jobTemplate": {"spec": {"template": {"spec": {**POD, "restartPolicy": "Never"}}}}}
_GT: Final = {"key": "a", "operator": "Gt", "values": ["x", "y"]}
_NODES: Final = {"nodeSelectorTerms": [{"matchExpressions": [_GT]}]}
_SKEW: Final = {"maxSkew": 0, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}
_PATH: Final = {"path": "/", "backend": {"service": {"name": "x", "port": {"number": 80}}}}

REFUSED: Final = {
    "two volume sources": (
        deployment({"volumes": [{**EMPTY, "configMap": {"name": "x"}}]}),
        "may not specify more than 1 volume type",
    ),
    "a duplicate volume": (deployment({"volumes": [EMPTY, EMPTY]}), "Duplicate value"),
    "a mount of nothing": (
        deployment(container(volumeMounts=[{"name": "z", "mountPath": "/x"}])),
        "Not found",
    ),
    "a path that leaves its volume": (
        deployment(
            {
                **container(volumeMounts=[{"name": "v", "mountPath": "/x", "subPath": "../y"}]),
                "volumes": [EMPTY],
            }
        ),
        "must not contain '..'",
    ),
    "no name server": (deployment({"dnsPolicy": "None"}), "must provide `dnsConfig`"),
    "no skew": (deployment({"topologySpreadConstraints": [_SKEW]}), "must be greater than zero"),
    "two values to compare with": (
        deployment(
            {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": _NODES}}}
        ),
        "must be specified single value",
    ),
    "an unknown probe scheme": (
        deployment(container(livenessProbe={"httpGet": {"port": 80, "scheme": "ftp"}})),
        'supported values: "HTTP", "HTTPS"',
    ),
    "a policy without an address": (
        service(externalTrafficPolicy="Local"),
        "may only be set for externally-accessible services",
    ),
    "a loopback address": (service(externalIPs=["127.0.0.1"]), "may not be in the loopback range"),
    "a node port of a ClusterIP": (
        service(ports=[{"port": 80, "nodePort": 30080}]),
        "may not be used when `type` is 'ClusterIP'",
    ),
    "an Indexed Job without an end": (
        job(completionMode="Indexed", parallelism=2),
        "when completion mode is Indexed",
    ),
    "no schedule": (
        made("batch/v1", "CronJob", spec={"schedule": "every day", **_CRON}),
        "expected exactly 5 fields",
    ),
    "a minute that is none": (
        made("batch/v1", "CronJob", spec={"schedule": "61 * * * *", **_CRON}),
        "not between 0 and 59",
    ),
    "a zone that is none": (
        made("batch/v1", "CronJob", spec={"schedule": "@daily", "timeZone": "Moon/Base", **_CRON}),
        "unknown time zone",
    ),
    "a host that is none": (
        made("networking.k8s.io/v1", "Ingress", spec={"rules": [{"host": "-bad-.x"}]}),
        "spec.rules[0].host",
    ),
    "a path without a type": (
        made("networking.k8s.io/v1", "Ingress", spec={"rules": [{"http": {"paths": [_PATH]}}]}),
        "pathType must be specified",
    ),
    "a range that is none": (
        made(
            "networking.k8s.io/v1",
            "NetworkPolicy",
            spec={"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/99"}}]}]},
        ),
        "must be a valid CIDR value",
    ),
    "a size below nothing": (
        made(
            "v1",
            "PersistentVolumeClaim",
            spec={"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "-1Gi"}}},
        ),
        "must be greater than zero",
    ),
    "a token of nobody": (
        made("v1", "Secret", type="kubernetes.io/service-account-token"),
        "kubernetes.io/service-account.name",
    ),
    "a login that is no JSON": (
        made("v1", "Secret", type="kubernetes.io/dockerconfigjson", stringData={".dockerconfigjson": "{x}"}),
        "must be a JSON object",
    ),
    "a long name of Pods": (
        made(
            "apps/v1",
            "StatefulSet",
            name="x" * 64,
            spec={
                "selector": {"matchLabels": {"a": "b"}},
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": POD},
            },
        ),
        "must be no more than 63 characters",
    ),
    "a limit below its minimum": (
        made(
            "v1",
            "LimitRange",
            spec={"limits": [{"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}}]},
        ),
        "min value is greater than max value",
    ),
    "an operator that is none": (
        made("policy/v1", "PodDisruptionBudget", spec={"selector": {"matchExpressions": [{"key": "a"}]}}),
        "not a valid selector operator",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_members_would_refuse_is_refused(name: str) -> None:
    """The words say which field it is."""
    obj, words = REFUSED[name]
    assert any(words in problem for problem in problems(obj)), problems(obj)


def test_a_claim_of_a_stateful_set_can_be_mounted() -> None:
    """A volumeClaimTemplate is a volume of the Pods, also as a device; a name that is neither is refused."""
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    mounted = container(
        volumeMounts=[{"name": "data", "mountPath": "/d"}],
        volumeDevices=[{"name": "raw", "devicePath": "/r"}],
    )
    raw = {**claim, "metadata": {"name": "raw"}}
    spec = {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": mounted},
    }
    assert problems(made("apps/v1", "StatefulSet", spec={**spec, "volumeClaimTemplates": [claim, raw]})) == []
    found = problems(made("apps/v1", "StatefulSet", spec={**spec, "volumeClaimTemplates": [claim]}))
    assert [problem for problem in found if "Not found" in problem] != []


def test_a_service_that_is_no_node_port_any_more_can_be_created_anew() -> None:
    """NodePort to ClusterIP leaves neither the ports of nodes nor the policy for traffic from outside."""
    before = service(type="NodePort", externalTrafficPolicy="Local", ports=[{"port": 80, "nodePort": 31999}])
    strategy = strategy_of(before)
    before = apply_defaults(before, None, strategy=strategy)
    patched = {**before, "spec": {**before["spec"], "type": "ClusterIP"}}
    after = carried_over(before, patched, strategy=strategy)
    assert after["spec"]["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    assert "externalTrafficPolicy" not in after["spec"]
    assert problems(after) == []
    assert validate_update(before, after, strategy=strategy) == []
    assert carried_over(before, before, strategy=strategy) is before
