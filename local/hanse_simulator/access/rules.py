"""RBAC: what a user may do by the roles that are bound to it, its groups or its ServiceAccount.

Owns `allows`, the pure rule, and the authorizer that reads roles and bindings from the engine's cache at each
request. Whoever is in `system:masters` may do everything; everybody who is known may ask what the server
serves, and about himself. What a role that does not exist gives is nothing.

Not played: aggregated ClusterRoles, and the check that nobody gives rights that he does not have.

Next: `hanse.kube.server.auth`, for the protocol of authorizers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from hanse.kube.engine.cache import ObjectCache
from hanse.kube.kinds.kubernetes import core, security
from hanse.kube.model.identity import Attributes, User
from hanse.kube.model.objects import Object, mapping, sequence
from hanse.kube.server.auth import AccessDecision, is_self_service
from hanse.store.keys import ObjectKey
from hanse_simulator.certificates import ADMIN_GROUP

CLUSTER_ADMIN: Final = "cluster-admin"
EVERYTHING: Final = (
    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
    {"verbs": ["*"], "nonResourceURLs": ["*"]},
)
"""The rules of the ClusterRole that every cluster has, `cluster-admin`."""


class RoleAuthorizer:
    """Decides by the roles and bindings in a cache."""

    def __init__(self, cache: ObjectCache) -> None:
        self._cache = cache

    async def authorize(self, attributes: Attributes) -> AccessDecision:
        """Decide. Without a right there is no reason, as on kube-apiserver."""
        if ADMIN_GROUP in attributes.user.groups:
            return AccessDecision(allowed=True, reason="member of a group that may do everything")
        if is_self_service(attributes):
            return AccessDecision(allowed=True, reason="every authenticated user may ask this")
        for binding, rules in self._bound(attributes):
            if any(allows(rule, attributes) for rule in rules):
                return AccessDecision(allowed=True, reason=f"RBAC: allowed by {binding}")
        return AccessDecision(allowed=False)

    def _bound(self, attributes: Attributes) -> Iterator[tuple[str, list[Any]]]:
        """Yield each binding of the user that counts where it wants to act, with the rules of its role."""
        bindings = [*self._cache.objects(*security.CLUSTER_ROLE_BINDING.group_plural)]
        if attributes.namespace:
            bindings += self._cache.objects(*security.ROLE_BINDING.group_plural, attributes.namespace)
        for entry in bindings:
            binding = entry.object
            if any(is_subject(subject, attributes.user) for subject in sequence(binding, "subjects")):
                kind = security.CLUSTER_ROLE_BINDING if not entry.key.namespace else security.ROLE_BINDING
                yield f"{kind.name} {entry.key.name!r}", self._rules(binding, entry.key.namespace)

    def _rules(self, binding: Object, namespace: str) -> list[Any]:
        reference = mapping(binding, "roleRef")
        kind = security.CLUSTER_ROLE
        if reference.get("kind") == security.ROLE.name:
            kind = security.ROLE
        key = ObjectKey(
            *kind.group_plural, namespace if kind.namespaced else "", str(reference.get("name") or "")
        )
        entry = self._cache.get(key)
        return list(sequence(entry.object, "rules")) if entry is not None else []


def is_subject(subject: Any, user: User) -> bool:
    """Return whether a subject of a binding is the user."""
    if not isinstance(subject, dict):
        return False
    kind, name = subject.get("kind"), subject.get("name")
    if kind == core.SERVICE_ACCOUNT.name:
        return user.name == f"system:serviceaccount:{subject.get('namespace')}:{name}"
    return (kind == "User" and name == user.name) or (kind == "Group" and name in user.groups)


def allows(rule: Any, attributes: Attributes) -> bool:
    """Return whether a rule of a role allows what is asked for."""
    if not isinstance(rule, dict) or not _has(rule, "verbs", attributes.verb):
        return False
    if attributes.path:
        return any(_covers(str(url), attributes.path) for url in sequence(rule, "nonResourceURLs"))
    names = sequence(rule, "resourceNames")
    return (
        _has(rule, "apiGroups", attributes.group)
        and _has_resource(rule, attributes)
        and (not names or attributes.name in names)
    )


def _has(rule: Object, field: str, wanted: str) -> bool:
    found = sequence(rule, field)
    return "*" in found or wanted in found


def _has_resource(rule: Object, attributes: Attributes) -> bool:
    found = sequence(rule, "resources")
    if not attributes.subresource:
        return "*" in found or attributes.resource in found
    whole = f"{attributes.resource}/{attributes.subresource}"
    return "*" in found or whole in found or f"*/{attributes.subresource}" in found


def _covers(url: str, path: str) -> bool:
    return path.startswith(url[:-1]) if url.endswith("*") else path == url
