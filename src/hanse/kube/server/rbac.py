"""Role-based access control from the Roles and bindings that the server itself stores.

Reads the cache at every decision, so a change counts from the moment that it is stored. Deny by default;
members of `system:masters` (and whatever groups are given) may do everything; every authenticated user may
discover the server and ask about itself. Next: `hanse.kube.server.auth`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from hanse.kube.engine.cache import ObjectCache
from hanse.kube.engine.entry import Entry
from hanse.kube.model.objects import mapping, sequence
from hanse.kube.server.auth import ADMINS_GROUP, MASTERS_GROUP, Attributes, Decision, User, is_self_service
from hanse.store.keys import ObjectKey

GROUP = "rbac.authorization.k8s.io"


class RbacAuthorizer:
    """Decides by the Roles, ClusterRoles and bindings in a cache."""

    def __init__(
        self, cache: ObjectCache, *, superusers: Sequence[str] = (MASTERS_GROUP, ADMINS_GROUP)
    ) -> None:
        """`superusers` are groups whose members may do everything."""
        self._cache = cache
        self._superusers = frozenset(superusers)

    async def authorize(self, attributes: Attributes) -> Decision:
        """Allow what a bound role allows."""
        user = attributes.user
        if self._superusers.intersection(user.groups):
            return Decision(allowed=True, reason="member of a group that may do everything")
        if is_self_service(attributes):
            return Decision(allowed=True, reason="every authenticated user may ask this")
        for binding, rules in self._rules(user, attributes.namespace):
            if any(_allows(rule, attributes) for rule in rules):
                return Decision(allowed=True, reason=f"RBAC: allowed by {binding.key}")
        return Decision(allowed=False)

    def _rules(self, user: User, namespace: str) -> Iterator[tuple[Entry, list[Any]]]:
        bindings = self._cache.objects(GROUP, "clusterrolebindings")
        if namespace:
            bindings += self._cache.objects(GROUP, "rolebindings", namespace)
        for binding in bindings:
            if any(_is_subject(s, user, binding.key.namespace) for s in sequence(binding.object, "subjects")):
                yield binding, self._role(binding)

    def _role(self, binding: Entry) -> list[Any]:
        reference = mapping(binding.object, "roleRef")
        name = str(reference.get("name", ""))
        if reference.get("kind") == "Role":
            key = ObjectKey(GROUP, "roles", binding.key.namespace, name)
        else:
            key = ObjectKey(GROUP, "clusterroles", "", name)
        role = self._cache.get(key)
        return sequence(role.object, "rules") if role is not None else []


def _is_subject(subject: dict[str, Any], user: User, namespace: str) -> bool:
    name = subject.get("name")
    match subject.get("kind"):
        case "User":
            return name == user.name
        case "Group":
            return name in user.groups
        case "ServiceAccount":
            return user.name == f"system:serviceaccount:{subject.get('namespace') or namespace}:{name}"
    return False


def _allows(rule: dict[str, Any], attributes: Attributes) -> bool:
    if not _has(rule, "verbs", attributes.verb):
        return False
    if attributes.path:
        return any(_path_matches(str(p), attributes.path) for p in sequence(rule, "nonResourceURLs"))
    names = sequence(rule, "resourceNames")
    if names and attributes.name not in names:
        return False
    return _has(rule, "apiGroups", attributes.group) and _resource_matches(rule, attributes)


def _resource_matches(rule: dict[str, Any], attributes: Attributes) -> bool:
    wanted = sequence(rule, "resources")
    if not attributes.subresource:
        return "*" in wanted or attributes.resource in wanted
    full = f"{attributes.resource}/{attributes.subresource}"
    return "*" in wanted or full in wanted or f"*/{attributes.subresource}" in wanted


def _has(rule: dict[str, Any], field: str, value: str) -> bool:
    values = sequence(rule, field)
    return "*" in values or value in values


def _path_matches(pattern: str, path: str) -> bool:
    return pattern in ("*", path) or (pattern.endswith("*") and path.startswith(pattern[:-1]))
