"""One supervisor per data directory, and commands that reach it."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hanse_local import control
from hanse_local.layout import DataDir
from hanse_local.lock import DataDirLock, is_held, read_holder

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
        "from hanse_local.lock import DataDirLock\n"
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
