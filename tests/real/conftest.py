"""Tests in this directory need a real control plane: they run only when the directory is named.

`pytest tests` leaves them out; `pytest tests/real` runs them and builds Kubernetes the first time.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.system.harness import Federation

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # `tests.real.realcluster` is imported from the root of the repository

# Where the named build of Kubernetes is made within the first test, it takes minutes.
TIMEOUT_SECONDS = 1800


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave everything here out unless an argument names this directory or something in it."""
    named = (Path(config.invocation_params.dir, arg.split("::")[0]).resolve() for arg in config.args)
    chosen = any(path == HERE or HERE in path.parents for path in named)
    return None if chosen or HERE not in (collection_path, *collection_path.parents) else True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is collected here as `real`, with time enough for a build."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.real)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(TIMEOUT_SECONDS))


@pytest.fixture(scope="session")
def assets_dir() -> Path:
    """The directory with kube-apiserver and kube-controller-manager."""
    from tests.real.realcluster import build_assets

    return build_assets()


@pytest.fixture(scope="session")
def tools() -> Path:
    """The directory with promtool and helm."""
    built = subprocess.run(
        ["bash", HERE / "tools" / "build.sh"], stdout=subprocess.PIPE, text=True, timeout=1700, check=True
    )
    return Path(built.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def federation(assets_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Federation]":
    """A federation with three real members, for the system suite."""
    from tests.real.members import RealMembers
    from tests.system.harness import Federation

    directory = tmp_path_factory.mktemp("system")
    members = RealMembers(assets_dir, directory / "members")
    with Federation(directory / "data", members=members) as running:
        yield running


@pytest.fixture
def ns(federation: "Federation") -> Iterator[str]:
    """A namespace of the test's own."""
    from tests.system.suite.base import fresh_namespace

    yield from fresh_namespace(federation)
