"""A port of a Pod as one of this machine, by `kubectl port-forward`.

Owns its start and its end: the port is ready when the block begins, and kubectl has ended when the block has.

Concurrency: one process of kubectl for each.

Next: `hanse_install.backups`, which reaches etcd by it.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hanse.errors import UnavailableError
from hanse_install.kubectl import Kubectl, complaint

READY_SECONDS = 20.0
_READY = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) ->")


@contextmanager
def forwarded(kubectl: Kubectl, namespace: str, target: str, port: int) -> Iterator[int]:
    """The port of 127.0.0.1 that leads to `port` of `target` (pod/NAME). Raises HanseError."""
    with tempfile.TemporaryDirectory(prefix="kubefed-") as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        with out.open("wb") as said, err.open("wb") as complained:
            process = kubectl.start(
                "port-forward",
                "-n",
                namespace,
                "--address=127.0.0.1",
                target,
                f":{port}",
                stdout=said,
                stderr=complained,
            )
        try:
            yield _ready(process, target, out, err)
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _ready(process: subprocess.Popen[bytes], target: str, out: Path, err: Path) -> int:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        ended = process.poll() is not None
        if found := _READY.search(out.read_text(errors="replace")):
            return int(found[1])
        if ended:
            raise complaint(["port-forward"], err.read_text(errors="replace"))
        if time.monotonic() > deadline:
            raise UnavailableError(
                f"kubectl port-forward to {target} was not ready after {READY_SECONDS:.0f} s"
            )
        time.sleep(0.05)
