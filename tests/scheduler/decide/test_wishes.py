"""What people write: selectors, preferences, policies and images."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hanse_scheduler.decide.overrides import rewrite_image
from hanse_scheduler.decide.planner import ClusterPreference
from hanse_scheduler.decide.policies import (
    compile_override,
    compile_placement,
)
from hanse_scheduler.decide.preferences import parse_preferences
from hanse_scheduler.decide.selector import parse_cluster_selector
from hanse_scheduler.state.policy_index import PolicyIndex, applying, ranking, selecting

from hanse.errors import InvalidArgumentError
from tests.scheduler.builders import config, deployment, policy_object

LABELS = {"tier": "prod", "rank": "5", "region": "eu"}


@pytest.mark.parametrize(
    ("operator", "key", "values", "holds"),
    [
        ("In", "tier", ["prod", "test"], True),
        ("in", "tier", ["test"], False),
        ("=", "tier", ["prod"], True),
        ("==", "tier", ["test"], False),
        ("NotIn", "tier", ["test"], True),
        ("notin", "tier", ["prod"], False),
        ("!=", "missing", ["x"], True),
        ("Exists", "tier", [], True),
        ("exists", "missing", None, False),
        ("!", "missing", [], True),
        ("DoesNotExist", "tier", [], False),
        ("Gt", "rank", ["4"], True),
        (">", "rank", ["5"], False),
        ("Lt", "rank", ["6"], True),
        ("<", "tier", ["6"], False),
        ("Gt", "missing", ["1"], False),
    ],
)
def test_operators(operator: str, key: str, values: list[str] | None, holds: bool) -> None:
    """Each operator, in Kubernetes' and in v1's spelling, means what it means in a label selector."""
    text = orjson.dumps([{"key": key, "operator": operator, "values": values}]).decode()
    assert (parse_cluster_selector(text).broken(LABELS) is None) is holds


@pytest.mark.parametrize("text", [None, "", "[]", " [] "])
def test_nothing_selects_everything(text: str | None) -> None:
    """An absent or empty selector selects every cluster."""
    assert parse_cluster_selector(text).broken({}) is None


def test_requirements_are_anded() -> None:
    """All requirements must hold."""
    text = (
        '[{"key":"tier","operator":"in","values":["prod"]},{"key":"region","operator":"in","values":["us"]}]'
    )
    broken = parse_cluster_selector(text).broken(LABELS)
    assert broken is not None
    assert broken.key == "region"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[", "not JSON"),
        ("{}", "object"),
        ("[1]", "requirement 0"),
        ('[{"operator":"Exists"}]', "key"),
        ('[{"key":"a b","operator":"Exists"}]', "a b"),
        ('[{"key":"a"}]', "operator"),
        ('[{"key":"a","operator":"In"}]', "at least one value"),
        ('[{"key":"a","operator":"=","values":["x","y"]}]', "exactly one"),
        ('[{"key":"a","operator":"Exists","values":["x"]}]', "no values"),
        ('[{"key":"a","operator":"Gt","values":["x"]}]', "integer"),
        ('[{"key":"a","operator":"In","values":["-"]}]', "label value"),
        ('[{"key":"a","operator":"In","values":"x"}]', "list of strings"),
        ('[{"key":"a","operator":"In","values":["x"],"vaules":[]}]', "vaules"),
    ],
)
def test_wrong_selectors_say_why(text: str, says: str) -> None:
    """An error names the annotation, what is wrong, and what to write."""
    with pytest.raises(InvalidArgumentError) as caught:
        parse_cluster_selector(text)
    assert says in str(caught.value)
    assert "federation.alpha.kubernetes.io/cluster-selector" in str(caught.value)
    assert "write a JSON list" in str(caught.value)


def test_preferences_as_v1_wrote_them() -> None:
    """v1's example is read; field names are matched whatever their case, as Go does."""
    text = (
        '{"Rebalance": true, "clusters": {"a": {"minReplicas": 4, "maxReplicas": 6, "weight": 1}, "*": {}}}'
    )
    preferences = parse_preferences(text, annotation="x")
    assert preferences.rebalance
    assert preferences.of("a") == ClusterPreference(min_replicas=4, max_replicas=6, weight=1)
    assert preferences.of("b") == ClusterPreference()


@pytest.mark.parametrize(
    ("image", "change", "expected"),
    [
        ("nginx", {"tag": "1"}, "nginx:1"),
        ("nginx:1", {"registry": "eu.example.org"}, "eu.example.org/nginx:1"),
        ("r:5000/a/b:1", {"registry": "eu.example.org"}, "eu.example.org/a/b:1"),
        ("r.io/a/b:1@sha256:aa", {"tag": "2"}, "r.io/a/b:2"),
        ("r.io/a/b:1", {"digest": "sha256:bb"}, "r.io/a/b@sha256:bb"),
        ("a/b:1", {"repository": "c/d"}, "c/d:1"),
        ("localhost/a:1", {"repository": "z"}, "localhost/z:1"),
    ],
)
def test_images_are_rewritten(image: str, change: dict[str, Any], expected: str) -> None:
    """Registry, repository, tag and digest are replaced one by one."""
    assert rewrite_image(image, change) == expected


def named(name: str, kind: str = "ClusterPlacementPolicy", created: str = "2026-01-01", **spec: Any) -> Any:
    obj = policy_object(kind, name, **spec)
    obj["metadata"]["creationTimestamp"] = f"{created}T00:00:00Z"
    return obj


def test_which_policy_decides() -> None:
    """Priority first, then namespaced before cluster, then the older, then by name."""
    low = named("low")
    high = named("high", priority=5, created="2026-02-01")
    own = named("own", "PlacementPolicy", created="2026-03-01")
    old = named("old", created="2025-01-01")

    def winner(*policies: Any) -> str:
        chosen = ranking(compile_placement(item) for item in policies)[0]
        assert chosen is not None
        return chosen.head.name

    assert winner(low, own, high) == "high"
    assert winner(low, own) == "own"
    assert winner(low, old) == "old"
    assert winner(named("b"), named("a")) == "a"


def test_override_policies_apply_in_rising_order() -> None:
    """What should win is applied last."""
    policies = [
        compile_override(named("high", "ClusterOverridePolicy", priority=5)),
        compile_override(named("own", "OverridePolicy")),
        compile_override(named("low", "ClusterOverridePolicy")),
    ]
    assert [item.head.name for item in applying(policies)] == ["low", "own", "high"]


def test_index_finds_what_selects() -> None:
    """A policy is found by kind, namespace, name and labels of what it selects, until it is taken out."""
    index: PolicyIndex[Any] = PolicyIndex()
    labelled = {
        "apiVersion": "apps/v1beta1",
        "kind": "Deployment",
        "labelSelector": {"matchLabels": {"app": "web"}},
    }
    index.set("1", compile_placement(named("labels", resourceSelectors=[labelled])))
    named_only = {"apiVersion": "v1", "kind": "ConfigMap", "name": "other"}
    index.set("2", compile_placement(named("name", resourceSelectors=[named_only])))
    elsewhere = {"apiVersion": "v1", "kind": "ConfigMap", "namespace": "elsewhere"}
    index.set("3", compile_placement(named("namespace", resourceSelectors=[elsewhere])))
    index.set("4", compile_placement(named("own", "PlacementPolicy")))

    def names(obj: Any, group: str) -> set[str]:
        return {item.head.name for item in selecting(index.about(obj, group=group), obj, group=group)}

    assert names(deployment(1), "apps") == {"labels", "own"}
    assert names(config(), "") == {"own"}
    index.set("1", None)
    index.set("4", None)
    assert names(deployment(1), "apps") == set()
    assert len(index) == 2


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"replicas": {"clusters": {"a": {"weight": "1"}}}}, "spec.replicas"),
        ({"tolerations": [{"operator": "Near"}]}, "spec.tolerations[0]"),
        ({"clusterSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}, "clusterSelector"),
        ({"maxClusters": -1}, "maxClusters"),
        ({"resourceSelectors": [{"apiVersion": "a/b/c", "kind": "X"}]}, "resourceSelectors[0]"),
    ],
)
def test_wrong_policies_say_why(spec: dict[str, Any], says: str) -> None:
    """A policy that cannot be used says which field is wrong, with the policy's name."""
    policy = compile_placement(policy_object(**spec))
    assert says in policy.head.error
    assert "ClusterPlacementPolicy p" in policy.head.error
