"""One operating-system process with a log file, stopped by its pid.

Not bound to an event loop: waiting is polling, so that a process outlives the loop that started it. On
Linux the children die with the thread that started them, so that a killed test run leaves nothing behind.
"""

import asyncio
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tests.support.machine.freezing import freeze, thaw

POLL_SECONDS = 0.02


class Process:
    """A command that can be started, stopped, crashed, frozen and started again; its log is appended to."""

    def __init__(self, command: Sequence[str], *, log: Path) -> None:
        self.name = Path(command[0]).name
        self.log = log
        self._command = list(command)
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def pid(self) -> int:
        """Its process id; raises `RuntimeError` while it does not run."""
        if self._popen is None or not self.running:
            raise RuntimeError(f"{self.name} is not running")
        return self._popen.pid

    @property
    def rss_bytes(self) -> int:
        """Its resident memory now (Linux)."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return 0

    def change(self, *flags: str) -> None:
        """Have it started with more flags from the next start on; a flag given here wins."""
        self._command += flags

    def start(self) -> None:
        """Start it unless it runs."""
        if self.running:
            return
        guard = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                [*guard, *self._command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.log.parent,
                start_new_session=True,  # an interrupt at the terminal is for the test run alone
            )

    async def stop(self, *, grace: float = 5.0) -> None:
        """Ask it to end, and kill it if it has not after `grace` seconds (0 kills at once)."""
        popen = self._popen
        if popen is None:
            return
        if grace > 0 and popen.poll() is None:
            popen.send_signal(signal.SIGCONT)
            popen.terminate()
            await _end_of(popen, within=grace)
        if popen.poll() is None:
            popen.kill()
            await _end_of(popen, within=10.0)
        self._popen = None

    def freeze(self) -> None:
        """Let it keep its sockets and answer nothing, as a host that hangs."""
        if self._popen is not None:
            freeze(self._popen.pid)

    def thaw(self) -> None:
        """Let it run on after `freeze`."""
        if self._popen is not None:
            thaw(self._popen.pid)

    def check(self) -> None:
        """Raise `RuntimeError` with the end of its log if it has ended by itself."""
        if self._popen is not None and self._popen.poll() is not None:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
            raise RuntimeError(f"{self.name} ended with {self._popen.returncode}, see {self.log}:\n{tail}")


async def _end_of(popen: subprocess.Popen[bytes], *, within: float) -> None:
    deadline = time.monotonic() + within
    for _ in range(int(within / POLL_SECONDS) + 1):
        if popen.poll() is not None or time.monotonic() > deadline:
            return
        await asyncio.sleep(POLL_SECONDS)
