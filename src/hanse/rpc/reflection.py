"""Server reflection, v1alpha and v1, so that grpcurl and its kind can list and call everything.

The two versions have the same messages under two names, so one servicer answers both.

Concurrency: stateless.

Next: `hanse.rpc.server`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

_V1ALPHA = "grpc.reflection.v1alpha.ServerReflection"
_V1 = "grpc.reflection.v1.ServerReflection"


def add_reflection(server: Any, services: Iterable[str]) -> None:
    """Add both versions of reflection over the default descriptor pool, naming `services`."""
    servicer: Any = ReflectionServicer((*services, _V1ALPHA))
    handlers = {
        "ServerReflectionInfo": grpc.stream_stream_rpc_method_handler(
            servicer.ServerReflectionInfo,
            request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
            response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
    }
    for name in (_V1ALPHA, _V1):
        server.add_registered_method_handlers(name, handlers)
