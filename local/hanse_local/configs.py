"""Configuration files that a local federation writes for its processes and its user.

Owns what is in config/*.toml, client.toml and kubeconfig. The functions are pure: settings in, text out.

Concurrency: none.

Next: `hanse_local.federation`, which writes them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hanse.documents import to_yaml
from hanse.errors import ConfigError
from hanse.process.settings import TlsFiles
from hanse.security.auth import server_name

Value = str | int | float | bool | Sequence[str]
HANSE_CONTEXT = "hanse"


def toml(values: Mapping[str, Value]) -> str:
    """Return a TOML table of plain values. JSON's strings, numbers, booleans and lists of them are TOML's."""
    return "".join(
        f"{key} = {json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)}\n"
        for key, value in values.items()
    )


def tls_values(prefix: str, files: TlsFiles) -> dict[str, Value]:
    """Return the three settings that name the files of one side of mutual TLS."""
    return {
        f"{prefix}_ca": str(files.ca),
        f"{prefix}_cert": str(files.cert),
        f"{prefix}_key": str(files.key),
    }


def client_toml(endpoints: Mapping[str, str], *, ca: str, cert: str, key: str) -> str:
    """Return the configuration of `hanse` and `hanse_client`; the files may be relative to it."""
    return (
        "# Written by `hanse up`: where the services are, and who you are to them.\n"
        + toml({"ca": ca, "cert": cert, "key": key})
        + "\n[endpoints]\n"
        + toml(endpoints)
    )


@dataclass(frozen=True, slots=True)
class Access:
    """How kubectl reaches the federation. The credentials are PEM."""

    server: str
    ca: bytes
    cert: bytes
    key: bytes


def kubeconfig(federation: Access, members: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a kubeconfig with the current context `hanse` and one per member, named as the member.

    `members` has the members' own kubeconfigs; their current contexts are taken. Raises ConfigError if
    one has none.
    """
    entries = {HANSE_CONTEXT: _federation_entry(federation)}
    for name, document in members.items():
        entries[name] = _current_entry(name, document)
    return to_yaml(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": HANSE_CONTEXT,
            "clusters": [{"name": name, "cluster": cluster} for name, (cluster, _) in entries.items()],
            "users": [{"name": name, "user": user} for name, (_, user) in entries.items()],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}} for name in entries],
            "preferences": {},
        },
    )


def _federation_entry(access: Access) -> tuple[dict[str, Any], dict[str, Any]]:
    cluster = {
        "server": access.server,
        "tls-server-name": server_name("apiserver"),
        "certificate-authority-data": _base64(access.ca),
    }
    user = {"client-certificate-data": _base64(access.cert), "client-key-data": _base64(access.key)}
    return cluster, user


def _current_entry(name: str, document: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        contexts = {entry["name"]: entry["context"] for entry in document["contexts"]}
        clusters = {entry["name"]: entry["cluster"] for entry in document["clusters"]}
        users = {entry["name"]: entry["user"] for entry in document["users"]}
        context = contexts[document["current-context"]]
        return dict(clusters[context["cluster"]]), dict(users[context["user"]])
    except (KeyError, TypeError) as error:
        raise ConfigError(f"the kubeconfig of {name} has no usable current context ({error})") from error


def _base64(pem: bytes) -> str:
    return base64.b64encode(pem).decode()
