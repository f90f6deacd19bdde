"""What belongs to a member itself is never touched, and a namespace goes only with what is ours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from aiohttp import web
from hanse_syncer import ownership

from hanse.api.scheduler.v1 import placement_pb2 as placements
from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.kube.model.objects import Object
from hanse.kube.wire import discovery
from tests.support import objects
from tests.support.federation.federation import FEDERATION_ID, Federation, federation
from tests.support.waiting import until
from tests.syncer.harness import config_map, deployment

SPACE = "core/namespaces/_/shop"
MARKS = ownership.labels(FEDERATION_ID)
NODE = {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "8a1c", "controller": True}


@pytest.fixture
async def fed() -> AsyncIterator[Federation]:
    """A federation with the member `a`."""
    async with federation("a") as running:
        yield running


def namespace(name: str = "shop", **metadata: Any) -> Object:
    """A Namespace."""
    return objects.namespaced(name, **metadata)


def named(obj: Object, name: str, space: str = "shop", **metadata: Any) -> Object:
    """The object with this name, in a namespace."""
    return {**obj, "metadata": {**obj.get("metadata", {}), "name": name, "namespace": space, **metadata}}


def child_of(owner: Object) -> dict[str, Any]:
    """An entry of ownerReferences."""
    metadata = owner["metadata"]
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
    }


async def placed(fed: Federation) -> None:
    """Bring the namespace `shop` into the member."""
    await fed.put(SPACE, namespace())
    await fed.place(SPACE, "a")
    await fed.reaches(SPACE, "a", sync.APPLIED)


OWN: list[tuple[str, Object]] = [
    ("core/namespaces/_/default", namespace("default")),
    ("core/namespaces/_/kube-system", namespace("kube-system")),
    ("core/namespaces/_/kube-node-lease", namespace("kube-node-lease")),
    ("core/namespaces/_/kube-of-nobody", namespace("kube-of-nobody")),
    ("core/configmaps/kube-system/any", config_map()),
    ("core/configmaps/default/kube-root-ca.crt", config_map()),
    ("core/serviceaccounts/default/default", {"apiVersion": "v1", "kind": "ServiceAccount"}),
    ("core/nodes/_/n1", {"apiVersion": "v1", "kind": "Node"}),
    (
        "core/services/default/kubernetes",
        {"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 443}]}},
    ),
]


@pytest.mark.parametrize(("path", "obj"), OWN, ids=lambda each: each if isinstance(each, str) else "")
async def test_no_placement_touches_what_belongs_to_the_member(
    fed: Federation, path: str, obj: Object
) -> None:
    """Whatever a placement says, nothing is created, adopted or deleted of it, and the state says why."""
    member = fed.members["a"]
    before = member.get(path)
    async with fed.syncer():
        await fed.put(path, obj)
        await fed.place(path, "a", conflict_resolution=placements.ADOPT)
        state = await fed.reaches(path, "a", sync.CONFLICT)
        assert state.reason == "BelongsToCluster"
        await until(lambda: fed.events, what="an event says so")
        await fed.place(path, releasing=["a"])
        await fed.reaches(path, "a", sync.REMOVED)
        await fed.mark_deleted(path)
        await fed.reaches(path, "a", sync.REMOVED)
    assert member.writes == []
    assert member.get(path) == before


async def test_what_was_taken_before_is_given_back(fed: Federation) -> None:
    """A namespace of the member that carries our marks loses them, and stays with all that is in it."""
    path = "core/namespaces/_/kube-node-lease"
    member = fed.members["a"]
    await member.change(path, lambda obj: {**obj, "metadata": {**obj["metadata"], "labels": dict(MARKS)}})
    uid = (member.get(path) or {})["metadata"]["uid"]
    async with fed.syncer():
        await fed.put(path, namespace("kube-node-lease"))
        await fed.place(path, releasing=["a"])
        state = await fed.reaches(path, "a", sync.REMOVED)
        assert (state.reason, "of its own" in state.message) == ("Released", True)
    live = member.get(path)
    assert live is not None
    assert live["metadata"]["uid"] == uid
    assert not ownership.owned(live, FEDERATION_ID)
    assert [method for method, _ in member.writes] == ["PATCH"]


async def test_objects_go_into_the_namespace_default(fed: Federation) -> None:
    """The namespace counts as present, though it is never ours; a user's objects in it come and go."""
    path = "core/configmaps/default/settings"
    async with fed.syncer():
        await fed.put("core/namespaces/_/default", namespace("default"))
        await fed.place("core/namespaces/_/default", "a")
        await fed.put(path, config_map())
        await fed.place(path, "a")
        await fed.reaches(path, "a", sync.APPLIED)
        await fed.place(path, releasing=["a"])
        await fed.reaches(path, "a", sync.REMOVED)
    assert {method for method, where in fed.members["a"].writes if where.endswith("/default")} == set()


LIVE: list[tuple[str, Object]] = [
    (
        "core/endpoints/default/web",
        {
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {"labels": {"endpoints.kubernetes.io/managed-by": "endpoint-controller"}},
        },
    ),
    (
        "discovery.k8s.io/endpointslices/default/web-1",
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "addressType": "IPv4",
            "endpoints": [],
            "metadata": {
                "labels": {
                    "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                    **MARKS,  # the controller copies the labels of the Service
                }
            },
        },
    ),
    (
        "rbac.authorization.k8s.io/clusterroles/_/own",
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "rules": [],
            "metadata": {"labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}},
        },
    ),
]


@pytest.mark.parametrize(("path", "obj"), LIVE, ids=lambda each: each if isinstance(each, str) else "")
async def test_what_the_members_controllers_made_is_not_adopted(
    fed: Federation, path: str, obj: Object
) -> None:
    """An object of that name that a controller of the member made stays as it is, whoever's marks it has."""
    member = fed.members["a"]
    _, _, space, name = path.split("/")
    scope = {"namespace": space} if space != "_" else {}
    await member.create(path, {**obj, "metadata": {**obj["metadata"], "name": name, **scope}})
    before = member.get(path)
    plain = {key: value for key, value in obj.items() if key != "metadata"}
    async with fed.syncer():
        await fed.put(path, plain)
        await fed.place(path, "a", conflict_resolution=placements.ADOPT)
        state = await fed.reaches(path, "a", sync.CONFLICT)
        assert state.reason == "BelongsToCluster"
        await fed.place(path, releasing=["a"])
        await fed.reaches(path, "a", sync.REMOVED)
    assert member.get(path) == before


async def test_what_has_a_controller_is_not_adopted_and_what_gets_one_still_goes(fed: Federation) -> None:
    """A controller's ConfigMap is left alone; ours, of which one becomes the owner, is deleted as asked."""
    member, theirs, ours = fed.members["a"], "core/configmaps/default/theirs", "core/configmaps/default/ours"
    web = await member.create("apps/deployments/default/web", named(deployment(), "web", "default"))
    owner = child_of(web)
    await member.create(theirs, named(config_map("x"), "theirs", "default", ownerReferences=[owner]))
    async with fed.syncer():
        for path in (theirs, ours):
            await fed.put(path, config_map("1"))
            await fed.place(path, "a", conflict_resolution=placements.ADOPT)
        await fed.reaches(theirs, "a", sync.CONFLICT)
        await fed.reaches(ours, "a", sync.APPLIED)
        await member.change(
            ours, lambda obj: {**obj, "metadata": {**obj["metadata"], "ownerReferences": [owner]}}
        )
        await fed.place(ours, releasing=["a"])
        await fed.reaches(ours, "a", sync.REMOVED)
    assert member.get(ours) is None
    assert (member.get(theirs) or {})["data"] == {"value": "x"}


async def test_what_an_operator_makes_over_here_goes_without_its_owner(fed: Federation) -> None:
    """The owner is in the federation only: a member would collect what it is made for. What the member has of
    a controller by that name is left alone."""
    member, ours, theirs = fed.members["a"], "core/configmaps/default/ours", "core/configmaps/default/theirs"
    reference = {"apiVersion": "db.example.com/v1", "kind": "Database", "name": "main", "uid": "d1"}
    owners = [{**reference, "controller": True, "blockOwnerDeletion": True}]
    await member.create(theirs, named(config_map("x"), "theirs", "default", ownerReferences=owners))
    async with fed.syncer():
        for path in (ours, theirs):
            await fed.put(path, config_map("1", ownerReferences=owners))
            await fed.place(path, "a", conflict_resolution=placements.ADOPT)
        await fed.reaches(ours, "a", sync.APPLIED)
        state = await fed.reaches(theirs, "a", sync.CONFLICT)
    assert "ownerReferences" not in (member.get(ours) or {})["metadata"]
    assert (state.reason, (member.get(theirs) or {})["data"]) == ("BelongsToCluster", {"value": "x"})


async def test_a_namespace_with_an_owned_foreign_object_stays(fed: Federation) -> None:
    """An owner that is not ours, a node or another object, does not make an object not foreign."""
    member = fed.members["a"]
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": {}}
    await member.create("core/nodes/_/n1", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}})
    node = {**NODE, "uid": (member.get("core/nodes/_/n1") or {})["metadata"]["uid"]}
    async with fed.syncer():
        await placed(fed)
        await member.create("coordination.k8s.io/leases/shop/l", named(lease, "l", ownerReferences=[node]))
        await fed.mark_deleted(SPACE)
        state = await fed.reaches(SPACE, "a", sync.REMOVED)
    assert (state.reason, "leases l there" in state.message) == ("Released", True)
    assert member.get(SPACE) is not None
    assert member.get("coordination.k8s.io/leases/shop/l") is not None


@pytest.mark.parametrize("value", ["", None, "0"])
async def test_no_override_takes_a_foreign_object(fed: Federation, value: Any) -> None:
    """The precondition that nothing of the name is there is not the policy's to change."""
    path, member = "core/configmaps/default/settings", fed.members["a"]
    await member.create(path, named(config_map("theirs"), "settings", "default"))
    before = member.get(path)
    patch = [{"op": "add", "path": "/metadata/resourceVersion", "value": value}]
    async with fed.syncer():
        await fed.put(path, config_map("ours"))
        await fed.place(path, placements.ClusterPlacement(cluster="a", overrides=orjson.dumps(patch)))
        state = await fed.reaches(path, "a", sync.FAILED)
    assert state.reason == "OverrideInvalid"
    assert member.get(path) == before


async def test_a_namespace_stays_with_an_object_of_any_name(fed: Federation) -> None:
    """Kubernetes bounds neither length nor letters of the names of roles: one is foreign as any other."""
    member = fed.members["a"]
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "rules": []}
    name = "a\x1b[2J" + "x" * 700

    async def fault(request: web.Request) -> web.StreamResponse | None:
        if not request.path.endswith("/shop/roles"):
            return None
        stored = {"name": name, "namespace": "shop", "uid": "u", "resourceVersion": "7"}
        body = {
            "apiVersion": role["apiVersion"], "kind": "RoleList", "metadata": {"resourceVersion": "9"},
            "items": [{**role, "metadata": stored}],
        }  # fmt: skip
        return web.json_response(body)

    async with fed.syncer():
        await placed(fed)
        member.fault = fault
        await fed.mark_deleted(SPACE)
        state = await fed.reaches(SPACE, "a", sync.REMOVED)
    assert (state.reason, "roles a" in state.message) == ("Released", True)
    assert member.get(SPACE) is not None


async def test_our_marks_on_a_foreign_object_do_not_make_it_ours(fed: Federation) -> None:
    """Whoever copies an object of ours in the member copies its labels too; the copy is not lost for that."""
    member, settings = fed.members["a"], "core/configmaps/shop/settings"
    async with fed.syncer():
        await placed(fed)
        await fed.put(settings, config_map())
        await fed.place(settings, "a")
        await fed.reaches(settings, "a", sync.APPLIED)
        labels = (member.get(settings) or {})["metadata"]["labels"]
        assert labels == MARKS
        await member.create("core/configmaps/shop/copy", named(config_map("x"), "copy", labels=labels))
        await fed.mark_deleted(settings)
        await fed.reaches(settings, "a", sync.REMOVED)
        await fed.mark_deleted(SPACE)
        state = await fed.reaches(SPACE, "a", sync.REMOVED)
    assert (state.reason, "configmaps copy there" in state.message) == ("Released", True)
    assert (member.get("core/configmaps/shop/copy") or {})["data"] == {"value": "x"}
    assert member.get(settings) is None


async def test_a_namespace_goes_with_what_the_member_made_for_ours(fed: Federation) -> None:
    """ReplicaSet, Pod and endpoints of our Deployment and Service are no obstacle."""
    member = fed.members["a"]
    web, service = "apps/deployments/shop/web", "core/services/shop/web"
    async with fed.syncer():
        await placed(fed)
        await fed.put(web, deployment())
        await fed.put(service, {"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 80}]}})
        for path in (web, service):
            await fed.place(path, "a")
            await fed.reaches(path, "a", sync.APPLIED)
        owner = child_of(member.get(web) or {})
        made = {**deployment(), "kind": "ReplicaSet"}
        replicas = await member.create(
            "apps/replicasets/shop/web-1", named(made, "web-1", ownerReferences=[owner])
        )
        pod = {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "c", "image": "i"}]}}
        await member.create(
            "core/pods/shop/web-1-a", named(pod, "web-1-a", ownerReferences=[child_of(replicas)])
        )
        await member.create(
            "core/endpoints/shop/web", named({"apiVersion": "v1", "kind": "Endpoints"}, "web")
        )
        for path in (web, service):
            await fed.unplace(path)  # they stay in the member, with our marks
        await fed.mark_deleted(SPACE)
        await fed.reaches(SPACE, "a", sync.REMOVED)
    assert member.get(SPACE) is None


async def test_endpoints_of_no_service_of_ours_keep_their_namespace(fed: Federation) -> None:
    """Somebody's own Endpoints, which no controller made, are an obstacle at once."""
    member = fed.members["a"]
    async with fed.syncer():
        await placed(fed)
        await member.create(
            "core/endpoints/shop/theirs", named({"apiVersion": "v1", "kind": "Endpoints"}, "theirs")
        )
        await fed.mark_deleted(SPACE)
        state = await fed.reaches(SPACE, "a", sync.REMOVED)
    assert (state.reason, "endpoints theirs there" in state.message) == ("Released", True)
    assert member.get("core/endpoints/shop/theirs") is not None


async def test_a_namespace_waits_for_what_the_member_is_removing(fed: Federation) -> None:
    """While something that lost its owner is being deleted, the namespace is neither deleted nor let go."""
    member = fed.members["a"]
    async with fed.syncer():
        await placed(fed)
        gone = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "77aa"}
        slow = named(config_map(), "slow", ownerReferences=[gone], finalizers=["example.org/slow"])
        await member.create("core/configmaps/shop/slow", slow)

        def deleting() -> bool:
            live = member.get("core/configmaps/shop/slow")
            return live is not None and "deletionTimestamp" in live["metadata"]

        await until(deleting, what="the member collects it")
        await fed.mark_deleted(SPACE)
        state = await fed.reaches(SPACE, "a", sync.WAITING)
        assert (state.reason, "slow" in state.message) == ("ContentsGoing", True)
        assert ownership.owned(member.get(SPACE) or {}, FEDERATION_ID)
        await member.change(
            "core/configmaps/shop/slow",
            lambda obj: {**obj, "metadata": {**obj["metadata"], "finalizers": []}},
        )
        await fed.reaches(SPACE, "a", sync.REMOVED)
    assert member.get(SPACE) is None


async def test_what_is_not_collected_keeps_its_namespace(
    fed: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has lost its owner, and is still there after a while without any progress, is an obstacle."""
    monkeypatch.setattr("hanse_syncer.act.removal._COLLECTED_SECONDS", 0.5)
    member = fed.members["a"]
    labels = {"endpoints.kubernetes.io/managed-by": "endpoint-controller"}
    endpoints = named({"apiVersion": "v1", "kind": "Endpoints"}, "gone", labels=labels)
    async with fed.syncer():
        await placed(fed)
        await member.create("core/endpoints/shop/gone", endpoints)
        await fed.mark_deleted(SPACE)
        state = await fed.reaches(SPACE, "a", sync.WAITING)
        assert state.reason == "ContentsGoing"
        state = await fed.reaches(SPACE, "a", sync.REMOVED)
    assert (state.reason, "not collected" in state.message) == ("Released", True)
    assert member.get("core/endpoints/shop/gone") is not None


async def test_what_the_member_serves_is_asked_at_the_moment(fed: Federation) -> None:
    """Objects of a kind that came after the catalogue was taken keep their namespace."""
    member = fed.members["a"]
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.org"},
        "spec": {
            "group": "example.org",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "scope": "Namespaced",
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }
    widget = {
        "apiVersion": "example.org/v1",
        "kind": "Widget",
        "metadata": {"name": "w", "namespace": "shop"},
    }
    async with fed.syncer():
        await placed(fed)
        await member.create(
            "apiextensions.k8s.io/customresourcedefinitions/_/widgets.example.org", definition
        )
        await until(
            lambda: member.engine.catalogue.get("example.org", "v1", "widgets"), what="widgets are served"
        )
        await member.create("example.org/widgets/shop/w", widget)
        await fed.mark_deleted(SPACE)
        state = await fed.reaches(SPACE, "a", sync.REMOVED)
    assert (state.reason, "widgets w there" in state.message) == ("Released", True)
    assert member.get("example.org/widgets/shop/w") is not None


@pytest.mark.parametrize(
    "answer",
    [
        web.Response(text="<html>", content_type="text/html"),
        web.json_response({"kind": "APIGroupDiscoveryList"}),
        web.json_response({"kind": "Status", "code": 404}, status=404),
        web.json_response(
            {
                "kind": "APIGroupDiscoveryList",
                "items": [
                    {
                        "metadata": {"name": "example.org"},
                        "versions": [{"version": "v1", "freshness": "Stale"}],
                    }
                ],
            }
        ),
        web.json_response(
            {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "items": []}
        ),
    ],
    ids=["html", "no-items", "not-found", "stale", "nothing"],
)
async def test_a_namespace_stays_while_it_is_not_known_what_is_served(
    fed: Federation, answer: web.Response
) -> None:
    """Without all of what the member serves nothing is deleted, and nothing let go of, until it tells."""
    member = fed.members["a"]
    body, status, kind = answer.body, answer.status, answer.content_type

    async def fault(request: web.Request) -> web.StreamResponse | None:
        if request.path != "/apis":
            return None
        return web.Response(body=body, status=status, content_type=kind)

    async with fed.syncer():
        await placed(fed)
        member.fault = fault
        await fed.mark_deleted(SPACE)
        state = await fed.reaches(SPACE, "a", sync.WAITING)
        assert state.reason == "ContentsUnknown"
        assert ownership.owned(member.get(SPACE) or {}, FEDERATION_ID)
        member.fault = None
        await fed.reaches(SPACE, "a", sync.REMOVED)
    assert member.get(SPACE) is None


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"{}",
        b'{"kind":"PartialObjectMetadataList","metadata":{}}',
        b'{"items":{}}',
        b'{"items":["a"]}',
    ],
)
async def test_a_namespace_stays_while_a_list_is_none(fed: Federation, body: bytes) -> None:
    """An answer that is no list of what was asked for says nothing about what is there."""
    member = fed.members["a"]

    async def fault(request: web.Request) -> web.StreamResponse | None:
        if not request.path.endswith("/namespaces/shop/configmaps"):
            return None
        return web.Response(body=body, content_type="application/json")

    async with fed.syncer():
        await placed(fed)
        await member.create("core/configmaps/shop/theirs", named(config_map(), "theirs"))
        member.fault = fault
        await fed.mark_deleted(SPACE)
        state = await fed.reaches(SPACE, "a", sync.WAITING)
        assert state.reason == "ContentsUnknown"
        assert ownership.owned(member.get(SPACE) or {}, FEDERATION_ID)
        member.fault = None
        state = await fed.reaches(SPACE, "a", sync.REMOVED)
    assert state.reason == "Released"
    assert member.get("core/configmaps/shop/theirs") is not None


async def test_a_list_without_end_removes_nothing(fed: Federation) -> None:
    """A member that gives page after page holds no memory and no task, and its namespace stays as it is."""
    member = fed.members["a"]

    async def fault(request: web.Request) -> web.StreamResponse | None:
        if not request.path.endswith("/namespaces/shop/configmaps"):
            return None
        body = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "items": []}
        return web.json_response({**body, "metadata": {"resourceVersion": "7", "continue": "more"}})

    async with fed.syncer():
        await placed(fed)
        member.fault = fault
        await fed.mark_deleted(SPACE)
        state = await fed.reaches(SPACE, "a", sync.UNREACHABLE)
        assert "has no end" in state.message
        assert ownership.owned(member.get(SPACE) or {}, FEDERATION_ID)
        asked = sum(path.startswith("/api/v1/namespaces/shop/configmaps") for _, path in member.requests)
        assert asked < 50
        member.fault = None
        await fed.reaches(SPACE, "a", sync.REMOVED, seconds=30)


async def test_an_empty_list_of_metadata_is_one(fed: Federation) -> None:
    """kube-apiserver writes the items of an empty list of metadata as null."""
    member = fed.members["a"]

    async def fault(request: web.Request) -> web.StreamResponse | None:
        if not request.path.endswith("/namespaces/shop/configmaps"):
            return None
        body = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "items": None}
        return web.json_response({**body, "metadata": {"resourceVersion": "7"}})

    async with fed.syncer():
        await placed(fed)
        member.fault = fault
        await fed.mark_deleted(SPACE)
        await fed.reaches(SPACE, "a", sync.REMOVED)
    assert member.get(SPACE) is None


async def test_a_namespace_stays_where_something_cannot_be_listed(fed: Federation) -> None:
    """A kind with objects that no list shows is an obstacle: nobody knows what would go."""
    member = fed.members["a"]
    entry = {
        "resource": "vaults",
        "scope": "Namespaced",
        "verbs": ["create", "delete", "get"],
        "responseKind": {"kind": "Vault"},
    }
    group = {
        "metadata": {"name": "example.org"},
        "versions": [{"version": "v1", "freshness": "Current", "resources": [entry]}],
    }

    async def fault(request: web.Request) -> web.StreamResponse | None:
        if request.path != "/apis":
            return None
        document = discovery.aggregated(member.engine.catalogue, core=False)
        body = orjson.dumps({**document, "items": [*document["items"], group]})
        return web.Response(body=body, content_type="application/json")

    async with fed.syncer():
        await placed(fed)
        member.fault = fault
        await fed.mark_deleted(SPACE)
        state = await fed.reaches(SPACE, "a", sync.REMOVED)
    assert (state.reason, "vaults cannot be listed" in state.message) == ("Released", True)
    assert member.get(SPACE) is not None
