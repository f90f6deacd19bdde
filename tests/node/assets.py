"""What a machine needs beside its configuration: programs, and the images that its Pods run.

Programs and images are kept in the user's cache: programs under the hash of what they are built from, the
image of the services under the hash of the tree, so that the commit before is built once.

Next: `tests.node.machine`.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.image.podman import Podman

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CONTROL_PLANE = ROOT / "tests/real/controlplane/build.sh"
ETCD = "localhost/etcd:v3.6.16"
PAUSE = "localhost/pause:1"
COREDNS = "localhost/coredns:1"
AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.53"
"""The name of the image in examples/shop; what is in it is the agnhost of the Kubernetes that runs here."""
KEPT = 6
"""How many images of the services are kept."""


class UnavailableError(Exception):
    """What is asked for cannot be here; the message is the reason for which a test is skipped."""


def programs() -> Mapping[str, Path]:
    """The directories of programs, by the names that `machine.sh` has for them."""
    return {
        "KUBE": _built(str(CONTROL_PLANE)),
        "NODE": _built(str(CONTROL_PLANE), "node"),
        "PROGRAMS": _built(str(HERE / "programs/build.sh")),
    }


def _built(*command: str) -> Path:
    done = subprocess.run(["bash", *command], stdout=subprocess.PIPE, text=True, timeout=1700, check=True)
    return Path(done.stdout.split()[-1])


@dataclass(frozen=True)
class Images:
    """Archives of images, by the names that Pods have for them."""

    archives: Mapping[str, Path]
    new: str
    """The image of the services of this tree."""
    old: str
    """That of the commit before; empty if there is none."""
    without_old: str
    """Why there is none."""


class Builder:
    """Builds what is missing; podman is started for the first of it, and gone when the `with` is left."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._podman: Podman | None = None
        self._stack = ExitStack()
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hanse"
        self._cache = Path(os.environ.get("HANSE_CACHE") or cache) / "node-images"

    def __enter__(self) -> Builder:
        self._cache.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def podman(self) -> Podman:
        """The builder's own podman, with a base image."""
        if self._podman is None:
            self._directory.mkdir()
            self._podman = self._stack.enter_context(Podman(self._directory))
        return self._podman

    def images(self, found: Mapping[str, Path]) -> Images:
        """All that Pods run here."""
        tree = _tree_of_work()
        new = f"localhost/hanse:{tree[:12]}"
        archives = {
            new: self._services(ROOT, tree, new),
            ETCD: self._program(ETCD, found["PROGRAMS"] / "etcd"),
            COREDNS: self._program(COREDNS, found["PROGRAMS"] / "coredns", 'ENTRYPOINT ["/coredns"]'),
            AGNHOST: self._program(AGNHOST, found["NODE"] / "agnhost", 'ENTRYPOINT ["/agnhost"]'),
            PAUSE: self._program(PAUSE, found["NODE"] / "agnhost", 'ENTRYPOINT ["/agnhost", "pause"]'),
        }
        old, why = "", ""
        try:
            with tempfile.TemporaryDirectory() as directory:
                before = _commit_before(Path(directory))
                old = f"localhost/hanse:{before[:12]}"
                archives[old] = self._services(Path(directory), before, old)
        except UnavailableError as error:
            old, why = "", str(error)
        self._forget(set(archives.values()))
        return Images(archives, new, old, why)

    def _services(self, tree: Path, revision: str, name: str) -> Path:
        kept = self._cache / f"hanse-{revision}.tar"
        if not kept.exists():
            out = self._directory.with_name(f"{self._directory.name}-out-{revision[:12]}")
            out.mkdir()
            built = self.podman.build(tree, out=out, IMAGE=name, REVISION=revision, SOURCE_DATE_EPOCH="0")
            shutil.move(built.archive, self._cache / f".{kept.name}")
            (self._cache / f".{kept.name}").replace(kept)
        kept.touch()
        return kept

    def _program(self, name: str, program: Path, *changes: str) -> Path:
        """An image that has one static program, as /NAME and on PATH."""
        key = hashlib.sha256(repr((name, program.parent.name, changes)).encode()).hexdigest()[:16]
        kept = self._cache / f"{program.name}-{key}.tar"
        if not kept.exists():
            layer = self._cache / f".{kept.name}.layer"
            with tarfile.open(layer, "w") as archive:
                archive.add(program, arcname=program.name)
                passwd = tarfile.TarInfo("etc/passwd")
                text = b"root:x:0:0:root:/:/none\n"
                passwd.size = len(text)
                archive.addfile(passwd, io.BytesIO(text))
            options = [word for change in ("ENV PATH=/", *changes) for word in ("--change", change)]
            self.podman.call("import", "--quiet", *options, str(layer), name, timeout=120)
            layer.unlink()
            self.podman.call("push", "--quiet", name, f"oci-archive:{kept}:{name}", timeout=120)
        kept.touch()
        return kept

    def _forget(self, used: set[Path]) -> None:
        """Remove images that were not used for longest."""
        others = [path for path in self._cache.glob("*.tar") if path not in used]
        for path in sorted(others, key=lambda each: -each.stat().st_mtime)[KEPT:]:
            path.unlink()


def _git(*words: str, **environment: str) -> str:
    done = subprocess.run(
        ["git", *words],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if done.returncode != 0:
        raise UnavailableError(done.stderr.strip())
    return done.stdout.strip()


def _tree_of_work() -> str:
    """The hash of the tree as it is, with what is not committed."""
    with tempfile.TemporaryDirectory() as directory:
        index = {"GIT_INDEX_FILE": f"{directory}/index"}
        _git("read-tree", "HEAD", **index)
        _git("add", "--all", **index)
        return _git("write-tree", **index)


def _commit_before(directory: Path) -> str:
    """Write the tree of the commit before into a directory, and return its hash. Raises UnavailableError."""
    try:
        tree = _git("rev-parse", "HEAD~1^{tree}")
    except UnavailableError as error:
        raise UnavailableError("the clone has no earlier commit") from error
    archive = directory / ".tree.tar"
    _git("archive", f"--output={archive}", tree)
    with tarfile.open(archive) as found:
        found.extractall(directory, filter="data")
    archive.unlink()
    if not (directory / "scripts/image.sh").exists():
        raise UnavailableError("the commit before has no image")
    return tree
