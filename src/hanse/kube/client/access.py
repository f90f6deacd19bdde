"""How to reach one API server: address, trust and credentials, from arguments or from a kubeconfig.

`ClusterAccess` is a value that can be stored (sealed) and sent; it holds PEM bytes and tokens themselves, no
file names. Reading a kubeconfig reads the files it names, once. Next: `hanse.kube.client.client`.
"""

from __future__ import annotations

import base64
import binascii
import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from hanse.documents import yaml_document
from hanse.errors import ConfigError, InvalidArgumentError


@dataclass(frozen=True, slots=True)
class ClusterAccess:
    """Address, trust and credentials of one API server. PEM and token fields are empty when not used.

    `insecure` turns verification of the server's certificate off. `tls_server_name` is the name expected in
    it, if it is not the host of `server`. `cluster_id` is the uid of the cluster's kube-system namespace:
    where it is known, no other cluster gets a request.
    """

    server: str
    ca_pem: bytes = b""
    client_cert_pem: bytes = field(default=b"", repr=False)
    client_key_pem: bytes = field(default=b"", repr=False)
    token: str = field(default="", repr=False)
    tls_server_name: str = ""
    insecure: bool = False
    proxy_url: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    cluster_id: str = ""

    @classmethod
    def from_kubeconfig(
        cls, source: str | os.PathLike[str] | Mapping[str, Any], *, context: str | None = None
    ) -> Self:
        """Read a kubeconfig (a path, or its parsed form) and return how to reach `context`'s cluster.

        `context` defaults to the current one. Understands certificate data and files, tokens and token
        files, and basic credentials; who has an exec plugin or an auth-provider has a credential issued first
        (`hanse_cli.issued`).

        Raises ConfigError that names what is missing or unreadable.
        """
        config, base = _read(source)
        chosen = context or str(config.get("current-context") or "")
        if not chosen:
            raise ConfigError("the kubeconfig has no current-context; name a context")
        found = _named(config, "contexts", "context", chosen)
        cluster = _named(config, "clusters", "cluster", str(found.get("cluster", "")))
        user = _named(config, "users", "user", str(found["user"])) if found.get("user") else {}
        server = str(cluster.get("server") or "")
        if not server:
            raise ConfigError(f"the cluster of context {chosen!r} has no server in the kubeconfig")
        token = str(user.get("token") or "")
        if not token and user.get("tokenFile"):
            token = _file(base, str(user["tokenFile"]), "tokenFile").decode().strip()
        certificate = _pem(user, "client-certificate", base)
        key = _pem(user, "client-key", base)
        return cls(
            server=server.rstrip("/"),
            ca_pem=_pem(cluster, "certificate-authority", base),
            client_cert_pem=certificate,
            client_key_pem=key,
            token=token,
            tls_server_name=str(cluster.get("tls-server-name") or ""),
            insecure=bool(cluster.get("insecure-skip-tls-verify", False)),
            proxy_url=str(cluster.get("proxy-url") or ""),
            username=str(user.get("username") or ""),
            password=str(user.get("password") or ""),
        )

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return the TLS settings for this server; None for plain http.

        Raises ConfigError if the certificates cannot be used.
        """
        if not self.server.startswith("https://"):
            return None
        try:
            context = ssl.create_default_context(cadata=self.ca_pem.decode() if self.ca_pem else None)
            if self.insecure:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if self.client_cert_pem:
                _load_chain(context, self.client_cert_pem, self.client_key_pem)
        except (ssl.SSLError, ValueError, OSError) as error:
            raise ConfigError(f"the certificates for {self.server} cannot be used: {error}") from error
        return context


def _load_chain(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Load a client certificate; OpenSSL reads it from files only, so they exist for a moment, mode 0600."""
    with tempfile.TemporaryDirectory(prefix="hanse-") as directory:
        path = Path(directory) / "client.pem"
        path.touch(mode=0o600)
        path.write_bytes(certificate + b"\n" + key)
        context.load_cert_chain(path)


def _read(source: str | os.PathLike[str] | Mapping[str, Any]) -> tuple[Mapping[str, Any], Path]:
    if isinstance(source, Mapping):
        return source, Path.cwd()
    path = Path(source).expanduser()
    try:
        config = yaml_document(path.read_bytes(), what=str(path))
    except (OSError, InvalidArgumentError) as error:
        raise ConfigError(f"cannot read the kubeconfig {path}: {error}") from error
    if not isinstance(config, dict):
        raise ConfigError(f"{path} is not a kubeconfig: it is not a YAML mapping")
    return config, path.parent


def _named(config: Mapping[str, Any], collection: str, item: str, name: str) -> Mapping[str, Any]:
    for entry in config.get(collection) or ():
        if entry.get("name") == name:
            return entry.get(item) or {}
    known = ", ".join(sorted(str(e.get("name")) for e in config.get(collection) or ())) or "none"
    raise ConfigError(f"the kubeconfig has no {item} {name!r}; it has: {known}")


def _file(base: Path, name: str, what: str) -> bytes:
    try:
        return (base / name).read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {what} {name} that the kubeconfig names: {error}") from error


def _pem(section: Mapping[str, Any], name: str, base: Path) -> bytes:
    data = section.get(f"{name}-data")
    if data:
        try:
            return base64.b64decode(data, validate=True)
        except binascii.Error as error:
            raise ConfigError(f"{name}-data in the kubeconfig is not base64: {error}") from error
    return _file(base, str(section[name]), name) if section.get(name) else b""
