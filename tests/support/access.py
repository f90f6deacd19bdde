"""Callers for servers under test: bearer tokens that are simply known, and rights that are simply listed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from hanse.kube.model.identity import AUTHENTICATED_GROUP, Attributes, User
from hanse.kube.server.auth import AccessDecision, AllowGroups, Credentials


class FixedTokens:
    """Knows the users of some bearer tokens; another token says nothing to it."""

    def __init__(self, users: Mapping[str, User]) -> None:
        self._users = {
            token: replace(user, groups=(*user.groups, AUTHENTICATED_GROUP)) for token, user in users.items()
        }

    async def authenticate(self, credentials: Credentials) -> User | None:
        """Return the token's user; None for no token or an unknown one."""
        return self._users.get(credentials.token or "")


class AllowListed(AllowGroups):
    """Allows, besides what the groups allow, `verb group/resource/subresource name` if that is listed."""

    def __init__(self, allowed: Collection[str]) -> None:
        super().__init__()
        self._allowed = frozenset(allowed)

    async def authorize(self, attributes: Attributes) -> AccessDecision:
        """Decide."""
        a = attributes
        if f"{a.verb} {a.group}/{a.resource}/{a.subresource} {a.name}" in self._allowed:
            return AccessDecision(allowed=True)
        return await super().authorize(attributes)
