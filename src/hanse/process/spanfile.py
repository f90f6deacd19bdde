"""Spans in a file, one JSON object per line, for people without a collector.

Owns `FileSpanExporter`. Several processes may append to one file: each batch is one write to a file
opened for appending.

Concurrency: called from the thread of a batch span processor.

Next: `hanse.process.telemetry`, which switches it on.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from hanse.errors import ConfigError


class FileSpanExporter(SpanExporter):
    """Appends spans to a file. Raises ConfigError if it cannot be opened."""

    def __init__(self, path: str) -> None:
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise ConfigError(
                f"cannot write the trace file {path}: {error.strerror}", metadata={"setting": "trace_file"}
            ) from error

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Append one line per span."""
        try:
            os.write(self._file, b"".join(encode(span) for span in spans))
        except OSError:
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Nothing is held back, so there is nothing to flush."""
        return True


def encode(span: ReadableSpan) -> bytes:
    """Return one line: ids in hex, times in nanoseconds since 1970, attributes as an object."""
    context = span.get_span_context()
    line: dict[str, Any] = {
        "name": span.name,
        "service": span.resource.attributes.get("service.name", ""),
        "trace_id": f"{context.trace_id:032x}" if context else "",
        "span_id": f"{context.span_id:016x}" if context else "",
        "parent_id": f"{span.parent.span_id:016x}" if span.parent else "",
        "kind": span.kind.name,
        "start": span.start_time,
        "end": span.end_time,
        "status": span.status.status_code.name,
        "message": span.status.description or "",
        "attributes": dict(span.attributes or {}),
        "events": [
            {"name": event.name, "time": event.timestamp, "attributes": dict(event.attributes or {})}
            for event in span.events
        ],
        "links": [
            {"trace_id": f"{link.context.trace_id:032x}", "span_id": f"{link.context.span_id:016x}"}
            for link in span.links
        ],
    }
    return orjson.dumps(line, default=str, option=orjson.OPT_APPEND_NEWLINE)
