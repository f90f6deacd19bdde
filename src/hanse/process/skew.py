"""Which releases of Hanse work beside each other, and what is said of those that do not.

Owns the rule of docs/upgrades.md, `supported`, and `Peers`, which notes the release of every process that
this one meets by RPC, in either direction. One that is too far off is said in the log, once, and counted;
work goes on with what is understood.

Concurrency: `Peers` belongs to one event loop. Next: `hanse.rpc.interceptor` and `hanse.rpc.calls`, which
tell it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from hanse import __version__
from hanse.process.telemetry import get_logger

KEY: Final = "hanse-version"
"""Metadata of every RPC, of request and response, with the release of who sends it."""
MAX_PEERS: Final = 256
"""Peers that are noted; whoever could make up more is not to fill memory and the log."""
RECENT_SECONDS: Final = 600.0
"""How long a peer counts after it was met last: it may have been upgraded meanwhile."""
_RELEASE: Final = re.compile(r"(\d{1,6})\.(\d{1,6})\.(\d{1,6})(?:[-+.a-z][-+.a-z0-9]{0,40})?", re.IGNORECASE)
_log = get_logger(__name__)


def minor_of(version: str) -> tuple[int, int] | None:
    """Return (major, minor) of "0.2.1" or "0.2.1.dev3"; None for what is no release."""
    match = _RELEASE.fullmatch(version)
    return (int(match[1]), int(match[2])) if match else None


def supported(one: str, other: str) -> bool:
    """Return whether two releases may run side by side: of one major version, at most one minor apart.

    Of what is no release nothing is known, and nothing is said against it.
    """
    left, right = minor_of(one), minor_of(other)
    return left is None or right is None or (left[0] == right[0] and abs(left[1] - right[1]) <= 1)


def complaints(releases: Mapping[str, str]) -> list[str]:
    """Return what is wrong with processes, by name, of these releases; empty if each two work together.

    The newest is what the others are measured by: an upgrade goes there.
    """
    known = {name: found for name, version in releases.items() if (found := minor_of(version)) is not None}
    if not known:
        return []
    newest = max(known, key=lambda name: known[name])
    return [
        f"{name} is of release {releases[name]}, {newest} of {releases[newest]}: at most one minor version "
        "between them is supported; upgrade one minor version after the other (see docs/upgrades.md)"
        for name in known
        if not supported(releases[name], releases[newest])
    ]


def told(metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    """Return the release in the metadata of a call; empty if there is none, as of a release before 0.1.0."""
    found = next((value for key, value in metadata or () if key == KEY), "")
    return found if isinstance(found, str) and _RELEASE.fullmatch(found) else ""


class Peers:
    """The releases of the peers that were met; two processes of one name may be of two."""

    def __init__(self, own: str = __version__, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._own = own
        self._clock = clock
        self._met: dict[tuple[str, str], float] = {}

    def note(self, name: str, version: str) -> None:
        """Take note that a peer `name` is of release `version`; empty for one that does not tell."""
        known = (name, version) in self._met
        if not version or (not known and len(self._met) >= MAX_PEERS):
            return
        self._met[name, version] = self._clock()
        if known:
            return
        if not supported(self._own, version):
            _log.warning(
                "a peer is of a release that is not supported beside this one; what is understood goes on",
                peer=name,
                peer_version=version,
                version=self._own,
            )
        elif version != self._own:
            _log.info("a peer is of another release", peer=name, peer_version=version, version=self._own)

    @property
    def unsupported(self) -> list[str]:
        """The peers, met of late, whose release is too far off."""
        since = self._clock() - RECENT_SECONDS
        return sorted(
            f"{name} {version}"
            for (name, version), met in self._met.items()
            if met >= since and not supported(self._own, version)
        )

    def observe(self, meter: Meter) -> None:
        """Tell this process's release and how many of its peers are too far off, as metrics."""

        def count(_: CallbackOptions) -> list[Observation]:
            return [Observation(len(self.unsupported))]

        meter.create_observable_gauge(
            "hanse.build.info",
            callbacks=[lambda _: [Observation(1, {"hanse.version": self._own})]],
            unit="{process}",
            description="1, with the release of the process.",
        )
        meter.create_observable_gauge(
            "hanse.peers.unsupported",
            callbacks=[count],
            unit="{peer}",
            description="Peers of a release that is not supported beside this one.",
        )


PEERS: Final = Peers()
"""Those of this process."""
