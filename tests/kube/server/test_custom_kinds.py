"""CRDs are served, checked and collected; views merge what others know; garbage goes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from hanse.errors import InvalidArgumentError, NotFoundError, UnimplementedError
from hanse.kube.client.answer import WrongAnswerError
from hanse.kube.client.requests import GroupVersionResource
from hanse.kube.model.objects import Object
from hanse.store import Event, MemoryStore
from hanse.store.keys import ObjectKey
from tests.kube.server.world import CONFIGMAPS, CRDS, DEPLOYMENTS, World, config_map, deployment, widget_crd
from tests.support.object_client import ObjectClient
from tests.support.waiting import until

WIDGETS = GroupVersionResource("example.com/v1", "widgets")
OLD_WIDGETS = GroupVersionResource("example.com/v1beta1", "widgets")


def widget(name: str = "w", **spec: object) -> Object:
    """A Widget as a user writes it."""
    return {
        "apiVersion": "example.com/v1",
        "kind": "Widget",
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }


async def _gone(client: ObjectClient, resource: GroupVersionResource, name: str, namespace: str = "") -> bool:
    try:
        await client.get(resource, name, namespace=namespace)
    except NotFoundError:
        return True
    return False


async def test_a_crd_is_served_as_soon_as_it_is_created(both: World) -> None:
    """Its kind is discovered, defaulted, pruned and validated by its schema."""
    async with both.client() as client:
        crd = await client.create(CRDS, widget_crd())
        assert {c["type"]: c["status"] for c in crd["status"]["conditions"]} == {
            "Established": "True",
            "NamesAccepted": "True",
        }
        assert "widgets" in {r.resource for r in (await client.served()).resources}
        made = await client.create(WIDGETS, widget(size=2, nonsense=1))
        assert made["spec"] == {"size": 2, "color": "red"}
        with pytest.raises(InvalidArgumentError, match=r"spec\.size"):
            await client.create(WIDGETS, widget("small", size=0))
        with pytest.raises(InvalidArgumentError, match=r"spec\.size"):
            await client.create(WIDGETS, widget("none"))


async def test_a_crd_has_versions_status_and_scale(world: World) -> None:
    """The same object in both versions; status apart from spec; replicas through scale."""
    async with world.client() as client:
        await client.create(CRDS, widget_crd())
        await client.create(WIDGETS, widget(size=1, replicas=1))
        old = await client.get(OLD_WIDGETS, "w", namespace="default")
        assert old["apiVersion"] == "example.com/v1beta1"
        status = {"status": {"replicas": 1}, "spec": {"size": 9}}
        seen = await client.patch(WIDGETS, "w", status, namespace="default", subresource="status")
        assert (seen["spec"]["size"], seen["status"]) == (1, {"replicas": 1})
        scale = await client.patch(
            WIDGETS, "w", {"spec": {"replicas": 5}}, namespace="default", subresource="scale"
        )
        assert (scale["kind"], scale["spec"], scale["status"]["replicas"]) == ("Scale", {"replicas": 5}, 1)
        assert (await client.get(WIDGETS, "w", namespace="default"))["spec"]["replicas"] == 5


async def test_deleting_a_crd_deletes_its_objects_first(both: World) -> None:
    """Then the kind is no longer served."""
    async with both.client() as client:
        await client.create(CRDS, widget_crd())
        await client.create(WIDGETS, widget(size=1))
        await client.delete(CRDS, "widgets.example.com")
        await until(lambda: _gone(client, CRDS, "widgets.example.com"), what="the CRD goes")
        with pytest.raises(WrongAnswerError, match="could not find the requested resource"):
            await client.list(WIDGETS)
        assert await both.store.get("objects/example.com/widgets/default/w") is None


async def test_a_crd_survives_a_restart(
    memory: MemoryStore, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Stored CRDs are served from the start."""
    async with World(memory, tmp_path_factory.mktemp("a")) as world, world.client() as client:
        await client.create(CRDS, widget_crd())
        await client.create(WIDGETS, widget(size=1))
    async with World(memory, tmp_path_factory.mktemp("b")) as world, world.client() as client:
        assert (await client.get(WIDGETS, "w", namespace="default"))["spec"]["size"] == 1


async def test_dependents_go_with_their_owner(both: World) -> None:
    """In the background: the owner at once, what it owned soon after."""
    async with both.client() as client:
        owner = await client.create(DEPLOYMENTS, deployment())
        await client.create(CONFIGMAPS, _owned(owner))
        await client.delete(DEPLOYMENTS, "web", namespace="default")
        await until(lambda: _gone(client, CONFIGMAPS, "owned", "default"), what="the dependent goes")


async def test_orphans_stay_and_forget_their_owner(world: World) -> None:
    """With propagation Orphan the dependent loses only the reference."""
    async with world.client() as client:
        owner = await client.create(DEPLOYMENTS, deployment())
        await client.create(CONFIGMAPS, _owned(owner))
        await client.delete(DEPLOYMENTS, "web", namespace="default", propagation="Orphan")
        await until(lambda: _gone(client, DEPLOYMENTS, "web", "default"), what="the owner goes")
        orphan = await client.get(CONFIGMAPS, "owned", namespace="default")
    assert not orphan["metadata"].get("ownerReferences")


async def test_a_foreground_deletion_waits_for_what_blocks_it(world: World) -> None:
    """The owner goes after its last blocking dependent."""
    async with world.client() as client:
        owner = await client.create(DEPLOYMENTS, deployment())
        held = _owned(owner)
        held["metadata"]["finalizers"] = ["example.com/hold"]
        held["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] = True
        await client.create(CONFIGMAPS, held)
        await client.delete(DEPLOYMENTS, "web", namespace="default", propagation="Foreground")

        async def deleting() -> bool:
            obj = await client.get(CONFIGMAPS, "owned", namespace="default")
            return "deletionTimestamp" in obj["metadata"]

        await until(deleting, what="the dependent is being deleted")
        assert not await _gone(client, DEPLOYMENTS, "web", "default")
        await client.patch(CONFIGMAPS, "owned", {"metadata": {"finalizers": None}}, namespace="default")
        await until(lambda: _gone(client, DEPLOYMENTS, "web", "default"), what="the owner goes")


def _owned(owner: Object) -> Object:
    body = config_map("owned")
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
    }
    body["metadata"]["ownerReferences"] = [reference]
    return body


class CountingView:
    """Serves Deployments with the number kept under `syncstates/`, and a virtual Placement for each."""

    prefixes: Sequence[str] = ("syncstates/",)
    fields: Sequence[str] = ()

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def reset(self) -> None:
        """See View."""
        self.counts.clear()

    def apply(self, event: Event) -> Iterable[ObjectKey]:
        """See View."""
        name = event.kv.key.rpartition("/")[2]
        if event.kind == "delete":
            self.counts.pop(name, None)
        else:
            self.counts[name] = int(event.kv.value)
        yield ObjectKey("apps", "deployments", "default", name)
        yield ObjectKey("hanse.dev", "placements", "default", name)

    def keepers(self, key: ObjectKey) -> Sequence[str]:
        """See View."""
        return ()

    def render(self, key: ObjectKey, intent: Object | None) -> Object | None:
        """See View."""
        if key.resource == "placements":
            count = self.counts.get(key.name)
            meta = {"name": key.name, "namespace": key.namespace, "uid": "u"}
            placement = {"apiVersion": "hanse.dev/v1alpha1", "kind": "Placement", "metadata": meta}
            return None if count is None else {**placement, "generation": count}
        if intent is None or key.resource != "deployments" or key.name not in self.counts:
            return intent
        return {**intent, "status": {"replicas": self.counts[key.name]}}


async def test_a_view_changes_what_is_served_but_not_what_conflicts(
    memory: MemoryStore, tmp_path: Path
) -> None:
    """A change of a view's prefix is a MODIFIED event with a newer version, and no reason for a conflict."""
    async with World(memory, tmp_path, view=CountingView()) as world, world.client() as client:
        made = await client.create(DEPLOYMENTS, deployment())
        revision = await memory.put("syncstates/web", b"7")
        events = client.watch(DEPLOYMENTS, resource_version=made["metadata"]["resourceVersion"])
        kind, seen = await anext(events)
        assert (kind, seen["status"], seen["metadata"]["resourceVersion"]) == (
            "MODIFIED",
            {"replicas": 7},
            str(revision),
        )
        updated = await client.update(DEPLOYMENTS, {**made, "metadata": {**made["metadata"], "labels": {}}})
        assert updated["status"] == {"replicas": 7}
        again = {**seen, "metadata": {**seen["metadata"], "labels": {"a": "b"}}}
        with pytest.raises(Exception, match="has been modified"):
            await client.update(DEPLOYMENTS, again)
        await events.aclose()  # type: ignore[attr-defined]


async def test_a_virtual_resource_is_read_only(memory: MemoryStore, tmp_path: Path) -> None:
    """It can be read and watched like any other, and not written."""
    placements = GroupVersionResource("hanse.dev/v1alpha1", "placements")
    async with World(memory, tmp_path, view=CountingView()) as world, world.client() as client:
        start = (await client.list(placements)).resource_version
        events = client.watch(placements, resource_version=start)
        await memory.put("syncstates/web", b"7")
        assert (await anext(events))[0] == "ADDED"
        await memory.delete("syncstates/web")
        assert (await anext(events))[0] == "DELETED"
        await events.aclose()  # type: ignore[attr-defined]
        body = {"apiVersion": "hanse.dev/v1alpha1", "kind": "Placement"}
        with pytest.raises(UnimplementedError):
            await client.create(placements, {**body, "metadata": {"name": "x", "namespace": "default"}})


async def test_a_federation_v1_cluster_is_a_view_of_a_cluster(world: World) -> None:
    """The same cluster in both groups; what the old form cannot say is kept by a write in it."""
    ours = GroupVersionResource("hanse.dev/v1alpha1", "clusters")
    old = GroupVersionResource("federation/v1beta1", "clusters")
    cluster = {
        "apiVersion": "hanse.dev/v1alpha1",
        "kind": "Cluster",
        "metadata": {"name": "eu"},
        "spec": {"server": "https://a:1", "region": "eu-west"},
    }
    async with world.client() as client:
        await client.create(ours, cluster)
        seen = await client.get(old, "eu")
        assert seen["spec"]["serverAddressByClientCIDRs"][0]["serverAddress"] == "https://a:1"
        seen["spec"]["serverAddressByClientCIDRs"][0]["serverAddress"] = "https://b:2"
        await client.update(old, seen)
        changed = await client.get(ours, "eu")
    assert (changed["spec"]["server"], changed["spec"]["region"]) == ("https://b:2", "eu-west")


async def test_autoscalers_and_events_are_the_same_in_both_versions(world: World) -> None:
    """autoscaling v1 and v2 share storage, as events of core and events.k8s.io do."""
    hpa = {
        "apiVersion": "autoscaling/v1",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "h", "namespace": "default"},
        "spec": {
            "maxReplicas": 3,
            "targetCPUUtilizationPercentage": 60,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        },
    }
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "e", "namespace": "default"},
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
        "message": "it happened",
        "reason": "Happened",
        "type": "Normal",
    }
    async with world.client() as client:
        await client.create(GroupVersionResource("autoscaling/v1", "horizontalpodautoscalers"), hpa)
        second = await client.get(
            GroupVersionResource("autoscaling/v2", "horizontalpodautoscalers"), "h", namespace="default"
        )
        assert second["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 60
        first = await client.get(
            GroupVersionResource("autoscaling/v1", "horizontalpodautoscalers"), "h", namespace="default"
        )
        assert first["spec"]["targetCPUUtilizationPercentage"] == 60
        await client.create(GroupVersionResource("v1", "events"), event)
        seen = await client.get(GroupVersionResource("events.k8s.io/v1", "events"), "e", namespace="default")
        assert (seen["note"], seen["regarding"]["name"]) == ("it happened", "p")
