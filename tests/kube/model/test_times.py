"""Times in objects."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.kube.model.times import format_time, parse_time

OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
FIRST, LAST = (datetime(year, 1, 2, tzinfo=UTC).replace(tzinfo=None) for year in (1970, 9998))
MOMENTS = st.datetimes(FIRST, LAST, timezones=OFFSETS)


@given(MOMENTS)
def test_what_is_written_is_read(moment: datetime) -> None:
    """The same moment, in UTC and without the fraction of the second."""
    written = format_time(moment)
    assert written.endswith("Z")
    found = parse_time(written)
    assert found is not None
    assert found.tzinfo is UTC
    assert timedelta() <= moment - found < timedelta(seconds=1)


@given(MOMENTS)
def test_a_time_of_any_offset_is_read(moment: datetime) -> None:
    """With its fraction; without an offset it is taken for UTC, wherever the process runs."""
    assert parse_time(moment.isoformat()) == moment
    assert parse_time(moment.replace(tzinfo=None).isoformat()) == moment.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "value", [None, "", "yesterday", 5, ["2026-01-02T03:04:05Z"], "2026-13-01T00:00:00Z"]
)
def test_anything_else_is_no_time(value: Any) -> None:
    """Whatever an object has in that field."""
    assert parse_time(value) is None
