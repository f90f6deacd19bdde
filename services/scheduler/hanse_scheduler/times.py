"""Times in a placement: seconds since the epoch inside, protobuf timestamps outside, microseconds kept.

Pure. Next: `hanse_scheduler.decide.decision`.
"""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp


def seconds_of(stamp: Timestamp) -> float:
    """Return seconds since the epoch; 0 for an unset timestamp."""
    return stamp.seconds + stamp.nanos / 1e9


def timestamp_of(seconds: float) -> Timestamp:
    """Return the timestamp, rounded to microseconds."""
    micros = round(seconds * 1e6)
    return Timestamp(seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1000)
