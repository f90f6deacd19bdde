"""The tokens that Hanse made in members are renewed in good time, and what ends soon is said.

Owns the rules: a token is due when a third of its time is over, or earlier by the setting; what is due and is
not renewed, and a credential that was given and ends within `NOTICE`, is the condition CredentialExpiring.
And it owns `TokenRenewal`, which asks for the next token by the one that there is, tries it against the same
cluster, and stores it in place, sealed, over exactly the one that it replaces.

Concurrency: one for each cluster, called by its `hanse_registry.membership_controller` alone, which goes on
by the new token when what it follows says that it is stored. Next: `hanse_registry.member.account`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from hanse.api.registry.v1 import cluster_pb2
from hanse.api.type.v1 import condition_pb2
from hanse.backoff import Backoff
from hanse.errors import HanseError, UnavailableError
from hanse.kube.client.access import ClusterAccess
from hanse.kube.model.times import utc_now
from hanse.process.telemetry import get_logger
from hanse.security.credentials import Sealer
from hanse.store import Compare, Put, Store, keys
from hanse_registry.member.account import new_token, words_of
from hanse_registry.member.credentials import end_of, to_access
from hanse_registry.member.probe import MemberApi, probe
from hanse_registry.settings import RegistrySettings

CONDITION: Final = "CredentialExpiring"
"""Type of the condition about the end of the credential."""
NOTICE: Final = timedelta(days=14)
"""So long before its end it is said of a credential that nobody renews; the alert begins then, too."""
SHARE: Final = 3
"""A token is renewed when one such part of its time is over."""
REQUEST_SECONDS: Final = 10.0
"""How long a request of a renewal may take."""
RETRIES: Final = Backoff(base=2.0, limit=120.0, jitter=0.1)
_log = get_logger(__name__)


def due_at(account: cluster_pb2.MemberAccount, *, renew_after: float) -> datetime:
    """Return when a token is to be renewed; `renew_after` is the setting, in seconds."""
    issued, ends = _time(account.issue_time), _time(account.expire_time)
    return issued + min(timedelta(seconds=renew_after), (ends - issued) / SHARE)


def expiring(
    credential: cluster_pb2.ClusterCredential | None, *, problem: str, refused: bool = False, now: datetime
) -> condition_pb2.Condition | None:
    """Return what is to be said of the end of a credential; None for one that lasts, or does not say.

    `problem` is why a token that is due could not be renewed, `refused` that the cluster does not accept it.
    """
    if credential is None:
        return None
    condition = condition_pb2.Condition(type=CONDITION, status=condition_pb2.FALSE)
    if credential.HasField("account"):
        account = credential.account
        what = f"the token of {words_of(account)}, made by Hanse, {_end(_time(account.expire_time), now)}"
        condition.reason, condition.message = "TokenCurrent", f"{what}; it is renewed by itself"
        if refused:
            condition.status, condition.reason = condition_pb2.UNKNOWN, "Refused"
            condition.message = f"{what}, but the cluster does not accept it: see the condition Ready"
        elif problem:
            condition.status, condition.reason = condition_pb2.TRUE, "RenewalFailed"
            condition.message = f"{what} and cannot be renewed: {problem}"
        return condition
    end = end_of(to_access(credential))
    if end is None:
        return None
    ends = datetime.fromtimestamp(end, UTC)
    what = f"the credential {_end(ends, now)}"
    condition.reason, condition.message = "CredentialCurrent", what
    if ends - now < NOTICE:
        condition.status, condition.reason = condition_pb2.TRUE, "CredentialEnds"
        condition.message = (
            f"{what}, and nobody renews it: give another with `hanse update-credentials`, with "
            "--service-account one that renews itself"
        )
    return condition


def is_expiring(cluster: cluster_pb2.Cluster) -> bool:
    """Return whether the credential of a cluster ends soon, or cannot be renewed."""
    return any(each.type == CONDITION and each.status == condition_pb2.TRUE for each in cluster.conditions)


def revoked(credential: cluster_pb2.ClusterCredential, *, now: datetime) -> str:
    """Return why a token that Hanse made is refused (401); empty for another credential."""
    if not credential.HasField("account"):
        return ""
    account = credential.account
    ends = _time(account.expire_time)
    if ends <= now:
        return f"the token of {words_of(account)}, made by Hanse, {_end(ends, now)}"
    return (
        f"the token of {words_of(account)}, made by Hanse, was revoked there before its end at "
        f"{_words(ends)}: "
        "that ServiceAccount or its namespace was deleted, or the keys of the cluster were replaced"
    )


class TokenRenewal:
    """Renews the token of one cluster."""

    def __init__(
        self,
        cluster: str,
        *,
        store: Store,
        sealer: Sealer,
        connect: Callable[[ClusterAccess], AbstractAsyncContextManager[MemberApi]],
        fence: Compare,
        settings: RegistrySettings,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """`fence` must hold for each write."""
        self._cluster = cluster
        self._store = store
        self._sealer = sealer
        self._connect = connect
        self._fence = fence
        self._clock = clock
        self._seconds = settings.token_seconds
        self._renew_after = settings.token_renew_seconds
        self._timeout = max(REQUEST_SECONDS, settings.probe_timeout)
        self._credential: cluster_pb2.ClusterCredential | None = None
        self._revision = 0
        self._failures = 0
        self._again = datetime.min.replace(tzinfo=UTC)
        self._problem = ""
        self._refused = False
        self._random = random.Random()  # noqa: S311 - jitter

    def take(self, credential: cluster_pb2.ClusterCredential | None, *, revision: int) -> None:
        """Take in what is stored, and at which revision."""
        if credential != self._credential:
            self._failures, self._problem, self._again = 0, "", datetime.min.replace(tzinfo=UTC)
        self._credential, self._revision = credential, revision

    @property
    def account(self) -> cluster_pb2.MemberAccount | None:
        """The account that Hanse made in the member; None if there is none."""
        found = self._credential
        return found.account if found is not None and found.HasField("account") else None

    @property
    def condition(self) -> condition_pb2.Condition | None:
        """What is to be said of the end of the credential."""
        return expiring(self._credential, problem=self._problem, refused=self._refused, now=self._clock())

    @property
    def revoked(self) -> str:
        """Why the credential is refused, as far as that is known from it."""
        return revoked(self._credential, now=self._clock()) if self._credential is not None else ""

    def refuse(self) -> None:
        """Take note that the cluster does not accept the credential: there is nothing to renew it by."""
        self._refused = True

    async def attend(self, api: MemberApi, *, problem: str = "") -> None:
        """Renew the token if it is due; `problem` is why that cannot be tried now.

        Raises ConflictError or UnavailableError of the store alone.
        """
        self._refused = False
        account, now = self.account, self._clock()
        if account is None or now < due_at(account, renew_after=self._renew_after):
            return
        if problem:
            self._problem = problem
            return
        if now < self._again:
            return
        try:
            renewed = await self._renewed(api, account)
            sealed = self._sealer.seal(self._cluster, renewed.SerializeToString())
        except HanseError as error:
            self._failures += 1
            self._again = now + timedelta(seconds=RETRIES.delay(self._failures, rng=self._random))
            self._problem = error.message
            _log.warning("a token is not renewed yet", cluster=self._cluster, error=error.message)
            return
        secret = keys.credential(self._cluster)
        compares = [self._fence, Compare.mod(secret, self._revision)]
        stored = await self._store.txn(compares, [Put(secret, sealed)])
        if stored.succeeded:  # else another one was given meanwhile, or another registry leads
            self._failures, self._problem = 0, ""
            self._again = now + timedelta(seconds=RETRIES.base)
            _log.info(
                "a token is renewed", cluster=self._cluster, end=_words(_time(renewed.account.expire_time))
            )

    async def _renewed(
        self, api: MemberApi, account: cluster_pb2.MemberAccount
    ) -> cluster_pb2.ClusterCredential:
        """Return the credential with another token, by which the same cluster has answered."""
        given = await new_token(api, account, seconds=self._seconds, clock=self._clock, timeout=self._timeout)
        renewed = cluster_pb2.ClusterCredential()
        if self._credential is not None:
            renewed.CopyFrom(self._credential)
        renewed.token = given.token
        renewed.account.CopyFrom(given.account)
        async with self._connect(to_access(renewed)) as fresh:
            outcome = await probe(fresh, timeout=self._timeout)
        if not outcome.ok:
            raise UnavailableError(f"the new token does not reach the cluster: {outcome.message}")
        return renewed


def _time(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(tzinfo=UTC)


def _words(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _end(moment: datetime, now: datetime) -> str:
    return f"{'ends' if moment > now else 'ended'} at {_words(moment)}"
