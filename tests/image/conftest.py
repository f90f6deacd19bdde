"""Tests in this directory build the image and run it, when the directory is named, as by `make test-image`.

They need root, podman and mmdebstrap. Where namespaces cannot be made, all of them are skipped.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.image.podman import Image, Podman

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
TIMEOUT_SECONDS = 900
"""What the first test may take, within which the base and the image are made."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave everything here out unless an argument names this directory or something in it."""
    named = (Path(config.invocation_params.dir, arg.split("::")[0]).resolve() for arg in config.args)
    chosen = any(path == HERE or HERE in path.parents for path in named)
    return None if chosen or HERE not in (collection_path, *collection_path.parents) else True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test time for a build."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(TIMEOUT_SECONDS))


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """Podman with images and containers of its own, of which nothing stays; it has a base."""
    from tests.image.podman import Podman

    directory = tmp_path_factory.mktemp("podman")
    if not shutil.which("unshare") or not _succeeds("true"):
        pytest.skip("unshare is not permitted")
    if not _succeeds(
        f"cd {directory} && mkdir l u w m && mount -t overlay o -o lowerdir=l,upperdir=u,workdir=w m"
    ):
        pytest.skip("overlay file systems cannot be mounted")
    for program in ("podman", "runc", "mmdebstrap"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")
    with Podman(directory) as ours:
        yield ours


def _succeeds(script: str) -> bool:
    """Whether a script succeeds in namespaces of its own."""
    command = ["unshare", "--mount", "--pid", "--fork", "sh", "-c", script]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="session")
def image(podman: Podman) -> Image:
    """The image, built from the working tree into build/image."""
    return podman.build(ROOT, out=ROOT / "build/image")
