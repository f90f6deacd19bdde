"""gRPC: FederationService with changed messages, as bytes on the wire.

Owns `Rpcs`. UNKNOWN and INTERNAL are failures, and so is no answer in time.

Next: `tests.fuzz.surfaces.packets`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

import grpc
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from hanse.api.federation.v1 import federation_service_pb2 as pb
from tests.apiserver.world import deployment
from tests.fuzz import mutations
from tests.fuzz.engine import Input
from tests.fuzz.surfaces.served import OVERRIDE, WIDGET, ServedFederation
from tests.kube.server.world import config_map, widget_crd

_SERVICE = "/hanse.api.federation.v1.FederationService/"
_TIMEOUT = 25.0
_WRONG = (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.DEADLINE_EXCEEDED)

_NAME = "objects/apps/deployments/shop/web"
_TEXTS = (
    _NAME,
    "objects/core/configmaps/shop/c",
    "objects/example.com/widgets/shop/w",
    "objects/core/namespaces/_/shop",
    "objects/core/secrets",
    "objects/core/core/_/_",
    "objects/_/_/_/_",
    "objects////",
    *mutations.TEXTS,
)


def _seeds() -> Iterable[Message]:
    for manifest in (deployment(), config_map("x", namespace="shop"), WIDGET, widget_crd(), OVERRIDE):
        encoded = json.dumps(manifest).encode()
        yield pb.CreateObjectRequest(manifest=encoded, field_manager="m", validate_only=False)
        yield pb.UpdateObjectRequest(manifest=encoded, etag="1", subresource="")
        yield pb.ApplyObjectRequest(manifest=encoded, force=True)
    for kind, patch in (
        (pb.JSON_PATCH, [{"op": "copy", "from": "/spec", "path": "/metadata/annotations"}]),
        (pb.MERGE_PATCH, {"spec": {"replicas": 2}}),
        (pb.STRATEGIC_MERGE_PATCH, {"spec": {"template": {"spec": {"containers": [{"name": "web"}]}}}}),
    ):
        yield pb.PatchObjectRequest(
            name=_NAME, type=kind, patch=json.dumps(patch).encode(), subresource="status"
        )
        yield pb.PatchObjectRequest(name=_NAME, type=kind, patch=json.dumps(patch).encode())
    yield pb.GetObjectRequest(name=_NAME)
    yield pb.DeleteObjectRequest(name="objects/core/configmaps/shop/c", etag="7", propagation=pb.FOREGROUND)
    yield pb.ListObjectsRequest(parent="objects/core/configmaps", page_size=1, label_selector="a=b")
    yield pb.ListObjectsRequest(parent="objects/apps/deployments/shop", field_selector="metadata.name=web")
    yield pb.ListResourcesRequest(page_size=5, page_token="x")
    yield pb.GetFederationRequest()


class Rpcs:
    """FederationService."""

    name = "rpcs"

    def __init__(self) -> None:
        self._federation: ServedFederation | None = None
        self._channel: grpc.Channel | None = None

    def start(self) -> None:
        """Serve a federation and open a channel."""
        self._federation = ServedFederation()
        files = {name: Path(path).read_bytes() for name, path in self._federation.identity().items()}
        credentials = grpc.ssl_channel_credentials(files["ca"], files["key"], files["cert"])
        self._channel = grpc.secure_channel(self._federation.world.apiserver.grpc, credentials)

    def stop(self) -> None:
        """Stop both."""
        if self._channel is not None:
            self._channel.close()
        if self._federation is not None:
            self._federation.close()
        self._channel = self._federation = None

    def lag(self) -> float:
        """How long the last call held the loop."""
        assert self._federation is not None
        return self._federation.loop.settle()

    def seeds(self) -> list[Input]:
        """Messages that are fine, one for every method."""
        return [_input(message) for message in _seeds()]

    def mutated(self, rng: Random, seed: Input) -> Input:
        """Change a field, or the bytes."""
        data = seed["message"].encode("latin-1")
        message = getattr(pb, f"{seed['method']}Request")()
        try:
            if rng.random() < 0.1:
                raise DecodeError
            message.ParseFromString(data)
            for _ in range(rng.choice((1, 1, 2))):
                _change(rng, message)
            data = message.SerializeToString()
        except (DecodeError, ValueError, RecursionError):
            data = mutations.mutate_bytes(rng, data)
        return {"method": seed["method"], "message": data.decode("latin-1")}

    def run(self, step: Input) -> str:
        """Call the method; say what is wrong with its end."""
        assert self._channel is not None
        assert self._federation is not None
        self._federation.loop.reset()
        call: Any = self._channel.unary_unary(_SERVICE + step["method"])
        try:
            call(step["message"].encode("latin-1"), timeout=_TIMEOUT)
        except grpc.RpcError as error:
            if error.code() in _WRONG:
                return f"{step['method']} ended with {error.code().name}: {error.details()}"
        return ""


def _input(message: Message) -> Input:
    method = type(message).__name__.removesuffix("Request")
    return {"method": method, "message": message.SerializeToString().decode("latin-1")}


def _change(rng: Random, message: Message) -> None:
    fields: list[Any] = list(message.DESCRIPTOR.fields)
    if not fields:
        return
    field = rng.choice(fields)
    name = field.name
    if field.type == FieldDescriptor.TYPE_STRING:
        before = getattr(message, name)
        text = rng.choice(_TEXTS) if rng.random() < 0.7 else mutations.mutate_text(rng, before)
        setattr(message, name, text[:20_000].encode(errors="replace").decode())
    elif field.type == FieldDescriptor.TYPE_BYTES:
        setattr(message, name, _changed_bytes(rng, getattr(message, name)))
    elif field.type == FieldDescriptor.TYPE_BOOL:
        setattr(message, name, rng.random() < 0.5)
    elif field.type == FieldDescriptor.TYPE_ENUM:
        setattr(message, name, rng.choice((0, 1, 2, 3, 99)))
    elif field.message_type is None:
        setattr(message, name, rng.choice((0, 1, 2**31 - 1, -1, -(2**31), 1000)))


def _changed_bytes(rng: Random, data: bytes) -> bytes:
    kind = rng.random()
    if kind < 0.7:
        try:
            document: Any = json.loads(data)
            return json.dumps(mutations.mutate_json(rng, document)).encode(errors="surrogatepass")
        except (ValueError, RecursionError):
            pass
    return mutations.mutate_bytes(rng, data) if kind < 0.9 else mutations.costly(rng)
