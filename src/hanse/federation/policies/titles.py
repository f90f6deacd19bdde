"""What placements and messages call a policy, and the policy that such a title is of.

Owns the form `PlacementPolicy shop/web` or `ClusterPlacementPolicy web`. Names that no policy can have are
cut off, so that a title of something malformed stays short; it is then the title of no policy.

Pure functions. Next: `hanse.federation.policies.references`.
"""

from __future__ import annotations

from typing import Final

from hanse.federation import kinds
from hanse.kube.model.objects import Object, name_of, namespace_of
from hanse.store.keys import ObjectKey
from hanse.well_known import GROUP

POLICIES: Final = (
    kinds.PLACEMENT_POLICY,
    kinds.CLUSTER_PLACEMENT_POLICY,
    kinds.OVERRIDE_POLICY,
    kinds.CLUSTER_OVERRIDE_POLICY,
)
"""The kinds of policies."""

PLURALS: Final = frozenset(kind.plural for kind in POLICIES)
PLACING: Final = frozenset((kinds.PLACEMENT_POLICY.plural, kinds.CLUSTER_PLACEMENT_POLICY.plural))
"""The resources of the policies that decide where objects go."""

_PLURAL_OF: Final = {kind.name: kind.plural for kind in POLICIES}
_KIND_OF: Final = {kind.plural: kind.name for kind in POLICIES}
_NAMESPACE_CHARACTERS, _NAME_CHARACTERS = 63, 253


def is_policy(key: ObjectKey) -> bool:
    """Return whether the object at `key` is a policy."""
    return key.group == GROUP and key.resource in PLURALS


def title(kind: str, namespace: str, name: str) -> str:
    """Return for example `PlacementPolicy shop/web`; `namespace` is "" for cluster scope."""
    kind, namespace, name = kind[:63], namespace[:_NAMESPACE_CHARACTERS], name[:_NAME_CHARACTERS]
    return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"


def title_of(policy: Object) -> str:
    """Return the title of a policy."""
    return title(str(policy.get("kind", "")), namespace_of(policy), name_of(policy))


def title_at(key: ObjectKey) -> str:
    """Return the title of the policy that is stored at `key`; "" if it is none."""
    return title(_KIND_OF[key.resource], key.namespace, key.name) if is_policy(key) else ""


def key_of_title(text: str) -> ObjectKey | None:
    """Return the key of the policy with this title; None if it is the title of none."""
    kind, _, rest = text.partition(" ")
    plural = _PLURAL_OF.get(kind)
    namespace, slash, name = rest.rpartition("/")
    if plural is None or not name or bool(slash) != bool(namespace):
        return None
    return ObjectKey(GROUP, plural, namespace, name)
