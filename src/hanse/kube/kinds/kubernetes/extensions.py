"""Groups that extend the API server itself: admission, custom resources, aggregated APIs.

Pure data. Next: `hanse.kube.kinds.builtin`.
"""

from __future__ import annotations

from typing import Final

from hanse.kube.kinds.kind import Kind

API_SERVICE: Final = Kind(
    "apiregistration.k8s.io",
    "APIService",
    "apiservices",
    namespaced=False,
    categories=("api-extensions",),
    subresources=("status",),
    lenient=True,
)
MUTATING_ADMISSION_POLICY: Final = Kind(
    "admissionregistration.k8s.io",
    "MutatingAdmissionPolicy",
    "mutatingadmissionpolicies",
    namespaced=False,
    categories=("api-extensions",),
    lenient=True,
)
MUTATING_ADMISSION_POLICY_BINDING: Final = Kind(
    "admissionregistration.k8s.io",
    "MutatingAdmissionPolicyBinding",
    "mutatingadmissionpolicybindings",
    namespaced=False,
    categories=("api-extensions",),
    lenient=True,
)
MUTATING_WEBHOOK_CONFIGURATION: Final = Kind(
    "admissionregistration.k8s.io",
    "MutatingWebhookConfiguration",
    "mutatingwebhookconfigurations",
    namespaced=False,
    categories=("api-extensions",),
    lenient=True,
)
VALIDATING_ADMISSION_POLICY: Final = Kind(
    "admissionregistration.k8s.io",
    "ValidatingAdmissionPolicy",
    "validatingadmissionpolicies",
    namespaced=False,
    categories=("api-extensions",),
    subresources=("status",),
    lenient=True,
)
VALIDATING_ADMISSION_POLICY_BINDING: Final = Kind(
    "admissionregistration.k8s.io",
    "ValidatingAdmissionPolicyBinding",
    "validatingadmissionpolicybindings",
    namespaced=False,
    categories=("api-extensions",),
    lenient=True,
)
VALIDATING_WEBHOOK_CONFIGURATION: Final = Kind(
    "admissionregistration.k8s.io",
    "ValidatingWebhookConfiguration",
    "validatingwebhookconfigurations",
    namespaced=False,
    categories=("api-extensions",),
    lenient=True,
)
CUSTOM_RESOURCE_DEFINITION: Final = Kind(
    "apiextensions.k8s.io",
    "CustomResourceDefinition",
    "customresourcedefinitions",
    namespaced=False,
    short_names=("crd", "crds"),
    categories=("api-extensions",),
    subresources=("status",),
    lenient=True,
)

KINDS: Final = (
    API_SERVICE,
    MUTATING_ADMISSION_POLICY,
    MUTATING_ADMISSION_POLICY_BINDING,
    MUTATING_WEBHOOK_CONFIGURATION,
    VALIDATING_ADMISSION_POLICY,
    VALIDATING_ADMISSION_POLICY_BINDING,
    VALIDATING_WEBHOOK_CONFIGURATION,
    CUSTOM_RESOURCE_DEFINITION,
)
