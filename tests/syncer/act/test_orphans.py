"""What carries our marks and nobody wants is found, reported and left alone until somebody asks."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
import pytest
from aiohttp import web
from hanse_syncer import ownership
from hanse_syncer.orphans import rules as orphans
from hanse_syncer.orphans import scanner
from hanse_syncer.service import POLICY

from hanse.api.registry.v1.cluster_pb2 import ApiResource
from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement, ClusterRelease, Placement
from hanse.api.syncer.v1 import orphan_pb2, syncer_service_pb2
from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.api.syncer.v1.orphan_pb2 import Orphan, OrphanReport
from hanse.errors import (
    ConflictError,
    FailedPreconditionError,
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
)
from hanse.kube.model.objects import Object
from hanse.security.auth import ADMINS, SERVICES, Identity, service_name
from hanse.store import keys
from hanse.store.keys import ObjectKey
from tests.support.federation.federation import FEDERATION_ID, Federation, federation
from tests.support.federation.member import Member
from tests.support.waiting import until
from tests.syncer.faults.test_liars import lie, said
from tests.syncer.harness import config_map
from tests.syncer.test_service import served

WEB = "core/configmaps/default/web"
OLD = "core/configmaps/default/old"
SECRET = "core/secrets/default/old"


def marked(obj: Object, path: str, **metadata: Any) -> Object:
    """The object as we would have made it."""
    key = ObjectKey.parse(f"objects/{path}")
    named = {"name": key.name} | ({"namespace": key.namespace} if key.namespace else {})
    return {**obj, "metadata": {**named, "labels": ownership.labels(FEDERATION_ID), **metadata}}


def secret() -> Object:
    """A Secret without name."""
    return {"apiVersion": "v1", "kind": "Secret", "data": {"key": "dmFsdWU="}}


@pytest.fixture
async def fed() -> AsyncIterator[Federation]:
    """A federation with the members a and b."""
    async with federation("a", "b") as running:
        await running.cluster("a", uid="cluster-uid")
        yield running


async def report(fed: Federation, cluster: str = "a") -> OrphanReport:
    """The report as stored; an empty one if there is none."""
    found = await fed.store.get(keys.orphans(cluster))
    return OrphanReport.FromString(found.value) if found is not None else OrphanReport()


async def reported(fed: Federation, *paths: str, cluster: str = "a") -> OrphanReport:
    """Wait until exactly these are on the report."""
    wanted = sorted(f"orphans/{path}/{cluster}" for path in paths)

    async def probe() -> bool:
        return [each.name for each in (await report(fed, cluster)).orphans] == wanted

    await until(probe, what=f"{wanted} are on the report")
    return await report(fed, cluster)


def unwritten(member: Member) -> bool:
    """Whether nothing was changed in the member."""
    return member.writes == []


async def test_orphan_of_a_kind_that_nothing_uses_is_found(fed: Federation) -> None:
    """Also what no informer follows: it is reported with an Event and a gauge, and left alone."""
    made = await fed.members["a"].create(SECRET, marked(secret(), SECRET))
    async with fed.syncer() as sharing:
        found = (await reported(fed, SECRET)).orphans[0]
        assert found.member_uid == made["metadata"]["uid"]
        assert (found.object.kind, found.object.name, found.cluster) == ("Secret", "old", "a")
        assert found.reason == orphan_pb2.NO_SUCH_OBJECT
        assert found.HasField("found_time")
        await until(lambda: fed.events, what="an Event says so")
        event = fed.events[0]
        assert (event["reason"], event["type"]) == ("OrphanFound", "Warning")
        assert event["involvedObject"] == {
            "apiVersion": "hanse.dev/v1alpha1",
            "kind": "Cluster",
            "namespace": "",
            "name": "a",
            "uid": "cluster-uid",
        }
        assert "secrets default/old" in event["message"]
        assert sharing.controllers["a"].dependencies.metrics.orphans["a"] == 1
        assert (await report(fed, "b")).total == 0
    assert unwritten(fed.members["a"])


async def test_what_comes_back_is_found_at_once(fed: Federation) -> None:
    """An object that was removed, and confirmed so, and is there again, waits for no scan."""
    member = fed.members["a"]
    async with fed.syncer():
        for path in (WEB, OLD):
            await fed.put(path, config_map())
            await fed.place(path, "a")
            await fed.reaches(path, "a", sync.APPLIED)
        await fed.mark_deleted(OLD)
        await fed.reaches(OLD, "a", sync.REMOVED)
        await fed.forget(OLD)
        await fed.unplace(OLD)
        await member.create(OLD, marked(config_map(), OLD))
        await reported(fed, OLD)
        live = member.get(OLD)
        assert live is not None


async def test_what_a_restored_member_brings_back_is_found(
    fed: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every kind, as soon as the member answers again; what is wanted stays as it is."""
    monkeypatch.setattr(scanner, "_SPACING_SECONDS", 0.2)
    member = fed.members["a"]
    async with fed.syncer(timeout=1.0) as sharing:
        await fed.put(WEB, config_map())
        await fed.place(WEB, "a")
        first = await fed.reaches(WEB, "a", sync.APPLIED)
        await until(lambda: sharing.controllers["a"].settled, what="the first look is over")
        await reported(fed)
        await member.stop()
        for path, obj in ((OLD, config_map()), (SECRET, secret())):
            await member.create(path, marked(obj, path))
        member.writes.clear()
        await member.start()
        await reported(fed, OLD, SECRET)
        assert unwritten(member)
        live = member.get(WEB)
        assert live is not None
        assert live["metadata"]["uid"] == first.member_uid


def test_only_administrators_have_orphans_exported_and_deleted() -> None:
    """Neither a service nor a viewer may."""
    for method in ("ExportOrphan", "DeleteOrphan"):
        name = f"hanse.api.syncer.v1.SyncerService/{method}"
        POLICY.authorize(name, Identity("a", (ADMINS,)))
        for other in (Identity(service_name("syncer"), (SERVICES,)), Identity("v", ("hanse:viewers",))):
            with pytest.raises(PermissionDeniedError):
                POLICY.authorize(name, other)


async def test_copy_where_the_object_is_not_placed_is_an_orphan(fed: Federation) -> None:
    """An object that is placed elsewhere explains no copy here."""
    await fed.members["a"].create(WEB, marked(config_map(), WEB))
    async with fed.syncer():
        await fed.put(WEB, config_map())
        await fed.place(WEB, "b")
        found = (await reported(fed, WEB)).orphans[0]
        assert found.reason == orphan_pb2.NOT_PLACED_THERE
        await fed.place(WEB, "a", "b")
        await fed.reaches(WEB, "a", sync.APPLIED)
        await reported(fed)


async def test_orphan_that_is_gone_is_off_the_report(fed: Federation) -> None:
    """What somebody deletes in the member is no longer told."""
    member = fed.members["a"]
    await member.create(SECRET, marked(secret(), SECRET))
    async with fed.syncer(orphan_interval=0.3):
        await reported(fed, SECRET)
        await member.delete(SECRET)
        await reported(fed)


async def test_what_others_made_is_no_orphan(fed: Federation) -> None:
    """No marks, another federation's, an owner, copied labels, or being placed: none of these is told."""
    member = fed.members["a"]
    other = marked(secret(), "core/secrets/default/other", labels=ownership.labels("another"))
    await member.create("core/secrets/default/other", other)
    named = {"name": "x", "namespace": "default"}
    made = await member.create("core/configmaps/default/x", {**config_map(), "metadata": named})
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": made["metadata"]["uid"]}
    owned = marked(secret(), "core/secrets/default/owned", ownerReferences=[owner])
    await member.create("core/secrets/default/owned", owned)
    endpoints = {"apiVersion": "v1", "kind": "Endpoints"}
    await member.create("core/endpoints/default/web", marked(endpoints, "core/endpoints/default/web"))
    await member.create(SECRET, marked(secret(), SECRET))
    async with fed.syncer(orphan_interval=0.3):
        await fed.put(WEB, config_map())
        await fed.place(WEB, "a")
        await fed.reaches(WEB, "a", sync.APPLIED)
        await reported(fed, SECRET)


async def test_restart_tells_the_same(fed: Federation) -> None:
    """The report survives: after a restart the time is that of the first finding, and nothing is written."""
    await fed.members["a"].create(SECRET, marked(secret(), SECRET))
    async with fed.syncer():
        await reported(fed, SECRET)
    before = await fed.store.get(keys.orphans("a"))
    member = fed.members["a"]
    member.requests.clear()
    async with fed.syncer("two", orphan_interval=0.3):
        await until(
            lambda: sum("secrets" in path for _, path in member.requests) >= 3, what="it was looked for"
        )
    after = await fed.store.get(keys.orphans("a"))
    assert before is not None
    assert after is not None
    assert before.mod_revision == after.mod_revision


async def test_report_that_cannot_be_read_is_made_again(fed: Federation) -> None:
    """What is stored and is no report stops nobody."""
    await fed.store.put(keys.orphans("a"), b"\xff\xff")
    await fed.store.put(keys.orphans("b"), OrphanReport(orphans=[Orphan(name="x")]).SerializeToString())
    await fed.members["a"].create(SECRET, marked(secret(), SECRET))

    async def made() -> bool:
        stored = await fed.store.get(keys.orphans("a"))
        return (
            stored is not None and stored.value != b"\xff\xff" and not await fed.store.get(keys.orphans("b"))
        )

    async with fed.syncer():
        await until(made, what="both are made again")
        await reported(fed, SECRET)


async def test_member_that_does_not_tell_takes_nothing_off_the_report(fed: Federation) -> None:
    """A list that is refused, or that is empty while the object is there, ends no report."""
    member = fed.members["a"]
    await member.create(SECRET, marked(secret(), SECRET))
    answers: list[Callable[[], web.Response]] = []
    lists = 0

    async def lie(request: web.Request) -> web.StreamResponse | None:
        nonlocal lists
        if not answers or request.path != "/api/v1/secrets":
            return None
        lists += 1
        return answers[0]()

    def reaches(number: int) -> bool:
        return lists >= number

    member.fault = lie
    async with fed.syncer(orphan_interval=0.3):
        await reported(fed, SECRET)
        empty = {
            "apiVersion": "meta.k8s.io/v1",
            "kind": "PartialObjectMetadataList",
            "metadata": {},
            "items": [],
        }
        for answer in (
            lambda: web.json_response({"kind": "Status", "status": "Failure", "code": 403}, status=403),
            lambda: web.Response(text="<html>", content_type="text/html"),
            lambda: web.json_response(empty),
        ):
            answers[:] = [answer]
            told = lists + 3
            await until(functools.partial(reaches, told), what="the lie was told")
            assert [each.name for each in (await report(fed)).orphans] == [f"orphans/{SECRET}/a"]


async def test_more_than_are_listed_are_counted(fed: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report is bounded: of the rest it has the number."""
    monkeypatch.setattr(orphans, "MAX_LISTED", 3)
    for number in range(5):
        path = f"core/secrets/default/s{number}"
        await fed.members["a"].create(path, marked(secret(), path))
    async with fed.syncer():

        async def all_counted() -> bool:
            found = await report(fed)
            return (len(found.orphans), found.total) == (3, 5)

        await until(all_counted, what="three are listed and five counted")


async def test_state_of_an_orphan_that_is_gone_is_dropped(fed: Federation) -> None:
    """Where intent and placement were lost the object is an orphan; when it is gone its state goes too."""
    async with fed.syncer():
        await fed.put(WEB, config_map())
        await fed.place(WEB, "a")
        await fed.reaches(WEB, "a", sync.APPLIED)
        await fed.forget(WEB)
        await fed.unplace(WEB)
        await reported(fed, WEB)
        await fed.members["a"].delete(WEB)
        await reported(fed)

        async def dropped() -> bool:
            return await fed.state(WEB, "a") is None

        await until(dropped, what="the state is dropped")


# --- what people do about them


async def listed(stub: Any, **fields: Any) -> list[Orphan]:
    """What ListOrphans tells."""
    answer = await stub.ListOrphans(syncer_service_pb2.ListOrphansRequest(**fields))
    return list(answer.orphans)


async def delete(stub: Any, name: str, uid: str) -> None:
    """Have an orphan deleted."""
    await stub.DeleteOrphan(syncer_service_pb2.DeleteOrphanRequest(name=name, member_uid=uid))


async def test_orphan_is_deleted_on_request(fed: Federation) -> None:
    """By name and uid; another uid, what is wanted and what is not there are refused."""
    member = fed.members["a"]
    await member.create(SECRET, marked(secret(), SECRET))
    async with fed.syncer() as sharing, served(fed, sharing) as stub:
        await reported(fed, SECRET)
        (found,) = await listed(stub, cluster="a")
        assert await listed(stub, cluster="b") == []
        for name in ("nowhere", "a/b", "", "a\x01"):  # stored by another tool: of no cluster
            await fed.store.put(f"orphans/{name}", b"\xffjunk")
        assert await listed(stub) == [found]
        with pytest.raises(ConflictError, match="another object"):
            await delete(stub, found.name, "another")
        with pytest.raises(NotFoundError, match="has no"):
            await delete(stub, "orphans/core/secrets/default/none/a", "u")
        await fed.put(SECRET, secret())
        await fed.place(SECRET, "b", releasing=["a"])
        with pytest.raises(FailedPreconditionError, match="its placement names the cluster"):
            await delete(stub, found.name, found.member_uid)
    await fed.forget(SECRET)
    await fed.unplace(SECRET)
    await member.create(OLD, marked(config_map(), OLD))
    async with fed.syncer("two") as sharing, served(fed, sharing) as stub:
        (found, *_) = (await reported(fed, OLD)).orphans
        await delete(stub, found.name, found.member_uid)
        assert member.get(OLD) is None
        await reported(fed)
        assert await listed(stub, cluster="a") == []


@pytest.mark.parametrize("bare", [False, True])
async def test_deletion_that_did_nothing_is_told(fed: Federation, bare: bool) -> None:
    """DELETE answered with the living object or with Success alone: whoever asked hears that it is there."""
    member = fed.members["a"]
    await member.create(SECRET, marked(secret(), SECRET))
    async with fed.syncer() as sharing, served(fed, sharing) as stub:
        (found,) = (await reported(fed, SECRET)).orphans
        success = {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        told = success if bare else member.get(SECRET)
        struck = lie(member, lambda: said(200, told), about="/secrets/old", methods="DELETE")
        with pytest.raises(UnavailableError, match="the object is still there"):
            await delete(stub, found.name, found.member_uid)
        assert struck
        member.fault = None
        await delete(stub, found.name, found.member_uid)
        assert member.get(SECRET) is None


async def test_object_without_our_marks_is_not_deleted(fed: Federation) -> None:
    """Whoever asks, and whatever the name: only what carries our marks and has no owner goes."""
    theirs = {**secret(), "metadata": {"name": "old", "namespace": "default"}}
    made = await fed.members["a"].create(SECRET, theirs)
    async with fed.syncer() as sharing, served(fed, sharing) as stub:
        with pytest.raises(FailedPreconditionError, match="does not carry"):
            await delete(stub, f"orphans/{SECRET}/a", made["metadata"]["uid"])
    assert fed.members["a"].get(SECRET) is not None


async def test_namespace_goes_only_when_it_is_empty(fed: Federation) -> None:
    """Neither another orphan nor what is foreign goes with a namespace; system namespaces never go."""
    member, space = fed.members["a"], "core/namespaces/_/shop"
    namespace = {"apiVersion": "v1", "kind": "Namespace"}
    made = await member.create(space, marked(namespace, space))
    inner, foreign = "core/secrets/shop/ours", "core/secrets/shop/theirs"
    await member.create(inner, marked(secret(), inner))
    await member.create(foreign, {**secret(), "metadata": {"name": "theirs", "namespace": "shop"}})
    system = await member.create("core/namespaces/_/kube-x", marked(namespace, "core/namespaces/_/kube-x"))
    async with fed.syncer() as sharing, served(fed, sharing) as stub:
        await reported(fed, space, inner, "core/namespaces/_/kube-x")
        name, uid = f"orphans/{space}/a", made["metadata"]["uid"]
        with pytest.raises(FailedPreconditionError, match="ours of this federation are there"):
            await delete(stub, name, uid)
        inner_made = member.get(inner)
        assert inner_made is not None
        await delete(stub, f"orphans/{inner}/a", inner_made["metadata"]["uid"])
        with pytest.raises(FailedPreconditionError, match="theirs"):
            await delete(stub, name, uid)
        await member.delete(foreign)
        with pytest.raises(FailedPreconditionError, match="of its own"):
            await delete(stub, "orphans/core/namespaces/_/kube-x/a", system["metadata"]["uid"])
        await delete(stub, name, uid)
        await until(
            lambda: (member.get(space) or {"metadata": {"deletionTimestamp": "x"}})["metadata"].get(
                "deletionTimestamp"
            ),
            what="it is being deleted",
        )


async def test_exported_orphan_can_be_stored_and_is_adopted(fed: Federation) -> None:
    """The manifest has what the author wrote; stored and placed, the very object is ours again."""
    member = fed.members["a"]
    made = await member.create(SECRET, marked(secret(), SECRET, annotations={"note": "kept"}))
    async with fed.syncer() as sharing, served(fed, sharing) as stub:
        (found,) = (await reported(fed, SECRET)).orphans
        answer = await stub.ExportOrphan(
            syncer_service_pb2.ExportOrphanRequest(name=found.name, member_uid=found.member_uid)
        )
        manifest = orjson.loads(answer.manifest)
        assert manifest["metadata"] == {
            "name": "old",
            "namespace": "default",
            "annotations": {"note": "kept"},
        }
        assert (manifest["kind"], manifest["data"]) == ("Secret", {"key": "dmFsdWU="})
        await fed.put(SECRET, manifest)
        await fed.place(SECRET, "a")
        state = await fed.reaches(SECRET, "a", sync.APPLIED)
        assert state.member_uid == made["metadata"]["uid"]
        await reported(fed)


# --- the rules


def test_places_to_look_are_all_in_which_ours_can_be() -> None:
    """Each listable resource once, in the preferred version; not what copies labels or never goes out."""

    def served_as(
        group: str, version: str, resource: str, *verbs: str, preferred: bool = True
    ) -> ApiResource:
        return ApiResource(group=group, version=version, resource=resource, verbs=verbs, preferred=preferred)

    found = orphans.places(
        [
            served_as("", "v1", "secrets", "list"),
            served_as("", "v1", "endpoints", "list"),
            served_as("", "v1", "events", "list"),
            served_as("coordination.k8s.io", "v1", "leases", "list"),
            served_as("", "v1", "bindings", "create"),
            served_as("x.io", "v1beta1", "things", "list", preferred=False),
            served_as("x.io", "v1", "things", "list"),
        ]
    )
    assert [(each.group, each.version, each.resource) for each in found] == [
        ("", "v1", "secrets"),
        ("x.io", "v1", "things"),
    ]


async def test_what_a_member_made_of_a_service_is_no_orphan_where_its_kind_is_followed(
    fed: Federation,
) -> None:
    """Endpoints carry the labels of their Service, whether a scan or an informer shows them."""
    path = "core/endpoints/default/web"
    ours = "core/endpoints/default/elsewhere"
    async with fed.syncer(orphan_interval=0.3):
        await fed.put(ours, {"apiVersion": "v1", "kind": "Endpoints"})
        await fed.place(ours, "a")
        await fed.reaches(ours, "a", sync.APPLIED)
        await fed.members["a"].create(path, marked({"apiVersion": "v1", "kind": "Endpoints"}, path))
        await fed.members["a"].create(SECRET, marked(secret(), SECRET))
        await reported(fed, SECRET)


@pytest.mark.parametrize(
    ("path", "fits"),
    [(SECRET, True), ("core/secrets/default/a/b", False), ("core/secrets/default/", False)]
    + [(f"core/secrets/default/{'n' * size}", size <= 253) for size in (253, 254, 10_000)],
)
def test_only_what_can_be_an_object_is_looked_at(path: str, fits: bool) -> None:
    """Whatever a member calls what it lists."""
    assert orphans.is_path(path) is fits


@pytest.mark.parametrize("placed", [[ClusterPlacement(cluster="a")], []])
def test_placement_that_names_the_cluster_explains_everything(placed: list[ClusterPlacement]) -> None:
    """Whether the object is to be there or to leave, and whether its intent is known or not."""
    releasing = [] if placed else [ClusterRelease(cluster="a")]
    named = Placement(clusters=placed, releasing=releasing)
    assert orphans.unexplained(None, named, "a") is None
    assert orphans.unexplained(None, named, "b") == orphan_pb2.NO_SUCH_OBJECT
    assert orphans.unexplained(None, None, "a") == orphan_pb2.NO_SUCH_OBJECT
