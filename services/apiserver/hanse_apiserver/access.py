"""Who may do what, over REST and over gRPC alike.

Owns `FederationAuthorizer` and the token file's authenticator. Members of the admin groups may do everything
and act as anybody, members of the viewer groups may ask what is served and read everything but Secrets. Of
Hanse's own services each may do what it needs: registry, scheduler and syncer report Events, the scheduler
deletes Jobs whose time is over, the registry
writes Clusters, the syncer reads what it syncs, and dns may do nothing. Everybody else who is authenticated
may ask who they are and what they may do, and nothing more; nobody is authenticated without a certificate or
a token. RBAC objects are stored and served, and not yet obeyed.

Immutable. Next: `hanse_apiserver.app`, which gives this to both servers.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from hanse.errors import UnauthenticatedError
from hanse.kube.kinds.kubernetes import batch, core
from hanse.kube.model.identity import ANONYMOUS, AUTHENTICATED_GROUP, Attributes, User
from hanse.kube.server.auth import AccessDecision, Credentials, is_self_review, is_self_service
from hanse.security.auth import ADMINS, MASTERS, SERVICES, Identity, TokenFile, service_name
from hanse.well_known import GROUP

READ_VERBS: Final = frozenset({"get", "list", "watch"})
_EVENTS: Final = frozenset({core.EVENT.group_plural, core.EVENTS_K8S_IO_EVENT.group_plural})
_REGISTRY: Final = service_name("registry")
_SCHEDULER: Final = service_name("scheduler")
_SYNCER: Final = service_name("syncer")


class FederationAuthorizer:
    """Decides by groups."""

    def __init__(
        self, *, admin_groups: Iterable[str] = (MASTERS, ADMINS), viewer_groups: Iterable[str] = ()
    ) -> None:
        """Members of `admin_groups` may do everything, of `viewer_groups` read everything but Secrets."""
        self._admins = frozenset(admin_groups)
        self._viewers = frozenset(viewer_groups)

    async def authorize(self, attributes: Attributes) -> AccessDecision:
        """Decide one request."""
        groups = attributes.user.groups
        if self._admins.intersection(groups):
            return AccessDecision(
                allowed=True, reason="a member of an administrators' group may do everything"
            )
        if is_self_review(attributes):
            return AccessDecision(allowed=True, reason="everyone who is authenticated may ask this")
        if self._viewers.intersection(groups) and (_may_view(attributes) or is_self_service(attributes)):
            return AccessDecision(allowed=True, reason="a member of a viewers' group may read this")
        if SERVICES in groups and _service_may(attributes):
            return AccessDecision(allowed=True, reason="a service of the federation needs this")
        return AccessDecision(allowed=False)


def _may_view(attributes: Attributes) -> bool:
    secret = (attributes.group, attributes.resource) == core.SECRET.group_plural
    return attributes.verb in READ_VERBS and bool(attributes.resource) and not secret


def _service_may(attributes: Attributes) -> bool:
    name = attributes.user.name
    if (attributes.group, attributes.resource) in _EVENTS and attributes.verb in (
        "create",
        "patch",
        "update",
    ):
        return name in (_REGISTRY, _SCHEDULER, _SYNCER)
    if (attributes.group, attributes.resource) == batch.JOB.group_plural and attributes.verb == "delete":
        return name == _SCHEDULER  # for ttlSecondsAfterFinished
    if name == _SYNCER:
        return _may_view(attributes)
    return name == _REGISTRY and (attributes.group, attributes.resource) == (GROUP, "clusters")


class TokenFileAuthenticator:
    """Knows the bearer tokens of a token file, which is read again when it changes."""

    def __init__(self, path: Path) -> None:
        """Raise ConfigError if the file cannot be read."""
        self.tokens = TokenFile(path)

    async def authenticate(self, credentials: Credentials) -> User | None:
        """Return the token's user; None without a token. Raises UnauthenticatedError for an unknown one."""
        if not credentials.token:
            return None
        identity = self.tokens.authenticate(credentials.token)
        if identity is None:
            raise UnauthenticatedError("the bearer token is not known")
        return user_of(identity)


def user_of(identity: Identity | None) -> User:
    """Return the Kubernetes user that a caller over gRPC is; the anonymous one for None."""
    if identity is None:
        return ANONYMOUS
    return User(identity.name, (*identity.groups, AUTHENTICATED_GROUP))
