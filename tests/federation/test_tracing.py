"""The trace context in a stored object."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hanse.federation.propagation import placeable, propagates
from hanse.federation.tracing import served_annotations, traceparent_of, with_traceparent
from hanse.well_known import (
    CLUSTER_SELECTOR,
    DEPLOYMENT_PREFERENCES,
    KEPT,
    OWN_GROUPS,
    TRACEPARENT,
    is_instruction,
    is_own_taint,
)

ANNOTATIONS = st.dictionaries(st.sampled_from(["a", "b", TRACEPARENT, CLUSTER_SELECTOR]), st.text(max_size=3))
OBJECTS: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    st.builds(
        lambda found: {"kind": "ConfigMap", "metadata": {"name": "c", "annotations": found}}, ANNOTATIONS
    ),
)


@given(OBJECTS, st.text(min_size=1))
def test_what_is_written_is_read(obj: dict[str, Any], traceparent: str) -> None:
    """The object has the trace of its last change, and is otherwise as it was."""
    before = repr(obj)
    traced = with_traceparent(obj, traceparent)
    assert traceparent_of(traced) == traceparent
    assert repr(obj) == before
    shown = served_annotations(traced["metadata"]["annotations"])
    assert shown == served_annotations(obj.get("metadata", {}).get("annotations", {}))
    assert TRACEPARENT not in shown


@given(OBJECTS)
def test_a_change_without_a_trace_leaves_the_object(obj: dict[str, Any]) -> None:
    """Where nobody records, what is stored stays as it is."""
    assert with_traceparent(obj, "") is obj


def test_instructions_are_what_hanse_or_federation_v1_reads() -> None:
    """Members get none of them; a label of Kubernetes or of a user is none."""
    assert all(map(is_instruction, (TRACEPARENT, KEPT, CLUSTER_SELECTOR, DEPLOYMENT_PREFERENCES)))
    assert not any(map(is_instruction, ("kubernetes.io/hostname", "example.org/a", "hanse", "federation")))
    assert is_own_taint("hanse.dev/unreachable")
    assert not is_own_taint("example.org/hanse.dev")


def test_nothing_of_the_federation_itself_is_placed() -> None:
    """Neither by itself nor by a policy."""
    for group in OWN_GROUPS:
        assert not propagates(group, "clusters")
        assert not placeable(group, "clusters")
