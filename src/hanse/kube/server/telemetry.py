"""A span, two metrics and a debug log line for each request.

One aiohttp middleware, outermost. The trace context comes in by `traceparent`. Names follow OpenTelemetry's
semantic conventions for HTTP; attributes are the route's resource and verb, never names of objects. Next:
`hanse.process.telemetry`, which sets up where all this goes.
"""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Any

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler
from opentelemetry import metrics, propagate, trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from hanse.kube.server.request import CALL, Call
from hanse.process.telemetry import DURATION_BUCKETS

_log = structlog.get_logger(__name__)


@lru_cache(maxsize=1)
def _instruments() -> tuple[Any, Any]:
    meter = metrics.get_meter("hanse.kube.server")
    duration = meter.create_histogram(
        "http.server.request.duration",
        unit="s",
        description="How long requests took, watches excepted.",
        explicit_bucket_boundaries_advisory=DURATION_BUCKETS,
    )
    active = meter.create_up_down_counter(
        "hanse.kube.server.watches", unit="{watch}", description="Open watches."
    )
    return duration, active


@web.middleware
async def observed(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Observe a request."""
    started = time.perf_counter()
    provider = trace.get_tracer_provider()
    idle = isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider)
    if idle and "traceparent" not in request.headers:  # nothing records, and there is no trace to hand on
        response = await handler(request)
        _measure(request, response, time.perf_counter() - started)
        return response
    tracer = provider.get_tracer("hanse.kube.server")
    context = propagate.extract(request.headers) if "traceparent" in request.headers else None
    with tracer.start_as_current_span(request.method, context=context, kind=SpanKind.SERVER) as span:
        response = await handler(request)
        call: Call | None = request.get(CALL)
        if span.is_recording():
            verb, resource = _about(request, call)
            span.update_name(f"{verb} {resource}".strip())
            span.set_attribute("http.request.method", request.method)
            span.set_attribute("url.path", request.path)
            span.set_attribute("http.response.status_code", response.status)
            if response.status >= 500:
                span.set_status(Status(StatusCode.ERROR))
    _measure(request, response, time.perf_counter() - started)
    return response


def _about(request: web.Request, call: Call | None) -> tuple[str, str]:
    return (call.verb, call.info.group_resource) if call else (request.method.lower(), "")


def _measure(request: web.Request, response: web.StreamResponse, seconds: float) -> None:
    call = request.get(CALL)
    verb, resource = _about(request, call)
    attributes = {
        "http.request.method": request.method,
        "http.response.status_code": response.status,
        "hanse.verb": verb,
        "hanse.resource": resource,
    }
    if verb != "watch":
        _instruments()[0].record(seconds, attributes)
    _log.debug(
        "request", method=request.method, path=request.path, status=response.status, verb=verb,
        user=call.user.name if call else "", seconds=round(seconds, 6),
    )  # fmt: skip
