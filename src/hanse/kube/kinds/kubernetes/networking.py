"""Groups networking.k8s.io and discovery.k8s.io: Ingresses, policies, endpoints.

Pure data. Next: `hanse.kube.kinds.builtin`.
"""

from __future__ import annotations

from typing import Final

from hanse.kube.kinds.kind import Kind

INGRESS_CLASS: Final = Kind("networking.k8s.io", "IngressClass", "ingressclasses", namespaced=False)
INGRESS: Final = Kind(
    "networking.k8s.io", "Ingress", "ingresses", short_names=("ing",), subresources=("status",)
)
IP_ADDRESS: Final = Kind(
    "networking.k8s.io", "IPAddress", "ipaddresses", namespaced=False, short_names=("ip",)
)
NETWORK_POLICY: Final = Kind("networking.k8s.io", "NetworkPolicy", "networkpolicies", short_names=("netpol",))
SERVICE_CIDR: Final = Kind(
    "networking.k8s.io", "ServiceCIDR", "servicecidrs", namespaced=False, subresources=("status",)
)
ENDPOINT_SLICE: Final = Kind("discovery.k8s.io", "EndpointSlice", "endpointslices")

KINDS: Final = (INGRESS_CLASS, INGRESS, IP_ADDRESS, NETWORK_POLICY, SERVICE_CIDR, ENDPOINT_SLICE)
