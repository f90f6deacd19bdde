"""The federation of the chaos tests: simulated members that break on demand, etcd behind proxies."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.proxies import Proxies
from tests.support.machine.ports import free_ports
from tests.system.harness import Federation, Simulated
from tests.system.suite.base import fresh_namespace


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is here as `system`; a fault may take a while to be noticed and mended."""
    for item in items:
        if item.nodeid.startswith("tests/chaos/"):
            item.add_marker(pytest.mark.system)
            item.add_marker(pytest.mark.timeout(180))


@pytest.fixture(scope="package")
def proxies() -> Iterator[Proxies]:
    """Between the services and etcd: `control` for the control loops, `apiserver` for the apiserver."""
    with Proxies(etcd_port=free_ports(1)[0]) as running:
        yield running


@pytest.fixture(scope="package")
def federation(proxies: Proxies, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """A federation whose members can be told to fail, and whose connections to etcd can be cut."""
    settings = {
        "simulator.faults_enabled": "true",
        "syncer.member_timeout": "4",
        **proxies.settings,
    }
    data = tmp_path_factory.mktemp("chaos") / "data"
    running = Federation(data, members=Simulated(), settings=settings)
    running.arguments = ("--port", f"etcd.client={proxies.etcd_port}")
    with running:
        yield running


@pytest.fixture
def ns(federation: Federation) -> str:
    """A namespace of the test's own. It stays, so that its end does not slow the next test."""
    return next(fresh_namespace(federation))
