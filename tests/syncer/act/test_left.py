"""What deleted objects have left in a member: it goes before anything is done for a successor."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from hanse_syncer.decide.plan import Desired

from hanse.api.federation.v1.tombstone_pb2 import LeftCopy, Tombstone
from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.store import Versioned
from tests.syncer.reconciling import OURS, PATH, Reconciling, reconciling, refusal


@pytest.fixture
async def bench() -> AsyncIterator[Reconciling]:
    """A reconciler with nothing in its member."""
    async with reconciling() as bench:
        yield bench


def leave(bench: Reconciling, *, uid: str = "federated", orphan: bool = False, managed_by: str = "") -> None:
    """The object was deleted: it and its placement are gone, and its tombstone has the cluster."""
    bench.federation.intents.clear()
    bench.federation.placements.clear()
    tombstone = Tombstone(copies=[LeftCopy(cluster="a", uid=uid, orphan=orphan, managed_by=managed_by)])
    reference = tombstone.object
    reference.version, reference.resource, reference.kind = "v1", "configmaps", "ConfigMap"
    reference.namespace, reference.name, reference.uid = "default", "web", uid
    bench.federation.left[PATH] = Versioned(tombstone, 200, 200)


def succeed(bench: Reconciling) -> None:
    """Somebody makes another object of that name, which is placed in the cluster."""
    bench.intend(obj={"apiVersion": "v1", "kind": "ConfigMap", "data": {"value": "2"}})
    bench.federation.intents[PATH] = replace(bench.federation.intents[PATH], uid="next")
    bench.place()
    bench.federation.placements[PATH].value.object.uid = "next"


async def test_a_copy_is_deleted_by_uid_and_its_end_is_that_of_the_tombstone(bench: Reconciling) -> None:
    """The sync state confirms, and stays for as long as the tombstone does; then it goes."""
    await bench.apply()
    leave(bench)
    await bench.reconcile()
    assert bench.member.sent == ["DELETE"]
    assert (bench.state().phase, bench.state().object.uid) == (sync.REMOVED, "federated")
    await bench.reconcile()
    assert bench.member.sent == ["DELETE"]
    bench.federation.left.clear()
    await bench.reconcile()
    assert bench.states.get(PATH) is None


async def test_a_successor_waits_for_the_copy_and_is_another_object(bench: Reconciling) -> None:
    """While the member refuses the DELETE nothing of the successor is sent; then it is created."""
    before = await bench.apply()
    leave(bench)
    succeed(bench)
    bench.member.scripted.append(refusal(500))
    await bench.reconcile()
    assert bench.member.sent == ["DELETE"]
    assert bench.state().object.uid == "federated"
    again = await bench.reconcile()
    assert bench.member.live is None
    assert bench.state().phase == sync.REMOVED
    assert again is not None
    assert again.requeue_after == 0.0  # though the tombstone waits for other clusters
    await bench.reconcile()
    assert bench.member.live is not None
    assert bench.member.live["data"] == {"value": "2"}
    assert (bench.state().phase, bench.state().object.uid) == (sync.APPLIED, "next")
    assert bench.state().member_uid != before.member_uid


async def test_a_copy_that_is_to_stay_loses_the_marks_alone(bench: Reconciling) -> None:
    """It is not deleted, whatever else was deleted under the name later; its author's label comes back."""
    await bench.apply()
    leave(bench, orphan=True, managed_by="helm")
    later = LeftCopy(cluster="a", uid="next")
    bench.federation.left[PATH].value.copies.append(later)
    bench.federation.left[PATH].value.object.uid = "next"
    await bench.reconcile()
    assert "DELETE" not in bench.member.sent
    assert bench.member.live is not None
    labels = bench.member.live["metadata"].get("labels") or {}
    assert not OURS.items() <= labels.items()
    assert labels.get("app.kubernetes.io/managed-by") == "helm"
    assert (bench.state().phase, bench.state().object.uid) == (sync.REMOVED, "next")


async def test_a_copy_that_nobody_noted_is_looked_for(bench: Reconciling) -> None:
    """Without a sync state the member is asked: a process may have died before it wrote one."""
    await bench.apply()
    bench.states.drop(PATH)
    leave(bench)
    await bench.reconcile()
    assert bench.member.live is None
    assert bench.state().phase == sync.REMOVED


async def test_where_it_has_no_copy_a_tombstone_says_nothing(bench: Reconciling) -> None:
    """The successor is applied at once."""
    leave(bench)
    bench.federation.left[PATH].value.copies[0].cluster = "b"
    succeed(bench)
    assert bench.context.request(PATH).desired is Desired.PRESENT
    await bench.reconcile()
    assert bench.state().object.uid == "next"
