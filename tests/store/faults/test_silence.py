"""Whoever waits for etcd says so soon, and again while it lasts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from structlog.testing import capture_logs

from hanse.errors import UnavailableError
from hanse.store import EtcdStore
from hanse.store.etcd import silence
from hanse.store.etcd.silence import AGAIN_SECONDS, FIRST_SECONDS, Silence
from tests.support.machine.ports import free_ports
from tests.support.stores.etcd import EtcdServer


def test_silence_is_told_after_three_seconds_and_every_ten() -> None:
    """Only while somebody waits, and from the last answer on."""
    now = 0.0
    quiet = Silence("etcd:2379", clock=lambda: now)
    told: list[float] = []
    with quiet.waiting():
        for tenth in range(300):
            now = tenth / 10
            if quiet.due():
                told.append(now)
            if tenth == 250:
                quiet.answered()
    assert told == [FIRST_SECONDS, FIRST_SECONDS + AGAIN_SECONDS, FIRST_SECONDS + 2 * AGAIN_SECONDS, 28.0]
    now = 1000.0
    assert not quiet.due()
    with quiet.waiting():
        assert not quiet.due()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Silence counts after a moment; what is logged."""
    monkeypatch.setattr(silence, "FIRST_SECONDS", 0.3)
    monkeypatch.setattr(silence, "_LOOK", 0.05)
    with capture_logs() as logs:
        yield logs


def said(logs: list[Any]) -> list[Any]:
    """The lines about an etcd that does not answer."""
    return [each for each in logs if each["event"].startswith("etcd does not answer")]


async def test_a_start_without_etcd_says_what_is_missing(soon: list[Any]) -> None:
    """The address, and what came back from there."""
    (port,) = free_ports(1)
    with pytest.raises(UnavailableError):
        await EtcdStore.connect([f"127.0.0.1:{port}"], operation_timeout=2)
    line = said(soon)[0]
    assert line["log_level"] == "error"
    assert line["etcd"] == f"127.0.0.1:{port}"
    assert "refused" in line["cause"]


async def test_an_idle_watch_says_that_etcd_is_gone_and_back(own_etcd: EtcdServer, soon: list[Any]) -> None:
    """A service that asks etcd for nothing is told by its watch."""
    store = await EtcdStore.connect([own_etcd.endpoint])

    async def follow() -> None:
        async for _ in store.watch("a", start_revision=0):
            pass

    following = asyncio.create_task(follow())
    await asyncio.sleep(0.5)
    assert not said(soon)
    own_etcd.kill()
    async with asyncio.timeout(20):
        while not said(soon):  # noqa: ASYNC110 - a log has no event to wait for
            await asyncio.sleep(0.05)
    await asyncio.to_thread(own_etcd.start)
    async with asyncio.timeout(20):
        await store.put("a", b"1")
        while not any(each["event"] == "etcd answers again" for each in soon):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following
    await store.close()
