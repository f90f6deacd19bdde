"""What belongs to clusters themselves, and what does not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.federation import belongings

RBAC = "rbac.authorization.k8s.io"
FLOWS = "flowcontrol.apiserver.k8s.io"
CONTROLLER = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "u", "controller": True}
NODE = {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "u"}


def obj(name: str, namespace: str = "", **metadata: Any) -> dict[str, Any]:
    """An object with that metadata."""
    return {"metadata": {"name": name, "namespace": namespace, **metadata}}


@pytest.mark.parametrize(
    ("group", "resource", "namespace", "name"),
    [
        ("", "namespaces", "", "default"),
        ("", "namespaces", "", "kube-system"),
        ("", "namespaces", "", "kube-public"),
        ("", "namespaces", "", "kube-node-lease"),
        ("", "namespaces", "", "kube-flannel"),
        ("", "configmaps", "kube-system", "coredns"),
        ("apps", "daemonsets", "kube-proxy", "any"),
        ("example.org", "widgets", "kube-public", "any"),
        ("", "nodes", "", "node-0"),
        ("coordination.k8s.io", "leases", "shop", "web"),
        ("coordination.k8s.io", "leasecandidates", "shop", "web"),
        ("", "services", "default", "kubernetes"),
        ("", "endpoints", "default", "kubernetes"),
        ("discovery.k8s.io", "endpointslices", "default", "kubernetes"),
        ("", "configmaps", "shop", "kube-root-ca.crt"),
        ("", "serviceaccounts", "shop", "default"),
        ("", "serviceaccounts", "default", "default"),
        ("", "events", "shop", "web.1"),
        ("events.k8s.io", "events", "shop", "web.1"),
        ("", "componentstatuses", "", "etcd-0"),
        ("metrics.k8s.io", "pods", "shop", "web-1"),
        ("apps", "controllerrevisions", "shop", "web-1"),
        ("storage.k8s.io", "csinodes", "", "node-0"),
        ("storage.k8s.io", "csistoragecapacities", "shop", "csisc-1"),
        ("storage.k8s.io", "volumeattachments", "", "csi-1"),
        ("resource.k8s.io", "resourceslices", "", "node-0-gpu"),
        ("networking.k8s.io", "ipaddresses", "", "10.96.0.1"),
        ("networking.k8s.io", "servicecidrs", "", "kubernetes"),
        ("scheduling.k8s.io", "priorityclasses", "", "system-node-critical"),
        (RBAC, "clusterroles", "", "cluster-admin"),
        (RBAC, "clusterroles", "", "system:node"),
        (RBAC, "clusterrolebindings", "", "kubeadm:node-proxier"),
        (RBAC, "rolebindings", "shop", "system:image-pullers"),
        (RBAC, "clusterrolebindings", "", "cluster-admin"),
        (FLOWS, "flowschemas", "", "catch-all"),
        (FLOWS, "prioritylevelconfigurations", "", "exempt"),
        ("certificates.k8s.io", "clustertrustbundles", "", "kubernetes.io:kube-apiserver-serving:7ee3"),
        ("certificates.k8s.io", "podcertificaterequests", "shop", "web-1"),
    ],
)
def test_belongs_by_name(group: str, resource: str, namespace: str, name: str) -> None:
    """What each cluster has, or only it makes, is known by what it is called, and the reason is said."""
    assert belongings.by_name(group, resource, namespace=namespace, name=name)
    assert belongings.of(group, resource, obj(name, namespace))


@pytest.mark.parametrize(
    ("group", "resource", "namespace", "name"),
    [
        ("", "namespaces", "", "shop"),
        ("", "namespaces", "", "kubernetes"),
        ("", "namespaces", "", "default-2"),
        ("", "configmaps", "default", "settings"),
        ("", "services", "default", "web"),
        ("", "services", "shop", "kubernetes"),
        ("", "serviceaccounts", "default", "bot"),
        ("", "secrets", "shop", "default-token-42zzz"),
        ("", "pods", "shop", "web"),
        ("", "endpoints", "shop", "web"),
        ("apps", "replicasets", "shop", "web"),
        ("example.org", "nodes", "", "n"),
        ("example.org", "widgets", "shop", "default"),
        (RBAC, "clusterroles", "", "admins"),
        (RBAC, "roles", "shop", "admin"),
        (FLOWS, "flowschemas", "", "exempt-ours"),
        ("scheduling.k8s.io", "priorityclasses", "", "high"),
        ("storage.k8s.io", "storageclasses", "", "standard"),
    ],
)
def test_what_users_make_does_not_belong_to_clusters(
    group: str, resource: str, namespace: str, name: str
) -> None:
    """Users' objects are theirs, also in the namespace `default`."""
    assert belongings.of(group, resource, obj(name, namespace)) == ""


@pytest.mark.parametrize(
    ("group", "resource", "carries"),
    [
        ("apps", "replicasets", obj("web-1", "shop", ownerReferences=[CONTROLLER])),
        ("", "pods", obj("static", "shop", ownerReferences=[NODE])),
        ("example.org", "widgets", obj("w", "shop", ownerReferences=[{"uid": "a"}, CONTROLLER])),
        (
            "",
            "endpoints",
            obj("web", "shop", labels={"endpoints.kubernetes.io/managed-by": "endpoint-controller"}),
        ),
        (
            "",
            "endpoints",
            obj("web", "shop", annotations={"endpoints.kubernetes.io/last-change-trigger-time": "t"}),
        ),
        (
            "discovery.k8s.io",
            "endpointslices",
            obj(
                "web-1",
                "shop",
                labels={"endpointslice.kubernetes.io/managed-by": "endpointslicemirroring-controller.k8s.io"},
            ),
        ),
        (RBAC, "clusterroles", obj("x", labels={"kubernetes.io/bootstrapping": "rbac-defaults"})),
        (
            RBAC,
            "roles",
            obj("x", "shop", annotations={"rbac.authorization.kubernetes.io/autoupdate": "true"}),
        ),
        (FLOWS, "flowschemas", obj("x", annotations={"apf.kubernetes.io/autoupdate-spec": "true"})),
        (
            "apiregistration.k8s.io",
            "apiservices",
            obj("v1.example.org", labels={"kube-aggregator.kubernetes.io/automanaged": "true"}),
        ),
        ("apiregistration.k8s.io", "apiservices", {**obj("v1."), "spec": {"version": "v1"}}),
        ("", "persistentvolumes", obj("pvc-1", annotations={"pv.kubernetes.io/provisioned-by": "ebs"})),
        (
            "",
            "secrets",
            {
                **obj(
                    "default-token-42zzz",
                    "shop",
                    annotations={"kubernetes.io/service-account.name": "default"},
                ),
                "type": "kubernetes.io/service-account-token",
            },
        ),
        (
            "certificates.k8s.io",
            "certificatesigningrequests",
            {**obj("csr-1"), "spec": {"signerName": "kubernetes.io/kubelet-serving"}},
        ),
    ],
)
def test_belongs_by_what_it_carries(group: str, resource: str, carries: dict[str, Any]) -> None:
    """What a cluster's controllers or API server made is known by owners, labels and annotations."""
    metadata = carries["metadata"]
    assert not belongings.by_name(group, resource, namespace=metadata["namespace"], name=metadata["name"])
    assert belongings.of(group, resource, carries)


@pytest.mark.parametrize(
    ("group", "resource", "carries"),
    [
        ("", "configmaps", obj("c", "shop", ownerReferences=[{"uid": "u", "kind": "Deployment"}])),
        ("", "configmaps", obj("c", "shop", labels={"kubernetes.io/bootstrapping": "rbac-defaults"})),
        (
            "discovery.k8s.io",
            "endpointslices",
            obj("x", "shop", labels={"endpointslice.kubernetes.io/managed-by": "me"}),
        ),
        (
            "",
            "secrets",
            {
                **obj("bot-token-x", "shop", annotations={"kubernetes.io/service-account.name": "bot"}),
                "type": "kubernetes.io/service-account-token",
            },
        ),
        (
            "apiregistration.k8s.io",
            "apiservices",
            {**obj("v1beta1.example.org"), "spec": {"service": {"name": "x", "namespace": "shop"}}},
        ),
        (
            "certificates.k8s.io",
            "certificatesigningrequests",
            {**obj("me"), "spec": {"signerName": "example.org/x"}},
        ),
        ("", "persistentvolumes", obj("disk-1")),
    ],
)
def test_what_carries_something_else_does_not_belong_to_clusters(
    group: str, resource: str, carries: dict[str, Any]
) -> None:
    """Owners that control nothing, labels of another kind and a user's own tokens are no reason."""
    assert belongings.of(group, resource, carries) == ""


def test_an_owner_is_no_reason_where_it_came_later() -> None:
    """Of what the federation made itself a controller can become the owner; a node cannot."""
    assert (
        belongings.of("apps", "replicasets", obj("w", "shop", ownerReferences=[CONTROLLER]), controlled=False)
        == ""
    )
    assert belongings.of("", "pods", obj("w", "shop", ownerReferences=[NODE]), controlled=False)


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
words = st.sampled_from(
    [
        *(
            "name",
            "namespace",
            "labels",
            "annotations",
            "ownerReferences",
            "kind",
            "apiVersion",
            "controller",
        ),
        *(
            "endpoints.kubernetes.io/managed-by",
            "kubernetes.io/service-account.name",
            "signerName",
            "service",
        ),
        "pv.kubernetes.io/provisioned-by",
    ]
)


@given(
    metadata=st.dictionaries(
        words, json | st.dictionaries(words, json) | st.lists(st.dictionaries(words, json))
    ),
    spec=json | st.dictionaries(words, json),
    resource=st.sampled_from(["secrets", "endpoints", "persistentvolumes", "configmaps", "namespaces"]),
)
def test_takes_whatever_a_member_says(metadata: dict[str, Any], spec: Any, resource: str) -> None:
    """Objects of any shape are judged, without an exception."""
    for group in ("", "certificates.k8s.io", "apiregistration.k8s.io"):
        for each in (resource, "certificatesigningrequests", "apiservices"):
            assert isinstance(belongings.of(group, each, {"metadata": metadata, "spec": spec}), str)
