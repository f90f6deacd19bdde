"""What a cluster stored differently from what it was sent is found, and nothing else is."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hanse_syncer.decide import rewritten
from hanse_syncer.decide.rewritten import caveat_of, rewritings
from hypothesis import given
from hypothesis import strategies as st

from hanse.federation.contention import VALUES_REWRITTEN

WORDS = st.text("abcxyz", min_size=1, max_size=4)
SCALARS = WORDS | st.integers(1, 1000) | st.just(True)
TREES = st.recursive(
    SCALARS, lambda inner: st.dictionaries(WORDS, inner, min_size=1, max_size=3), max_leaves=8
)
SPECS = st.dictionaries(WORDS, TREES, min_size=1, max_size=4)


def deployment(**container: Any) -> dict[str, Any]:
    """A Deployment with one container."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {
            "replicas": 3,
            "template": {"spec": {"containers": [{"name": "c", "image": "nginx", **container}]}},
        },
    }


def container_of(obj: dict[str, Any]) -> dict[str, Any]:
    """Its container."""
    found: dict[str, Any] = obj["spec"]["template"]["spec"]["containers"][0]
    return found


def _grown(value: Any, more: Any) -> Any:
    """The value with fields that it did not have, on each level."""
    if not isinstance(value, dict):
        return value
    return {"ADDED": more, **{name: _grown(item, more) for name, item in value.items()}}


@given(SPECS, TREES)
def test_what_a_cluster_adds_is_its_own(spec: dict[str, Any], more: Any) -> None:
    """Defaults and what others put beside our fields."""
    assert rewritings({"spec": _grown(spec, more), "status": {"a": 1}}, {"spec": spec}) == []


@given(SPECS, st.data())
def test_each_value_that_is_changed_is_named(spec: dict[str, Any], data: st.DataObject) -> None:
    """By its path, with both values; and one that is taken away, too."""
    live, place, path = copy.deepcopy(spec), spec, "spec"
    changed = live
    while True:
        name = data.draw(st.sampled_from(sorted(place)))
        path = f"{path}.{name}"
        if not isinstance(place[name], dict):
            break
        place, changed = place[name], changed[name]
    gone = data.draw(st.booleans())
    if gone:
        del changed[name]
    else:
        changed[name] = "OTHER"
    (found,) = rewritings({"spec": live}, {"spec": spec})
    assert (found.path, found.sent, found.stored) == (path, place[name], None if gone else "OTHER")


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ({"limits": {"cpu": "1000m", "memory": "1024Mi"}}, {"limits": {"cpu": "1", "memory": "1Gi"}}),
        ({"limits": {"cpu": 0.5}}, {"limits": {"cpu": "500m"}}),
        ({"args": [], "tty": False, "env": None, "x": {}, "y": {"z": None}}, {}),
        ({"at": "2026-01-01T00:00:00+00:00"}, {"at": "2026-01-01T00:00:00Z"}),
        ({"ports": [{"containerPort": 80}]}, {"ports": [{"containerPort": 80, "protocol": "TCP"}]}),
    ],
)
def test_the_same_value_is_the_same_however_it_is_written(
    sent: dict[str, Any], stored: dict[str, Any]
) -> None:
    """Quantities, times, and what says nothing."""
    assert rewritings(deployment(**stored), deployment(**sent)) == []


def test_a_container_beside_ours_changes_nothing() -> None:
    """A sidecar, before ours or after; what is changed in ours is named all the same."""
    live = deployment()
    live["spec"]["template"]["spec"]["containers"].insert(0, {"name": "proxy", "image": "envoy"})
    assert rewritings(live, deployment()) == []
    live["spec"]["template"]["spec"]["containers"][1]["image"] = "mirror/nginx"
    (found,) = rewritings(live, deployment())
    assert found.path == "spec.template.spec.containers[c].image"
    assert str(found).endswith("image is 'mirror/nginx' and not 'nginx'")


@pytest.mark.parametrize(
    ("stored", "paths"),
    [
        (["a", "b"], []),
        (["a", "b", "c"], []),
        (["a"], ["spec.template.spec.containers[c].args[1]"]),
        (["a", "x"], ["spec.template.spec.containers[c].args[1]"]),
    ],
)
def test_items_without_a_name_are_told_by_what_they_are(stored: list[str], paths: list[str]) -> None:
    """One that is not there any more is named by its place."""
    found = rewritings(deployment(args=stored), deployment(args=["a", "b"]))
    assert [each.path for each in found] == paths


def test_the_sentence_names_some_and_counts_the_others() -> None:
    """Of what is sealed no value is said."""
    live = deployment()
    live["metadata"]["labels"]["app"] = "other"
    live["spec"]["replicas"] = 1
    container_of(live).update(image="x", name="c")
    caveat = caveat_of(live, deployment(tty=True), False)
    assert caveat is not None
    assert caveat.reason == VALUES_REWRITTEN
    assert "metadata.labels[app] is 'other' and not 'web'; spec.replicas is 1 and not 3; " in caveat.message
    assert "; and 1 more" in caveat.message
    sealed = caveat_of(live, deployment(), True)
    assert sealed is not None
    assert "other'" not in sealed.message
    assert caveat_of(live, live, False) is None


@pytest.mark.parametrize(
    "answered",
    [
        lambda sent: ["added.example.com", *sent],
        lambda sent: [f"{item}x" for item in sent],
        lambda sent: [f"{item}x" for item in sent][1:],
    ],
    ids=["one added", "all changed", "all changed and one gone"],
)
def test_a_long_list_without_keys_takes_no_more_work(
    answered: Callable[[list[str]], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster that answers with another list does not hold up the others: comparisons are counted."""
    compared = 0

    def counted(sent: Any, stored: Any) -> bool:
        nonlocal compared
        compared += 1
        return same(sent, stored)

    same = rewritten._same
    monkeypatch.setattr(rewritten, "_same", counted)
    hosts = [f"host-{number}.example.com" for number in range(2000)]
    found = rewritings({"spec": {"hosts": answered(hosts)}}, {"spec": {"hosts": hosts}})
    assert compared <= rewritten._STEPS
    assert bool(found) == (not set(hosts) <= set(answered(hosts)))


def test_an_item_that_is_added_in_front_of_a_long_list_hides_no_other_change() -> None:
    """What is equal is not compared item by item, so what is not is found."""
    hosts = [f"host-{number}.example.com" for number in range(3000)]
    live = {"spec": {"hosts": ["added.example.com", *hosts[:-1]]}}
    assert [each.path for each in rewritings(live, {"spec": {"hosts": hosts}})] == ["spec.hosts[2999]"]
    live = {"spec": {"hosts": ["added.example.com", *hosts[:-1], "other.example.com"]}}
    assert [each.path for each in rewritings(live, {"spec": {"hosts": hosts}})] == ["spec.hosts[2999]"]
