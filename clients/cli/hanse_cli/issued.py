"""Credentials that a kubeconfig does not hold but has issued: by exec plugins and auth-providers (OIDC).

Owns the use of the official Kubernetes client, which runs plugins and refreshes tokens as kubectl does, on
the machine of the person who joins a cluster. It is an extra of the package, `hanse[kubeconfig]`, since it is
larger than all of Hanse, and is loaded for such kubeconfigs only.

An OIDC provider may take the old refresh token out of use, so new ones are written to the kubeconfig. A
provider without a certificate authority of its own is verified by those of the system.

Concurrency: one call at a time; it runs commands and makes requests. Next: `hanse_cli.kubeconfig`.
"""

from __future__ import annotations

import base64
import copy
import logging
import os
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hanse.documents import to_yaml
from hanse.errors import InvalidArgumentError
from hanse.security.lifetimes import end_of_token, ends_of

METHODS: Final = ("exec", "auth-provider")
"""Fields of a kubeconfig's user that have a credential issued."""
_TOKENS: Final = ("id-token", "refresh-token")
"""What an OIDC provider replaces."""


@dataclass(frozen=True, slots=True)
class IssuedCredential:
    """A user of a kubeconfig with the credential inline. It ends at `end` (seconds since the epoch), None if
    it does not say."""

    user: dict[str, Any]
    end: float | None


def issue(document: Mapping[str, Any], *, context: str, path: Path) -> IssuedCredential:
    """Have the credential of the user of a context issued. `path` is that of the kubeconfig `document`.

    Raises InvalidArgumentError that says why there is none.
    """
    try:
        from kubernetes.client import Configuration
        from kubernetes.config.kube_config import KubeConfigLoader
    except ImportError as error:
        raise InvalidArgumentError(
            "this needs the official Kubernetes client: pip install 'hanse[kubeconfig]'"
        ) from error
    config = copy.deepcopy(dict(document))
    provider = _provider_of(config, context)
    if authority := str(provider.get("idp-certificate-authority") or ""):
        provider["idp-certificate-authority"] = str(path.parent / authority)
    elif "idp-issuer-url" in provider and not provider.get("idp-certificate-authority-data"):
        provider["idp-certificate-authority"] = _system_authorities()
    made = Configuration()
    with _what_is_logged() as logged:
        try:
            loader = KubeConfigLoader(
                config,
                active_context=context,
                config_base_path=str(path.parent.absolute()),
                config_persister=lambda: _keep_tokens(document, provider, context=context, path=path),
            )
            loader.load_and_set(made)
        except Exception as error:
            raise InvalidArgumentError(_one_line(f"{type(error).__name__}: {error}")) from error
    expiry = getattr(loader, "expiry", None)
    said = [expiry.timestamp()] if expiry is not None else []
    token = str(made.api_key.get("BearerToken") or "").removeprefix("Bearer ")
    if token:
        end = end_of_token(token)
        return IssuedCredential(
            {"token": token}, min([*said, *([end] if end is not None else [])], default=None)
        )
    if logged or not made.cert_file or not made.key_file:
        raise InvalidArgumentError(_one_line("; ".join(logged) or "it gave no credential"))
    certificate, key = Path(made.cert_file).read_bytes(), Path(made.key_file).read_bytes()
    user = {
        "client-certificate-data": base64.b64encode(certificate).decode(),
        "client-key-data": base64.b64encode(key).decode(),
    }
    return IssuedCredential(user, min([*said, *ends_of(certificate.decode(errors="replace"))], default=None))


def _provider_of(document: Mapping[str, Any], context: str) -> dict[str, Any]:
    """Return the configuration of the auth-provider of a context's user, to be changed in place."""
    chosen = _named(document, "contexts", context).get("context") or {}
    user = _named(document, "users", str(chosen.get("user") or "")).get("user") or {}
    provider = user.get("auth-provider") or {}
    found: dict[str, Any] = provider.get("config") or {}
    return found


def _named(document: Mapping[str, Any], kind: str, name: str) -> Mapping[str, Any]:
    entries = [entry for entry in document.get(kind) or () if isinstance(entry, dict)]
    return next((entry for entry in entries if entry.get("name") == name), {})


def _keep_tokens(
    document: Mapping[str, Any], provider: Mapping[str, Any], *, context: str, path: Path
) -> None:
    """Write the tokens that a provider has replaced into the kubeconfig, whole or not at all."""
    changed = copy.deepcopy(dict(document))
    _provider_of(changed, context).update({name: provider[name] for name in _TOKENS if name in provider})
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        file.write(to_yaml(changed).encode())
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).replace(path)


def _system_authorities() -> str:
    """Return the file with the authorities that this machine trusts: the client verifies by a file only."""
    paths = ssl.get_default_verify_paths()
    if paths.cafile:
        return paths.cafile
    import certifi  # comes with the official client

    return str(certifi.where())


@contextmanager
def _what_is_logged() -> Iterator[list[str]]:
    """Collect what the client logs as errors: that is how it tells why a plugin gave no credential."""
    found: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    root, collector = logging.getLogger(), Collector(logging.ERROR)
    root.addHandler(collector)
    try:
        yield found
    finally:
        root.removeHandler(collector)


def _one_line(text: str) -> str:
    return " ".join(text.split())[:500]
