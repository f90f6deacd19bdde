"""Clients in other languages, generated from the contracts as a user does it, call a service that runs."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from hanse_dns.service import DnsServicer
from hanse_dns.serving.answering import Answering

from hanse.api.dns.v1 import record_set_pb2
from hanse.api.dns.v1.dns_service_pb2_grpc import add_DnsServiceServicer_to_server
from hanse.process.settings import TlsFiles
from hanse.rpc.policy import Policy, group
from hanse.rpc.server import RpcServer
from hanse.security.auth import ADMIN_NAME, ADMINS, service_name
from hanse.security.pki import CertificateAuthority
from hanse.store import MemoryStore, keys

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent / "clients"
NAME = "web.shop.hanse.svc.example.org"
LISTED = f"zones/example.org/recordSets/{NAME} GLOBAL 192.0.2.1"


def run(*command: str | Path, cwd: Path | None = None, path: str = "") -> str:
    """Run a command to its end; return what it says. Raises AssertionError with its errors."""
    environment = {**os.environ, "PATH": f"{path}{os.pathsep}{os.environ['PATH']}"} if path else None
    result = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"
    return result.stdout


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the clients, by language."""
    plugins = run("bash", ROOT / "scripts" / "plugins" / "build.sh").splitlines()[-1]
    folder = tmp_path_factory.mktemp("clients")
    run(sys.executable, ROOT / "scripts" / "gen.py", "--clients", folder, path=plugins)
    return folder


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, TlsFiles]:
    """Certificates of the service and of an administrator."""
    folder, authority = tmp_path_factory.mktemp("pki"), CertificateAuthority.create()
    return {
        name: authority.issue_local(common_name, organizations=groups).write(
            folder, name, ca_pem=authority.ca_pem
        )
        for name, common_name, groups in (("dns", service_name("dns"), ()), ("admin", ADMIN_NAME, (ADMINS,)))
    }


@pytest.fixture
async def address(tls: Mapping[str, TlsFiles]) -> AsyncIterator[str]:
    """The address of a dns service, over mutual TLS, that serves two names."""
    store = MemoryStore()
    for name, scope in ((NAME, record_set_pb2.GLOBAL), (f"eu.{NAME}", record_set_pb2.REGION)):
        record = record_set_pb2.RecordSet(
            name=f"zones/example.org/recordSets/{name}",
            fqdn=f"{name}.",
            ttl=30,
            scope=scope,
            endpoints=[record_set_pb2.Endpoint(address="192.0.2.1", cluster="eu")],
        )
        record.service.name, record.service.namespace = "web", "shop"
        await store.put(keys.record("example.org", name), record.SerializeToString())
    answering = Answering(store, zone="example.org", name_server="ns", address="127.0.0.1", negative_ttl=5)
    async with answering.follower:
        await answering.follower.synced()
        policy = Policy({"hanse.api.dns.v1.DnsService/*": [group(ADMINS)]})
        server = RpcServer(listen="127.0.0.1:0", tls=tls["dns"], policy=policy)
        server.add(add_DnsServiceServicer_to_server, DnsServicer(answering, server="127.0.0.1:53"))
        async with server:
            yield server.address
    await store.close()


async def test_go(generated: Path, tls: Mapping[str, TlsFiles], address: str, tmp_path: Path) -> None:
    """Messages, a call and the details of an error."""
    module = tmp_path / "go"
    shutil.copytree(generated / "go", module)
    for name in ("go.mod", "go.sum"):
        shutil.copy(HERE / "go" / name, module)
    (module / "call").mkdir()
    shutil.copy(HERE / "go" / "main.go", module / "call")
    await asyncio.to_thread(run, "go", "vet", "-mod=readonly", "./...", cwd=module)
    await asyncio.to_thread(run, "go", "build", "-mod=readonly", "-o", "client", "./call", cwd=module)
    assert (await called(tls, address, module / "client")).splitlines() == [
        LISTED,
        "NotFound NOT_FOUND zones/example.com",
    ]


async def test_typescript(generated: Path, tls: Mapping[str, TlsFiles], address: str, tmp_path: Path) -> None:
    """Messages that the compiler of TypeScript takes, a call and an error."""
    project = tmp_path / "typescript"
    shutil.copytree(HERE / "typescript", project, ignore=shutil.ignore_patterns("node_modules", "built"))
    shutil.copytree(generated / "typescript", project / "generated")
    await asyncio.to_thread(run, "npm", "ci", "--no-audit", "--no-fund", "--loglevel=error", cwd=project)
    await asyncio.to_thread(run, "node_modules/.bin/tsc", cwd=project)
    assert (await called(tls, address, "node", project / "built" / "call.js")).splitlines() == [
        LISTED,
        "NotFound there is no zone 'zones/example.com'; this federation serves zones/example.org",
    ]


async def test_java(generated: Path, tls: Mapping[str, TlsFiles], address: str, tmp_path: Path) -> None:
    """All that is generated compiles, and a call and the details of an error come through."""
    libraries, classes = tmp_path / "libraries", tmp_path / "classes"
    fetch = ("mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={libraries}")
    await asyncio.to_thread(run, *fetch, "-f", HERE / "java" / "pom.xml")
    sources = [*(generated / "java").rglob("*.java"), HERE / "java" / "Call.java"]
    compile_all: list[str | Path] = ["javac", "-nowarn", "-cp", f"{libraries}/*", "-d", classes]
    await asyncio.to_thread(run, *compile_all, *sources)
    assert (await called(tls, address, "java", "-cp", f"{classes}:{libraries}/*", "Call")).splitlines() == [
        LISTED,
        "NOT_FOUND NOT_FOUND zones/example.com",
    ]


async def called(tls: Mapping[str, TlsFiles], address: str, *command: str | Path) -> str:
    """What a client prints that is given the address and an administrator's certificate."""
    files = tls["admin"]
    return await asyncio.to_thread(run, *command, address, files.ca, files.cert, files.key)
