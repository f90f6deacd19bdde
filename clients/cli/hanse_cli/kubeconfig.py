"""A kubeconfig that holds all that is needed to reach one cluster, and nothing else.

Owns the reduction that a join sends: one context, credentials inline. Files are read here, on the
machine that has them; the credentials of other clusters stay here.

Pure functions but for reading the files.

Next: `hanse_cli.commands.clusters`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hanse.documents import to_yaml, yaml_document
from hanse.errors import InvalidArgumentError

_INLINE = {
    "certificate-authority": "certificate-authority-data",
    "client-certificate": "client-certificate-data",
    "client-key": "client-key-data",
}


def reduced(path: Path, context: str = "") -> bytes:
    """The kubeconfig at `path` with `context` (empty: its current one) alone, as YAML.

    Raises InvalidArgumentError that says what is missing.
    """
    document = _load(path)
    name = context or str(document.get("current-context") or "")
    if not name:
        known = ", ".join(_names(document, "contexts")) or "none"
        raise InvalidArgumentError(
            f"{path} has no current context: name one with --cluster-context; it has {known}"
        )
    chosen = _entry(document, "contexts", name, path=path)
    cluster = _entry(document, "clusters", str(chosen.get("cluster", "")), path=path)
    user = _entry(document, "users", str(chosen.get("user", "")), path=path)
    if not cluster.get("server"):
        raise InvalidArgumentError(f"the cluster of context {name} in {path} has no server")
    for plugin in ("exec", "auth-provider"):
        if plugin in user:
            raise InvalidArgumentError(
                f"the user of context {name} in {path} authenticates with {plugin}, which only works on this "
                "machine: give a kubeconfig with a token or a client certificate, such as a ServiceAccount's"
            )
    inline = {"cluster": _inlined(cluster, path), "user": _inlined(user, path)}
    return to_yaml(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "clusters": [{"name": name, "cluster": inline["cluster"]}],
            "users": [{"name": name, "user": inline["user"]}],
        }
    ).encode()


def _load(path: Path) -> Mapping[str, Any]:
    try:
        document = yaml_document(path.read_bytes(), what=str(path))
    except OSError as error:
        raise InvalidArgumentError(f"cannot read the kubeconfig {path}: {error.strerror}") from error
    if not isinstance(document, dict) or not isinstance(document.get("clusters"), list):
        raise InvalidArgumentError(f"{path} is not a kubeconfig: it has no clusters")
    return document


def _names(document: Mapping[str, Any], kind: str) -> list[str]:
    return [str(entry.get("name")) for entry in document.get(kind) or [] if isinstance(entry, dict)]


def _entry(document: Mapping[str, Any], kind: str, name: str, *, path: Path) -> dict[str, Any]:
    for entry in document.get(kind) or []:
        if isinstance(entry, dict) and entry.get("name") == name:
            return dict(entry.get(kind.removesuffix("s")) or {})
    known = ", ".join(_names(document, kind)) or "none"
    raise InvalidArgumentError(f"{path} has no {kind.removesuffix('s')} {name!r}; it has {known}")


def _inlined(entry: dict[str, Any], path: Path) -> dict[str, Any]:
    result = {key: value for key, value in entry.items() if key not in {*_INLINE, "tokenFile"}}
    for key, inline in _INLINE.items():
        if key in entry and inline not in entry:
            result[inline] = base64.b64encode(_read(path, str(entry[key]))).decode()
    if "tokenFile" in entry and "token" not in entry:
        result["token"] = _read(path, str(entry["tokenFile"])).decode().strip()
    return result


def _read(kubeconfig: Path, name: str) -> bytes:
    """A file named in a kubeconfig; relative names are relative to it."""
    try:
        return (kubeconfig.parent / name).read_bytes()
    except OSError as error:
        raise InvalidArgumentError(
            f"cannot read {name}, which {kubeconfig} names: {error.strerror}"
        ) from error
