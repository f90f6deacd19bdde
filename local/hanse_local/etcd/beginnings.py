"""The data of an embedded etcd that has not served yet.

Owns a mark in the data directory of an etcd that is there from before its first start until it has served. A
first start that is broken off, by a disk that is full, can leave a log in which the etcd is no member of its
own cluster: it then waits for a leader for ever, with whatever room. With the mark there is nothing of
anybody in it, so it is made again; without the mark, as in a restored backup, nothing is ever removed.

Concurrency: none; called by the supervisor before etcd runs, and once it serves.

Next: `hanse_local.supervise.host`, which calls this.
"""

from __future__ import annotations

import shutil
from pathlib import Path

MARK = "never-served"
MEMBER = "member"
"""The folder in which etcd keeps everything."""


def begin(directory: Path) -> None:
    """Make the data directory of an etcd ready for its start. Raises OSError."""
    mark, member = directory / MARK, directory / MEMBER
    if mark.exists() and member.exists():
        shutil.rmtree(member)
    if not member.exists():
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        mark.touch()


def served(directory: Path) -> None:
    """Take note that the etcd serves: from now on its data is somebody's. Raises OSError."""
    (directory / MARK).unlink(missing_ok=True)
