"""Whether a cluster is ready, reachable or leaving: the law, and that its users keep to it."""

from __future__ import annotations

import math

from hanse_apiserver.views.view import FederationView
from hanse_cli.commands.clusters import answers
from hanse_dns.sources import cluster_view
from hanse_scheduler.decide.clusters import view_of
from hypothesis import given
from hypothesis import strategies as st

from hanse.api.registry.v1 import cluster_pb2 as registry
from hanse.api.registry.v1.cluster_pb2 import Cluster
from hanse.api.type.v1.condition_pb2 import FALSE, TRUE, UNKNOWN, Condition
from hanse.federation.clusters import (
    CREDENTIAL_REFUSED,
    is_leaving,
    is_observed,
    is_reachable,
    is_ready,
    leaves_objects,
    refuses_credential,
)
from hanse.federation.strategies import federation_kinds
from hanse.kube.kinds.catalogue import Catalogue
from hanse.store import Event, KeyValue

CATALOGUE = Catalogue(federation_kinds())
LATER = 99
"""A state that only a newer release knows."""


def cluster(
    state: int, ready: int | None, *, deleting: bool = False, orphan: bool = False, reason: str = ""
) -> Cluster:
    """A cluster in a state, with a condition Ready of that status if there is one."""
    message = Cluster(name="clusters/a", orphan_objects=orphan)
    message.state = state  # type: ignore[assignment]
    if ready is not None:
        message.conditions.append(Condition(type="Ready", status=ready, reason=reason))  # type: ignore[arg-type]
    if deleting:
        message.delete_time.FromSeconds(1)
    return message


CLUSTERS = st.builds(
    lambda state, ready, deleting, orphan, reason: cluster(
        state, ready, deleting=deleting, orphan=orphan, reason=reason
    ),
    st.sampled_from([*registry.ClusterState.values(), LATER]),
    st.sampled_from([None, TRUE, FALSE, UNKNOWN]),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["", "Unreachable", CREDENTIAL_REFUSED]),
)


@given(CLUSTERS)
def test_only_a_cluster_that_answers_is_reachable(found: Cluster) -> None:
    """The state tells, except of a cluster that leaves or is in a state of a newer release."""
    told = any(each.status == TRUE for each in found.conditions)
    unclear = found.state in (registry.UNJOINING, LATER)
    assert is_observed(found) is (told if unclear else found.state == registry.READY)
    assert is_reachable(found) is (is_observed(found) or refuses_credential(found))
    assert is_observed(found) or not is_ready(found)


@given(CLUSTERS)
def test_a_cluster_that_refuses_the_credential_is_up_and_nobody_knows_how_it_is(found: Cluster) -> None:
    """The state tells; of one that leaves, a condition Ready that is False for that reason."""
    said = any((each.status, each.reason) == (FALSE, CREDENTIAL_REFUSED) for each in found.conditions)
    unclear = found.state in (registry.UNJOINING, LATER)
    assert refuses_credential(found) is (said if unclear else found.state == registry.CREDENTIAL_REFUSED)
    if refuses_credential(found):
        assert (is_reachable(found), is_observed(found), is_ready(found)) == (True, False, False)


@given(CLUSTERS)
def test_a_cluster_that_leaves_is_told_by_its_state_or_its_deletion(found: Cluster) -> None:
    """Only one that leaves is left with its objects, and only if that was asked for."""
    leaving = found.state == registry.UNJOINING or found.HasField("delete_time")
    assert is_leaving(found) is leaving
    assert leaves_objects(found) is (leaving and found.orphan_objects)


@given(CLUSTERS)
def test_scheduler_apiserver_and_dns_agree(found: Cluster) -> None:
    """What counts as reachable for replicas does for names, and what is observed for the merged status. Where
    the credential is refused nothing can be scheduled, and no toleration is ever over.
    """
    value = KeyValue("clusters/a", found.SerializeToString(), 1, 1, 1)
    view = FederationView(CATALOGUE)
    list(view.apply(Event("put", value)))
    assert view.is_observed("a") is is_observed(found)
    assert view.refuses("a") is refuses_credential(found)
    assert cluster_view(value).reachable is is_reachable(found)
    assert view_of(found).reachable is is_observed(found)
    assert (view_of(found).since == math.inf) is refuses_credential(found)
    assert view_of(found).ready is is_ready(found)
    assert view_of(found).leaving is is_leaving(found)


@given(st.sampled_from([None, TRUE, FALSE, UNKNOWN]))
def test_the_command_line_says_what_the_registry_says(ready: int | None) -> None:
    """A client has the condition Ready, which the registry gives every cluster."""
    assert answers(cluster(registry.READY, ready)) is (ready == TRUE)
