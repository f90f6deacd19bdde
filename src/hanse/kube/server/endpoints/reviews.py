"""Questions about identity and permission: the kinds of authentication.k8s.io and authorization.k8s.io.

They are answered, never stored. Next: `hanse.kube.server.auth`.
"""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web

from hanse.errors import HanseError, InvalidArgumentError
from hanse.kube.kinds.kubernetes import security
from hanse.kube.model.identity import Attributes, User
from hanse.kube.model.objects import Object, mapping, sequence
from hanse.kube.server.auth import Authenticator, Authorizer, Credentials
from hanse.kube.server.negotiation import read_body
from hanse.kube.server.representation import respond
from hanse.kube.server.request import Call

REVIEW_BYTES = 64 * 1024
"""Of the body of a review. Whoever has a certificate may send one, so it must cost little."""


class Reviews:
    """Answers reviews with the server's own authenticator and authorizer."""

    def __init__(self, *, authenticator: Authenticator, authorizer: Authorizer) -> None:
        self._authenticator = authenticator
        self._authorizer = authorizer

    async def create(self, call: Call) -> web.StreamResponse:
        """Answer a review. Raises InvalidArgumentError for one that asks nothing."""
        body = (await read_body(call.request, limit=REVIEW_BYTES)).value
        if not isinstance(body, dict):
            raise InvalidArgumentError("the body of the request must be a review")
        spec = mapping(body, "spec")
        match call.info.plural:
            case security.SELF_SUBJECT_REVIEW.plural:
                status: dict[str, Any] = {"userInfo": user_info(call.user)}
            case security.TOKEN_REVIEW.plural:
                status = await self._token(str(spec.get("token") or ""))
            case security.SELF_SUBJECT_ACCESS_REVIEW.plural:
                status = await self._access(call.user, spec)
            case security.SELF_SUBJECT_RULES_REVIEW.plural:
                status = await self._rules(call.user, str(spec.get("namespace") or ""))
            case _:
                if not spec.get("user") and not spec.get("groups"):
                    raise InvalidArgumentError("spec.user or spec.groups must be set")
                groups = tuple(map(str, sequence(spec, "groups")))
                status = await self._access(User(str(spec.get("user") or ""), groups), spec)
        review: Object = {
            "kind": call.info.kind,
            "apiVersion": call.info.api_version,
            "metadata": {"creationTimestamp": None},
            "spec": spec,
            "status": status,
        }
        if call.info.plural == security.SELF_SUBJECT_REVIEW.plural:
            del review["spec"]
        return await respond(call.request, orjson.dumps(review), status=201)

    async def _token(self, token: str) -> dict[str, Any]:
        try:
            user = await self._authenticator.authenticate(Credentials(token=token))
        except HanseError as error:
            return {"authenticated": False, "error": str(error)}
        if user is None:
            return {"authenticated": False}
        return {"authenticated": True, "user": user_info(user)}

    async def _access(self, user: User, spec: dict[str, Any]) -> dict[str, Any]:
        asked = mapping(spec, "resourceAttributes")
        other = mapping(spec, "nonResourceAttributes")
        if not asked and not other:
            raise InvalidArgumentError(
                "exactly one of spec.resourceAttributes and spec.nonResourceAttributes must be set"
            )
        if asked:
            names = ("group", "version", "resource", "subresource", "namespace", "name")
            attributes = Attributes(
                user=user, verb=str(asked.get("verb") or ""), **{n: str(asked.get(n) or "") for n in names}
            )
        else:
            attributes = Attributes(
                user=user, verb=str(other.get("verb") or ""), path=str(other.get("path") or "")
            )
        decision = await self._authorizer.authorize(attributes)
        return {"allowed": decision.allowed, "reason": decision.reason}

    async def _rules(self, user: User, namespace: str) -> dict[str, Any]:
        """Return the rules that the authorizer can list; only "everything" is told from "not known"."""
        anything = Attributes(user=user, verb="*", group="*", resource="*", namespace=namespace)
        allowed = (await self._authorizer.authorize(anything)).allowed
        every = [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}] if allowed else []
        paths = [{"verbs": ["*"], "nonResourceURLs": ["*"]}] if allowed else []
        return {"resourceRules": every, "nonResourceRules": paths, "incomplete": not allowed}


def user_info(user: User) -> dict[str, Any]:
    """Return a user as authentication.k8s.io's UserInfo."""
    info: dict[str, Any] = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        info["uid"] = user.uid
    if user.extra:
        info["extra"] = {key: list(values) for key, values in user.extra.items()}
    return info
