"""The API server: HTTP and TLS around an engine, with authentication and authorization of every request.

    async with KubeEngine(store, catalogue=Catalogue(kubernetes())) as engine:
        async with KubeServer(engine, authenticator=..., authorizer=...) as server:
            print(server.url)

One aiohttp application with one handler, which finds out what a request is about and hands it on; health
paths alone need no identity. Everything runs in one event loop. Next: `hanse.kube.server.dispatch`.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from aiohttp import HttpVersion11, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler

from hanse.errors import ConfigError
from hanse.flow import Flow
from hanse.kube.engine.engine import KubeEngine
from hanse.kube.server.auth import Authenticator, Authorizer, Credentials
from hanse.kube.server.connections import ConnectionLimits, GuardedConnection, GuardedSite, guarded
from hanse.kube.server.dispatch import Dispatcher, SubresourceHandler
from hanse.kube.server.errors import errors
from hanse.kube.server.negotiation import AWAITS_CONTINUE, BODY_SECONDS, TURNS
from hanse.kube.server.telemetry import observed
from hanse.numbers import whole_number

MAX_BODY_BYTES = 3 * 1024 * 1024
"""As kube-apiserver: a bigger request is answered with 413."""

Check = Callable[[], Awaitable[None]]
Route = tuple[str, str, Handler]


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How to serve.

    `listen` is host:port, port 0 for a free one. `tls` None serves plain HTTP (tests only). `git_version` is
    what /version says; "" takes the version of the schemas. `advertise` is the host:port that /api names,
    "" for the one that is listened on. `drain_seconds` is how long requests may take to end on stop.
    """

    listen: str = "127.0.0.1:0"
    tls: ssl.SSLContext | None = None
    git_version: str = ""
    advertise: str = ""
    drain_seconds: float = 2.0
    max_body_bytes: int = MAX_BODY_BYTES
    connections: ConnectionLimits = field(default_factory=ConnectionLimits)


class KubeServer:
    """Serves one engine over HTTPS."""

    def __init__(
        self,
        engine: KubeEngine,
        *,
        authenticator: Authenticator,
        authorizer: Authorizer,
        options: ServerOptions | None = None,
        routes: Sequence[Route] = (),
        subresources: Mapping[tuple[str, str, str], SubresourceHandler] | None = None,
        checks: Mapping[str, Check] | None = None,
        flow: Flow | None = None,
    ) -> None:
        """Prepare to serve.

        `routes` are further (method, path, aiohttp handler); they are authorized as paths that are no
        resource. `subresources` serve (group, plural, subresource), such as ("", "pods", "log"). `checks` are
        run by /readyz and raise when something is wrong. `flow` bounds what is worked at at once.
        """
        self._options = options or ServerOptions()
        self._port = 0
        self._host, _, port = self._options.listen.rpartition(":")
        number = whole_number(port, maximum=65535)
        if not self._host or number is None:
            raise ConfigError(f"listen must be host:port, not {self._options.listen!r}")
        self._wanted_port = number
        git_version = (
            self._options.git_version or f"v{engine.catalogue.schemas.version.removeprefix('v')}+hanse"
        )
        self._dispatcher = Dispatcher(
            engine,
            authenticator=authenticator,
            authorizer=authorizer,
            git_version=git_version,
            address=lambda: self._options.advertise or self.address,
            routes=routes,
            subresources=subresources or {},
            checks=checks or {},
            flow=flow or Flow(),
        )
        self._turns = engine.turns
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """Return the port that is listened on, 0 before the start."""
        return self._port

    @property
    def address(self) -> str:
        """Return host:port."""
        return f"{self._host}:{self._port}"

    @property
    def url(self) -> str:
        """Return the base URL."""
        return f"{'https' if self._options.tls else 'http'}://{self.address}"

    def app(self) -> web.Application:
        """Return a new aiohttp application that serves the engine, for servers of one's own."""
        options = self._options
        app = web.Application(middlewares=[guarded, observed, errors], client_max_size=options.max_body_bytes)
        app[BODY_SECONDS] = options.connections.body_seconds
        app[TURNS] = self._turns
        app.router.add_route("*", "/{tail:.*}", self._dispatcher.handle, expect_handler=_expected)
        return app

    def disconnect(self, denied: Callable[[Credentials], bool]) -> None:
        """Cut off the connections, watches too, whose client certificate, or the bearer token of whose
        request, is `denied`."""
        server = self._runner.server if self._runner is not None else None
        for connection in list(server.connections) if server is not None else ():
            transport = connection.transport
            if transport is None:
                continue
            tls = transport.get_extra_info("ssl_object")
            certificate = tls.getpeercert(binary_form=True) if tls is not None else None
            token = connection.token if isinstance(connection, GuardedConnection) else None
            if denied(Credentials(token=token, certificate=certificate)):
                transport.abort()

    async def __aenter__(self) -> Self:
        """Listen. Raises ConfigError if the address cannot be listened on."""
        runner = web.AppRunner(
            self.app(),
            access_log=None,
            handle_signals=False,
            handler_cancellation=True,
            shutdown_timeout=self._options.drain_seconds,
            auto_decompress=False,  # a body that says it is compressed is refused
        )
        logging.getLogger("aiohttp.server").addFilter(_is_no_parse_error)
        await runner.setup()
        site = GuardedSite(
            runner,
            host=self._host,
            port=self._wanted_port,
            tls=self._options.tls,
            limits=self._options.connections,
        )
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()
            raise ConfigError(f"cannot listen on {self._options.listen}: {error.strerror}") from error
        self._runner = runner
        self._port = runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all watches, let other requests finish, and stop listening."""
        self._dispatcher.stopping.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None


async def _expected(request: web.Request) -> None:
    """Answer the header Expect, whose value may be any bytes: 417 for what is not known, never a 500.

    Whoever waits for 100 is told to go on when its body is read, which is when it may do what it asks for.
    """
    expect = request.headers.get("Expect", "").lower()
    if expect == "100-continue":
        request[AWAITS_CONTINUE] = request.version == HttpVersion11
    else:
        raise web.HTTPExpectationFailed(text="Expect must be 100-continue")


def _is_no_parse_error(record: logging.LogRecord) -> bool:
    """Return whether a line is not about a request that cannot be read, which anybody can send at any
    rate.
    """
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError)
