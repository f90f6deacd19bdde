"""Keys, versions, wire helpers and the versioned table, as pure functions."""

from __future__ import annotations

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanse.errors import (
    CompactedError,
    HanseError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
    error_class,
)
from hanse.paths import CLUSTER_SCOPE, CORE
from hanse.store import Compare, Delete, Get, Op, Put, keys
from hanse.store.etcd.wire import Outcome, cannot_happen_twice, outcome, prefix_end, refusal
from hanse.store.mvcc import Table

names = st.text(
    st.characters(exclude_characters="/\x7f", exclude_categories=["Cs"], min_codepoint=32),
    min_size=1,
    max_size=512,
)


@given(st.one_of(st.just(""), names), names, st.one_of(st.just(""), names), names, names)
def test_object_keys_round_trip(group: str, resource: str, namespace: str, name: str, cluster: str) -> None:
    """Every key that can be made is parsed back to what it was made of."""
    key = keys.ObjectKey(
        "" if group == CORE else group,
        resource,
        "" if namespace == CLUSTER_SCOPE else namespace,
        name,
    )
    for prefix in (keys.OBJECTS, keys.PLACEMENTS):
        assert keys.ObjectKey.parse(key.key(prefix)) == key
    assert keys.parse_sync_state(key.sync_state(cluster)) == (key, cluster)
    assert key.sync_state(cluster).startswith(key.sync_states())
    assert key.key().startswith(keys.resource_prefix(group=key.group, resource=key.resource))
    assert key.key().startswith(
        keys.resource_prefix(group=key.group, resource=key.resource, namespace=key.namespace)
    )
    assert keys.last_segment(key.key()) == name


def test_keys_are_those_of_the_design() -> None:
    """The layout in etcd is a contract between services."""
    web = keys.ObjectKey("", "configmaps", "shop", "web")
    assert web.key() == "objects/core/configmaps/shop/web"
    assert web.key(keys.PLACEMENTS) == "placements/core/configmaps/shop/web"
    assert web.sync_state("eu-west") == "syncstates/core/configmaps/shop/web/eu-west"
    member = keys.ObjectKey("hanse.dev", "clusters", "", "eu-west")
    assert member.key() == "objects/hanse.dev/clusters/_/eu-west"
    assert str(web) == "configmaps shop/web"
    assert str(member) == "clusters.hanse.dev eu-west"
    assert keys.cluster("a") == "clusters/a"
    assert keys.catalogue("a") == "catalogues/a"
    assert keys.credential("a") == "credentials/a"
    assert keys.record("example.org", "web.shop") == "records/example.org/web.shop"
    assert keys.member("syncer", "x") == "members/syncer/x"
    assert keys.election("dns") == "elections/dns/"
    assert keys.resource_prefix() == "objects/"
    assert keys.resource_prefix(resource="pods", namespace="a") == "objects/core/pods/a/"


@pytest.mark.parametrize("name", ["", "a/b", "a\0"])
def test_a_name_that_would_break_a_key_is_refused(name: str) -> None:
    """No name can reach into another's place."""
    with pytest.raises(InvalidArgumentError):
        keys.ObjectKey("", "pods", "default", name).key()
    with pytest.raises(InvalidArgumentError):
        keys.cluster(name)


@pytest.mark.parametrize("key", ["", "objects", "objects/core/pods/a", "objects/core/pods/a/b/c", "o/c//d/e"])
def test_a_key_of_another_form_is_refused(key: str) -> None:
    """Parsing says what form it wants."""
    with pytest.raises(InvalidArgumentError, match="form"):
        keys.ObjectKey.parse(key)
    with pytest.raises(InvalidArgumentError, match="form"):
        keys.parse_sync_state(key)


@given(st.binary(max_size=4), st.binary(max_size=4))
def test_prefix_end_bounds_the_prefix(prefix: bytes, other: bytes) -> None:
    """Exactly what starts with the prefix lies from it up to its end."""
    prefix = b"/" + prefix
    assert (prefix <= other < prefix_end(prefix)) == other.startswith(prefix)
    assert prefix <= prefix + other < prefix_end(prefix)


@pytest.mark.parametrize(
    ("compares", "success", "failure", "safe"),
    [
        ([], [Get("a")], [], True),
        ([], [Put("a", b"")], [], False),
        ([], [Delete("a")], [], False),
        ([Compare.mod("a", 5)], [Put("a", b"")], [], True),
        ([Compare.mod("a", 5)], [Put("a", b""), Put("b", b"")], [Get("a")], True),
        ([Compare.mod("a", 5)], [Delete("a")], [], True),
        ([Compare.created("a", 5)], [Delete("a")], [], True),
        ([Compare.created("a", 5)], [Put("a", b"")], [], False),
        ([Compare.mod("a", 5)], [Put("b", b"")], [], False),
        ([Compare.mod("a", 5)], [Put("a", b"")], [Put("c", b"")], False),
        ([Compare.absent("a")], [Put("a", b"")], [], False),
        ([Compare.exists("a")], [Delete("a")], [], False),
        ([Compare.lease_held("e", 9)], [Put("a", b"")], [], False),
        ([Compare.mod("a", 5)], [], [Put("c", b"")], False),
    ],
)
def test_what_may_be_sent_again(
    compares: list[Compare], success: list[Op], failure: list[Op], safe: bool
) -> None:
    """Only a transaction that would fail the second time is repeated."""
    assert cannot_happen_twice(compares, success, failure) is safe


@given(st.sampled_from(list(grpc.StatusCode)), st.text(max_size=20))
def test_doubt_is_never_taken_for_certainty(code: grpc.StatusCode, details: str) -> None:
    """A failure counts as not done only if its text is known; each refusal becomes an error of ours."""
    assert outcome(code, details) is not Outcome.NOT_DONE
    assert isinstance(refusal(code, details, what="test"), HanseError)


def test_refusals_become_our_errors() -> None:
    """etcd's texts are mapped to stable reasons."""
    cases = [
        (grpc.StatusCode.OUT_OF_RANGE, "mvcc: required revision has been compacted", "COMPACTED"),
        (grpc.StatusCode.OUT_OF_RANGE, "mvcc: required revision is a future revision", "FUTURE_REVISION"),
        (grpc.StatusCode.NOT_FOUND, "etcdserver: requested lease not found", "LEASE_NOT_FOUND"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded", "STORE_FULL"),
        (grpc.StatusCode.PERMISSION_DENIED, "etcdserver: permission denied", "PERMISSION_DENIED"),
        (grpc.StatusCode.UNAUTHENTICATED, "etcdserver: invalid auth token", "UNAUTHENTICATED"),
    ]  # fmt: skip
    assert [refusal(code, text, what="test").reason for code, text, _ in cases] == [c[2] for c in cases]
    assert outcome(grpc.StatusCode.UNAVAILABLE, "failed to connect to all addresses; x") is Outcome.NOT_DONE
    assert outcome(grpc.StatusCode.RESOURCE_EXHAUSTED, "etcdserver: too many requests") is Outcome.NOT_DONE
    assert outcome(grpc.StatusCode.UNAVAILABLE, "Socket closed") is Outcome.UNKNOWN


def test_errors_carry_what_a_program_needs() -> None:
    """Code, reason, metadata and text of an error, and the class of a code."""
    error = NotFoundError("no such cluster", metadata={"cluster": "x"}, retry_after=2)
    assert (str(error), error.reason, error.metadata, error.retry_after, error.code) == (
        "no such cluster",
        "NOT_FOUND",
        {"cluster": "x"},
        2,
        grpc.StatusCode.NOT_FOUND,
    )
    compacted = CompactedError("gone", compact_revision=7)
    assert compacted.metadata == {"compactRevision": "7"}
    assert CompactedError("gone", metadata=compacted.metadata).compact_revision == 7
    assert error_class(grpc.StatusCode.RESOURCE_EXHAUSTED) is ResourceExhaustedError
    assert error_class(grpc.StatusCode.INVALID_ARGUMENT) is InvalidArgumentError
    assert error_class(grpc.StatusCode.OK) is HanseError


few = st.sampled_from(["a", "a/1", "a/2", "b", "b/1"])
writes = st.one_of(
    st.builds(Put, few, st.binary(max_size=2)), st.builds(Delete, few), st.builds(Delete, few, st.just(True))
)


@settings(max_examples=200)
@given(st.lists(writes, max_size=25), st.data())
def test_the_table_remembers_every_revision(ops: list[Op], data: st.DataObject) -> None:
    """Reads, ranges and changes agree with a copy of the whole state per revision, compacted or not."""
    table = Table()
    states: dict[int, dict[str, bytes]] = {table.revision: {}}
    for op in ops:
        state = dict(states[table.revision])
        if isinstance(op, Put):
            state[op.key] = op.value
        else:
            for key in [k for k in state if k == op.key or (op.prefix and k.startswith(op.key))]:
                del state[key]
        before = table.revision
        table.apply([op])
        assert (table.revision > before) == (state != states[before] or isinstance(op, Put))
        states[table.revision] = state
    compact = data.draw(st.integers(0, table.revision))
    if compact:
        table.compact(compact)
    for revision, state in states.items():
        if revision < compact:
            with pytest.raises(CompactedError):
                table.get("a", revision)
            continue
        for prefix in ("", "a", "a/", "b"):
            found = table.range(prefix, start_after=None, limit=0, revision=revision)
            expected = sorted((k, v) for k, v in state.items() if k.startswith(prefix))
            assert [(kv.key, kv.value) for kv in found.items] == expected
    replayed = dict(states[compact or 1])
    for _, changes in table.changes(compact + 1):
        for event in changes:
            if event.kind == "put":
                replayed[event.kv.key] = event.kv.value
            else:
                del replayed[event.kv.key]
    assert replayed == states[table.revision]
