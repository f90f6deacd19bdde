"""Builds etcd from its Go module, and keeps the build in the user's cache.

Owns `cache/etcd/<version>-<hash>-<platform>`, with `etcd`, `etcdctl` and `etcdutl`. The version is that of
`etcd_go/go.mod`, which pins all modules together with go.sum. A build is made once; several callers wait for
one. A build that failed is not tried again within the hour by `ensure`, unless another Go is there.

`python -m hanse_local.etcd.build` is `ensure` for make: it exits 0 whether or not etcd could be built, as
there are other etcds to fall back on.

Concurrency: safe between processes, by an flock.

Next: `hanse_local.etcd.binary`, which chooses among this build and the others.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from hanse.errors import ConfigError, FailedPreconditionError

MODULE = Path(__file__).parent / "etcd_go"
PROGRAMS: Mapping[str, str] = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "etcdctl": "go.etcd.io/etcd/etcdctl/v3",
    "etcdutl": "go.etcd.io/etcd/etcdutl/v3",
}
"""The programs, and the packages that they are built from."""
FETCH_SECONDS = 300.0
BUILD_SECONDS = 1800.0
RETRY_SECONDS = 3600.0
"""How long a build that failed is not tried again by itself."""
UNUSED_SECONDS = 30 * 86400.0
"""A build that nobody has looked for in this time is removed when another is made."""
_FAILED = ".failed"
_TROUBLE = re.compile(
    r"error|cannot|no such host|denied|refused|timeout|not found|forbidden|mismatch|requires", re.IGNORECASE
)
_TOO_OLD = re.compile(r"requires go >=|unknown directive|invalid go version")


def version() -> str:
    """Return the version of etcd that is built, such as 3.5.35."""
    found = re.search(rf"^\s*{PROGRAMS['etcd']} v(\S+)", (MODULE / "go.mod").read_text(), re.MULTILINE)
    if found is None:
        raise ConfigError(f"{MODULE / 'go.mod'} does not name the version of etcd")
    return found[1]


def cache_dir(environ: Mapping[str, str]) -> Path | None:
    """Return where builds are kept; None where the user has no place for that."""
    if given := environ.get("HANSE_CACHE"):
        return Path(given)
    if caches := environ.get("XDG_CACHE_HOME"):
        return Path(caches) / "hanse"
    home = environ.get("HOME")
    return Path(home) / ".cache" / "hanse" if home else None


def target(cache: Path) -> Path:
    """Return the directory of the build below the cache directory."""
    pins = b"".join((MODULE / name).read_bytes() for name in ("go.mod", "go.sum"))
    digest = hashlib.sha256(pins).hexdigest()[:12]
    return cache / "etcd" / f"{version()}-{digest}-{sys.platform}-{platform.machine()}"


def built(environ: Mapping[str, str]) -> Path | None:
    """Return the directory with the programs, if they have been built."""
    cache = cache_dir(environ)
    if cache is None or not _is_whole(found := target(cache)):
        return None
    with suppress(OSError):
        os.utime(found)  # it is in use
    return found


def install(environ: Mapping[str, str], *, say: Callable[[str], None]) -> Path:
    """Build etcd unless that is done; return the directory with the programs.

    Raises FailedPreconditionError with the reason, in one line, if it cannot be built.
    """
    cache = cache_dir(environ)
    if cache is None:
        raise FailedPreconditionError("there is no place for it: set HANSE_CACHE, XDG_CACHE_HOME or HOME")
    wanted = target(cache)
    try:
        wanted.parent.mkdir(parents=True, exist_ok=True)
        with _locked(wanted.parent / ".lock"):
            if not _is_whole(wanted):
                _build(wanted, environ, say=say)
    except OSError as error:
        raise FailedPreconditionError(f"{wanted.parent} cannot be used: {error.strerror or error}") from error
    return wanted


def ensure(environ: Mapping[str, str], *, say: Callable[[str], None]) -> Path | None:
    """`install`, which says what is wrong instead of raising it, and does not try again too soon."""
    if environ.get("HANSE_ETCD"):
        return None
    if found := built(environ):
        return found
    cache = cache_dir(environ)
    failed = None if cache is None else target(cache).parent / _FAILED
    attempt = f"{target(cache).name if cache else ''} {shutil.which('go', path=environ.get('PATH'))}"
    if failed is not None and _failed_lately(failed, attempt):
        return None
    try:
        found = install(environ, say=say)
    except FailedPreconditionError as error:
        say(f"etcd {version()} cannot be built, another etcd is used: {error.message}")
        if failed is not None and failed.parent.is_dir():
            failed.write_text(attempt)
        return None
    if failed is not None:
        failed.unlink(missing_ok=True)
    return found


def _is_whole(directory: Path) -> bool:
    return all(os.access(directory / program, os.X_OK) for program in PROGRAMS)


def _failed_lately(failed: Path, attempt: str) -> bool:
    try:
        return failed.read_text() == attempt and time.time() - failed.stat().st_mtime < RETRY_SECONDS
    except OSError:
        return False


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _build(wanted: Path, environ: Mapping[str, str], *, say: Callable[[str], None]) -> None:
    go = shutil.which("go", path=environ.get("PATH"))
    if go is None:
        raise FailedPreconditionError("Go is not installed")
    began = time.monotonic()
    say(f"building etcd {version()} with Go (once; it takes a minute or two)")
    with tempfile.TemporaryDirectory(prefix=".build.", dir=wanted.parent) as folder:
        work = Path(folder)
        for name in ("go.mod", "go.sum"):
            shutil.copy(MODULE / name, work)
        variables = {**environ, "GOWORK": "off", "CGO_ENABLED": "0", "LC_ALL": "C"}
        listing = [go, "list", "-mod=readonly", "-deps", *PROGRAMS.values()]
        problem = _run(listing, work, variables, seconds=FETCH_SECONDS)
        if _TOO_OLD.search(problem):
            raise FailedPreconditionError(f"this Go is too old: {_trouble(problem)}")
        if problem:
            raise FailedPreconditionError(f"a Go module cannot be fetched: {_trouble(problem)}")
        result = work / "bin"
        for program, package in PROGRAMS.items():
            flags = ["-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags=-s -w"]
            build = [go, "build", *flags, "-o", str(result / program), package]
            problem = _run(build, work, variables, seconds=BUILD_SECONDS)
            if problem:
                raise FailedPreconditionError(f"the build failed: {_trouble(problem)}")
        shutil.rmtree(wanted, ignore_errors=True)
        result.rename(wanted)
    _remove_unused(wanted)
    say(f"built etcd {version()} in {time.monotonic() - began:.0f} s")


def _run(command: Sequence[str], folder: Path, environ: Mapping[str, str], *, seconds: float) -> str:
    """Run it with low priority; return what it said if it failed, else nothing."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )
        with suppress(OSError):  # it has ended already
            os.setpriority(os.PRIO_PGRP, process.pid, min(19, os.getpriority(os.PRIO_PROCESS, 0) + 5))
        late = False
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            late = True
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
        log.seek(0)
        said = log.read().decode(errors="replace").strip()
    if late:
        return f"timeout: it took more than {seconds:.0f} s"
    return (said or f"exit status {code}") if code else ""


def _trouble(log: str) -> str:
    """Return the first line of a log that names the trouble, else its last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return next((line for line in lines if _TROUBLE.search(line)), lines[-1])[:300]


def _remove_unused(used: Path) -> None:
    for path in used.parent.iterdir():
        unused = path != used and time.time() - path.stat().st_mtime > UNUSED_SECONDS
        if path.is_dir() and unused:
            shutil.rmtree(path, ignore_errors=True)


def main() -> None:
    """Build etcd if that can be done, and say so on standard error."""
    ensure(os.environ, say=lambda line: print(line, file=sys.stderr, flush=True))  # noqa: T201 - for make


if __name__ == "__main__":
    main()
