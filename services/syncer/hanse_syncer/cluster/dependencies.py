"""What the cluster controllers of a process share.

Owns `SyncerDependencies`, a value: the entry point makes one, every controller is given it. Clocks are part
of it, so that tests decide what time it is.

Next: `hanse_syncer.cluster.controller`, which is made of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from opentelemetry.trace import Tracer

from hanse.backoff import Backoff
from hanse.federation.events import EventRecorder
from hanse.security.credentials import Sealer
from hanse.store import BatchWriter, Store
from hanse_syncer.decide.render import ManifestRenderer
from hanse_syncer.federation.state import FederationState
from hanse_syncer.member.behaviour import PAUSES
from hanse_syncer.report.metrics import SyncerMetrics
from hanse_syncer.report.state_loader import SyncStateLoader


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncerDependencies:
    """What all cluster controllers of a process share. Times are in seconds."""

    store: Store
    writer: BatchWriter
    """Of sync states; it has no spacing of its own, since the sync state tables keep theirs."""
    federation: FederationState
    sealer: Sealer
    federation_id: str
    renderer: ManifestRenderer
    loader: SyncStateLoader
    events: EventRecorder
    metrics: SyncerMetrics
    tracer: Tracer | None = None
    """None where nobody records spans: then none is made."""
    concurrency: int = 32
    """Requests that a member gets at once, at most."""
    request_seconds: float = 15.0
    report_window: float = 0.2
    pauses: Backoff = PAUSES
    """How long a member that misbehaves is left alone."""
    orphan_interval: float = 300.0
    orphan_settle: float = 2.0
    clock: Callable[[], datetime] = _now
    """The time of day, for what is written down."""
    monotonic: Callable[[], float] = time.monotonic
    """Seconds since some moment, for deadlines and pauses."""
