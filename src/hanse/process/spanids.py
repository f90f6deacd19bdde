"""Spans that only carry ids, for a process that sends its traces nowhere.

Owns a tracer provider without recording, sampling or processors: a span is a new id in its parent's
trace. So logs and calls of one change can be joined by their trace id at almost no cost, and the tracing
SDK stays out of memory.

Concurrency: safe from any task or thread.

Next: `hanse.process.telemetry`, which chooses between this and OpenTelemetry's SDK.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind
from opentelemetry.util._decorator import _agnosticcontextmanager
from opentelemetry.util.types import Attributes


class IdTracer(trace.Tracer):
    """Makes spans that carry ids and record nothing. The parent's sampled flag is passed on."""

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[trace.Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> Span:
        parent = trace.get_current_span(context).get_span_context()
        return NonRecordingSpan(
            SpanContext(
                trace_id=parent.trace_id if parent.is_valid else random.getrandbits(128) or 1,
                span_id=random.getrandbits(64) or 1,
                is_remote=False,
                trace_flags=parent.trace_flags if parent.is_valid else trace.TraceFlags(0),
                trace_state=parent.trace_state,
            )
        )

    @_agnosticcontextmanager
    def start_as_current_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[trace.Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
        end_on_exit: bool = True,
    ) -> Iterator[Span]:
        with trace.use_span(self.start_span(name, context)) as span:
            yield span


class IdTracerProvider(trace.TracerProvider):
    """Gives the same `IdTracer` to everyone."""

    def __init__(self) -> None:
        self._tracer = IdTracer()

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,
    ) -> trace.Tracer:
        return self._tracer

    def shutdown(self) -> None:
        """Nothing to send."""
