"""Keys are rotated while a federation runs: nothing is sealed with the old ones, and members see nothing."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.harness import Federation, Simulated, until
from tests.system.manifests import metadata

NS = "keys"


@pytest.fixture
def alone(kubectl: str, tmp_path: Path) -> Iterator[Federation]:
    """A federation of this test's own, with one member."""
    with Federation(tmp_path / "data", members=Simulated(1)) as running:
        yield running


def ids(path: Path) -> list[str]:
    """The ids of a key file."""
    return [line.partition(":")[0] for line in path.read_text().splitlines()]


def test_keys_are_rotated_without_a_restart(alone: Federation) -> None:
    """A ring that cannot be used is told by `hanse status`, and changes nothing."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NS}}
    secrets = [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata(f"s{number}", NS),
            "data": {"password": base64.b64encode(b"correct horse %d" % number).decode()},
        }
        for number in range(20)
    ]
    alone.apply(namespace, *secrets)
    (member,) = alone.each.values()
    until(lambda: len(member.names("secrets", NS)) == 20, what="the Secrets are in the member", seconds=60)
    before = {item["metadata"]["name"]: item["metadata"] for item in member.list("secrets", NS)}
    pids = {name: alone.pid(name) for name in ("apiserver", "registry", "syncer")}
    files = {name: alone.data_dir / "pki" / f"{name}.key" for name in ("credentials", "secrets")}
    old = {name: ids(path) for name, path in files.items()}

    alone.hanse("keys", "rotate")
    for name, path in files.items():
        assert len(ids(path)) == 2
        assert ids(path)[1:] == old[name]
    said = alone.hanse("keys", "status")
    assert said.count("may go") == 2
    assert f"{ids(files['secrets'])[0]:<24} {20:>8} sealed  seals" in said
    alone.hanse("keys", "prune")
    for name, path in files.items():
        assert len(ids(path)) == 1
        assert ids(path) != old[name]

    assert {name: alone.pid(name) for name in pids} == pids, "nothing was started again"
    found = {item["metadata"]["name"]: item["metadata"] for item in member.list("secrets", NS)}
    assert found == before, "nothing was written in the member"
    data = alone.api.get("secrets", NS, "s7")["data"]
    assert base64.b64decode(data["password"]) == b"correct horse 7"
    alone.api.merge("secrets", NS, "s7", {"stringData": {"password": "new"}})
    until(
        lambda: member.get("secrets", NS, "s7")["data"]["password"] == base64.b64encode(b"new").decode(),
        what="a changed Secret arrives",
        seconds=30,
    )

    content = files["secrets"].read_bytes()
    files["secrets"].write_bytes(content[:-20])

    def told() -> bool:
        done = alone.run(["hanse", "status"], check=False)
        return done.status == 8 and str(files["secrets"]) in done.out

    until(told, what="the status names the file", seconds=30)
    assert base64.b64decode(alone.api.get("secrets", NS, "s7")["data"]["password"]) == b"new"
    files["secrets"].write_bytes(content)
    until(
        lambda: alone.run(["hanse", "status"], check=False).status == 0, what="all is well again", seconds=30
    )
