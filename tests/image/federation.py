"""The five services from the image, each a container, over an etcd of the machine, with the keys of Pods.

Files are root's and readable by the group of the image's user, as Kubernetes mounts Secrets with `fsGroup`.
All ports are free ones of 127.0.0.1. Leaving it stops what it started. Next: `tests.image.test_services`.
"""

from __future__ import annotations

import json
import os
import ssl
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from hanse.process.settings import TlsFiles
from hanse.security.auth import ADMIN_NAME, ADMINS, MASTERS, SERVICES, service_name
from hanse.security.auth import server_name as name_of_server
from hanse.security.credentials import Sealer
from hanse.security.keyring import create_key_file
from hanse.security.pki import CertificateAuthority
from hanse.store.admin.roles import ROOT
from tests.image.podman import Image, Podman
from tests.support.machine.ports import free_ports
from tests.support.stores.etcd import EtcdServer

NAMES = ("apiserver", "registry", "scheduler", "syncer", "dns")
GROUP = 65532
KEYS = Path("/etc/hanse")
READY_SECONDS = 90.0


@dataclass(frozen=True)
class Ports:
    """Where a service listens."""

    grpc: int
    metrics: int
    extra: int
    """HTTPS of the apiserver, names of dns."""


class Federation:
    """Five containers and an etcd, for a `with`."""

    def __init__(self, podman: Podman, image: Image, directory: Path) -> None:
        self._podman, self._image, self._directory = podman, image, directory
        self.containers: dict[str, str] = {}
        numbers = iter(free_ports(3 * len(NAMES)))
        self.ports = {name: Ports(next(numbers), next(numbers), next(numbers)) for name in NAMES}
        self._mesh = CertificateAuthority.create()
        self._store = CertificateAuthority.create("etcd-ca")
        mesh, store = directory / "own/mesh", directory / "own/etcd"
        self.admin = self._mesh.issue_local(ADMIN_NAME, organizations=(ADMINS, MASTERS)).write(
            mesh, "admin", ca_pem=self._mesh.ca_pem
        )
        server = self._store.issue_local("etcd").write(store, "server", ca_pem=self._store.ca_pem)
        self._etcd = EtcdServer(directory / "etcd", tls=(server.ca, server.cert, server.key))

    def __enter__(self) -> Self:
        (self._directory / "credentials.key").parent.mkdir(exist_ok=True)
        Sealer.from_file(self._directory / "credentials.key", create=True)
        create_key_file(self._directory / "secrets.key")
        self._etcd.start()
        try:
            self._give_rights()
            for name in NAMES:
                self.containers[name] = self._start(name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for container in self.containers.values():
            self._podman.call("rm", "--force", "--time=1", container)
        self._etcd.stop()

    def wait_ready(self) -> None:
        """Waits until each says at its metrics port that it is ready."""
        until = time.monotonic() + READY_SECONDS
        for name, ports in self.ports.items():
            while (said := _get(f"http://127.0.0.1:{ports.metrics}/readyz")) != "200":
                state = self._podman.call(
                    "inspect", "--format={{.State.Status}}", self.containers[name]
                ).strip()
                assert state == "running", f"{name} is {state}:\n{self.logs(name)}"
                assert time.monotonic() < until, f"{name} is not ready: {said}\n{self.logs(name)}"
                time.sleep(0.1)

    def logs(self, name: str) -> str:
        """The end of what a service has written."""
        return self._podman.call("logs", "--tail=20", self.containers[name])

    def pid(self, name: str) -> int:
        """The process of a service, as the machine numbers it."""
        return int(self._podman.call("inspect", "--format={{.State.Pid}}", self.containers[name]))

    def stop(self, name: str) -> int:
        """Stops a service in order and returns its exit status."""
        self._podman.call("stop", "--time=20", self.containers[name])
        return int(self._podman.call("inspect", "--format={{.State.ExitCode}}", self.containers[name]))

    def rest(self, method: str, path: str, body: Any = None) -> Any:
        """Asks the Kubernetes API as an administrator; an answer that is an error is one here."""
        context = ssl.create_default_context(cafile=str(self.admin.ca))
        context.load_cert_chain(self.admin.cert, self.admin.key)
        request = urllib.request.Request(
            f"https://127.0.0.1:{self.ports['apiserver'].extra}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:  # noqa: S310
            return json.load(answer)

    def _give_rights(self) -> None:
        """Users and roles in etcd, made by the image as a Job would."""
        own = KEYS / "etcd"
        arguments: dict[str, object] = {
            "ca": own / "ca.crt",
            "cert": own / "tls.crt",
            "key": own / "tls.key",
            "prefix": "/hanse",
            "endpoints": self._etcd.endpoint,
        }
        self._podman.run(
            self._image,
            "hanse.store.admin.roles",
            *(f"--{name}={value}" for name, value in arguments.items()),
            options=self._mounted("roles", etcd=ROOT),
        )

    def _start(self, name: str) -> str:
        own = self.ports[name]
        settings = {
            "listen": f"127.0.0.1:{own.grpc}",
            "metrics_listen": f"127.0.0.1:{own.metrics}",
            "etcd_endpoints": self._etcd.endpoint,
            **{f"{end}_ca": f"{KEYS}/{end}/ca.crt" for end in ("etcd", "tls")},
            **{f"{end}_cert": f"{KEYS}/{end}/tls.crt" for end in ("etcd", "tls")},
            **{f"{end}_key": f"{KEYS}/{end}/tls.key" for end in ("etcd", "tls")},
            "credentials_key_file": f"{KEYS}/credentials.key",
            "apiserver_endpoint": f"127.0.0.1:{self.ports['apiserver'].grpc}",
            "peers": ",".join(f"{peer}=127.0.0.1:{ports.grpc}" for peer, ports in self.ports.items()),
            **({"secrets_key_file": f"{KEYS}/secrets.key"} if name in ("apiserver", "syncer") else {}),
            **({"https_listen": f"127.0.0.1:{own.extra}"} if name == "apiserver" else {}),
            **({"dns_listen": f"127.0.0.1:{own.extra}"} if name == "dns" else {}),
        }
        prefix = f"HANSE_{name}_".upper()
        variables = [f"--env={prefix}{key.upper()}={value}" for key, value in settings.items()]
        mounted = self._mounted(name, etcd=service_name(name), tls=service_name(name))
        return self._podman.start(self._image, f"hanse_{name}", options=[*variables, *mounted])

    def _mounted(self, name: str, *, etcd: str, tls: str = "") -> list[str]:
        """The options that mount a container's keys."""
        folder = self._directory / name
        _as_secret(
            self._store.issue_local(etcd).write(folder, "etcd", ca_pem=self._store.ca_pem), folder / "etcd"
        )
        if tls:
            pair = self._mesh.issue_local(tls, organizations=(SERVICES,), names=(name_of_server(name),))
            _as_secret(pair.write(folder, "tls", ca_pem=self._mesh.ca_pem), folder / "tls")
            for key in ("credentials.key", "secrets.key"):
                _protect((self._directory / key).read_bytes(), folder / key)
        folder.chmod(0o755)
        return [f"--volume={folder}:{KEYS}:ro"]


def _as_secret(files: TlsFiles, folder: Path) -> None:
    """Moves a certificate to where a Secret of type kubernetes.io/tls would put it."""
    folder.mkdir()
    for path, name in ((files.ca, "ca.crt"), (files.cert, "tls.crt"), (files.key, "tls.key")):
        _protect(path.read_bytes(), folder / name)
        path.unlink()


def _protect(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    path.chmod(0o440)
    os.chown(path, 0, GROUP)


def _get(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310
            return str(answer.status)
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read()[:300]!r}"
    except OSError as error:
        return str(error)
