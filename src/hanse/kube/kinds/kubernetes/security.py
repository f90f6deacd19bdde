"""Groups authentication, authorization, certificates and rbac: who may do what.

Pure data. Next: `hanse.kube.kinds.builtin`.
"""

from __future__ import annotations

from typing import Final

from hanse.kube.kinds.kind import CREATE, Kind, SelectableField

SELF_SUBJECT_REVIEW: Final = Kind(
    "authentication.k8s.io",
    "SelfSubjectReview",
    "selfsubjectreviews",
    namespaced=False,
    verbs=CREATE,
    virtual=True,
)
TOKEN_REVIEW: Final = Kind(
    "authentication.k8s.io", "TokenReview", "tokenreviews", namespaced=False, verbs=CREATE, virtual=True
)
LOCAL_SUBJECT_ACCESS_REVIEW: Final = Kind(
    "authorization.k8s.io",
    "LocalSubjectAccessReview",
    "localsubjectaccessreviews",
    verbs=CREATE,
    virtual=True,
)
SELF_SUBJECT_ACCESS_REVIEW: Final = Kind(
    "authorization.k8s.io",
    "SelfSubjectAccessReview",
    "selfsubjectaccessreviews",
    namespaced=False,
    verbs=CREATE,
    virtual=True,
)
SELF_SUBJECT_RULES_REVIEW: Final = Kind(
    "authorization.k8s.io",
    "SelfSubjectRulesReview",
    "selfsubjectrulesreviews",
    namespaced=False,
    verbs=CREATE,
    virtual=True,
)
SUBJECT_ACCESS_REVIEW: Final = Kind(
    "authorization.k8s.io",
    "SubjectAccessReview",
    "subjectaccessreviews",
    namespaced=False,
    verbs=CREATE,
    virtual=True,
)
CERTIFICATE_SIGNING_REQUEST: Final = Kind(
    "certificates.k8s.io",
    "CertificateSigningRequest",
    "certificatesigningrequests",
    namespaced=False,
    short_names=("csr",),
    subresources=("status", "approval"),
    selectable=(SelectableField("spec.signerName"),),
    lenient=True,
)
CLUSTER_TRUST_BUNDLE: Final = Kind(
    "certificates.k8s.io", "ClusterTrustBundle", "clustertrustbundles", namespaced=False, lenient=True
)
POD_CERTIFICATE_REQUEST: Final = Kind(
    "certificates.k8s.io",
    "PodCertificateRequest",
    "podcertificaterequests",
    subresources=("status",),
    lenient=True,
)
CLUSTER_ROLE_BINDING: Final = Kind(
    "rbac.authorization.k8s.io", "ClusterRoleBinding", "clusterrolebindings", namespaced=False
)
CLUSTER_ROLE: Final = Kind("rbac.authorization.k8s.io", "ClusterRole", "clusterroles", namespaced=False)
ROLE_BINDING: Final = Kind("rbac.authorization.k8s.io", "RoleBinding", "rolebindings")
ROLE: Final = Kind("rbac.authorization.k8s.io", "Role", "roles")

KINDS: Final = (
    SELF_SUBJECT_REVIEW,
    TOKEN_REVIEW,
    LOCAL_SUBJECT_ACCESS_REVIEW,
    SELF_SUBJECT_ACCESS_REVIEW,
    SELF_SUBJECT_RULES_REVIEW,
    SUBJECT_ACCESS_REVIEW,
    CERTIFICATE_SIGNING_REQUEST,
    CLUSTER_TRUST_BUNDLE,
    POD_CERTIFICATE_REQUEST,
    CLUSTER_ROLE_BINDING,
    CLUSTER_ROLE,
    ROLE_BINDING,
    ROLE,
)
