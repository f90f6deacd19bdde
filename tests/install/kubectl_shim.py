"""A kubectl for Pods that are processes of this machine: port-forward, exec and wait; the rest is recorded.

The directory in HANSE_TEST_PODS says what there is: `ports.json` (Pod and port to port), `statefulset.json`,
`volumes.json` (Pod to folder, in place of /var/lib/etcd). What is applied and deleted is in `calls.jsonl`.
Where HANSE_TEST_KUBECTL names the real one, it does all but port-forward and exec.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path


def pods() -> Path:
    """The directory."""
    return Path(os.environ["HANSE_TEST_PODS"])


def told(name: str) -> dict[str, str | int]:
    """What a file says; nothing if it is not there."""
    try:
        found: dict[str, str | int] = json.loads((pods() / name).read_text())
    except FileNotFoundError:
        return {}
    return found


def pump(source: socket.socket, target: socket.socket) -> None:
    """Copy until the end."""
    with suppress(OSError):
        while content := source.recv(1 << 16):
            target.sendall(content)
    for each in (source, target):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def forward(words: list[str]) -> int:
    """Lead a new port to that of a Pod, until it is ended."""
    target = next(word for word in words if word.startswith("pod/")).removeprefix("pod/")
    port = next(word for word in words if word.startswith(":")).removeprefix(":")
    own = told("ports.json").get(f"{target}:{port}")
    if own is None:
        sys.stderr.write(f'Error from server (NotFound): pods "{target}" not found\n')
        return 1
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(f"Forwarding from 127.0.0.1:{server.getsockname()[1]} -> {port}", flush=True)
        while True:
            client, _ = server.accept()
            upstream = socket.create_connection(("127.0.0.1", int(own)))
            for pair in ((client, upstream), (upstream, client)):
                threading.Thread(target=pump, args=pair, daemon=True).start()


def execute(words: list[str]) -> int:
    """Run the command of `exec`, with the volume of the Pod in its place."""
    target = next(word for word in words if word.startswith("pod/")).removeprefix("pod/")
    folder = Path(str(told("volumes.json")[target]))
    folder.mkdir(parents=True, exist_ok=True)
    command = words[words.index("--") + 1 :]
    assert command[0] == "python"
    own = [each.replace("/var/lib/etcd", str(folder)) for each in command[1:]]
    return subprocess.run([sys.executable, *own], check=False).returncode


def main(words: list[str]) -> int:
    """Do as kubectl does."""
    if words[0] == "port-forward":
        return forward(words)
    if words[0] == "exec":
        return execute(words)
    if real := os.environ.get("HANSE_TEST_KUBECTL"):
        os.execv(real, [real, *words])  # noqa: S606
    if words[0] == "wait":
        return 0
    if words[:2] == ["get", "statefulset"]:
        print((pods() / "statefulset.json").read_text())
        return 0
    if words[:2] == ["get", "persistentvolumeclaims"]:
        print(json.dumps({"items": []}))
        return 0
    with (pods() / "calls.jsonl").open("a") as file:
        file.write(json.dumps([words, sys.stdin.read()]) + "\n")
    return 0


def install(folder: Path) -> None:
    """Put a kubectl that is this into a folder, beside which it finds nothing of the tests."""
    shutil.copy(__file__, folder / "shim.py")
    program = folder / "kubectl"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {folder / "shim.py"} "$@"\n')
    program.chmod(0o755)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
