"""Clients that write, read and watch ConfigMaps of one namespace, and record what they were told.

Owns `Recording`, which runs the clients while something breaks and ends with a barrier: an object that is
written last, and that every watcher must see. Clients go on through every outage: writers note what may have
happened and may not, watchers resume at the last revision that they saw and list again when that is gone.

Concurrency: a thread per client; each writes its own list, or appends to a list of the history, which is one
operation. Next: `tests.support.history`, which says what is wrong with what was recorded.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio
import orjson

from hanse.api.federation.v1.federation_service_pb2 import (
    MERGE_PATCH,
    ListObjectsRequest,
    PatchObjectRequest,
    WatchObjectsRequest,
)
from hanse.api.federation.v1.federation_service_pb2_grpc import FederationServiceStub
from hanse.api.type.v1.change_pb2 import BOOKMARK, DELETED
from hanse.errors import HanseError
from hanse.process.settings import TlsFiles
from hanse.rpc.channel import RpcChannel
from hanse.store import EtcdStore
from tests.support.history import (
    ANY,
    LEAVING,
    Change,
    History,
    Listed,
    Outcome,
    Read,
    Resumed,
    Saw,
    State,
    Step,
    Told,
    Write,
    violations,
)
from tests.system.harness import Api, ApiError, Json, until
from tests.system.harness.api import collection
from tests.system.manifests import config_map

MAPS = "configmaps"
WATCH_SECONDS = 1.0
"""Short, and with a pause before the next, so that much has happened at each resume."""
PAUSE_SECONDS = 0.02
RETRY_SECONDS = 0.1
DELETE_SHARE = 0.08
BARRIER = "barrier"
SETTLE_SECONDS = 60.0
_UNKNOWN = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.CANCELLED,
    }
)


def state_of(obj: Json) -> State:
    """The state of a served or stored ConfigMap; None for one that is none of ours."""
    value = (obj.get("data") or {}).get("value")
    if value is None:
        return None
    return str(value) + (LEAVING if "deletionTimestamp" in obj["metadata"] else "")


def version_of(obj: Json) -> int:
    """The revision of a served object or list."""
    return int(obj["metadata"]["resourceVersion"])


class Recording:
    """Records what clients of `namespace` do and see while inside `with`; then checks it."""

    def __init__(self, namespace: str, *, seed: int = 0) -> None:
        self.namespace = namespace
        self.history = History()
        self.stop = threading.Event()
        self.quiet = threading.Event()
        """Set when writers and readers are to end."""
        self.rng = random.Random(seed)
        self.tokens = itertools.count()
        self.problems: list[str] = []
        self._writers: list[threading.Thread] = []
        self._followers: list[threading.Thread] = []
        self._barrier: Api | None = None

    # Clients.

    def writer(self, name: str, api: Api, keys: Iterable[str]) -> None:
        """Write and read over REST."""
        self._barrier = self._barrier or api
        self._thread(self._writers, RestWriter(self, name, api, list(keys)).run)

    def rpc_writer(self, name: str, endpoint: str, tls: TlsFiles, keys: Iterable[str]) -> None:
        """Patch over gRPC what is there."""
        self._thread(self._writers, RpcWriter(self, name, endpoint, tls, list(keys)).run)

    def reader(self, name: str, api: Api) -> None:
        """List over REST."""
        self._thread(self._writers, RestReader(self, name, api).run)

    def watcher(self, name: str, api: Api) -> None:
        """Watch over REST."""
        steps = self.history.watchers.setdefault(name, [])
        self._thread(self._followers, RestWatcher(self, api, steps).run)

    def rpc_watcher(self, name: str, endpoint: str, tls: TlsFiles) -> None:
        """Watch over gRPC."""
        steps = self.history.watchers.setdefault(name, [])
        self._thread(self._followers, RpcWatcher(self, endpoint, tls, steps).run)

    def store(self, endpoint: str, tls: TlsFiles | None = None) -> None:
        """Follow etcd itself."""
        self._thread(self._followers, StoreRecorder(self, endpoint, tls).run)

    def _thread(self, kind: list[threading.Thread], run: Callable[[], None]) -> None:
        def safely() -> None:
            try:
                run()
            except Exception as error:  # noqa: BLE001 - told at the end
                self.problems.append(f"{run.__self__!r} ended: {error!r}")  # type: ignore[attr-defined]

        kind.append(threading.Thread(target=safely, daemon=True))

    # Life.

    def __enter__(self) -> Self:
        for thread in self._followers:
            thread.start()
        until(self._all_follow, what=f"all follow: {self.problems}", seconds=SETTLE_SECONDS)
        for thread in self._writers:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.quiet.set()
        try:
            for thread in self._writers:
                thread.join(SETTLE_SECONDS)
            if kind is None:
                self._end()
        finally:
            self.stop.set()
            for thread in self._followers:
                thread.join(2 * WATCH_SECONDS + 5)

    def _all_follow(self) -> bool:
        return all(self.history.watchers.values()) and not self.problems

    def _end(self) -> None:
        """Write the barrier, and wait until everybody has seen it."""
        assert self._barrier is not None
        api = self._barrier

        def written() -> bool:
            with contextlib.suppress(OSError, ApiError):
                if api.find(MAPS, self.namespace, BARRIER) is None:
                    api.create(MAPS, self.namespace, config_map(self.namespace, BARRIER, value=BARRIER))
                return True
            return False

        until(written, what="the barrier is written", seconds=SETTLE_SECONDS)
        until(self._all_have, what=f"all have seen the barrier: {self.problems}", seconds=SETTLE_SECONDS)

    def _all_have(self) -> bool:
        stored = any(change.key == BARRIER for change in list(self.history.store))
        return stored and all(_has_barrier(list(steps)) for steps in self.history.watchers.values())

    def check(self, *, writes: int = 0) -> None:
        """Fail if anything is wrong with what was recorded, or too little was acknowledged."""
        assert not self.problems, self.problems
        found = violations(self.history)
        assert not found, "\n".join(found[:20])
        done = sum(write.outcome == "done" for write in self.history.writes)
        assert done >= writes, f"only {done} writes were acknowledged"

    # What clients use.

    def path(self, name: str = "") -> str:
        """The path of the ConfigMaps, or of one."""
        return collection(MAPS, self.namespace, name)

    def token(self, client: str) -> str:
        """A value that no other write has."""
        return f"{client}-{next(self.tokens)}"


def _has_barrier(steps: list[Step]) -> bool:
    return any(
        (isinstance(step, Saw) and step.key == BARRIER)
        or (isinstance(step, Listed) and BARRIER in step.states)
        for step in steps
    )


class RestWriter:
    """Creates, replaces and deletes ConfigMaps over REST."""

    def __init__(self, recording: Recording, name: str, api: Api, keys: list[str]) -> None:
        self._recording = recording
        self._name = name
        self._api = api
        self._keys = keys
        self._rng = random.Random(recording.rng.random())

    def run(self) -> None:
        """Write until told to be quiet."""
        while not self._recording.quiet.wait(PAUSE_SECONDS):
            try:
                self._once(self._rng.choice(self._keys))
            except OSError:
                self._recording.quiet.wait(RETRY_SECONDS)

    def _once(self, key: str) -> None:
        recording = self._recording
        current = self._read(key)
        if current is not None and "deletionTimestamp" in current["metadata"]:
            return
        namespace = recording.namespace
        if current is not None and self._rng.random() < DELETE_SHARE:
            self._record(key, ANY, lambda: self._api.delete(MAPS, namespace, key))
            return
        value = recording.token(self._name)
        if current is None:
            body = config_map(namespace, key, value=value)
            self._record(key, value, lambda: self._api.create(MAPS, namespace, body), base=0)
        else:
            body, base = {**current, "data": {"value": value}}, version_of(current)
            self._record(key, value, lambda: self._api.replace(MAPS, namespace, body), base=base)

    def _read(self, key: str) -> Json | None:
        start = time.monotonic()
        try:
            found = self._api.find(MAPS, self._recording.namespace, key)
        except ApiError as error:
            raise OSError(str(error)) from error
        state, revision = (state_of(found), version_of(found)) if found is not None else (None, 0)
        read = Read(self._name, start, time.monotonic(), {key: (state, revision)})
        self._recording.history.reads.append(read)
        return found

    def _record(self, key: str, state: State, write: Callable[[], Json], *, base: int | None = None) -> None:
        start = time.monotonic()
        outcome: Outcome = "done"
        revision = 0
        try:
            answer = write()
            if "resourceVersion" in answer.get("metadata", {}) and answer.get("kind") == "ConfigMap":
                revision = version_of(answer)
        except ApiError as error:
            outcome = "refused" if error.status < 500 else "unknown"
        except OSError:
            outcome = "unknown"
        done = Write(self._name, key, state, start, time.monotonic(), outcome, revision, base)
        self._recording.history.writes.append(done)
        if outcome == "unknown":
            self._recording.quiet.wait(RETRY_SECONDS)


class RestReader:
    """Lists over REST."""

    def __init__(self, recording: Recording, name: str, api: Api) -> None:
        self._recording = recording
        self._name = name
        self._api = api

    def run(self) -> None:
        """Read until told to be quiet."""
        while not self._recording.quiet.wait(PAUSE_SECONDS):
            start = time.monotonic()
            try:
                answer = self._api.request("GET", self._recording.path())
            except (OSError, ApiError):
                self._recording.quiet.wait(RETRY_SECONDS)
                continue
            revision = version_of(answer)
            states = {key: (state, revision) for key, state in states_of(answer["items"]).items()}
            read = Read(self._name, start, time.monotonic(), states, revision)
            self._recording.history.reads.append(read)


def states_of(items: Iterable[Json]) -> dict[str, State]:
    """The states of those of some objects that are ours."""
    found = {item["metadata"]["name"]: state_of(item) for item in items}
    return {key: state for key, state in found.items() if state is not None}


class RestWatcher:
    """Lists, then watches over REST."""

    def __init__(self, recording: Recording, api: Api, steps: list[Step]) -> None:
        self._recording = recording
        self._api = api
        self._steps = steps

    def run(self) -> None:
        """Follow until the end."""
        stop, at = self._recording.stop, 0
        while not stop.is_set():
            try:
                if not at:
                    answer = self._api.request("GET", self._recording.path())
                    at = version_of(answer)
                    self._steps.append(Listed(at, states_of(answer["items"])))
                else:
                    self._steps.append(Resumed(at))
                while not stop.is_set():
                    at = self._watch(at)
                    stop.wait(RETRY_SECONDS)
                    self._steps.append(Resumed(at))
            except ApiError as error:
                at = self._reached() if error.status != 410 else 0
                stop.wait(RETRY_SECONDS)
            except OSError:
                at = self._reached()
                stop.wait(RETRY_SECONDS)

    def _watch(self, at: int) -> int:
        with self._api.watch(self._recording.path(), str(at), seconds=WATCH_SECONDS) as events:
            for kind, obj in events:
                if kind == "ERROR":
                    raise ApiError(int(obj.get("code", 0)), str(obj.get("reason")), str(obj.get("message")))
                at = version_of(obj)
                state = state_of(obj)
                if state is None:  # a bookmark, or an object that no writer made
                    self._steps.append(Told(at))
                else:
                    gone = kind == "DELETED"
                    self._steps.append(Saw(obj["metadata"]["name"], None if gone else state, at))
        return at

    def _reached(self) -> int:
        """The revision of the last thing that was seen; 0 before the first list."""
        return next((step.revision for step in reversed(self._steps) if not isinstance(step, Resumed)), 0)


class RpcWatcher:
    """Lists, then watches over gRPC."""

    def __init__(self, recording: Recording, endpoint: str, tls: TlsFiles, steps: list[Step]) -> None:
        self._recording = recording
        self._endpoint = endpoint
        self._tls = tls
        self._steps = steps
        self._at = 0
        self._parent = f"objects/core/{MAPS}/{recording.namespace}"

    def run(self) -> None:
        """Follow until the end."""
        asyncio.run(self._run())

    async def _run(self) -> None:
        while not self._recording.stop.is_set():
            channel = RpcChannel(self._endpoint, tls=self._tls)
            try:
                await self._follow(FederationServiceStub(channel))
            except HanseError as error:
                if error.code is grpc.StatusCode.OUT_OF_RANGE:
                    self._at = 0
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.OUT_OF_RANGE:
                    self._at = 0
            finally:
                await channel.close()
            await asyncio.sleep(RETRY_SECONDS)

    async def _follow(self, stub: Any) -> None:
        if self._at:
            self._steps.append(Resumed(self._at))
        else:
            listed = await stub.ListObjects(ListObjectsRequest(parent=self._parent, page_size=1000))
            objects = [orjson.loads(each.manifest) for each in listed.objects]
            self._at = listed.revision
            self._steps.append(Listed(self._at, states_of(objects)))
        call = stub.WatchObjects(WatchObjectsRequest(parent=self._parent, revision=self._at))
        try:
            async with asyncio.timeout(WATCH_SECONDS):
                async for message in call:
                    self._take(message)
        except TimeoutError:
            return
        finally:
            call.cancel()

    def _take(self, message: Any) -> None:
        self._at = message.revision or self._at
        if message.kind == BOOKMARK:
            self._steps.append(Told(message.revision))
            return
        if message.kind == DELETED:  # which carries a revision only if it is the last of it
            self._steps.append(Saw(message.object.name.rpartition("/")[2], None, 0))
            return
        obj = orjson.loads(message.object.manifest)
        state = state_of(obj)
        if state is not None:
            self._steps.append(Saw(obj["metadata"]["name"], state, version_of(obj)))
        elif message.revision:
            self._steps.append(Told(message.revision))


class RpcWriter:
    """Patches over gRPC what is there."""

    def __init__(
        self, recording: Recording, name: str, endpoint: str, tls: TlsFiles, keys: list[str]
    ) -> None:
        self._recording = recording
        self._name = name
        self._endpoint = endpoint
        self._tls = tls
        self._keys = keys
        self._rng = random.Random(recording.rng.random())

    def run(self) -> None:
        """Write until told to be quiet."""
        asyncio.run(self._run())

    async def _run(self) -> None:
        async with RpcChannel(self._endpoint, tls=self._tls) as channel:
            stub = FederationServiceStub(channel)
            while not self._recording.quiet.is_set():
                await self._once(stub, self._rng.choice(self._keys))
                await asyncio.sleep(PAUSE_SECONDS)

    async def _once(self, stub: Any, key: str) -> None:
        value = self._recording.token(self._name)
        request = PatchObjectRequest(
            name=f"objects/core/{MAPS}/{self._recording.namespace}/{key}",
            patch=orjson.dumps({"data": {"value": value}}),
            type=MERGE_PATCH,
        )
        start = time.monotonic()
        outcome: Outcome = "done"
        revision = 0
        state: State = value
        try:
            obj = orjson.loads((await stub.PatchObject(request, timeout=10)).manifest)
            state, revision = state_of(obj), version_of(obj)  # it may be on its way out
        except HanseError as error:
            outcome = "unknown" if error.code in _UNKNOWN else "refused"
        except grpc.aio.AioRpcError as error:
            outcome = "unknown" if error.code() in _UNKNOWN else "refused"
        done = Write(self._name, key, state, start, time.monotonic(), outcome, revision)
        self._recording.history.writes.append(done)
        if outcome == "unknown":
            await asyncio.sleep(RETRY_SECONDS)


class StoreRecorder:
    """Follows the objects in etcd, from now on."""

    def __init__(self, recording: Recording, endpoint: str, tls: TlsFiles | None) -> None:
        self._recording = recording
        self._endpoint = endpoint
        self._tls = tls

    def run(self) -> None:
        """Follow until the end."""
        asyncio.run(self._run())

    async def _run(self) -> None:
        store = await EtcdStore.connect([self._endpoint], tls=self._tls, operation_timeout=60)
        try:
            following = asyncio.create_task(self._follow(store))
            while not self._recording.stop.is_set() and not following.done():  # noqa: ASYNC110 - a thread says
                await asyncio.sleep(RETRY_SECONDS)
            if following.done():
                following.result()
            following.cancel()
            await asyncio.wait([following])
        finally:
            await store.close()

    async def _follow(self, store: EtcdStore) -> None:
        prefix = f"objects/core/{MAPS}/{self._recording.namespace}/"
        found = await store.range(prefix)
        assert not [kv for kv in found.items if state_of(orjson.loads(kv.value)) is not None]
        async with aclosing(store.watch(prefix, start_revision=found.revision + 1)) as watch:
            async for batch in watch:
                for event in batch.events:
                    key = event.kv.key.rpartition("/")[2]
                    state = None if event.kind == "delete" else state_of(orjson.loads(event.kv.value))
                    self._recording.history.store.append(Change(event.kv.mod_revision, key, state))
