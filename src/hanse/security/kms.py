"""Keys that a KMS plugin keeps: Kubernetes' KMS v2 protocol, with envelopes as kube-apiserver makes them.

Owns `KmsRing`. A data key is made here, the plugin encrypts it once, and its answer (ciphertext, key id,
annotations) goes into each envelope that the data key seals, after a digest that tells a right data key from
a wrong one. Decrypted data keys stay in memory, so what was opened once can be opened while the plugin is
away. Status is polled; another key id makes another data key. As in kube-apiserver, the last data key seals
for three minutes more when the plugin is away; after that nothing is sealed until it is back.

What a plugin answers is checked: lengths, names, the version, that the key id of Encrypt is that of Status,
and that it decrypts what it has just encrypted. An answer that is wrong, too large or late is no answer: what
it was about is unknown.

Concurrency: one loop; `run` polls, any task may `fetch`.

Next: `hanse.security.rings`, which runs it.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import hmac
import os
import re
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc
import grpc.aio
import structlog
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf.message import DecodeError

from hanse.api.kms.v2.kms_pb2 import (
    DecryptRequest,
    EncryptRequest,
    EncryptResponse,
    StatusRequest,
    StatusResponse,
)
from hanse.api.kms.v2.kms_pb2_grpc import KeyManagementServiceStub
from hanse.errors import DataLossError, UnavailableError
from hanse.process.reconnecting import reconnecting
from hanse.security.keyring import KEY_BYTES, Key, KeyName, KeyRing

UNAVAILABLE: Final = "KMS_UNAVAILABLE"
"""Reason of the error for what needs a KMS plugin that does not answer as it should."""
TIMEOUT: Final = 3.0
"""Seconds that the plugin has for an answer."""
HEALTHY_SECONDS: Final = 60.0
UNHEALTHY_SECONDS: Final = 10.0
WRITE_SECONDS: Final = 180.0
"""How long a data key seals after the plugin has answered last."""
_VERSIONS: Final = ("v2", "v2beta1")
_MOST: Final = 1024
"""Bytes of a key id, and of an encrypted data key."""
_MOST_ANNOTATIONS: Final = 32 * 1024
_MOST_ANSWER: Final = 64 * 1024
_CHECK: Final = 16
_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_WORDS: Final = 200
_log = structlog.get_logger(__name__)


@functools.lru_cache(maxsize=4096)
def granted(grant: bytes) -> KeyName:
    """Return the name of the data key that `grant` has encrypted. Raises DataLossError for what is none."""
    try:
        answer = EncryptResponse.FromString(grant[_CHECK:])
    except DecodeError as error:
        raise DataLossError("the encrypted data key of an envelope cannot be read") from error
    if wrong := fault(answer):
        raise DataLossError(f"the encrypted data key of an envelope cannot be right: {wrong}")
    return KeyName(answer.key_id, grant)


def fault(answer: EncryptResponse) -> str:
    """Return what is wrong with the answer of Encrypt, as kube-apiserver checks it; "" if nothing is."""
    if not answer.ciphertext:
        return "the ciphertext is empty"
    if len(answer.ciphertext) > _MOST:
        return f"the ciphertext has {len(answer.ciphertext)} bytes, more than {_MOST}"
    if wrong := _fault_of_id(answer.key_id):
        return wrong
    size = 0
    for name, value in answer.annotations.items():
        size += len(name.encode()) + len(value)
        labels = name.removesuffix(".").split(".")
        if (
            len(name) > 253
            or len(labels) < 2
            or not all(len(each) <= 63 and _LABEL.fullmatch(each) for each in labels)
        ):
            return f"the annotation {name[:_WORDS]!r} is no fully qualified domain name"
    return (
        f"the annotations have {size} bytes, more than {_MOST_ANNOTATIONS}"
        if size > _MOST_ANNOTATIONS
        else ""
    )


def _fault_of_id(key_id: str) -> str:
    if not key_id:
        return "the key id is empty"
    size = len(key_id.encode())
    return f"the key id has {size} bytes, more than {_MOST}" if size > _MOST else ""


@dataclass(frozen=True, slots=True)
class _State:
    """What seals now."""

    name: KeyName
    cipher: AESGCM
    until: float


class KmsRing(KeyRing):
    """Data keys that a plugin encrypts; the keys of a file open what they have sealed before."""

    def __init__(
        self, socket: str, keys: Sequence[Key] = (), *, write_seconds: float = WRITE_SECONDS
    ) -> None:
        self.socket = socket
        self.problem = "it was not asked yet"
        """What is wrong with the plugin; empty if nothing is."""
        self._write_seconds = write_seconds
        self._state: _State | None = None
        self._ciphers_of: dict[bytes, AESGCM] = {}
        self._wanted: dict[bytes, str] = {}
        """Data keys that could not be decrypted yet, and why."""
        self._refused: set[bytes] = set()
        """Data keys that somebody wanted to open with before they were known."""
        self._fetching = asyncio.Lock()
        self._version = ""
        self._wake = asyncio.Event()
        self._channel: grpc.aio.Channel | None = None
        self._stub: Any = None
        super().__init__(keys)

    @property
    def seals(self) -> bool:
        """Always: with what the plugin has encrypted."""
        return True

    def sealing(self) -> tuple[KeyName, AESGCM]:
        """See `KeyRing.sealing`."""
        state = self._state
        if state is None or asyncio.get_running_loop().time() > state.until:
            raise self._unavailable(self.problem or "it has not answered lately")
        return state.name, state.cipher

    def is_current(self, name: KeyName) -> bool:
        """See `KeyRing.is_current`. Each process has a data key of its own, so the plugin's key counts."""
        return self._state is None or (bool(name.grant) and name.id == self._state.name.id)

    def cipher(self, name: KeyName) -> AESGCM | None:
        """See `KeyRing.cipher`. What is not known yet is asked for by `run`."""
        if not name.grant:
            return super().cipher(name)
        found = self._ciphers_of.get(name.grant)
        if found is None:
            if name.grant not in self._wanted:
                self._wanted[name.grant] = self.problem or "it is being asked"
                self._wake.set()
            self._refused.add(name.grant)
            raise self._unavailable(f"the data key of key {name.id[:_WORDS]!r}: {self._wanted[name.grant]}")
        return found

    @property
    def unknown(self) -> int:
        """How many data keys the plugin was asked to decrypt, and did not."""
        return len(self._wanted)

    async def fetch(self, names: Collection[KeyName]) -> None:
        """See `KeyRing.fetch`. Whoever wants what another asks for waits with him. Once the plugin does not
        answer, nobody asks it until a poll finds it well."""
        grants = {each.grant for each in names if each.grant}
        if grants <= self._ciphers_of.keys():
            return
        async with self._fetching:
            new = [each for each in grants if each not in self._ciphers_of and each not in self._wanted]
            if not new:
                return
            self._wanted.update(dict.fromkeys(new, self.problem or "it is being asked"))
            try:
                if not self.problem:
                    await self._decrypt_wanted(new)
            finally:
                self._wake.set()
                if any(each in self._refused and each in self._ciphers_of for each in new):
                    self.changed()  # who did not wait may have it now
                self._refused.difference_update(self._ciphers_of)

    async def run(self, told: Callable[[], None]) -> None:
        """Poll until cancelled; call `told` after each look."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            self._wake.clear()
            if loop.time() >= due:
                await self.poll()
                due = loop.time() + (UNHEALTHY_SECONDS if self.problem else HEALTHY_SECONDS)
            if self._wanted and not self.problem and await self._decrypt_wanted(list(self._wanted)):
                self.changed()
            if self._wanted:
                due = min(due, loop.time() + UNHEALTHY_SECONDS)
            told()
            try:
                async with asyncio.timeout(max(due - loop.time(), 0.0)):
                    await self._wake.wait()
                await asyncio.sleep(0.2)  # others want something too
            except TimeoutError:
                pass

    async def poll(self) -> None:
        """Ask the plugin how it is, and make a data key if its key is another. `problem` tells of it."""
        try:
            await self._look()
        except UnavailableError as error:
            self._note(_why(error))
        else:
            self._note("")

    def _note(self, problem: str) -> None:
        before, self.problem = self.problem, problem
        if self.problem != before:
            if self.problem:
                _log.error(
                    "the KMS plugin does not work: nothing new is sealed, and only what was opened before "
                    "can be opened; see to the plugin",
                    socket=self.socket,
                    error=self.problem,
                )
            else:
                _log.info("the KMS plugin works", socket=self.socket)

    async def close(self) -> None:
        """Close the connection."""
        if self._channel is not None:
            await self._channel.close()

    async def _look(self) -> None:
        began = asyncio.get_running_loop().time()
        status: StatusResponse = await self._call("Status", StatusRequest())
        if status.healthz != "ok":
            raise self._unavailable(f"it says that it is {_quoted(status.healthz)}")
        if status.version not in _VERSIONS or (self._version and status.version != self._version):
            raise self._unavailable(
                f"it speaks version {_quoted(status.version)}, not {self._version or _VERSIONS[0]}"
            )
        if wrong := _fault_of_id(status.key_id):
            raise self._unavailable(f"of its status, {wrong}")
        self._version = status.version
        until = began + self._write_seconds
        state = self._state
        if state is not None and state.name.id == status.key_id:
            self._state = _State(state.name, state.cipher, until)
            return
        secret = os.urandom(KEY_BYTES)
        answer: EncryptResponse = await self._call(
            "Encrypt", EncryptRequest(plaintext=secret, uid=str(uuid.uuid4()))
        )
        if wrong := fault(answer):
            raise self._unavailable(f"of what it has encrypted, {wrong}")
        if answer.key_id != status.key_id:
            raise self._unavailable(
                f"it encrypts with key {_quoted(answer.key_id)}, and says that its key is "
                f"{_quoted(status.key_id)}"
            )
        grant = _digest(secret) + answer.SerializeToString(deterministic=True)
        if await self._decrypted(grant) != secret:
            raise self._unavailable("it does not decrypt what it has encrypted")
        cipher = AESGCM(secret)
        self._ciphers_of[grant] = cipher
        self._state = _State(granted(grant), cipher, until)
        _log.info("a data key was encrypted by the KMS plugin", socket=self.socket, key=answer.key_id)
        self.changed()

    async def _decrypt_wanted(self, grants: Sequence[bytes]) -> bool:
        """Have data keys decrypted; return whether any was."""
        done = False
        for grant in grants:
            try:
                self._ciphers_of[grant] = AESGCM(await self._decrypted(grant))
            except UnavailableError as error:
                self._wanted[grant] = _why(error)
                if error.metadata.get("away"):
                    self._note(_why(error))
                    break
            else:
                self._wanted.pop(grant, None)
                done = True
        return done

    async def _decrypted(self, grant: bytes) -> bytes:
        sealed = EncryptResponse.FromString(grant[_CHECK:])
        request = DecryptRequest(
            ciphertext=sealed.ciphertext,
            uid=str(uuid.uuid4()),
            key_id=sealed.key_id,
            annotations=dict(sealed.annotations),
        )
        plaintext: bytes = (await self._call("Decrypt", request)).plaintext
        if len(plaintext) != KEY_BYTES or not hmac.compare_digest(_digest(plaintext), grant[:_CHECK]):
            raise self._unavailable(
                f"it decrypts a data key of key {_quoted(sealed.key_id)} to something else"
            )
        return plaintext

    async def _call(self, method: str, request: Any) -> Any:
        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(
                self.socket,
                options=[
                    ("grpc.max_receive_message_length", _MOST_ANSWER),
                    ("grpc.default_authority", "localhost"),
                    ("grpc.enable_http_proxy", 0),
                    *reconnecting(first=0.1, most=2.0),
                    ("grpc.use_local_subchannel_pool", 1),
                ],
            )
            self._stub = KeyManagementServiceStub(self._channel)
        try:
            answer = await getattr(self._stub, method)(request, timeout=TIMEOUT)
        except grpc.aio.AioRpcError as error:
            away = error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
            words = " ".join((error.details() or "").split())[:_WORDS]
            raise self._unavailable(f"{method}: {error.code().name}: {words}", away=away) from error
        if answer is None:  # so grpc.aio has what does not decode
            raise self._unavailable(f"{method}: its answer cannot be read")
        return answer

    def _unavailable(self, why: str, *, away: bool = False) -> UnavailableError:
        return UnavailableError(
            f"the KMS plugin at {self.socket} does not do what it should: {why}",
            reason=UNAVAILABLE,
            metadata={"socket": self.socket, **({"away": "true"} if away else {})},
        )


def _digest(secret: bytes) -> bytes:
    """Tell a data key from another without telling it."""
    return hmac.digest(secret, b"hanse-kms-data-key", hashlib.sha256)[:_CHECK]


def _why(error: UnavailableError) -> str:
    return error.message.partition(": ")[2] or error.message


def _quoted(text: str) -> str:
    return repr(text[:_WORDS])
