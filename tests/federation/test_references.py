"""References to objects, and which of them are of one object."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.api.type.v1.object_reference_pb2 import ObjectReference
from hanse.errors import InvalidArgumentError
from hanse.federation.references import is_same_object, key_of, reference_to
from hanse.store.keys import ObjectKey

NAMES = st.text("abc-.", min_size=1, max_size=10)
KEYS = st.builds(
    ObjectKey,
    group=st.one_of(st.just(""), NAMES),
    resource=NAMES,
    namespace=st.one_of(st.just(""), NAMES),
    name=NAMES,
)
UIDS = st.sampled_from(["", "u", "v"])


@given(KEYS, UIDS)
def test_a_reference_has_the_key_that_it_was_made_of(key: ObjectKey, uid: str) -> None:
    """Whatever else it says."""
    reference = reference_to(key, version="v1", kind="Thing", uid=uid)
    assert key_of(reference) == key
    assert (reference.version, reference.kind, reference.uid) == ("v1", "Thing", uid)


@pytest.mark.parametrize(
    "reference",
    [
        ObjectReference(),
        ObjectReference(resource="pods"),
        ObjectReference(name="a"),
        ObjectReference(resource="pods", name="a/b"),
        ObjectReference(group="core", resource="pods", name="a"),
        ObjectReference(resource="pods", namespace="_", name="a"),
    ],
)
def test_a_reference_that_names_no_object_is_refused(reference: ObjectReference) -> None:
    """Without a resource or a name, and with what could be the key of another object."""
    with pytest.raises(InvalidArgumentError):
        key_of(reference)


@given(UIDS, UIDS)
def test_an_unknown_uid_is_of_any_object(uid: str, other: str) -> None:
    """Two that are known are of one object if they are equal; the order does not matter."""
    assert is_same_object(uid, other) is is_same_object(other, uid)
    assert is_same_object(uid, other) is ("" in (uid, other) or uid == other)
