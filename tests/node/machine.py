"""A machine with one real node: it is started, loses its power, and is started again.

The caller's thread gets a network of its own, the world, in which everything is that is not the machine: the
test, kubectl, the other member. The machine is one link away. Nothing of it is in the network of whoever runs
the tests.

Concurrency: one machine in a process, used by its main thread; threads and processes that are started in the
world stay in it. Next: `machine.sh`, its first process.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.node import files
from tests.support.machine import cgroups

HERE = Path(__file__).resolve().parent
START_SECONDS = 180.0
CLONE_NEWNET = 0x40000000


@contextmanager
def world() -> Iterator[None]:
    """A network of its own for this thread and all that it starts; the one before at the end."""
    libc = ctypes.CDLL(None, use_errno=True)

    def check(status: int) -> None:
        if status != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        check(libc.unshare(CLONE_NEWNET))
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield
    finally:
        check(libc.setns(before, CLONE_NEWNET))
        os.close(before)


class Machine:
    """One machine; its disk is a directory."""

    def __init__(self, disk: Path, programs: Mapping[str, Path]) -> None:
        self.disk = disk
        self.programs = programs
        self.cgroup = f"hanse-node-{files.token()}"
        self._process: subprocess.Popen[bytes] | None = None
        files.write(disk, cgroup=self.cgroup)

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.disk / "pki/admin.kubeconfig"

    def start(self) -> float:
        """Start it, wait until its node is ready, and return the seconds that this took."""
        began = time.monotonic()
        (self.disk / "up").unlink(missing_ok=True)
        (self.disk / "logs").mkdir(exist_ok=True)
        with (self.disk / "logs/machine.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"),
                    *("nice", "-n", "2", str(HERE / "machine.sh")),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": str(self.disk),
                    "DISK": str(self.disk),
                    "CGROUP": self.cgroup,
                    "ADDRESS": files.ADDRESS,
                    **{name: str(path) for name, path in self.programs.items()},
                },
            )
        self._plug_in()
        while not (self.disk / "up").exists():
            if self._process.poll() is not None or time.monotonic() - began > START_SECONDS:
                raise AssertionError(f"the machine does not start:\n{self.last_words()}")
            time.sleep(0.1)
        return time.monotonic() - began

    def _plug_in(self) -> None:
        pid = self.first_process()
        world = [
            f"link add machine type veth peer name uplink netns {pid}",
            f"address add {files.WORLD}/24 dev machine",
            "link set machine up",
            f"route add {files.PODS} via {files.ADDRESS}",
            f"route add {files.SERVICES} via {files.ADDRESS}",
        ]
        for line in world:
            subprocess.run(["ip", *line.split()], check=True)

    def first_process(self) -> int:
        """The process that has all others of the machine, once it is there."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if found := children.read_text().split():
                return int(found[0])
            time.sleep(0.02)
        raise AssertionError("the machine has no process")

    def lose_power(self) -> None:
        """End all that runs on it, at once."""
        assert self._process is not None
        os.kill(self.first_process(), signal.SIGKILL)
        self._process.wait(timeout=30)
        self._process = None
        deadline = time.monotonic() + 30
        while (
            subprocess.run(["ip", "link", "show", "machine"], capture_output=True, check=False).returncode
            == 0
        ):
            assert time.monotonic() < deadline, "the machine's network is still there"
            time.sleep(0.05)
        cgroups.remove(self.cgroup)

    def close(self) -> None:
        """Stop it if it runs."""
        if self._process is not None and self._process.poll() is None:
            self.lose_power()
        cgroups.remove(self.cgroup)

    def last_words(self) -> str:
        """The end of each of its logs."""
        found = []
        for path in sorted((self.disk / "logs").glob("*.log")):
            lines = path.read_text(errors="replace").splitlines()[-8:]
            found.append(f"== {path.name}\n" + "\n".join(line[:300] for line in lines))
        return "\n".join(found)

    def describe(self) -> str:
        """What its Pods are, and what happened to them."""
        kubectl = ["kubectl", f"--kubeconfig={self.kubeconfig}", "--request-timeout=5s", "get"]
        said = [
            subprocess.run([*kubectl, *words], capture_output=True, text=True, check=False).stdout
            for words in (
                ("pods", "-A", "-o", "wide"),
                ("events", "-A", "--field-selector=type=Warning", "--sort-by=.lastTimestamp"),
            )
        ]
        return "\n".join(text[-6000:] for text in said)
