"""What the syncer knows of a kind is known of that kind only, and is found by whatever names it."""

from __future__ import annotations

from typing import Any

import pytest
from hanse_syncer.decide import kinds

from hanse.api.syncer.v1.sync_state_pb2 import HEALTHY, PROGRESSING
from hanse.kube.kinds.builtin import KUBERNETES
from hanse.kube.kinds.kind import Kind
from hanse.kube.kinds.kubernetes import apps

PODS = [kind for kind in KUBERNETES if kind.pod_count]


def live(kind: Kind, *, group: str | None = None, **fields: Any) -> dict[str, Any]:
    """A live object of a kind, or of one with its name in another group."""
    group = kind.group if group is None else group
    version = kind.versions[0]
    metadata = {"name": "a"}
    return {
        "apiVersion": f"{group}/{version}" if group else version,
        "kind": kind.name,
        "metadata": metadata,
    } | fields


@pytest.mark.parametrize("kind", PODS, ids=repr)
def test_a_workload_that_says_nothing_asks_for_one_pod(kind: Kind) -> None:
    """The number is where the kind has it; a kind of another group with the same name has none of its own."""
    assert kinds.desired_replicas(live(kind)) == 1
    assert kinds.desired_replicas(live(kind, spec={kind.pod_count: 3})) == 3
    assert kinds.pod_count_field(live(kind)) == kind.pod_count
    foreign = live(kind, group="example.com")
    assert kinds.desired_replicas(foreign) is None
    assert kinds.desired_replicas({**foreign, "spec": {"replicas": 2}}) == 2
    assert kinds.pod_count_field(foreign) == "replicas"


@pytest.mark.parametrize("kind", PODS, ids=repr)
def test_a_workload_without_ready_pods_lags(kind: Kind) -> None:
    """Of a kind of another group nobody knows what its numbers mean."""
    status = {"active": 1}
    assert kinds.lags(live(kind, status=status))
    assert not kinds.lags(live(kind, group="example.com", status=status))


def test_every_workload_has_rules() -> None:
    """A kind with Pods is judged by rules of its own."""
    assert set(PODS) <= set(kinds.RULES)


def test_stateless_kinds_are_found_by_resource() -> None:
    """Of those only metadata is watched, and they are healthy."""
    stateless = [kind for kind, rules in kinds.RULES.items() if rules.stateless]
    assert "configmaps" in {kind.plural for kind in stateless}
    for kind in KUBERNETES:
        assert kinds.is_stateless(*kind.group_plural) == (kind in stateless)
        if kind in stateless:
            assert kinds.health_of(live(kind)) == HEALTHY
    assert not kinds.is_stateless("example.com", "configmaps")


@pytest.mark.parametrize("kind", KUBERNETES, ids=repr)
def test_what_is_being_deleted_is_on_its_way(kind: Kind) -> None:
    """Whatever its kind."""
    metadata = {"name": "a", "deletionTimestamp": "2026-11-27T00:00:00Z"}
    assert kinds.health_of(live(kind) | {"metadata": metadata}) == PROGRESSING


@pytest.mark.parametrize("kind", KUBERNETES, ids=repr)
def test_no_status_goes_to_a_member_and_nothing_is_changed_in_place(kind: Kind) -> None:
    """What a member decides itself is left out of a copy; a kind without rules keeps all but its status."""
    spec = {"clusterIP": "10.0.0.1", "volumeName": "v", "selector": {"a": "b"}, "finalizers": ["kubernetes"]}
    obj = live(kind, spec=spec, secrets=[{"name": "t"}], status={"a": 1})
    before = repr(obj)
    sent = kinds.without_members_own(obj)
    assert "status" not in sent
    assert repr(obj) == before
    if kind not in kinds.RULES:
        assert sent == {name: value for name, value in obj.items() if name != "status"}


def test_only_replicas_of_the_wanted_revision_are_ready() -> None:
    """A Deployment counts available and updated Pods apart: those that may be old do not count. Until its
    controller has seen the generation, nothing is known; of kinds without replicas, never."""
    status = {"observedGeneration": 2, "replicas": 5, "updatedReplicas": 3, "availableReplicas": 4}
    seen = live(apps.DEPLOYMENT, status=status, metadata={"generation": 2})
    assert kinds.ready_replicas(seen) == 2
    assert kinds.ready_replicas(seen | {"metadata": {"generation": 3}}) is None
    assert kinds.ready_replicas(live(apps.DEPLOYMENT, status={"availableReplicas": 9, "replicas": 9})) == 0
    assert kinds.ready_replicas(live(apps.REPLICA_SET, status={"availableReplicas": 4})) == 4
    assert kinds.ready_replicas(live(apps.DAEMON_SET, status={"numberAvailable": 4})) is None
