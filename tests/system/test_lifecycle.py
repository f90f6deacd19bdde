"""`hanse up` in the foreground, two federations side by side, and coming back with all data."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hanse_local.etcd import binary as etcd

from tests.docs.tables import ROOT
from tests.system.harness import Federation, Simulated, until
from tests.system.manifests import config_map

pytestmark = pytest.mark.timeout(180)


@contextmanager
def foreground(federation: Federation, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`hanse up` as at a terminal; it is ended in any case."""
    words = ["up", "--clusters", str(federation.members.simulated)]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "hanse_cli.main", *words],
            stdout=out,
            stderr=subprocess.STDOUT,
            env=federation.environ,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def exists(pid: int) -> bool:
    """Whether a process has this pid now."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()


def test_a_second_federation_stands_on_its_own_and_resumes(federation: Federation, tmp_path: Path) -> None:
    """Two federations run side by side and know nothing of each other; Ctrl-C in the foreground stops every
    process; the next `hanse up` has all data, and so have its clusters."""
    second = Federation(tmp_path / "second", members=Simulated(1))
    log = tmp_path / "up.log"
    try:
        with foreground(second, log) as process:

            def is_up() -> bool:
                assert process.poll() is None, log.read_text()
                return "Ctrl-C stops it" in log.read_text()

            until(is_up, what="the federation is up", seconds=90)
            second.write_kubeconfig()
            assert second.endpoint("apiserver", "https") != federation.endpoint("apiserver", "https")
            second.apply(config_map("default", "only-here", color="red"))
            member = second.member("eu-west")
            until(lambda: member.find("configmaps", "default", "only-here"), what="the member has the object")
            copy = member.get("configmaps", "default", "only-here")
            original = second.api.get("configmaps", "default", "only-here")
            assert federation.api.find("configmaps", "default", "only-here") is None
            assert federation.member("eu-west").find("configmaps", "default", "only-here") is None
            names = [each["name"] for each in second.status()["processes"]]
            pids = {name: second.pid(name) for name in names}
            assert len(pids) == 8  # two etcds, five services, one cluster
            second.close()
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0, log.read_text()
            assert not [name for name, pid in pids.items() if exists(pid)]
        assert federation.api.request("GET", "/version")
        second.up()
        assert second.api.get("configmaps", "default", "only-here") == original
        again = second.member("eu-west").get("configmaps", "default", "only-here")
        assert again["metadata"]["uid"] == copy["metadata"]["uid"]
        assert again["metadata"]["resourceVersion"] == copy["metadata"]["resourceVersion"]
    finally:
        second.stop()


def test_a_second_up_on_the_same_directory_is_refused(federation: Federation) -> None:
    """`hanse up` on a data directory that is in use says so in words, and leaves it running."""
    done = federation.run(["hanse", "up", "--detach"], check=False)
    assert done.status == 1
    assert "Traceback" not in done.err
    assert str(federation.data_dir) in done.err.replace("\n", "")
    assert federation.status()["phase"] == "ready"


def guide(heading: str) -> list[str]:
    """The blocks of shell below a heading of the operations guide, for this virtual environment."""
    section = (ROOT / "docs" / "operations.md").read_text().split(f"{heading}\n")[1].split("\n#")[0]
    blocks = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    return [block.replace(".venv/bin/python", sys.executable) for block in blocks]


def test_a_lost_etcd_is_refused_and_restored_as_the_guide_says(kubectl: str, tmp_path: Path) -> None:
    """`hanse up` founds no other federation where one was; with the guide's backup the same goes on."""
    backup, with_key, restore, *_ = guide("### Backup and restore")
    lost = Federation(tmp_path / "hanse", members=Simulated(1))
    packaged = etcd.find(environ={"PATH": ""})  # whose etcdutl can less than that of the others
    lost.environ |= {"HOME": str(tmp_path), "HANSE_ETCD": str(packaged.path)}
    with lost:
        lost.apply(config_map("default", "kept", color="red"))
        original = lost.api.get("configmaps", "default", "kept")
        lost.run(["bash", "-euc", backup], cwd=tmp_path)
        lost.run(["bash", "-euc", with_key], cwd=tmp_path)
        lost.close()
        lost.down()
        shutil.rmtree(lost.data_dir / "etcd")
        refused = lost.run(["hanse", "up", "--detach"], check=False)
        assert refused.status == 1
        assert f"{lost.data_dir / 'etcd'} is empty" in refused.err
        assert refused.err.count("\n") == 1, refused.err
        lost.run(["bash", "-euc", restore], cwd=tmp_path)
        assert lost.api.get("configmaps", "default", "kept") == original


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["explain", "deploy/no-such", "-n", "default"], 4),
        (["explain", "nonsense"], 4),
        (["get", "unicorns"], 4),
        (["sim", "stop", "atlantis"], 1),
        (["join", "x", "--cluster-kubeconfig", "/no/such/file"], 2),
        (["unjoin", "atlantis"], 4),
    ],
)
def test_bad_input_is_one_line(federation: Federation, words: list[str], status: int) -> None:
    """What is wrong is said in one line, with a status of its own; there is never a traceback."""
    done = federation.run(["hanse", *words], check=False)
    assert done.status == status, done.err
    assert "Traceback" not in done.err
    assert re.fullmatch(r"[^\n]+\n", done.err), done.err
