"""Contexts of the kubeconfig: the host cluster's, which must be there, and the federation's, written here.

Owns which context is the federation's own: one whose cluster has its authority. Reading and writing is
kubectl's, which joins the files of $KUBECONFIG and locks them. Beside the keys there is the configuration of
`hanse`, which reaches the services through the host cluster.

Next: `hanse_install.checks`.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from hanse.errors import ConfigError, FailedPreconditionError, HanseError
from hanse.security.auth import server_name
from hanse.security.subject import certificates_of
from hanse_install.keys import digest
from hanse_install.kubectl import Kubectl

Config = Mapping[str, Any]
CLIENT = "client.toml"


def read(kubectl: Kubectl) -> Config:
    """Return the kubeconfig, all files of it as one. Raises ConfigError for one that kubectl cannot read."""
    if kubectl.kubeconfig and not Path(kubectl.kubeconfig).is_file():
        raise ConfigError(
            f"there is no kubeconfig {kubectl.kubeconfig}: name one that is there with --kubeconfig"
        )
    try:
        found: Config = json.loads(kubectl.to("").run("config", "view", "--raw", "-o", "json"))
    except HanseError as error:
        raise ConfigError(
            f"the kubeconfig cannot be read: mend it, or name another with --kubeconfig ({error.message})"
        ) from error
    return found


def check_host(config: Config, context: str) -> None:
    """Raise ConfigError unless there is such a context."""
    known = ", ".join(str(each["name"]) for each in config.get("contexts") or ()) or "none"
    if not context:
        raise ConfigError(
            f"--host-cluster-context is missing: name one of the kubeconfig's contexts: {known}"
        )
    if _entry(config, "contexts", context) is None:
        raise ConfigError(f"the kubeconfig has no context {context}: it has {known}")


def _entry(config: Config, kind: str, name: str) -> Mapping[str, Any] | None:
    for each in config.get(kind) or ():
        if each.get("name") == name:
            found: Mapping[str, Any] = each.get(kind.removesuffix("s")) or {}
            return found
    return None


def authority_of(config: Config, context: str) -> bytes:
    """Return the authority (PEM) of a context's cluster; empty if it has none, or there is no such
    context.
    """
    entry = _entry(config, "contexts", context)
    cluster = _entry(config, "clusters", str(entry.get("cluster", ""))) if entry else None
    if not cluster:
        return b""
    with contextlib.suppress(ValueError, OSError):
        if data := cluster.get("certificate-authority-data"):
            return base64.b64decode(data)
        if path := cluster.get("certificate-authority"):
            return Path(path).read_bytes()
    return b""


def check_free(config: Config, federation: str, known: Collection[str]) -> None:
    """Raise FailedPreconditionError if the name means something else in the kubeconfig. `known` are the
    digests of the federation's authorities, empty if it has none yet."""
    taken = any(_entry(config, kind, federation) is not None for kind in ("contexts", "clusters", "users"))
    ours = any(digest(each) in known for each in certificates_of(authority_of(config, federation)))
    if taken and not ours:
        raise FailedPreconditionError(
            f"the kubeconfig has a context, cluster or user {federation} that is not this federation's: "
            "rename it (kubectl config rename-context), choose another name, or give another file with "
            "--kubeconfig"
        )


def write(kubectl: Kubectl, federation: str, *, server: str, directory: Path) -> None:
    """Write cluster, user and context of the federation, with the administrator's certificate inside."""
    config = kubectl.to("")
    config.run(
        "config",
        "set-cluster",
        federation,
        f"--server={server}",
        f"--tls-server-name={server_name('apiserver')}",
        f"--certificate-authority={directory / 'ca.crt'}",
        "--embed-certs=true",
    )
    config.run(
        "config",
        "set-credentials",
        federation,
        f"--client-certificate={directory / 'admin.crt'}",
        f"--client-key={directory / 'admin.key'}",
        "--embed-certs=true",
    )
    config.run("config", "set-context", federation, f"--cluster={federation}", f"--user={federation}")


def remove(kubectl: Kubectl, federation: str) -> None:
    """Take cluster, user and context of the federation out; what is not there stays so."""
    for what in ("delete-context", "delete-cluster", "delete-user"):
        with contextlib.suppress(HanseError):
            kubectl.to("").run("config", what, federation)


def write_client(kubectl: Kubectl, directory: Path, *, namespace: str) -> Path:
    """Write the configuration of `hanse` beside the keys, and return its path."""
    host = {"namespace": namespace, "context": kubectl.context}
    if kubectl.kubeconfig:
        host["kubeconfig"] = str(Path(kubectl.kubeconfig).absolute())
    lines = ['ca = "ca.crt"', 'cert = "admin.crt"', 'key = "admin.key"', "", "[host_cluster]"]
    # Strings of JSON are strings of TOML.
    lines += [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in host.items()]
    path = directory / CLIENT
    path.write_text("\n".join(lines) + "\n")
    return path


def remove_client(directory: Path) -> None:
    """Remove it, if it is there."""
    (directory / CLIENT).unlink(missing_ok=True)
