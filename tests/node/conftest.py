"""Tests in this directory run a real node, when the directory is named, as by `make test-node`.

They need root, containerd, podman, runc and the plug-ins of CNI. Where namespaces cannot be made, all of them
are skipped.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.node.assets import Images
    from tests.node.machine import Machine

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
TIMEOUT_SECONDS = 900
"""What the first test may take, within which programs and images are built."""
PROGRAMS = ("containerd", "ctr", "runc", "podman", "mmdebstrap", "nft", "iptables", "ipset", "nsenter")


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


def _skip_unless_possible(directory: Path) -> None:
    script = f"cd {directory} && mkdir l u w m && mount -t overlay o -o lowerdir=l,upperdir=u,workdir=w m"
    if not shutil.which("unshare") or not _succeeds("true"):
        pytest.skip("unshare is not permitted")
    if not _succeeds(script):
        pytest.skip("overlay file systems cannot be mounted")
    for program in PROGRAMS:
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")


def _succeeds(script: str) -> bool:
    """Whether a script succeeds in namespaces of its own."""
    command = ["unshare", "--mount", "--pid", "--net", "--fork", "sh", "-c", script]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory of the session's; it is large, so nothing of it stays."""
    directory = tmp_path_factory.mktemp("node")
    _skip_unless_possible(directory)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def images(folder: Path) -> Images:
    """The images that Pods run."""
    from tests.node import assets

    with assets.Builder(folder / "podman") as builder:
        return builder.images(assets.programs())


def link(file: Path, target: Path) -> None:
    """Have a file at another place too, without a copy where that can be."""
    try:
        target.hardlink_to(file)
    except OSError:  # another file system
        shutil.copyfile(file, target)


@pytest.fixture(scope="session")
def machine(folder: Path, images: Images) -> Iterator[Machine]:
    """A machine whose node is ready, with the images on its disk; the session is in the world beside it."""
    from tests.node import assets
    from tests.node.machine import Machine, world

    found = Machine(folder / "disk", assets.programs())
    (found.disk / "images").mkdir()
    for archive in images.archives.values():
        link(archive, found.disk / "images" / archive.name)
    with world():
        try:
            found.start()
            yield found
        finally:
            found.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to a failure what the machine's programs said last, and what its Pods are."""
    report = yield
    machine = getattr(item, "funcargs", {}).get("machine")
    if report.failed and machine is not None:
        report.sections.append(("the machine", machine.last_words()))
        report.sections.append(("Pods", machine.describe()))
    return report
