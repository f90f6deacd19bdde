"""Writes the lock files: what Hanse runs with, what it is developed with, and what its image is built with.

Run it in a virtual environment in which everything is installed and tested: ``.venv/bin/python
scripts/lock.py``. Each file has exact versions, and the hash of each of their files for Linux and macOS, so
that nothing else can be installed in their place: the closure of the dependencies in pyproject.toml, with
what `hanse up` needs, as installed. Hashes come from the package index (``PIP_INDEX_URL``, by default PyPI),
and only for versions that are new. ``--check`` asks nobody, changes nothing and exits 1 on a difference.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tomllib
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
HEADER = "# Written by scripts/lock.py: exact versions that were tested together. Do not edit.\n"
BUILD = ("hatchling",)
IMAGE = (*BUILD, "cyclonedx-python-lib")
ELSEWHERE = re.compile(
    r"-(?:win32|win_\w+|cp3(?:[0-9]|10)-cp3\w+-\w+|pp\w+|graalpy\w+)\.whl$|emscripten|_riscv|_s390x|_ppc64"
)
"""Files for platforms and Pythons on which Hanse does not run."""


def closure(requirements: Iterable[str]) -> dict[str, str]:
    """Versions, by name, of the installed distributions that `requirements` need, directly or not."""
    found: dict[str, str] = {}
    queue = [(Requirement(text), "") for text in requirements]
    seen: set[tuple[str, str]] = set()
    while queue:
        requirement, extra = queue.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        for wanted in ("", *requirement.extras):
            if (name, wanted) in seen:
                continue
            seen.add((name, wanted))
            try:
                installed = distribution(name)
            except PackageNotFoundError:
                raise SystemExit(f"{requirement} is not installed: install it, then lock again") from None
            if not requirement.specifier.contains(installed.version, prereleases=True):
                raise SystemExit(f"{name} {installed.version} is installed, and {requirement} is needed")
            found[name] = installed.version
            queue += [(Requirement(text), wanted) for text in installed.requires or ()]
    return dict(sorted(found.items()))


def read(text: str) -> dict[str, tuple[str, ...]]:
    """Return the hashes in a lock file by name and version, `name==version`."""
    found: dict[str, tuple[str, ...]] = {}
    for entry in text.replace("\\\n", " ").splitlines():
        if entry and not entry.startswith("#"):
            pinned, *hashes = entry.split()
            found[pinned] = tuple(hashes)
    return found


def hashes_of(name: str, version: str) -> tuple[str, ...]:
    """Return the hashes of a version's files, as the package index has them, in pip's form."""
    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")
    accept = {"Accept": "application/vnd.pypi.simple.v1+json"}
    request = urllib.request.Request(f"{index}/{name}/", headers=accept)  # noqa: S310 - whatever pip is given
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        files = json.load(answer)["files"]
    form = re.compile(rf"^[^-]+(?:-[^-]+)*?-{re.escape(version)}(?:-[^/]*\.whl|\.tar\.gz|\.zip)$")
    wanted = [
        each for each in files if form.match(each["filename"]) and not ELSEWHERE.search(each["filename"])
    ]
    if not wanted:
        raise SystemExit(f"{index} has no file of {name} {version}")
    return tuple(sorted(f"--hash=sha256:{each['hashes']['sha256']}" for each in wanted))


def render(pinned: Iterable[str], hashes: Mapping[str, Sequence[str]]) -> str:
    """Return a lock file."""
    return HEADER + "".join(" \\\n    ".join((each, *hashes[each])) + "\n" for each in pinned)


def main() -> None:
    """Locks, or with ``--check`` compares."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    own = f"{project['project']['name']}["
    added = [text for name in ("server", "local") for text in extras[name] if not text.startswith(own)]
    runtime = [*project["project"]["dependencies"], *added, *BUILD]
    development = [*runtime, *project["dependency-groups"]["dev"]]
    files = {
        ROOT / "requirements.lock": closure(runtime),
        ROOT / "requirements-dev.lock": closure(development),
        ROOT / "requirements-build.lock": closure(IMAGE),
    }
    known = {
        pinned: hashes
        for path in files
        if path.exists()
        for pinned, hashes in read(path.read_text()).items()
        if hashes
    }
    if sys.argv[1:] == ["--check"]:
        changed = [
            path.name
            for path, versions in files.items()
            if not path.exists()
            or any(not hashes for hashes in read(path.read_text()).values())
            or list(read(path.read_text())) != [f"{name}=={version}" for name, version in versions.items()]
        ]
        if changed:
            raise SystemExit(f"{', '.join(changed)}: not what is installed; run scripts/lock.py")
        return
    for path, versions in files.items():
        for name, version in versions.items():
            pinned = f"{name}=={version}"
            if pinned not in known:
                known[pinned] = hashes_of(name, version)
        path.write_text(render([f"{name}=={version}" for name, version in versions.items()], known))


if __name__ == "__main__":
    main()
