"""A KMS v2 plugin for tests: AES-GCM under keys that tests turn, and every way of doing it wrong."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hanse.api.kms.v2 import kms_pb2 as pb
from hanse.api.kms.v2.kms_pb2_grpc import (
    KeyManagementServiceServicer,
    add_KeyManagementServiceServicer_to_server,
)

ANNOTATION = "version.plugin.example.org"


class Plugin(KeyManagementServiceServicer):
    """The service. Tests set what it is to do wrong."""

    def __init__(self) -> None:
        self.keys: dict[str, AESGCM] = {}
        self.key_id = ""
        self.healthz = "ok"
        self.version = "v2"
        self.status_key_id: str | None = None
        self.hang = False
        self.plaintext: bytes | None = None
        """Decrypt answers this."""
        self.encrypted: pb.EncryptResponse | None = None
        """Encrypt answers this."""
        self.garbled = False
        """Status answers what is no message."""
        self.calls: list[str] = []
        self.turn("key-1")

    def turn(self, key_id: str) -> None:
        """Encrypt with another key; the old ones still decrypt."""
        self.keys[key_id] = AESGCM(os.urandom(32))
        self.key_id = key_id

    async def _begin(self, method: str) -> None:
        self.calls.append(method)
        if self.hang:
            await asyncio.sleep(60)

    async def Status(self, request: pb.StatusRequest, context: Any) -> pb.StatusResponse:  # noqa: N802
        """See the contract."""
        await self._begin("Status")
        key_id = self.key_id if self.status_key_id is None else self.status_key_id
        return pb.StatusResponse(version=self.version, healthz=self.healthz, key_id=key_id)

    async def Encrypt(self, request: pb.EncryptRequest, context: Any) -> pb.EncryptResponse:  # noqa: N802
        """See the contract."""
        await self._begin("Encrypt")
        if self.encrypted is not None:
            return self.encrypted
        nonce = os.urandom(12)
        ciphertext = nonce + self.keys[self.key_id].encrypt(nonce, request.plaintext, None)
        return pb.EncryptResponse(ciphertext=ciphertext, key_id=self.key_id, annotations={ANNOTATION: b"1"})

    async def Decrypt(self, request: pb.DecryptRequest, context: Any) -> pb.DecryptResponse:  # noqa: N802
        """See the contract."""
        await self._begin("Decrypt")
        if self.plaintext is not None:
            return pb.DecryptResponse(plaintext=self.plaintext)
        try:
            assert request.annotations[ANNOTATION] == b"1", "the annotations came back"
            cipher = self.keys[request.key_id]
            return pb.DecryptResponse(
                plaintext=cipher.decrypt(request.ciphertext[:12], request.ciphertext[12:], None)
            )
        except (KeyError, InvalidTag):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"no such key: {request.key_id}")
            raise


class _Garbling(grpc.aio.ServerInterceptor):
    """Answers bytes that are no message, in place of Status, while the plugin is to."""

    def __init__(self, plugin: Plugin) -> None:
        self._plugin = plugin

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Return a handler without serializers, or the plugin's."""
        if not self._plugin.garbled or not handler_call_details.method.endswith("/Status"):
            return await continuation(handler_call_details)

        async def answer(request: bytes, context: Any) -> bytes:
            return b"\xff\xff"

        return grpc.unary_unary_rpc_method_handler(answer)


class PluginServer:
    """The plugin at a socket. It can be stopped and started again."""

    def __init__(self, directory: Path, plugin: Plugin | None = None) -> None:
        self.path = directory / "kms.sock"
        self.plugin = plugin or Plugin()
        self._server: grpc.aio.Server | None = None

    @property
    def socket(self) -> str:
        """As a setting has it."""
        return f"unix://{self.path}"

    async def start(self) -> None:
        """Serve."""
        self.path.unlink(missing_ok=True)
        self._server = grpc.aio.server(interceptors=[_Garbling(self.plugin)])
        add_KeyManagementServiceServicer_to_server(self.plugin, self._server)
        self._server.add_insecure_port(self.socket)
        await self._server.start()

    async def stop(self) -> None:
        """Be away."""
        if self._server is not None:
            await self._server.stop(0)
            self._server = None
        self.path.unlink(missing_ok=True)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
