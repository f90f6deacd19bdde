"""Why a look at an object did not end as it should, and when to look again.

Owns `SyncError`, which carries it from the request to the one place that writes it down. Pure.

Next: `hanse_syncer.act.reconciler`, which catches it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.kube.client.answer import Answer
from hanse_syncer.decide.verdicts import MemberVerdict, forbidden_verb

BELONGS: Final = "BelongsToCluster"
"""Reason of the conflict about what belongs to the cluster itself."""


@dataclass(frozen=True, slots=True)
class SyncCondition:
    """What the sync state is to say. `quoted` is whether the message has a cluster's own words, `verb` what a
    credential may not do there, as the cluster says; of what it says that alone has no value of the object.
    """

    phase: sync.SyncPhase.ValueType
    reason: str
    message: str
    quoted: bool = False
    verb: str = ""

    def unquoted(self) -> SyncCondition:
        """Return it without a cluster's own words, which may have values of the object."""
        if not self.quoted:
            return self
        reason = self.reason if self.reason.isalnum() else "Refused"
        right = f": the credential may not {self.verb} it there" if self.verb else ""
        message = f"{reason}{right}; what the cluster says is not written down, because the object is sealed"
        return SyncCondition(self.phase, reason, message)


class SyncError(Exception):
    """Reconciling the object ends here. `transient` errors are retried before anybody is told.

    `waits_for` is a token of `hanse_syncer.act.waiting`; `retry_after` is in seconds, None for the usual
    backoff; `slow` is for what will be refused again until somebody changes something.
    """

    def __init__(
        self,
        condition: SyncCondition,
        *,
        waits_for: str = "",
        retry_after: float | None = None,
        transient: bool = False,
        slow: bool = False,
    ) -> None:
        super().__init__(condition.message)
        self.condition = condition
        self.waits_for = waits_for
        self.retry_after = retry_after
        self.transient = transient
        self.slow = slow

    @classmethod
    def of(
        cls, verdict: MemberVerdict, answer: Answer, *, namespace_token: str = "", api_token: str = ""
    ) -> Self:
        """Return what an answer that is not a success means."""
        said = answer.message
        if verdict is MemberVerdict.NO_NAMESPACE:
            return cls(
                SyncCondition(sync.WAITING, "NamespaceMissing", said, quoted=True), waits_for=namespace_token
            )
        if verdict is MemberVerdict.NAMESPACE_TERMINATING:
            return cls(
                SyncCondition(sync.WAITING, "NamespaceTerminating", said, quoted=True),
                waits_for=namespace_token,
            )
        if verdict is MemberVerdict.NO_API:
            return cls(
                SyncCondition(sync.WAITING, "ResourceNotServed", said, quoted=True), waits_for=api_token
            )
        if verdict is MemberVerdict.THROTTLED:
            return cls(
                SyncCondition(sync.FAILED, "Throttled", said, quoted=True),
                retry_after=answer.retry_after(),
                transient=True,
            )
        if verdict is MemberVerdict.BROKEN:
            return cls(
                SyncCondition(sync.FAILED, answer.reason or f"Http{answer.status}", said, quoted=True),
                retry_after=answer.retry_after(),
                transient=True,
            )
        return cls(
            SyncCondition(
                sync.FAILED,
                answer.reason or f"Http{answer.status}",
                said,
                quoted=True,
                verb=forbidden_verb(answer),
            ),
            slow=True,
        )
