"""What a data directory remembers, read and written by another release."""

from __future__ import annotations

import json
from pathlib import Path

from hanse_local.supervise.state import VERSION, DirectoryState


def test_what_a_newer_release_has_remembered_stays(tmp_path: Path) -> None:
    """Of the same version of the file: it is not understood, and written back."""
    path = tmp_path / "state.json"
    DirectoryState(ports={"etcd.peer": 1}, founded=True).save(path)
    plain = json.loads(path.read_text())
    assert "unknown" not in plain
    path.write_text(json.dumps({**plain, "later": {"deep": [1]}}))
    DirectoryState.load(path).with_joined("eu-west").save(path)
    assert json.loads(path.read_text()) == {**plain, "later": {"deep": [1]}, "version": VERSION}
