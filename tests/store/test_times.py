"""The times of stored records."""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from hanse.api.syncer.v1.sync_state_pb2 import SyncState
from hanse.store.times import stamp

NOW = datetime(2026, 1, 2, tzinfo=UTC)
LATER = datetime(2026, 1, 3, tzinfo=UTC)
REASONS = st.sampled_from(["", "a", "b"])


@given(REASONS, REASONS)
def test_the_time_of_a_change_moves_with_a_change_only(before: str, after: str) -> None:
    """Who says the same again changes nothing, not even a time; the first time stays."""
    first = stamp(None, SyncState(reason=before), now=NOW)
    second = stamp(first, SyncState(reason=after), now=LATER)
    assert second.create_time.ToDatetime(UTC) == NOW
    assert second.update_time.ToDatetime(UTC) == (NOW if before == after else LATER)
    assert (first == second) is (before == after)


def test_nobody_knows_when_an_old_record_was_made() -> None:
    """One that was stored without times gets the time of its next change alone."""
    second = stamp(SyncState(reason="a"), SyncState(reason="b"), now=NOW)
    assert not second.HasField("create_time")
    assert second.update_time.ToDatetime(UTC) == NOW
    assert stamp(SyncState(reason="a"), SyncState(reason="a"), now=NOW) == SyncState(reason="a")


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_is_written_as_protobuf_does(now: datetime) -> None:
    """For every moment."""
    expected = Timestamp()
    expected.FromDatetime(now)
    assert stamp(None, SyncState(), now=now).update_time == expected
