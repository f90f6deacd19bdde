"""A bulk of objects that is applied while things break, and the comparison of members with the intent.

Owns the writes, which are tried until they are taken: a client retries what failed, and a creation that was
taken before its answer was lost is a conflict that means success.

Concurrency: writes come from a few threads at the same time. Next: `suite`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType

from tests.system.harness import Api, ApiError, Federation, Json, until_passes
from tests.system.manifests import config_map

THREADS = 6
PATIENCE = 60.0


def retried(write: Callable[[], object]) -> None:
    """Do a write until it is taken. Raises the last error after PATIENCE seconds."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            write()
        except (ApiError, OSError) as error:
            # 404 and 422 are answers about the object, 409 is dealt with by the write.
            lasting = isinstance(error, ApiError) and error.status in {400, 403, 404, 422}
            if lasting or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


class Bulk:
    """`count` ConfigMaps of a namespace, each with a value."""

    def __init__(self, api: Api, namespace: str, count: int, *, prefix: str = "bulk") -> None:
        self.api = api
        self.namespace = namespace
        self.values = {f"{prefix}-{number:03}": "1" for number in range(count)}
        self.done = 0
        self._lock = threading.Lock()

    def create(self, *, at: int = 0, fault: Callable[[], object] = lambda: None) -> None:
        """Create all; `fault` happens once `at` of them are taken."""
        self._each(self._create, self.values, at=at, fault=fault)

    def update(self, value: str, *, at: int = 0, fault: Callable[[], object] = lambda: None) -> None:
        """Give all another value."""
        self.values = dict.fromkeys(self.values, value)
        self._each(self._update, self.values, at=at, fault=fault)

    def delete(
        self, names: Iterable[str], *, at: int = 0, fault: Callable[[], object] = lambda: None
    ) -> None:
        """Ask for the end of some of them."""
        gone = list(names)
        for name in gone:
            del self.values[name]
        self._each(self._delete, gone, at=at, fault=fault)

    def replace(self, names: Iterable[str], value: str) -> None:
        """Delete some of them, and make each again with another value as soon as that is answered."""
        again = list(names)
        self.values |= dict.fromkeys(again, value)

        def one(name: str) -> None:
            self._delete(name)
            self._create(name)

        self._each(one, again, at=0, fault=lambda: None)

    def _each(
        self, write: Callable[[str], None], names: Iterable[str], *, at: int, fault: Callable[[], object]
    ) -> None:
        self.done = 0
        struck = threading.Event()

        def one(name: str) -> None:
            retried(lambda: write(name))
            with self._lock:
                self.done += 1
                due = self.done >= at and not struck.is_set()
                if due:
                    struck.set()
            if due:
                fault()

        with ThreadPoolExecutor(THREADS) as pool:
            for future in [pool.submit(one, name) for name in names]:
                future.result()

    def _create(self, name: str) -> None:
        body = config_map(self.namespace, name, value=self.values[name])
        try:
            self.api.create("configmaps", self.namespace, body)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise

    def _update(self, name: str) -> None:
        self.api.merge("configmaps", self.namespace, name, {"data": {"value": self.values[name]}})

    def _delete(self, name: str) -> None:
        try:
            self.api.delete("configmaps", self.namespace, name)
        except ApiError as error:
            if error.status != 404:
                raise

    def found(self, api: Api) -> dict[str, str]:
        """What a cluster has of the namespace, but for what it furnishes itself."""
        return {
            item["metadata"]["name"]: value_of(item)
            for item in api.list("configmaps", self.namespace)
            if item["metadata"]["name"] != "kube-root-ca.crt"
        }

    def until_in(
        self, apis: Iterable[Api], *, seconds: float = 60.0, others: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """Wait until clusters have exactly the intent, and `others` of the namespace."""
        wanted = {**others, **self.values}
        for api in apis:

            def same(api: Api = api) -> None:
                found = self.found(api)
                assert found == wanted, difference(wanted, found)

            until_passes(same, what=f"{api.server} has what was asked for", seconds=seconds)


def nothing_is_left(federation: Federation, namespace: str) -> None:
    """Wait until no tombstone of the namespace is left: every member was seen without what was deleted."""

    def gone() -> None:
        found = federation.api.list("tombstones.hanse.dev", namespace)
        assert not found, [item["metadata"]["name"] for item in found][:5]

    until_passes(gone, what="nothing is left of what was deleted", seconds=60.0)


def value_of(item: Json) -> str:
    """The value of a ConfigMap, and a remark if it is on its way out."""
    leaving = " (deleting)" if "deletionTimestamp" in item["metadata"] else ""
    return str(item["data"]["value"]) + leaving


def difference(wanted: dict[str, str], found: dict[str, str]) -> str:
    """What is missing, too much, or other."""
    other = [name for name in wanted.keys() & found.keys() if wanted[name] != found[name]]
    return (
        f"missing {sorted(wanted.keys() - found.keys())[:5]}, "
        f"too many {sorted(found.keys() - wanted.keys())[:5]}, other {sorted(other)[:5]}"
    )


def intent_everywhere(federation: Federation, bulk: Bulk) -> None:
    """Wait until the federation and all members have exactly the intent."""
    bulk.until_in([federation.api, *federation.each.values()])
