"""The credential of a member is replaced in place, and nothing is restarted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hanse_local.layout import DataDir
from hanse_local.supervise.background import query

from hanse.security.pki import CertificateAuthority, KeyPair
from tests.system.harness import Federation, Standalone, until
from tests.system.keys.test_secrecy import kubeconfig
from tests.system.manifests import config_map

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def members(tmp_path: Path) -> Standalone:
    """Two clusters of others; only the first is joined."""
    folder = tmp_path / "members"
    folder.mkdir()
    return Standalone(folder, 2)


@pytest.fixture
def federation(kubectl: str, tmp_path: Path, members: Standalone) -> Iterator[Federation]:
    """A federation that has eu-west."""
    with Federation(tmp_path / "fed" / "data", members=members) as made:
        made.hanse("unjoin", "us-east")
        yield made


def state(federation: Federation) -> dict[str, Any]:
    """The cluster as `hanse clusters` shows it."""
    (found,) = json.loads(federation.hanse("clusters", "-o", "json"))
    return dict(found)


def pids(federation: Federation) -> dict[str, int]:
    """The processes of the federation."""
    found = query(DataDir.at(federation.data_dir))
    assert found is not None
    return {each["name"]: each["pid"] for each in found["processes"]}


def test_a_credential_is_replaced_in_place(
    federation: Federation, members: Standalone, tmp_path: Path
) -> None:
    """One that has expired, by a new certificate; an address that has changed, by the new one. What waited
    arrives, the object in the member is the same one, and nothing was unjoined or restarted."""
    folder = tmp_path / "members"
    path = folder / "eu-west.kubeconfig"
    document = yaml.safe_load(path.read_text())
    authority = CertificateAuthority.load_or_create(folder / "eu-west")
    member = federation.each["eu-west"]
    federation.apply(config_map("default", "shared", step="one"))
    until(lambda: member.find("configmaps", "default", "shared"), what="it arrives")
    before, running = state(federation), pids(federation)
    first = member.get("configmaps", "default", "shared")

    def certificate(name: str, *groups: str, seconds: float = 3600) -> Path:
        pair = authority.issue(name, organizations=groups, days=seconds / 86400)
        changed = json.loads(json.dumps(document))
        changed["users"][0]["user"] = {}
        (folder / f"{name}.crt").write_bytes(pair.cert_pem)
        (folder / f"{name}.key").write_bytes(pair.key_pem)
        files = {"client-certificate": str(folder / f"{name}.crt"), "client-key": str(folder / f"{name}.key")}
        return kubeconfig(folder / name, changed, **files)

    def put(file: Path, **values: Any) -> Any:
        words = ["hanse", "update-credentials", "eu-west", "--kubeconfig", str(file)]
        return federation.run(words, **values)

    # It expires.
    brief = certificate("brief", "system:masters", seconds=15)
    put(brief)
    over = KeyPair.read(folder, "brief").certificate.not_valid_after_utc
    until(lambda: datetime.now(UTC) > over, what="the certificate's own end", seconds=60)
    until(
        lambda: state(federation)["state"] == "CREDENTIAL_REFUSED", what="the certificate is over", seconds=60
    )
    assert "hanse update-credentials" in federation.hanse("clusters")
    assert "hanse_credential_end_seconds" in metrics(federation)
    federation.apply(config_map("default", "shared", step="two"))

    # What is no better is refused, with the reason, and nothing is changed.
    stored = state(federation)["credentialHash"]
    for file, words in (
        (brief, ""),
        (certificate("nobody"), "lacks the right"),
        (folder / "us-east.kubeconfig", "another cluster is a member as eu-west"),
        (federation.data_dir / "kubeconfig", "API server of a federation"),
        (kubeconfig(folder / "gone", document, server="https://127.0.0.1:1"), "127.0.0.1:1"),
    ):
        refused = put(file, check=False)
        assert refused.status != 0, file
        assert words in refused.err
        assert state(federation)["credentialHash"] == stored

    # A new one.
    assert "is reached at" in put(certificate("new", "system:masters")).out
    assert state(federation)["state"] == "READY"
    until(
        lambda: member.get("configmaps", "default", "shared")["data"] == {"step": "two"},
        what="what waited arrives",
        seconds=20,
    )

    # Another address.
    members.lose(federation, "eu-west")
    old = members._ports.pop("eu-west")
    members.restore(federation, "eu-west")
    federation.close()
    federation.write_kubeconfig()
    shutil.copy(path, folder / "moved")
    put(folder / "moved")
    after = state(federation)
    assert (after["state"], old in after["server"]) == ("READY", False)
    assert after["server"] == yaml.safe_load(path.read_text())["clusters"][0]["cluster"]["server"]
    federation.apply(config_map("default", "shared", step="three"))
    moved = federation.each["eu-west"]
    until(
        lambda: moved.get("configmaps", "default", "shared")["data"] == {"step": "three"},
        what="the member has it at its new address",
        seconds=20,
    )
    last = moved.get("configmaps", "default", "shared")
    assert last["metadata"]["uid"] == first["metadata"]["uid"]
    assert [after[name] for name in ("uid", "clusterId")] == [before[name] for name in ("uid", "clusterId")]
    assert pids(federation) == running


def metrics(federation: Federation) -> str:
    """What the registry shows."""
    found = query(DataDir.at(federation.data_dir))
    assert found is not None
    (where,) = (each["endpoints"]["metrics"] for each in found["processes"] if each["name"] == "registry")
    return str(federation.run(["curl", "-s", f"http://{where}/metrics"]).out)
