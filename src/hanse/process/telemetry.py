"""Traces, metrics and logs of a process, with OpenTelemetry's conventions.

Owns the set-up of structlog, of OpenTelemetry's tracer and meter, and of what is sent where: logs to
standard error; metrics to /metrics; all three to OTLP if `otlp_endpoint` is set; spans to a file if
`trace_file` is set. Where nothing records traces, spans only carry ids, so that logs of one change can
still be joined across services.

Sampling is decided by trace id alone, so services with the same `trace_ratio` agree without being told.

Concurrency: set up once before the loop starts. Exporters run in threads of their own and are imported
only when they are on. Recording is safe from any task or thread.

Next: `hanse.rpc.interceptor`, which makes the spans of calls.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TextIO, cast

import orjson
import structlog
from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    TraceFlags,
    Tracer,
)

from hanse.process.spanids import IdTracerProvider

if TYPE_CHECKING:
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from prometheus_client import CollectorRegistry

Logger = structlog.typing.FilteringBoundLogger
EventDict = MutableMapping[str, Any]

DURATION_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 10, 30)
"""Bucket bounds for durations in seconds: OpenTelemetry's for rpc and http, and finer below 5 ms."""

_SHUTDOWN_SECONDS = 3.0
_TRACEPARENT = re.compile(r"^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$")


class TelemetrySettings(Protocol):
    """The settings that `setup` reads; `hanse.process.settings.ServiceSettings` has them."""

    @property
    def log_level(self) -> str: ...
    @property
    def log_format(self) -> str: ...
    @property
    def otlp_endpoint(self) -> str: ...
    @property
    def trace_file(self) -> str: ...
    @property
    def trace_ratio(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Telemetry:
    """The tracer and meter of a process, and what must be shut down at its end."""

    service_name: str
    tracer: Tracer
    meter: metrics.Meter
    meter_provider: metrics.MeterProvider
    recording: bool
    """Whether spans go anywhere."""
    registry: CollectorRegistry
    _closers: list[Callable[[], object]] = field(default_factory=list, repr=False)

    def render_metrics(self) -> tuple[bytes, str]:
        """Return the metrics in Prometheus' text format, and its content type."""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return generate_latest(self.registry), CONTENT_TYPE_LATEST

    def shutdown(self) -> None:
        """Send what is left, for at most 3 seconds in all. Blocks; call it after the loop has ended."""

        def close() -> None:
            for closer in self._closers:
                closer()

        thread = threading.Thread(target=close, name="telemetry-shutdown", daemon=True)
        thread.start()
        thread.join(_SHUTDOWN_SECONDS)


def setup(
    service_name: str,
    settings: TelemetrySettings,
    *,
    install: bool = True,
    stream: TextIO | None = None,
) -> Telemetry:
    """Set up logs, traces and metrics of the service, such as "registry".

    `install` makes them the process's own (OpenTelemetry's globals, structlog, the root logger); tests
    that want a separate one pass False. `stream` is where logs go, standard error by default.
    """
    resource = _resource(service_name)
    closers: list[Callable[[], object]] = []
    tracer_provider, recording = _tracer_provider(resource, settings)
    closers.append(tracer_provider.shutdown)
    meter_provider, registry = _meter_provider(resource, settings)
    closers.append(meter_provider.shutdown)
    logger_provider = _logger_provider(resource, settings) if settings.otlp_endpoint else None
    if logger_provider is not None:
        closers.append(logger_provider.shutdown)
    if install:
        trace.set_tracer_provider(tracer_provider)
        metrics.set_meter_provider(meter_provider)
        configure_logging(
            service_name=service_name,
            level=settings.log_level,
            format=settings.log_format,
            stream=stream,
            otlp=logger_provider,
        )
    return Telemetry(
        service_name=service_name,
        tracer=tracer_provider.get_tracer("hanse"),
        meter=meter_provider.get_meter("hanse"),
        meter_provider=meter_provider,
        recording=recording,
        registry=registry,
        _closers=closers,
    )


def get_logger(name: str, **fields: object) -> Logger:
    """Return a logger; events are short sentences, everything variable is a field."""
    return cast(Logger, structlog.get_logger(logger_name=name, **fields))


def inject_traceparent() -> str:
    """Return the current span as a W3C traceparent, or "" outside of any span."""
    return format_traceparent(trace.get_current_span().get_span_context())


def format_traceparent(context: SpanContext) -> str:
    """Return `context` as a W3C traceparent, or "" if it is not valid."""
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & 1:02x}"


def parse_traceparent(traceparent: str | None) -> SpanContext | None:
    """Parse a W3C traceparent; None if there is none or it is malformed (which must not fail a call)."""
    match = _TRACEPARENT.match(traceparent) if traceparent else None
    if match is None or match[1] == "ff" or (match[1] == "00" and match[5]):
        return None
    context = SpanContext(
        trace_id=int(match[2], 16),
        span_id=int(match[3], 16),
        is_remote=True,
        trace_flags=TraceFlags(int(match[4], 16) & 1),
    )
    return context if context.is_valid else None


def parent_context(traceparent: str | None) -> Context:
    """Return the OpenTelemetry context in which a span is a child of `traceparent` (a root if None)."""
    parent = parse_traceparent(traceparent) or INVALID_SPAN_CONTEXT
    return trace.set_span_in_context(NonRecordingSpan(parent), Context())


@contextlib.contextmanager
def span_from_traceparent(
    name: str,
    traceparent: str | None,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Mapping[str, str | int | float | bool] | None = None,
    tracer: Tracer | None = None,
) -> Iterator[Span]:
    """Run a block in a span that continues the trace of a stored object (a new trace if it has none)."""
    tracer = tracer or trace.get_tracer("hanse")
    with tracer.start_as_current_span(
        name, context=parent_context(traceparent), kind=kind, attributes=attributes
    ) as span:
        yield span


def current_trace_id() -> str:
    """Return the current trace's id, 32 hex digits, or "" outside of any span."""
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else ""


# --- logs -----------------------------------------------------------------------------------------


def configure_logging(
    *,
    service_name: str,
    level: str = "info",
    format: str = "json",  # noqa: A002
    stream: TextIO | None = None,
    otlp: LoggerProvider | None = None,
) -> None:
    """Make structlog and the standard library's logging write one stream of events."""
    number = logging.getLevelNamesMapping()[level.upper()]
    output = _Forgiving(stream)
    processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        _add_trace,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor
    if format == "json":
        processors.append(structlog.processors.format_exc_info)
        renderer = _JsonRenderer(service_name)
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=output.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    if otlp is not None:
        processors.append(_OtlpProcessor(otlp))
    structlog.configure(
        processors=[*processors, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, output)),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _StdlibBridge)]:
        root.removeHandler(handler)
    root.addHandler(_StdlibBridge())
    root.setLevel(number)
    logging.captureWarnings(True)


class _Forgiving:
    """A stream that loses what cannot be written: a log on a full disk must not fail who logs.

    Without a stream, what is standard error at that time is written to.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._given = stream

    @property
    def _stream(self) -> TextIO:
        return self._given or sys.stderr

    def isatty(self) -> bool:
        return self._stream.isatty()

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            return 0

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


class _StdlibBridge(logging.Handler):
    """Sends records of the standard library's logging through structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            logger = structlog.get_logger(logger_name=record.name)
            logger.log(record.levelno - record.levelno % 10, record.getMessage(), exc_info=record.exc_info)
        except Exception:  # noqa: BLE001 - a log line must never fail what it reports on
            self.handleError(record)


class _JsonRenderer:
    def __init__(self, service_name: str) -> None:
        self._service = service_name

    def __call__(self, logger: object, method: str, event: EventDict) -> str:
        ordered: dict[str, Any] = {
            "timestamp": event.pop("timestamp", None),
            "level": event.pop("level", method),
            "service": self._service,
            "logger": event.pop("logger_name", ""),
            "event": event.pop("event", ""),
            **event,
        }
        try:
            return orjson.dumps(ordered, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
        except TypeError:  # text that is not UTF-8, or a number of more than 64 bits: fails no caller
            return json.dumps({str(name): value for name, value in ordered.items()}, default=str)


def _add_trace(logger: object, method: str, event: EventDict) -> EventDict:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = f"{context.trace_id:032x}"
        event["span_id"] = f"{context.span_id:016x}"
    return event


class _OtlpProcessor:
    """Copies events to OpenTelemetry's logs; the exporters' own messages stay local."""

    def __init__(self, provider: LoggerProvider) -> None:
        from opentelemetry._logs import LogRecord, SeverityNumber

        self._logger = provider.get_logger("hanse")
        self._record = LogRecord
        self._severity = {
            "debug": SeverityNumber.DEBUG,
            "info": SeverityNumber.INFO,
            "warning": SeverityNumber.WARN,
            "error": SeverityNumber.ERROR,
            "critical": SeverityNumber.FATAL,
        }

    def __call__(self, logger: object, method: str, event: EventDict) -> EventDict:
        if not str(event.get("logger_name", "")).startswith("opentelemetry"):
            level = str(event.get("level", method))
            skipped = ("event", "level", "timestamp", "trace_id", "span_id")
            self._logger.emit(
                self._record(
                    severity_text=level.upper(),
                    severity_number=self._severity.get(level, self._severity["info"]),
                    body=str(event.get("event", "")),
                    attributes={
                        key: value if isinstance(value, str | bool | int | float) else str(value)
                        for key, value in event.items()
                        if key not in skipped
                    },
                )
            )
        return event


# --- providers ------------------------------------------------------------------------------------


def _resource(service_name: str) -> Resource:
    return Resource.create(
        {
            "service.name": f"hanse-{service_name}",
            "service.namespace": "hanse",
            "service.instance.id": f"{socket.gethostname()}-{os.getpid()}",
        }
    )


def _tracer_provider(
    resource: Resource, settings: TelemetrySettings
) -> tuple[TracerProvider | IdTracerProvider, bool]:
    recording = bool(settings.otlp_endpoint or settings.trace_file)
    if not recording:
        return IdTracerProvider(), False
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    by_id = TraceIdRatioBased(settings.trace_ratio)
    provider = TracerProvider(
        resource=resource,
        sampler=ParentBased(root=by_id, remote_parent_not_sampled=by_id),
        shutdown_on_exit=False,
    )
    if settings.trace_file:
        from hanse.process.spanfile import FileSpanExporter

        exporter = FileSpanExporter(settings.trace_file)
        provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=250))
    if settings.otlp_endpoint:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        provider.add_span_processor(
            BatchSpanProcessor(OTLPSpanExporter(**_otlp(settings)), schedule_delay_millis=1000)
        )
    return provider, True


def _meter_provider(
    resource: Resource, settings: TelemetrySettings
) -> tuple[MeterProvider, CollectorRegistry]:
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from prometheus_client import CollectorRegistry, ProcessCollector

    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    readers: list[MetricReader] = [PrometheusMetricReader(registry=registry, scope_info_enabled=False)]
    if settings.otlp_endpoint:
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

        readers.append(
            PeriodicExportingMetricReader(
                OTLPMetricExporter(**_otlp(settings)), export_interval_millis=15_000
            )
        )
    provider = MeterProvider(
        metric_readers=readers,
        resource=resource,
        shutdown_on_exit=False,
        exemplar_filter=AlwaysOffExemplarFilter(),  # halves the cost of a measurement
    )
    return provider, registry


def _logger_provider(resource: Resource, settings: TelemetrySettings) -> LoggerProvider:
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    provider = LoggerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(**_otlp(settings))))
    return provider


def _otlp(settings: TelemetrySettings) -> dict[str, Any]:
    endpoint = settings.otlp_endpoint
    return {"endpoint": endpoint, "insecure": not endpoint.startswith("https://"), "timeout": 2}
