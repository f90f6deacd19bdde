"""What the registry concludes from what it is told: topology, capacity, catalogue, health, membership."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hanse_registry.member.credentials import end_of, fingerprint, read_kubeconfig, to_access, to_message
from hanse_registry.member.health import ClusterHealth, ProbeOutcome, Standing, after
from hanse_registry.member.inventory import Topology, capacity, catalogue, topology
from hanse_registry.member.probe import Inventory, refused
from hanse_registry.membership import compile_cluster, standing_of, with_update_time
from hanse_registry.names import check_id, parse_name
from hanse_registry.updating import difference
from hypothesis import given
from hypothesis import strategies as st

from hanse.api.registry.v1 import cluster_pb2
from hanse.api.syncer.v1.orphan_pb2 import Orphan, OrphanReport
from hanse.api.type.v1 import condition_pb2
from hanse.api.type.v1.object_reference_pb2 import ObjectReference
from hanse.errors import ConfigError, HanseError, InvalidArgumentError
from hanse.kube.client.access import ClusterAccess
from hanse.kube.client.discovery import KIND, read_discovery
from hanse.security.pki import CertificateAuthority

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
OK = ProbeOutcome()
BAD = ProbeOutcome("Unreachable", "connection refused")


def node(
    *, region: str = "", zone: str = "", cpu: str = "4", ready: bool = True, **spec: Any
) -> dict[str, Any]:
    """A node with the labels and the capacity that matter."""
    labels = {"topology.kubernetes.io/region": region, "topology.kubernetes.io/zone": zone}
    return {
        "metadata": {"labels": {key: value for key, value in labels.items() if value}},
        "spec": spec,
        "status": {
            "allocatable": {"cpu": cpu, "memory": "1Gi"},
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


def test_every_zone_of_every_node_counts() -> None:
    """The region is what most nodes say; all zones are listed."""
    nodes = [node(region="eu", zone="b"), node(region="eu", zone="a"), node(region="us", zone="a"), node()]
    assert topology(nodes) == Topology("eu", ("a", "b"))
    assert topology([]) == Topology("", ())


def test_the_labels_of_old_nodes_count_too() -> None:
    """Federation v1's labels still stand on old nodes."""
    labels = {
        "failure-domain.beta.kubernetes.io/region": "eu",
        "failure-domain.beta.kubernetes.io/zone": "a",
    }
    assert topology([{"metadata": {"labels": labels}}]) == Topology("eu", ("a",))


def test_capacity_is_what_ready_schedulable_nodes_offer() -> None:
    """Quantities are summed exactly; a broken node or quantity takes nothing from the others."""
    nodes = [node(cpu="1500m"), node(cpu="2"), node(ready=False), node(unschedulable=True), node(cpu="??")]
    found = capacity(nodes)
    assert dict(found.allocatable) == {"cpu": "3500m", "memory": "3Gi"}
    assert (found.ready_nodes, found.total_nodes) == (4, 5)


def test_the_catalogue_tells_preferred_versions_and_subresources() -> None:
    """Read from aggregated discovery, sorted, with a hash that changes with the content only."""
    resource = {
        "resource": "deployments",
        "responseKind": {"group": "apps", "version": "v1", "kind": "Deployment"},
        "scope": "Namespaced",
        "singularResource": "deployment",
        "shortNames": ["deploy"],
        "verbs": ["list", "get"],
        "subresources": [{"subresource": "status"}, {"subresource": "scale"}],
    }
    group = {
        "metadata": {"name": "apps"},
        "versions": [
            {"version": "v1", "resources": [resource]},
            {"version": "v1beta1", "resources": [resource]},
        ],
    }
    found = catalogue("eu", read_discovery([{"kind": KIND, "items": [group]}]))
    first, second = found.resources
    assert (first.version, first.preferred, second.version, second.preferred) == (
        "v1",
        True,
        "v1beta1",
        False,
    )
    assert (first.kind, first.namespaced, list(first.subresources)) == (
        "Deployment",
        True,
        ["scale", "status"],
    )
    assert found.hash == catalogue("eu", read_discovery([{"kind": KIND, "items": [group]}])).hash
    assert found.hash != catalogue("eu", read_discovery([])).hash


@given(st.lists(st.booleans(), max_size=30), st.integers(1, 5))
def test_a_cluster_is_offline_after_threshold_failures_in_a_row_and_never_before_it_was_ready(
    probes: list[bool], threshold: int
) -> None:
    """The state after any probes follows from the last ones alone."""
    health = ClusterHealth()
    for ok in probes:
        health = after(health, OK if ok else BAD, threshold=threshold)
    failed_last = next((i for i, ok in enumerate(reversed(probes)) if ok), len(probes))
    if True not in probes:
        assert health.standing is Standing.UNKNOWN
    elif failed_last < threshold:
        assert health.standing is Standing.READY
    else:
        assert (health.standing, health.reason) == (Standing.OFFLINE, "Unreachable")


REFUSED = refused(401, "Unauthorized")


@given(st.lists(st.sampled_from([OK, BAD, REFUSED]), max_size=30), st.integers(1, 5))
def test_refused_is_not_unreachable(probes: list[ProbeOutcome], threshold: int) -> None:
    """A cluster is offline only after `threshold` probes in a row without any answer since it was up, and
    a refusal is an answer; it is ready at once when a probe succeeds, and survives a restart as it is."""
    health = ClusterHealth()
    silent = 0
    for each in probes:
        before = health
        silent = silent + 1 if each is BAD else 0
        health = after(health, each, threshold=threshold)
        if each is OK:
            assert health.standing is Standing.READY
        if health.standing is Standing.OFFLINE and before.standing is not Standing.OFFLINE:
            assert each is BAD
        if before.standing is Standing.CREDENTIAL_REFUSED and health.standing is Standing.OFFLINE:
            assert silent >= threshold
        if before.standing in (Standing.OFFLINE, Standing.UNKNOWN) and each is REFUSED:
            assert health.standing is Standing.CREDENTIAL_REFUSED
        if health.standing is Standing.CREDENTIAL_REFUSED:
            stored = compiled(health=health)
            assert (stored.state, stored.conditions[0].status) == (
                cluster_pb2.CREDENTIAL_REFUSED,
                condition_pb2.FALSE,
            )
            assert standing_of(stored).standing is Standing.CREDENTIAL_REFUSED
            stored.state = cluster_pb2.UNJOINING
            assert standing_of(stored).standing is Standing.CREDENTIAL_REFUSED


def test_a_refusal_does_not_show_which_cluster_answers() -> None:
    """That another one does stands until a probe succeeds."""
    other = after(ClusterHealth(), ProbeOutcome("Why", "no", Standing.IDENTITY_MISMATCH), threshold=3)
    assert after(other, REFUSED, threshold=1) == other
    assert after(other, OK, threshold=3).standing is Standing.READY


@pytest.mark.parametrize("standing", [Standing.IDENTITY_MISMATCH, Standing.MISBEHAVING])
def test_a_cluster_that_is_not_to_be_trusted_has_a_state_of_its_own(standing: Standing) -> None:
    """Another cluster counts at once; the state survives a restart and ends with a good probe."""
    bad = ProbeOutcome("Why", "because", standing)
    threshold = 3 if standing is Standing.IDENTITY_MISMATCH else 1
    for before in (ClusterHealth(), after(ClusterHealth(), OK, threshold=3)):
        health = after(before, bad, threshold=threshold)
        assert (health.standing, health.reason) == (standing, "Why")
        stored = compiled(health=health)
        assert stored.state == cluster_pb2.ClusterState.Value(standing.name)
        assert stored.conditions[0].status == condition_pb2.UNKNOWN
        assert standing_of(stored).standing is standing
        assert after(standing_of(stored), OK, threshold=3).standing is Standing.READY


def compiled(
    *,
    health: ClusterHealth,
    previous: cluster_pb2.Cluster | None = None,
    now: datetime = NOW,
    orphans: OrphanReport | None = None,
    **spec: Any,
) -> cluster_pb2.Cluster:
    """A compiled cluster named eu."""
    inventory = Inventory(
        cluster_id="u1",
        kubernetes_version="v1.34.1",
        topology=Topology("eu", ("a", "b")),
        capacity=cluster_pb2.Capacity(ready_nodes=2, total_nodes=2),
        catalogue=cluster_pb2.ApiCatalogue(hash="h"),
    )
    return compile_cluster(
        {"metadata": {"name": "eu", "uid": "1", "labels": {"tier": "prod"}}, "spec": spec},
        health=health,
        inventory=inventory if health.standing is Standing.READY else None,
        previous=previous,
        credential_hash="c",
        orphans=orphans,
        now=now,
    )


def test_orphans_are_a_condition_with_number_and_example() -> None:
    """True while there are some; False when they are gone; none on a cluster that never had one."""
    ready = after(ClusterHealth(), OK, threshold=1)
    assert [each.type for each in compiled(health=ready).conditions] == ["Ready"]
    reference = ObjectReference(group="apps", resource="deployments", namespace="shop", name="web")
    report = OrphanReport(cluster="eu", orphans=[Orphan(object=reference)], total=3)
    told = compiled(health=ready, orphans=report)
    condition = told.conditions[1]
    assert (condition.type, condition.status) == ("Orphans", condition_pb2.TRUE)
    assert condition.message == (
        "3 objects with the federation's marks that nobody wants there, such as deployments.apps shop/web: "
        "see `hanse orphans eu`"
    )
    later = NOW + timedelta(minutes=1)
    gone = compiled(health=ready, previous=told, now=later).conditions[1]
    assert (gone.status, gone.last_transition_time.ToDatetime(UTC)) == (condition_pb2.FALSE, later)


def test_an_unreachable_cluster_keeps_what_was_known_of_it() -> None:
    """Unknown is not empty: region, zones and capacity stay; the state and its time change."""
    ready = compiled(health=after(ClusterHealth(), OK, threshold=1))
    lost = compiled(
        health=ClusterHealth(Standing.OFFLINE, 3, "Unreachable", "refused"),
        previous=ready,
        now=NOW + timedelta(minutes=1),
    )
    assert (lost.region, list(lost.zones), lost.capacity.ready_nodes) == ("eu", ["a", "b"], 2)
    assert (ready.state, lost.state) == (cluster_pb2.READY, cluster_pb2.OFFLINE)
    assert lost.conditions[0].last_transition_time.ToDatetime(UTC) == NOW + timedelta(minutes=1)


def test_nothing_new_compiles_to_the_same_message() -> None:
    """Equal to what is stored, so nothing is written, however much later."""
    ready = compiled(health=after(ClusterHealth(), OK, threshold=1))
    again = compiled(
        health=after(standing_of(ready), OK, threshold=1), previous=ready, now=NOW + timedelta(hours=1)
    )
    assert again == ready


def test_the_time_of_the_last_change_is_kept_while_nothing_changes() -> None:
    """An older release stored none: what has not changed since has none, and is not written for it."""
    first, later = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    made = with_update_time(cluster_pb2.Cluster(name="clusters/a"), None, first)
    assert made.update_time.ToDatetime(tzinfo=UTC) == first
    assert with_update_time(cluster_pb2.Cluster(name="clusters/a"), made, later) == made
    changed = with_update_time(cluster_pb2.Cluster(name="clusters/a", region="eu"), made, later)
    assert changed.update_time.ToDatetime(tzinfo=UTC) == later
    older = cluster_pb2.Cluster(name="clusters/a")
    assert with_update_time(cluster_pb2.Cluster(name="clusters/a"), older, later) == older


def test_what_the_user_says_wins_over_what_the_nodes_say() -> None:
    """Region and zones of the spec; taints with their effects; a deletion makes it leave."""
    found = compiled(
        health=after(ClusterHealth(), OK, threshold=1),
        region="mars",
        zones=["z"],
        taints=[{"key": "k", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z"}],
        unschedulable=True,
    )
    assert (found.region, list(found.zones), found.unschedulable) == ("mars", ["z"], True)
    assert found.taints[0].effect == cluster_pb2.NO_EXECUTE


def test_a_restart_goes_on_from_what_is_stored() -> None:
    """An offline cluster stays offline, a pending one pending, until a probe says otherwise."""
    ready = compiled(health=after(ClusterHealth(), OK, threshold=1))
    offline = compiled(health=ClusterHealth(Standing.OFFLINE, 3, "Unreachable", ""), previous=ready)
    pending = compiled(health=ClusterHealth())
    assert [standing_of(cluster).standing for cluster in (ready, offline, pending, None)] == [
        Standing.READY,
        Standing.OFFLINE,
        Standing.UNKNOWN,
        Standing.UNKNOWN,
    ]


KUBECONFIG = """
current-context: main
contexts: [{name: main, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "https://127.0.0.1:6443"}}]
users: [{name: u, user: {token: secret}}]
"""


def test_a_self_contained_kubeconfig_goes_round() -> None:
    """From the kubeconfig to the stored message and back; two credentials have two fingerprints."""
    access = read_kubeconfig(KUBECONFIG.encode(), context="")
    assert (access.server, access.token) == ("https://127.0.0.1:6443", "secret")
    assert to_access(to_message(access)) == access
    assert fingerprint(b"a") != fingerprint(b"b")


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ("{token: secret}|{exec: {command: evil}}", InvalidArgumentError, "exec.*--flatten"),
        ("{token: secret}|{tokenFile: /etc/passwd}", InvalidArgumentError, "tokenFile"),
        ("{token: secret}|{client-key: /k, client-certificate: /c}", InvalidArgumentError, "client-cert"),
        ("{token: secret}|{username: u, password: p}", InvalidArgumentError, "user name and password"),
        ("current-context: main|current-context: other", ConfigError, "'other'"),
        (f"{KUBECONFIG}|- not a mapping", InvalidArgumentError, "not a YAML mapping"),
        (f"{KUBECONFIG}|{{", InvalidArgumentError, "not valid YAML"),
    ],
)
def test_a_kubeconfig_that_cannot_be_used_is_refused(change: str, error: type[HanseError], says: str) -> None:
    """Commands, files, passwords and broken documents: each with one message that says what to do."""
    old, new = change.split("|")
    with pytest.raises(error, match=says):
        to_message(read_kubeconfig(KUBECONFIG.replace(old, new).encode(), context=""))


@pytest.mark.parametrize("name", ["", "EU", "eu_west", "-eu", "eu-", "a" * 64, "eu.west", "é", "eu\n"])
def test_a_cluster_needs_a_dns_label(name: str) -> None:
    """Anything else is refused with the name and the request's field in the message."""
    with pytest.raises(InvalidArgumentError, match=r"cluster_id .* is no name for a cluster") as caught:
        check_id(name, field="cluster_id")
    assert caught.value.metadata == {"field": "cluster_id"}
    with pytest.raises(InvalidArgumentError, match="no name for a cluster"):
        parse_name(f"clusters/{name}")


@pytest.mark.parametrize("name", ["", "bad", "eu-west", "clusters", "cluster/eu", "clusters/eu/west", "/eu"])
def test_a_name_has_its_form(name: str) -> None:
    """A short name is not taken for a long one, nor a child for its parent."""
    with pytest.raises(InvalidArgumentError, match="not of the form clusters/CLUSTER") as caught:
        parse_name(name, field="cluster.name")
    assert caught.value.metadata == {"field": "cluster.name"}
    assert parse_name("clusters/eu-west") == "eu-west"
    assert parse_name("clusters/eu-west/apiCatalogue", child="apiCatalogue") == "eu-west"
    with pytest.raises(InvalidArgumentError, match="clusters/CLUSTER/apiCatalogue"):
        parse_name("clusters/eu-west", child="apiCatalogue")


def test_only_what_differs_is_patched() -> None:
    """A label that is gone becomes null; the rest is not mentioned."""
    current = cluster_pb2.Cluster(labels={"a": "1", "b": "2"}, region="eu")
    wanted = cluster_pb2.Cluster(labels={"a": "1"}, region="us", unschedulable=True)
    wanted.taints.add(key="k", effect=cluster_pb2.NO_SCHEDULE)
    assert difference(current, wanted) == {
        "metadata": {"labels": {"a": "1", "b": None}},
        "spec": {
            "region": "us",
            "taints": [{"key": "k", "effect": "NoSchedule"}],
            "unschedulable": True,
        },
    }


def test_a_credential_ends_with_its_certificate_or_token() -> None:
    """The earlier of the two; an opaque token and one without an end last."""
    pair = CertificateAuthority.create().issue("x", days=3)
    certain = pair.certificate.not_valid_after_utc.timestamp()

    def token(claims: bytes) -> str:
        return f"e30.{base64.urlsafe_b64encode(claims).rstrip(b'=').decode()}.signature"

    def end(**fields: Any) -> float | None:
        return end_of(ClusterAccess(server="https://x", **fields))

    assert end(client_cert_pem=pair.cert_pem) == certain
    assert end(token=token(b'{"exp": 10}')) == 10
    for beyond in (b"1764000000000", b"1e300", b"Infinity", b"NaN", b"1" + b"0" * 400):
        assert end(token=token(b'{"exp": %s}' % beyond)) is None  # milliseconds, or a lie: no date says it
    assert end(token=token(b'{"exp": -1e300}')) == 0
    assert end(token=token(b'{"exp": 10}'), client_cert_pem=pair.cert_pem) == 10
    for lasting in ("opaque", "a.b.c", token(b"{}"), token(b"[]"), token(b'{"exp": null}')):
        assert end(token=lasting) is None
