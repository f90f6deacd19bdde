"""How a cluster's probes add up to its state. A pure state machine.

One probe that succeeds makes a cluster ready. `threshold` failed ones in a row make a ready cluster offline;
a cluster that was never reached stays pending. That a cluster is offline says that nobody knows how it is,
and never that it is empty. That another cluster answers at its address counts at once.

A cluster that refuses the credential is up: what counts as offline is only that it does not answer. One that
was ready is asked `threshold` times, since an API server that starts may refuse what it accepts a moment
later; one that was offline is up with its first refusal; one that refuses is offline after `threshold`
failures to answer in a row, as one that is ready is. A refusal does not show which cluster answers: that
another one does stands until a probe succeeds.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace


class Standing(enum.Enum):
    """What the probes say."""

    UNKNOWN = "unknown"
    READY = "ready"
    OFFLINE = "offline"
    IDENTITY_MISMATCH = "identity-mismatch"
    """Another cluster answers at its address."""
    MISBEHAVING = "misbehaving"
    """It answers more than a cluster may, or what no API server answers."""
    CREDENTIAL_REFUSED = "credential-refused"
    """It answers, and refuses the credential."""


_UP = frozenset({Standing.READY, Standing.CREDENTIAL_REFUSED})


@dataclass(frozen=True, slots=True)
class ClusterHealth:
    """The state after some probes. `message` is of the last failure, or empty."""

    standing: Standing = Standing.UNKNOWN
    failures: int = 0
    reason: str = "NotProbed"
    message: str = "the cluster was not probed yet"


@dataclass(frozen=True, slots=True)
class ProbeOutcome:
    """What one probe found: no reason means success.

    `standing` is what a failure makes of the cluster, if there are enough of them.
    """

    reason: str = ""
    message: str = ""
    standing: Standing = Standing.OFFLINE
    unauthenticated: bool = False
    """Whether it was refused as nobody's (401), and not as somebody who lacks a right."""

    @property
    def ok(self) -> bool:
        """Whether the cluster answered that it is ready."""
        return not self.reason


def after(health: ClusterHealth, outcome: ProbeOutcome, *, threshold: int) -> ClusterHealth:
    """Return the health after one more probe."""
    if outcome.ok:
        return ClusterHealth(Standing.READY, 0, "ProbeSucceeded", "the API server answers /readyz")
    failed = replace(health, failures=health.failures + 1, reason=outcome.reason, message=outcome.message)
    if outcome.standing is Standing.IDENTITY_MISMATCH:
        return replace(failed, standing=outcome.standing)
    if outcome.standing is Standing.CREDENTIAL_REFUSED:
        if health.standing is Standing.IDENTITY_MISMATCH:
            return health
        if health.standing is Standing.CREDENTIAL_REFUSED:
            return replace(failed, failures=0)
    if health.standing in _UP and failed.failures < threshold:
        return replace(health, failures=failed.failures)
    if outcome.standing is Standing.CREDENTIAL_REFUSED:
        failed = replace(failed, failures=0)
    if health.standing is Standing.UNKNOWN and outcome.standing is Standing.OFFLINE:
        return failed
    return replace(failed, standing=outcome.standing)
