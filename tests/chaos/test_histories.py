"""Histories of writes, reads and watches, not only end states, while processes die and connections break.

Concurrency: the clients are threads; the test breaks things and waits for them to have written more. Next:
`recorders`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from hanse.process.settings import TlsFiles
from tests.chaos.proxies import Proxies
from tests.chaos.recorders import Recording
from tests.chaos.test_store import compact
from tests.system.harness import Api, Federation, until

KEYS = [f"h{number}" for number in range(8)]


@contextmanager
def recorded(
    federation: Federation, proxies: Proxies, namespace: str
) -> Iterator[tuple[Recording, Callable[[], None]]]:
    """Clients at work, and what cuts the connections of half of them. What they recorded is checked at the
    end."""
    pki = federation.data_dir / "pki"
    admin = TlsFiles(pki / "ca.crt", pki / "admin.crt", pki / "admin.key")
    etcd = TlsFiles(*(pki / "etcd" / name for name in ("ca.crt", "apiserver.crt", "apiserver.key")))
    https, grpc = (federation.endpoint("apiserver", name) for name in ("https", "grpc"))
    apis = [Api.from_kubeconfig(federation.kubeconfig, "hanse") for _ in range(6)]
    with proxies.before(https) as (by_proxy, cut_https), proxies.before(grpc) as (rpc_by_proxy, cut_grpc):
        for api in apis[3:]:
            api.server = f"https://{by_proxy}"
        recording = Recording(namespace)
        recording.store(f"127.0.0.1:{proxies.etcd_port}", etcd)
        recording.writer("near", apis[0], KEYS)
        recording.writer("far", apis[3], KEYS)
        recording.rpc_writer("rpc", rpc_by_proxy, admin, KEYS)
        recording.reader("near-reader", apis[1])
        recording.reader("far-reader", apis[4])
        recording.watcher("near-watcher", apis[2])
        recording.watcher("far-watcher", apis[5])
        recording.rpc_watcher("rpc-near", grpc, admin)
        recording.rpc_watcher("rpc-far", rpc_by_proxy, admin)

        def cut() -> None:
            cut_https()
            cut_grpc()

        with recording:
            yield recording, cut
        for api in apis:
            api.close()
    recording.check(writes=100)


def more(recording: Recording, count: int = 60) -> None:
    """Wait until so many more writes were acknowledged."""

    def done() -> int:
        return sum(write.outcome == "done" for write in list(recording.history.writes))

    wanted = done() + count
    until(lambda: done() >= wanted, what=f"{count} more writes are acknowledged", seconds=60)


@pytest.mark.parametrize("victim", ["apiserver", "etcd"])
def test_histories_are_right_when_a_process_dies(
    federation: Federation, proxies: Proxies, ns: str, victim: str
) -> None:
    """kill -9 of the apiserver or of etcd, twice, among concurrent writers: no acknowledged write is lost, no
    watch skips, repeats or reorders, and reads never go back."""
    with recorded(federation, proxies, ns) as (recording, _):
        for _ in range(2):
            more(recording)
            pid = federation.kill(victim)
            federation.await_back(victim, not_pid=pid)
        more(recording)


def test_histories_are_right_when_connections_break(
    federation: Federation, proxies: Proxies, ns: str
) -> None:
    """Connections of clients are cut, and that of the apiserver to etcd, which is compacted meanwhile:
    the same holds."""
    with recorded(federation, proxies, ns) as (recording, cut):
        for _ in range(3):
            more(recording, 30)
            cut()
        with proxies.cut_apiserver():
            compact(federation, proxies.etcd_port)
        more(recording, 30)
        compact(federation, proxies.etcd_port)
        cut()
        more(recording, 30)
