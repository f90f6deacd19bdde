"""Parents of lists: the part of the store that a list or a watch is about.

The names of placements, sync states and the like are paths, and what a list is about is the start of one, as
whole segments: `placements/apps/deployments` is the parent of all Deployments' placements.

Concurrency: pure functions.

Next: `hanse.rpc.lists.filters`, which choose among what a parent has.
"""

from __future__ import annotations

from hanse.errors import InvalidArgumentError


def parent_prefix(parent: str, collection: str, *, depth: int) -> str:
    """Return what the names below `parent` have in common, with the slash at the end.

    `parent` is the collection, or has at most `depth` segments after it; an empty one is the collection.
    Raises InvalidArgumentError.
    """
    first, *rest = (parent or collection).split("/")
    if first != collection or len(rest) > depth or not all(rest):
        raise InvalidArgumentError(
            f"parent {parent!r} is not {collection}, alone or with up to {depth} segments of a name after it "
            "(core for the core group, _ for no namespace)",
            metadata={"field": "parent"},
        )
    return "/".join([collection, *rest, ""])
