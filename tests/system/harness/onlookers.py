"""Sees whether something is in two members at the same time, by their own histories.

Owns one thread per member and resource that follows it by list and watch. Whenever an object of a member
shows up, or changes, the other members are asked at once whether they have one of that name, or Pods of that
app, too: then it was in both at that moment. What has ended counts as gone.

Concurrency: threads write `overlaps` and `history` under a lock; ask after the block. Next: `witness`, for
what is deleted.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable
from types import TracebackType
from typing import Self

from .api import Api, ApiError, Json, collection

RETRY_SECONDS = 0.1
_ENDED = ("Succeeded", "Failed")


class Onlookers:
    """Follows `resources` of a namespace in members until it is left, as far as they are of `apps`."""

    def __init__(
        self, members: dict[str, Api], *, namespace: str, resources: Iterable[str], apps: Collection[str]
    ) -> None:
        self._members = members
        self._apps = apps
        self._namespace = namespace
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._started: dict[tuple[str, str], threading.Event] = {}
        self.overlaps: list[str] = []
        """What was in two members at once, in words."""
        self.history: list[tuple[str, str, str, str]] = []
        """Member, resource, name and uid of what was seen, as it was first heard of."""
        self._threads = [
            threading.Thread(target=self._follow, args=(cluster, resource), daemon=True)
            for cluster in members
            for resource in resources
        ]
        for cluster in members:
            for resource in resources:
                self._started[cluster, resource] = threading.Event()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        for place, started in self._started.items():
            assert started.wait(30), f"the watch of {place} did not start"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(15)

    def homes(self, resource: str, name: str) -> list[str]:
        """The members in which an object was made, one after another; one twice if it was made there again.

        Members are heard of in any order, so what counts is the first event of each object.
        """
        with self._lock:
            return [cluster for cluster, *which, _ in self.history if which == [resource, name]]

    def _follow(self, cluster: str, resource: str) -> None:
        api, path = self._members[cluster], collection(resource, self._namespace)
        while not self._stop.is_set():
            try:
                answer = api.request("GET", path)
                for item in answer["items"]:
                    self._saw(cluster, resource, "ADDED", item)
                self._started[cluster, resource].set()
                version = answer["metadata"]["resourceVersion"]
                while not self._stop.is_set():
                    version = self._watch(cluster, resource, path, version)
            except (OSError, ApiError):
                self._stop.wait(RETRY_SECONDS)

    def _watch(self, cluster: str, resource: str, path: str, version: str) -> str:
        with self._members[cluster].watch(path, version, seconds=3) as events:
            for kind, obj in events:
                if kind == "ERROR":
                    raise ApiError(int(obj.get("code", 0)), str(obj.get("reason")), str(obj.get("message")))
                version = str(obj["metadata"]["resourceVersion"])
                self._saw(cluster, resource, kind, obj)
                if self._stop.is_set():
                    break
        return version

    def _saw(self, cluster: str, resource: str, event: str, obj: Json) -> None:
        name = _app(obj)
        if name not in self._apps:
            return
        with self._lock:
            seen = (cluster, resource, name, str(obj["metadata"]["uid"]))
            if seen not in self.history:
                self.history.append(seen)
        if event == "DELETED" or _has_ended(obj):
            return
        for other, api in self._members.items():
            if other == cluster:
                continue
            try:
                found = [
                    item
                    for item in api.list(resource, self._namespace)
                    if _app(item) == name and not _has_ended(item)
                ]
            except (OSError, ApiError):
                continue  # it is down: nobody can say what runs there
            if found and self._is_there(cluster, resource, obj):
                with self._lock:
                    self.overlaps.append(f"{resource} {name}: in {cluster} and in {other}")

    def _is_there(self, cluster: str, resource: str, obj: Json) -> bool:
        """Whether the very object is still there after the others were asked."""
        try:
            now = self._members[cluster].find(resource, self._namespace, obj["metadata"]["name"])
        except (OSError, ApiError):
            return False
        return now is not None and now["metadata"]["uid"] == obj["metadata"]["uid"] and not _has_ended(now)


def _app(obj: Json) -> str:
    name: str = obj["metadata"].get("labels", {}).get("app") or obj["metadata"]["name"]
    return name


def _has_ended(obj: Json) -> bool:
    return obj.get("status", {}).get("phase") in _ENDED
