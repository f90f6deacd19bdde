"""Taints and tolerations: what keeps new objects out, what moves those that are there, and when."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hanse_scheduler.decide.clusters import ClusterTaint
from hanse_scheduler.decide.taints import Toleration, keeps_out, leaves_at, toleration_from
from hypothesis import given
from hypothesis import strategies as st

from hanse.errors import InvalidArgumentError
from tests.scheduler.builders import NOW

TAINTS = st.lists(
    st.builds(
        lambda key, value, execute, added: ClusterTaint(
            key=key, value=value, execute=execute, added=NOW + added
        ),
        st.sampled_from(["gpu", "zone"]),
        st.sampled_from(["", "yes"]),
        st.booleans(),
        st.integers(0, 9),
    ),
    max_size=4,
)
TOLERATIONS = st.lists(
    st.builds(
        Toleration,
        key=st.sampled_from(["", "gpu", "zone"]),
        exists=st.booleans(),
        value=st.sampled_from(["", "yes"]),
        effect=st.sampled_from(["", "NoSchedule", "NoExecute"]),
        seconds=st.sampled_from([None, 0.0, 5.0]),
    ),
    max_size=4,
)
EVERYTHING = Toleration(exists=True)


def taint(key: str = "gpu", value: str = "", *, execute: bool = False) -> ClusterTaint:
    """A taint that was added now."""
    return ClusterTaint(key=key, value=value, execute=execute, added=NOW)


@pytest.mark.parametrize(
    ("toleration", "tolerates"),
    [
        (Toleration(key="gpu", exists=True), True),
        (Toleration(key="gpu", value="yes"), True),
        (Toleration(key="gpu", value="no"), False),
        (Toleration(key="gpu"), False),
        (Toleration(key="zone", exists=True), False),
        (EVERYTHING, True),
        (Toleration(value="yes"), False),
        (Toleration(key="gpu", exists=True, effect="NoSchedule"), True),
        (Toleration(key="gpu", exists=True, effect="NoExecute"), False),
    ],
)
def test_which_taints_a_toleration_is_about(*, toleration: Toleration, tolerates: bool) -> None:
    """Key, value and effect must match where they are given; no key needs Exists."""
    assert toleration.tolerates(taint(value="yes")) is tolerates


@given(TAINTS, TOLERATIONS)
def test_a_new_object_needs_a_toleration_of_every_taint(
    taints: list[ClusterTaint], tolerations: list[Toleration]
) -> None:
    """The first taint without one keeps it out; who tolerates everything is never kept out."""
    found = keeps_out(taints, tolerations)
    borne = [any(item.tolerates(each) for item in tolerations) for each in taints]
    assert (found is None) is all(borne)
    if found is not None:
        assert found is taints[borne.index(False)]
    assert keeps_out(taints, [*tolerations, EVERYTHING]) is None


@given(TAINTS, TOLERATIONS)
def test_only_no_execute_moves_what_is_there(
    taints: list[ClusterTaint], tolerations: list[Toleration]
) -> None:
    """A time goes with the taint that gives it; without a NoExecute taint there is none."""
    when, because = leaves_at(taints, tolerations)
    assert math.isfinite(when) is (because is not None)
    if because is not None:
        assert because.execute
    if not any(each.execute for each in taints):
        assert when == math.inf
    without = [each for each in taints if not each.execute]
    assert leaves_at([*taints, *without], tolerations) == (when, because)


@given(TAINTS, TOLERATIONS, TOLERATIONS)
def test_a_taint_that_is_tolerated_for_ever_by_one_and_for_a_time_by_another_ends_in_time(
    taints: list[ClusterTaint], tolerations: list[Toleration], more: list[Toleration]
) -> None:
    """More taints never give an object more time."""
    assert leaves_at(taints, tolerations)[0] >= min(
        (leaves_at([each], tolerations)[0] for each in taints), default=math.inf
    )
    assert leaves_at(taints, [*tolerations, EVERYTHING, *more])[0] > 0.0


@pytest.mark.parametrize(
    ("tolerations", "when"),
    [
        ([], 0.0),
        ([EVERYTHING], math.inf),
        ([Toleration(exists=True, seconds=30.0)], NOW + 30),
        ([Toleration(exists=True, seconds=30.0), EVERYTHING], NOW + 30),
        ([Toleration(exists=True, seconds=30.0), Toleration(key="gpu", exists=True, seconds=9.0)], NOW + 9),
        ([Toleration(key="zone", exists=True)], 0.0),
    ],
)
def test_when_an_object_leaves(tolerations: list[Toleration], when: float) -> None:
    """At once without a toleration, after the shortest of several, never without a limit."""
    assert leaves_at([taint(execute=True)], tolerations)[0] == when


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"operator": "Exists"}, EVERYTHING),
        ({"key": "gpu", "value": "yes"}, Toleration(key="gpu", value="yes")),
        (
            {"key": "gpu", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30},
            Toleration(key="gpu", exists=True, effect="NoExecute", seconds=30.0),
        ),
        (
            {"key": "gpu", "operator": "Exists", "tolerationSeconds": -1},
            Toleration(key="gpu", exists=True, seconds=0.0),
        ),
    ],
)
def test_what_is_written(item: dict[str, Any], expected: Toleration) -> None:
    """Kubernetes' fields with Kubernetes' meaning; less than no time is no time."""
    assert toleration_from(item, where="tolerations[0]") == expected


@pytest.mark.parametrize(
    ("item", "what"),
    [
        ([], "is not an object"),
        ({"key": "gpu", "operator": "In"}, "operator"),
        ({"operator": "Exists", "effect": "PreferNoSchedule"}, "effect"),
        ({"value": "yes"}, "key is empty"),
        ({"key": "gpu", "tolerationSeconds": "30"}, "tolerationSeconds"),
        ({"key": "gpu", "tolerationSeconds": True}, "tolerationSeconds"),
    ],
)
def test_what_is_wrong_is_named(item: Any, what: str) -> None:
    """The message begins with where it is and names the field."""
    with pytest.raises(InvalidArgumentError, match=rf"^tolerations\[0\].*{what}"):
        toleration_from(item, where="tolerations[0]")
