"""The supervisor goes on supervising when nothing can be written, says so, and writes later."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hanse_local import commands
from hanse_local.keys.certificates import Certificates
from hanse_local.layout import DataDir
from hanse_local.options import UpOptions
from hanse_local.ports import Claims
from hanse_local.supervise import background, process
from hanse_local.supervise import host as host_module
from hanse_local.supervise.files import OwnFiles
from hanse_local.supervise.host import Host
from hanse_local.supervise.process import ProcessState
from hanse_local.supervise.readiness import EtcdHealth, ReadyFile
from hanse_local.supervise.supervisor import StartError, Supervisor
from hanse_local.verdict import problems

from hanse.process.health import Health, HealthServer
from hanse.security.pki import CertificateAuthority, KeyPair, write_private
from tests.local.fakes import Fakes
from tests.local.test_host import Etcd, planner_of
from tests.support.waiting import until

REASONS = [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EMFILE]


class Disk:
    """Writes files, unless it is full."""

    def __init__(self) -> None:
        self.full = 0

    def write(self, path: Path, content: bytes) -> None:
        if self.full:
            raise OSError(self.full, os.strerror(self.full))
        write_private(path, content)


@pytest.fixture
def disk() -> Disk:
    """A disk that is not full yet."""
    return Disk()


@pytest.mark.parametrize("reason", REASONS)
def test_what_cannot_be_written_is_said_and_written_later(disk: Disk, tmp_path: Path, reason: int) -> None:
    """A failed write raises nothing; the newest content is written once that is possible."""
    files = OwnFiles(write=disk.write)
    path = tmp_path / "state"
    assert files.write(path, b"1")
    disk.full = reason
    assert not files.write(path, b"2")
    assert not files.write(path, b"3")
    assert path.read_bytes() == b"1"
    assert files.problems() == [
        f"cannot write {path}: {os.strerror(reason)}; it is tried again every 5 s",
    ]
    files.retry()
    assert len(files.problems()) == 1
    disk.full = 0
    files.retry()
    assert path.read_bytes() == b"3"
    assert not files.problems()


@pytest.mark.parametrize("reason", REASONS)
async def test_processes_are_started_again_while_nothing_can_be_written(
    fakes: Fakes, disk: Disk, tmp_path: Path, reason: int
) -> None:
    """A failed write of the record ends no supervision: what dies is started again, and its state is true."""
    files = OwnFiles(write=disk.write)
    record = tmp_path / "processes"
    async with Supervisor([fakes.spec("db")], record=record, files=files) as supervisor:
        await supervisor.start(timeout=20)
        db = supervisor.process("db")
        disk.full = reason
        for _ in range(2):
            first = db.identity
            assert first is not None
            os.kill(first.pid, signal.SIGKILL)
            await until(lambda: db.state is ProcessState.READY and db.identity != first)  # noqa: B023
        assert files.problems()
        disk.full = 0
        files.retry()
        assert db.identity is not None
        assert json.loads(record.read_text())["db"]["pid"] == db.identity.pid


async def test_a_process_whose_log_cannot_be_opened_runs_without(fakes: Fakes, tmp_path: Path) -> None:
    """No log is no reason not to run; the status says so."""
    spec = replace(fakes.spec("db"), log=tmp_path / "none" / "db.log")
    async with Supervisor([spec], record=tmp_path / "processes") as supervisor:
        await supervisor.start(timeout=20)
        (described,) = supervisor.describe()
        assert described["state"] == "ready"
        assert "cannot be opened: No such file" in described["problem"]
        snapshot = {"phase": "ready", "processes": [described]}
        assert "cannot be opened" in problems(snapshot, now=described["since"])[0]


async def test_a_process_that_cannot_be_spawned_is_tried_again(
    fakes: Fakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No descriptors or no memory left: the supervisor waits and tries again."""
    spawn, refuse = asyncio.create_subprocess_exec, True

    async def sometimes(*arguments: Any, **options: Any) -> Any:
        if refuse:
            raise OSError(errno.EMFILE, "Too many open files")
        return await spawn(*arguments, **options)

    async with Supervisor([fakes.spec("db")], record=tmp_path / "processes") as supervisor:
        refuse = False
        monkeypatch.setattr(asyncio, "create_subprocess_exec", sometimes)
        await supervisor.start(timeout=20)
        db = supervisor.process("db")
        refuse = True
        assert db.identity is not None
        os.kill(db.identity.pid, signal.SIGKILL)
        await until(lambda: "Too many open files" in db.problem)
        (described,) = supervisor.describe()
        assert described["state"] == "restarting"
        refuse = False
        await until(lambda: db.state is ProcessState.READY)
        assert not db.problem


async def test_a_start_that_can_spawn_nothing_fails_with_the_reason(
    fakes: Fakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting for a process that was never there has an end."""

    async def never(*_: Any, **__: Any) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    async with Supervisor([fakes.spec("db")], record=tmp_path / "processes") as supervisor:
        monkeypatch.setattr(asyncio, "create_subprocess_exec", never)
        with pytest.raises(StartError, match=r"db cannot be started: .*Too many open files"):
            await supervisor.start(timeout=20)


async def test_a_listener_that_fails_ends_nothing(fakes: Fakes, tmp_path: Path) -> None:
    """Who is told of changes may fail, such as a terminal that is redirected to a full disk."""

    def fail() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with Supervisor([fakes.spec("db")], record=tmp_path / "processes", on_change=fail) as supervisor:
        await supervisor.start(timeout=20)
        assert supervisor.process("db").state is ProcessState.READY


async def test_a_federation_outlives_a_full_disk(fakes: Fakes, disk: Disk, tmp_path: Path) -> None:
    """Full after the start: what dies is started again, `hanse status` says what is wrong and exits with 8;
    when there is room again it says 0, and what was to be written is there."""
    data = DataDir.at(tmp_path / "data")
    files = OwnFiles(write=disk.write, retry_seconds=0.1)
    host = Host(data, UpOptions(), planner=planner_of(fakes), identify=Etcd().read_id, files=files)
    task = asyncio.create_task(host.run())
    try:
        await until(lambda: task.done() or host.snapshot()["phase"] == "ready")
        assert (await asyncio.to_thread(status, data)).exit_code == 0
        disk.full = errno.ENOSPC
        pid = pid_of(host, "etcd")
        os.kill(pid, signal.SIGKILL)
        await until(lambda: pid_of(host, "etcd") not in {pid, None} and ready(host, "etcd"))
        result = await asyncio.to_thread(status, data)
        assert result.exit_code == commands.NOT_WELL
        assert f"cannot write {data.processes}: No space left on device" in result.output
        assert "degraded in" in result.output
        disk.full = 0
        await until(lambda: not host.snapshot()["problems"])
        assert (await asyncio.to_thread(status, data)).exit_code == 0
        assert json.loads(data.processes.read_text())["etcd"]["pid"] == pid_of(host, "etcd")
    finally:
        await asyncio.to_thread(background.stop, data)
        await task


async def test_a_federation_comes_up_though_its_state_cannot_be_written(
    fakes: Fakes, disk: Disk, tmp_path: Path
) -> None:
    """Full during the start, after the plan was made: it comes up, and remembers once it can."""
    data = DataDir.at(tmp_path / "data")
    files = OwnFiles(write=disk.write, retry_seconds=0.1)
    plan = planner_of(fakes)

    def then_full(data: DataDir, options: UpOptions, claims: Claims) -> Any:
        made = plan(data, options, claims)
        disk.full = errno.ENOSPC
        return made

    host = Host(data, UpOptions(), planner=then_full, identify=Etcd().read_id, files=files)
    task = asyncio.create_task(host.run())
    try:
        await until(lambda: task.done() or host.snapshot()["phase"] == "ready")
        assert not json.loads(data.state.read_text())["founded"]
        disk.full = 0
        await until(lambda: bool(json.loads(data.state.read_text())["founded"]))
        assert json.loads(data.state.read_text())["federation_id"] == "first"
        assert data.kubeconfig.exists()
    finally:
        await asyncio.to_thread(background.stop, data)
        await task


def status(data: DataDir) -> Any:
    """What `hanse status` says."""
    return CliRunner().invoke(commands.status, ["--data-dir", str(data.root)])


def pid_of(host: Host, name: str) -> Any:
    """The pid of a process now."""
    return next(each["pid"] for each in host.snapshot()["processes"] if each["name"] == name)


def ready(host: Host, name: str) -> bool:
    """Whether a process is ready now."""
    states = {each["name"]: str(each["state"]) for each in host.snapshot()["processes"]}
    return states[name] == "ready"


def described(**values: Any) -> dict[str, Any]:
    """A process that is well, but for `values`."""
    well = {
        "name": "etcd", "state": "ready", "wanted": True, "alive": True, "pid": 7, "since": 900.0,
        "recent_restarts": 0, "exit_code": None, "last_line": "", "trouble": "", "problem": "",
    }  # fmt: skip
    return well | values


@pytest.mark.parametrize(
    ("values", "phase", "expected"),
    [
        ({}, "ready", []),
        (
            {"state": "restarting", "recent_restarts": 7, "exit_code": 1, "last_line": "no space left"},
            "ready",
            ["etcd crash-looping: 7 restarts in 2m, last exit 1: no space left"],
        ),
        (
            {"state": "ready", "since": 990.0, "recent_restarts": 5, "exit_code": 2},
            "starting",
            ["etcd crash-looping: 5 restarts in 2m, last exit 2"],
        ),
        ({"recent_restarts": 7, "exit_code": 1}, "ready", []),
        ({"state": "stopped", "wanted": False, "alive": False, "recent_restarts": 9}, "ready", []),
        (
            {"state": "restarting", "alive": False, "recent_restarts": 1, "exit_code": -9, "last_line": "x"},
            "ready",
            ["etcd is not ready: restarting for 100s, last exit -9: x"],
        ),
        (
            {"state": "restarting", "since": 995.0, "recent_restarts": 1, "exit_code": -9, "last_line": "x"},
            "ready",
            [],
        ),
        (
            {"state": "restarting", "since": 999.0, "alive": False, "problem": "cannot be started: EMFILE"},
            "ready",
            ["etcd is not ready: restarting for 1s: cannot be started: EMFILE"],
        ),
        ({"state": "starting", "since": 930.0}, "ready", ["etcd is not ready: starting for 70s"]),
        ({"state": "starting"}, "starting", []),
        ({"alive": False}, "ready", ["etcd is dead: there is no process 7"]),
        ({"trouble": "a\nb\n"}, "ready", ["etcd: a; b"]),
        ({"problem": "no log"}, "ready", ["etcd: no log"]),
        ({"trouble": "x" * 400}, "ready", [f"etcd: {'x' * 300}..."]),
    ],
)
def test_what_is_wrong_with_a_process(values: dict[str, Any], phase: str, expected: list[str]) -> None:
    """A crash loop, an end, a start that lasts, a dead process and its own complaint each have a sentence."""
    assert problems({"phase": phase, "processes": [described(**values)]}, now=1000.0) == expected


async def test_a_crash_loop_is_told_with_its_last_line(
    fakes: Fakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was up and now ends again and again is named with its exit status and last words."""
    monkeypatch.setattr(process, "LONGEST_PAUSE", 0.2)
    good, bad = fakes.spec("db"), fakes.spec("db", mode="broken")
    async with Supervisor([good], record=tmp_path / "processes") as supervisor:
        await supervisor.start(timeout=20)
        db = supervisor.process("db")
        db.spec = bad
        assert db.identity is not None
        os.kill(db.identity.pid, signal.SIGKILL)

        def told() -> str:
            snapshot: dict[str, Any] = {"phase": "ready", "processes": supervisor.describe()}
            return "".join(problems(snapshot, now=snapshot["processes"][0]["since"]))

        await until(lambda: "restarts in 2m, last exit 7: this is why it fails" in told())


async def test_a_health_page_stands_in_for_a_ready_file(tmp_path: Path) -> None:
    """A process that cannot write its ready file is ready by its health page, if it is that very process;
    what it complains of is its trouble."""
    health = Health()
    async with HealthServer("127.0.0.1:0", health=health) as server:
        readiness = ReadyFile(tmp_path / "none", {"metrics": server.address, "grpc": "127.0.0.1:1"})
        assert await readiness.endpoints(os.getpid()) is None
        health.set("serving", True)
        assert await readiness.endpoints(os.getpid()) == {"metrics": server.address, "grpc": "127.0.0.1:1"}
        assert await readiness.endpoints(os.getpid() + 1) is None
        assert await readiness.trouble({"metrics": server.address}) == ""
        health.set("etcd", False, "gone")
        assert await readiness.trouble({"metrics": server.address}) == "etcd: gone"
    assert "does not answer" in await readiness.trouble({"metrics": server.address})


@pytest.mark.parametrize(
    ("body", "ready", "trouble"),
    [
        ('{"health": "true"}', True, ""),
        ('{"health": "false", "reason": "ALARM NOSPACE"}', False, "STORE_FULL: "),
        ('{"health": "false", "reason": "RAFT NO LEADER"}', False, "RAFT NO LEADER"),
        ("[1]", False, "is not understood"),
        ("<html>", False, "is not understood"),
    ],
)
async def test_the_health_of_an_etcd(body: str, ready: bool, trouble: str) -> None:
    """A full etcd counts as ready where etcd leaves the alarm out, and its trouble names it; nonsense is no
    health."""
    asked: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readline()).decode())
        writer.write(f"HTTP/1.1 200 OK\r\n\r\n{body}".encode())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        readiness = EtcdHealth(server.sockets[0].getsockname()[1], 1)
        assert (await readiness.endpoints(0) is not None) == ready
        assert any("exclude=NOSPACE" in line for line in asked) == ("NOSPACE" in body)
        found = await readiness.trouble({})
        assert trouble in found if trouble else not found


class Room:
    """Lets so many files be written to disk, then none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = -1
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self._write)

    def _write(self, descriptor: int) -> None:
        if not self.left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.left -= 1
        self._fsync(descriptor)


def test_a_disk_that_fills_up_anywhere_leaves_nothing_half_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever file of a first start is the first that does not fit, the next start makes the rest."""
    room = Room(monkeypatch)
    for files in range(100):
        data = DataDir.at(tmp_path / str(files))
        data.create()
        room.left = files
        try:
            Certificates(data).prepare(services=["dns"], clusters=["eu-west"])
        except OSError:
            room.left = -1
            Certificates(data).prepare(services=["dns"], clusters=["eu-west"])
            assert not list(data.root.rglob(".*"))
        else:
            break
        for key in (path for path in data.pki.rglob("*.key") if path.with_suffix(".crt").exists()):
            KeyPair.read(key.parent, key.stem)
    assert files > 10


def test_a_certificate_that_is_not_renewed_for_want_of_room_stays_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old certificate keeps its key until both can be replaced, so a process that starts has a pair."""
    authority = CertificateAuthority.load_or_create(tmp_path)
    authority.issue_local("x", days=0.001).write(tmp_path, "x")
    before = KeyPair.read(tmp_path, "x")
    room = Room(monkeypatch)
    for files in range(3):
        room.left = files
        with pytest.raises(OSError, match="No space"):
            authority.ensure_local(tmp_path, "x", common_name="x")
        assert KeyPair.read(tmp_path, "x") == before
    room.left = -1
    authority.ensure_local(tmp_path, "x", common_name="x")
    assert KeyPair.read(tmp_path, "x") != before


async def test_certificates_that_cannot_be_renewed_end_nothing_and_are_told(
    fakes: Fakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is in the way, a kubeconfig that somebody has changed too."""
    looks = 0

    def fail(_: DataDir) -> None:
        nonlocal looks
        looks += 1
        raise TypeError("'NoneType' object is not subscriptable")

    monkeypatch.setattr(host_module, "RENEW_SECONDS", 0.01)
    monkeypatch.setattr(host_module, "RENEW_AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(host_module, "renew", fail)
    data = DataDir.at(tmp_path / "data")
    host = Host(data, UpOptions(), planner=planner_of(fakes), identify=Etcd().read_id)
    task = asyncio.create_task(host.run())
    await until(lambda: looks > 2)
    assert any("certificates cannot be renewed" in each for each in host.snapshot()["problems"])
    monkeypatch.setattr(host_module, "renew", lambda _: None)
    await until(lambda: not host.snapshot()["unwritten"])
    await asyncio.to_thread(background.stop, data)
    await task
