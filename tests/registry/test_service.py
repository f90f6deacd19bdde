"""Join, probe and unjoin through RegistryService, with members that can be lost."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import orjson
import pytest
from google.protobuf import empty_pb2
from hanse_registry import service
from hanse_registry.controller import Registrar
from hanse_registry.intent import ClusterIntents
from hanse_registry.member.probe import MemberApi
from hanse_registry.metrics import STATES, RegistryMetrics
from hanse_registry.service import RegistryServicer
from hanse_registry.settings import RegistrySettings

from hanse.api.federation.v1 import federation_pb2, federation_service_pb2
from hanse.api.federation.v1.federation_service_pb2_grpc import (
    FederationServiceServicer,
    FederationServiceStub,
    add_FederationServiceServicer_to_server,
)
from hanse.api.registry.v1 import cluster_pb2, registry_service_pb2
from hanse.api.registry.v1.registry_service_pb2_grpc import (
    RegistryServiceStub,
    add_RegistryServiceServicer_to_server,
)
from hanse.api.scheduler.v1 import placement_pb2
from hanse.api.syncer.v1 import orphan_pb2, sync_state_pb2
from hanse.api.type.v1 import change_pb2, condition_pb2
from hanse.errors import (
    AlreadyExistsError,
    CompactedError,
    ConflictError,
    DataLossError,
    FailedPreconditionError,
    HanseError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
)
from hanse.kube.client.access import ClusterAccess
from hanse.kube.client.answer import Answer, verified
from hanse.kube.client.requests import JSON, ApiRequest
from hanse.kube.merge.patch import json_patch, merge_patch
from hanse.process.telemetry import setup
from hanse.rpc.channel import RpcChannel
from hanse.rpc.policy import Policy
from hanse.rpc.server import RpcServer
from hanse.security.credentials import Sealer
from hanse.security.keyring import new_key
from hanse.store import Compare, Delete, MemoryStore, Op, TxnResult, Versioned, keys
from tests.support.waiting import SECONDS

SETTINGS = RegistrySettings(
    probe_interval=0.02, probe_timeout=0.5, failure_threshold=2, inventory_interval=60.0
)


class Objects(FederationServiceServicer):
    """Keeps Cluster objects as the apiserver does, as far as the registry needs it."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store

    async def CreateObject(self, request: Any, context: Any) -> federation_pb2.Object:  # noqa: N802
        """Stores a new object."""
        body = orjson.loads(request.manifest)
        key = self.key(body["metadata"]["name"])
        if await self.store.get(key):
            raise AlreadyExistsError(f"{key} exists")
        body["metadata"] |= {"uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}
        await self.store.put(key, orjson.dumps(body))
        return federation_pb2.Object(manifest=orjson.dumps(body))

    async def GetObject(self, request: Any, context: Any) -> federation_pb2.Object:  # noqa: N802
        """Reads an object."""
        found = await self.store.get(self.key(request.name.rpartition("/")[2]))
        if found is None:
            raise NotFoundError(f"{request.name} not found")
        return federation_pb2.Object(manifest=found.value)

    async def PatchObject(self, request: Any, context: Any) -> federation_pb2.Object:  # noqa: N802
        """Patches an object; it goes when it is being deleted and has no finalizer left."""
        name = request.name.rpartition("/")[2]
        body = orjson.loads((await self.GetObject(request, context)).manifest)
        patch = orjson.loads(request.patch)
        merge = request.type == federation_service_pb2.MERGE_PATCH
        body = merge_patch(body, patch) if merge else json_patch(body, patch)
        stored = await self.store.get(self.key(name))
        version = body["metadata"].pop("resourceVersion", None)
        if version and (stored is None or version != str(stored.mod_revision)):
            raise ConflictError(f"{name} is not at {version}")
        if "deletionTimestamp" in body["metadata"] and not body["metadata"].get("finalizers"):
            await self.store.delete(self.key(name))
        else:
            await self.store.put(self.key(name), orjson.dumps(body))
        revision = await self.store.revision()
        return federation_pb2.Object(manifest=orjson.dumps(body), etag=str(revision))

    async def DeleteObject(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Marks an object as being deleted."""
        body = orjson.loads((await self.GetObject(request, context)).manifest)
        body["metadata"]["deletionTimestamp"] = "2026-01-02T00:00:00Z"
        await self.store.put(self.key(request.name.rpartition("/")[2]), orjson.dumps(body))
        return empty_pb2.Empty()

    def key(self, name: str) -> str:
        """Where a Cluster is stored."""
        return keys.ObjectKey("hanse.dev", "clusters", "", name).key()


@dataclass
class World:
    """Members by the host of their URL; one in `lost` refuses connections, one in `silent` says nothing."""

    store: MemoryStore
    members: dict[str, str] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    version: str = "v1.34.1"
    groups: list[dict[str, Any]] = field(default_factory=list)
    lies: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)
    """Media type and body of answers by host and path that are not what a member of that host would say."""
    rights: set[tuple[str, str]] = field(default_factory=lambda: {("*", "*")})
    """Verb and plural of what credentials may do in members."""
    refusing: dict[str, int] = field(default_factory=dict)
    """HTTP status by host of those that refuse every credential but `new`."""
    tokens: dict[str, str] = field(default_factory=dict)
    """The last token by which each host was asked."""
    sealer: Sealer = field(default_factory=lambda: Sealer([new_key()]))
    stub: RegistryServiceStub = field(init=False)
    registrar: Registrar = field(init=False)

    @contextlib.asynccontextmanager
    async def connect(self, access: ClusterAccess) -> AsyncIterator[MemberApi]:
        """A connection to a member."""
        host = access.server.removeprefix("https://")
        self.tokens[host] = access.token
        yield cast("MemberApi", Member(self, host, access.token))

    async def join(self, name: str, *, host: str = "", validate_only: bool = False) -> cluster_pb2.Cluster:
        """Joins the member of that host."""
        kubeconfig = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": f"https://{host or name}"}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
        }
        self.members.setdefault(host or name, f"uid-{host or name}")
        request = registry_service_pb2.JoinClusterRequest(
            cluster_id=name, kubeconfig=orjson.dumps(kubeconfig), validate_only=validate_only
        )
        return await self.stub.JoinCluster(request)

    async def replace(self, name: str, *, host: str = "", validate_only: bool = False) -> cluster_pb2.Cluster:
        """Replaces the credential of a member; it answers at that host then."""
        kubeconfig = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": f"https://{host or name}"}}],
            "users": [{"name": "u", "user": {"token": "new"}}],
        }
        request = registry_service_pb2.ReplaceCredentialRequest(
            name=f"clusters/{name}", kubeconfig=orjson.dumps(kubeconfig), validate_only=validate_only
        )
        return await self.stub.ReplaceCredential(request)

    async def until(self, name: str, state: cluster_pb2.ClusterState.ValueType) -> cluster_pb2.Cluster:
        """Waits until a cluster is in a state."""
        async with asyncio.timeout(SECONDS):
            async for change in self.stub.WatchClusters(registry_service_pb2.WatchClustersRequest()):
                if change.cluster.name == f"clusters/{name}" and change.cluster.state == state:
                    return change.cluster
        raise AssertionError("the watch ended")

    async def until_gone(self, name: str) -> None:
        """Waits until nothing of a cluster is stored."""
        async with asyncio.timeout(10):
            while (await self.left(name)) != []:  # noqa: ASYNC110 - reads the store
                await asyncio.sleep(0.05)

    async def holder(self, name: str) -> str:
        """What the cluster's condition says that it waits for."""
        stored = await self.store.get(keys.cluster(name))
        conditions = cluster_pb2.Cluster.FromString(stored.value).conditions if stored else ()
        return next((each.message for each in conditions if each.type == "Unjoined"), "")

    async def until_condition(
        self, name: str, kind: str, status: condition_pb2.ConditionStatus.ValueType
    ) -> None:
        """Waits until a condition has that status."""
        async with asyncio.timeout(SECONDS):
            async for change in self.stub.WatchClusters(registry_service_pb2.WatchClustersRequest()):
                conditions = {each.type: each.status for each in change.cluster.conditions}
                if change.cluster.name == f"clusters/{name}" and conditions.get(kind) == status:
                    return

    async def until_held(self, name: str, message: str) -> None:
        """Waits until the condition says so."""
        async with asyncio.timeout(10):
            while await self.holder(name) != message:  # noqa: ASYNC110 - reads the store
                await asyncio.sleep(0.05)

    async def left(self, name: str) -> list[str]:
        """The keys that are stored of a cluster."""
        candidates = (keys.cluster(name), keys.credential(name), keys.catalogue(name))
        found = [key for key in candidates if await self.store.get(key)]
        if await self.store.get(keys.ObjectKey("hanse.dev", "clusters", "", name).key()):
            found.append("object")
        return found


class Member:
    """Answers what a small API server answers."""

    def __init__(self, world: World, host: str, token: str = "") -> None:
        self.world = world
        self.host = host
        self.token = token

    async def ask(self, request: ApiRequest) -> Answer:
        """One request."""
        path, asked = request.path, request.body
        if self.host in self.world.lost:
            raise UnavailableError("connection refused")
        if self.host in self.world.silent:
            await asyncio.Event().wait()
        if (status := self.world.refusing.get(self.host)) and self.token != "new":
            body = {
                "kind": "Status",
                "apiVersion": "v1",
                "status": "Failure",
                "code": status,
                "message": "no",
            }
            return verified(
                request.expect,
                status=status,
                headers={"content-type": JSON},
                body=orjson.dumps(body),
                asked=path,
            )
        said = self.world.lies.get((self.host, path))
        if said is None:
            document = self._review(asked) if asked else {} if path == "/readyz" else self._document(path)
            said = ("text/plain", b"ok") if path == "/readyz" else (JSON, orjson.dumps(document))
        return verified(
            request.expect, status=200, headers={"content-type": said[0]}, body=said[1], asked=path
        )

    def _review(self, body: bytes) -> dict[str, Any]:
        review = orjson.loads(body)
        asked = review["spec"]["resourceAttributes"]
        allowed = bool({("*", "*"), (asked["verb"], asked["resource"])} & self.world.rights)
        return {**review, "metadata": {"creationTimestamp": None}, "status": {"allowed": allowed}}

    def _document(self, path: str) -> dict[str, Any]:
        labels = {"topology.kubernetes.io/region": "eu", "topology.kubernetes.io/zone": "a"}
        node = {"metadata": {"name": "n", "uid": "n", "resourceVersion": "1", "labels": labels}}
        system = {"name": "kube-system", "uid": self.world.members[self.host], "resourceVersion": "1"}
        discovery = {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2"}
        namespaces = {"resource": "namespaces", "responseKind": {"kind": "Namespace"}, "verbs": ["list"]}
        core = {"metadata": {}, "versions": [{"version": "v1", "resources": [namespaces]}]}
        apps = {"metadata": {"name": "apps"}, "versions": [{"version": "v1", "resources": []}]}
        documents: dict[str, dict[str, Any]] = {
            "/version": {"gitVersion": self.world.version},
            "/api/v1/namespaces/kube-system": {"kind": "Namespace", "apiVersion": "v1", "metadata": system},
            "/api/v1/nodes": {
                "kind": "NodeList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": [node],
            },
            "/api": {**discovery, "items": [core]},
            "/apis": {**discovery, "items": [apps, *self.world.groups]},
        }  # fmt: skip
        return documents[path]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A registry that leads, over a store in memory."""
    store = MemoryStore()
    found = World(store)
    objects = RpcServer(listen="127.0.0.1:0", tls=None, policy=Policy.allow_all())
    servicer = Objects(store)  # type: ignore[abstract]  # the registry calls no other method
    objects.add(add_FederationServiceServicer_to_server, servicer)
    async with objects, RpcChannel(objects.address, tls=None) as intents_channel:
        intents = ClusterIntents(FederationServiceStub(intents_channel))
        sealer = found.sealer
        registrar = Registrar(
            store=store,
            settings=SETTINGS,
            sealer=sealer,
            intents=intents,
            connect=found.connect,
            identity="test",
        )
        found.registrar = registrar
        tasks = [asyncio.create_task(registrar.follower.run())]
        await registrar.follower.synced()
        tasks.append(asyncio.create_task(registrar.run()))
        server = RpcServer(listen="127.0.0.1:0", tls=None, policy=Policy.allow_all())
        server.add(
            add_RegistryServiceServicer_to_server,
            RegistryServicer(
                store=store, registrar=registrar, intents=intents, sealer=sealer, connect=found.connect
            ),
        )
        async with server, RpcChannel(server.address, tls=None) as channel:
            found.stub = RegistryServiceStub(channel)
            yield found
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await store.close()


async def test_a_joined_cluster_is_ready_with_all_that_is_known_of_it(world: World) -> None:
    """Join returns the cluster as it was found; the credential is stored sealed."""
    cluster = await world.join("eu-west")
    assert (cluster.state, cluster.region, list(cluster.zones)) == (cluster_pb2.READY, "eu", ["a"])
    assert cluster.kubernetes_version == "v1.34.1"
    sealed = await world.store.get(keys.credential("eu-west"))
    assert sealed is not None
    assert b"https://" not in sealed.value
    listed = await world.stub.ListClusters(registry_service_pb2.ListClustersRequest())
    assert [found.name for found in listed.clusters] == ["clusters/eu-west"]


HTML = ("text/html", b"<html>please log in</html>")


@pytest.mark.parametrize(
    "lies",
    [
        {"/readyz": HTML},
        {"/readyz": ("text/plain", b"<html>")},
        {"/api/v1/namespaces/kube-system": HTML},
        {"/api/v1/namespaces/kube-system": (JSON, b"{}")},
        {"/api/v1/namespaces/kube-system": (JSON, b'{"kind":"Status","apiVersion":"v1"}')},
        {"/version": (JSON, b"{}")},
        {
            "/api/v1/nodes": (
                JSON,
                b'{"kind":"NodeList","apiVersion":"v1","metadata":{"resourceVersion":"1"}}',
            )
        },
        {"/api": (JSON, b'{"kind":"APIGroupDiscoveryList","items":[]}')},
        {"/apis": (JSON, b'{"kind":"APIGroupDiscoveryList"}')},
    ],
)
async def test_a_member_that_lies_is_not_ready(world: World, lies: dict[str, tuple[str, bytes]]) -> None:
    """Whatever it lies about, it is MISBEHAVING with the reason, and what was known of it stays; it is ready
    again when it answers as an API server does."""
    before = await world.join("eu-west")
    world.lies |= {("eu-west", path): said for path, said in lies.items()}
    with contextlib.suppress(HanseError):
        await world.stub.ProbeCluster(registry_service_pb2.ProbeClusterRequest(name="clusters/eu-west"))
    found = await world.until("eu-west", cluster_pb2.MISBEHAVING)
    assert [each.reason for each in found.conditions if each.type == "Ready"] == ["WrongAnswer"]
    assert next(iter(lies)) in found.conditions[0].message
    for field_name in ("region", "zones", "cluster_id", "catalogue_hash", "capacity", "kubernetes_version"):
        assert getattr(found, field_name) == getattr(before, field_name), field_name
    world.lies.clear()
    await world.stub.ProbeCluster(registry_service_pb2.ProbeClusterRequest(name="clusters/eu-west"))
    await world.until("eu-west", cluster_pb2.READY)


async def test_a_lying_member_cannot_join(world: World) -> None:
    """What answers nonsense is no cluster: the join says so, and nothing is stored."""
    world.lies["liar", "/apis"] = HTML
    with pytest.raises(HanseError, match="did not get the answer of an API server") as caught:
        await world.join("liar")
    assert caught.value.reason == "WRONG_ANSWER"
    assert await world.left("liar") == []


async def test_another_cluster_cannot_take_the_place_of_a_member(world: World) -> None:
    """A credential of another cluster does not go to a name whose cluster is known, though it has none."""
    await world.join("eu-west")
    await world.store.delete(keys.credential("eu-west"))
    with pytest.raises(FailedPreconditionError, match="another cluster is a member as eu-west") as caught:
        await world.join("eu-west", host="other")
    assert caught.value.reason == "IDENTITY_MISMATCH"
    assert (await world.join("eu-west")).name == "clusters/eu-west"


async def test_the_stored_credential_names_the_cluster_that_it_is_for(world: World) -> None:
    """Whoever opens it connects to no other."""
    await world.join("eu-west")
    sealed = await world.store.get(keys.credential("eu-west"))
    assert sealed is not None
    credential = cluster_pb2.ClusterCredential.FromString(world.sealer.open("eu-west", sealed.value))
    assert credential.cluster_id == "uid-eu-west"


async def test_a_credential_is_replaced_in_place(world: World) -> None:
    """By another token, at another address; the cluster stays what it is, and is asked by the new one."""
    before = await world.join("eu-west")
    world.members["elsewhere"] = world.members["eu-west"]
    checked = await world.replace("eu-west", host="elsewhere", validate_only=True)
    assert (checked.server, checked.cluster_id) == ("https://elsewhere", before.cluster_id)
    assert world.registrar.access("eu-west")[0].server == "https://eu-west"  # type: ignore[union-attr]
    world.lost.add("eu-west")
    await world.until("eu-west", cluster_pb2.OFFLINE)
    replaced = await world.replace("eu-west", host="elsewhere")
    assert (replaced.state, replaced.server) == (cluster_pb2.READY, "https://elsewhere")
    assert (replaced.uid, replaced.cluster_id) == (before.uid, before.cluster_id)
    assert replaced.credential_hash not in ("", before.credential_hash)
    access, _ = world.registrar.access("eu-west")
    assert access is not None
    assert (access.token, access.cluster_id, world.tokens["elsewhere"]) == ("new", before.cluster_id, "new")


async def test_a_new_credential_is_told_when_it_was_tried(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That a cluster is READY by its old one says nothing of the new one, nor does a first failure."""
    monkeypatch.setattr(service, "READY_TIMEOUT", 0.3)
    before = await world.join("eu-west")
    world.members["elsewhere"] = world.members["eu-west"]
    world.lies["elsewhere", "/readyz"] = ("text/plain", b"no")
    replaced = await world.replace("eu-west", host="elsewhere")
    assert replaced.state != cluster_pb2.READY
    assert replaced.credential_hash not in ("", before.credential_hash)
    world.lies.clear()
    assert (await world.until("eu-west", cluster_pb2.READY)).name == "clusters/eu-west"


async def test_a_credential_that_cannot_be_opened_is_replaced(world: World) -> None:
    """As the error says that it can be."""
    await world.join("eu-west")
    sealed = Sealer([new_key()]).seal("eu-west", b"lost")
    await world.store.put(keys.credential("eu-west"), sealed)
    await world.until("eu-west", cluster_pb2.PENDING)
    with pytest.raises(DataLossError, match="hanse update-credentials eu-west"):
        world.registrar.access("eu-west")
    assert (await world.replace("eu-west")).state == cluster_pb2.READY


async def test_a_credential_that_is_no_better_changes_nothing(world: World) -> None:
    """Of another cluster, of one that does not answer, of a federation, or without the rights that are used:
    each is refused with the reason, and the old one stays."""
    await world.join("eu-west")
    await world.join("us-east")
    state = keys.ObjectKey("apps", "deployments", "shop", "web").sync_state("eu-west")
    await world.store.put(state, sync_state_pb2.SyncState().SerializeToString())
    before = await world.store.get(keys.credential("eu-west"))
    world.members["other"], world.members["silent"] = "uid-other", "uid-eu-west"

    async def refused(reason: str, match: str, *, host: str = "") -> None:
        with pytest.raises(HanseError, match=match) as caught:
            await world.replace("eu-west", host=host)
        assert caught.value.reason == reason

    await refused("IDENTITY_MISMATCH", "uid-eu-west, not uid-other", host="other")
    await refused("IDENTITY_MISMATCH", "another cluster", host="us-east")
    world.lost.add("silent")
    await refused("UNAVAILABLE", "refused", host="silent")
    world.rights = {(verb, "deployments") for verb in ("get", "list", "watch", "create", "delete")}
    await refused("RIGHTS_MISSING", r"there: patch deployments\.apps\.")
    world.rights.add(("patch", "deployments"))
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    world.lies["eu-west", path] = (JSON, b"{}")
    await refused("WRONG_ANSWER", "did not get the answer")
    world.lies.clear()
    with pytest.raises(NotFoundError):
        await world.replace("nowhere")
    assert await world.store.get(keys.credential("eu-west")) == before
    assert (await world.replace("eu-west")).state == cluster_pb2.READY
    with pytest.raises(AlreadyExistsError, match="hanse update-credentials eu-west"):
        await world.join("eu-west")


async def test_a_custom_kind_that_reached_a_cluster_has_it_looked_at(world: World) -> None:
    """Its inventory is taken again at once, not at the next interval: objects of the kind wait for it."""
    await world.join("eu-west")
    world.version = "v1.35.0"
    key = keys.ObjectKey("apiextensions.k8s.io", "customresourcedefinitions", "", "widgets.example.com")
    await world.store.put(key.sync_state("eu-west"), sync_state_pb2.SyncState().SerializeToString())
    async with asyncio.timeout(10):
        while (await world.until("eu-west", cluster_pb2.READY)).kubernetes_version != "v1.35.0":  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_name_or_a_cluster_joins_once(world: World) -> None:
    """A taken name and a known cluster by another name are refused with the name of what is there."""
    await world.join("eu-west")
    with pytest.raises(AlreadyExistsError, match="eu-west") as caught:
        await world.join("eu-west")
    assert caught.value.metadata == {"name": "clusters/eu-west"}
    with pytest.raises(FailedPreconditionError, match="as eu-west"):
        await world.join("other", host="eu-west")


async def test_a_cluster_joins_once_by_two_names_at_the_same_time(world: World) -> None:
    """Of those who join one cluster by several names one does; nothing of the others is left."""
    names = ("one", "two", "three")
    answers = await asyncio.gather(*(world.join(name, host="same") for name in names), return_exceptions=True)
    refused = {name for name, answer in zip(names, answers, strict=True) if isinstance(answer, HanseError)}
    assert len(refused) == 2, answers
    for name in refused:
        await world.until_gone(name)
        assert await world.left(name) == []
    (joined,) = set(names) - refused
    await world.until(joined, cluster_pb2.READY)


async def test_a_cluster_is_known_before_it_was_looked_at(world: World) -> None:
    """One that joined, and that nobody could look at since, is refused by another name all the same."""
    await world.join("eu-west")
    await world.until("eu-west", cluster_pb2.READY)
    view = await world.stub.GetCluster(registry_service_pb2.GetClusterRequest(name="clusters/eu-west"))
    view.ClearField("cluster_id")
    world.registrar.clusters._values[keys.cluster("eu-west")] = Versioned(view, 1, 1)
    with pytest.raises(FailedPreconditionError, match="as eu-west"):
        await world.join("other", host="eu-west")


@pytest.mark.parametrize("validate_only", [False, True])
async def test_a_federation_is_no_cluster(world: World, validate_only: bool) -> None:
    """A federation, itself above all, is refused: it would place things in itself, and delete them there."""
    resource = {
        "resource": "clusters",
        "responseKind": {"kind": "Cluster"},
        "scope": "Cluster",
        "verbs": ["get"],
    }
    versions = [{"version": "v1alpha1", "resources": [resource]}]
    world.groups.append({"metadata": {"name": "hanse.dev"}, "versions": versions})
    with pytest.raises(FailedPreconditionError, match="API server of a federation"):
        await world.join("self", validate_only=validate_only)
    assert await world.left("self") == []


async def test_a_bad_name_is_told_with_the_field_of_the_request(world: World) -> None:
    """JoinCluster calls it cluster_id."""
    with pytest.raises(InvalidArgumentError, match="Bad_Name") as caught:
        await world.join("Bad_Name")
    assert caught.value.metadata == {"field": "cluster_id"}


async def test_a_cluster_that_cannot_be_reached_does_not_join(world: World) -> None:
    """Nothing is stored of it; a check alone stores nothing either."""
    world.lost.add("far")
    with pytest.raises(UnavailableError, match="connection refused"):
        await world.join("far")
    checked = await world.join("near", validate_only=True)
    assert checked.kubernetes_version == "v1.34.1"
    assert await world.left("far") == await world.left("near") == []


async def test_a_cluster_is_there_for_as_long_as_its_object(world: World) -> None:
    """While its record is gone and its object is not yet, it is leaving, and not gone."""
    await world.join("eu-west")
    path = keys.ObjectKey("hanse.dev", "clusters", "", "other").key()
    metadata = {"name": "other", "uid": "1", "deletionTimestamp": "2026-01-02T00:00:00Z"}
    await world.store.put(path, orjson.dumps({"metadata": metadata, "spec": {}}))
    await world.store.delete(keys.cluster("other"))
    found = await world.stub.GetCluster(registry_service_pb2.GetClusterRequest(name="clusters/other"))
    assert found.state == cluster_pb2.UNJOINING
    await world.store.delete(path)
    with pytest.raises(NotFoundError):
        await world.stub.GetCluster(registry_service_pb2.GetClusterRequest(name="clusters/other"))


async def test_a_name_is_taken_again_only_when_it_is_forgotten(world: World) -> None:
    """What the scheduler wanted out of a cluster that was unjoined by force stays in one that joins then."""
    key = keys.ObjectKey("", "configmaps", "shop", "c")
    leaving = placement_pb2.Placement(releasing=[placement_pb2.ClusterRelease(cluster="eu-west")])
    await world.store.put(key.key(keys.PLACEMENTS), leaving.SerializeToString())
    joining = asyncio.create_task(world.join("eu-west"))
    done, _ = await asyncio.wait([joining], timeout=0.3)
    assert not done
    assert await world.left("eu-west") == []
    await world.store.delete(key.key(keys.PLACEMENTS))
    assert (await asyncio.wait_for(joining, 10)).name == "clusters/eu-west"


async def test_a_lost_cluster_is_offline_and_comes_back(world: World) -> None:
    """What was known of it stays while it is away."""
    await world.join("eu-west")
    world.lost.add("eu-west")
    lost = await world.until("eu-west", cluster_pb2.OFFLINE)
    assert (lost.region, lost.conditions[0].reason) == ("eu", "Unreachable")
    world.lost.clear()
    await world.until("eu-west", cluster_pb2.READY)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_cluster_that_refuses_the_credential_is_up(world: World, status: int) -> None:
    """Its state says so, with what the cluster said and the remedy; another credential ends it, in place."""
    before = await world.join("eu-west")
    world.refusing["eu-west"] = status
    found = await world.until("eu-west", cluster_pb2.CREDENTIAL_REFUSED)
    (ready,) = [each for each in found.conditions if each.type == "Ready"]
    assert (ready.status, ready.reason) == (condition_pb2.FALSE, "CredentialRefused")
    assert str(status) in ready.message
    assert "hanse update-credentials" in ready.message
    assert (found.region, found.catalogue_hash) == (before.region, before.catalogue_hash)
    replaced = await world.replace("eu-west")
    assert (replaced.state, replaced.uid) == (cluster_pb2.READY, before.uid)
    world.refusing.clear()
    await world.replace("eu-west")
    world.lost.add("eu-west")
    await world.until("eu-west", cluster_pb2.OFFLINE)


async def test_a_ready_cluster_causes_no_writes(world: World) -> None:
    """Fifty probes later the store is at the revision at which it was."""
    await world.join("eu-west")
    await asyncio.sleep(0.2)
    before = await world.store.revision()
    await asyncio.sleep(1.0)
    assert await world.store.revision() == before


async def test_unjoin_waits_until_nothing_is_placed_and_then_forgets_everything(world: World) -> None:
    """As long as a placement names the cluster it stays, unjoining; then its credential goes with it."""
    await world.join("eu-west")
    placement = placement_pb2.Placement(clusters=[placement_pb2.ClusterPlacement(cluster="eu-west")])
    key = keys.ObjectKey("", "configmaps", "shop", "web").key("placements")
    await world.store.put(key, placement.SerializeToString())
    await world.stub.UnjoinCluster(registry_service_pb2.UnjoinClusterRequest(name="clusters/eu-west"))
    await world.until("eu-west", cluster_pb2.UNJOINING)
    await asyncio.sleep(2.5)
    assert len(await world.left("eu-west")) >= 3
    assert (await world.holder("eu-west")).startswith("configmaps shop/web in cluster eu-west: its placement")
    state = sync_state_pb2.SyncState(phase=sync_state_pb2.REMOVING, message="waits for pods")
    state_key = keys.ObjectKey("", "configmaps", "shop", "web").sync_state("eu-west")
    await world.store.put(state_key, state.SerializeToString())
    await world.until_held("eu-west", "configmaps shop/web in cluster eu-west: REMOVING, waits for pods")
    await world.store.delete(state_key)
    await world.store.put(key, placement_pb2.Placement(name="x").SerializeToString())
    await world.until_gone("eu-west")
    await world.join("eu-west")


async def test_orphans_that_the_syncer_reports_are_a_condition(world: World) -> None:
    """As soon as the report is stored, and no longer than that."""
    await world.join("eu-west")
    report = orphan_pb2.OrphanReport(cluster="eu-west", total=2)
    await world.store.put(keys.orphans("eu-west"), report.SerializeToString())
    await world.until_condition("eu-west", "Orphans", condition_pb2.TRUE)
    await world.store.delete(keys.orphans("eu-west"))
    await world.until_condition("eu-west", "Orphans", condition_pb2.FALSE)


async def test_force_does_not_wait(world: World) -> None:
    """A cluster that is gone for good can be dropped although placements name it."""
    await world.join("eu-west")
    world.lost.add("eu-west")
    placement = placement_pb2.Placement(clusters=[placement_pb2.ClusterPlacement(cluster="eu-west")])
    key = keys.ObjectKey("", "configmaps", "shop", "web").key("placements")
    await world.store.put(key, placement.SerializeToString())
    request = registry_service_pb2.UnjoinClusterRequest(name="clusters/eu-west", force=True)
    await world.stub.UnjoinCluster(request)
    await world.until_gone("eu-west")


async def test_what_confirms_an_impact_is_written_with_the_change(world: World) -> None:
    """As the annotation that the apiserver looks at; the same words given again are another confirmation."""
    cluster = await world.join("eu-west")
    key = keys.ObjectKey("hanse.dev", "clusters", "", "eu-west").key()

    async def said() -> str:
        stored = await world.store.get(key)
        assert stored is not None
        return str(orjson.loads(stored.value)["metadata"]["annotations"]["hanse.dev/confirm-impact"])

    found: list[str] = []
    for tier in ("gold", "lead"):
        change = cluster_pb2.Cluster(name=cluster.name, labels={"tier": tier})
        request = registry_service_pb2.UpdateClusterRequest(
            cluster=change, confirm_impact="removed=6,moved=0"
        )
        request.update_mask.paths.append("labels")
        await world.stub.UpdateCluster(request)
        found.append(await said())
    assert all(each.startswith("removed=6,moved=0 ") for each in found)
    assert found[0] != found[1]
    unjoin = registry_service_pb2.UnjoinClusterRequest(
        name=cluster.name, confirm_impact="removed=7,moved=0 it is sold"
    )
    await world.stub.UnjoinCluster(unjoin)
    assert await said() == "removed=7,moved=0 it is sold"


async def test_an_update_with_an_old_etag_is_refused(world: World) -> None:
    """And one with the current etag is done."""
    cluster = await world.join("eu-west")
    change = cluster_pb2.Cluster(name=cluster.name, etag=cluster.etag, labels={"tier": "prod"})
    request = registry_service_pb2.UpdateClusterRequest(cluster=change)
    request.update_mask.paths.append("labels")
    await world.stub.UpdateCluster(request)
    async with asyncio.timeout(SECONDS):
        async for seen in world.stub.WatchClusters(registry_service_pb2.WatchClustersRequest()):
            if seen.kind == change_pb2.UPDATED and dict(seen.cluster.labels) == {"tier": "prod"}:
                break
    with pytest.raises(ConflictError, match="read it again") as caught:
        await world.stub.UpdateCluster(request)
    assert caught.value.metadata == {"name": "clusters/eu-west", "etag": seen.cluster.etag}


async def test_an_update_returns_what_is_stored(world: World) -> None:
    """With the etag that the next update needs, and with all that the update did not speak of."""
    cluster = await world.join("eu-west")
    for region in ("north", "south"):
        cluster.region, cluster.server = region, "https://elsewhere"
        request = registry_service_pb2.UpdateClusterRequest(cluster=cluster)
        request.update_mask.paths.append("region")
        cluster = await world.stub.UpdateCluster(request)
        assert (cluster.region, cluster.server) == (region, "https://eu-west")
        assert cluster == await world.stub.GetCluster(
            registry_service_pb2.GetClusterRequest(name="clusters/eu-west")
        )


async def test_an_update_of_everything_gives_up_what_it_does_not_say(world: World) -> None:
    """Labels go; the region is that of the nodes again; what only Hanse knows stays."""
    cluster = await world.join("eu-west")
    change = cluster_pb2.Cluster(name=cluster.name, region="north", labels={"tier": "prod"})
    request = registry_service_pb2.UpdateClusterRequest(cluster=change)
    assert (await world.stub.UpdateCluster(request)).region == "north"
    request.cluster.CopyFrom(cluster_pb2.Cluster(name=cluster.name))
    request.update_mask.paths.append("*")
    updated = await world.stub.UpdateCluster(request)
    assert (updated.region, list(updated.zones), len(updated.labels)) == ("eu", ["a"], 0)
    assert (updated.server, updated.state) == ("https://eu-west", cluster_pb2.READY)


async def test_an_update_does_not_wait_for_a_cluster_that_does_not_answer(world: World) -> None:
    """What the user says is recorded before the next probe is over."""
    cluster = await world.join("eu-west")
    world.silent.add("eu-west")
    change = cluster_pb2.Cluster(name=cluster.name, unschedulable=True)
    async with asyncio.timeout(SETTINGS.probe_timeout * 2):
        request = registry_service_pb2.UpdateClusterRequest(cluster=change)
        assert (await world.stub.UpdateCluster(request)).unschedulable


@pytest.mark.parametrize("path", ["server", "state", "etag", "name", "capacity.ready_nodes"])
async def test_an_update_of_what_cannot_be_updated_is_refused(world: World, path: str) -> None:
    """The error names the field."""
    cluster = await world.join("eu-west")
    request = registry_service_pb2.UpdateClusterRequest(cluster=cluster)
    request.update_mask.paths.extend(["labels", path])
    with pytest.raises(InvalidArgumentError, match=f"field {path} ") as caught:
        await world.stub.UpdateCluster(request)
    assert (caught.value.reason, caught.value.metadata["path"]) == ("FIELD_IMMUTABLE", path)


async def test_a_watch_of_a_revision_to_come_is_out_of_range(world: World) -> None:
    """It does not hang until the client has enough of it."""
    request = registry_service_pb2.WatchClustersRequest(revision=99999999)
    with pytest.raises(CompactedError, match="no revision 99999999 yet") as caught:
        async for _ in world.stub.WatchClusters(request, timeout=10):
            pass
    assert caught.value.reason == "FUTURE_REVISION"
    assert caught.value.metadata["revision"] == "99999999"


async def test_unknown_clusters_are_not_found(world: World) -> None:
    """Every method names the cluster that there is not."""
    with pytest.raises(NotFoundError, match="nowhere") as caught:
        await world.stub.GetCluster(registry_service_pb2.GetClusterRequest(name="clusters/nowhere"))
    assert caught.value.metadata == {"name": "clusters/nowhere"}
    with pytest.raises(NotFoundError, match="nowhere"):
        await world.stub.UnjoinCluster(registry_service_pb2.UnjoinClusterRequest(name="clusters/nowhere"))
    with pytest.raises(NotFoundError, match="nowhere") as caught:
        await world.stub.GetApiCatalogue(
            registry_service_pb2.GetApiCatalogueRequest(name="clusters/nowhere/apiCatalogue")
        )
    assert caught.value.metadata == {"name": "clusters/nowhere/apiCatalogue"}


@pytest.mark.parametrize("name", ["bad", "eu-west", "clusters/EU"])
async def test_a_malformed_name_is_no_cluster_that_is_missing(world: World, name: str) -> None:
    """Every method refuses it, also where a cluster has it as its short name."""
    await world.join("eu-west")
    pb, stub = registry_service_pb2, world.stub
    calls = (
        stub.GetCluster(pb.GetClusterRequest(name=name)),
        stub.UnjoinCluster(pb.UnjoinClusterRequest(name=name)),
        stub.ProbeCluster(pb.ProbeClusterRequest(name=name)),
        stub.UpdateCluster(pb.UpdateClusterRequest(cluster=cluster_pb2.Cluster(name=name))),
        stub.GetApiCatalogue(pb.GetApiCatalogueRequest(name=name)),
    )
    for error in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(error, InvalidArgumentError), error


async def test_a_cluster_that_makes_no_sense_disturbs_no_other(world: World) -> None:
    """A Cluster that cannot be compiled is tried again alone; the registry goes on leading the others."""
    body = {
        "apiVersion": "hanse.dev/v1alpha1",
        "kind": "Cluster",
        "metadata": {"name": "odd"},
        "spec": {"taints": [{"key": "k", "effect": "NoSchedule", "timeAdded": "yesterday"}]},
    }
    await world.store.put(keys.ObjectKey("hanse.dev", "clusters", "", "odd").key(), orjson.dumps(body))
    await world.join("eu-west")
    leaders = await world.store.range(keys.election("registry"))
    world.lost.add("eu-west")
    await world.until("eu-west", cluster_pb2.OFFLINE)
    world.lost.clear()
    await world.until("eu-west", cluster_pb2.READY)
    later = await world.store.range(keys.election("registry"))
    assert [kv.key for kv in later.items] == [kv.key for kv in leaders.items]


async def test_what_joins_under_the_name_of_one_that_went_keeps_its_credential(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forgetting a cluster whose object is gone takes no credential that came since."""
    await world.join("eu-west")
    gate, done = asyncio.Event(), asyncio.Event()
    commit = world.store.txn

    async def held(
        compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()
    ) -> TxnResult:
        if Delete(keys.cluster("eu-west")) in success:
            await gate.wait()
        result = await commit(compares, success, failure)
        if Delete(keys.credential("eu-west")) in success:
            done.set()
        return result

    monkeypatch.setattr(world.store, "txn", held)
    await world.store.delete(keys.ObjectKey("hanse.dev", "clusters", "", "eu-west").key())
    await world.store.put(keys.credential("eu-west"), b"new")
    gate.set()
    async with asyncio.timeout(SECONDS):
        await done.wait()
    assert await world.store.get(keys.cluster("eu-west")) is None
    assert await world.store.get(keys.credential("eu-west")) is not None


async def test_a_cluster_that_is_leaving_does_not_join(world: World) -> None:
    """A name is free again when its cluster has left, and not while it goes."""
    await world.join("eu-west")
    placement = placement_pb2.Placement(clusters=[placement_pb2.ClusterPlacement(cluster="eu-west")])
    key = keys.ObjectKey("", "configmaps", "shop", "web").key("placements")
    await world.store.put(key, placement.SerializeToString())
    await world.stub.UnjoinCluster(registry_service_pb2.UnjoinClusterRequest(name="clusters/eu-west"))
    await world.store.delete(keys.credential("eu-west"))
    with pytest.raises(FailedPreconditionError, match="leaving"):
        await world.join("eu-west")


async def test_two_who_join_by_one_name_at_the_same_time_do_not_mix(world: World) -> None:
    """One of them joins, with its own credential; the other is told."""
    joins = (world.join("eu-west", host="one"), world.join("eu-west", host="two"))
    found = await asyncio.gather(*joins, return_exceptions=True)
    assert sorted(isinstance(each, HanseError) for each in found) == [False, True]
    credential = await world.store.get(keys.credential("eu-west"))
    assert credential is not None
    assert credential.version == 1


async def test_clusters_are_counted_by_state_from_the_start(world: World) -> None:
    """Each state has a number, 0 where there is no cluster; a credential shows its end where it has one."""
    telemetry = setup("test", SETTINGS, install=False)
    RegistryMetrics(telemetry.meter, world.registrar)

    def count(state: str) -> float | None:
        return telemetry.registry.get_sample_value("hanse_clusters", {"hanse_state": state})

    assert {state: count(state) for state in STATES} == dict.fromkeys(STATES, 0)
    await world.join("eu-west")
    await world.join("us-east")
    world.lost.add("us-east")
    await world.until("eu-west", cluster_pb2.READY)
    await world.until("us-east", cluster_pb2.OFFLINE)
    assert (count("READY"), count("OFFLINE")) == (1, 1)
    assert telemetry.registry.get_sample_value("hanse_leader", {"hanse_election": "registry"}) == 1
    name = {"hanse_cluster": "eu-west"}
    assert telemetry.registry.get_sample_value("hanse_credential_end_seconds", name) is None

    claims = base64.urlsafe_b64encode(b'{"exp": 4102444800}').rstrip(b"=").decode()
    credential = cluster_pb2.ClusterCredential(server="https://eu-west", token=f"e30.{claims}.x")
    sealed = world.sealer.seal("eu-west", credential.SerializeToString())
    await world.store.put(keys.credential("eu-west"), sealed)
    async with asyncio.timeout(SECONDS):
        while not world.registrar.credential_ends:  # noqa: ASYNC110 - reads what is followed
            await asyncio.sleep(0.01)
    assert telemetry.registry.get_sample_value("hanse_credential_end_seconds", name) == 4102444800
    await world.store.delete(keys.credential("eu-west"))
    async with asyncio.timeout(SECONDS):
        while world.registrar.credential_ends:  # noqa: ASYNC110 - reads what is followed
            await asyncio.sleep(0.01)
    telemetry.shutdown()
