"""A real kube-apiserver gets what the federation stores, and what others change of it is told by fingerprint.

The kinds of faults: drift that is not seen, adoption that takes nothing over, one-of fields swapped by hand,
lists that server-side apply cannot merge, schemas that are older than the federation's.
"""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hanse_syncer.act.delivery import Delivered, Delivery
from hanse_syncer.decide import caveats, kinds
from hanse_syncer.decide.fingerprints import caveat_of, fingerprint
from hanse_syncer.decide.render import Manifest, render
from hanse_syncer.decide.rewritten import caveat_of as rewritten_caveat
from hanse_syncer.member.client import MemberClient, MemberObject
from hanse_syncer.member.limiter import Limiter

from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement
from hanse.kube.client.access import ClusterAccess
from hanse.kube.client.client import KubeClient
from hanse.kube.kinds.kind import group_of
from hanse.kube.model.objects import Object, mapping
from hanse.store.keys import ObjectKey
from tests.real.realcluster import ClusterSpec, KubeApi, RealClusters
from tests.real.realcluster.api import ApiError
from tests.support import objects
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

FEDERATION = "6f1d2c3b-aaaa-4bbb-8ccc-0123456789ab"
PLURALS = {
    "NetworkPolicy": "networkpolicies",
    "Ingress": "ingresses",
    "PriorityClass": "priorityclasses",
    "CustomResourceDefinition": "customresourcedefinitions",
}
CLUSTER_SCOPED = {"PriorityClass", "CustomResourceDefinition"}


class OneMember:
    """The cluster, as the syncer and as somebody else uses it."""

    def __init__(self, api: KubeApi, client: KubeClient) -> None:
        self.api = api
        self.member = MemberClient(client, cluster="eu", limiter=Limiter())
        self.delivery = Delivery(self.member)

    def target(self, obj: Object) -> MemberObject:
        """Return where an object is."""
        plural = PLURALS.get(obj["kind"], obj["kind"].lower() + "s")
        namespace = "" if obj["kind"] in CLUSTER_SCOPED else "default"
        key = ObjectKey(group_of(obj), plural, namespace, obj["metadata"]["name"])
        return MemberObject(key, obj["apiVersion"], kind=obj["kind"])

    def path(self, obj: Object) -> str:
        """Return its path in the API."""
        target = self.target(obj)
        return target.resource.url(target.key.namespace, target.key.name)

    async def create(self, obj: Object) -> Delivered:
        """Create it as the syncer does."""
        found = await self.delivery.create(self.target(obj), manifest_of(obj))
        assert found.answer.ok, found.answer.message
        return found

    async def apply(self, obj: Object) -> Delivered:
        """Apply it to what is there."""
        live = await self.api.get(self.path(obj))
        found = await self.delivery.apply(self.target(obj), manifest_of(obj), uid=live["metadata"]["uid"])
        assert found.answer.ok, found.answer.message
        return found

    async def edit(self, obj: Object, change: Callable[[Object], Any]) -> Object:
        """Change what is there as somebody in the cluster would, and return it."""

        while True:
            live = await self.api.get(self.path(obj))
            change(live)
            try:
                return await self.api.replace(self.path(obj), live)
            except ApiError as error:
                if error.status != 409:
                    raise


def manifest_of(obj: Object) -> Manifest:
    """Return what the syncer renders."""
    given = copy.deepcopy(obj)
    if given["kind"] not in CLUSTER_SCOPED:
        given["metadata"].setdefault("namespace", "default")
    return render(given, placement=ClusterPlacement(cluster="eu"), federation_id=FEDERATION)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def one(assets_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OneMember]:
    """A cluster."""
    specs = [ClusterSpec("eu")]
    async with RealClusters(assets_dir, tmp_path_factory.mktemp("clusters"), specs) as running:
        access = ClusterAccess.from_kubeconfig(running["eu"].kubeconfig_path)
        async with KubeClient(access, retries=0) as client:
            yield OneMember(running["eu"].api, client)


def deployment(name: str, *, volumes: list[Object] | None = None, **container: Any) -> Object:
    """A Deployment without Pods."""
    pods: Object = {"containers": [{"name": "c", "image": "nginx:1.27", **container}]}
    if volumes is not None:
        pods["volumes"] = volumes
    return objects.build(
        "apps/v1",
        "Deployment",
        name=name,
        spec={
            "replicas": 0,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pods},
        },
    )


def pod_of(obj: Object) -> Object:
    """Return the spec of its Pods."""
    found: Object = obj["spec"]["template"]["spec"]
    return found


def _port(obj: Object) -> None:
    obj["spec"]["ingress"][0]["ports"].append({"port": 22, "protocol": "TCP"})


def _swap(obj: Object) -> None:
    pod_of(obj)["volumes"][0] = {"name": "tmp", "hostPath": {"path": "/"}}
    pod_of(obj)["containers"][0]["image"] = "evil"


POLICY = objects.build(
    "networking.k8s.io/v1",
    "NetworkPolicy",
    name="db",
    spec={
        "podSelector": {"matchLabels": {"app": "db"}},
        "policyTypes": ["Ingress"],
        "ingress": [{"ports": [{"port": 5432, "protocol": "TCP"}]}],
    },
)
LINKS = deployment("links")
pod_of(LINKS)["enableServiceLinks"] = False
RULE = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
BACKEND = {"service": {"name": "s", "port": {"number": 80}}}
DRIFTS: list[tuple[Object, Callable[[Object], Any]]] = [
    (POLICY, _port),
    (LINKS, lambda o: pod_of(o).pop("enableServiceLinks")),
    (deployment("swap", volumes=[{"name": "tmp", "emptyDir": {}}]), _swap),
    (
        deployment("cpu", resources={"limits": {"cpu": "1000m"}}),
        lambda o: pod_of(o)["containers"][0]["resources"]["limits"].update(cpu="2"),
    ),
    (objects.build("v1", "ConfigMap", name="cm", data={"a": ""}), lambda o: o["data"].pop("a")),
    (objects.build("v1", "Secret", name="s", data={"a": "QQ=="}), lambda o: o["data"].update(a="Qg==")),
    (
        objects.build("v1", "Service", name="svc", spec={"selector": {"a": "b"}, "ports": [{"port": 80}]}),
        lambda o: o["spec"]["selector"].update(a="c"),
    ),
    (
        objects.build("rbac.authorization.k8s.io/v1", "Role", name="r", rules=[RULE]),
        lambda o: o["rules"][0]["verbs"].append("delete"),
    ),
    (
        objects.build("networking.k8s.io/v1", "Ingress", name="i", spec={"defaultBackend": BACKEND}),
        lambda o: o["spec"].update(defaultBackend={"resource": {"kind": "X", "name": "x"}}),
    ),
    (
        objects.build("policy/v1", "PodDisruptionBudget", name="p", spec={"minAvailable": 1, "selector": {}}),
        lambda o: o["spec"].update(minAvailable=0),
    ),
    (
        objects.build("v1", "ResourceQuota", name="q", spec={"hard": {"pods": "1k"}}),
        lambda o: o["spec"]["hard"].update(pods="2k"),
    ),
    (
        objects.build("v1", "ServiceAccount", name="sa", automountServiceAccountToken=False),
        lambda o: o.pop("automountServiceAccountToken"),
    ),
    (
        objects.build("scheduling.k8s.io/v1", "PriorityClass", name="pc", value=7, description="x"),
        lambda o: o.update(description="y"),
    ),
]


@pytest.mark.parametrize(("obj", "change"), DRIFTS, ids=[each["kind"] for each, _ in DRIFTS])
async def test_what_others_change_is_seen_and_put_right(
    one: OneMember, obj: Object, change: Callable[[Object], Any]
) -> None:
    """A field of ours in whatever kind is; what others add beside them is theirs, and stays."""
    written = manifest_of(obj).object
    created = (await one.create(obj)).answer.document
    known = fingerprint(created, written)
    assert caveat_of(created) is None
    again = await one.apply(obj)
    assert fingerprint(again.answer.document, written) == known
    beside = await one.edit(obj, lambda o: mapping(o, "metadata")["labels"].update(theirs="yes"))
    assert fingerprint(beside, written) == known
    drifted = await one.edit(obj, change)
    assert fingerprint(drifted, written) != known
    right = (await one.apply(obj)).answer.document
    for name in ("spec", "data", "rules", "automountServiceAccountToken", "value"):
        assert right.get(name) == created.get(name)
    assert right["metadata"]["labels"]["theirs"] == "yes"
    assert fingerprint(await one.api.get(one.path(obj)), written) == fingerprint(right, written)


LEGACY = [
    objects.build(
        "v1",
        "Service",
        name="shop",
        spec={"selector": {"app": "shop"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    ),
    deployment(
        "shop",
        env=[{"name": "MODE", "value": "legacy"}, {"name": "OLD_FLAG", "value": "1"}],
        livenessProbe={"httpGet": {"path": "/healthz", "port": 8080}},
        volumeMounts=[{"name": "cfg", "mountPath": "/cfg"}],
        volumes=[{"name": "cfg", "emptyDir": {}}],
    ),
    objects.build("v1", "ConfigMap", name="shop", data={"keep": "1", "drop": "1"}),
]
NEW = [
    objects.build(
        "v1",
        "Service",
        name="shop",
        spec={"selector": {"app": "shop"}, "ports": [{"name": "http", "port": 8080, "targetPort": 8080}]},
    ),
    deployment(
        "shop",
        env=[{"name": "MODE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        livenessProbe={"tcpSocket": {"port": 8080}},
        volumeMounts=[{"name": "cfg", "mountPath": "/cfg"}],
        volumes=[{"name": "cfg", "configMap": {"name": "shop"}}],
    ),
    objects.build("v1", "ConfigMap", name="shop", data={"keep": "1"}),
]


@pytest.mark.parametrize(("legacy", "new"), list(zip(LEGACY, NEW, strict=True)), ids=lambda o: o["kind"])
async def test_what_is_adopted_becomes_what_the_federation_has(
    one: OneMember, legacy: Object, new: Object
) -> None:
    """What kubectl applied there by itself is replaced: it is the same as one that is created."""
    collection, _, _ = one.path(legacy).rpartition("/")
    live = await one.api.create(f"{collection}?fieldManager=kubectl-client-side-apply", legacy)
    found = await one.delivery.adopt(one.target(new), manifest_of(new), live)
    assert found.answer.ok, found.answer.message
    adopted = found.answer.document
    assert adopted["metadata"]["uid"] == live["metadata"]["uid"]
    other = copy.deepcopy(new)
    other["metadata"]["name"] = "fresh"
    fresh = (await one.create(other)).answer.document
    for each in (adopted, fresh):
        for name in ("clusterIP", "clusterIPs"):
            mapping(each, "spec").pop(name, None)
    assert (adopted.get("spec"), adopted.get("data")) == (fresh.get("spec"), fresh.get("data"))


async def test_an_object_that_an_old_tool_wrote_without_ownership_is_adopted(one: OneMember) -> None:
    """Nobody owns its fields: what it has and the federation does not goes all the same."""
    obj = objects.build("v1", "ConfigMap", name="old", data={"keep": "1", "drop": "1"})
    await one.api.create("/api/v1/namespaces/default/configmaps", obj)
    live = await one.edit(obj, lambda o: o["metadata"].update(managedFields=[{}]))
    assert "managedFields" not in live["metadata"]
    new = objects.build("v1", "ConfigMap", name="old", data={"keep": "2"})
    found = await one.delivery.adopt(one.target(new), manifest_of(new), live)
    assert found.answer.ok
    assert found.answer.document["data"] == {"keep": "2"}


async def test_the_parameters_of_another_strategy_go(one: OneMember) -> None:
    """They are the API server's defaults: an apply alone is refused for ever."""
    obj = deployment("strategy")
    await one.create(obj)
    obj["spec"]["strategy"] = {"type": "Recreate"}
    assert (await one.apply(obj)).answer.document["spec"]["strategy"] == {"type": "Recreate"}


TWICE: list[tuple[Object, Callable[[Object], Object], str]] = [
    (deployment("env"), lambda o: pod_of(o)["containers"][0], "env"),
    (deployment("ports"), lambda o: pod_of(o)["containers"][0], "ports"),
    (deployment("pull"), pod_of, "imagePullSecrets"),
    (deployment("hosts"), pod_of, "hostAliases"),
    (objects.build("v1", "ServiceAccount", name="twice"), lambda o: o, "secrets"),
]
ITEMS: dict[str, list[Object]] = {
    "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}],
    "ports": [
        {"containerPort": 80, "protocol": "TCP"},
        {"containerPort": 80, "name": "x", "protocol": "TCP"},
    ],
    "imagePullSecrets": [{"name": "a"}, {"name": "a"}],
    "secrets": [{"name": "a"}, {"name": "a"}],
    "hostAliases": [{"ip": "192.0.2.1", "hostnames": ["a"]}, {"ip": "192.0.2.1", "hostnames": ["b"]}],
}


@pytest.mark.parametrize(("obj", "holder", "name"), TWICE, ids=[each[2] for each in TWICE])
@pytest.mark.parametrize("first", ["created", "applied"])
async def test_lists_with_two_items_of_one_key_are_delivered(
    one: OneMember, obj: Object, holder: Callable[[Object], Object], name: str, first: str
) -> None:
    """kube-apiserver stores them, but takes no apply of them; when they are gone, an apply does it again."""
    obj = copy.deepcopy(obj)
    obj["metadata"]["name"] = f"{obj['metadata']['name']}-{first}"
    plain = copy.deepcopy(obj)
    holder(obj)[name] = ITEMS[name]
    if first == "applied":
        await one.create(plain)
        found = await one.apply(obj)
    else:
        found = await one.create(obj)
    assert found.caveat is not None
    assert found.caveat.reason == caveats.APPLIED_BY_PATCH
    live = found.answer.document
    assert holder(live)[name] == ITEMS[name]
    written = manifest_of(obj).object
    known = fingerprint(live, written)
    assert fingerprint((await one.apply(obj)).answer.document, written) == known
    drifted = await one.edit(obj, lambda o: holder(o)[name].pop())
    assert fingerprint(drifted, written) != known
    assert holder((await one.apply(obj)).answer.document)[name] == ITEMS[name]
    after = await one.apply(plain)
    assert after.caveat is None
    assert name not in holder(after.answer.document)
    assert caveat_of(after.answer.document) is None


def crd(plural: str) -> Object:
    """A CRD of an older version than the objects'."""
    spec = {"type": "object", "properties": {"size": {"type": "integer"}}}
    return objects.build(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        name=f"{plural}.skew.example.com",
        spec={
            "group": "skew.example.com",
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": "cart", "kind": "Cart"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
                }
            ],
        },
    )


async def test_fields_that_an_older_schema_lacks_are_left_out_and_named(one: OneMember) -> None:
    """Of a custom kind and of a built-in one; the rest is there, and the next look finds it in sync."""
    await one.create(crd("carts"))
    cart = objects.build("skew.example.com/v1", "Cart", name="one", spec={"size": 1, "color": "red"})

    async def served() -> bool:
        return (await one.member.get(one.target(cart))).status == 404 and not await one.member.lacks(
            "skew.example.com/v1", "carts"
        )

    await until(served, what="carts are served")
    later = deployment("later", restartPolicyOfTomorrow="x")
    for obj, field in ((cart, ".spec.color"), (later, ".restartPolicyOfTomorrow")):
        found = await one.create(obj)
        assert found.caveat is not None
        assert found.caveat.reason == caveats.FIELDS_NOT_SERVED
        assert field in found.caveat.message
        live = found.answer.document
        written = manifest_of(obj).object
        assert fingerprint((await one.apply(obj)).answer.document, written) == fingerprint(live, written)
    assert (await one.api.get(one.path(cart)))["spec"] == {"size": 1}


async def test_a_volume_that_the_author_names_is_asked_for(one: OneMember) -> None:
    """A claim is bound to the volume that its author wrote, and what the member decides stays its own."""
    claim = objects.build(
        "v1",
        "PersistentVolumeClaim",
        name="ledger",
        spec={
            "storageClassName": "manual",
            "volumeName": "ledger-b",
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    )
    live = (await one.create(claim)).answer.document
    assert live["spec"]["volumeName"] == "ledger-b"
    assert "spec.volumeName" in kinds.retained_paths(live)


REWRITES = objects.build(
    "admissionregistration.k8s.io/v1",
    "MutatingAdmissionPolicy",
    name="mirror",
    spec={
        "matchConstraints": {
            "resourceRules": [
                {
                    "apiGroups": ["apps"],
                    "apiVersions": ["v1"],
                    "operations": ["*"],
                    "resources": ["deployments"],
                }
            ],
            "objectSelector": {"matchLabels": {"rewritten": "yes"}},
        },
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "mutations": [
            {
                "patchType": "ApplyConfiguration",
                "applyConfiguration": {"expression": "Object{spec: Object.spec{minReadySeconds: 7}}"},
            }
        ],
    },
)
BINDING = objects.build(
    "admissionregistration.k8s.io/v1",
    "MutatingAdmissionPolicyBinding",
    name="mirror",
    spec={"policyName": "mirror"},
)


async def test_what_a_cluster_rewrites_on_admission_is_told(one: OneMember) -> None:
    """The apply succeeds, the value is ours by managedFields, and another than was sent."""
    root = "/apis/admissionregistration.k8s.io/v1"
    await one.api.create(f"{root}/mutatingadmissionpolicies", REWRITES)
    await one.api.create(f"{root}/mutatingadmissionpolicybindings", BINDING)
    names = iter(range(10_000))
    obj = deployment("rewritten")
    obj["metadata"]["labels"] = {"rewritten": "yes"}
    obj["spec"]["minReadySeconds"] = 1

    async def rewritten() -> bool:
        """Admission policies are in force a moment after they are stored."""
        obj["metadata"]["name"] = f"rewritten-{next(names)}"
        live = (await one.create(obj)).answer.document
        return bool(live["spec"]["minReadySeconds"] == 7)

    try:
        await until(rewritten, what="the policy is in force")
        found = await one.apply(obj)
        caveat = rewritten_caveat(found.answer.document, manifest_of(obj).object, False)
        assert caveat is not None
        assert caveat.reason == "ValuesRewritten"
        assert "spec.minReadySeconds is 7 and not 1" in caveat.message
    finally:
        await one.api.delete(f"{root}/mutatingadmissionpolicybindings/mirror")
        await one.api.delete(f"{root}/mutatingadmissionpolicies/mirror")
