"""Requests to one Kubernetes API server, whatever they are about.

Owns how a request is put together, what an answer without success means, and the stream of a watch; used from
the event loop that entered it, by any number of tasks at once. Every request says what it expects, and
nothing that is not the answer to it leaves this module (`hanse.kube.client.answer`). Where the access has the
id of the cluster, each connection is used only after the server has shown that it is that cluster.

Errors are `HanseError`s made from the server's Status. It retries what the server refused with 429 and a time
to wait, and nothing else: whoever calls decides about everything that may have happened.

Next: `hanse.kube.client.client` for the verbs, `hanse.kube.client.http.pool` for the connections.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote, urlencode

from opentelemetry import propagate

from hanse.errors import OUTCOME_UNKNOWN as UNKNOWN
from hanse.errors import (
    ConfigError,
    DeadlineError,
    HanseError,
    InvalidArgumentError,
    ResourceExhaustedError,
    UnauthenticatedError,
    UnavailableError,
)
from hanse.kube.client.access import ClusterAccess
from hanse.kube.client.answer import (
    Absence,
    Answer,
    IdentityMismatchError,
    WrongAnswerError,
    absence,
    verified,
)
from hanse.kube.client.bounds import EVENT, Bound, answer_bound, is_dense, may_be_dense
from hanse.kube.client.event_stream import event_of, lines_of, read_whole, within
from hanse.kube.client.expect import AnObject, Expected
from hanse.kube.client.http.connection import HttpAnswer, HttpConnection, LongAnswerError
from hanse.kube.client.http.pool import HttpPool, NotConnectedError, ProxyError
from hanse.kube.client.pace import Pace
from hanse.kube.client.requests import IDENTITY, ApiRequest
from hanse.kube.model.objects import Object
from hanse.kube.model.status import from_status

REDACTED: Final = b"[redacted]"
CONNECT_SECONDS: Final = 10.0
"""How long a connection may take to be made, within a request's own time."""


class KubeTransport:
    """Requests to one API server and their answers."""

    def __init__(
        self,
        access: ClusterAccess,
        *,
        timeout: float = 30.0,
        connections: int = 64,
        retries: int = 3,
        user_agent: str = "hanse",
    ) -> None:
        """`timeout` is for one request in seconds, watches excepted; `retries` is for 429 answers.

        Raises ConfigError for credentials that cannot be sent.
        """
        self.access = access
        self._timeout = timeout
        self._connections = connections
        self._retries = retries
        self._standing = _standing_headers(access, user_agent)
        self._pool: HttpPool | None = None
        self._pace = Pace(access.server)

    async def __aenter__(self) -> Self:
        """Get ready; nothing is sent. Raises ConfigError if the address or certificates cannot be used."""
        access = self.access
        self._pool = HttpPool(
            access.server,
            tls=access.ssl_context(),
            server_name=access.tls_server_name,
            proxy=access.proxy_url,
            limit=self._connections,
            connect_seconds=min(self._timeout, CONNECT_SECONDS),
            greet=self._identify if access.cluster_id else None,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        await self.close()

    async def close(self) -> None:
        """Close all connections. Doing it twice is harmless."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            pool.close()

    async def ask(self, request: ApiRequest) -> Answer:
        """Send a request; return the answer that was expected, or the server's refusal.

        Raises WrongAnswerError for anything else, UnavailableError or DeadlineError if there is no answer;
        for a write with reason OUTCOME_UNKNOWN if it may have happened. MisbehavingMemberError, which is an
        UnavailableError, says that the answer is longer than `hanse.kube.client.bounds` has it.
        """
        headers = {"Accept": request.accept}
        if request.body is not None:
            headers["Content-Type"] = request.content
        answer = await self._exchange(
            request.method, request.path, params=request.params, body=request.body, headers=headers
        )
        await self._check_dense(answer.body, answer_bound(request.method, request.path))
        return self._verified(request, answer)

    async def _exchange(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> HttpAnswer:
        """Send a request; return whatever answers. `ask` is for all who want to believe it."""
        carrier = dict(headers or {})
        propagate.inject(carrier)
        reading = method == "GET"
        if reading:
            carrier["Accept-Encoding"] = "gzip"
        request = self._request(method, path, params, carrier, body or b"")
        try:
            async with asyncio.timeout(self._timeout):
                return await self._open().request(
                    request, repeatable=reading, bound=answer_bound(method, path)
                )
        except (OSError, TimeoutError) as error:
            raise _unreachable(self.access.server, error, sent=not reading) from error

    async def granted(self, request: ApiRequest) -> Answer:
        """Send a request; return the answer that was expected, or raise the error that a refusal means.

        NotFoundError only if the server itself says that the very object does not exist; any other 404 is a
        WrongAnswerError.
        """
        for attempt in range(self._retries + 1):
            answer = await self.ask(request)
            if answer.ok:
                return answer
            error = error_of(answer, request.expect, asked=f"{request} of {self.access.server}")
            wait = error.retry_after
            if not isinstance(error, ResourceExhaustedError) or wait is None or attempt == self._retries:
                raise error
            await asyncio.sleep(min(wait, self._timeout))
        raise AssertionError("unreachable")

    async def call(self, request: ApiRequest) -> Object:
        """Return the decoded answer to a request. Raises as `granted`."""
        return (await self.granted(request)).document

    async def events(
        self, watch: ApiRequest, *, idle_seconds: float
    ) -> AsyncGenerator[tuple[str, Object], None]:
        """Yield (type, object) of each event of a watch, whose request expects an object; ends when the
        server ends it.

        Raises what the answer means, or an event of type ERROR; WrongAnswerError for an event that is not of
        an object that was asked for, UnavailableError if the connection breaks, DeadlineError if nothing at
        all comes for `idle_seconds`, MisbehavingMemberError for an event that is too long, or too many for
        too long. They come no faster than `hanse.kube.client.pace` has it.
        """
        expect = watch.expect
        if not isinstance(expect, AnObject):
            raise InvalidArgumentError(f"{watch} is no watch: it expects no object")
        asked = f"the watch of {watch.path} of {self.access.server}"
        request = self._request("GET", watch.path, watch.params, {"Accept": watch.accept}, b"")
        try:
            async with self._open().stream(request, head_seconds=idle_seconds) as (answer, pieces):
                if answer.status != 200:
                    async with asyncio.timeout(self._timeout):
                        body = await read_whole(pieces, self.access.server)
                    found = self._verified(watch, HttpAnswer(answer.status, answer.headers, body))
                    raise error_of(found, expect, asked=asked)
                received = within(pieces, idle_seconds)
                async with aclosing(lines_of(received, self.access.server)) as lines:
                    async for line in lines:
                        await self._pace.took(len(line))
                        await self._check_dense(line, EVENT)
                        yield self._event(line, expect, asked=asked)
        except (OSError, TimeoutError) as error:
            raise _unreachable(self.access.server, error, sent=False) from error

    async def _identify(self, connection: HttpConnection) -> None:
        """Have the server of a new connection show which cluster it is. Raises IdentityMismatchError."""
        request = self._request(IDENTITY.method, IDENTITY.path, None, {"Accept": IDENTITY.accept}, b"")
        answer = self._verified(IDENTITY, await connection.send(request))
        if not answer.ok:
            raise error_of(answer, IDENTITY.expect, asked=f"{IDENTITY} of {self.access.server}")
        found = str(answer.document["metadata"]["uid"])
        if found != self.access.cluster_id:
            raise IdentityMismatchError(
                f"another cluster answers at {self.access.server}: its kube-system has uid {found}, not "
                f"{self.access.cluster_id}. Nothing is read or written there. Correct the address, or unjoin "
                "the cluster with --force and join the other one",
                metadata={"expected": self.access.cluster_id, "found": found},
            )

    async def _check_dense(self, body: bytes, bound: Bound) -> None:
        """Raise AnswerTooLongError for what would take too long to decode."""
        if may_be_dense(body) and await asyncio.to_thread(is_dense, body):
            raise bound.too_dense(self.access.server)

    def _verified(self, request: ApiRequest, answer: HttpAnswer) -> Answer:
        def found(body: bytes, headers: Mapping[str, str] = answer.headers) -> Answer:
            return verified(
                request.expect,
                status=answer.status,
                headers=headers,
                body=body,
                asked=f"{request} of {self.access.server}",
            )

        def redacted() -> Answer:
            headers = {
                name: self._redacted(value.encode()).decode() for name, value in answer.headers.items()
            }
            return found(self._redacted(answer.body), headers)

        if answer.status >= 300:
            return redacted()
        try:
            return found(answer.body)
        except WrongAnswerError:
            return redacted()  # raises again

    def _redacted(self, said: bytes) -> bytes:
        """Return what a server said that is not what it was asked for, without the token that it was sent:
        a proxy may repeat the request, and errors are logged, stored and shown.
        """
        for form in _forms(self.access.token):
            said = said.replace(form, REDACTED)
        return said

    def _event(self, line: bytes, expect: AnObject, *, asked: str) -> tuple[str, Object]:
        try:
            return event_of(line, expect, asked=asked)
        except HanseError:
            return event_of(self._redacted(line), expect, asked=asked)  # raises again

    def _open(self) -> HttpPool:
        if self._pool is None:
            raise ConfigError("the client is not open: use it with `async with`")
        return self._pool

    def _request(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        headers: Mapping[str, str],
        body: bytes,
    ) -> bytes:
        """Return a request as it goes over the wire."""
        if params:
            path = f"{path}?{urlencode(params, quote_via=quote)}"
        if any(char in path for char in " \r\n"):
            raise InvalidArgumentError(f"the path {path!r} is not part of a URL")
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        length = f"Content-Length: {len(body)}\r\n" if body or method != "GET" else ""
        head = self._open().head(method, path, f"{self._standing}{lines}{length}\r\n")
        return head + body if body else head


def _standing_headers(access: ClusterAccess, user_agent: str) -> str:
    """Return the headers of every request. Raises ConfigError for credentials that no header can carry."""
    lines = f"User-Agent: {user_agent}\r\n"
    if access.token:
        if not access.token.isascii() or any(char.isspace() for char in access.token):
            raise ConfigError(f"the token for {access.server} has characters that no token has")
        return f"{lines}Authorization: Bearer {access.token}\r\n"
    if access.username:
        said = base64.b64encode(f"{access.username}:{access.password}".encode()).decode()
        return f"{lines}Authorization: Basic {said}\r\n"
    return lines


def error_of(answer: Answer, expect: Expected, *, asked: str) -> HanseError:
    """Return the error that a refusal means."""
    error = from_status(
        answer.status,
        answer.document or None,
        text=answer.body.decode(errors="replace").strip(),
        retry_after=answer.retry_after(),
    )
    if answer.status == 404 and absence(expect, answer) is Absence.NOTHING:
        return WrongAnswerError(f"{asked} got a 404 that does not say that it is not there: {error.message}")
    return error


def _unreachable(server: str, error: Exception, *, sent: bool) -> HanseError:
    """Return the error for a request without an answer; `sent` says that it was a write."""
    if isinstance(error, LongAnswerError):
        return error.bound.exceeded(server)
    said = str(error) or type(error).__name__
    if (refusal := _certificate_refusal(error)) is not None:
        return UnauthenticatedError(f"{server} does not accept the client certificate: {refusal}")
    reason = UNKNOWN if sent and not isinstance(error, NotConnectedError) else None
    if isinstance(error, ProxyError):
        return UnavailableError(f"{server} cannot be reached: {said}", reason="PROXY_UNREACHABLE")
    if isinstance(error, TimeoutError):
        return DeadlineError(f"{server} did not answer in time: {said}", reason=reason)
    return UnavailableError(f"{server} cannot be reached: {said}", reason=reason)


_REFUSALS: Final = (
    "ALERT_BAD_CERTIFICATE",
    "ALERT_UNSUPPORTED_CERTIFICATE",
    "ALERT_CERTIFICATE_REVOKED",
    "ALERT_CERTIFICATE_EXPIRED",
    "ALERT_CERTIFICATE_UNKNOWN",
    "ALERT_UNKNOWN_CA",
    "ALERT_ACCESS_DENIED",
    "ALERT_CERTIFICATE_REQUIRED",
)
"""What OpenSSL calls the alerts by which a TLS server refuses a client's certificate (RFC 8446, 6.2).

The server has been verified by then: a client shows its certificate after that. The request was not read.
"""


def _certificate_refusal(error: BaseException | None) -> str | None:
    """Return how the server refused the client certificate, None if that is not what happened."""
    while error is not None:
        said = (error.reason or "") if isinstance(error, ssl.SSLError) else ""
        if said.endswith(_REFUSALS):
            return said.partition("ALERT_")[2].replace("_", " ").lower()
        error = error.__cause__
    return None


def _forms(token: str) -> tuple[bytes, ...]:
    """Return how a token may stand in what is said: as it is, in JSON with slashes escaped, in a URL."""
    forms = dict.fromkeys((token, token.replace("/", "\\/"), quote(token, safe="")))
    return tuple(form.encode() for form in forms if form)
