"""One federation in this process: a store, members that can break, and the services that a test switches on.

Owns `Federation`. What no service writes the test writes, as that service would
(`tests.support.federation.records`). The members are real API servers (`tests.support.federation.member`).

Concurrency: services and members run in the test's event loop; leaving the federation ends them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Self

import orjson
import pytest
from hanse_scheduler.decide.inputs import Rules
from hanse_syncer.sharing import Sharing

from hanse.api.federation.v1.federation_pb2 import Federation as FederationMessage
from hanse.api.registry.v1.cluster_pb2 import ApiResource, ClusterCredential
from hanse.api.scheduler.v1.placement_pb2 import Placement
from hanse.api.syncer.v1.sync_state_pb2 import APPLIED
from hanse.federation.events import EventRecorder
from hanse.kube.model.objects import Object
from hanse.security.credentials import Sealer
from hanse.security.keyring import new_key
from hanse.store import Store, keys
from tests.support import objects
from tests.support.federation.member import TOKEN, Member
from tests.support.federation.parts import NamesPart, SchedulerPart, compiling, naming, scheduling, syncing
from tests.support.federation.records import Clock, Key, Records
from tests.support.waiting import until

FEDERATION_ID = "6f1d2c3b-aaaa-4bbb-8ccc-0123456789ab"


class Federation(Records):
    """A federation of some members; without members and services unless it is given them."""

    def __init__(
        self, store: Store | None = None, *, members: Sequence[Member] = (), clock: Clock | None = None
    ) -> None:
        super().__init__(store, clock=clock)
        self.members = {member.name: member for member in members}
        self.sealer = Sealer([new_key()])
        self.events: list[Object] = []
        """What syncers report."""
        self.stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stack.aclose()

    # --- members

    async def found(self) -> None:
        """Found the federation and join the members."""
        founded = FederationMessage(name="federation", id=FEDERATION_ID, short_name="hanse")
        await self.write(keys.FEDERATION, founded.SerializeToString())
        for member in self.members.values():
            await self.join(member)

    async def join(self, member: Member) -> None:
        """Make a cluster READY."""
        credential = ClusterCredential(server=f"http://127.0.0.1:{member.port}", token=TOKEN)
        sealed = self.sealer.seal(member.name, credential.SerializeToString())
        await self.write(keys.credential(member.name), sealed)
        served = (
            ApiResource(
                group=info.group,
                version=info.version,
                resource=info.plural,
                kind=info.kind,
                namespaced=info.namespaced,
                verbs=info.verbs,
                preferred=True,
            )
            for info in member.engine.catalogue
        )
        await self.serves(member.name, *served)
        await self.cluster(member.name)

    async def spread(self, paths: Sequence[str]) -> None:
        """Place a ConfigMap at each path in all members."""
        for path in paths:
            await self.put(path, objects.config_map(data={"value": "1"}))
            await self.place(path, *self.members)

    async def arrived(self, paths: Sequence[str], *clusters: str) -> None:
        """Wait until each is applied in each of the clusters."""
        for path in paths:
            for name in clusters:
                await self.reaches(path, name, APPLIED, seconds=20)

    # --- services

    def syncer(
        self, identity: str = "one", *, timeout: float = 5.0, orphan_interval: float = 300.0
    ) -> AbstractAsyncContextManager[Sharing]:
        """Run a syncer; leaving stops it in order."""
        return syncing(
            self.store,
            sealer=self.sealer,
            record=self._record,
            identity=identity,
            timeout=timeout,
            orphan_interval=orphan_interval,
        )

    async def _record(self, encoded: bytes) -> None:
        self.events.append(orjson.loads(encoded))

    async def start_scheduler(
        self,
        identity: str = "one",
        *,
        rules: Rules | None = None,
        recorder: EventRecorder | None = None,
        store: Store | None = None,
        lead: bool = True,
    ) -> SchedulerPart:
        """Start a scheduler, which runs as long as the federation; wait until it leads unless told not to."""
        running = scheduling(
            store or self.store,
            clock=self.clock,
            identity=identity,
            rules=rules,
            recorder=recorder,
            lead=lead,
        )
        return await self.stack.enter_async_context(running)

    async def start_names(self, identity: str = "one") -> NamesPart:
        """Start the dns service, which runs as long as the federation."""
        names = await self.stack.enter_async_context(naming(self.store))
        await self.stack.enter_async_context(compiling(self.store, identity=identity))
        return names

    # --- what schedulers decide

    async def placed(self, key: Key, expected: Mapping[str, int | None] | None) -> Placement:
        """Wait until the object is placed so (suspended clusters aside; None: there is no placement)."""
        seen: Any = None

        async def is_so() -> bool:
            nonlocal seen
            placement = await self.placement(key)
            seen = None if placement is None else where(placement)
            return bool(seen == expected)

        try:
            await until(is_so)
        except AssertionError:
            pytest.fail(f"{key} is placed {seen}, not {expected}: {await self.placement(key)}")
        return await self.placement(key) or Placement()

    async def settled(self, *schedulers: SchedulerPart) -> None:
        """Wait until schedulers have seen everything and have nothing to do."""
        for each in schedulers:
            await each.settled()


def where(placement: Placement) -> dict[str, int | None]:
    """Return where a placement says that the object runs."""
    return {
        item.cluster: item.replicas if item.HasField("replicas") else None
        for item in placement.clusters
        if not item.suspended
    }


@asynccontextmanager
async def federation(*names: str) -> AsyncIterator[Federation]:
    """Found a federation with members of these names, over a store in memory."""
    async with AsyncExitStack() as stack:
        members = [await stack.enter_async_context(Member(name)) for name in names]
        made = await stack.enter_async_context(Federation(members=members))
        await made.found()
        try:
            yield made
        finally:
            await made.store.close()
