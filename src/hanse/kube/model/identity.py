"""Who calls, and what a caller wants to do: values of the Kubernetes API. Pure, immutable.

Owns `User` and `Attributes`, and the groups that the API server itself gives to callers. Whether somebody is
who they say is not decided here, nor what they may do: `hanse.kube.server.auth` does that.

Next: `hanse.kube.engine.options`, by which every write names its user.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

ANONYMOUS_USER = "system:anonymous"
AUTHENTICATED_GROUP = "system:authenticated"
UNAUTHENTICATED_GROUP = "system:unauthenticated"


@dataclass(frozen=True, slots=True)
class User:
    """An authenticated caller: its name, its groups, and whatever else the authenticator knows."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


ANONYMOUS = User(ANONYMOUS_USER, (UNAUTHENTICATED_GROUP,))
"""A caller who proves nothing."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a user wants to do: a verb on a resource, or on a `path` that is no resource.

    `group` is "" for the core group. `name`, `namespace` and `subresource` are "" where they do not apply.
    """

    user: User
    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
