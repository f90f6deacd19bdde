"""What operators see: one trace per change, metrics, and RPCs that a stock client can list.

Next: `acceptance`.
"""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.system.harness import SERVICES, Federation, until
from tests.system.manifests import deployment, service
from tests.system.suite.base import until_in

RPC_SERVICES = {
    "apiserver": "hanse.api.federation.v1.FederationService",
    "registry": "hanse.api.registry.v1.RegistryService",
    "scheduler": "hanse.api.scheduler.v1.SchedulerService",
    "syncer": "hanse.api.syncer.v1.SyncerService",
    "dns": "hanse.api.dns.v1.DnsService",
}


def spans(federation: Federation) -> list[tuple[str, dict[str, Any]]]:
    """All finished spans of all services, with the service."""
    folder = federation.data_dir.parent / f"{federation.data_dir.name}.traces"
    found: list[tuple[str, dict[str, Any]]] = []
    for service_name in SERVICES:
        path = folder / f"{service_name}.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        found += [(service_name, json.loads(line)) for line in lines]
    return found


class TelemetrySuite:
    """Traces, metrics, reflection."""

    def test_one_trace_follows_a_change_to_the_members_and_the_names(
        self, federation: Federation, ns: str
    ) -> None:
        """A trace that a client starts is continued by apiserver, scheduler, syncer and dns."""
        trace = f"{abs(hash(ns)) % 2**120 + 2**120:032x}"
        path = f"/api/v1/namespaces/{ns}/services"
        federation.api.create("deployments.apps", ns, deployment(ns, "web", 3))
        federation.api.request(
            "POST", path, body=service(ns, "web"), headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
        )
        until_in(federation, ("eu-west", "us-east", "on-prem"), "services", ns, "web")

        def seen() -> set[str]:
            return {name for name, span in spans(federation) if span["trace_id"].removeprefix("0x") == trace}

        until(
            lambda: seen() >= {"apiserver", "scheduler", "syncer", "dns"},
            what="the trace is in all services",
        )

    @pytest.mark.parametrize("name", SERVICES)
    def test_metrics_answer(self, federation: Federation, name: str) -> None:
        """/metrics has the text format of Prometheus, and /healthz says ok."""
        address = federation.endpoint(name, "metrics")
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        assert "# TYPE " in text
        assert "# HELP " in text
        with urllib.request.urlopen(f"http://{address}/healthz", timeout=10) as answer:
            assert answer.status == 200

    @pytest.mark.parametrize("name", SERVICES)
    def test_reflection_lists_and_describes(self, federation: Federation, name: str) -> None:
        """A client that knows no contract lists the services and finds every method's messages."""
        credentials = grpc.ssl_channel_credentials(
            federation.pki("ca.crt").read_bytes(),
            federation.pki("admin.key").read_bytes(),
            federation.pki("admin.crt").read_bytes(),
        )
        with grpc.secure_channel(federation.endpoint(name, "grpc"), credentials) as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            assert {RPC_SERVICES[name], "grpc.health.v1.Health"} <= set(database.get_services())
            described = DescriptorPool(database).FindServiceByName(RPC_SERVICES[name])
            assert described.methods
            assert all(method.input_type.full_name for method in described.methods)

    def test_nobody_gets_in_without_a_certificate(self, federation: Federation) -> None:
        """A gRPC client without a certificate is refused by every service, and so is a REST one."""
        credentials = grpc.ssl_channel_credentials(federation.pki("ca.crt").read_bytes())
        for name in SERVICES:
            address = federation.endpoint(name, "grpc")
            with grpc.secure_channel(address, credentials) as channel, pytest.raises(grpc.RpcError):
                ProtoReflectionDescriptorDatabase(channel).get_services()
        trusting = ssl.create_default_context(cafile=str(federation.pki("ca.crt")))
        url = f"https://{federation.endpoint('apiserver', 'https')}/api/v1/namespaces"
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(url, context=trusting, timeout=10)
        refused.value.close()
        assert refused.value.code == 401

    def test_files_with_keys_are_the_users_alone(self, federation: Federation) -> None:
        """No key or kubeconfig in the data directory can be read by others."""
        files = [
            path
            for path in federation.data_dir.rglob("*")
            if path.suffix in {".key", ".kubeconfig"} or path.name == "kubeconfig"
        ]
        assert files
        assert all(path.stat().st_mode & 0o077 == 0 for path in files)
