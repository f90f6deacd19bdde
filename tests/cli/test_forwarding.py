"""Services in a host cluster are reached through `kubectl port-forward`, one for each that is called."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hanse_client import HanseClient
from hanse_client.config import ClientConfig
from hanse_client.forwarding import HostCluster

from hanse.api.registry.v1.registry_service_pb2 import ListClustersRequest
from hanse.errors import ConfigError, HanseError
from tests.cli.conftest import Hanse, World

KUBECTL = f"""#!{sys.executable}
import asyncio, os, sys
open(os.environ["CALLS"], "a").write(f"{{os.getpid()}} " + " ".join(sys.argv[1:]) + "\\n")
if os.environ.get("BROKEN"):
    sys.exit("error: " + os.environ["BROKEN"])

async def pipe(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()

async def accepted(reader, writer):
    to, back = await asyncio.open_connection("127.0.0.1", int(os.environ["TARGET"]))
    await asyncio.gather(pipe(reader, back), pipe(to, writer))

async def main():
    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    print("Forwarding from 127.0.0.1:%d -> 7000" % server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


@pytest.fixture
def calls(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kubectl that leads to the served federation; the file has a line for each call."""
    program = tmp_path / "bin/kubectl"
    program.parent.mkdir()
    program.write_text(KUBECTL)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("TARGET", str(world.port))
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    world.config.write_text('[host_cluster]\nnamespace = "east"\ncontext = "rivendell"\n')
    (tmp_path / "calls").touch()
    return tmp_path / "calls"


def called(calls: Path) -> list[str]:
    """The calls so far."""
    return calls.read_text().splitlines()


def test_a_command_forwards_what_it_calls_and_nothing_stays(hanse: Hanse, calls: Path) -> None:
    """With the namespace and the context of the configuration; kubectl has ended when the command has."""
    done = hanse("clusters")
    assert done.status == 0, done.err
    (line,) = calls.read_text().splitlines()
    pid, words = line.split(" ", 1)
    assert words == (
        "--context=rivendell --namespace=east port-forward service/hanse-registry --address=127.0.0.1 :7000"
    )
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, "kubectl runs on"
        time.sleep(0.05)


def test_the_release_of_each_service_is_asked(hanse: Hanse, calls: Path) -> None:
    """Of all five, though no endpoint is configured."""
    done = hanse("version")
    assert done.status == 0, done.err
    assert len(calls.read_text().splitlines()) == 5
    for service in ("registry", "scheduler", "syncer", "dns", "apiserver"):
        assert f"\n{service}: " in done.out


async def test_a_way_that_has_closed_is_opened_again(calls: Path, world: World) -> None:
    """kubectl ends with the Pod to which it led; the next call goes by another."""
    async with HanseClient(ClientConfig.load(world.config)) as client:
        await client.registry.ListClusters(ListClustersRequest())
        first, *_ = called(calls)
        os.kill(int(first.split()[0]), signal.SIGKILL)
        deadline = time.monotonic() + 10
        while len(called(calls)) < 2:
            assert time.monotonic() < deadline
            with suppress(HanseError):
                await client.registry.ListClusters(ListClustersRequest())
            await asyncio.sleep(0.05)
        await client.registry.ListClusters(ListClustersRequest())


def test_the_kubeconfig_is_found_from_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative to it, as certificates are, and with ~ for the home directory."""
    monkeypatch.setenv("HOME", "/home/someone")
    source = tmp_path / "client.toml"
    for given, meant in (("k", str(tmp_path / "k")), ("~/k", "/home/someone/k"), ("/k", "/k"), ("", "")):
        assert HostCluster.of({"kubeconfig": given}, source).kubeconfig == meant


def test_what_kubectl_complains_of_is_said(
    hanse: Hanse, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line, with the service."""
    monkeypatch.setenv("BROKEN", 'services "hanse-registry" not found')
    done = hanse("clusters")
    assert done.status != 0
    assert 'service/hanse-registry cannot be reached: services "hanse-registry" not found' in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_without_kubectl_it_is_said(hanse: Hanse, calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As what is missing."""
    monkeypatch.setenv("PATH", str(calls.parent))
    assert "kubectl is not installed" in hanse("clusters").err


def test_the_one_federation_of_kubefed_init_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its configuration is taken if no other is named; of several one must be."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for variable in ("HANSE_CONFIG", "HANSE_DATA_DIR"):
        monkeypatch.delenv(variable, raising=False)
    for name in ("east", "west"):
        folder = tmp_path / ".hanse/federations" / name
        folder.mkdir(parents=True)
        if name == "east":
            (folder / "client.toml").write_text("[host_cluster]\n")
            assert ClientConfig.find().host_cluster == HostCluster()
    (folder / "client.toml").write_text("[host_cluster]\n")
    with pytest.raises(ConfigError, match=r"several federations, east, west: name the configuration of one"):
        ClientConfig.find()


@pytest.mark.parametrize(
    ("table", "told"),
    [('context = "a"\nmore = "b"', "an unknown key more: remove it"), ("context = 1", "must be a table of")],
)
def test_a_wrong_table_is_refused(tmp_path: Path, table: str, told: str) -> None:
    """By the name of what is wrong, and of the file."""
    path = tmp_path / "client.toml"
    path.write_text(f"[host_cluster]\n{table}\n")
    with pytest.raises(ConfigError, match=told) as refused:
        ClientConfig.load(path)
    assert str(path) in str(refused.value)
