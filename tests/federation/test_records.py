"""Which stored values are records."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.api.registry.v1.cluster_pb2 import ApiCatalogue, Cluster
from hanse.api.scheduler.v1.placement_pb2 import Placement
from hanse.api.syncer.v1.sync_state_pb2 import SyncState
from hanse.errors import InvalidArgumentError
from hanse.federation import records
from hanse.store import KeyValue

OBJECT = "core/configmaps/shop/settings"
RECORDS: list[tuple[Callable[[KeyValue], Any], str, Any]] = [
    (records.decode_cluster, "clusters/eu", Cluster(name="clusters/eu", region="r")),
    (records.decode_catalogue, "catalogues/eu", ApiCatalogue(name="clusters/eu/apiCatalogue")),
    (records.decode_placement, f"placements/{OBJECT}", Placement(name=f"placements/{OBJECT}")),
    (records.decode_sync_state, f"syncstates/{OBJECT}/eu", SyncState(cluster="eu")),
]
EACH = pytest.mark.parametrize(("decode", "key", "message"), RECORDS, ids=lambda each: str(each)[:20])


def stored(key: str, value: bytes) -> KeyValue:
    """A value as the store gives it."""
    return KeyValue(key, value, create_revision=1, mod_revision=1, version=1)


@EACH
def test_what_was_written_is_read(decode: Callable[[KeyValue], Any], key: str, message: Any) -> None:
    """Each record under its key."""
    assert decode(stored(key, message.SerializeToString())) == message


@EACH
def test_nothing_is_no_record(decode: Callable[[KeyValue], Any], key: str, message: Any) -> None:
    """An empty value says nothing; it is not a record whose fields are all unset."""
    with pytest.raises(ValueError, match="empty"):
        decode(stored(key, b""))


@given(st.sampled_from(RECORDS), st.binary())
def test_any_other_value_is_refused_or_read(
    record: tuple[Callable[[KeyValue], Any], str, Any], value: bytes
) -> None:
    """With ValueError, whatever is there, so that a reader keeps what it knew."""
    decode, key, _ = record
    with contextlib.suppress(ValueError):
        assert decode(stored(key, value)) is not None


@pytest.mark.parametrize("name", ["", "eu", "clusters/us", "clusters/eu/x"])
def test_a_cluster_under_another_ones_key_is_none(name: str) -> None:
    """Whatever it says would be believed of the wrong cluster."""
    with pytest.raises(ValueError, match="its key that of 'eu'"):
        records.decode_cluster(stored("clusters/eu", Cluster(name=name, region="r").SerializeToString()))


@pytest.mark.parametrize(
    ("decode", "key"),
    [
        (records.decode_cluster, "clusters/a/b"),
        (records.decode_placement, "placements/core/configmaps/shop"),
        (records.decode_sync_state, f"syncstates/{OBJECT}"),
    ],
)
def test_a_key_of_another_form_is_refused(decode: Callable[[KeyValue], Any], key: str) -> None:
    """It would name nothing, or something else."""
    with pytest.raises(InvalidArgumentError):
        decode(stored(key, b"\x0a\x01x"))
