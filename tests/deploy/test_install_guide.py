"""What docs/install.md tells people to write and to run does what it says, as far as no cluster is needed.

tests/real does the rest. Next: `tests.deploy.guide`.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hanse_apiserver.settings import ApiserverSettings
from hanse_client.config import ClientConfig
from hanse_client.forwarding import HostCluster
from hanse_dns.settings import DnsSettings

from hanse.installation import main
from hanse.kube.client.access import ClusterAccess
from hanse.security.auth import server_name
from tests.deploy.generated import K8S
from tests.deploy.guide import GUIDE, block, blocks
from tests.deploy.manifests import (
    COMPONENTS,
    OVERLAYS,
    WORKLOADS,
    Manifest,
    container,
    environment,
    named,
    needs_kubectl,
    of_kind,
)

EXAMPLES = blocks("yaml", with_text="kind: Kustomization")


def built(folder: Path, example: str) -> list[Manifest]:
    """What kubectl makes of a user's overlay, in a folder beside a checkout."""
    shutil.copytree(K8S, folder / "hanse" / "deploy" / "k8s")
    (folder / "site").mkdir()
    (folder / "site" / "kustomization.yaml").write_text(example)
    result = subprocess.run(
        ["kubectl", "kustomize", folder / "site"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
    return list(yaml.safe_load_all(result.stdout))


@needs_kubectl
@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_overlays_in_the_guide_can_be_built(tmp_path: Path, number: int) -> None:
    """Each example is a whole overlay, whose image is that of the user where it names one."""
    example: dict[str, Any] = yaml.safe_load(EXAMPLES[number])
    manifests = built(tmp_path, EXAMPLES[number])
    images = {container(each)["image"] for each in of_kind(manifests, *WORKLOADS)}
    assert ("registry.example.org/hanse:0.1.0" in images) == ("images" in example)
    assert "hanse:placeholder" not in images or "images" not in example


@needs_kubectl
def test_what_the_first_example_sets_reaches_the_services(tmp_path: Path) -> None:
    """Name, suffix and settings of services are those of the user's overlay."""
    manifests = built(tmp_path, EXAMPLES[0])
    given = environment(manifests, named(manifests, "Deployment", "hanse-apiserver"))
    apiserver = ApiserverSettings.load([], given)
    assert (apiserver.federation_name, apiserver.dns_suffix) == ("shops", "federation.example.org")
    assert apiserver.advertise_address == "api.example.org:443"
    names = DnsSettings.load([], environment(manifests, named(manifests, "Deployment", "hanse-dns")))
    assert (names.federation_name, names.address) == ("shops", "192.0.2.53")


@needs_kubectl
def test_the_deny_list_of_the_guide_is_mounted(tmp_path: Path) -> None:
    """The example replaces the ConfigMap that services follow."""
    (example,) = (each for each in EXAMPLES if "hanse-deny-list" in each)
    manifests = built(tmp_path, example)
    assert named(manifests, "ConfigMap", "hanse-deny-list")["data"] == {"denied": "name:eve"}


@needs_kubectl
def test_the_commands_for_a_kubeconfig_make_one(tmp_path: Path) -> None:
    """kubectl expects the apiserver's name, whatever the address, and shows the user's certificate."""
    assert main(["--directory", str(tmp_path / "hanse-pki")]) == 0
    script = block("sh", "kubectl config use-context hanse\n").replace("kubectl get clusters\n", "")
    environ = {**os.environ, "PWD": str(tmp_path)}
    subprocess.run(["sh", "-ec", script], cwd=tmp_path, env=environ, check=True, timeout=60)
    access = ClusterAccess.from_kubeconfig(tmp_path / "hanse.kubeconfig")
    assert access.server == "https://api.example.org"
    assert access.tls_server_name == server_name("apiserver")
    assert access.client_cert_pem == (tmp_path / "hanse-pki" / "admin.crt").read_bytes()
    assert access.ssl_context() is not None


def test_the_configuration_of_the_client_is_one(tmp_path: Path) -> None:
    """client.toml of the guide has the administrator's certificate, and says where the services are."""
    assert main(["--directory", str(tmp_path / "hanse-pki")]) == 0
    (tmp_path / "client.toml").write_text(block("toml", "[host_cluster]"))
    config = ClientConfig.load(tmp_path / "client.toml")
    assert config.tls is not None
    assert all(path.is_file() for path in (config.tls.ca, config.tls.cert, config.tls.key))
    assert config.host_cluster == HostCluster(namespace="hanse", context="rivendell")


def test_commands_that_issue_run_as_they_are_written(tmp_path: Path) -> None:
    """Each call of `python -m hanse.installation` in the guide writes manifests, one after the other."""
    lines = [line for each in blocks("sh") for line in each.splitlines() if "hanse.installation" in line]
    assert len(lines) == 5
    for line in lines:
        words = shlex.split(line.partition("|")[0])
        assert words[0] == "python"
        result = subprocess.run(
            [sys.executable, *words[1:]], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
        )
        assert {each["kind"] for each in yaml.safe_load_all(result.stdout)} == {"Secret"}


def test_what_there_is_to_choose_is_listed() -> None:
    """The tables of the guide have each overlay and each component."""
    text = GUIDE.read_text()
    assert all(f"| `deploy/k8s/overlays/{each}` |" in text for each in OVERLAYS)
    assert all(f"| `deploy/k8s/components/{each}` |" in text for each in COMPONENTS)
