"""Calls of a client: they raise HanseError, and end their span and metric with the call.

Owns the four kinds of call that `hanse.rpc.channel` returns, each around one of gRPC's.

Concurrency: a call belongs to the task that awaits or iterates it. If the call is cancelled but the task
is not (the channel was closed), that is a CancelledByPeerError, never a CancelledError, which would end a
task that nobody cancelled.

Next: `hanse.rpc.errors`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from typing import Any

import grpc
from opentelemetry import metrics, trace
from opentelemetry.trace import Span, SpanKind, StatusCode

from hanse import __version__
from hanse.errors import CancelledByPeerError, HanseError
from hanse.numbers import whole_number
from hanse.process import skew
from hanse.process.telemetry import DURATION_BUCKETS, Telemetry, format_traceparent
from hanse.rpc.errors import from_rpc_error

Metadata = grpc.aio.Metadata | Sequence[tuple[str, str | bytes]] | None


class CallObserver:
    """Starts the span and the clock of each call."""

    def __init__(self, telemetry: Telemetry | None, *, peer: str = "") -> None:
        """`peer` is the name of the server. With `telemetry`, of a service, its release is noted."""
        self._peer = peer if telemetry else ""
        self._tracer = telemetry.tracer if telemetry else trace.get_tracer("hanse")
        meter = telemetry.meter if telemetry else metrics.get_meter("hanse")
        self.duration = meter.create_histogram(
            "rpc.client.call.duration",
            unit="s",
            description="Duration of RPCs that this process made.",
            explicit_bucket_boundaries_advisory=DURATION_BUCKETS,
        )

    def start(self, method: str, target: str) -> Observation:
        """Begin to observe a call of `package.Service/Method`."""
        host, _, port = target.rpartition(":")
        span = self._tracer.start_span(
            method,
            kind=SpanKind.CLIENT,
            attributes={
                "rpc.system.name": "grpc",
                "rpc.method": method,
                "server.address": host,
                "server.port": whole_number(port, maximum=65535) or 0,
            },
        )
        return Observation(self, method, span)

    def answered(self, trailers: grpc.aio.Metadata | None) -> None:
        """Take note that a call was answered with these trailing metadata."""
        if self._peer:
            skew.PEERS.note(self._peer, skew.told(trailers))


class Observation:
    """One call that is being observed."""

    __slots__ = ("_observer", "_open", "_start", "method", "span")

    def __init__(self, observer: CallObserver, method: str, span: Span) -> None:
        self._observer = observer
        self._open = True
        self._start = time.perf_counter()
        self.method = method
        self.span = span

    def metadata(self, given: Metadata) -> tuple[tuple[str, str | bytes], ...]:
        """Return the caller's metadata with this release and the traceparent of the call added."""
        traceparent = format_traceparent(self.span.get_span_context())
        pairs = (*(given or ()), (skew.KEY, __version__))
        if not traceparent or any(key == "traceparent" for key, _ in pairs):
            return pairs
        return (*pairs, ("traceparent", traceparent))

    def answered(self, trailers: grpc.aio.Metadata | None) -> None:
        """Take note that the server has answered, with these trailing metadata."""
        self._observer.answered(trailers)

    def end(self, code: grpc.StatusCode, message: str = "") -> None:
        """End it, once."""
        if not self._open:
            return
        self._open = False
        self._observer.duration.record(
            time.perf_counter() - self._start,
            {"rpc.system.name": "grpc", "rpc.method": self.method, "rpc.response.status_code": code.name},
        )
        if self.span.is_recording():
            self.span.set_attribute("rpc.response.status_code", code.name)
            if code is not grpc.StatusCode.OK:
                self.span.set_status(StatusCode.ERROR, message)
        self.span.end()


class _Call:
    """What all kinds share: everything that a call offers, from the call inside."""

    def __init__(self, call: Any, observation: Observation) -> None:
        self._call = call
        self._observation = observation

    def cancelled(self) -> bool:
        return bool(self._call.cancelled())

    def done(self) -> bool:
        return bool(self._call.done())

    def cancel(self) -> bool:
        return bool(self._call.cancel())

    def time_remaining(self) -> float | None:
        remaining: float | None = self._call.time_remaining()
        return remaining

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._call.add_done_callback(callback)

    async def initial_metadata(self) -> grpc.aio.Metadata:
        with self._mapped():
            found: grpc.aio.Metadata = await self._call.initial_metadata()
            return found

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        found: grpc.aio.Metadata = await self._call.trailing_metadata()
        return found

    async def code(self) -> grpc.StatusCode:
        code: grpc.StatusCode = await self._call.code()
        return code

    async def details(self) -> str:
        return str(await self._call.details())

    async def wait_for_connection(self) -> None:
        with self._mapped():
            await self._call.wait_for_connection()

    @contextlib.contextmanager
    def _mapped(self) -> Iterator[None]:
        """Turn gRPC's errors into Hanse's."""
        try:
            yield
        except grpc.aio.AioRpcError as error:
            self._observation.end(error.code(), error.details() or "")
            raise from_rpc_error(error) from error
        except asyncio.CancelledError:
            self._observation.end(grpc.StatusCode.CANCELLED)
            task = asyncio.current_task()
            if self._call.cancelled() and (task is None or not task.cancelling()):
                raise _closed(self._observation.method) from None
            self._call.cancel()
            raise

    async def _result(self) -> Any:
        with self._mapped():
            response = await self._call
            self._observation.answered(await self._call.trailing_metadata())
        self._observation.end(grpc.StatusCode.OK)
        return response

    async def _responses(self) -> AsyncIterator[Any]:
        try:
            with self._mapped():
                async for response in self._call:
                    yield response
            self._observation.end(grpc.StatusCode.OK)
        finally:
            if not self._call.done():
                self._call.cancel()
            self._observation.end(grpc.StatusCode.CANCELLED)

    async def _read(self) -> Any:
        with self._mapped():
            response = await self._call.read()
        if response is grpc.aio.EOF:
            self._observation.end(grpc.StatusCode.OK)
        return response

    async def _write(self, request: Any) -> None:
        with self._mapped():
            await self._call.write(request)

    async def _done_writing(self) -> None:
        with self._mapped():
            await self._call.done_writing()


class UnaryUnaryCall(_Call, grpc.aio.UnaryUnaryCall[Any, Any]):
    """One request, one response."""

    def __await__(self) -> Generator[Any, None, Any]:
        return self._result().__await__()


class UnaryStreamCall(_Call, grpc.aio.UnaryStreamCall[Any, Any]):
    """One request, many responses."""

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._responses()

    async def read(self) -> Any:
        return await self._read()


class StreamUnaryCall(_Call, grpc.aio.StreamUnaryCall[Any, Any]):
    """Many requests, one response."""

    def __await__(self) -> Generator[Any, None, Any]:
        return self._result().__await__()

    async def write(self, request: Any) -> None:
        await self._write(request)

    async def done_writing(self) -> None:
        await self._done_writing()


class StreamStreamCall(_Call, grpc.aio.StreamStreamCall[Any, Any]):
    """Many requests, many responses."""

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._responses()

    async def read(self) -> Any:
        return await self._read()

    async def write(self, request: Any) -> None:
        await self._write(request)

    async def done_writing(self) -> None:
        await self._done_writing()


def _closed(method: str) -> HanseError:
    return CancelledByPeerError(f"the call of {method} was cancelled: its channel was closed")
