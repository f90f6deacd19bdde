"""`KubeClient` understands a real kube-apiserver: pages, watches, compaction, conflicts, throttling."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from hanse.errors import (
    AlreadyExistsError,
    CompactedError,
    ConflictError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
    UnauthenticatedError,
)
from hanse.kube.client.access import ClusterAccess
from hanse.kube.client.answer import WrongAnswerError
from hanse.kube.client.requests import GroupVersionResource
from hanse.kube.model.objects import Object
from tests.real.realcluster import ClusterSpec, RealClusters
from tests.support import objects
from tests.support.object_client import ObjectClient

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONFIGMAPS = GroupVersionResource("v1", "configmaps")
DEPLOYMENTS = GroupVersionResource("apps/v1", "deployments")
MINE = {"mine": "yes"}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def clusters(assets_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RealClusters]:
    """One cluster."""
    # Few requests at once, so that there is something to be throttled.
    limits = ("--watch-cache=false", "--max-requests-inflight=3")
    spec = ClusterSpec("one", throttle=False, apiserver_args=limits)
    async with RealClusters(assets_dir, tmp_path_factory.mktemp("client"), [spec]) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def client(clusters: RealClusters) -> AsyncIterator[ObjectClient]:
    """A client with a certificate."""
    access = ClusterAccess.from_kubeconfig(clusters["one"].kubeconfig_path)
    async with ObjectClient(access, field_manager="test") as made:
        yield made


def config_map(name: str, **data: str) -> Object:
    """A ConfigMap in the namespace default."""
    return objects.config_map(name, namespace="default", data=data, labels=MINE)


async def test_a_list_follows_its_pages(client: ObjectClient) -> None:
    """All pages are read, items say what they are, and metadata comes alone if that is asked for."""
    for number in range(7):
        await client.create(CONFIGMAPS, config_map(f"page-{number}", n=str(number)))
    listed = await client.list(CONFIGMAPS, namespace="default", label_selector="mine=yes", limit=3)
    assert [item["metadata"]["name"] for item in listed.items] == [f"page-{n}" for n in range(7)]
    assert {(item["apiVersion"], item["kind"]) for item in listed.items} == {("v1", "ConfigMap")}
    assert int(listed.resource_version) > 0
    metadata = await client.list_metadata(CONFIGMAPS, namespace="default", label_selector="mine=yes", limit=2)
    assert len(metadata.items) == 7
    assert all("data" not in item for item in metadata.items)
    one = await client.list(CONFIGMAPS, namespace="default", field_selector="metadata.name=page-3")
    assert [item["data"] for item in one.items] == [{"n": "3"}]
    none = await client.list(CONFIGMAPS, namespace="none")
    assert none.items == []


async def test_a_watch_gives_what_happened_and_bookmarks(client: ObjectClient) -> None:
    """Events come in order from the given revision on; bookmarks have a revision to go on from."""
    start = await client.list(CONFIGMAPS, namespace="default", label_selector="mine=yes")
    await client.create(CONFIGMAPS, config_map("seen", n="1"))
    await client.patch(CONFIGMAPS, "seen", {"data": {"n": "2"}}, namespace="default")
    await client.delete(CONFIGMAPS, "seen", namespace="default")
    watch = client.watch(
        CONFIGMAPS, resource_version=start.resource_version, namespace="default", label_selector="mine=yes",
        timeout_seconds=3,
    )  # fmt: skip
    events = [(kind, obj) async for kind, obj in watch]
    happened = [(kind, obj["data"]) for kind, obj in events if kind != "BOOKMARK"]
    assert happened == [("ADDED", {"n": "1"}), ("MODIFIED", {"n": "2"}), ("DELETED", {"n": "2"})]
    versions = [int(obj["metadata"]["resourceVersion"]) for _, obj in events]
    assert versions == sorted(versions)


async def test_metadata_can_be_watched_alone(client: ObjectClient) -> None:
    """A watch of metadata gives objects without anything else."""
    start = await client.list(CONFIGMAPS, namespace="default", limit=1)
    await client.create(CONFIGMAPS, config_map("bare", n="1"))
    watch = client.watch(
        CONFIGMAPS, resource_version=start.resource_version, namespace="default", metadata_only=True
    )
    async with asyncio.timeout(10), aclosing(watch):  # type: ignore[type-var]
        async for _, obj in watch:
            assert obj["kind"] == "PartialObjectMetadata"
            assert "data" not in obj
            break


async def test_a_revision_that_is_gone_is_told(client: ObjectClient, clusters: RealClusters) -> None:
    """After a compaction a watch and a page from before raise CompactedError."""
    made = await client.get(CONFIGMAPS, "page-0", namespace="default")
    first = str(made["metadata"]["resourceVersion"])
    changed = await client.patch(CONFIGMAPS, "page-0", {"data": {"n": "9"}}, namespace="default")
    body = {"revision": changed["metadata"]["resourceVersion"], "physical": True}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{clusters.etcd_endpoint}/v3/kv/compaction", json=body) as answer,
    ):
        assert answer.status == 200, await answer.text()
    with pytest.raises(CompactedError):
        async for _ in client.watch(
            CONFIGMAPS, resource_version=first, namespace="default", timeout_seconds=5
        ):
            pass


async def test_apply_conflicts_are_told_with_their_fields(client: ObjectClient) -> None:
    """A field of another manager is a ConflictError with causes, until it is forced."""
    await client.apply(CONFIGMAPS, config_map("mine", a="1"), field_manager="one")
    with pytest.raises(ConflictError, match="conflict with") as caught:
        await client.apply(CONFIGMAPS, config_map("mine", a="2"), field_manager="two")
    assert [c.field for c in caught.value.causes] == [".data.a"]  # type: ignore[attr-defined]
    dry = await client.apply(
        CONFIGMAPS, config_map("mine", a="3"), field_manager="two", force=True, dry_run=True
    )
    assert dry["data"] == {"a": "3"}
    forced = await client.apply(CONFIGMAPS, config_map("mine", a="2"), field_manager="two", force=True)
    assert forced["data"] == {"a": "2"}
    same = await client.apply(CONFIGMAPS, config_map("mine", a="2"), field_manager="two")
    assert same["metadata"]["resourceVersion"] == forced["metadata"]["resourceVersion"]


async def test_errors_are_those_of_hanse(client: ObjectClient, clusters: RealClusters) -> None:
    """Existing, missing, changed, invalid and unauthenticated each have their class."""
    await client.create(CONFIGMAPS, config_map("err"))
    with pytest.raises(AlreadyExistsError, match='configmaps "err" already exists'):
        await client.create(CONFIGMAPS, config_map("err"))
    with pytest.raises(NotFoundError, match="not found"):
        await client.get(CONFIGMAPS, "none", namespace="default")
    with pytest.raises(WrongAnswerError, match="404 page not found"):
        await client.list(GroupVersionResource("x.org/v1", "things"))
    old = await client.get(CONFIGMAPS, "err", namespace="default")
    await client.update(CONFIGMAPS, {**old, "data": {"a": "1"}})
    with pytest.raises(ConflictError, match="the object has been modified"):
        await client.update(CONFIGMAPS, {**old, "data": {"a": "2"}})
    with pytest.raises(InvalidArgumentError, match="is invalid") as caught:
        await client.create(CONFIGMAPS, config_map("A b"))
    assert caught.value.causes  # type: ignore[attr-defined]
    with pytest.raises(ConflictError):
        await client.delete(
            CONFIGMAPS, "err", namespace="default", uid="11111111-1111-1111-1111-111111111111"
        )
    access = ClusterAccess.from_kubeconfig(clusters["one"].kubeconfig_path)
    wrong = ClusterAccess(access.server, ca_pem=access.ca_pem, token="wrong")
    async with ObjectClient(wrong) as stranger:
        with pytest.raises(UnauthenticatedError):
            await stranger.get(CONFIGMAPS, "err", namespace="default")


async def test_delete_says_whether_the_object_waits(client: ObjectClient) -> None:
    """What goes at once gives a Status; what has finalizers is given back, being deleted."""
    await client.create(CONFIGMAPS, config_map("gone"))
    assert (await client.delete(CONFIGMAPS, "gone", namespace="default"))["status"] == "Success"
    waiting = config_map("waits")
    waiting["metadata"]["finalizers"] = ["x.org/a"]
    made = await client.create(CONFIGMAPS, waiting)
    deleted = await client.delete(CONFIGMAPS, "waits", namespace="default", uid=made["metadata"]["uid"])
    assert deleted["metadata"]["deletionTimestamp"]
    await client.patch(CONFIGMAPS, "waits", {"metadata": {"finalizers": None}}, namespace="default")
    with pytest.raises(NotFoundError):
        await client.get(CONFIGMAPS, "waits", namespace="default")


async def test_the_catalogue_is_discovered(client: ObjectClient) -> None:
    """Aggregated discovery gives kinds, scope, short names and verbs; health and version answer."""
    served = await client.served()
    infos = {(info.group, info.version, info.resource): info for info in served.resources}
    deployments = infos["apps", "v1", "deployments"]
    assert (deployments.kind, deployments.namespaced, deployments.short_names) == (
        "Deployment",
        True,
        ("deploy",),
    )
    assert {"patch", "watch"} <= set(deployments.verbs)
    assert infos["", "v1", "nodes"].namespaced is False
    assert (await client.version())["gitVersion"].startswith("v1.")
    await client.healthy()
    assert "components" in await client.openapi_v3("apps/v1")


async def test_throttling_is_waited_out_or_told(clusters: RealClusters, client: ObjectClient) -> None:
    """429 is tried again after the time that the server names; else it is ResourceExhaustedError."""
    rbac = "rbac.authorization.k8s.io"
    binding = {
        "apiVersion": f"{rbac}/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "slow"},
        "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": rbac, "kind": "User", "name": "slow"}],
    }  # fmt: skip
    await client.create(GroupVersionResource(f"{rbac}/v1", "clusterrolebindings"), binding)
    access = ClusterAccess.from_kubeconfig(clusters["one"].kubeconfig_path)
    async with ObjectClient(access, retries=0) as impatient, ObjectClient(access, retries=30) as patient:
        for one in (impatient, patient):
            one._standing += "Impersonate-User: slow\r\n"  # administrators are never throttled

        async def crowd(one: ObjectClient) -> list[object]:
            lists = (one.list(CONFIGMAPS) for _ in range(60))
            return list(await asyncio.gather(*lists, return_exceptions=True))

        refused = [found for found in await crowd(impatient) if isinstance(found, BaseException)]
        assert refused
        assert all(isinstance(error, ResourceExhaustedError) and error.retry_after for error in refused)
        assert [found for found in await crowd(patient) if isinstance(found, BaseException)] == []
