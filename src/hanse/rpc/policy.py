"""Who may call which RPC: deny by default.

Owns `Policy`, a table from methods to principals. A method is `package.Service/Method` or
`package.Service/*`; the exact name wins. A principal is made by `group`, `user` or `service`, or is
`AUTHENTICATED`. Admins may call everything. A server refuses to start when one of its methods has no
rule, or a rule names a method that it does not have: forgetting is not a way to open or close anything.

Concurrency: immutable.

Next: `hanse.rpc.interceptor`, which enforces it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hanse.errors import ConfigError, PermissionDeniedError, UnauthenticatedError
from hanse.security.auth import ADMINS, Identity, service_name

AUTHENTICATED = "*"
"""Everyone with a valid client certificate."""


def group(name: str) -> str:
    """Principal: the members of a group."""
    return f"group:{name}"


def user(name: str) -> str:
    """Principal: one identity by its name."""
    return f"user:{name}"


def service(name: str) -> str:
    """Principal: one Hanse service by its short name, such as "registry"."""
    return user(service_name(name))


class Policy:
    """An authorization table. Admins (group hanse:admins) are always allowed."""

    def __init__(self, rules: Mapping[str, Iterable[str]]) -> None:
        """`rules` maps `package.Service/Method` or `package.Service/*` to principals.

        An empty list of principals means: admins only.
        """
        self._rules = {method.removeprefix("/"): frozenset(who) for method, who in rules.items()}
        self._open = False
        for method, who in self._rules.items():
            bad = [principal for principal in who if not _is_principal(principal)]
            if bad or method.count("/") != 1:
                raise ConfigError(
                    f"policy rule {method!r} -> {sorted(who)} is malformed: the key must be "
                    "package.Service/Method or package.Service/*, the values made by group(), user(), "
                    "service() or AUTHENTICATED"
                )

    @classmethod
    def allow_all(cls) -> Policy:
        """Return a policy that allows everyone everything, even without TLS. For tests only."""
        policy = cls({})
        policy._open = True
        return policy

    @property
    def open(self) -> bool:
        """Whether this is `allow_all()`."""
        return self._open

    def check(self, methods: Iterable[str]) -> None:
        """Raise ConfigError unless every method has a rule and every rule has a method.

        `methods` are full names without the leading slash.
        """
        if self._open:
            return
        known = set(methods)
        services = {method.partition("/")[0] for method in known}
        uncovered = sorted(method for method in known if self._rule(method) is None)
        if uncovered:
            raise ConfigError(f"the policy does not say who may call {', '.join(uncovered)}: add a rule")
        stale = sorted(
            rule
            for rule in self._rules
            if rule not in known and not (rule.endswith("/*") and rule[:-2] in services)
        )
        if stale:
            raise ConfigError(f"the policy has rules for unknown methods {', '.join(stale)}: remove them")

    def authorize(self, method: str, identity: Identity | None) -> None:
        """Raise unless `identity` (None: no certificate) may call `method`, with or without a slash.

        Raises UnauthenticatedError for no identity, PermissionDeniedError for a known one.
        """
        if self._open:
            return
        if identity is None:
            raise UnauthenticatedError(f"{method.removeprefix('/')} needs a client certificate")
        if ADMINS in identity.groups:
            return
        rule = self._rule(method.removeprefix("/")) or frozenset()
        if (
            AUTHENTICATED in rule
            or user(identity.name) in rule
            or any(group(name) in rule for name in identity.groups)
        ):
            return
        raise PermissionDeniedError(
            f"{identity} may not call {method.removeprefix('/')}",
            metadata={"method": method.removeprefix("/"), "identity": identity.name},
        )

    def knows(self, identity: Identity | None) -> bool:
        """Return whether `identity` may call anything at all."""
        if self._open or (identity is not None and ADMINS in identity.groups):
            return True
        if identity is None:
            return False
        mine = {AUTHENTICATED, user(identity.name), *map(group, identity.groups)}
        return any(not mine.isdisjoint(rule) for rule in self._rules.values())

    def _rule(self, method: str) -> frozenset[str] | None:
        exact = self._rules.get(method)
        return exact if exact is not None else self._rules.get(method.partition("/")[0] + "/*")


def _is_principal(text: str) -> bool:
    return text == AUTHENTICATED or any(
        text.startswith(prefix) and len(text) > len(prefix) for prefix in ("group:", "user:")
    )
