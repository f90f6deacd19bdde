"""A member cluster that is a real API server, and ways to break it.

Owns `Member`: the engine of `hanse.kube` over HTTP. What is between it and its clients can refuse, stall, lie
and hang up (`fault`), and it can be stopped and started on its port with what it has.

Concurrency: one event loop. Next: `tests.support.federation.federation`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Self

from aiohttp import web

from hanse.kube.engine.engine import KubeEngine
from hanse.kube.kinds.catalogue import Catalogue
from hanse.kube.kinds.strategies.kubernetes import kubernetes
from hanse.kube.model.identity import User
from hanse.kube.server.app import KubeServer, ServerOptions
from hanse.kube.server.auth import AllowGroups
from hanse.store import MemoryStore
from hanse.store.keys import ObjectKey
from tests.support.access import FixedTokens
from tests.support.waiting import until

TOKEN = "member-token"
Object = dict[str, Any]
Fault = Callable[[web.Request], Awaitable[web.StreamResponse | None]]
"""Answers a request in the place of the member, or returns None to let the member answer."""


class Member:
    """One member cluster. `writes` are the (method, path) of all requests that could change something."""

    def __init__(self, name: str, *, catalogue: Catalogue | None = None) -> None:
        """`catalogue` is what it serves, that of a current Kubernetes unless one is given."""
        self.name = name
        self.store = MemoryStore()
        self.engine = KubeEngine(self.store, catalogue=catalogue or Catalogue(kubernetes()))
        self.writes: list[tuple[str, str]] = []
        self.requests: list[tuple[str, str]] = []
        self.fault: Fault | None = None
        self._server = KubeServer(
            self.engine,
            authenticator=FixedTokens({TOKEN: User("hanse", ("system:masters",))}),
            authorizer=AllowGroups(),
            options=ServerOptions(),
        )
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def __aenter__(self) -> Self:
        await self.engine.__aenter__()
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        await self.engine.__aexit__(None, None, None)
        await self.store.close()

    async def start(self) -> None:
        """Serve; on the same port as before if it was stopped."""
        app = self._server.app()
        app.middlewares.insert(0, self._middleware)
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, handler_cancellation=True, shutdown_timeout=0.1
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop serving, hanging up on everybody. What is stored stays."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @web.middleware
    async def _middleware(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests.append((request.method, request.path_qs))
        if self.fault is not None:
            answer = await self.fault(request)
            if answer is not None:
                return answer
        if request.method not in ("GET", "HEAD"):
            self.writes.append((request.method, request.path))
        response: web.StreamResponse = await handler(request)
        return response

    # --- what is in it, without HTTP

    def get(self, path: str) -> Object | None:
        """Return the live object at `<group|core>/<resource>/<namespace|_>/<name>`."""
        entry = self.engine.cache.get(ObjectKey.parse(f"objects/{path}"))
        return entry.object if entry is not None else None

    async def create(self, path: str, obj: Object) -> Object:
        """Create an object as somebody in the member would."""
        key = ObjectKey.parse(f"objects/{path}")
        created = await self.engine.resources.create(
            self._info(key, obj["apiVersion"]), obj, namespace=key.namespace
        )
        await until(lambda: self.get(path), what=f"{path} is in the cache of {self.name}")
        return created

    async def change(
        self, path: str, change: Callable[[Object], Object | None], *, subresource: str = ""
    ) -> Object:
        """Change an object as somebody in the member would."""
        key = ObjectKey.parse(f"objects/{path}")
        found = self.get(path)
        assert found is not None
        return await self.engine.resources.modify(
            self._info(key, found["apiVersion"]),
            namespace=key.namespace,
            name=key.name,
            change=change,
            subresource=subresource,
        )

    async def delete(self, path: str) -> None:
        """Delete an object as somebody in the member would."""
        key = ObjectKey.parse(f"objects/{path}")
        found = self.get(path)
        assert found is not None
        await self.engine.resources.delete(
            self._info(key, found["apiVersion"]), namespace=key.namespace, name=key.name
        )

    def _info(self, key: ObjectKey, api_version: str) -> Any:
        group, slash, version = api_version.partition("/")
        return self.engine.catalogue.get(group if slash else "", version or group, key.resource)
