"""The registry's instruments: clusters by state, and when their credentials end.

Every registry shows them, whether it leads or not, from what it follows. Next: `hanse_registry.controller`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from hanse.api.registry.v1.cluster_pb2 import ClusterState
from hanse.control.leading import observe_leading
from hanse.messages import word_of
from hanse.store import keys
from hanse_registry.controller import ELECTION, Registrar
from hanse_registry.member.renewal import is_expiring

STATES = tuple(name for name, number in ClusterState.items() if number)


class RegistryMetrics:
    """The instruments, made once per process."""

    def __init__(self, meter: Meter, registrar: Registrar) -> None:
        self._registrar = registrar
        observe_leading(meter, ELECTION, lambda: registrar.leads)
        meter.create_observable_gauge(
            "hanse.clusters",
            callbacks=[self._clusters],
            unit="{cluster}",
            description="Clusters by state.",
        )
        meter.create_observable_gauge(
            "hanse.credential.end_seconds",
            callbacks=[self._credentials],
            unit="s",
            description="When a cluster's credential ends, unless it is renewed, in seconds since the epoch.",
        )

    def _clusters(self, options: CallbackOptions) -> Iterable[Observation]:
        states = Counter(
            word_of(ClusterState.DESCRIPTOR, view.state) for _, view in self._registrar.clusters.items()
        )
        named = {keys.last_segment(key) for key, _ in self._registrar.objects.items()}
        seen = {keys.last_segment(key) for key, _ in self._registrar.clusters.items()}
        states["PENDING"] += len(named - seen)  # joined, and nothing is known of it yet
        return [Observation(states[state], {"hanse.state": state}) for state in STATES]

    def _credentials(self, options: CallbackOptions) -> Iterable[Observation]:
        ends = self._registrar.credential_ends.items()
        return [Observation(end, {"hanse.cluster": name}) for name, end in ends if self._matters(name)]

    def _matters(self, cluster: str) -> bool:
        """Return whether somebody has to do something before the credential ends: not if it is renewed."""
        view = self._registrar.clusters.get(keys.cluster(cluster))
        return cluster not in self._registrar.renewed or (view is not None and is_expiring(view))
