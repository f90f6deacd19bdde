"""Decides, when a Python process starts, which release of Hanse it runs.

Owns nothing but that, and which settings of the supervisor, which is always the one under test, an earlier
release is given: those that it knows, as its own supervisor would.

The directory of this file is on PYTHONPATH and RELEASE_SWITCH names a JSON file,
`{"hanse_syncer": {"root": DIRECTORY, "python": PROGRAM}}`: `python -m hanse_syncer` then takes its code from
there. A module that is not in the file runs the code under test. What was taken is a line in SWITCH.log.

Next: `tests.system.harness.releases`, which writes the file.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

PARTS = (
    *("src", "clients/python", "clients/cli", "local"),
    *(f"services/{name}" for name in ("apiserver", "registry", "scheduler", "syncer", "dns")),
)


def switch(path: Path) -> None:
    """Put the release that the file names for this process before the one that is installed."""
    words = sys.orig_argv
    module = words[words.index("-m") + 1] if "-m" in words[:-1] else ""
    if not module.startswith("hanse_"):
        return
    release = json.loads(path.read_text()).get(module)
    if release:
        if release["python"] and os.environ.get("RELEASE_PYTHON") != release["python"]:
            os.environ["RELEASE_PYTHON"] = release["python"]
            os.execv(release["python"], [release["python"], *words[1:]])  # noqa: S606 - the old one's packages
        sys.path[:0] = [f"{release['root']}/{part}" for part in PARTS]
        if "--config" in sys.argv:
            leave_known_settings(module, at=sys.argv.index("--config") + 1)
    found = find_spec("hanse")
    with path.with_suffix(".log").open("a") as log:
        log.write(f"{os.getpid()} {module} {found.origin if found else ''}\n")
    if module == "hanse_local.supervise.background":  # processes that are ended on purpose, again and again
        from hanse_local.supervise import process

        process.LONGEST_PAUSE = process.FIRST_PAUSE


def leave_known_settings(module: str, *, at: int) -> None:
    """Replace the file that an argument names by one with the settings that the module has; take variables of
    others away."""
    from hanse.process.settings import ServiceSettings

    kinds = [each for each in vars(import_module(f"{module}.settings")).values() if isinstance(each, type)]
    known = {
        each.name for kind in kinds if issubclass(kind, ServiceSettings) for each in dataclasses.fields(kind)
    }
    prefix = f"{module}_".upper()
    for name in list(os.environ):
        if name.startswith(prefix) and name.removeprefix(prefix).lower() not in known:
            del os.environ[name]
    path = Path(sys.argv[at])
    lines = [line for line in path.read_text().splitlines() if line.partition(" = ")[0] in known]
    sys.argv[at] = f"{path}.earlier"
    Path(sys.argv[at]).write_text("\n".join([*lines, ""]))


if os.environ.get("RELEASE_SWITCH"):
    switch(Path(os.environ["RELEASE_SWITCH"]))
