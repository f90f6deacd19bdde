"""The federation of the system tests: three simulated members, started once for the whole directory."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.system.harness import Federation, Simulated
from tests.system.suite.base import fresh_namespace

KUBECTL_MISSING = "kubectl is not installed"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is here as `system`, and what drives kubectl so that it is left out where there is none."""
    for item in items:
        if item.nodeid.startswith("tests/system/"):
            item.add_marker(pytest.mark.system)
            item.add_marker(pytest.mark.kubectl)


@pytest.fixture(scope="session")
def kubectl() -> str:
    """The path of kubectl; tests that need it are skipped without."""
    found = shutil.which("kubectl")
    if found is None:
        pytest.skip(KUBECTL_MISSING)
    return found


@pytest.fixture(scope="package")
def federation(kubectl: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """A federation with three simulated members."""
    with Federation(tmp_path_factory.mktemp("system") / "data", members=Simulated()) as running:
        yield running


@pytest.fixture
def ns(federation: Federation) -> Iterator[str]:
    """A namespace of the test's own."""
    yield from fresh_namespace(federation)
