"""From a request to its handler: who is calling, or acts as whom, what about, may they, and who answers.

Stateless between requests. Next: `hanse.kube.server.endpoints`, a module for each group of verbs.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence

from aiohttp import web
from aiohttp.typedefs import Handler

from hanse.errors import InvalidArgumentError, NotFoundError, PermissionDeniedError, UnauthenticatedError
from hanse.flow import Flow
from hanse.kube.engine.engine import KubeEngine
from hanse.kube.kinds.kubernetes import core
from hanse.kube.model.identity import Attributes, User
from hanse.kube.model.status import METHOD_NOT_ALLOWED
from hanse.kube.server.auth import Authenticator, Authorizer, Credentials, bearer_token
from hanse.kube.server.endpoints import read, write
from hanse.kube.server.endpoints.discovery import DiscoveryHandlers
from hanse.kube.server.endpoints.health import HEALTH, health, health_paths
from hanse.kube.server.endpoints.reviews import Reviews
from hanse.kube.server.endpoints.watch import Stopping, watch
from hanse.kube.server.impersonation import IMPERSONATE, impersonation_of
from hanse.kube.server.request import CALL, Call, ResourcePath, check_timeout, parse_path, verb_of

SubresourceHandler = Callable[[Call, KubeEngine], Awaitable[web.StreamResponse]]
"""Answers requests for a subresource; `call.verb` says which verb."""

_UPDATES = frozenset({"status", "finalize", "approval", "ephemeralcontainers", "resize"})
"""Subresources that are the object itself, with another part open to change."""


class Dispatcher:
    """Answers all requests of a server."""

    def __init__(
        self,
        engine: KubeEngine,
        *,
        authenticator: Authenticator,
        authorizer: Authorizer,
        git_version: str,
        address: Callable[[], str],
        routes: Sequence[tuple[str, str, Handler]],
        subresources: Mapping[tuple[str, str, str], SubresourceHandler],
        checks: Mapping[str, Callable[[], Awaitable[None]]],
        flow: Flow,
    ) -> None:
        self._engine = engine
        self._flow = flow
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._routes = {(method, path): handler for method, path, handler in routes}
        self._checks = dict(checks)
        self._discovery = DiscoveryHandlers(
            engine.catalogue,
            git_version=git_version,
            address=address,
            others=(*health_paths(self._checks), *(path for method, path in self._routes if method == "GET")),
        )
        self._reviews = Reviews(authenticator=authenticator, authorizer=authorizer)
        self._subresources: dict[tuple[str, str, str], SubresourceHandler] = {
            (*core.POD.group_plural, "binding"): write.bind,
            (*core.POD.group_plural, "eviction"): write.evict,
            **subresources,
        }
        self.stopping = Stopping()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request."""
        path = request.path
        if path.startswith(HEALTH) and request.method in ("GET", "HEAD"):
            return await health(request, self._checks)
        sender = await self._authenticate(request)
        target = parse_path(path)
        # Who sends counts, not whom it acts as: else one sender could be many.
        if target is not None and _watches(request, target):
            with self._flow.watch(sender.name, sender.groups):
                return await self._answer(request, sender, target)
        async with self._flow.request(sender.name, sender.groups):
            return await self._answer(request, sender, target)

    async def _answer(
        self, request: web.Request, sender: User, target: ResourcePath | None
    ) -> web.StreamResponse:
        user = await self._act_as(request, sender)
        if target is None:
            return await self._other(request, user)
        return await self._resource(request, user, target)

    async def _authenticate(self, request: web.Request) -> User:
        user = await self._authenticator.authenticate(credentials_of(request))
        if user is None:
            raise UnauthenticatedError("Unauthorized")
        return user

    async def _act_as(self, request: web.Request, sender: User) -> User:
        """Return the user that a request acts as: its sender, or whom that may impersonate."""
        impersonation = impersonation_of(request.headers.items())
        if impersonation is None:
            return sender
        for asked in impersonation.asked:
            await self._authorize(sender, asked, IMPERSONATE)
        return impersonation.user

    async def _other(self, request: web.Request, user: User) -> web.StreamResponse:
        attributes = Attributes(user=user, verb=request.method.lower(), path=request.path)
        decision = await self._authorizer.authorize(attributes)
        if not decision.allowed:
            raise PermissionDeniedError(
                f'forbidden: User "{user.name}" cannot {attributes.verb} path "{request.path}"'
                + (f": {decision.reason}" if decision.reason else "")
            )
        handler = self._routes.get((request.method, request.path))
        if handler is not None:
            return await handler(request)
        if request.method not in ("GET", "HEAD"):
            raise NotFoundError("the server could not find the requested resource")
        return await self._discovery.serve(request)

    async def _resource(self, request: web.Request, user: User, path: ResourcePath) -> web.StreamResponse:
        verb = verb_of(request.method, path, watch=_watches(request, path))
        if not verb:
            raise _not_allowed()
        await self._authorize(user, path, verb)
        info = self._engine.catalogue.require(path.group, path.version, path.resource)
        if bool(path.namespace) and not info.namespaced:
            raise NotFoundError("the server could not find the requested resource")
        if verb != "watch":
            check_timeout(request.query.get("timeout", ""))
        warnings = [info.deprecation] if info.deprecation else []
        call = Call(request, info, path, verb, user, now=self._engine.clock(), warnings=warnings)
        request[CALL] = call
        if path.subresource:
            return await self._subresource(call)
        if verb not in info.verbs:
            raise _not_allowed()
        needs_namespace = info.namespaced and (path.name or (verb == "create" and not info.virtual))
        if needs_namespace and not path.namespace:
            raise _not_allowed()
        return await self._serve(call)

    async def _authorize(self, user: User, path: ResourcePath, verb: str) -> None:
        attributes = Attributes(
            user=user, verb=verb, group=path.group, version=path.version, resource=path.resource,
            subresource=path.subresource, namespace=path.namespace, name=path.name,
        )  # fmt: skip
        decision = await self._authorizer.authorize(attributes)
        if decision.allowed:
            return
        resource = f"{path.resource}/{path.subresource}" if path.subresource else path.resource
        scope = f'in the namespace "{path.namespace}"' if path.namespace else "at the cluster scope"
        qualified = f"{path.resource}.{path.group}" if path.group else path.resource
        named = f' "{path.name}"' if path.name else ""
        raise PermissionDeniedError(
            f'{qualified}{named} is forbidden: User "{user.name}" cannot {verb} resource "{resource}" in API'
            f' group "{path.group}" {scope}' + (f": {decision.reason}" if decision.reason else ""),
            metadata={"name": path.name, "group": path.group, "kind": path.resource},
        )

    async def _serve(self, call: Call) -> web.StreamResponse:
        engine = self._engine
        if call.info.virtual and call.verb == "create":
            return await self._reviews.create(call)
        match call.verb:
            case "get":
                return await read.get(call, engine.cache)
            case "list":
                return await read.list_(call, engine.cache)
            case "watch":
                return await watch(call, engine.cache, self.stopping)
            case "create":
                return await write.create(call, engine)
            case "update":
                return await write.update(call, engine)
            case "patch":
                return await write.patch(call, engine)
            case "delete":
                return await write.delete(call, engine)
            case "deletecollection":
                return await write.delete_collection(call, engine)
        raise _not_allowed()

    async def _subresource(self, call: Call) -> web.StreamResponse:
        info, name = call.info, call.path.subresource
        handler = self._subresources.get((info.group, info.plural, name))
        if handler is not None:
            return await handler(call, self._engine)
        if name not in info.subresources:
            raise NotFoundError("the server could not find the requested resource")
        if name == "scale" and call.verb == "get":
            return await write.get_scale(call, self._engine)
        if name != "scale" and name not in _UPDATES:
            raise _not_allowed()
        match call.verb:
            case "get":
                return await read.get(call, self._engine.cache)
            case "update":
                return await write.update(call, self._engine)
            case "patch":
                return await write.patch(call, self._engine)
        raise _not_allowed()


def credentials_of(request: web.Request) -> Credentials:
    """Return what a request carries to prove who sends it."""
    certificate: bytes | None = None
    transport = request.transport
    tls = transport.get_extra_info("ssl_object") if transport is not None else None
    if tls is not None and tls.context.verify_mode != ssl.CERT_NONE:
        certificate = tls.getpeercert(binary_form=True)
    return Credentials(
        token=bearer_token(request.headers.get("Authorization", "")),
        certificate=certificate,
        remote=request.remote or "",
    )


def _watches(request: web.Request, path: ResourcePath) -> bool:
    """Report whether a request asks for a stream of changes rather than for an answer."""
    asked = path.watch or request.query.get("watch", "").lower() in ("1", "true")
    return asked and not path.subresource and request.method in ("GET", "HEAD")


def _not_allowed() -> InvalidArgumentError:
    return InvalidArgumentError(
        "the server does not allow this method on the requested resource", reason=METHOD_NOT_ALLOWED
    )
