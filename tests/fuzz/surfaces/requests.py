"""Requests that are fine, for every kind of verb, body, patch and review: what `rest` changes.

Owns `request` and `seeds`. Pure data.

Next: `tests.fuzz.surfaces.rest`.
"""

from __future__ import annotations

import copy
import json
from typing import Any

from tests.apiserver.world import deployment, namespace
from tests.fuzz.engine import Input
from tests.fuzz.surfaces.served import OVERRIDE, PLACEMENT, SERVICE, WIDGET
from tests.kube.server.world import config_map, widget_crd

PATCHES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)


def request(method: str, path: str, body: Any = None, media: str = "application/json") -> Input:
    """An input."""
    text = "" if body is None else json.dumps(body)
    headers = [["Content-Type", media]] if text else []
    return {"method": method, "target": path, "headers": headers, "body": text}


_SHOP = "/api/v1/namespaces/shop"
_DEPLOYMENTS = "/apis/apps/v1/namespaces/shop/deployments"
_WIDGETS = "/apis/example.com/v1/namespaces/shop/widgets"
_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_POLICIES = "/apis/hanse.dev/v1alpha1"
_GADGET = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "required": ["a"],
            "properties": {
                "a": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 9, "enum": ["x", "y"]},
                "l": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["k"],
                    "items": {"type": "object", "properties": {"k": {"type": "string", "default": "z"}}},
                },
                "n": {
                    "anyOf": [{"type": "integer", "minimum": 1}, {"type": "string"}],
                    "x-kubernetes-int-or-string": True,
                },
                "m": {"type": "object", "additionalProperties": {"type": "number", "multipleOf": 2}},
            },
        }
    },
}


def _gadgets() -> Any:
    crd = widget_crd(
        schema={"openAPIV3Schema": _GADGET},
        selectableFields=[{"jsonPath": ".spec.a"}],
        additionalPrinterColumns=[{"name": "C", "type": "string", "jsonPath": ".spec.l[?(@.k=='z')].k"}],
    )
    crd["metadata"]["name"] = "gadgets.example.com"
    crd["spec"]["names"] = {"plural": "gadgets", "kind": "Gadget"}
    return crd


def seeds() -> list[Input]:
    """Return them all."""
    web = deployment()
    operations = [
        {"op": "copy", "from": "/spec", "path": "/metadata/annotations"},
        {"op": "add", "path": "/metadata/labels", "value": {"a": "b"}},
        {"op": "test", "path": "/spec/replicas", "value": 4},
        {"op": "move", "from": "/spec/replicas", "path": "/spec/minReadySeconds"},
    ]
    strategic = {
        "spec": {
            "template": {
                "spec": {
                    "containers": [{"name": "web", "image": "x"}],
                    "$setElementOrder/containers": [{"name": "web"}],
                }
            }
        }
    }
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "e", "namespace": "shop"},
        "reason": "x",
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "shop"},
        "type": "Normal",
    }
    scaler = {
        "apiVersion": "autoscaling/v1",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "h", "annotations": {"autoscaling.alpha.kubernetes.io/metrics": "[{}]"}},
        "spec": {"maxReplicas": 2, "scaleTargetRef": {"kind": "Deployment", "name": "web"}},
    }
    options = {
        "kind": "DeleteOptions",
        "apiVersion": "v1",
        "gracePeriodSeconds": 0,
        "preconditions": {"uid": "u"},
        "propagationPolicy": "Background",
        "dryRun": ["All"],
    }
    review = {
        "spec": {"user": "u", "groups": ["g"], "resourceAttributes": {"verb": "get", "resource": "pods"}}
    }
    managed = copy.deepcopy(WIDGET)
    managed["metadata"]["managedFields"] = [  # type: ignore[index]
        {
            "manager": "m",
            "operation": "Update",
            "apiVersion": "example.com/v1",
            "fieldsType": "FieldsV1",
            "fieldsV1": {"f:spec": {".": {}, "f:size": {}, 'k:{"a":1}': {}, "v:1": {}}},
        }
    ]
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s"},
        "stringData": {"a": "b"},
        "data": {"c": "ZA=="},
    }
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "r:x"},
        "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}],
    }
    return [
        *(
            request("GET", path)
            for path in (
                "/",
                "/api",
                "/apis",
                "/version",
                "/openapi/v2",
                "/openapi/v3/apis/apps/v1",
                "/readyz",
                "/livez/ping",
                "/api/v1",
                "/apis/example.com",
                f"{_SHOP}/configmaps",
                f"{_SHOP}/configmaps/c",
                "/api/v1/namespaces",
                _DEPLOYMENTS,
                f"{_DEPLOYMENTS}/web/scale",
                f"{_DEPLOYMENTS}/web/status",
                _WIDGETS,
                f"{_WIDGETS}/w",
                _CRDS,
                "/api/v1/events",
                "/apis/federation/v1beta1/clusters",
                f"{_POLICIES}/placements",
                f"{_POLICIES}/syncstates",
                "/api/v1/watch/nodes",
                "/apis/hanse.dev/v1alpha1/namespaces/shop/placements",
                "/api/v1/watch/namespaces/shop/configmaps",
            )
        ),
        request("POST", f"{_SHOP}/configmaps", config_map("n", namespace="shop", a="1")),
        request("POST", _DEPLOYMENTS, {**web, "metadata": {"generateName": "g-", "namespace": "shop"}}),
        request("PUT", f"{_DEPLOYMENTS}/web", web),
        request("PUT", f"{_DEPLOYMENTS}/web/status", web),
        request("PUT", f"{_DEPLOYMENTS}/web/scale", {"kind": "Scale", "spec": {"replicas": 2}}),
        request("PATCH", f"{_DEPLOYMENTS}/web", operations, PATCHES[0]),
        request("PATCH", f"{_DEPLOYMENTS}/web", {"spec": {"replicas": 3}}, PATCHES[1]),
        request("PATCH", f"{_DEPLOYMENTS}/web", strategic, PATCHES[2]),
        request("PATCH", f"{_DEPLOYMENTS}/web?fieldManager=f&force=true", web, PATCHES[3]),
        request("PATCH", f"{_WIDGETS}/w?fieldManager=f&force=true", WIDGET, PATCHES[3]),
        request("PATCH", f"{_WIDGETS}/w/status", {"status": {"x": [1]}}, PATCHES[1]),
        request("PATCH", f"{_WIDGETS}/w", operations[:2], PATCHES[0]),
        request("PUT", f"{_WIDGETS}/w", managed),
        request("POST", _WIDGETS, {**WIDGET, "metadata": {"name": "w2"}}),
        request("POST", _CRDS, _gadgets()),
        request("PUT", f"{_CRDS}/widgets.example.com", widget_crd()),
        request(
            "PATCH", f"{_CRDS}/widgets.example.com", {"spec": {"names": {"shortNames": ["x"]}}}, PATCHES[1]
        ),
        request(
            "POST", f"{_POLICIES}/namespaces/shop/overridepolicies", {**OVERRIDE, "metadata": {"name": "o2"}}
        ),
        request("POST", f"{_POLICIES}/clusterplacementpolicies", {**PLACEMENT, "metadata": {"name": "p2"}}),
        request("PUT", f"{_POLICIES}/clusterplacementpolicies/p", PLACEMENT),
        request("POST", "/api/v1/namespaces", namespace("n2")),
        request("POST", f"{_SHOP}/services", {**SERVICE, "metadata": {"name": "s2"}}),
        request("POST", f"{_SHOP}/secrets", secret),
        request("POST", f"{_SHOP}/events", event),
        request(
            "POST",
            "/apis/events.k8s.io/v1/namespaces/shop/events",
            {"metadata": {"name": "e2"}, "regarding": {}, "note": "x"},
        ),
        request("POST", "/apis/autoscaling/v1/namespaces/shop/horizontalpodautoscalers", scaler),
        request("POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles", role),
        request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review),
        request(
            "POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", {"spec": {"namespace": "shop"}}
        ),
        request("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": "t"}}),
        request(
            "POST",
            "/apis/hanse.dev/v1alpha1/clusters",
            {"metadata": {"name": "eu"}, "spec": {"taints": [{"key": "a", "effect": "NoExecute"}]}},
        ),
        request(
            "POST",
            "/apis/federation/v1beta1/clusters",
            {
                "metadata": {"name": "us"},
                "spec": {"serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "x"}]},
            },
        ),
        request("DELETE", f"{_SHOP}/configmaps/c", options),
        request("DELETE", f"{_SHOP}/configmaps?labelSelector=a%3Db", options),
        request("POST", f"{_SHOP}/pods/p/eviction", {"deleteOptions": options}),
        request("POST", f"{_SHOP}/pods/p/binding", {"target": {"name": "n"}}),
    ]
