"""Logs, traceparents, metrics and health over HTTP."""

from __future__ import annotations

import asyncio
import errno
import io
import logging
import sys
from collections.abc import Iterator
from typing import Any

import grpc
import orjson
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import SpanContext, TraceFlags

import hanse.process.health as health_module
from hanse.control import QueueMetrics, WorkQueue
from hanse.process.health import Health, HealthServer
from hanse.process.settings import ServiceSettings
from hanse.process.telemetry import (
    configure_logging,
    current_trace_id,
    format_traceparent,
    get_logger,
    inject_traceparent,
    parse_traceparent,
    setup,
    span_from_traceparent,
)
from tests.support.waiting import SECONDS

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where configured logs go; everything is put back afterwards."""
    output = io.StringIO()
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield output
    finally:
        structlog.reset_defaults()
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.captureWarnings(False)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    """The JSON lines."""
    return [orjson.loads(line) for line in stream.getvalue().splitlines()]


class FullDisk(io.StringIO):
    """A log on a full disk."""

    def write(self, text: str) -> int:
        """Fail."""
        raise OSError(errno.ENOSPC, "No space left on device", text)


def test_a_line_that_cannot_be_written_fails_nobody(stream: io.StringIO) -> None:
    """Who logs to a full disk goes on, through structlog and logging alike."""
    del stream  # for its end
    configure_logging(service_name="test", stream=FullDisk())
    get_logger("a").info("lost")
    logging.getLogger("other").warning("lost too")


def test_logs_follow_standard_error(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a stream of their own, logs go where standard error is when they are written."""
    configure_logging(service_name="test")
    monkeypatch.setattr("sys.stderr", stream)
    get_logger("a").info("hello")
    assert lines(stream)[0]["event"] == "hello"


def test_logs_are_json_with_the_trace(stream: io.StringIO) -> None:
    """structlog and logging end up in one stream, with the ids of the current span."""
    telemetry = setup("test", ServiceSettings(), install=False)
    configure_logging(service_name="test", stream=stream)
    logger = get_logger("a.b", cluster="eu-west")
    logger.debug("hidden")
    with span_from_traceparent("x", PARENT, tracer=telemetry.tracer):
        logger.info("object applied", attempts=2, raw=b"x")
        logging.getLogger("other").warning("from %s", "stdlib")
    try:
        raise KeyError("boom")
    except KeyError:
        logger.exception("failed")
    first, second, third = lines(stream)
    assert first["event"] == "object applied"
    assert first["logger"] == "a.b"
    assert (first["cluster"], first["attempts"], first["level"]) == ("eu-west", 2, "info")
    assert first["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert (second["event"], second["logger"], second["level"]) == ("from stdlib", "other", "warning")
    assert second["span_id"] == first["span_id"]
    assert "trace_id" not in third
    assert "KeyError: 'boom'" in str(third["exception"])
    telemetry.shutdown()


def test_console_logs_are_for_people(stream: io.StringIO) -> None:
    """The same events, readable."""
    configure_logging(service_name="test", format="console", stream=stream)
    get_logger("a").info("hello", x=1)
    assert "hello" in stream.getvalue()
    assert "x=1" in stream.getvalue()


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_a_traceparent_comes_back_as_it_was(trace_id: int, span_id: int, sampled: bool) -> None:
    """Formatting and parsing are inverse."""
    context = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(int(sampled)))
    parsed = parse_traceparent(format_traceparent(context))
    assert parsed is not None
    assert (parsed.trace_id, parsed.span_id, parsed.trace_flags) == (trace_id, span_id, int(sampled))


@pytest.mark.parametrize(
    "text", ["", "x", "ff" + PARENT[2:], PARENT + "-x", "00-" + "0" * 32 + PARENT[35:], None]
)
def test_a_malformed_traceparent_is_as_good_as_none(text: str | None) -> None:
    """It must not fail a call."""
    assert parse_traceparent(text) is None


@given(st.text())
def test_no_text_fails_the_parser(text: str) -> None:
    """Whatever a stranger sends."""
    parse_traceparent(text)


def test_a_span_continues_a_stored_trace() -> None:
    """And inject_traceparent() gives what to store next."""
    telemetry = setup("test", ServiceSettings(), install=False)
    assert inject_traceparent() == ""
    with span_from_traceparent("x", PARENT, tracer=telemetry.tracer):
        assert current_trace_id() == "0af7651916cd43dd8448eb211c80319c"
        assert inject_traceparent().split("-")[1] == current_trace_id()
        assert inject_traceparent() != PARENT
    with span_from_traceparent("x", None, tracer=telemetry.tracer):
        assert len(current_trace_id()) == 32
    telemetry.shutdown()


async def test_queues_show_in_the_metrics() -> None:
    """Two queues share the instruments and differ by name; durations have buckets in seconds."""
    telemetry = setup("test", ServiceSettings(), install=False)
    one = WorkQueue("one", metrics=QueueMetrics("one", telemetry.meter_provider))
    two = WorkQueue("two", metrics=QueueMetrics("two", telemetry.meter_provider))
    one.add("a")
    one.done(await one.get())
    two.add("a")
    two.add("b")
    text = telemetry.render_metrics()[0].decode()
    telemetry.shutdown()
    assert 'hanse_queue_depth{hanse_queue_name="one"} 0.0' in text
    assert 'hanse_queue_depth{hanse_queue_name="two"} 2.0' in text
    assert 'hanse_queue_wait_duration_seconds_bucket{hanse_queue_name="one",le="0.001"}' in text
    assert "process_resident_memory_bytes" in text


def test_idle_exporters_are_not_imported() -> None:
    """A service that exports nothing does not carry the exporters in memory."""
    import subprocess

    code = (
        "import sys, hanse.service.runtime, hanse.rpc, hanse.control;"
        "import hanse.process.telemetry as t, hanse.process.settings as s;"
        "t.setup('x', s.ServiceSettings());"
        "bad = [m for m in sys.modules if m.startswith(('opentelemetry.exporter.otlp', 'kubernetes', "
        "'aiohttp', 'cryptography', 'opentelemetry.sdk.trace.', 'opentelemetry.sdk._logs'))];"
        "sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()


async def request(address: str, text: str) -> tuple[str, str]:
    """Send a request, return status line and body."""
    host, _, port = address.rpartition(":")
    async with asyncio.timeout(SECONDS):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(text.encode())
        raw = (await reader.read()).decode()
        writer.close()
        await writer.wait_closed()
    head, _, body = raw.partition("\r\n\r\n")
    return head.split("\r\n")[0], body


async def get(address: str, path: str) -> tuple[str, str]:
    """GET a path."""
    return await request(address, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")


async def test_readyz_names_what_is_not_ready() -> None:
    """Conditions by name; healthz is fine meanwhile."""
    health = Health()
    async with HealthServer("127.0.0.1:0", health=health, metrics=lambda: (b"m 1\n", "text/plain")) as server:
        assert await get(server.address, "/readyz") == (
            "HTTP/1.1 503 Service Unavailable",
            "serving: starting\n",
        )
        health.set("serving", True)
        health.set("etcd", False, "no leader")
        assert (await get(server.address, "/readyz?verbose"))[1] == "etcd: no leader\n"
        health.set("etcd", True)
        assert await get(server.address, "/readyz") == ("HTTP/1.1 200 OK", "ok\n")
        assert (await get(server.address, "/healthz"))[1] == "ok\n"
        assert (await get(server.address, "/metrics"))[1] == "m 1\n"
        assert (await get(server.address, "/nope"))[0] == "HTTP/1.1 404 Not Found"
        assert (await request(server.address, "POST / HTTP/1.1\r\n\r\n"))[0].endswith(
            "405 Method Not Allowed"
        )
        assert (await request(server.address, "HEAD /healthz HTTP/1.1\r\n\r\n")) == ("HTTP/1.1 200 OK", "")
        assert (await request(server.address, "rubbish\r\n\r\n"))[0] == "HTTP/1.1 400 Bad Request"
        assert await request(server.address, "x" * 100_000) == ("", "")


def test_listeners_hear_changes_of_ready_only() -> None:
    """Once per change, not once per condition."""
    health, heard = Health(), list[bool]()
    unsubscribe = health.subscribe(heard.append)
    health.set("etcd", False)
    health.set("serving", True)
    health.set("etcd", True)
    health.set("etcd", True)
    health.set("etcd", False)
    unsubscribe()
    health.set("etcd", True)
    assert heard == [True, False]


EXPORTING = """
import logging, sys
from hanse.process.settings import ServiceSettings
from hanse.process.telemetry import get_logger, setup, span_from_traceparent
t = setup("x", ServiceSettings(otlp_endpoint=sys.argv[1]))
with span_from_traceparent("the span", None):
    get_logger("a").info("the event", key="the value")
t.meter.create_counter("the.counter").add(1)
t.shutdown()
"""


async def test_all_three_signals_reach_a_collector() -> None:
    """A process with otlp_endpoint sends its spans, metrics and logs there, and the log has the trace."""
    received: dict[str, bytes] = {}

    def handlers(name: str) -> grpc.GenericRpcHandler:
        async def export(body: bytes, context: object) -> bytes:
            received[name] = received.get(name, b"") + body
            return b""

        service = f"opentelemetry.proto.collector.{name}.v1.{name.capitalize()}Service"
        method: Any = grpc.unary_unary_rpc_method_handler(export)
        return grpc.method_handlers_generic_handler(service, {"Export": method})

    server = grpc.aio.server(handlers=[handlers(name) for name in ("trace", "metrics", "logs")])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", EXPORTING, f"http://127.0.0.1:{port}", stderr=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(30):
            _, log = await process.communicate()
    finally:
        await server.stop(0)
    trace_id = bytes.fromhex(orjson.loads(log.splitlines()[0])["trace_id"])
    assert b"the span" in received["trace"]
    assert trace_id in received["trace"]
    assert b"the.counter" in received["metrics"]
    assert b"the event" in received["logs"]
    assert trace_id in received["logs"]


async def test_half_a_request_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor are there more connections than a few; those that end make room."""
    monkeypatch.setattr(health_module, "_TIMEOUT", 0.3)
    monkeypatch.setattr(health_module, "_CONNECTIONS", 2)
    async with (
        asyncio.timeout(15),
        HealthServer("127.0.0.1:0", health=Health()) as server,
    ):
        host, _, port = server.address.rpartition(":")
        held = [await asyncio.open_connection(host, int(port)) for _ in range(2)]
        for _, writer in held:
            writer.write(b"GET /healthz HTTP/1.1\r\nslow:")
            await writer.drain()
        reader, extra = await asyncio.open_connection(host, int(port))
        assert await reader.read() == b""
        assert [await reader.read() for reader, _ in held] == [b"", b""]
        assert (await get(server.address, "/healthz"))[1] == "ok\n"
        for writer in (extra, *(writer for _, writer in held)):
            writer.close()
