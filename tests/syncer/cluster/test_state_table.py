"""The sync states of one cluster: what is known at once, what is written when, and by whom alone."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from hanse_syncer.report.state_table import TICK_SECONDS, SyncStateTable
from hypothesis import given
from hypothesis import strategies as st

from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.api.syncer.v1.sync_state_pb2 import SyncState
from hanse.errors import FailedPreconditionError
from hanse.store import BatchWriter, Compare, MemoryStore, keys
from tests.support.waiting import until

WEB, DB = "core/configmaps/default/web", "core/configmaps/default/db"


class Table:
    """A table of cluster a whose clock stands still, and its store."""

    def __init__(self, *, window: float = 60.0) -> None:
        self.now = 1000.0
        self.store = MemoryStore()
        self.states = SyncStateTable(
            BatchWriter(self.store, spacing=0.0),
            "a",
            fence=lambda: Compare.exists("lease"),
            window=window,
            monotonic=lambda: self.now,
        )

    async def found(self) -> None:
        """Have the lease of the cluster, and the cluster."""
        await self.store.put("lease", b"")
        await self.store.put(keys.cluster("a"), b"")

    async def stored(self, path: str) -> str | None:
        """The message of a state as stored; None if there is none."""
        found = await self.store.get(f"syncstates/{path}/a")
        return SyncState.FromString(found.value).message if found is not None else None

    def say(self, path: str, message: str, *, lazy: bool = False) -> None:
        """Have a state with a message."""
        self.states.update(path, lambda _: SyncState(phase=sync.APPLIED, message=message), lazy=lazy)


@pytest.fixture
async def table() -> AsyncIterator[Table]:
    """A table that writes."""
    table = Table()
    await table.found()
    running = asyncio.create_task(table.states.run())
    yield table
    running.cancel()
    await asyncio.wait([running])
    await table.store.close()


async def test_what_is_known_is_known_at_once_and_stored_when_asked_for(table: Table) -> None:
    """`stored` returns when the store has what is known now."""
    table.say(WEB, "one")
    state = table.states.get(WEB)
    assert state is not None
    assert state.message == "one"
    await table.states.stored(WEB)
    assert await table.stored(WEB) == "one"


async def test_reports_that_nobody_waits_for_are_held_back(table: Table) -> None:
    """The first is written at once, the next ones when the window is over; of several the last one."""
    table.say(WEB, "one", lazy=True)
    await table.states.stored(WEB)
    for message in ("two", "three"):
        table.say(WEB, message, lazy=True)
    table.say(DB, "other")
    table.now += 2 * TICK_SECONDS
    await table.states.stored(DB)
    assert await table.stored(WEB) == "one"
    table.now += 60.0
    table.say(WEB, "four", lazy=True)
    await until(lambda: table.stored(WEB), what="it is stored")
    await table.states.stored(WEB)
    assert await table.stored(WEB) == "four"


async def test_what_somebody_waits_for_is_not_held_back(table: Table) -> None:
    """Neither by its own window nor by reports that were held back before."""
    table.say(WEB, "one")
    await table.states.stored(WEB)
    table.say(WEB, "two", lazy=True)
    table.say(WEB, "three")
    assert await table.states.flush(10)
    assert await table.stored(WEB) == "three"


async def test_the_end_writes_what_was_held_back(table: Table) -> None:
    """A syncer that stops loses no report."""
    table.say(WEB, "one")
    await table.states.stored(WEB)
    table.say(WEB, "two", lazy=True)
    assert await table.states.flush(10)
    assert await table.stored(WEB) == "two"


async def test_a_state_that_says_the_same_is_not_written(table: Table) -> None:
    """Not even its revision moves."""
    table.say(WEB, "one")
    await table.states.stored(WEB)
    before = await table.store.get(f"syncstates/{WEB}/a")
    table.say(WEB, "one")
    assert await table.states.flush(10)
    after = await table.store.get(f"syncstates/{WEB}/a")
    assert before is not None
    assert after is not None
    assert before.mod_revision == after.mod_revision


async def test_what_is_dropped_is_deleted(table: Table) -> None:
    """Also where the state was never written."""
    table.say(WEB, "one")
    await table.states.stored(WEB)
    table.states.drop(WEB)
    table.say(DB, "one")
    table.states.drop(DB)
    table.states.drop("core/configmaps/default/unknown")
    assert await table.states.flush(10)
    assert (await table.stored(WEB), await table.stored(DB)) == (None, None)
    assert len(table.states) == 0


@pytest.mark.parametrize("lost", ["lease", keys.cluster("a")])
async def test_who_has_lost_the_cluster_writes_nothing(lost: str) -> None:
    """Neither without the lease nor of a cluster that has left."""
    table = Table()
    await table.found()
    await table.store.delete(lost)
    table.say(WEB, "one")
    with pytest.raises(FailedPreconditionError, match="has left, or another syncer"):
        await table.states.run()
    assert await table.stored(WEB) is None
    await table.store.close()


@given(
    st.lists(
        st.tuples(
            st.sampled_from([WEB, DB]), st.none() | st.sampled_from([sync.APPLIED, sync.FAILED, sync.REMOVED])
        ),
        max_size=12,
    )
)
def test_phases_are_counted_as_they_are(changes: list[tuple[str, sync.SyncPhase.ValueType | None]]) -> None:
    """Whatever was said and dropped in whatever order."""

    async def run() -> None:
        table = Table()
        for path, phase in changes:
            if phase is None:
                table.states.drop(path)
            else:
                before, after = table.states.update(path, lambda _, phase=phase: SyncState(phase=phase))  # type: ignore[misc]
                assert table.states.get(path) == after
                assert before is None or before.phase in (sync.APPLIED, sync.FAILED, sync.REMOVED)
            assert +table.states.phases == Counter(state.phase for _, state in table.states.items())
        await table.store.close()

    asyncio.run(run())
