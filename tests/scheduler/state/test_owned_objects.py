"""What an operator makes in the federation goes where a policy sends it while its owner is in no member."""

from __future__ import annotations

from typing import Any

import pytest
from hanse_scheduler.decide.inputs import Rules
from hanse_scheduler.state.owned_objects import OwnedObjects, OwnerPresence
from hanse_scheduler.state.records import ObjectRecord, record_of
from hypothesis import given
from hypothesis import strategies as st

from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement, ClusterRelease, Placement
from hanse.federation.belongings import ControllingOwner, operators_owner
from hanse.kube.model.objects import Object
from hanse.store.keys import ObjectKey
from tests.scheduler.builders import policy_object
from tests.support.federation.federation import Federation
from tests.support.waiting import until

DATABASE = ObjectKey("db.example.com", "databases", "shop", "main")
SETTINGS = ObjectKey("", "configmaps", "shop", "settings")
WEB = ObjectKey("apps", "deployments", "shop", "web")
POLICY = ObjectKey("hanse.dev", "clusterplacementpolicies", "", "p")
ITS_POLICY = ObjectKey("hanse.dev", "clusterplacementpolicies", "", "databases")
NOWHERE = Rules(everywhere=False)


def database(uid: str = "d1") -> Object:
    """The object of an operator."""
    metadata = {"name": "main", "namespace": "shop", "uid": uid}
    return {"apiVersion": "db.example.com/v1", "kind": "Database", "metadata": metadata}


def owned_by(obj: Object, **changes: Any) -> list[Object]:
    """References to the controller of what is made for an object."""
    metadata = obj["metadata"]
    reference = {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "name": metadata["name"]}
    return [{**reference, "uid": metadata["uid"], "controller": True, **changes}]


def made(kind: str, version: str, name: str, owners: list[Object], uid: str = "m1") -> Object:
    """Something that is made for its owners."""
    metadata = {"name": name, "namespace": "shop", "uid": uid, "ownerReferences": owners}
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


def web(owners: list[Object] | None = None) -> Object:
    """The Deployment of a database."""
    obj = made("Deployment", "apps/v1", "web", owned_by(database()) if owners is None else owners)
    return {**obj, "spec": {"replicas": 2}}


def deployments() -> Object:
    """A policy that sends all Deployments to a."""
    return policy_object(
        resourceSelectors=[{"apiVersion": "apps/v1", "kind": "Deployment"}], clusterNames=["a"]
    )


async def test_a_policy_sends_it_and_nothing_else_does(federation: Federation) -> None:
    """Whichever of the three comes first; without a policy it stays in the federation."""
    await federation.clusters("a", "b")
    process = await federation.start_scheduler(rules=NOWHERE)
    await federation.apply(WEB, web())
    await federation.settled(process)
    assert await federation.placement(WEB) is None
    await federation.apply(DATABASE, database())
    await federation.settled(process)
    assert await federation.placement(WEB) is None
    await federation.apply(POLICY, deployments())
    await federation.placed(WEB, {"a": 2})
    await federation.forget(POLICY)
    placement = await federation.placed(WEB, {})
    assert [release.cluster for release in placement.releasing] == ["a"]


async def test_it_follows_its_owner_in_and_out_of_the_members(federation: Federation) -> None:
    """Once the owner is in a member, the controllers there make it; when it has left, the policy counts
    again."""
    await federation.clusters("a", "b")
    await federation.start_scheduler(rules=NOWHERE)
    await federation.apply(DATABASE, database())
    await federation.apply(POLICY, deployments())
    await federation.apply(WEB, web())
    await federation.placed(WEB, {"a": 2})
    databases = [{"apiVersion": "db.example.com/v1", "kind": "Database"}]
    await federation.apply(
        ITS_POLICY, policy_object(name="databases", resourceSelectors=databases, clusterNames=["b"])
    )
    await federation.placed(DATABASE, {"b": None})
    placement = await federation.placed(WEB, {})
    assert [release.cluster for release in placement.releasing] == ["a"]
    await federation.forget(ITS_POLICY)
    placement = await federation.placed(DATABASE, {})
    assert [release.cluster for release in placement.releasing] == ["b"]
    await federation.removed(DATABASE, "b")
    await federation.placed(WEB, {"a": 2})


async def test_an_owner_that_is_not_known_moves_nothing(federation: Federation) -> None:
    """One that is gone, is another of that name, or has no decision yet: what is placed stays as it is, with
    the reason."""
    await federation.clusters("a", "b")
    await federation.start_scheduler(rules=NOWHERE)
    await federation.apply(DATABASE, database())
    await federation.apply(POLICY, deployments())
    await federation.apply(WEB, web())
    await federation.placed(WEB, {"a": 2})
    await federation.apply(DATABASE, database("d2"))

    async def doubted() -> str:
        placement = await federation.placed(WEB, {"a": 2})
        return placement.error

    await until(doubted)
    assert "made for the Database main: whether that is in a cluster is not known" in await doubted()
    await federation.apply(DATABASE, database())

    async def settled() -> bool:
        return not await doubted()

    await until(settled)


def presence(
    placement: Placement | None = None,
    *,
    owner: ControllingOwner | None = None,
    **more: tuple[ObjectKey, Object],
) -> OwnerPresence:
    """Where the database is that the Deployment is made for."""
    stored = {"db": (DATABASE, database()), **more}
    records = {key.path(): record_of(obj, key=key) for key, obj in stored.values()}
    index = OwnedObjects(record=records.get, placement={DATABASE.path(): placement}.get)
    for path, record in records.items():
        index.note(path, None, record)
    asked = owner or operators_owner(web())
    assert asked is not None
    return index.presence(asked)


def about(uid: str = "d1", **fields: Any) -> Placement:
    """A placement of the database."""
    placement = Placement(**fields)
    placement.object.uid = uid
    return placement


@pytest.mark.parametrize(
    ("placement", "where"),
    [
        (None, OwnerPresence.UNKNOWN),
        (about(), OwnerPresence.FEDERATION_ONLY),
        (about(clusters=[ClusterPlacement(cluster="a")]), OwnerPresence.IN_MEMBERS),
        (about(clusters=[ClusterPlacement(cluster="a", suspended=True)]), OwnerPresence.IN_MEMBERS),
        (about(releasing=[ClusterRelease(cluster="a")]), OwnerPresence.IN_MEMBERS),
        (about(error="no"), OwnerPresence.UNKNOWN),
        (about("another"), OwnerPresence.UNKNOWN),
    ],
)
def test_where_an_owner_is(placement: Placement | None, where: OwnerPresence) -> None:
    """As its placement says; one that was not decided on, or cannot be, may be anywhere."""
    assert presence(placement) is where


def test_owners_of_owners_count() -> None:
    """What is made for something that is made in the members is made there, too; circles end."""
    middle = made("Shard", "db.example.com/v1", "s", owned_by(database()), uid="s1")
    key = ObjectKey("db.example.com", "shards", "shop", "s")
    owner = ControllingOwner("db.example.com", "Shard", "s", "s1")
    inside = about(clusters=[ClusterPlacement(cluster="a")])
    assert presence(inside, owner=owner, shard=(key, middle)) is OwnerPresence.IN_MEMBERS
    assert presence(about(), owner=owner, shard=(key, middle)) is OwnerPresence.FEDERATION_ONLY
    assert presence(None, owner=owner, shard=(key, middle)) is OwnerPresence.UNKNOWN
    itself = {**middle, "metadata": {**middle["metadata"], "ownerReferences": owned_by(middle)}}
    assert presence(None, owner=owner, shard=(key, itself)) is OwnerPresence.UNKNOWN
    policy = ControllingOwner("hanse.dev", "ClusterPlacementPolicy", "p", "p1")
    assert presence(owner=policy) is OwnerPresence.FEDERATION_ONLY
    configured = ControllingOwner("", "ConfigMap", "settings", "c1")
    stored = made("ConfigMap", "v1", "settings", [], uid="c1")
    assert presence(owner=configured, settings=(SETTINGS, stored)) is OwnerPresence.UNKNOWN


@pytest.mark.parametrize("kind", ["Deployment", "ReplicaSet", "StatefulSet", "DaemonSet"])
def test_what_kubernetes_makes_belongs_to_the_clusters(kind: str) -> None:
    """Its controllers run in each of them, wherever the owner is."""
    owner = {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "web", "uid": "w"}}
    record = record_of(made("ReplicaSet", "apps/v1", "web-1", owned_by(owner)), key=WEB)
    assert (record.owner, record.belongs) == (None, f"a controller makes it for the {kind} web")
    assert not record.propagates


uids = st.sampled_from(["", "a", "b", "c", "d"])


@given(st.lists(st.tuples(st.sampled_from("pqrs"), uids, uids), max_size=30))
def test_the_index_is_what_it_would_be_if_it_was_made_now(changes: list[tuple[str, str, str]]) -> None:
    """However objects come, go and change their owners; each change names what is made for what changed."""
    records: dict[str, ObjectRecord] = {}
    index = OwnedObjects(record=records.get, placement=lambda path: None)
    for path, uid, owner in changes:
        before = records.pop(path, None)
        if uid:
            obj = made("Shard", "db.example.com/v1", path, [], uid=uid)
            owners = owned_by({**obj, "metadata": {"name": "o", "uid": owner}}) if owner else []
            obj = {**obj, "metadata": {**obj["metadata"], "ownerReferences": owners}}
            records[path] = record_of(obj, key=ObjectKey("db.example.com", "shards", "shop", path))
        told = set(index.note(path, before, records.get(path)))
        was = before.reduced["metadata"]["uid"] if before is not None else ""
        if was != uid:
            direct = {
                each for each, record in records.items() if record.owner and record.owner.uid in (was, uid)
            }
            assert direct <= told
