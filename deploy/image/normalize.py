"""Makes what /out has the same every time: compiled modules, owners, modes and times.

Compiled modules are checked against nothing when they are loaded (PEP 552), since nothing in an image
changes; the usual ones carry the time of their source. PYTHONHASHSEED must be set, so that sets are
written in one order.
"""

from __future__ import annotations

import argparse
import compileall
import os
import stat
import sys
from pathlib import Path
from py_compile import PycInvalidationMode

OUT = Path("/out")
LAYERS = ("root", "dependencies", "application")


def compile_modules(layer: Path) -> None:
    """Compiles all modules of Python's and of the virtual environment's library."""
    libraries = [path for prefix in ("usr", "usr/local") for path in layer.glob(f"{prefix}/lib/python3.*")]
    for library in (*sorted(libraries), layer / "opt"):
        compiled = compileall.compile_dir(
            library,
            maxlevels=50,
            quiet=2,
            force=True,
            stripdir=str(layer),
            prependdir="/",
            invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
        )
        if not compiled:
            sys.exit(f"{library}: a module cannot be compiled")


def settle(path: Path, *, epoch: int) -> None:
    """Give one file, link or folder to root, without set-user-id, writable by root only, and of one age."""
    mode = path.lstat().st_mode
    os.lchown(path, 0, 0)
    if stat.S_ISDIR(mode):
        path.chmod(0o1777 if path == OUT / "root/tmp" else 0o755)
    elif stat.S_ISREG(mode):
        path.chmod(0o755 if mode & 0o100 else 0o644)
    os.utime(path, (epoch, epoch), follow_symlinks=False)


def main() -> None:
    """Doe it for each layer, folders after what is in them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--epoch", type=int, required=True, help="time of everything, in seconds")
    epoch: int = parser.parse_args().epoch
    if not os.environ.get("PYTHONHASHSEED", "").isdecimal():
        sys.exit("PYTHONHASHSEED is not set")
    for layer in (OUT / name for name in LAYERS):
        compile_modules(layer)
        for folder, folders, names in os.walk(layer, topdown=False):
            for name in (*folders, *names):
                settle(Path(folder) / name, epoch=epoch)
        settle(layer, epoch=epoch)


if __name__ == "__main__":
    main()
