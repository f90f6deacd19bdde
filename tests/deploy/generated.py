"""Manifests that follow from the code: `python -m tests.deploy.generated` writes them, a test compares.

Certificates for cert-manager, from what `python -m hanse.installation` issues itself; and the PrometheusRule,
from the alert rules. Pure, but for that.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from hanse.documents import to_yaml
from hanse.installation import Certificate, certificates

ROOT = Path(__file__).resolve().parents[2]
K8S = ROOT / "deploy" / "k8s"
CERTIFICATES = K8S / "components" / "cert-manager" / "certificates.yaml"
ALERTS = ROOT / "deploy" / "observability" / "alerts.yaml"
RULES = K8S / "components" / "monitoring" / "rules.yaml"
_HEAD = "# Written by `python -m tests.deploy.generated`"
NAMESPACE = "hanse"


def _certificate(wanted: Certificate) -> dict[str, Any]:
    authority = "hanse-etcd-ca" if wanted.etcd else "hanse-ca"
    spec: dict[str, Any] = {"secretName": wanted.name, "commonName": wanted.common_name}
    if wanted.organizations:
        spec["subject"] = {"organizations": list(wanted.organizations)}
    if wanted.dns_names:
        spec["dnsNames"] = list(wanted.dns_names)
    spec |= {
        "duration": "2160h",
        "renewBefore": "720h",
        "usages": ["digital signature", "server auth", "client auth"],
        "privateKey": {"algorithm": "ECDSA", "size": 256, "encoding": "PKCS8", "rotationPolicy": "Always"},
        "issuerRef": {"group": "cert-manager.io", "kind": "Issuer", "name": authority},
    }
    return {
        "apiVersion": "cert-manager.io/v1",
        "kind": "Certificate",
        "metadata": {"name": wanted.name, "namespace": NAMESPACE},
        "spec": spec,
    }


def certificates_text() -> str:
    """deploy/k8s/components/cert-manager/certificates.yaml."""
    documents = [to_yaml(_certificate(each)) for each in certificates(NAMESPACE)]
    return f"{_HEAD}: the same certificates as `python -m hanse.installation` issues.\n" + "---\n".join(
        documents
    )


def rules_text() -> str:
    """deploy/k8s/components/monitoring/rules.yaml."""
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "hanse", "namespace": NAMESPACE},
        "spec": yaml.safe_load(ALERTS.read_text()),
    }
    return f"{_HEAD} from deploy/observability/alerts.yaml.\n{to_yaml(rule)}"


WRITTEN = {CERTIFICATES: certificates_text, RULES: rules_text}
"""Files, and what they are to hold."""

if __name__ == "__main__":
    for path, text in WRITTEN.items():
        path.write_text(text())
