"""What every RPC of a server goes through: trace, identity, policy, handler, errors, metrics.

Owns `Pipeline`, which wraps the handlers of a service once, when they are added, so that a call costs no
chain of interceptors. A handler may raise any HanseError; the caller gets it as google.rpc.Status. What
else it raises is logged with the trace id and becomes INTERNAL without a word about its cause.

gRPC reads the whole request of a unary call before it asks anybody. So to gRPC every call is one that streams
requests, which is the same on the wire: the pipeline sees the caller first, and reads the request only of
one that may call, has a seat, and sends it in time.

Metrics and spans follow OpenTelemetry's semantic conventions for RPC (rpc.server.call.duration, seconds).

Concurrency: one task per call, made by gRPC. The caller's identity is a context variable of that task.

Next: `hanse.rpc.server`, which builds the pipeline.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError
from grpc_status import rpc_status
from opentelemetry import context as otel_context
from opentelemetry import metrics, trace
from opentelemetry.trace import Span, SpanKind, StatusCode

from hanse import __version__
from hanse.errors import (
    DeadlineError,
    HanseError,
    InternalError,
    InvalidArgumentError,
    ResourceExhaustedError,
    UnavailableError,
)
from hanse.flow import Flow, FlowLimits
from hanse.process import skew
from hanse.process.telemetry import DURATION_BUCKETS, Telemetry, get_logger, parent_context
from hanse.rpc.errors import from_exception, to_status
from hanse.rpc.policy import Policy
from hanse.security.auth import (
    ANONYMOUS,
    SERVICES,
    Identity,
    certificate_from_auth_context,
    identity_from_auth_context,
)
from hanse.security.revocation import DenyList

if TYPE_CHECKING:  # the classes are generic in the stubs only
    Handler = grpc.RpcMethodHandler[Any, Any]
    ServicerContext = grpc.aio.ServicerContext[Any, Any]
else:
    Handler = grpc.RpcMethodHandler
    ServicerContext = grpc.aio.ServicerContext

_Requests = Callable[[Identity, Any, ServicerContext], Awaitable[Any]]
"""Gives a handler what it takes of a caller, a request or the stream of them, from gRPC's stream."""

_log = get_logger(__name__)
_identity: ContextVar[Identity] = ContextVar("hanse_rpc_identity", default=ANONYMOUS)

STALL_SECONDS = 15.0
"""How long a caller may take nothing of a stream that has something for it."""
BODY_SECONDS = 30.0
"""How long the request of a call may take to come, as over REST."""
_READS = FlowLimits(requests=32, requests_per_user=8, service_requests=32)
"""Requests that are read at once: large ones take long to come, short ones are there already."""

# OpenTelemetry: for servers only these codes are errors of the server; the rest are the caller's.
_SERVER_FAULTS = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)


def current_identity() -> Identity:
    """Return who makes the call that is being handled; ANONYMOUS outside of one or without TLS."""
    return _identity.get()


class Pipeline:
    """Wraps handlers with tracing, authorization, error mapping and metrics."""

    def __init__(
        self,
        *,
        policy: Policy,
        telemetry: Telemetry | None = None,
        flow: Flow | None = None,
        deny_list: DenyList | None = None,
        stall_seconds: float = STALL_SECONDS,
        body_seconds: float = BODY_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`flow` bounds the calls and streams at work; a stream ends whose caller takes nothing for
        `stall_seconds`, and a call whose request is not there after `body_seconds`."""
        self._policy = policy
        self._clock = clock
        self._flow = flow or Flow()
        self._reads = Flow(_READS)
        self._stall_seconds = stall_seconds
        self._body_seconds = body_seconds
        self._deny_list = deny_list or DenyList()
        self._tracer = telemetry.tracer if telemetry else trace.get_tracer("hanse")
        meter = telemetry.meter if telemetry else metrics.get_meter("hanse")
        self._duration = meter.create_histogram(
            "rpc.server.call.duration",
            unit="s",
            description="Duration of RPCs that this service answered.",
            explicit_bucket_boundaries_advisory=DURATION_BUCKETS,
        )
        self._open = meter.create_up_down_counter(
            "hanse.rpc.server.streams", unit="{call}", description="Streams that are open to callers."
        )
        self._streams: dict[asyncio.Task[Any], HanseError | None] = {}
        self._callers: dict[asyncio.Task[Any], bytes] = {}

    def wrap(self, method: str, handler: Handler) -> Handler:
        """Return `handler` of the full method name (`package.Service/Method`) inside the pipeline."""
        requests: _Requests = self._all if handler.request_streaming else self._only
        if handler.response_streaming:
            inner_stream = handler.stream_stream if handler.request_streaming else handler.unary_stream

            async def respond(stream: Any, context: ServicerContext) -> None:
                await self._stream(method, inner_stream, requests, stream, context)

            make: Any = grpc.stream_stream_rpc_method_handler
            return _made(make(respond, _reader(handler), handler.response_serializer))

        inner_unary = handler.stream_unary if handler.request_streaming else handler.unary_unary

        async def answer(stream: Any, context: ServicerContext) -> Any:
            return await self._unary(method, inner_unary, requests, stream, context)

        make = grpc.stream_unary_rpc_method_handler
        return _made(make(answer, _reader(handler), handler.response_serializer))

    def end_streams(self) -> None:
        """End all server streams with UNAVAILABLE, so that their callers go elsewhere. For a stop."""
        for task in self._streams:
            self._streams[task] = UnavailableError("the server is stopping; call again", reason="STOPPING")
            task.cancel()

    def end_denied(self) -> None:
        """End the streams of callers whose certificate was revoked after they had begun."""
        for task, certificate in self._callers.items():
            try:
                self._deny_list.check(certificate)
            except HanseError as error:
                self._streams[task] = error
                task.cancel()

    async def _unary(
        self, method: str, inner: Any, requests: _Requests, stream: Any, context: ServicerContext
    ) -> Any:
        with self._call(method, context) as call:
            try:
                caller = self._admit(method, context)
                async with self._flow.request(caller.name, caller.groups):
                    return await inner(await requests(caller, stream, context), context)
            except BaseException as error:  # noqa: BLE001 - _failed raises it, or what it means, again
                await self._failed(call, error, context)

    async def _stream(
        self, method: str, inner: Any, requests: _Requests, stream: Any, context: ServicerContext
    ) -> None:
        task = asyncio.current_task()
        if task is None:
            raise InternalError("a stream is served outside a task")
        self._streams[task] = None
        self._open.add(1, {"rpc.method": method})
        with self._call(method, context) as call:
            try:
                caller = self._admit(method, context)
                certificate = certificate_from_auth_context(context.auth_context())
                if certificate is not None:
                    self._callers[task] = certificate
                with self._flow.watch(caller.name, caller.groups):
                    result = inner(await requests(caller, stream, context), context)
                    if inspect.isawaitable(result):
                        await result
                    else:
                        await _send(result, context, stall_seconds=self._stall_seconds)
            except asyncio.CancelledError as error:
                ended = self._streams[task]
                if ended is not None:
                    task.uncancel()
                    await self._failed(call, ended, context)
                await self._failed(call, error, context)
            except BaseException as error:  # noqa: BLE001 - as above
                await self._failed(call, error, context)
            finally:
                del self._streams[task]
                self._callers.pop(task, None)
                self._open.add(-1, {"rpc.method": method})

    async def _all(self, caller: Identity, stream: Any, context: ServicerContext) -> Any:
        """Return the requests of a call that streams them."""
        return stream

    async def _only(self, caller: Identity, stream: Any, context: ServicerContext) -> Any:
        """Return the one request of a call that has one."""
        try:
            async with (
                self._reads.request(caller.name, caller.groups),
                asyncio.timeout(self._body_seconds),
            ):
                request = await context.read()
        except TimeoutError:
            raise DeadlineError(
                f"the request was not there after {self._body_seconds:g} s: send it at once",
                reason="REQUEST_TIMEOUT",
            ) from None
        if request is grpc.aio.EOF:
            raise InvalidArgumentError("the call has no request")
        return _checked(request)

    def _admit(self, method: str, context: ServicerContext) -> Identity:
        peer = context.auth_context()
        identity = identity_from_auth_context(peer, clock=self._clock)
        certificate = None if identity is None else certificate_from_auth_context(peer)
        if certificate is not None:
            self._deny_list.check(certificate)
        self._policy.authorize(method, identity)
        caller = identity or ANONYMOUS
        _identity.set(caller)
        context.set_trailing_metadata(((skew.KEY, __version__),))
        if SERVICES in caller.groups:
            skew.PEERS.note(caller.name, skew.told(context.invocation_metadata()))
        return caller

    @contextlib.contextmanager
    def _call(self, method: str, context: ServicerContext) -> Iterator[_ServedCall]:
        attributes: dict[str, str] = {"rpc.system.name": "grpc", "rpc.method": method}
        span = self._tracer.start_span(
            method,
            context=parent_context(_traceparent(context)),
            kind=SpanKind.SERVER,
            attributes=attributes,
        )
        token = otel_context.attach(trace.set_span_in_context(span))
        call = _ServedCall(method, span)
        start = time.perf_counter()
        try:
            yield call
        finally:
            code = call.code.name
            self._duration.record(
                time.perf_counter() - start, {**attributes, "rpc.response.status_code": code}
            )
            if span.is_recording():
                span.set_attribute("rpc.response.status_code", code)
                if call.code in _SERVER_FAULTS:
                    span.set_status(StatusCode.ERROR, call.message)
            span.end()
            otel_context.detach(token)

    async def _failed(self, call: _ServedCall, error: BaseException, context: ServicerContext) -> None:
        """End the call with what `error` means. Always raises."""
        if isinstance(error, grpc.aio.AbortError):  # a handler that aborted by itself
            call.code = _code_of(context)
            raise error
        if not isinstance(error, Exception):
            if isinstance(error, asyncio.CancelledError):
                call.code = grpc.StatusCode.CANCELLED
            raise error
        if not isinstance(error, HanseError | NotImplementedError):
            _log.error("RPC failed unexpectedly", method=call.method, exc_info=error)
            call.span.record_exception(error)
        known = from_exception(error)
        call.code, call.message = known.code, known.message
        status = rpc_status.to_status(to_status(known))
        await context.abort(status.code, status.details, status.trailing_metadata)


class _ServedCall:
    """What is known of one call when it ends."""

    __slots__ = ("code", "message", "method", "span")

    def __init__(self, method: str, span: Span) -> None:
        self.method = method
        self.span = span
        self.code = grpc.StatusCode.OK
        self.message = ""


@dataclass(frozen=True, slots=True)
class _Malformed:
    """Stands for a request whose bytes are not a message of its type."""

    problem: str


def _reader(handler: Handler) -> Callable[[bytes], Any]:
    """Return what reads a request; what cannot be read is refused in the pipeline, as the caller's fault."""
    read: Callable[[bytes], Any] = handler.request_deserializer or bytes

    def reader(data: bytes) -> Any:
        try:
            return read(data)
        except DecodeError as error:
            return _Malformed(str(error))

    return read if handler.request_streaming else reader


def _checked(request: Any) -> Any:
    if isinstance(request, _Malformed):
        raise InvalidArgumentError(f"the request cannot be read: {request.problem}")
    return request


async def _send(responses: AsyncIterator[Any], context: ServicerContext, *, stall_seconds: float) -> None:
    """Write every response; close the generator at once when the call ends early, or its caller takes
    nothing."""
    try:
        async for response in responses:
            try:
                async with asyncio.timeout(stall_seconds):
                    await context.write(response)
            except TimeoutError:
                raise ResourceExhaustedError(
                    f"nothing of the stream was read for {stall_seconds:g} s: read faster, and resume it",
                    reason="SLOW_READER",
                ) from None
    finally:
        close = getattr(responses, "aclose", None)
        if close is not None:
            await close()


def _traceparent(context: ServicerContext) -> str | None:
    for key, value in context.invocation_metadata() or ():
        if key == "traceparent":
            return value if isinstance(value, str) else None
    return None


def _code_of(context: ServicerContext) -> grpc.StatusCode:
    code: object = context.code()
    if isinstance(code, grpc.StatusCode):
        return code
    return _CODES.get(code, grpc.StatusCode.UNKNOWN) if isinstance(code, int) else grpc.StatusCode.UNKNOWN


def _made(handler: Any) -> Handler:
    made: Handler = handler
    return made


_CODES: Mapping[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}
