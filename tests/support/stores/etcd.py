"""A real etcd for tests: on free ports of 127.0.0.1, with its data in a directory of the test.

The one that `hanse up` takes. It can be killed and started again on the same ports with the same data. It is
stopped by its pid and never outlives its `with`.
"""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from hanse_local.etcd import binary as etcd

from tests.support.machine.freezing import freeze, thaw
from tests.support.machine.ports import free_ports


def find_etcd() -> str:
    """Return the path of the etcd that `hanse up` starts."""
    names = ("HANSE_ETCD", "HANSE_CACHE", "XDG_CACHE_HOME", "HOME", "PATH")
    return _find(tuple((name, os.environ[name]) for name in names if name in os.environ))


@functools.cache
def _find(environ: tuple[tuple[str, str], ...]) -> str:
    return str(etcd.find(environ=dict(environ)).path)


class EtcdServer:
    """One etcd process, in a directory.

    `progress_interval` is how often a quiet watch hears of the revision. `tls` is (CA, certificate, key)
    for clients, whose certificates are then required.
    """

    def __init__(
        self,
        directory: Path,
        *,
        progress_interval: str = "200ms",
        tls: tuple[Path, Path, Path] | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        self.directory = directory
        self._progress_interval = progress_interval
        self._tls = tls
        self._arguments = list(arguments)
        self._process: subprocess.Popen[bytes] | None = None
        self._client, self._peer, self._metrics = free_ports(3)

    @property
    def endpoint(self) -> str:
        """host:port for clients."""
        return f"127.0.0.1:{self._client}"

    @property
    def pid(self) -> int:
        """The pid while it runs."""
        assert self._process is not None
        return self._process.pid

    def start(self, *, deadline: float = 30.0) -> Self:
        """Start it, or start it again with the data that it has, and wait until it is healthy."""
        assert self._process is None, "etcd runs already"
        self.directory.mkdir(parents=True, exist_ok=True)
        until = time.monotonic() + deadline
        for _ in range(3):
            self._spawn()
            if self._wait_healthy(until):
                return self
            # It has exited: most likely another process took a port in between.
            self._process = None
            if not (self.directory / "data").exists():
                self._client, self._peer, self._metrics = free_ports(3)
        log = (self.directory / "etcd.log").read_text(errors="replace")
        raise RuntimeError(f"etcd did not start:\n{log[-3000:]}")

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Stop it in order; harmless if it is not running."""
        if self._process is not None:
            self._end(signal.SIGTERM)

    def pause(self) -> None:
        """Make it hang, with its connections open."""
        freeze(self.pid)

    def resume(self) -> None:
        """End a `pause`."""
        thaw(self.pid)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.kill()

    def _spawn(self) -> None:
        scheme = "https" if self._tls else "http"
        client, peer = f"{scheme}://{self.endpoint}", f"http://127.0.0.1:{self._peer}"
        command = [
            find_etcd(),
            f"--data-dir={self.directory / 'data'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            f"--listen-metrics-urls=http://127.0.0.1:{self._metrics}",
            f"--experimental-watch-progress-notify-interval={self._progress_interval}",
            "--unsafe-no-fsync",
            "--log-level=warn",
            *self._arguments,
        ]
        if self._tls:
            ca, cert, key = self._tls
            command += [
                f"--trusted-ca-file={ca}",
                f"--cert-file={cert}",
                f"--key-file={key}",
                "--client-cert-auth",
            ]
        with (self.directory / "etcd.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def _wait_healthy(self, until: float) -> bool:
        assert self._process is not None
        url = f"http://127.0.0.1:{self._metrics}/health"
        while time.monotonic() < until:
            if self._process.poll() is not None:
                return False
            try:
                with urllib.request.urlopen(url, timeout=1) as answer:
                    if b'"true"' in answer.read():
                        return True
            except (urllib.error.URLError, OSError):
                pass
            time.sleep(0.02)
        self.kill()
        raise RuntimeError("etcd is not healthy in time")

    def _end(self, with_signal: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(with_signal)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
