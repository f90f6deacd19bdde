"""A delete that is taken back: what is wanted again counts as kept when no DELETE can take it any more."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.api.syncer.v1.sync_state_pb2 import SyncState
from hanse.errors import NotFoundError
from tests.support.federation.federation import Federation, federation
from tests.support.federation.member import TOKEN, Member
from tests.support.waiting import until
from tests.syncer.harness import config_map

WEB = "core/configmaps/default/web"
URL = "/api/v1/namespaces/default/configmaps/web"


class LateDelete:
    """Between a member and the syncer: keeps DELETEs back, and can deliver the first one later."""

    def __init__(self, fed: Federation, member: Member) -> None:
        self.bodies: list[bytes] = []
        self.recorded: list[SyncState | None] = []
        self.seen: list[str] = []
        """Methods of all requests about the object since the first DELETE."""
        self._fed = fed
        self._member = member
        member.fault = self

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        """Swallow DELETEs."""
        if request.path != URL:
            return None
        if self.bodies:
            self.seen.append(request.method)
        if request.method != "DELETE":
            return None
        self.bodies.append(await request.read())
        self.recorded.append(await self._fed.state(WEB, self._member.name))
        await asyncio.Event().wait()
        return None

    async def deliver(self) -> int:
        """Let the first DELETE reach the member; returns the status."""
        self._member.fault = None
        async with (
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session,
            session.delete(
                f"http://127.0.0.1:{self._member.port}{URL}",
                data=self.bodies[0],
                headers={"Content-Type": "application/json"},
            ) as answer,
        ):
            return answer.status


@pytest.fixture
async def fed() -> AsyncIterator[Federation]:
    """A federation with one member."""
    async with federation("a") as running:
        yield running


def with_data(data: dict[str, str], obj: dict[str, Any]) -> dict[str, Any]:
    """The object with other data."""
    return {**obj, "data": data}


async def placed(fed: Federation) -> SyncState:
    """Have the object applied."""
    await fed.put(WEB, config_map("1"))
    await fed.place(WEB, "a")
    return await fed.reaches(WEB, "a", sync.APPLIED)


def uid_of(member: Member) -> str:
    """The uid of the live object."""
    live = member.get(WEB)
    assert live is not None
    return str(live["metadata"]["uid"])


async def test_late_delete_of_what_is_wanted_again_does_nothing(fed: Federation) -> None:
    """A DELETE that had no answer and arrives after the object counts as kept does not take it."""
    late = LateDelete(fed, fed.members["a"])
    async with fed.syncer(timeout=0.3):
        first = await placed(fed)
        await fed.place(WEB, releasing=["a"])
        await until(lambda: late.bodies, what="a DELETE was sent")
        await fed.place(WEB, "a")
        kept = await fed.reaches(WEB, "a", sync.APPLIED)
        assert kept.member_uid == first.member_uid
        assert kept.delete_uid == ""
        assert "GET" in late.seen, "it counts as kept after a read"
        assert await late.deliver() == 409
        assert uid_of(fed.members["a"]) == first.member_uid
        live = fed.members["a"].get(WEB)
        assert live is not None
        assert "hanse.dev/kept" not in live["metadata"].get("annotations", {})


async def test_delete_is_recorded_before_it_is_sent(fed: Federation) -> None:
    """When a DELETE reaches the member the store says REMOVING, and of which object."""
    late = LateDelete(fed, fed.members["a"])
    async with fed.syncer(timeout=0.3):
        first = await placed(fed)
        await fed.mark_deleted(WEB)
        await until(lambda: late.recorded, what="a DELETE was sent")
    stored = late.recorded[0]
    assert stored is not None
    assert stored.phase == sync.REMOVING
    assert stored.delete_uid == first.member_uid
    assert stored.delete_resource_version == first.member_resource_version


async def test_late_delete_does_nothing_after_a_restart(fed: Federation) -> None:
    """The next syncer knows of the DELETE of the one that died, and sees to it that it takes nothing."""
    late = LateDelete(fed, fed.members["a"])
    async with fed.syncer(timeout=30.0):
        first = await placed(fed)
        await fed.place(WEB, releasing=["a"])
        await until(lambda: late.bodies, what="a DELETE was sent")
    state = await fed.state(WEB, "a")
    assert state is not None
    assert state.phase == sync.REMOVING
    await fed.place(WEB, "a")
    async with fed.syncer("two", timeout=0.3):
        await fed.reaches(WEB, "a", sync.APPLIED)
        assert await late.deliver() == 409
        assert uid_of(fed.members["a"]) == first.member_uid


async def test_delete_that_was_carried_out_unheard_is_made_up_for(fed: Federation) -> None:
    """Where the DELETE did take the object, it is made again and only then counts as applied."""
    late = LateDelete(fed, fed.members["a"])
    async with fed.syncer(timeout=30.0):
        first = await placed(fed)
        await fed.place(WEB, releasing=["a"])
        await until(lambda: late.bodies, what="a DELETE was sent")
    assert await late.deliver() == 200
    await fed.place(WEB, "a")
    async with fed.syncer("two"):
        state = await fed.reaches(WEB, "a", sync.APPLIED)
        assert state.member_uid == uid_of(fed.members["a"]) != first.member_uid


async def test_what_is_being_deleted_is_waited_for_and_made_again(fed: Federation) -> None:
    """While the member's finalizers hold what was deleted, it is not APPLIED; when it is gone it returns."""
    member = fed.members["a"]

    def hold(obj: dict[str, Any]) -> dict[str, Any]:
        return {**obj, "metadata": {**obj["metadata"], "finalizers": ["example.org/hold"]}}

    def free(obj: dict[str, Any]) -> dict[str, Any]:
        return {**obj, "metadata": {k: v for k, v in obj["metadata"].items() if k != "finalizers"}}

    async with fed.syncer():
        first = await placed(fed)
        await member.change(WEB, hold)
        await fed.place(WEB, releasing=["a"])
        await until(
            lambda: (member.get(WEB) or {})["metadata"].get("deletionTimestamp"), what="it is being deleted"
        )
        await fed.reaches(WEB, "a", sync.REMOVING)
        await fed.place(WEB, "a")
        state = await fed.reaches(WEB, "a", sync.WAITING)
        assert state.reason == "BeingDeleted"
        await member.change(WEB, free)
        again = await fed.reaches(WEB, "a", sync.APPLIED)
        assert again.member_uid == uid_of(member) != first.member_uid


async def test_object_that_changes_all_the_time_is_deleted_all_the_same(fed: Federation) -> None:
    """A DELETE of a version that is no longer the newest is sent again with the newest."""
    member = fed.members["a"]
    async with fed.syncer():
        await placed(fed)
        done = asyncio.Event()

        async def disturb() -> None:
            number = 0
            while not done.is_set() and member.get(WEB) is not None:
                number += 1
                data = {"value": "1", "more": str(number)}
                with contextlib.suppress(NotFoundError):
                    await member.change(WEB, functools.partial(with_data, data))
                await asyncio.sleep(0.02)

        disturbing = asyncio.create_task(disturb())
        try:
            await fed.place(WEB, releasing=["a"])
            await fed.reaches(WEB, "a", sync.REMOVED)
        finally:
            done.set()
            await asyncio.wait([disturbing])
        assert member.get(WEB) is None
