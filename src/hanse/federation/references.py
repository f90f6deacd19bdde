"""References to federated objects, as records and requests carry them, and whether two are one object.

Owns going between `ObjectReference` and `ObjectKey`, and what a uid tells: an object that was deleted and
made again under the same name is another one, and nothing that was said of the earlier one holds for it.

Pure functions. Next: `hanse.federation.confirmation`, where the uid decides about a deletion.
"""

from __future__ import annotations

from hanse.api.type.v1.object_reference_pb2 import ObjectReference
from hanse.errors import InvalidArgumentError
from hanse.store.keys import ObjectKey


def reference_to(key: ObjectKey, *, version: str, kind: str, uid: str = "") -> ObjectReference:
    """Return the reference to an object; what is not known of it is ""."""
    return ObjectReference(
        group=key.group,
        version=version,
        resource=key.resource,
        kind=kind,
        namespace=key.namespace,
        name=key.name,
        uid=uid,
    )


def key_of(reference: ObjectReference) -> ObjectKey:
    """Return the key of the object that a request names in its field `object`.

    Raises InvalidArgumentError if it names none, or one that could not be stored.
    """
    if not reference.resource or not reference.name:
        raise InvalidArgumentError(
            "object needs a resource (plural, such as deployments) and a name", metadata={"field": "object"}
        )
    key = ObjectKey(reference.group, reference.resource, reference.namespace, reference.name)
    key.path()
    return key


def is_same_object(uid: str, other: str) -> bool:
    """Return whether two uids are of one object, as far as is known: "" is of any object of that name."""
    return not uid or not other or uid == other
