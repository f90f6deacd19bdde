"""Reading metadata."""

from __future__ import annotations

from typing import Any

import pytest

from hanse.kube.model.objects import is_deleting


@pytest.mark.parametrize(
    ("metadata", "deleting"),
    [
        ({"deletionTimestamp": "2026-01-02T03:04:05Z"}, True),
        ({"deletionTimestamp": "2026-01-02T03:04:05Z", "finalizers": ["a"]}, True),
        ({"deletionTimestamp": None}, False),
        ({"deletionTimestamp": ""}, False),
        ({"deletionGracePeriodSeconds": 0}, False),
        ({}, False),
        (None, False),
        ("metadata", False),
    ],
)
def test_an_object_is_deleting_from_the_moment_that_it_is_asked_for(metadata: Any, deleting: bool) -> None:
    """A time says so, and nothing else; what has no metadata is not being deleted."""
    assert is_deleting({"metadata": metadata}) is deleting
    assert not is_deleting({})
