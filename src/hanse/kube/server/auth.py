"""Who is calling, and may they: the pluggable security of the Kubernetes API server.

An `Authenticator` turns what came with a request (a verified client certificate, a bearer token) into
a `User`; an `Authorizer` decides about `Attributes`. Both are asynchronous so that an implementation may
ask somebody else; the ones here answer from memory. They hold no mutable state after construction and may
be shared between tasks. Next: `hanse.kube.model.identity` for these values, `hanse.kube.server.app`, which
calls them for every request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from hanse.kube.kinds.kubernetes import security
from hanse.kube.model.identity import AUTHENTICATED_GROUP, Attributes, User
from hanse.security.auth import ADMINS, MASTERS, identity_from_der
from hanse.security.revocation import DenyList


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request carries to prove who sends it.

    `certificate` is the peer's DER certificate, already verified by TLS against the client CA, or None.
    `token` is the bearer token without its scheme, or None. `remote` is the peer's address.
    """

    token: str | None = None
    certificate: bytes | None = None
    remote: str = ""


def bearer_token(authorization: str) -> str | None:
    """Return the token in the value of a header Authorization, None if it has none."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


class Authenticator(Protocol):
    """Says who sent a request."""

    async def authenticate(self, credentials: Credentials) -> User | None:
        """Return the user; None if these credentials say nothing to this authenticator.

        Raises UnauthenticatedError if they speak to it and are wrong.
        """
        ...


@dataclass(frozen=True, slots=True)
class AccessDecision:
    """An authorizer's answer. `reason` is a sentence for a person."""

    allowed: bool
    reason: str = ""


class Authorizer(Protocol):
    """Says whether a user may do something."""

    async def authorize(self, attributes: Attributes) -> AccessDecision:
        """Decide. Never raises for a mere refusal."""
        ...


class CertificateAuthenticator:
    """Takes the common name of the verified client certificate as user, its organizations as groups."""

    def __init__(self, *, deny_list: DenyList | None = None) -> None:
        """Certificates of `deny_list` are no one's."""
        self._deny_list = deny_list or DenyList()

    async def authenticate(self, credentials: Credentials) -> User | None:
        """Return the user that the certificate names; None without one. Raises UnauthenticatedError."""
        if credentials.certificate is None:
            return None
        self._deny_list.check(credentials.certificate)
        identity = identity_from_der(credentials.certificate)
        return User(identity.name, (*identity.groups, AUTHENTICATED_GROUP))


class UnionAuthenticator:
    """Asks several authenticators in order; the first that knows the caller wins."""

    def __init__(self, *authenticators: Authenticator) -> None:
        self._authenticators = authenticators

    async def authenticate(self, credentials: Credentials) -> User | None:
        """Return the first user that an authenticator names; None if none does."""
        for authenticator in self._authenticators:
            user = await authenticator.authenticate(credentials)
            if user is not None:
                return user
        return None


class AllowGroups:
    """Members of one of these groups may do everything; others may only ask about themselves."""

    def __init__(self, groups: Sequence[str] = (MASTERS, ADMINS)) -> None:
        self._groups = frozenset(groups)

    async def authorize(self, attributes: Attributes) -> AccessDecision:
        """Allow everything to the groups, self reviews and discovery to every authenticated user."""
        if self._groups.intersection(attributes.user.groups):
            return AccessDecision(allowed=True, reason="member of a group that may do everything")
        if is_self_service(attributes):
            return AccessDecision(allowed=True, reason="every authenticated user may ask this")
        return AccessDecision(allowed=False, reason="")


DISCOVERY_PATHS = ("/api", "/apis", "/openapi", "/version", "/healthz", "/livez", "/readyz")


def is_self_service(attributes: Attributes) -> bool:
    """Report whether this is discovery, or a review that only tells the caller about itself."""
    if attributes.path:
        path = attributes.path
        return attributes.verb == "get" and any(
            path == p or path.startswith(p + "/") for p in DISCOVERY_PATHS
        )
    return is_self_review(attributes)


_SELF_REVIEWS = frozenset(
    {
        security.SELF_SUBJECT_REVIEW.group_plural,
        security.SELF_SUBJECT_ACCESS_REVIEW.group_plural,
        security.SELF_SUBJECT_RULES_REVIEW.group_plural,
    }
)


def is_self_review(attributes: Attributes) -> bool:
    """Report whether this is a review that only tells callers who they are and what they may do."""
    return attributes.verb == "create" and (attributes.group, attributes.resource) in _SELF_REVIEWS
