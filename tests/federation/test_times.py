"""When an object was written, as its metadata tells."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from hanse.federation.times import set_time, set_write_time

CREATED = {"creationTimestamp": "2026-01-02T03:04:05Z"}


def managed(*times: Any) -> dict[str, Any]:
    """Metadata with one manager for each time."""
    return {**CREATED, "managedFields": [{"manager": "m", "time": time} for time in times]}


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({}, "1970-01-01T00:00:00Z"),
        (CREATED, "2026-01-02T03:04:05Z"),
        (managed("2026-03-01T00:00:00Z", "2026-02-01T00:00:00Z"), "2026-03-01T00:00:00Z"),
        (managed("junk", None, 7), "2026-01-02T03:04:05Z"),
        (managed("0001-01-01T00:00:00+23:59"), "2026-01-02T03:04:05Z"),
        ({**CREATED, "managedFields": "junk"}, "2026-01-02T03:04:05Z"),
        ({**CREATED, "deletionTimestamp": "2026-05-01T00:00:00Z"}, "2026-05-01T00:00:00Z"),
        (
            {**CREATED, "deletionTimestamp": "2026-05-01T00:00:30Z", "deletionGracePeriodSeconds": 30},
            "2026-01-02T03:04:05Z",
        ),
    ],
)
def test_the_newest_write_counts(metadata: dict[str, Any], expected: str) -> None:
    """Of managers, creation and deletion; what cannot be read is none."""
    written = Timestamp()
    set_write_time(written, metadata)
    assert written.ToJsonString() == expected


def test_a_time_that_cannot_be_read_sets_nothing() -> None:
    """It stays as it was."""
    stamp = Timestamp(seconds=7)
    set_time(stamp, "9999-12-31T23:59:59-23:59")
    assert stamp.seconds == 7
