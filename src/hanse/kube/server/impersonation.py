"""Who a request acts as: the Impersonate headers of the Kubernetes API. Pure.

A caller who may `impersonate` everything that the headers name becomes that user for the rest of the request.
The rules are those of kube-apiserver. Next: `hanse.kube.server.dispatch`, which asks the authorizer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote

from hanse.errors import InvalidArgumentError
from hanse.kube.kinds.kubernetes import core
from hanse.kube.model.identity import ANONYMOUS_USER, AUTHENTICATED_GROUP, UNAUTHENTICATED_GROUP, User
from hanse.kube.model.names import label_problems, subdomain_problems
from hanse.kube.server.request import ResourcePath

IMPERSONATE = "impersonate"
"""The verb that a sender must be allowed on whom the request acts as."""

_ANY = "impersonate-"
_USER = "impersonate-user"
_GROUP = "impersonate-group"
_UID = "impersonate-uid"
_EXTRA = "impersonate-extra-"
_SERVICE_ACCOUNT = "system:serviceaccount:"
_SERVICE_ACCOUNTS_GROUP = "system:serviceaccounts"
_AUTHENTICATION = "authentication.k8s.io"


@dataclass(frozen=True, slots=True)
class Impersonation:
    """The user that a request acts as, and all that its sender must be allowed to impersonate for that."""

    user: User
    asked: tuple[ResourcePath, ...]


def impersonation_of(headers: Iterable[tuple[str, str]]) -> Impersonation | None:
    """Return who a request with these headers wants to act as; None if it is as its sender.

    Raises InvalidArgumentError for groups, a uid or extra without a user, and for names that are no text.
    """
    found = [(name.lower(), value) for name, value in headers if name.lower().startswith(_ANY)]
    if not found:
        return None
    extra = _extra(found)
    if not all(text.isprintable() for text in (*extra, *(value for _, value in found))):
        raise InvalidArgumentError("the Impersonate headers of the request must be printable text")
    name = next((value for header, value in found if header == _USER), "")
    uid = next((value for header, value in found if header == _UID), "")
    given = tuple(value for header, value in found if header == _GROUP)
    if not name:
        if uid or given or extra:
            raise InvalidArgumentError(
                "the request impersonates groups, a uid or extra without impersonating a user: it needs the"
                " header Impersonate-User, too"
            )
        return None
    account = _service_account(name)
    if account is None:
        groups, asked = given, [ResourcePath("", "v1", "users", name=name)]
    else:
        namespace, account_name = account
        groups = given or (_SERVICE_ACCOUNTS_GROUP, f"{_SERVICE_ACCOUNTS_GROUP}:{namespace}")
        asked = [ResourcePath("", "v1", core.SERVICE_ACCOUNT.plural, namespace, account_name)]
    asked += [ResourcePath("", "v1", "groups", name=group) for group in given]
    for key, each in extra.items():
        asked += [ResourcePath(_AUTHENTICATION, "v1", "userextras", "", value, key) for value in each]
    if uid:
        asked.append(ResourcePath(_AUTHENTICATION, "v1", "uids", name=uid))
    return Impersonation(User(name, _with_system_group(name, groups), uid, extra), tuple(asked))


def _extra(headers: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for header, value in headers:
        if header.startswith(_EXTRA):
            key = unquote(header.removeprefix(_EXTRA))
            found[key] = (*found.get(key, ()), value)
    return found


def _service_account(user: str) -> tuple[str, str] | None:
    """Return namespace and name of the service account that a user name is; None if it is none."""
    namespace, _, name = user.removeprefix(_SERVICE_ACCOUNT).partition(":")
    if not user.startswith(_SERVICE_ACCOUNT) or label_problems(namespace) or subdomain_problems(name):
        return None
    return namespace, name


def _with_system_group(name: str, groups: tuple[str, ...]) -> tuple[str, ...]:
    """Return the groups with the one of everybody who is known, or of everybody who is not."""
    if name == ANONYMOUS_USER:
        return groups if UNAUTHENTICATED_GROUP in groups else (*groups, UNAUTHENTICATED_GROUP)
    if AUTHENTICATED_GROUP in groups or UNAUTHENTICATED_GROUP in groups:
        return groups
    return (*groups, AUTHENTICATED_GROUP)
