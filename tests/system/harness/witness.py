"""Sees what is deleted in members, so that a test can say that nobody's objects were.

Owns one thread per member and resource that follows it by list and watch through any outage. What was there
at one list and is not at the next is a deletion too.

Concurrency: threads write `deleted` under a lock; ask after `stop`. Next: the chaos tests.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from .api import Api, ApiError, Json, collection

RETRY_SECONDS = 0.1


@dataclass(frozen=True, slots=True, order=True)
class Deletion:
    """One object that vanished from a member."""

    cluster: str
    resource: str
    name: str
    uid: str


class Witness:
    """Follows `resources` of a namespace in members until it is left."""

    def __init__(self, members: dict[str, Api], *, namespace: str, resources: Iterable[str]) -> None:
        self._lock = threading.Lock()
        self._deleted: set[Deletion] = set()
        self._problems: list[str] = []
        self._stop = threading.Event()
        self._started: list[threading.Event] = []
        self._threads = [
            self._thread(cluster, api, resource, namespace)
            for cluster, api in members.items()
            for resource in resources
        ]

    def _thread(self, cluster: str, api: Api, resource: str, namespace: str) -> threading.Thread:
        started = threading.Event()
        self._started.append(started)
        arguments = (cluster, api, resource, namespace, started)
        return threading.Thread(target=self._follow, args=arguments, daemon=True)

    @property
    def deleted(self) -> list[Deletion]:
        """What vanished so far."""
        with self._lock:
            return sorted(self._deleted)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        for started in self._started:
            assert started.wait(30), f"the watches of members did not start: {self._problems}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(15)

    def _follow(
        self, cluster: str, api: Api, resource: str, namespace: str, started: threading.Event
    ) -> None:
        known: dict[str, str] = {}  # uid -> name
        path = collection(resource, namespace)

        def gone(uid: str) -> None:
            with self._lock:
                self._deleted.add(Deletion(cluster, resource, known.pop(uid, "?"), uid))

        while not self._stop.is_set():
            try:
                answer = api.request("GET", path)
                listed = {item["metadata"]["uid"]: item["metadata"]["name"] for item in answer["items"]}
                for uid in known.keys() - listed.keys():
                    gone(uid)
                known = listed
                started.set()
                version = answer["metadata"]["resourceVersion"]
                while not self._stop.is_set():
                    version = self._watch(api, path, version, known=known, gone=gone)
            except (OSError, ApiError) as error:
                self._problems.append(str(error))
                self._stop.wait(RETRY_SECONDS)

    def _watch(self, api: Api, path: str, version: str, *, known: dict[str, str], gone: object) -> str:
        assert callable(gone)
        with api.watch(path, version, seconds=3) as events:
            for kind, obj in events:
                version = _version(kind, obj)
                metadata = obj["metadata"]
                if kind == "DELETED":
                    gone(metadata["uid"])
                else:
                    known[metadata["uid"]] = metadata["name"]
                if self._stop.is_set():
                    break
        return version


def _version(kind: str, obj: Json) -> str:
    if kind == "ERROR":
        raise ApiError(int(obj.get("code", 0)), str(obj.get("reason")), str(obj.get("message")))
    return str(obj["metadata"]["resourceVersion"])
