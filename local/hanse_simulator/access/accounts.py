"""ServiceAccounts as users: the TokenRequest that gives one a token, and the authentication by it.

Owns what ends a token: its time, and that its ServiceAccount is deleted (also if one of the same name is made
afterwards, since a token is of a uid), or the Secret that it is in. A token is looked at with each request; a
watch that runs goes on, as on kube-apiserver.

Reads the engine's cache; holds no state. Next: `hanse_simulator.access.rules`, which says what a user may do.
"""

from __future__ import annotations

import base64
from datetime import datetime, timedelta
from typing import Any, Final

import orjson
from aiohttp import web

from hanse.errors import InvalidArgumentError, NotFoundError, UnauthenticatedError
from hanse.kube.engine.engine import KubeEngine
from hanse.kube.kinds.kubernetes import core
from hanse.kube.model.identity import AUTHENTICATED_GROUP, User
from hanse.kube.model.objects import Object, is_deleting, mapping, sequence
from hanse.kube.model.status import METHOD_NOT_ALLOWED
from hanse.kube.model.times import format_time
from hanse.kube.server.auth import Credentials
from hanse.kube.server.negotiation import read_body
from hanse.kube.server.representation import respond
from hanse.kube.server.request import Call
from hanse.store.keys import ObjectKey
from hanse_simulator.access.tokens import ISSUER, AccountToken, TokenAuthority

SECRET_TYPE: Final = "kubernetes.io/service-account-token"  # noqa: S105 - no secret
"""Type of a Secret with a token in it."""
ACCOUNT_NAME: Final = "kubernetes.io/service-account.name"
"""Annotation of such a Secret: whose token it has."""
DEFAULT_SECONDS: Final = 3600
SHORTEST_SECONDS: Final = 600
LONGEST_SECONDS: Final = 2**32
"""As kube-apiserver: bounds of what a TokenRequest may ask for."""
GROUPS: Final = "system:serviceaccounts"


class Accounts:
    """The ServiceAccounts of a cluster as users. No token is given for longer than `max_seconds`; 0 bounds
    nothing."""

    def __init__(self, engine: KubeEngine, authority: TokenAuthority, *, max_seconds: int = 0) -> None:
        self._engine = engine
        self._authority = authority
        self._max_seconds = max_seconds

    async def authenticate(self, credentials: Credentials) -> User | None:
        """Return the ServiceAccount of a bearer token; None without one. Raises UnauthenticatedError."""
        if credentials.token is None:
            return None
        token = self._authority.read(credentials.token)
        now = self._engine.clock().timestamp()
        ended = token.expires is not None and token.expires <= now
        if ended or ISSUER not in token.audiences or not self._is_there(token, credentials.token):
            raise UnauthenticatedError("Unauthorized")
        groups = (GROUPS, f"{GROUPS}:{token.namespace}", AUTHENTICATED_GROUP)
        return User(token.subject, groups, uid=token.uid)

    async def give_token(self, call: Call, engine: KubeEngine) -> web.StreamResponse:
        """Answer a TokenRequest. Raises NotFoundError, InvalidArgumentError."""
        if call.verb != "create":
            raise InvalidArgumentError(
                "the server does not allow this method on the requested resource", reason=METHOD_NOT_ALLOWED
            )
        body = (await read_body(call.request)).value
        if not isinstance(body, dict):
            raise InvalidArgumentError("the body of the request must be a TokenRequest")
        account = self._object(core.SERVICE_ACCOUNT.group_plural, call.path.namespace, call.path.name)
        if account is None:
            raise NotFoundError(
                f'serviceaccounts "{call.path.name}" not found',
                metadata={"name": call.path.name, "kind": core.SERVICE_ACCOUNT.plural},
            )
        seconds = self._seconds(mapping(body, "spec").get("expirationSeconds", DEFAULT_SECONDS))
        audiences = tuple(map(str, sequence(body, "spec", "audiences"))) or (ISSUER,)
        now = engine.clock()
        token = self.token(account, now=now, seconds=seconds, audiences=audiences)
        answer = {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {
                "name": call.path.name,
                "namespace": call.path.namespace,
                "creationTimestamp": format_time(now),
            },
            "spec": {
                "audiences": list(audiences),
                "expirationSeconds": seconds,
                "boundObjectRef": mapping(body, "spec").get("boundObjectRef"),
            },
            "status": {
                "token": token,
                "expirationTimestamp": format_time(now + timedelta(seconds=seconds)),
            },
        }
        return await respond(call.request, orjson.dumps(answer), status=201)

    def token(
        self,
        account: Object,
        *,
        now: datetime,
        seconds: int | None = None,
        audiences: tuple[str, ...] = (ISSUER,),
        secret: str = "",
    ) -> str:
        """Return a token of a ServiceAccount that ends after `seconds`, or lasts."""
        metadata, issued = account["metadata"], int(now.timestamp())
        return self._authority.sign(
            AccountToken(
                namespace=metadata["namespace"],
                name=metadata["name"],
                uid=metadata["uid"],
                issued=issued,
                expires=None if seconds is None else issued + seconds,
                audiences=audiences,
                secret=secret,
            )
        )

    def _seconds(self, asked: Any) -> int:
        if not isinstance(asked, int) or not SHORTEST_SECONDS <= asked <= LONGEST_SECONDS:
            bounds = "less than 10 minutes" if asked in range(SHORTEST_SECONDS) else "such a duration"
            raise InvalidArgumentError(
                f'TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: '
                f"{asked}: may not specify a duration of {bounds}"
            )
        return min(asked, self._max_seconds) if self._max_seconds else asked

    def _is_there(self, token: AccountToken, text: str) -> bool:
        """Return whether what a token is bound to exists, and is the same."""
        account = self._object(core.SERVICE_ACCOUNT.group_plural, token.namespace, token.name)
        if account is None or account["metadata"]["uid"] != token.uid or is_deleting(account):
            return False
        if not token.secret:
            return True
        secret = self._object(core.SECRET.group_plural, token.namespace, token.secret)
        held = mapping(secret, "data").get("token") if secret is not None else None
        return held == base64.b64encode(text.encode()).decode()

    def _object(self, resource: tuple[str, str], namespace: str, name: str) -> Object | None:
        entry = self._engine.cache.get(ObjectKey(*resource, namespace, name))
        return entry.object if entry is not None else None
