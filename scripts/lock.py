"""Writes requirements.lock and requirements-dev.lock: what Hanse runs with, and what it is developed with.

Run it in a virtual environment in which everything is installed and tested:
``.venv/bin/python scripts/lock.py``. Each file has names and exact versions only: the closure of the
dependencies in pyproject.toml, with what `hanse up` needs, as installed. ``--check`` changes nothing and
exits 1 on a difference.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
HEADER = "# Written by scripts/lock.py: exact versions that were tested together. Do not edit.\n"
BUILD = ("hatchling",)


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


def render(versions: dict[str, str]) -> str:
    """Return the lock file."""
    return HEADER + "".join(f"{name}=={version}\n" for name, version in versions.items())


def main() -> None:
    """Locks, or with ``--check`` compares."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    own = f"{project['project']['name']}["
    added = [text for name in ("server", "local") for text in extras[name] if not text.startswith(own)]
    runtime = [*project["project"]["dependencies"], *added, *BUILD]
    development = [*runtime, *project["dependency-groups"]["dev"]]
    files = {
        ROOT / "requirements.lock": render(closure(runtime)),
        ROOT / "requirements-dev.lock": render(closure(development)),
    }
    if sys.argv[1:] == ["--check"]:
        changed = [path.name for path, text in files.items() if not path.exists() or path.read_text() != text]
        if changed:
            raise SystemExit(f"{', '.join(changed)}: not what is installed; run scripts/lock.py")
        return
    for path, text in files.items():
        path.write_text(text)


if __name__ == "__main__":
    main()
