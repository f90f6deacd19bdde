"""Filters of lists: what they choose, and what is said of those that cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.api.registry.v1 import cluster_pb2
from hanse.api.registry.v1.cluster_pb2 import Cluster
from hanse.api.scheduler.v1.placement_pb2 import ClusterPlacement, ClusterRelease, Placement
from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.api.syncer.v1.sync_state_pb2 import SyncState
from hanse.errors import InvalidArgumentError
from hanse.rpc.lists.filters import MAX_CHARS, MAX_DEPTH, ListFilter
from hanse.rpc.lists.parents import parent_prefix

EU = Cluster(
    name="clusters/eu-west",
    state=cluster_pb2.READY,
    labels={"tier": "prod", "topology.kubernetes.io/zone": "a"},
    zones=["eu-west-a", "eu-west-b"],
    capacity=cluster_pb2.Capacity(ready_nodes=3, total_nodes=4),
    taints=[cluster_pb2.Taint(key="maintenance", effect=cluster_pb2.NO_SCHEDULE)],
)
EU.create_time.FromDatetime(datetime(2026, 5, 1, tzinfo=UTC))
WEB = Placement(
    name="placements/apps/deployments/shop/web",
    clusters=[ClusterPlacement(cluster="eu", replicas=2), ClusterPlacement(cluster="us")],
    releasing=[ClusterRelease(cluster="old")],
)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "state = READY",
        "state=READY",
        "state != OFFLINE AND name = clusters/eu-west",
        "state = OFFLINE OR state = READY",
        "NOT state = OFFLINE",
        "-state = OFFLINE",
        "- (state = OFFLINE)",
        'name = "clusters/*"',
        "name = *west",
        "name = *eu*",
        "name != *asia*",
        "name:clusters/eu-west",
        "labels.tier = prod",
        "labels:tier",
        "NOT labels:region",
        "labels.region != eu",
        'labels."topology.kubernetes.io/zone" = a',
        "labels.topology.kubernetes.io/zone = a",
        "labels:*",
        "zones:eu-west-a",
        "zones:*-b",
        "zones:*",
        "taints.key:maintenance",
        "taints.effect:NO_SCHEDULE",
        "capacity.ready_nodes >= 3 capacity.total_nodes < 5",
        "capacity.ready_nodes = 3.0",
        "capacity:*",
        "NOT delete_time:*",
        "delete_time != 2026-05-01",
        'create_time > "2026-04-30T23:59:59Z" create_time <= "2026-05-01T02:00:00+02:00"',
        "unschedulable = false",
        "NOT etag:*",
    ],
)
def test_what_a_cluster_satisfies(text: str) -> None:
    """Each of these is true of the cluster, and its negation is not."""
    assert ListFilter.parse(text, Cluster.DESCRIPTOR).matches(EU)
    if text.strip():
        assert not ListFilter.parse(f"NOT ({text})", Cluster.DESCRIPTOR).matches(EU)


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("clusters.cluster:eu", True),
        ("clusters.cluster:old", False),
        ("clusters.cluster:old OR releasing.cluster:old", True),
        ("clusters.replicas:2", True),
        ("clusters.replicas:0", False),
        ("refused:*", False),
        ("object.name = web", False),
    ],
)
def test_elements_of_lists(text: str, matches: bool) -> None:
    """One element at least has what is asked for; what is not set is equal to nothing."""
    assert ListFilter.parse(text, Placement.DESCRIPTOR).matches(WEB) is matches


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("web", "web is not compared with anything"),
        ("colour = red", "colour is not a field of Cluster; its fields are annotations"),
        ("state = GREEN", "one of CLUSTER_STATE_UNSPECIFIED, PENDING"),
        ("state > READY", "compared by = or !="),
        ("unschedulable = yes", "true or false"),
        ("capacity.ready_nodes > many", "is a number, and 'many' is none"),
        ("create_time > yesterday", "is a time"),
        ("zones = eu-west-a", "zones is a list: ask with zones:VALUE"),
        ("labels = x", "labels is a map"),
        ("taints:maintenance", "taints is a list of Taint: name a field of it"),
        ("capacity = 3", "capacity is a Capacity: name a field of it"),
        ("name.first = x", "name has no fields"),
        ("zones.first:x", "zones has no fields"),
        ("(state = READY", "a parenthesis is not closed"),
        ("state = READY)", "')' is not expected there"),
        ("state =", "has no value"),
        ("state = AND", "one of CLUSTER_STATE_UNSPECIFIED"),
        ("state = READY AND", "a field is expected, and not 'the end'"),
        ("OR state = READY", "OR is not compared"),
        ("= READY", "a field is expected, and not '='"),
        ('name = "open', "cannot be read"),
        ("name = a§b", "cannot be read"),
        (".name = x", "is no field"),
        ("name = " + "x" * MAX_CHARS, f"{MAX_CHARS} are the most"),
        ("(" * 50 + "state = READY" + ")" * 50, f"more than {MAX_DEPTH} deep"),
        ("NOT " * 50 + "state = READY", f"more than {MAX_DEPTH} deep"),
    ],
)
def test_what_cannot_be_used_is_named(text: str, why: str) -> None:
    """The error names the field of the request, and what is wrong with it."""
    with pytest.raises(InvalidArgumentError) as refused:
        ListFilter.parse(text, Cluster.DESCRIPTOR)
    assert why in str(refused.value)
    assert (refused.value.reason, refused.value.metadata["field"]) == ("FILTER_INVALID", "filter")


def test_bytes_cannot_be_compared() -> None:
    """Nor searched."""
    with pytest.raises(InvalidArgumentError, match="status is bytes"):
        ListFilter.parse("status = x", SyncState.DESCRIPTOR)


@pytest.mark.parametrize(
    ("text", "fixed"),
    [
        ("cluster = a", {"cluster": "a"}),
        ('cluster = "a b" AND phase = APPLIED', {"cluster": "a b", "phase": "APPLIED"}),
        ("(cluster = a)", {"cluster": "a"}),
        ("cluster = a OR phase = APPLIED", {}),
        ("reason = x AND (cluster = a OR cluster = b)", {"reason": "x"}),
        ("NOT cluster = a", {}),
        ("-cluster = a", {}),
        ("cluster = a*", {}),
        ("cluster != a", {}),
        ("object.name = a", {}),
    ],
)
def test_what_must_have_one_text_is_known(text: str, fixed: dict[str, str]) -> None:
    """A service need not read what has another."""
    assert ListFilter.parse(text, SyncState.DESCRIPTOR).fixed == fixed


# Expressions as trees, with what they mean: the same as written out and read again.

Meaning = Callable[[Any], bool]
Node = tuple[str, Meaning]
WORDS = st.sampled_from(["a", "b", "ab", 'say "so"', "x y", "", "back\\slash", "NOT", "(", "ü"])
PHASES = st.sampled_from(["APPLIED", "FAILED", "CONFLICT"])


def quoted(text: str) -> str:
    """A text as a filter has it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


LEAVES: st.SearchStrategy[Node] = st.one_of(
    WORDS.map(lambda word: (f"cluster = {quoted(word)}", lambda state: bool(state.cluster == word))),
    WORDS.map(lambda word: (f"cluster != {quoted(word)}", lambda state: bool(state.cluster != word))),
    WORDS.map(lambda word: (f"reason < {quoted(word)}", lambda state: bool(state.reason < word))),
    PHASES.map(
        lambda name: (f"phase = {name}", lambda state: bool(state.phase == sync.SyncPhase.Value(name)))
    ),
    st.integers(-3, 3).map(lambda n: (f"failures >= {n}", lambda state: bool(state.failures >= n))),
)


def joined(word: str, how: Callable[[Any], bool]) -> Callable[[list[Node]], Node]:
    """Join nodes by a word."""

    def join(nodes: list[Node]) -> Node:
        text = word.join(f"({text})" for text, _ in nodes)
        return text, lambda state: how(meaning(state) for _, meaning in nodes)

    return join


NODES: st.SearchStrategy[Node] = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(joined(" AND ", all)),
        st.lists(inner, min_size=1, max_size=3).map(joined(" ", all)),
        st.lists(inner, min_size=1, max_size=3).map(joined(" OR ", any)),
        inner.map(lambda node: (f"NOT ({node[0]})", lambda state: not node[1](state))),
        inner.map(lambda node: (f"-({node[0]})", lambda state: not node[1](state))),
    ),
    max_leaves=6,
)
STATES = st.builds(
    SyncState,
    cluster=WORDS,
    reason=WORDS,
    phase=PHASES.map(sync.SyncPhase.Value),
    failures=st.integers(-3, 3),
)


@given(node=NODES, state=STATES)
def test_a_filter_means_what_it_says(node: Node, state: SyncState) -> None:
    """Whatever is nested in whatever; and what it fixes holds of all that it chooses."""
    text, meaning = node
    read = ListFilter.parse(text, SyncState.DESCRIPTOR)
    assert read.matches(state) is meaning(state)
    if read.matches(state) and "cluster" in read.fixed:
        assert state.cluster == read.fixed["cluster"]


@given(a=LEAVES, b=LEAVES, c=LEAVES, state=STATES)
def test_or_binds_closer_than_and(a: Node, b: Node, c: Node, state: SyncState) -> None:
    """As AIP-160 has it."""
    read = ListFilter.parse(f"{a[0]} AND {b[0]} OR {c[0]}", SyncState.DESCRIPTOR)
    assert read.matches(state) is (a[1](state) and (b[1](state) or c[1](state)))


@given(st.text(st.sampled_from("ab.()<>=:!*-\"'\\ \nNOTANDR"), max_size=40))
def test_nothing_but_an_invalid_argument_comes_of_any_text(text: str) -> None:
    """Whatever is sent is read or refused, and what is read can be asked."""
    try:
        read = ListFilter.parse(text, SyncState.DESCRIPTOR)
    except InvalidArgumentError:
        return
    assert read.matches(SyncState()) in (True, False)


@pytest.mark.parametrize(
    ("parent", "prefix"),
    [
        ("", "placements/"),
        ("placements", "placements/"),
        ("placements/apps", "placements/apps/"),
        ("placements/core/services/shop", "placements/core/services/shop/"),
    ],
)
def test_a_parent_is_a_whole_number_of_segments(parent: str, prefix: str) -> None:
    """With the slash at the end `web` does not have what `web2` has."""
    assert parent_prefix(parent, "placements", depth=3) == prefix


@pytest.mark.parametrize(
    "parent", ["objects", "placements/", "placements//x", "/placements", "placements/a/b/c/d", "p"]
)
def test_what_is_no_parent_is_refused(parent: str) -> None:
    """The error names the field and the collection."""
    with pytest.raises(InvalidArgumentError, match="is not placements") as refused:
        parent_prefix(parent, "placements", depth=3)
    assert refused.value.metadata["field"] == "parent"
