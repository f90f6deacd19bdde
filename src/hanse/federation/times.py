"""Times of Kubernetes objects as they stand in messages. Pure.

Next: `hanse.kube.model.times`, which reads and writes them in objects.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from datetime import UTC
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from hanse.kube.model.objects import child, sequence
from hanse.kube.model.times import parse_time


def set_time(timestamp: Timestamp, value: Any) -> None:
    """Set a timestamp from a Kubernetes time, if there is one that can be read."""
    moment = parse_time(value)
    if moment is not None:
        with contextlib.suppress(ValueError, OverflowError):
            timestamp.FromDatetime(moment.astimezone(UTC))


def set_write_time(timestamp: Timestamp, metadata: Any) -> None:
    """Set a timestamp to when an object was written last, as far as its metadata tells.

    That is the newest of the times of its managers, of its creation, and of when its deletion was asked for.
    """
    values: Iterable[Any] = (child(entry, "time") for entry in sequence(metadata, "managedFields"))
    for value in (*values, child(metadata, "creationTimestamp"), _deletion(metadata)):
        said = Timestamp()
        set_time(said, value)
        if (said.seconds, said.nanos) > (timestamp.seconds, timestamp.nanos):
            timestamp.CopyFrom(said)


def _deletion(metadata: Any) -> Any:
    """Return deletionTimestamp if that is when it was asked for; with a grace period it is later."""
    return None if child(metadata, "deletionGracePeriodSeconds") else child(metadata, "deletionTimestamp")
