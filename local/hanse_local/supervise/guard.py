"""Starts a command that dies with the process that started it. Run as a script, not imported.

`python -I -S guard.py PARENT COMMAND...` asks Linux to kill this process when PARENT ends, and becomes
COMMAND, under the same pid. It is a script because code between fork and exec is not safe in a process that
has threads. Elsewhere than on Linux it only becomes COMMAND; `hanse_local.supervise.identity` then finds what
a crash left behind.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # from <linux/prctl.h>


def main(argv: list[str]) -> None:
    """Become the command in `argv[1:]` unless the parent, pid `argv[0]`, is gone already."""
    parent, command = int(argv[0]), argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:
            sys.exit("the supervisor is gone")
    try:
        os.execvp(command[0], command)  # noqa: S606
    except OSError as error:
        sys.exit(f"cannot start {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
