"""TCP proxies between services and their etcd, which tests cut and mend.

Owns a thread with an event loop in which the proxies run, so that tests stay synchronous.

Concurrency: one loop in one thread. Next: `tests.support.machine.proxy`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from tests.support.machine.proxy import Proxy

CONTROL = ("registry", "scheduler", "syncer", "dns")
SECONDS = 15.0


class Proxies:
    """Two ways to etcd: one for the control loops, one for the apiserver."""

    def __init__(self, etcd_port: int) -> None:
        self.etcd_port = etcd_port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._control = Proxy(f"127.0.0.1:{etcd_port}")
        self._apiserver = Proxy(f"127.0.0.1:{etcd_port}")

    def __enter__(self) -> Self:
        self._thread.start()
        for proxy in (self._control, self._apiserver):
            self._wait(proxy.mend())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for proxy in (self._control, self._apiserver):
            self._wait(proxy.cut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def settings(self) -> dict[str, str]:
        """Settings that send the services through the proxies."""
        control = {f"{name}.etcd_endpoints": self._control.endpoint for name in CONTROL}
        return control | {"apiserver.etcd_endpoints": self._apiserver.endpoint}

    @contextmanager
    def cut_control(self) -> Iterator[None]:
        """Cut the control loops off from etcd."""
        yield from self._cut(self._control)

    @contextmanager
    def cut_apiserver(self) -> Iterator[None]:
        """Cut the apiserver off from etcd."""
        yield from self._cut(self._apiserver)

    @contextmanager
    def before(self, endpoint: str) -> Iterator[tuple[str, Callable[[], None]]]:
        """Another way to `endpoint` (host:port): its address, and what ends all its connections once."""
        proxy = Proxy(endpoint)
        self._wait(proxy.mend())

        def cut() -> None:
            self._wait(proxy.cut())
            self._wait(proxy.mend())

        try:
            yield proxy.endpoint, cut
        finally:
            self._wait(proxy.cut())

    def _cut(self, proxy: Proxy) -> Iterator[None]:
        self._wait(proxy.cut())
        try:
            yield
        finally:
            self._wait(proxy.mend())

    def _wait(self, work: Coroutine[Any, Any, object]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(SECONDS)
