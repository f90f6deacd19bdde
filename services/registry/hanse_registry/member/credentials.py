"""Credentials of members: from a kubeconfig to what is stored sealed, and back to how a member is reached.

What comes over the network may name neither files nor commands: reading them here would read the registry's
own. Pure functions. `hanse.security.credentials` seals, `hanse.kube.client.access` reads the kubeconfig.
"""

from __future__ import annotations

import hashlib
from typing import Any

from hanse.api.registry.v1 import cluster_pb2
from hanse.documents import yaml_document
from hanse.errors import InvalidArgumentError
from hanse.kube.client.access import ClusterAccess
from hanse.security.lifetimes import end_of_token, ends_of

FOREIGN = ("client-certificate", "client-key", "tokenFile", "exec", "auth-provider", "certificate-authority")
"""Keys of a kubeconfig that point outside of it."""


def read_kubeconfig(content: bytes, *, context: str) -> ClusterAccess:
    """Return how to reach the cluster of a kubeconfig's context, or of its current one.

    Raises InvalidArgumentError for what is no kubeconfig, or not a self-contained one.
    """
    config = yaml_document(content, what="the kubeconfig")
    if not isinstance(config, dict):
        raise InvalidArgumentError("the kubeconfig is not a YAML mapping")
    for section, item in (("users", "user"), ("clusters", "cluster")):
        for entry in config.get(section) or ():
            found = entry.get(item) if isinstance(entry, dict) else None
            refuse_foreign(found or {}, f"{item} {entry.get('name')!r}" if isinstance(entry, dict) else item)
    return ClusterAccess.from_kubeconfig(config, context=context or None)


def refuse_foreign(section: dict[str, Any], where: str) -> None:
    """Raise InvalidArgumentError if a part of a kubeconfig names a file or a command."""
    for key in FOREIGN:
        if section.get(key):
            raise InvalidArgumentError(
                f"{where} of the kubeconfig has {key}, which only your machine can follow: send what "
                "'kubectl config view --raw --flatten' prints, with a token or a certificate in it",
                reason="KUBECONFIG_NOT_SELF_CONTAINED",
                metadata={"field": key},
            )


def to_message(access: ClusterAccess) -> cluster_pb2.ClusterCredential:
    """Return what is stored."""
    if access.username or access.password:
        raise InvalidArgumentError(
            "the kubeconfig has a user name and password, which Kubernetes takes no more: use a token or a "
            "client certificate"
        )
    return cluster_pb2.ClusterCredential(
        server=access.server,
        ca_pem=access.ca_pem,
        client_certificate_pem=access.client_cert_pem,
        client_key_pem=access.client_key_pem,
        token=access.token,
        tls_server_name=access.tls_server_name,
        insecure_skip_tls_verify=access.insecure,
        proxy_url=access.proxy_url,
        cluster_id=access.cluster_id,
    )


def to_access(message: cluster_pb2.ClusterCredential) -> ClusterAccess:
    """Return how the member is reached."""
    return ClusterAccess(
        server=message.server,
        ca_pem=message.ca_pem,
        client_cert_pem=message.client_certificate_pem,
        client_key_pem=message.client_key_pem,
        token=message.token,
        tls_server_name=message.tls_server_name,
        insecure=message.insecure_skip_tls_verify,
        proxy_url=message.proxy_url,
        cluster_id=message.cluster_id,
    )


def fingerprint(sealed: bytes) -> str:
    """Return what tells two stored credentials apart without saying anything of what is in them."""
    return hashlib.sha256(sealed).hexdigest()[:16]


def end_of(access: ClusterAccess) -> float | None:
    """Return when a credential ends, in seconds since the epoch; None if it lasts, or does not say."""
    ends = ends_of(access.client_cert_pem.decode(errors="replace")) if access.client_cert_pem else []
    end = end_of_token(access.token)
    return min([*ends, *([end] if end is not None else [])], default=None)
