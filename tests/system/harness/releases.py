"""The release before this one, and which of the two each process of a federation runs.

Owns a copy of the earlier release's code: the newest tag `v*` before HEAD, else the commit before it. It
runs by the interpreter of the tests; where its locked dependencies are others, in a virtual environment of
its own, which is kept in the user's cache by what is in it.

Concurrency: none; commands block. Next: `switch/sitecustomize.py`, which does it in each process.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest
from hanse_local.etcd.build import cache_dir

from .federation import ROOT, SERVICES

NO_HISTORY = "the clone has no earlier commit"
_SWITCH = Path(__file__).with_name("switch")
_LOCK = "requirements.lock"


def earlier_commit() -> str:
    """The newest tag `v*` before HEAD, else the commit before HEAD. Skips the test where there is neither."""
    try:
        if Path(_git("rev-parse", "--show-toplevel").decode().strip()) != ROOT:
            pytest.skip(NO_HISTORY)
        before = _git("rev-parse", "--verify", "--quiet", "HEAD~1").decode().strip()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(NO_HISTORY)
    try:
        return _git("describe", "--tags", "--abbrev=0", "--match", "v[0-9]*", before).decode().strip()
    except subprocess.CalledProcessError:
        return before


class Releases:
    """Which release each service runs when it is started next; all run the code under test at first."""

    def __init__(self, folder: Path) -> None:
        self.commit = earlier_commit()
        self.root = folder / "earlier"
        self._file = folder / "switch.json"
        with tarfile.open(fileobj=io.BytesIO(_git("archive", self.commit))) as archive:
            archive.extractall(self.root, filter="data")
        _describe(self.root)
        self._python = self._interpreter()
        self.choose_earlier(())

    @property
    def environ(self) -> Mapping[str, str]:
        """What makes processes ask the switch."""
        return {"PYTHONPATH": str(_SWITCH), "RELEASE_SWITCH": str(self._file)}

    def choose_earlier(self, modules: Collection[str]) -> None:
        """From now on what is started of these modules, such as `hanse_syncer`, is of the earlier release."""
        earlier = {"root": str(self.root), "python": self._python}
        self._file.write_text(json.dumps(dict.fromkeys(modules, earlier)))

    def runs_earlier(self, pid: int, service: str) -> bool:
        """Whether a process of a service runs the earlier release. Raises LookupError before it is known."""
        for line in reversed(self._file.with_suffix(".log").read_text().splitlines()):
            number, module, origin = line.split(" ", 2)
            if (number, module) == (str(pid), f"hanse_{service}"):
                return Path(origin).is_relative_to(self.root)
        raise LookupError(f"{service} has not told which release it is")

    def _interpreter(self) -> str:
        """The interpreter of a virtual environment with the earlier release's dependencies; empty if those of
        this one are the same."""
        lock = _git("show", f"{self.commit}:{_LOCK}")
        if lock == (ROOT / _LOCK).read_bytes():
            return ""
        cache = cache_dir(os.environ)
        assert cache is not None, "HANSE_CACHE, XDG_CACHE_HOME and HOME are all unset"
        folder = cache / "releases" / hashlib.sha256(lock + sys.version.encode()).hexdigest()[:16]
        python, done = folder / "bin" / "python", folder / "done"
        if not done.exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
            install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]
            subprocess.run([str(python), *install, str(self.root / _LOCK)], check=True)
            done.touch()
        return str(python)


def _describe(root: Path) -> None:
    """Have a copy of the code tell its entry points, the commands of `hanse`, as if it was installed."""
    points = tomllib.loads((root / "pyproject.toml").read_text())["project"]["entry-points"]
    folder = root / "src" / "hanse-0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: hanse\nVersion: 0\n")
    lines = [
        line
        for group, each in points.items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in each.items()))
    ]
    (folder / "entry_points.txt").write_text("\n".join([*lines, ""]))


def modules(services: Collection[str]) -> set[str]:
    """The modules of services."""
    assert set(services) <= set(SERVICES)
    return {f"hanse_{name}" for name in services}


def _git(*words: str) -> bytes:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True).stdout
