"""Copies of members made into intent again: nothing of others, nothing lost, and what differs is listed."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hanse_local.rebuild.rebuilding import PREFERENCES, applied, put_together, written
from hanse_syncer.ownership import labels

from hanse.kube.merge import fieldsets
from hanse.store.keys import ObjectKey
from hanse.well_known import CLUSTER_SELECTOR
from tests.support import objects

WEB = ObjectKey("apps", "deployments", "shop", "web")
MAP = ObjectKey("", "configmaps", "shop", "a")


def managed(fields: dict[str, Any], *, manager: str = "hanse", operation: str = "Apply") -> dict[str, Any]:
    """An entry of managedFields."""
    return {
        "manager": manager,
        "operation": operation,
        "apiVersion": "v1",
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }


def config_map(**data: str) -> dict[str, Any]:
    """A ConfigMap as `applied` returns it."""
    return objects.config_map("a", namespace="shop", data=data)


def deployment(replicas: int, image: str = "web:1") -> dict[str, Any]:
    """A Deployment as `applied` returns it."""
    template = {"spec": {"containers": [{"name": "main", "image": image}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop", "annotations": {"mine": "x"}},
        "spec": {"replicas": replicas, "template": template},
    }


@pytest.mark.parametrize(
    ("value", "fields", "extracted"),
    [
        ({"a": 1, "b": 2}, {"f:a": {}}, {"a": 1}),
        ({"a": {"b": 1, "c": 2}}, {"f:a": {"f:b": {}}}, {"a": {"b": 1}}),
        ({"a": {"b": 1}}, {"f:a": {}}, {"a": {"b": 1}}),
        ({"a": {"b": 1}}, {"f:a": {".": {}, "f:c": {}}}, {"a": {}}),
        ({"a": 1}, {"f:other": {}}, {}),
        (
            {"l": [{"name": "x", "v": 1, "d": 0}, {"name": "y", "v": 2}]},
            {"f:l": {'k:{"name":"x"}': {".": {}, "f:name": {}, "f:v": {}}}},
            {"l": [{"name": "x", "v": 1}]},
        ),
        ({"s": ["a", "b"]}, {"f:s": {'v:"b"': {}}}, {"s": ["b"]}),
        ({"s": ["a", "b"]}, {"f:s": {}}, {"s": ["a", "b"]}),
        ({"s": ["a", "b"]}, {"f:s": {"i:0": {}}}, {"s": ["a"]}),
    ],
)
def test_what_a_manager_applied_is_told_by_its_fields(value: Any, fields: Any, extracted: Any) -> None:
    """In maps, in lists by key, by value and by place."""
    assert fieldsets.extracted(value, fieldsets.from_wire(fields)) == extracted


def test_only_what_hanse_applied_is_intent() -> None:
    """Not what the member defaulted, another manager added, or a controller reported; nor our marks."""
    live = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "web",
            "namespace": "shop",
            "uid": "u",
            "resourceVersion": "7",
            "labels": {"app": "web", "theirs": "x", **labels("f")},
            "annotations": {"somebody": "else"},
            "managedFields": [
                managed({"f:status": {"f:loadBalancer": {}}}, manager="cloud", operation="Update"),
                managed(
                    {
                        "f:metadata": {
                            "f:labels": {
                                "f:app": {},
                                "f:hanse.dev/federation": {},
                                "f:app.kubernetes.io/managed-by": {},
                            }
                        },
                        "f:spec": {
                            "f:ports": {'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}}},
                            "f:selector": {},
                        },
                    }
                ),
            ],
        },
        "spec": {
            "clusterIP": "10.0.0.1",
            "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30123}],
            "selector": {"app": "web"},
        },
        "status": {"loadBalancer": {}},
    }
    assert applied(live) == {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
        "spec": {"ports": [{"port": 80}], "selector": {"app": "web"}},
    }


def test_an_object_whose_managed_fields_were_lost_is_taken_as_it_is() -> None:
    """Without what servers write."""
    live = config_map(x="1")
    live["metadata"] |= {"uid": "u", "resourceVersion": "7", "labels": labels("f")}
    assert applied(live) == config_map(x="1")


def test_copies_that_agree_are_one_object_where_it_is() -> None:
    """Pinned to the clusters that have it."""
    (made,) = put_together({MAP: {"us": config_map(x="1"), "eu": config_map(x="1")}})
    assert (dict(made.clusters), made.disagreements) == ({"eu": None, "us": None}, ())
    annotations = made.manifest["metadata"]["annotations"]
    assert json.loads(annotations[CLUSTER_SELECTOR]) == [
        {"key": "hanse.dev/cluster", "operator": "In", "values": ["eu", "us"]}
    ]
    assert made.manifest["data"] == {"x": "1"}


def test_replicas_that_were_divided_are_added_up_and_stay() -> None:
    """That they differ is no disagreement; what the author annotated stays."""
    (made,) = put_together({WEB: {"eu": deployment(3), "us": deployment(2), "on": deployment(0)}})
    assert made.disagreements == ()
    assert made.manifest["spec"]["replicas"] == 5
    annotations = made.manifest["metadata"]["annotations"]
    assert annotations["mine"] == "x"
    assert json.loads(annotations[PREFERENCES["apps", "deployments"]]) == {
        "rebalance": False,
        "clusters": {
            "eu": {"minReplicas": 3, "weight": 3},
            "on": {"minReplicas": 0, "weight": 0},
            "us": {"minReplicas": 2, "weight": 2},
        },
    }


def test_what_differs_is_listed_with_what_is_taken() -> None:
    """The value of most clusters; of the first by name where none leads; also what only some have."""
    copies = {"c": config_map(x="2"), "a": config_map(x="1", y="z"), "b": config_map(x="2")}
    (made,) = put_together({MAP: copies})
    assert [str(each) for each in made.disagreements] == [
        'data.x: a: "1"; b: "2"; c: "2"; taken: "2"',
        'data.y: a: "z"; b: (absent); c: (absent); taken: (absent)',
    ]
    assert made.manifest["data"] == {"x": "2"}
    (tied,) = put_together({MAP: {"b": config_map(x="2"), "a": config_map(x="1")}})
    assert tied.manifest["data"] == {"x": "1"}


def test_replicas_that_are_not_divided_must_agree() -> None:
    """A StatefulSet runs whole in each cluster."""
    key = ObjectKey("apps", "statefulsets", "shop", "web")
    (made,) = put_together({key: {"eu": deployment(3), "us": deployment(2)}})
    assert [each.path for each in made.disagreements] == ["spec.replicas"]


def test_a_job_in_several_clusters_is_for_people() -> None:
    """How its completions were divided is not known, and it must not run again."""
    key = ObjectKey("batch", "jobs", "shop", "once")
    assert not put_together({key: {"eu": config_map()}})[0].disagreements
    assert put_together({key: {"eu": config_map(), "us": config_map()}})[0].disagreements


def test_what_holds_others_is_created_first_and_a_namespace_is_not_pinned() -> None:
    """It goes where what is in it goes."""
    space = ObjectKey("", "namespaces", "", "shop")
    kind = ObjectKey("apiextensions.k8s.io", "customresourcedefinitions", "", "widgets.example.org")
    found = put_together({MAP: {"eu": config_map()}, kind: {"eu": config_map()}, space: {"eu": config_map()}})
    assert [each.key for each in found] == [space, kind, MAP]
    assert "annotations" not in found[0].manifest["metadata"]


def test_the_plan_can_be_reviewed() -> None:
    """It is YAML, in which each document is one object and what differs stands in front of it."""
    plan = put_together({MAP: {"eu": config_map(x="1"), "us": config_map(x="2\n# not a remark")}})
    text = written(plan, federation_id="f", notes=["secrets in eu: forbidden\nline"])
    documents = [each for each in yaml.safe_load_all(text) if each]
    assert documents == [each.manifest for each in plan]
    assert '# DISAGREEMENT data.x: eu: "1"; us: ' in text
    assert "# Not read: secrets in eu: forbidden line\n" in text
