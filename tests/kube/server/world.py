"""What the tests of the API server have in common: a served engine, kubectl, and waiting with a deadline."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from hanse.federation.strategies import federation_kinds
from hanse.flow import Flow, FlowLimits
from hanse.kube.client.access import ClusterAccess
from hanse.kube.client.requests import GroupVersionResource
from hanse.kube.engine.engine import KubeEngine
from hanse.kube.engine.hooks import Admission, View
from hanse.kube.kinds.catalogue import Catalogue
from hanse.kube.model.identity import User
from hanse.kube.model.objects import Object
from hanse.kube.server.app import KubeServer, ServerOptions
from hanse.kube.server.auth import CertificateAuthenticator, UnionAuthenticator
from hanse.kube.server.connections import ConnectionLimits
from hanse.security.pki import CertificateAuthority
from hanse.store import Store
from tests.support import objects
from tests.support.access import AllowListed, FixedTokens
from tests.support.machine.programs import Ran, run_program
from tests.support.object_client import ObjectClient

DEADLINE = 15.0
CONFIGMAPS = GroupVersionResource("v1", "configmaps")
SECRETS = GroupVersionResource("v1", "secrets")
NAMESPACES = GroupVersionResource("v1", "namespaces")
DEPLOYMENTS = GroupVersionResource("apps/v1", "deployments")
CRDS = GroupVersionResource("apiextensions.k8s.io/v1", "customresourcedefinitions")


class World:
    """A server and what is needed to reach it."""

    def __init__(
        self,
        store: Store,
        directory: Path,
        *,
        view: View | None = None,
        admission: Sequence[Admission] = (),
        window: int | None = None,
        allowed: Sequence[str] = (),
        shared: bool = False,
        catalogue: Catalogue | None = None,
        connections: ConnectionLimits | None = None,
        flow: FlowLimits | None = None,
        tokens: Mapping[str, User] | None = None,
    ) -> None:
        self.store = store
        self.directory = directory
        self.engine = KubeEngine(
            store,
            catalogue=catalogue or Catalogue(federation_kinds()),
            view=view,
            admission=admission,
            window=window,
            shared=shared,
        )
        self.authority = CertificateAuthority.create()
        pair = self.authority.issue_local("server")
        files = pair.write(directory, "server", ca_pem=self.authority.ca_pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.cert, files.key)
        context.load_verify_locations(files.ca)
        context.verify_mode = ssl.CERT_OPTIONAL
        tokens = {"admin-token": User("bob", ("system:masters",)), "low-token": User("eve")} | dict(
            tokens or {}
        )
        self.server = KubeServer(
            self.engine,
            authenticator=UnionAuthenticator(CertificateAuthenticator(), FixedTokens(tokens)),
            authorizer=AllowListed(allowed),
            options=ServerOptions(tls=context, connections=connections or ConnectionLimits()),
            checks={"engine": self.engine.ready},
            flow=Flow(flow),
        )
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.engine)
        await self._stack.enter_async_context(self.server)
        admin = self.authority.issue("admin", organizations=["system:masters"])
        user = {"client-certificate-data": _b64(admin.cert_pem), "client-key-data": _b64(admin.key_pem)}
        cluster = {"server": self.server.url, "certificate-authority-data": _b64(self.authority.ca_pem)}
        self.config: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "admin", "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
        }
        self.kubeconfig.write_text(yaml.safe_dump(self.config))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.directory / "kubeconfig"

    def access(self, *, token: str = "") -> ClusterAccess:
        """How to reach the server: as administrator, or with a token."""
        if token:
            return ClusterAccess(self.server.url, ca_pem=self.authority.ca_pem, token=token)
        return ClusterAccess.from_kubeconfig(self.kubeconfig)

    @asynccontextmanager
    async def client(self, *, token: str = "", manager: str = "test") -> AsyncIterator[ObjectClient]:
        """A client of the server."""
        async with ObjectClient(self.access(token=token), field_manager=manager, timeout=DEADLINE) as client:
            yield client


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Kubectl:
    """kubectl with one kubeconfig."""

    def __init__(self, kubeconfig: Path, environment: Mapping[str, str]) -> None:
        self._environment = {**environment, "KUBECACHEDIR": str(kubeconfig.parent / "cache")}

    async def run(
        self, *arguments: str, stdin: str = "", environment: Mapping[str, str] | None = None
    ) -> Ran:
        """Run kubectl to its end, which must come before the deadline."""
        environment = {**self._environment, **(environment or {})}
        return await run_program("kubectl", *arguments, environment=environment, stdin=stdin)

    async def __call__(
        self, *arguments: str, stdin: str = "", environment: Mapping[str, str] | None = None
    ) -> str:
        """Run kubectl, which must succeed; return what it prints."""
        done = await self.run(*arguments, stdin=stdin, environment=environment)
        assert done.code == 0, f"kubectl {' '.join(arguments)}: {done.err}{done.out}"
        return done.out

    async def json(self, *arguments: str) -> Object:
        """Run kubectl with -o json; return what it prints."""
        decoded: Object = json.loads(await self(*arguments, "-o", "json"))
        return decoded


def config_map(name: str, *, namespace: str = "default", **data: str) -> Object:
    """A ConfigMap as a user writes it."""
    return objects.config_map(name, namespace=namespace, data=data)


def deployment(name: str = "web", *, namespace: str = "default", replicas: int = 2) -> Object:
    """A Deployment as a user writes it."""
    image = objects.container(image="nginx:1")
    labels = {"labels": {"app": name}}
    return objects.deployment(
        name, namespace=namespace, replicas=replicas, containers=(image,), metadata=labels
    )


def widget_crd(**version: Any) -> Object:
    """A CRD of Widgets with a schema, defaults, columns, status and scale."""
    spec = {
        "type": "object",
        "required": ["size"],
        "properties": {
            "size": {"type": "integer", "minimum": 1},
            "color": {"type": "string", "default": "red"},
            "replicas": {"type": "integer"},
        },
    }
    status = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"type": "object", "properties": {"spec": spec, "status": status}}
    first = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {
            "status": {},
            "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
        },
        "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
        **version,
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
            "versions": [first, {**first, "name": "v1beta1", "storage": False}],
        },
    }
