"""Control groups of version 1 that a test has made, in every hierarchy.

Next: `tests.image.podman`, `tests.node.machine`.
"""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
SECONDS = 30.0
"""How long the last process may take to leave: conmon ends a moment after its container."""


def remove(name: str) -> None:
    """Remove a control group, and those in it, from each hierarchy, once no process is left in them."""
    deadline = time.monotonic() + SECONDS
    for top in ROOT.glob(f"*/{name}"):
        for directory, _, _ in os.walk(top, topdown=False):
            _remove(Path(directory), deadline)


def _remove(directory: Path, deadline: float) -> None:
    while True:
        try:
            return directory.rmdir()
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.05)
