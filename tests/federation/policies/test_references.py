"""What a policy names that is not there."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.federation.policies.references import MAX_UNRESOLVED, Known, kinds_of, unresolved, versions_of
from hanse.federation.policies.titles import POLICIES, key_of_title, title
from hanse.federation.strategies import federation_kinds
from hanse.kube.kinds.catalogue import Catalogue

KNOWN = Known(
    clusters={"eu-west": {"tier": "gold"}, "us-east": {"tier": "silver"}},
    kinds=kinds_of(Catalogue(federation_kinds())),
    versions=versions_of(Catalogue(federation_kinds())),
)
DEPLOYMENTS = {"apiVersion": "apps/v1", "kind": "Deployment"}


def policy(**spec: Any) -> dict[str, Any]:
    """A policy about Deployments."""
    return {"kind": "PlacementPolicy", "spec": {"resourceSelectors": [DEPLOYMENTS], **spec}}


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"clusterNames": ["eu-west"], "excludeClusters": ["us-east"]},
        {"clusterSelector": {"matchLabels": {"tier": "gold"}}},
        {"replicas": {"clusters": {"*": {"weight": 1}, "us-east": {"weight": 2}}}},
        {"rules": [{"clusterNames": ["us-east"]}]},
        {"resourceSelectors": [{"apiVersion": "v1", "kind": "Secret"}]},
        {"clusterSelector": {"matchExpressions": [{"key": "tier", "operator": "Exists"}]}},
    ],
)
def test_what_is_there_is_no_complaint(spec: dict[str, Any]) -> None:
    """Clusters, labels and kinds that exist are named without a word."""
    assert unresolved(policy(**spec), KNOWN) == []


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"clusterNames": ["eu-wset"]},
            "spec.clusterNames: there is no cluster 'eu-wset': did you mean 'eu-west'?",
        ),
        ({"excludeClusters": ["mars"]}, "spec.excludeClusters: there is no cluster 'mars'"),
        (
            {"replicas": {"clusters": {"us-eats": {"weight": 1}}}},
            "spec.replicas.clusters: there is no cluster 'us-eats': did you mean 'us-east'?",
        ),
        (
            {"rules": [{"clusterNames": ["EU-WEST"]}]},
            "spec.rules[0].clusterNames: there is no cluster 'EU-WEST': did you mean 'eu-west'?",
        ),
        (
            {"clusterSelector": {"matchLabels": {"tier": "lead"}}},
            "spec.clusterSelector matches no cluster, and none has 'lead' as its 'tier'",
        ),
        (
            {"clusterSelector": {"matchLabels": {"tier": "glod"}}},
            (
                "spec.clusterSelector matches no cluster, and none has 'glod' as its 'tier': did you mean "
                "'gold'?"
            ),
        ),
        (
            {"rules": [{"clusterSelector": {"matchExpressions": [{"key": "teir", "operator": "Exists"}]}}]},
            (
                "spec.rules[0].clusterSelector matches no cluster, and none has the label 'teir': did you "
                "mean 'tier'?"
            ),
        ),
        (
            {
                "clusterSelector": {
                    "matchLabels": {"tier": "gold"},
                    "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["gold"]}],
                }
            },
            "spec.clusterSelector matches no cluster",
        ),
        (
            {"resourceSelectors": [{"apiVersion": "apps/v1beta9", "kind": "Deployment"}]},
            "spec.resourceSelectors[0]: kind 'Deployment' is not served as 'apps/v1beta9', but as apps/v1",
        ),
        ({"resourceSelectors": []}, "spec.resourceSelectors is empty, so the policy selects nothing"),
        (
            {"resourceSelectors": [{"apiVersion": "v1", "kind": "Secrt"}]},
            "spec.resourceSelectors[0]: the federation serves no kind 'Secrt' of v1: did you mean 'Secret'?",
        ),
        (
            {"resourceSelectors": [{"apiVersion": "v1", "kind": "Deployment"}]},
            (
                "spec.resourceSelectors[0]: the federation serves no kind 'Deployment' of v1: "
                "did you mean the Deployment of group apps?"
            ),
        ),
        (
            {"resourceSelectors": [{"apiVersion": "v1", "kind": "Event"}]},
            (
                "spec.resourceSelectors[0]: objects of kind Event never leave the federation, "
                "whatever a policy says"
            ),
        ),
    ],
)
def test_what_is_not_there_is_named(spec: dict[str, Any], message: str) -> None:
    """With what may have been meant."""
    assert unresolved(policy(**spec), KNOWN) == [message]


def test_only_so_many_are_named() -> None:
    """The last sentence counts the rest."""
    found = unresolved(policy(clusterNames=[f"nowhere-{n}" for n in range(50)]), KNOWN)
    assert len(found) == MAX_UNRESOLVED
    assert found[-1] == "and 31 more name nothing"


NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)


@given(kind=st.sampled_from(POLICIES), namespace=NAMES, name=NAMES)
def test_a_title_is_of_one_policy(kind: Any, namespace: str, name: str) -> None:
    """And leads back to it."""
    namespace = namespace if kind.namespaced else ""
    key = key_of_title(title(kind.name, namespace, name))
    assert key is not None
    assert (key.resource, key.namespace, key.name) == (kind.plural, namespace, name)


@pytest.mark.parametrize(
    "text", ["", "Deployment shop/web", "PlacementPolicy", "PlacementPolicy /x", "PlacementPolicy x/"]
)
def test_what_is_no_title_is_of_no_policy(text: str) -> None:
    """None, and no error: placements of a newer release may name other things."""
    assert key_of_title(text) is None
