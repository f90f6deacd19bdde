"""One API server that scenarios talk to, and the record of what it answered.

A `Side` belongs to one scenario and has a namespace of its own; nothing is retried. Next: `compare`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from hanse.kube.model.objects import Object
from tests.support.machine.raw import raw
from tests.support.object_client import ObjectClient

JSON = "application/json"
PATCHES = {
    "apply": "application/apply-patch+yaml",
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}
TABLE = f"{JSON};as=Table;g=meta.k8s.io;v=v1"
METADATA_LIST = f"{JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

_CORE = {
    "ConfigMap",
    "Endpoints",
    "Event",
    "LimitRange",
    "Namespace",
    "Node",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "Pod",
    "PodTemplate",
    "ReplicationController",
    "ResourceQuota",
    "Secret",
    "Service",
    "ServiceAccount",
}
_CLUSTERED = {
    "CertificateSigningRequest",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "DeviceTaintRule",
    "IngressClass",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
    "Namespace",
    "PersistentVolume",
    "PriorityClass",
    "RuntimeClass",
    "StorageClass",
    "StorageVersionMigration",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
    "CSIDriver",
}
_PLURALS = {
    "Endpoints": "endpoints",
    "Ingress": "ingresses",
    "MutatingAdmissionPolicy": "mutatingadmissionpolicies",
    "NetworkPolicy": "networkpolicies",
    "IngressClass": "ingressclasses",
    "PriorityClass": "priorityclasses",
    "RuntimeClass": "runtimeclasses",
    "StorageClass": "storageclasses",
    "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
}


def collection(obj: Mapping[str, Any], namespace: str) -> str:
    """Return the path of the collection that an object belongs to."""
    version, kind = str(obj["apiVersion"]), str(obj["kind"])
    plural = _PLURALS.get(kind, f"{kind.lower()}s")
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    return f"{root}/{plural}" if kind in _CLUSTERED else f"{root}/namespaces/{namespace}/{plural}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request was answered: `body` is decoded JSON, or text."""

    label: str
    status: int
    body: Any
    warnings: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        """The resourceVersion of the answered object."""
        return str(self.body["metadata"]["resourceVersion"])


@dataclass
class Side:
    """One server, as a scenario sees it."""

    name: str
    client: ObjectClient
    namespace: str
    answers: list[Answer] = field(default_factory=list)

    def record(self, label: str, body: Any, *, status: int = 0) -> None:
        """Have something compared that is no answer to one request."""
        self.answers.append(Answer(label, status, body))

    async def send(
        self,
        label: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        content: str = JSON,
        accept: str = JSON,
        **query: str,
    ) -> Answer:
        """Send a request and record the answer. `body` is an object, or bytes as they are."""
        answer = await self.ask(label, method, path, body, content=content, accept=accept, **query)
        self.answers.append(answer)
        return answer

    async def ask(
        self,
        label: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        content: str = JSON,
        accept: str = JSON,
        **query: str,
    ) -> Answer:
        """Send a request without recording the answer."""
        sent = body if isinstance(body, bytes) or body is None else orjson.dumps(body)
        headers = {"Accept": accept}
        if sent is not None:
            headers["Content-Type"] = content
        status, said, answered = await raw(
            self.client,
            method,
            path.replace("{ns}", self.namespace),
            params=query,
            body=sent,
            headers=headers,
        )
        decoded: Any
        try:
            decoded = orjson.loads(answered)
        except orjson.JSONDecodeError:
            decoded = answered.decode(errors="replace").strip()
        warnings = tuple(each.strip(", ") for each in said.get("warning", "").split("299 - ") if each.strip())
        return Answer(label, status, decoded, warnings)

    async def create(self, label: str, obj: Object, **query: str) -> Answer:
        """Create an object."""
        query = {"fieldManager": "creator", **query}
        return await self.send(label, "POST", collection(obj, self.namespace), obj, **query)

    async def apply(self, label: str, obj: Object, manager: str = "m", **query: str) -> Answer:
        """Server-side apply an object."""
        path = f"{collection(obj, self.namespace)}/{obj['metadata']['name']}"
        query = {"fieldManager": manager, **query}
        return await self.send(label, "PATCH", path, obj, content=PATCHES["apply"], **query)

    async def patch(self, label: str, path: str, patch: Any, kind: str = "merge", **query: str) -> Answer:
        """Patch an object, as manager `p`."""
        query = {"fieldManager": "p", **query}
        return await self.send(label, "PATCH", path, patch, content=PATCHES[kind], **query)
