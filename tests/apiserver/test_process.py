"""The process: from a configuration file to a served federation on etcd, and its end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import orjson
import pytest

from hanse.process.settings import TlsFiles
from hanse.security.auth import service_name
from hanse.security.pki import CertificateAuthority
from hanse.store import EtcdStore
from tests.apiserver.world import DEADLINE, World, config_map, namespace
from tests.support.stores.etcd import EtcdServer
from tests.support.waiting import until


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[EtcdServer]:
    """An etcd of this test's own."""
    with EtcdServer(tmp_path / "etcd") as server:
        yield server


def configuration(directory: Path, endpoint: str, files: TlsFiles) -> Path:
    """Write a configuration file."""
    path = directory / "apiserver.toml"
    path.write_text(
        f'etcd_endpoints = ["{endpoint}"]\n'
        f'tls_ca = "{files.ca}"\ntls_cert = "{files.cert}"\ntls_key = "{files.key}"\n'
        f'ready_file = "{directory / "ready.json"}"\n'
    )
    return path


async def test_the_process_serves_and_stops(etcd: EtcdServer, tmp_path: Path) -> None:
    """It says when it is ready and where, is healthy, and ends with status 0 on SIGTERM."""
    authority = CertificateAuthority.load_or_create(tmp_path)
    files = authority.ensure_local(
        tmp_path, "apiserver", common_name=service_name("apiserver"), organizations=["hanse:services"]
    )
    ready = tmp_path / "ready.json"
    config = configuration(tmp_path, etcd.endpoint, files)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "hanse_apiserver", "--config", str(config),
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:

        async def is_ready() -> bool:
            return ready.exists()

        await until(is_ready, what="the ready file is written")
        document = orjson.loads(ready.read_bytes())
        assert document["pid"] == process.pid
        assert set(document["endpoints"]) == {"grpc", "https", "metrics"}
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{document['endpoints']['metrics']}/healthz") as response,
        ):
            assert response.status == 200
        process.send_signal(signal.SIGTERM)
        _, err = await asyncio.wait_for(process.communicate(), DEADLINE)
        assert process.returncode == 0, err.decode()
        assert not ready.exists()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_two_apiservers_share_one_etcd(etcd: EtcdServer) -> None:
    """What one wrote the other reads at once, and they are the same federation."""
    stores = [await EtcdStore.connect([etcd.endpoint]) for _ in range(2)]
    try:
        async with World(stores[0], shared=True) as one, World(stores[1], shared=True) as two:
            assert one.apiserver.federation.id == two.apiserver.federation.id
            await one.create("/api/v1/namespaces", namespace())
            for i in range(20):
                source, target = (one, two) if i % 2 else (two, one)
                await source.create("/api/v1/namespaces/shop/configmaps", config_map(f"c{i}"))
                await target.get(f"/api/v1/namespaces/shop/configmaps/c{i}")
    finally:
        for store in stores:
            await store.close()


async def test_it_lives_through_an_outage_of_etcd(etcd: EtcdServer, tmp_path: Path) -> None:
    """While etcd is gone writes fail and nothing is lost; afterwards everything goes on."""
    store = await EtcdStore.connect([etcd.endpoint], operation_timeout=2.0)
    try:
        async with World(store) as world:
            await world.create("/api/v1/namespaces", namespace())
            path = "/api/v1/namespaces/shop/configmaps"
            created = await world.create(path, config_map("before"))
            etcd.kill()
            answer = await world.call("POST", path, config_map("during"))
            assert answer.status == 503, answer
            assert (await world.call("GET", "/readyz/etcd")).status == 500
            await asyncio.to_thread(etcd.start)

            async def works() -> bool:
                answer = await world.call("POST", path, config_map("after"))
                return answer.status in (201, 409)

            await until(works, what="writes work again")
            assert await world.get(f"{path}/before") == created

            async def seen() -> bool:
                return (await world.call("GET", f"{path}/after")).status == 200

            await until(seen, what="the cache follows etcd again")
    finally:
        await store.close()


def test_a_mistake_in_the_settings_is_one_line(tmp_path: Path) -> None:
    """A bad setting ends the process with status 2 and one line that names it."""
    ran = subprocess.run(
        [sys.executable, "-m", "hanse_apiserver", "--https-listen", "nonsense"],
        capture_output=True, text=True, timeout=30, check=False,
        env={k: v for k, v in os.environ.items() if not k.startswith("HANSE_")},
    )  # fmt: skip
    assert ran.returncode == 2
    assert len(ran.stderr.strip().splitlines()) == 1
    assert "https_listen" in ran.stderr
