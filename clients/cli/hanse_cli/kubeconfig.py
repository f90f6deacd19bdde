"""A kubeconfig that holds all that is needed to reach one cluster, and nothing else.

Owns the reduction that a join sends: one context, credentials inline. Files are read, and credentials of exec
plugins and auth-providers issued, here, on the machine that can; the credentials of other clusters stay here.
The federation needs a credential for as long as the cluster is a member, and cannot have one issued: one that
ends soon is refused unless it is asked for.

Pure functions but for that. Next: `hanse_cli.issued`, `hanse_cli.commands.clusters`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from hanse.documents import to_yaml, yaml_document
from hanse.errors import InvalidArgumentError
from hanse_cli.issued import METHODS, issue

_INLINE = {
    "certificate-authority": "certificate-authority-data",
    "client-certificate": "client-certificate-data",
    "client-key": "client-key-data",
}


LASTING_DAYS: Final = 30
"""A credential that was issued has to last so long, or to say nothing of its end."""


@dataclass(frozen=True, slots=True)
class ReducedKubeconfig:
    """A kubeconfig of one context as YAML, and what is to be said of it, empty for nothing."""

    document: bytes
    warning: str = ""


def reduced(path: Path, context: str = "", *, now: datetime, short_lived: bool = False) -> ReducedKubeconfig:
    """Return the kubeconfig at `path` with `context` (empty: its current one) alone.

    Raises InvalidArgumentError that says what is missing, or that the credential ends soon and is not to be
    `short_lived`.
    """
    config = _load(path)
    name = context or str(config.get("current-context") or "")
    if not name:
        known = ", ".join(_names(config, "contexts")) or "none"
        raise InvalidArgumentError(
            f"{path} has no current context: name one with --cluster-context; it has {known}"
        )
    chosen = _entry(config, "contexts", name, path=path)
    cluster = _entry(config, "clusters", str(chosen.get("cluster", "")), path=path)
    user = _entry(config, "users", str(chosen.get("user", "")), path=path)
    if not cluster.get("server"):
        raise InvalidArgumentError(f"the cluster of context {name} in {path} has no server")
    warning = ""
    method = next((each for each in METHODS if each in user), "")
    if method:
        whose = f"the user of context {name} in {path} authenticates with {method}"
        try:
            credential = issue(config, context=name, path=path)
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"{whose}: {error.message}") from error
        warning = _doubt(credential.end, whose, now=now, short_lived=short_lived)
        user = credential.user
    inline = {"cluster": _inlined(cluster, path), "user": _inlined(user, path)}
    document = to_yaml(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "clusters": [{"name": name, "cluster": inline["cluster"]}],
            "users": [{"name": name, "user": inline["user"]}],
        }
    ).encode()
    return ReducedKubeconfig(document, warning)


def _doubt(end: float | None, whose: str, *, now: datetime, short_lived: bool) -> str:
    """Return what is to be said of an issued credential. Raises InvalidArgumentError if it ends soon."""
    if end is None:
        return f"{whose}, and the credential does not say when it ends: see `hanse clusters` if it does"
    ends = datetime.fromtimestamp(end, UTC)
    until = f"{ends:%Y-%m-%d %H:%M} UTC"
    if ends <= now:
        raise InvalidArgumentError(f"{whose}, and the credential ended at {until}: log in again")
    if ends >= now + timedelta(days=LASTING_DAYS):
        return ""
    if not short_lived:
        raise InvalidArgumentError(
            f"{whose}, and the credential ends at {until}: the federation cannot have another issued, and "
            "the cluster would be out of reach after that. Give a kubeconfig with a token that lasts or a "
            "client certificate, have a ServiceAccount made whose token the federation renews, with "
            "--service-account, or take this one until then with --short-lived"
        )
    return (
        f"{whose}: the cluster is out of reach after {until} unless `hanse update-credentials` gives another"
    )


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
    """Return a file named in a kubeconfig; relative names are relative to it."""
    try:
        return (kubeconfig.parent / name).read_bytes()
    except OSError as error:
        raise InvalidArgumentError(
            f"cannot read {name}, which {kubeconfig} names: {error.strerror}"
        ) from error
