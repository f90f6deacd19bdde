"""`make docs` writes a reference in which everything is described."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.docs.tables import ROOT


def test_the_reference_is_whole(tmp_path: Path) -> None:
    """It has the client, each service with its methods, and the settings; what has no text is an error."""
    done = subprocess.run(
        [sys.executable, "scripts/docs.py", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    pages = {path.name: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    for service, method in {
        "registry": "RegistryService.JoinCluster",
        "scheduler": "SchedulerService.ExplainPlacement",
        "syncer": "SyncerService.ListSyncStates",
        "dns": "DnsService.ListRecordSets",
        "federation": "FederationService.WatchObjects",
    }.items():
        assert f"### {method}" in pages[f"hanse.api.{service}.v1.md"]
    assert "`leader_ttl`" in pages["settings.md"]
    assert "HanseClient" in pages["hanse_client.html"]
    assert all(name in pages["README.md"] for name in pages if name.startswith("hanse.api."))
