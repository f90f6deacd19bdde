"""Events about clusters: that one is lost, is back, or is not to be trusted."""

from __future__ import annotations

from hanse_registry.member.events import ClusterNotice, notices
from hypothesis import given
from hypothesis import strategies as st

from hanse.api.registry.v1 import cluster_pb2 as registry
from hanse.api.type.v1 import condition_pb2

STATES = st.sampled_from(sorted(registry.ClusterState.values()))


def cluster(state: registry.ClusterState.ValueType, *, message: str = "") -> registry.Cluster:
    """A cluster in a state, with what the registry says of its probes."""
    ready = condition_pb2.Condition(type="Ready", message=message)
    return registry.Cluster(name="clusters/eu", state=state, conditions=[ready])


def test_lost_and_regained() -> None:
    """A warning with the reason of the registry, and the end of it."""
    lost = cluster(registry.OFFLINE, message="no answer within 2 s")
    assert list(notices(cluster(registry.READY), lost)) == [
        ClusterNotice("ClusterLost", "no answer within 2 s", warning=True)
    ]
    (back,) = notices(lost, cluster(registry.READY))
    assert (back.reason, back.warning) == ("ClusterRegained", False)


def test_what_is_not_to_be_trusted() -> None:
    """Each with a reason of its own."""
    found = {
        state: [each.reason for each in notices(cluster(registry.READY), cluster(state))]
        for state in (registry.MISBEHAVING, registry.IDENTITY_MISMATCH, registry.CREDENTIAL_REFUSED)
    }
    assert list(found.values()) == [["ClusterMisbehaving"], ["ClusterReplaced"], ["CredentialRefused"]]


def test_a_new_cluster() -> None:
    """That it is there is told once, and that nobody has looked at it yet is not."""
    assert list(notices(None, cluster(registry.PENDING))) == []
    assert [each.reason for each in notices(None, cluster(registry.READY))] == ["ClusterReady"]
    assert [each.reason for each in notices(None, cluster(registry.OFFLINE))] == ["ClusterLost"]


@given(state=STATES)
def test_what_has_not_changed_is_not_told_again(state: registry.ClusterState.ValueType) -> None:
    """However often the registry writes the cluster."""
    assert list(notices(cluster(state, message="a"), cluster(state, message="b"))) == []


@given(before=STATES, after=STATES)
def test_a_change_is_told_by_at_most_one_event(
    before: registry.ClusterState.ValueType, after: registry.ClusterState.ValueType
) -> None:
    """Events of problems are warnings, and say something."""
    found = list(notices(cluster(before), cluster(after)))
    assert len(found) <= 1
    assert all(each.message for each in found)
