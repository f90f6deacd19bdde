"""One Kubernetes API engine: catalogue, cache and write semantics put together over a store.

    async with KubeEngine(store, catalogue=Catalogue.builtin()) as engine:
        await engine.resources.create(info, obj, options=WriteOptions(...))

Owns the tasks that follow the store and serve CRDs; leaves with them. Everything runs in one event loop.
Next: `hanse.kube.resources` for writes, `hanse.kube.cache` for reads, `hanse.kube.server.app` for HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Self

from hanse.kube.cache import ObjectCache
from hanse.kube.catalogue import Catalogue
from hanse.kube.hooks import Admission, View
from hanse.kube.resources import ResourceStore
from hanse.store import Store


class KubeEngine:
    """The engine of one API server."""

    catalogue: Catalogue
    cache: ObjectCache
    resources: ResourceStore

    def __init__(
        self,
        store: Store,
        *,
        catalogue: Catalogue,
        view: View | None = None,
        admission: Sequence[Admission] = (),
        clock: Callable[[], datetime] | None = None,
        collect: bool = True,
        hidden_annotations: Sequence[str] = ("hanse.dev/traceparent",),
    ) -> None:
        """Build an engine over `store`.

        `collect` runs the collector: contents of terminating namespaces, dependents of deleted owners,
        objects of deleted CRDs. `hidden_annotations` are stored and never served. `clock` returns the time
        in UTC.
        """
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        """Start; returns when the cache holds everything that the store held."""
        raise NotImplementedError

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop all tasks."""
        raise NotImplementedError
