"""A service made of descriptors, so that RPC tests need none of Hanse's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, wrappers_pb2

NAME = "hanse.test.v1.EchoService"
METHODS = (f"{NAME}/GetEcho", f"{NAME}/SetEcho", f"{NAME}/WatchEcho", f"{NAME}/SumEcho", f"{NAME}/ChatEcho")
Text = wrappers_pb2.StringValue


def _describe() -> None:
    file = descriptor_pb2.FileDescriptorProto(
        name="hanse/test/v1/echo_service.proto",
        package="hanse.test.v1",
        syntax="proto3",
        dependency=["google/protobuf/wrappers.proto"],
    )
    service = file.service.add(name="EchoService")
    for name, (sends, receives) in {
        "GetEcho": (False, False),
        "SetEcho": (False, False),
        "WatchEcho": (False, True),
        "SumEcho": (True, False),
        "ChatEcho": (True, True),
    }.items():
        service.method.add(
            name=name,
            input_type=".google.protobuf.StringValue",
            output_type=".google.protobuf.StringValue",
            client_streaming=sends,
            server_streaming=receives,
        )
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())


_describe()


class Echo:
    """Answers what `behave` returns or raises; streams count what they were asked for."""

    def __init__(self, behave: Callable[[str], str] = lambda text: text) -> None:
        self.behave = behave
        self.calls = 0
        self.cancelled = asyncio.Event()

    async def get(self, request: Text, context: object) -> Text:
        self.calls += 1
        return Text(value=self.behave(request.value))

    async def watch(self, request: Text, context: object) -> AsyncIterator[Text]:
        self.calls += 1
        try:
            yield Text(value=self.behave(request.value))
            await asyncio.Event().wait()
        finally:  # also of a call that is cancelled before the message is written
            self.cancelled.set()

    async def sum(self, requests: AsyncIterator[Text], context: object) -> Text:
        return Text(value=self.behave("".join([request.value async for request in requests])))

    async def chat(self, requests: AsyncIterator[Text], context: object) -> AsyncIterator[Text]:
        async for request in requests:
            yield Text(value=self.behave(request.value))


def add_echo(servicer: Any, server: Any) -> None:
    """As generated code does it."""
    codec: dict[str, Any] = {
        "request_deserializer": Text.FromString,
        "response_serializer": Text.SerializeToString,
    }
    handlers: dict[str, Any] = {
        "GetEcho": grpc.unary_unary_rpc_method_handler(servicer.get, **codec),
        "SetEcho": grpc.unary_unary_rpc_method_handler(servicer.get, **codec),
        "WatchEcho": grpc.unary_stream_rpc_method_handler(servicer.watch, **codec),
        "SumEcho": grpc.stream_unary_rpc_method_handler(servicer.sum, **codec),
        "ChatEcho": grpc.stream_stream_rpc_method_handler(servicer.chat, **codec),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(NAME, handlers),))
    server.add_registered_method_handlers(NAME, handlers)


class Stub:
    """As generated code does it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        def make(kind: str, method: str) -> Any:
            return getattr(channel, kind)(
                f"/{NAME}/{method}",
                request_serializer=Text.SerializeToString,
                response_deserializer=Text.FromString,
            )

        self.get = make("unary_unary", "GetEcho")
        self.set = make("unary_unary", "SetEcho")
        self.watch = make("unary_stream", "WatchEcho")
        self.sum = make("stream_unary", "SumEcho")
        self.chat = make("stream_stream", "ChatEcho")
