"""Replaces the authorities of a data directory while its federation runs.

Owns the order. All authorities go through a stage together (`hanse.security.rotation` has the stages), and
the next begins when every process that runs was seen to have taken the one before. A run that was interrupted
is continued by the next (`hanse_local.keys.overlap`).

1. New authorities are trusted beside the old ones. Services take that up by themselves; etcd reads the file
   only when it starts, so it is restarted.
2. The user gets a certificate of the new authority, and a kubeconfig that trusts both: what others have to
   fetch. Copies of the old kubeconfig count until the overlap is over.
3. All certificates are issued by the new authorities.
4. The old ones are trusted no more. etcd is restarted once more.

Concurrency: one process at a time (`run/rotation.lock`); it blocks, and waits for others. An authority
is changed only while nobody issues (`hanse_local.keys.certificates.held`).

Next: `hanse_local.keys.handshakes`, which asks servers.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from cryptography import x509

from hanse.errors import ConfigError, DeadlineError, FailedPreconditionError, InternalError
from hanse.process.settings import RELOAD_SECONDS
from hanse.security.pki import CertificateAuthority, KeyPair, issued_by
from hanse.security.rotation import Stage, begin, finish, stage_of, successor, switch
from hanse_local.checks import SERVICES
from hanse_local.keys.certificates import ETCD, MEMBERS_ETCD, authorities, held
from hanse_local.keys.handshakes import accepts, shown
from hanse_local.keys.overlap import Overlap, words_of
from hanse_local.keys.renewing import renew
from hanse_local.layout import DataDir
from hanse_local.supervise import background
from hanse_local.supervise.state import DirectoryState

SETTLE_SECONDS: Final = 2 * RELOAD_SECONDS
"""After so long every client has taken up what is in the files, and what was under way before has ended."""
ANSWER_SECONDS: Final = 60.0
"""How long a process may take to take up a stage; one that is started meanwhile does."""
_ETCDS: Final[Mapping[str, str]] = {"hanse-etcd-ca": ETCD, "members-etcd-ca": MEMBERS_ETCD}

Say = Callable[[str], None]


def rotate(data: DataDir, *, overlap: timedelta | None, say: Say, settle: float = SETTLE_SECONDS) -> bool:
    """Replace all authorities; return whether that is done, or the overlap is not over.

    `overlap` is how long what the old ones have issued still counts; None goes on as was said before. Raises
    ConfigError if it must be said, DeadlineError for a process that does not take part, HanseError.
    """
    with _alone(data):
        running = background.query(data)
        if running is not None and running["phase"] != "ready":
            raise FailedPreconditionError("the federation is not up yet: try again in a moment")
        rotation = _Rotation(data, running, say, settle)
        return rotation.run(overlap)


class _Rotation:
    def __init__(
        self,
        data: DataDir,
        running: Mapping[str, Any] | None,
        say: Say,
        settle: float,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock, self._sleep = clock, sleep
        self._data = data
        self._say = say
        self._settle = settle if running is not None else 0.0
        self._state = DirectoryState.load(data.state)
        self._running = {
            process["name"] for process in (running["processes"] if running else ()) if process["wanted"]
        }
        self._directories = authorities(data)

    def run(self, overlap: timedelta | None) -> bool:
        """Go on from wherever it is."""
        found = Overlap.load(self._data)
        if found is None:
            if overlap is None and self._state.advertise:
                raise ConfigError(
                    f"others reach this federation as {', '.join(self._state.advertise)}: say with --overlap "
                    "how long their kubeconfigs and certificates are to count yet, such as --overlap 7d, or "
                    "--overlap 0 for no longer than the rotation takes"
                )
            found = self._started()
        if found.end is None:
            found = self._trusted(found, overlap or timedelta())
        elif overlap is not None:
            found = replace(found, end=self._clock() + overlap.total_seconds())
            found.save(self._data)
        if found.end is None:
            raise InternalError("the overlap has no end")
        renew(self._data)  # the kubeconfig, which must trust the new one by now
        self._sleep(max(0.0, min(found.end - self._clock(), self._settle)))
        if self._clock() < found.end:
            self._say(
                f"the old authorities count until {words_of(found.end)}: give everybody the new kubeconfig "
                f"({self._data.kubeconfig}), then run this again; --overlap 0 does not wait"
            )
            return False
        self._issued(found)
        self._finished(found)
        return True

    def _started(self) -> Overlap:
        old = {
            name: CertificateAuthority.read(directory).pair.cert_pem.decode()
            for name, directory in self._directories.items()
        }
        found = Overlap(old)
        found.save(self._data)
        return found

    def _trusted(self, overlap: Overlap, length: timedelta) -> Overlap:
        """Stage 1 and 2."""
        for name in self._to_replace(overlap, Stage.SETTLED):
            with held(self._data):  # a renewal writes back the authorities that it has read
                begin(self._directories[name], name=name)
            self._say(f"{name}: a new authority is trusted beside the old one")
        overlap = self._restart_etcds(overlap)
        self._await(self._takes_new, "does not take the new authority yet")
        seconds = max(length.total_seconds(), self._settle)  # who reads the old kubeconfig now uses it yet
        overlap = replace(overlap, end=self._clock() + seconds, restarted=())
        overlap.save(self._data)
        renew(self._data)
        self._say(
            f"{self._data.kubeconfig} has a certificate of the new authority, and trusts both. Kubeconfigs "
            f"and certificates that were taken before are to be taken again by {words_of(overlap.end or 0.0)}"
        )
        return overlap

    def _issued(self, overlap: Overlap) -> None:
        """Stage 3."""
        for name in self._to_replace(overlap, Stage.TRUSTED):
            with held(self._data):
                switch(self._directories[name])
            self._say(f"{name}: the new authority issues")
        renew(self._data)
        self._await(self._shows_new, "still shows a certificate of the old authority")
        self._say("all certificates are of the new authorities, and in use")

    def _finished(self, overlap: Overlap) -> None:
        """Stage 4."""
        for name in self._to_replace(overlap, Stage.ISSUING):
            with held(self._data):
                finish(self._directories[name])
            self._say(f"{name}: the old authority is trusted no more")
        renew(self._data)  # for the kubeconfig
        self._restart_etcds(overlap)
        for name, directory in self._directories.items():
            if (stage := stage_of(directory)) is not Stage.SETTLED:
                raise FailedPreconditionError(
                    f"{name} is not replaced yet, but {stage.value}: run this again"
                )
        self._data.overlap.unlink(missing_ok=True)
        self._say("done: what the old authorities have issued is refused")

    def _to_replace(self, overlap: Overlap, stage: Stage) -> Iterator[str]:
        """Yield the authorities in a stage that have not been replaced."""
        for name, directory in self._directories.items():
            if stage_of(directory) is not stage:
                continue
            present = CertificateAuthority.read(directory).pair.cert_pem.decode()
            if stage is not Stage.SETTLED or present == overlap.old.get(name):
                yield name

    def _restart_etcds(self, overlap: Overlap) -> Overlap:
        """Have each embedded etcd read again whom to trust."""
        for process in _ETCDS.values():
            if process in self._running and process not in overlap.restarted:
                background.request(self._data, "restart", name=process, timeout=120.0)
                overlap = replace(overlap, restarted=(*overlap.restarted, process))
                overlap.save(self._data)
                self._say(f"{process} was restarted, because it reads whom to trust when it starts")
        return overlap

    def _servers(self) -> Iterator[tuple[str, int, Path]]:
        """Yield the servers that run: process, port, and the directory of their authority."""
        names = {f"{service}.grpc": self._data.pki for service in SERVICES}
        names["apiserver.https"] = self._data.pki
        names |= {f"{process}.client": self._directories[name] for name, process in _ETCDS.items()}
        for name, directory in names.items():
            process = name.partition(".")[0]
            if process in self._running and name in self._state.ports:
                yield process, self._state.ports[name], directory

    def _takes_new(self, port: int, directory: Path) -> bool:
        authority = successor(directory)
        return authority is None or accepts("127.0.0.1", port, _probe(authority))

    def _shows_new(self, port: int, directory: Path) -> bool:
        found = shown("127.0.0.1", port)
        authority = CertificateAuthority.read(directory).pair.cert_pem
        return bool(found) and issued_by(x509.load_der_x509_certificate(found), authority)

    def _await(self, taken_up: Callable[[int, Path], bool], problem: str) -> None:
        """Wait until all servers have taken a stage up, and for as long as clients may take.

        Raises DeadlineError.
        """
        began = time.monotonic()
        for process, port, directory in self._servers():
            while not taken_up(port, directory):
                if time.monotonic() - began > ANSWER_SECONDS:
                    raise DeadlineError(
                        f"{process} {problem}: see `hanse status`, then run this again; until then the old "
                        "and the new authorities count"
                    )
                self._sleep(0.2)
        self._sleep(max(0.0, began + self._settle - time.monotonic()))


def _probe(authority: CertificateAuthority) -> KeyPair:
    """Return a certificate for a handshake, of nobody who may do anything."""
    return authority.issue("hanse-rotation", server=False, days=0.01)


@contextmanager
def _alone(data: DataDir) -> Iterator[None]:
    """Keep a second rotation away."""
    if not data.state.exists():
        raise FailedPreconditionError(f"there is no federation in {data.root}: name its --data-dir")
    descriptor = os.open(data.run / "rotation.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FailedPreconditionError(
                "authorities are being replaced by another command right now"
            ) from None
        yield
    finally:
        os.close(descriptor)
