"""Connections to members: from the sealed credential to a client.

Owns the opening of credentials. Next: `hanse.kube.client.client` for the client, `hanse_syncer.member.client`
for requests.
"""

from __future__ import annotations

from hanse.api.registry.v1.cluster_pb2 import ClusterCredential
from hanse.errors import DataLossError
from hanse.kube.client.access import ClusterAccess
from hanse.kube.client.client import KubeClient
from hanse.security.credentials import Sealer
from hanse.store.decoding import decode


def access(cluster: str, sealed: bytes, sealer: Sealer, *, known_id: str = "") -> ClusterAccess:
    """Return the access that the credential of a cluster gives. Raises DataLossError.

    `known_id` is the cluster's id by the registry: it counts where the credential does not have it.
    """
    try:
        credential = decode(ClusterCredential, sealer.open(cluster, sealed))
    except ValueError as error:
        raise DataLossError(
            f"the stored credential of cluster {cluster} cannot be read: {error}; give another by "
            f"`hanse update-credentials {cluster} --kubeconfig FILE`"
        ) from error
    return ClusterAccess(
        server=credential.server,
        ca_pem=credential.ca_pem,
        client_cert_pem=credential.client_certificate_pem,
        client_key_pem=credential.client_key_pem,
        token=credential.token,
        tls_server_name=credential.tls_server_name,
        insecure=credential.insecure_skip_tls_verify,
        proxy_url=credential.proxy_url,
        cluster_id=credential.cluster_id or known_id,
    )


def client(where: ClusterAccess, *, timeout: float, connections: int) -> KubeClient:
    """Return a client that is not connected yet; use it with `async with`."""
    return KubeClient(where, timeout=timeout, connections=connections, retries=0)
