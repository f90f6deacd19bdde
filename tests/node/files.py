"""What the disk of a machine has before its first start: keys, and the configuration of each of its programs.

Pure but for writing files. Next: `tests.node.machine`, which starts it.
"""

from __future__ import annotations

import base64
import json
import secrets
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.real.realcluster.pki import Identity, issue, make_authority, private_pem

ADDRESS, WORLD = "192.168.77.1", "192.168.77.254"
"""The machine's, and that of the network beside it, in which the test and the other member are."""
PODS, SERVICES, DNS = "10.244.0.0/24", "10.96.0.0/16", "10.96.0.10"
API_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")


def write(disk: Path, *, cgroup: str) -> None:
    """Write all of it."""
    disk.mkdir(parents=True)
    _write_keys(disk / "pki")
    texts = {
        "resolv.conf": f"nameserver {WORLD}\n",
        "containerd.toml": _CONTAINERD.format(disk=disk),
        "kubelet.yaml": yaml.safe_dump(_kubelet(disk, cgroup)),
        "proxy.yaml": yaml.safe_dump(_proxy(disk)),
        "cni/10-pods.conflist": json.dumps(_CNI),
    }
    for name, text in texts.items():
        path = disk / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def _write_keys(pki: Path) -> None:
    pki.mkdir()
    authority = make_authority("host-ca")
    serving = issue(
        authority, "kube-apiserver", hosts=API_NAMES, addresses=("127.0.0.1", ADDRESS, "10.96.0.1")
    )
    people = {
        "admin": issue(authority, "host-admin", group="system:masters"),
        "kubelet": issue(authority, "system:node:node-0", group="system:nodes"),
    }
    tokens = ec.generate_private_key(ec.SECP256R1())
    contents = {
        "ca.crt": authority.certificate_pem,
        "ca.key": authority.key_pem,
        "apiserver.crt": serving.certificate_pem,
        "apiserver.key": serving.key_pem,
        "admin.crt": people["admin"].certificate_pem,
        "admin.key": people["admin"].key_pem,
        "sa.key": private_pem(tokens),
        "sa.pub": tokens.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
        **{f"{name}.kubeconfig": _kubeconfig(authority, who) for name, who in people.items()},
    }
    for name, content in contents.items():
        path = pki / name
        path.touch(mode=0o600)
        path.write_bytes(content)


def _kubeconfig(authority: Identity, who: Identity) -> bytes:
    def text(content: bytes) -> str:
        return base64.b64encode(content).decode()

    cluster = {
        "server": f"https://{ADDRESS}:6443",
        "certificate-authority-data": text(authority.certificate_pem),
    }
    user = {
        "client-certificate-data": text(who.certificate_pem),
        "client-key-data": text(who.key_pem),
    }
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "host", "cluster": cluster}],
        "users": [{"name": "host", "user": user}],
        "contexts": [{"name": "host", "context": {"cluster": "host", "user": "host"}}],
        "current-context": "host",
    }
    return yaml.safe_dump(config, sort_keys=False).encode()


_CONTAINERD = """version = 2
disabled_plugins = ["io.containerd.internal.v1.opt"]
root = "{disk}/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{disk}/cni"
"""

# Each Pod has a link of its own to the node, so that all that Pods say to each other passes its firewall.
_CNI = {
    "cniVersion": "0.4.0",
    "name": "pods",
    "plugins": [
        {
            "type": "ptp",
            "ipam": {
                "type": "host-local",
                "dataDir": "/run/cni",
                "ranges": [[{"subnet": PODS}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ],
}


def _kubelet(disk: Path, cgroup: str) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroup}",
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "authentication": {
            "x509": {"clientCAFile": str(disk / "pki/ca.crt")},
            "anonymous": {"enabled": False},
        },
        "resolvConf": str(disk / "resolv.conf"),
        "clusterDNS": [DNS],
        "clusterDomain": "cluster.local",
        # Root may set these limits without CAP_SYS_RESOURCE.
        "maxOpenFiles": 20000,
        "failSwapOn": False,
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "serializeImagePulls": False,
        "syncFrequency": "10s",
    }


def _proxy(disk: Path) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clusterCIDR": PODS,
        "clientConnection": {"kubeconfig": str(disk / "pki/admin.kubeconfig")},
        # These are the whole machine's to set.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "healthzBindAddress": "",
        "metricsBindAddress": "",
    }


def token() -> str:
    """A name that no other run has."""
    return secrets.token_hex(4)
