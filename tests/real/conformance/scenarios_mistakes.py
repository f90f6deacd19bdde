"""Requests that are refused: what is wrong with objects, and with requests. Next: `known`."""

from __future__ import annotations

import copy
from base64 import b64encode
from collections.abc import Callable
from typing import Any

from hanse.kube.model.objects import Object
from tests.real.conformance.objects import CONTAINER, config_map, template, thing, workload
from tests.real.conformance.sides import PATCHES, Side

CM = "/api/v1/namespaces/{ns}/configmaps"


def changed(change: Callable[[Object], Any]) -> Object:
    """Return a Deployment with a mistake."""
    obj = workload("Deployment")
    change(obj)
    return obj


def in_container(**fields: Any) -> Object:
    """Return a Deployment with this in its container."""
    return changed(lambda o: o["spec"]["template"]["spec"]["containers"][0].update(fields))


def in_pod(**fields: Any) -> Object:
    """Return a Deployment with this in its pod template's spec."""
    return changed(lambda o: o["spec"]["template"]["spec"].update(fields))


def in_spec(**fields: Any) -> Object:
    """Return a Deployment with this in its spec."""
    return changed(lambda o: o["spec"].update(fields))


def in_metadata(**fields: Any) -> Object:
    """Return a Deployment with this in its metadata."""
    return changed(lambda o: o["metadata"].update(fields))


def service(**spec: Any) -> Object:
    """Return a Service."""
    return thing("v1", "Service", spec=spec)


_BACKEND = {"service": {"name": "a", "port": {"number": 80}}}
_TARGET = {"kind": "Deployment", "name": "d"}


def bad_objects() -> dict[str, Object]:
    """Return objects that break rules, by what is wrong."""
    return {
        "replicas": in_spec(replicas=-1),
        "selector does not match": in_spec(selector={"matchLabels": {"app": "z"}}),
        "no selector": changed(lambda o: o["spec"].pop("selector")),
        "empty selector": in_spec(selector={}),
        "name": in_metadata(name="A_b"),
        "label": in_metadata(labels={"a b": "-"}),
        "finalizer": in_metadata(finalizers=["mine"]),
        "annotations": in_metadata(annotations={"a": "x" * 300_000}),
        "owner": in_metadata(ownerReferences=[{"apiVersion": "v1", "kind": "Pod", "name": "", "uid": ""}]),
        "no image": in_container(image=""),
        "port": in_container(ports=[{"containerPort": 70000, "name": "A--"}]),
        "no probe": in_container(livenessProbe={}),
        "request above limit": in_container(resources={"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}),
        "quantity": in_container(resources={"limits": {"cpu": "2x"}}),
        "env": in_container(env=[{"name": "q", "valueFrom": {}}]),
        "env name": in_container(env=[{"name": "", "value": "1"}]),
        "pull policy": in_container(imagePullPolicy="Sometimes"),
        "mount": in_container(volumeMounts=[{"name": "none", "mountPath": "/v"}]),
        "mount twice": in_container(volumeMounts=[{"name": "v", "mountPath": "/v"}] * 2),
        "container name": in_container(name="A b"),
        "restart policy": in_pod(restartPolicy="Never"),
        "no containers": in_pod(containers=[]),
        "same container": in_pod(containers=[copy.deepcopy(CONTAINER)] * 2),
        "strategy": in_spec(strategy={"type": "Recreate", "rollingUpdate": {}}),
        "strategy type": in_spec(strategy={"type": "Slow"}),
        "surge": in_spec(strategy={"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}),
        "type": in_spec(replicas="3"),
        "unknown": in_spec(nope=1),
        "no ports": service(),
        "same ports": service(ports=[{"port": 1}, {"port": 1}]),
        "no external name": service(type="ExternalName"),
        "service type": service(type="X", ports=[{"port": 80}]),
        "port zero": service(ports=[{"port": 0}]),
        "keys": thing("v1", "ConfigMap", data={"a b": "", "..": ""}),
        "same key": thing("v1", "ConfigMap", data={"a": ""}, binaryData={"a": ""}),
        "too long": thing("v1", "ConfigMap", data={"a": "x" * (1 << 20), "b": "1"}),
        "base64": thing("v1", "Secret", data={"a": "?"}),
        "tls": thing("v1", "Secret", type="kubernetes.io/tls", data={}),
        "job restarts": thing("batch/v1", "Job", spec={"template": template()}),
        "schedule": thing(
            "batch/v1",
            "CronJob",
            spec={"schedule": "* *", "jobTemplate": {"spec": {"template": template(restartPolicy="Never")}}},
        ),
        "hpa range": thing(
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            spec={"minReplicas": 3, "maxReplicas": 2, "scaleTargetRef": _TARGET},
        ),
        "hpa empty": thing("autoscaling/v2", "HorizontalPodAutoscaler", spec={}),
        "ingress empty": thing("networking.k8s.io/v1", "Ingress", spec={}),
        "path type": thing(
            "networking.k8s.io/v1", "Ingress", spec={"rules": [{"http": {"paths": [{"backend": _BACKEND}]}}]}
        ),
        "claim": thing("v1", "PersistentVolumeClaim", spec={}),
        "budget": thing("policy/v1", "PodDisruptionBudget", spec={"minAvailable": 1, "maxUnavailable": 1}),
        "role": thing(
            "rbac.authorization.k8s.io/v1", "Role", rules=[{"apiGroups": [""], "resources": ["pods"]}]
        ),
        "role ref": thing("rbac.authorization.k8s.io/v1", "RoleBinding", roleRef={"kind": "X", "name": "y"}),
        "namespace": {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a.b"}},
    }


async def objects(side: Side) -> None:
    """Create objects that break rules."""
    for name, obj in bad_objects().items():
        await side.create(name, obj, dryRun="All", fieldValidation="Strict")


async def repeated(side: Side) -> None:
    """Fields that a text says more than once."""
    text = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"rep"},"data":{"a":"1","a":"2"},"no":1}'
    lines = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: rep}\ndata:\n  a: '1'\n  a: '2'\n  a: '3'\n"
    operations = b'[{"op":"add","op":"add","path":"/data/q","value":"1","also":1}]'
    patch = b'{"data":{"a":"1","a":"2"}}'
    for label, method, where, body, content in (
        ("JSON", "POST", "", text, "application/json"),
        ("YAML", "POST", "", lines, "application/yaml"),
        ("merge", "PATCH", "/there", patch, PATCHES["merge"]),
        ("strategic", "PATCH", "/there", patch, PATCHES["strategic"]),
        ("operations", "PATCH", "/there", operations, PATCHES["json"]),
        ("apply", "PATCH", "/rep", lines, PATCHES["apply"]),
    ):
        for mode in ("Strict", "Warn", "Ignore"):
            query = {"dryRun": "All", "fieldManager": "m", "fieldValidation": mode}
            answer = await side.ask("", method, f"{CM}{where}", body, content=content, **query)
            message = answer.body.get("message", "") if isinstance(answer.body, dict) else answer.body
            said = message.partition("strict decoding")[2].partition(": ")[2]
            side.record(f"repeated {label} {mode}", [said, answer.warnings], status=answer.status)


async def requests(side: Side) -> None:
    """Requests that are wrong in themselves."""
    fine = config_map("x")
    send = side.send
    await side.create("there", config_map("there"))
    await side.create("exists", config_map("there"))
    await send("not found", "GET", f"{CM}/none")
    await send("delete of nothing", "DELETE", f"{CM}/none")
    await send("patch of nothing", "PATCH", f"{CM}/none", {}, content=PATCHES["merge"])
    await send("no such resource", "GET", "/api/v1/namespaces/{ns}/things")
    await send("no such group", "GET", "/apis/x.org/v1/things")
    await send("no such version", "GET", "/apis/apps/v9/deployments")
    await send("no such path", "GET", "/nothing")
    await send("no such subresource", "GET", f"{CM}/there/status")
    await send("no such namespace", "POST", "/api/v1/namespaces/none/configmaps", fine)
    await send("clustered in a namespace", "GET", "/api/v1/namespaces/{ns}/nodes/x")
    await send("namespaced without", "GET", "/api/v1/configmaps/x")
    await send("create without a namespace", "POST", "/api/v1/configmaps", fine)
    await send("put to a collection", "PUT", CM, fine)
    await send("patch of a collection", "PATCH", CM, {}, content=PATCHES["merge"])
    await send("post to an object", "POST", f"{CM}/there", fine)
    await send("no JSON", "POST", CM, b"{")
    await send("no YAML", "POST", CM, b"a: b: c", content="application/yaml")
    await send("no body", "POST", CM, b"")
    await send("a list", "POST", CM, [1])
    await send("no kind", "POST", CM, {"metadata": {"name": "x"}, "apiVersion": "v1"})
    await send("no apiVersion", "POST", CM, {"metadata": {"name": "x"}, "kind": "ConfigMap"})
    await send("another kind", "POST", CM, {**fine, "kind": "Secret"})
    await send("another version", "POST", CM, {**fine, "apiVersion": "v2"})
    await send("no name", "POST", CM, {**fine, "metadata": {}})
    await send("another namespace", "POST", CM, config_map("x", namespace="other"))
    await send("a version on create", "POST", CM, config_map("x", resourceVersion="5"))
    await send("metadata is text", "POST", CM, {**fine, "metadata": "x"})
    await send("media type", "POST", CM, b"x", content="text/csv")
    await send("patch media type", "PATCH", f"{CM}/there", {}, content="application/json")
    await send("accept", "GET", f"{CM}/there", accept="text/csv")
    for content in ("text/plain", "application/octet-stream", "application/x-www-form-urlencoded"):
        await send(f"media type {content}", "POST", CM, fine, content=content)
    await send("YAML as JSON", "POST", CM, b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: y}\n")
    flow = b'{"apiVersion": "v1",\n\t"kind": "ConfigMap", metadata: {name: flow}, data: {a: 1:30}}'
    await send("flow", "POST", CM, flow, content="application/yaml", dryRun="All")
    await send("flow applied", "PATCH", f"{CM}/flow", flow, content=PATCHES["apply"], fieldManager="m")
    two = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: two}\n---\nkind: Secret\n"
    await send("two documents", "POST", CM, two, content="application/yaml", dryRun="All")
    await repeated(side)
    await send("dry run", "POST", CM, fine, dryRun="Some")
    await send("validation", "POST", CM, fine, fieldValidation="Some")
    await send("manager", "POST", CM, fine, fieldManager="x" * 129)
    await send("manager text", "POST", CM, fine, fieldManager="a\nb")
    await send("force of a merge", "PATCH", f"{CM}/there", {}, content=PATCHES["merge"], force="true")
    apply = PATCHES["apply"]
    await send("apply without a manager", "PATCH", f"{CM}/x", fine, content=apply)
    await send("apply a list", "PATCH", f"{CM}/x", [1], content=apply, fieldManager="m")
    await send("apply another name", "PATCH", f"{CM}/y", fine, content=apply, fieldManager="m")
    await send(
        "apply another kind", "PATCH", f"{CM}/x", {**fine, "kind": "Secret"}, content=apply, fieldManager="m"
    )
    managed = config_map("x", managedFields=[{"manager": "x"}])
    await send("apply managedFields", "PATCH", f"{CM}/x", managed, content=apply, fieldManager="m")
    uid = config_map("there", uid="11111111-1111-1111-1111-111111111111")
    await send("apply another uid", "PATCH", f"{CM}/there", uid, content=apply, fieldManager="m")
    old = config_map("there", {"a": "1"}, resourceVersion="1")
    await send("apply an old version", "PATCH", f"{CM}/there", old, content=apply, fieldManager="m")
    await send("apply no JSON", "PATCH", f"{CM}/x", b"{", content=apply, fieldManager="m")
    await send(
        "apply YAML",
        "PATCH",
        f"{CM}/x",
        b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {a: b}\n",
        content=apply,
        fieldManager="m",
    )
    await send(
        "create YAML",
        "POST",
        CM,
        b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: why}\n",
        content="application/yaml",
        fieldManager="m",
    )
    await send("unknown field warned", "POST", CM, {**config_map("z"), "nope": 1}, fieldManager="m")
    await send("too large", "POST", CM, config_map("x", {"a": "x" * (4 << 20)}))


async def sizes(side: Side) -> None:
    """How large an object may be, which is not how long its JSON is."""
    send, full = side.send, '"' * (1 << 20)
    await side.create("full", config_map("full", {"a": full}))
    await send("a full one", "GET", f"{CM}/full")
    await send("a byte more", "POST", CM, config_map("more", {"a": full, "b": "x"}))
    await send("grown", "PATCH", f"{CM}/full", {"data": {"b": "x"}}, content=PATCHES["merge"])
    applied = config_map("applied", {"a": full})
    await send("applied", "PATCH", f"{CM}/applied", applied, content=PATCHES["apply"], fieldManager="m")
    data = b64encode(full.encode()).decode()
    await side.create("binary", {**config_map("binary"), "binaryData": {"a": data}})
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "full"}, "data": {"a": data}}
    await side.create("secret", secret)
    more = {**secret, "metadata": {"name": "more"}, "data": {"a": data, "b": "eA=="}}
    await side.create("more secret", more)
    await send("a long body", "POST", CM, config_map("long", {"a": full * 2}))
    large = workload("Deployment")
    large["spec"]["template"]["spec"]["containers"][0]["args"] = ["x" * (2 << 20)]
    await side.create("too much text", large)
