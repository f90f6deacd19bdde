"""Podman for the tests: builds the image with scripts/image.sh and runs it as a cluster would.

Images, containers and settings are in a directory of the tests; root file systems are kept in a cache.
Concurrency: none, each call waits for its end. Next: `tests.image.federation`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.machine import cgroups

BASE = "localhost/hanse-base:test"
BASE_SCRIPT = Path(__file__).parent / "base.sh"
SAFE = (
    "--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--security-opt=no-new-privileges",
    "--network=host", "--pids-limit=0",
)  # fmt: skip
"""As Pods run under the restricted standard, with nothing at all to write to."""


@dataclass(frozen=True)
class Image:
    """A built image, and the files beside it."""

    name: str
    digest: str
    archive: Path
    sbom: Path

    def blob(self, digest: str) -> bytes:
        """A part of the archive."""
        with tarfile.open(self.archive) as archive:
            found = archive.extractfile(f"blobs/{digest.replace(':', '/')}")
            assert found is not None
            return found.read()

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest that the digest is of."""
        manifest: dict[str, Any] = json.loads(self.blob(self.digest))
        return manifest

    @property
    def config(self) -> dict[str, Any]:
        """The whole configuration."""
        config: dict[str, Any] = json.loads(self.blob(self.manifest["config"]["digest"]))
        return config


class Podman:
    """Podman in a directory; leaving it removes what it has made."""

    def __init__(self, directory: Path) -> None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hanse"
        self._directory = directory
        self.cgroup = f"hanse-image-{os.getpid()}"
        work = Path(os.environ.get("HANSE_CACHE") or cache) / "image"
        work.mkdir(parents=True, exist_ok=True)
        storage, containers = directory / "storage.conf", directory / "containers.conf"
        storage.write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{directory}/graph"\nrunroot = "{directory}/run"\n'
        )
        # The limits of open files and processes are those that root may set without CAP_SYS_RESOURCE.
        containers.write_text(
            '[containers]\ndefault_ulimits = ["nofile=20000:20000", "nproc=20000:20000"]\n'
            f'[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\n'
            f'tmp_dir = "{directory}/tmp"\nimage_copy_tmp_dir = "{directory}"\n'
        )
        self._environment = {
            **os.environ,
            "BUILDAH_ISOLATION": "chroot",
            "BUILDER": "podman",
            "CONTAINERS_CONF": str(containers),
            "CONTAINERS_STORAGE_CONF": str(storage),
            "TMPDIR": str(work),
        }

    def __enter__(self) -> Self:
        self.load("base", BASE)
        return self

    def __exit__(self, *_: object) -> None:
        self.call("rm", "--all", "--force", "--time=1")
        cgroups.remove(self.cgroup)
        shutil.rmtree(self._directory)

    def load(self, kind: str, name: str) -> None:
        """Makes a root file system with base.sh, and an image with this name of it."""
        made = subprocess.run([BASE_SCRIPT, kind], capture_output=True, text=True, check=False, timeout=600)
        assert made.returncode == 0, made.stderr
        self.call("import", "--quiet", made.stdout.split()[-1], name)

    def build(self, tree: Path, *, out: Path, **environment: str) -> Image:
        """Builds the image from a tree."""
        done = subprocess.run(
            [tree / "scripts/image.sh"],
            env={**self._environment, "BASE": BASE, "OUT": str(out), **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        (archive,) = out.glob("*.tar")
        (sbom,) = out.glob("*.cdx.json")
        name = environment.get("IMAGE") or "localhost/hanse:" + archive.stem.removeprefix("hanse-")
        return Image(name=name, digest=done.stdout.split()[-1], archive=archive, sbom=sbom)

    def call(self, *words: str, timeout: float = 60) -> str:
        """Calls podman and returns what it writes to standard output; a failure is an error that says why."""
        done = subprocess.run(
            ["podman", *words],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
        assert done.returncode == 0, f"podman {' '.join(words)}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def run(self, image: Image, *words: str, options: Sequence[str] = ()) -> str:
        """Runs a container to its end and returns what it says."""
        return self.call("run", "--rm", *self._confined, *options, image.name, *words)

    def start(self, image: Image, *words: str, options: Sequence[str] = ()) -> str:
        """Starts a container and returns its id."""
        return self.call("run", "--detach", *self._confined, *options, image.name, *words).strip()

    @property
    def _confined(self) -> tuple[str, ...]:
        return (*SAFE, f"--cgroup-parent=/{self.cgroup}")

    def mount(self, image: Image) -> MountedImage:
        """The files of an image, for a `with`."""
        return MountedImage(self, image)


class MountedImage:
    """The root file system of an image, mounted for as long as the `with` lasts."""

    def __init__(self, podman: Podman, image: Image) -> None:
        self._podman, self._image = podman, image

    def __enter__(self) -> Path:
        return Path(self._podman.call("image", "mount", self._image.name).strip())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._podman.call("image", "umount", self._image.name)
