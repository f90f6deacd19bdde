"""What Hanse makes in a member to have a credential of its own there, and how it is taken away again.

Owns the objects: a namespace of this membership alone, a ServiceAccount `hanse` in it, and a ClusterRole with
its binding, both owned by the namespace, so that to delete the namespace removes everything in one request.
The namespace is named after the uid of the Cluster object: no two memberships share one, and a join that was
interrupted finds its own again. Nothing else that the member has is touched, and what was made is removed by
uid. Tokens are asked for by TokenRequest; each is tried before it is believed.

Concurrency: none of its own; one request after the other. Next: `hanse_registry.member.renewal`, which has
tokens renewed.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import orjson

from hanse.api.registry.v1 import cluster_pb2
from hanse.errors import FailedPreconditionError, UnauthenticatedError, UnavailableError
from hanse.kube.client.access import ClusterAccess
from hanse.kube.client.answer import Absence, Answer, absence
from hanse.kube.client.requests import (
    ApiRequest,
    GroupVersionResource,
    apply_object,
    delete_object,
    get_object,
    request_token,
)
from hanse.kube.kinds.kubernetes import core, security
from hanse.kube.model.objects import Object
from hanse.kube.model.times import parse_time
from hanse.security.lifetimes import end_of_token
from hanse_registry.member.credentials import to_message
from hanse_registry.member.probe import MemberApi
from hanse_registry.member.rights import Right, lacking

FIELD_MANAGER: Final = "hanse-registry"
SERVICE_ACCOUNT: Final = "hanse"
"""Name of the ServiceAccount in its namespace."""
DESCRIPTION: Final = "hanse.dev/description"
"""Annotation of what is made, for whoever finds it in the member."""
_NAMESPACES: Final = GroupVersionResource.of_kind(core.NAMESPACE)
_ACCOUNTS: Final = GroupVersionResource.of_kind(core.SERVICE_ACCOUNT)
_ROLES: Final = GroupVersionResource.of_kind(security.CLUSTER_ROLE)
_BINDINGS: Final = GroupVersionResource.of_kind(security.CLUSTER_ROLE_BINDING)
RULES: Final = (
    {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
    {"nonResourceURLs": ["*"], "verbs": ["*"]},
)
"""What the account may do: whatever is propagated, of any kind, and RBAC objects among it."""
NEEDED: Final[Sequence[Right]] = (
    ("patch", *core.NAMESPACE.group_plural),
    ("patch", *core.SERVICE_ACCOUNT.group_plural),
    ("patch", *security.CLUSTER_ROLE.group_plural),
    ("patch", *security.CLUSTER_ROLE_BINDING.group_plural),
    ("create", core.SERVICE_ACCOUNT.group, f"{core.SERVICE_ACCOUNT.plural}/token"),
)
"""What a credential must be able to do for an account to be made with it."""
Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class GivenToken:
    """A token, and the account that it is of."""

    token: str
    account: cluster_pb2.MemberAccount


def namespace_of(uid: str) -> str:
    """Return the namespace of the account of a membership, the uid of whose Cluster object is given."""
    return f"hanse-{hashlib.sha256(uid.encode()).hexdigest()[:12]}"


def words_of(account: cluster_pb2.MemberAccount) -> str:
    """Return how messages name an account."""
    return f"ServiceAccount {account.namespace}/{account.service_account}"


def credential_of(access: ClusterAccess, given: GivenToken) -> cluster_pb2.ClusterCredential:
    """Return what is stored for a member that is reached as by `access`, but with a token of Hanse's own."""
    credential = to_message(access)
    credential.ClearField("client_certificate_pem")
    credential.ClearField("client_key_pem")
    credential.token = given.token
    credential.account.CopyFrom(given.account)
    return credential


async def check_rights(api: MemberApi, *, timeout: float) -> None:
    """Raise FailedPreconditionError that names what a credential lacks to make an account."""
    lacks = await lacking(api, NEEDED, timeout=timeout)
    if lacks:
        raise FailedPreconditionError(
            f"the credential may not make a ServiceAccount for the federation: it lacks {', '.join(lacks)}. "
            "Give one that may, or have this one kept: omit --service-account",
            reason="RIGHTS_MISSING",
        )


async def make_account(
    api: MemberApi, *, cluster: str, uid: str, seconds: int, clock: Clock, timeout: float
) -> GivenToken:
    """Make the account of a membership, or find it again, and return a token of it.

    Raises UnavailableError, UnauthenticatedError, FailedPreconditionError, WrongAnswerError.
    """
    name = namespace_of(uid)
    marks = {
        "labels": {"app.kubernetes.io/name": "hanse", "app.kubernetes.io/component": "membership"},
        "annotations": {
            DESCRIPTION: f"made by the federation that this cluster is in as {cluster}; goes when it leaves"
        },
    }
    made = await _applied(api, _NAMESPACES, {"metadata": {"name": name, **marks}}, timeout=timeout)
    owner = {
        "apiVersion": "v1",
        "kind": core.NAMESPACE.name,
        "name": name,
        "uid": made["metadata"]["uid"],
    }
    account = {"metadata": {"name": SERVICE_ACCOUNT, "namespace": name, **marks}}
    owned = {"metadata": {"name": name, "ownerReferences": [owner], **marks}}
    reference = {
        "apiGroup": security.CLUSTER_ROLE.group,
        "kind": security.CLUSTER_ROLE.name,
        "name": name,
    }
    subject = {"kind": core.SERVICE_ACCOUNT.name, "name": SERVICE_ACCOUNT, "namespace": name}
    await _applied(api, _ACCOUNTS, account, timeout=timeout)
    await _applied(api, _ROLES, {**owned, "rules": list(RULES)}, timeout=timeout)
    await _applied(api, _BINDINGS, {**owned, "roleRef": reference, "subjects": [subject]}, timeout=timeout)
    found = cluster_pb2.MemberAccount(
        namespace=name, namespace_uid=made["metadata"]["uid"], service_account=SERVICE_ACCOUNT
    )
    return await new_token(api, found, seconds=seconds, clock=clock, timeout=timeout)


async def new_token(
    api: MemberApi,
    account: cluster_pb2.MemberAccount,
    *,
    seconds: int,
    clock: Clock,
    timeout: float,
) -> GivenToken:
    """Return another token of an account, for at most `seconds`; the member may give a shorter one.

    Raises as `make_account`.
    """
    asked = request_token(account.service_account, namespace=account.namespace, seconds=seconds)
    now = clock()
    answer = await _sent(api, asked, timeout=timeout)
    status = answer.document["status"]
    token, said = str(status["token"]), parse_time(status["expirationTimestamp"])
    own = end_of_token(token)
    ends = [each for each in (said, datetime.fromtimestamp(own, UTC) if own is not None else None) if each]
    if not ends or min(ends) <= now:
        raise UnavailableError(
            "the cluster gives a token that has ended already: compare its clock with that of the registry"
        )
    found = cluster_pb2.MemberAccount()
    found.CopyFrom(account)
    found.issue_time.FromDatetime(now)
    found.expire_time.FromDatetime(min(ends))
    return GivenToken(token, found)


async def has_account(api: MemberApi, account: cluster_pb2.MemberAccount, *, timeout: float) -> bool:
    """Return whether the namespace of an account is there still, and not on its way out.

    Raises UnavailableError, UnauthenticatedError, FailedPreconditionError, WrongAnswerError.
    """
    there = get_object(_NAMESPACES, account.namespace)
    found = await _unless_gone(api, there, timeout=timeout)
    metadata = found.document["metadata"] if found is not None else {}
    return metadata.get("uid") == account.namespace_uid and not metadata.get("deletionTimestamp")


async def remove_account(api: MemberApi, account: cluster_pb2.MemberAccount, *, timeout: float) -> None:
    """Delete the namespace of an account, and with it all that was made; nothing if it is gone.

    Raises as `has_account`.
    """
    deletion = delete_object(_NAMESPACES, account.namespace, uid=account.namespace_uid)
    await _unless_gone(api, deletion, timeout=timeout)


async def _unless_gone(api: MemberApi, request: ApiRequest, *, timeout: float) -> Answer | None:
    """Return the answer; None if the member says that the object does not exist."""
    answer = await _asked(api, request, timeout=timeout)
    if absence(request.expect, answer) is Absence.OBJECT:
        return None
    _check(answer, request)
    return answer


async def _applied(api: MemberApi, kind: GroupVersionResource, obj: Object, *, timeout: float) -> Object:
    metadata = obj["metadata"]
    body = {"apiVersion": kind.api_version, "kind": kind.kind, **obj}
    answer = await _sent(
        api,
        apply_object(
            kind,
            metadata["name"],
            orjson.dumps(body),
            field_manager=FIELD_MANAGER,
            namespace=metadata.get("namespace", ""),
        ),
        timeout=timeout,
    )
    made: Object = answer.document
    return made


async def _sent(api: MemberApi, request: ApiRequest, *, timeout: float) -> Answer:
    answer = await _asked(api, request, timeout=timeout)
    _check(answer, request)
    return answer


async def _asked(api: MemberApi, request: ApiRequest, *, timeout: float) -> Answer:
    try:
        async with asyncio.timeout(timeout):
            return await api.ask(request)
    except (TimeoutError, OSError) as error:
        raise UnavailableError(f"no answer to {request}: {str(error) or 'timed out'}") from error


def _check(answer: Answer, request: ApiRequest) -> None:
    if answer.ok:
        return
    said = f"{request} answers HTTP {answer.status}: {answer.message[:200]}"
    if answer.status == 401:
        raise UnauthenticatedError(said)
    if answer.status in {403, 404, 409, 422}:
        raise FailedPreconditionError(said)
    raise UnavailableError(said)
