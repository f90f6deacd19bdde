"""One supervisor per data directory, and commands that reach it."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hanse_local import commands
from hanse_local.layout import DataDir
from hanse_local.options import UpOptions
from hanse_local.supervise import background, control
from hanse_local.supervise.files import OwnFiles
from hanse_local.supervise.host import Host
from hanse_local.supervise.lock import DataDirLock, is_held, read_holder

from hanse.errors import FailedPreconditionError, InvalidArgumentError, UnavailableError


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    """A new data directory."""
    made = DataDir.at(tmp_path / "data")
    made.create()
    return made


def test_a_second_supervisor_is_told_who_holds_the_directory(data: DataDir) -> None:
    """The message names the pid and what to do."""
    with DataDirLock(data) as lock:
        lock.announce(data.run / "control.sock")
        assert is_held(data)
        with pytest.raises(
            FailedPreconditionError, match=rf"already runs in .*pid {os.getpid()}.*hanse down"
        ):
            DataDirLock(data).__enter__()
    assert not is_held(data)
    assert read_holder(data) is None


def test_a_lock_ends_with_its_process(data: DataDir) -> None:
    """A supervisor that was killed does not keep the directory."""
    code = (
        "import os, signal, sys\n"
        "from hanse_local.layout import DataDir\n"
        "from hanse_local.supervise.lock import DataDirLock\n"
        "data = DataDir.at(sys.argv[1])\n"
        "lock = DataDirLock(data).__enter__()\n"
        "lock.announce(data.run / 'control.sock')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(data.root)], check=False)
    assert data.supervisor.exists()  # the record is left behind
    assert read_holder(data) is None
    with DataDirLock(data):
        assert is_held(data)


def test_the_data_directory_is_the_users_alone(data: DataDir) -> None:
    """Keys are in it."""
    assert stat.S_IMODE(data.root.stat().st_mode) == 0o700


async def answer(request: Mapping[str, Any]) -> Mapping[str, Any]:
    """A handler that echoes, or refuses."""
    if request["command"] == "refuse":
        raise InvalidArgumentError("not like this")
    return {"echo": request["value"]}


@pytest.mark.parametrize("deep", [False, True], ids=["short path", "path too long for a socket"])
async def test_a_request_gets_its_answer(tmp_path: Path, deep: bool) -> None:
    """Also where the data directory's path is longer than a socket's may be."""
    folder = tmp_path / ("x" * 120) if deep else tmp_path
    folder.mkdir(exist_ok=True)
    async with control.serve(folder, answer) as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        got = await asyncio.to_thread(control.call, path, {"command": "echo", "value": 7})
        assert got == {"echo": 7}


async def test_a_refusal_is_a_sentence(tmp_path: Path) -> None:
    """The command shows what the supervisor said."""
    async with control.serve(tmp_path, answer) as path:
        with pytest.raises(FailedPreconditionError, match="not like this"):
            await asyncio.to_thread(control.call, path, {"command": "refuse"})


async def test_nonsense_gets_an_answer_and_harms_nothing(tmp_path: Path) -> None:
    """What is not a request is refused; the next request works."""
    async with control.serve(tmp_path, answer) as path:
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"this is no JSON\n")
        assert json.loads(await reader.readline())["ok"] is False
        writer.close()
        got = await asyncio.to_thread(control.call, path, {"command": "echo", "value": 1})
        assert got == {"echo": 1}


def test_nobody_at_the_socket_is_unavailable(tmp_path: Path) -> None:
    """The error names the socket."""
    with pytest.raises(UnavailableError, match="does not answer"):
        control.call(tmp_path / "none.sock", {"command": "status"})


async def test_a_record_that_is_gone_is_written_again(data: DataDir) -> None:
    """Who supervises, and where it listens, is known for as long as the directory is held."""
    files = OwnFiles()
    with DataDirLock(data) as lock:
        lock.announce(data.run / "control.sock", write=files.hold)
        for damage in (data.supervisor.unlink, lambda: data.supervisor.write_text('{"pid": ')):
            damage()
            assert read_holder(data) is None
            files.retry()
            assert read_holder(data) is not None


def test_a_supervisor_that_is_not_known_is_not_taken_for_none(data: DataDir, monkeypatch: Any) -> None:
    """Its processes are left alone: it would start them again. Nobody is told that nothing runs."""
    ended: list[Path] = []
    monkeypatch.setattr(background, "end_leftovers", ended.append)
    with DataDirLock(data):
        for command in ("down", "status"):
            result = CliRunner().invoke(getattr(commands, command), ["--data-dir", str(data.root)])
            assert result.exit_code == 1
            assert "does not say where it listens" in result.stderr
    assert not ended
    assert CliRunner().invoke(commands.down, ["--data-dir", str(data.root)]).exit_code == 0


@pytest.mark.parametrize("reason", [errno.EROFS, errno.EACCES])
def test_a_lock_on_a_disk_that_is_read_only_is_seen(data: DataDir, monkeypatch: Any, reason: int) -> None:
    """`hanse down` waits for the end there too."""
    really = os.open

    def refuse(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if flags & os.O_RDWR:
            raise OSError(reason, os.strerror(reason), str(path))
        return really(path, flags, *rest, **more)

    with DataDirLock(data):
        monkeypatch.setattr(os, "open", refuse)
        assert is_held(data)


def test_a_directory_that_may_not_be_read_is_not_taken_for_an_empty_one(
    data: DataDir, monkeypatch: Any
) -> None:
    """Whether something runs there is not known, and is said so: exit status 1."""

    def refuse(path: Any, *_: Any, **__: Any) -> int:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    for place, name in ((os, "open"), (Path, "read_text")):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, refuse)
            result = CliRunner().invoke(commands.status, ["--data-dir", str(data.root)])
        assert (result.exit_code, "cannot be told whether" in result.stderr) == (1, True)


@pytest.mark.parametrize("detach", [["--detach"], []])
def test_what_the_disk_refuses_is_one_line(data: DataDir, monkeypatch: Any, detach: list[str]) -> None:
    """A start on a full disk says so; nothing of it is a defect."""

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "unlink" if detach else "chmod", refuse)
    result = CliRunner().invoke(commands.up, ["--data-dir", str(data.root), *detach])
    assert result.exit_code in (1, 2)
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert "No space left on device" in line


async def test_a_supervisor_that_cannot_make_its_socket_says_why(data: DataDir, monkeypatch: Any) -> None:
    """Wherever in a start the disk refuses something, one error says what."""

    async def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(asyncio, "start_unix_server", refuse)
    with pytest.raises(FailedPreconditionError, match=r"cannot be brought up: .*No space left on device"):
        await Host(data, UpOptions()).run()


def test_a_lock_that_was_removed_lets_no_second_supervisor_in(data: DataDir) -> None:
    """The first one is still there, and says so again and again; two would end each other's processes."""
    code = (
        "import sys\n"
        "from hanse_local.layout import DataDir\n"
        "from hanse_local.supervise.lock import DataDirLock\n"
        "data = DataDir.at(sys.argv[1])\n"
        "with DataDirLock(data) as lock:\n"
        "    lock.announce(data.run / 'control.sock')\n"
        "    print('holds', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(data.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"holds\n"
        data.lock.unlink()
        assert is_held(data)
        with pytest.raises(FailedPreconditionError, match=rf"already runs in .*pid {first.pid}"):
            DataDirLock(data).__enter__()
        assert is_held(data)
        first.communicate(b"")
    assert not is_held(data)
    with DataDirLock(data):
        pass
