"""Paths of objects: put together and taken apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse import paths
from hanse.paths import CLUSTER_SCOPE, CORE
from hanse.store.keys import OBJECTS, PLACEMENTS, ObjectKey

SEGMENTS = st.text(st.characters(exclude_characters="/", categories=["L", "N", "P"]), min_size=1, max_size=20)
KEYS = st.builds(
    ObjectKey,
    group=st.one_of(st.just(""), SEGMENTS.filter(lambda value: value != CORE)),
    resource=SEGMENTS,
    namespace=st.one_of(st.just(""), SEGMENTS.filter(lambda value: value != CLUSTER_SCOPE)),
    name=SEGMENTS,
)


@given(KEYS, st.sampled_from([OBJECTS, PLACEMENTS]))
def test_a_path_says_the_same_as_the_key(key: ObjectKey, prefix: str) -> None:
    """Every part comes back, from the key of the object and from that of its placement."""
    path = paths.path_of(key.key(prefix))
    assert path == key.path()
    parts = {"group": key.group, "resource": key.resource, "namespace": key.namespace, "name": key.name}
    assert paths.path_to(**parts) == path
    assert paths.parts_of(path) == (key.group, key.resource, key.namespace, key.name)
    assert paths.resource_of(path) == (key.group, key.resource)
    assert paths.namespace_of(path) == key.namespace
    assert paths.resource_path_of(path) == paths.resource_path(key.group, key.resource)
    assert path.startswith(f"{paths.resource_path(key.group, key.resource)}/")


def test_the_path_of_a_namespace() -> None:
    """It is that of a core object of cluster scope."""
    assert paths.namespace_path("shop") == ObjectKey("", "namespaces", "", "shop").path()


@pytest.mark.parametrize("path", ["", "core", "core/services", "a/b/c"])
def test_what_is_missing_is_empty(path: str) -> None:
    """A key that cannot be parsed may be shorter than a path; it is not taken for another."""
    given_ = path.split("/")
    found = paths.parts_of(path)
    assert found[len(given_) :] == ("",) * (4 - len(given_))
    assert paths.resource_of(path) == found[:2]
