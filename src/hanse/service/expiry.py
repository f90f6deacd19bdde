"""When the certificates of a process end, as a metric: the one thing that breaks a mesh that works.

Owns the gauge `hanse.certificate.end_seconds`, one series for each setting that names a certificate. Files
are read again when they have changed, so a renewal shows. Of several certificates in a file the first to end
counts; of authorities the last, because an old one stays in the file while it is rotated.

Concurrency: read when metrics are collected, small files, from one thread at a time.

Next: `hanse.service.runtime`, which observes every service's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from hanse.process.settings import ServiceSettings
from hanse.security.lifetimes import ends_of


def certificate_files(settings: ServiceSettings) -> dict[str, Path]:
    """Return the files with certificates that the settings name, by setting."""
    names = (field.name for field in dataclasses.fields(settings))
    given = {name: str(getattr(settings, name)) for name in names if name.endswith(("_ca", "_cert"))}
    return {name: Path(path) for name, path in given.items() if path}


class Expiry:
    """Observes when certificates end."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        """`files` are PEM files, by the setting that names them."""
        self._files = dict(files)
        self._known: dict[str, tuple[int, float]] = {}

    def observe(self, meter: Meter) -> None:
        """Have `meter` show them from now on."""
        meter.create_observable_gauge(
            "hanse.certificate.end_seconds",
            callbacks=[self._observe],
            unit="s",
            description="When a certificate ends, in seconds since the epoch, by the setting that names it.",
        )

    def ends(self) -> dict[str, float]:
        """Return when each ends, by setting; one that cannot be read keeps what it said before."""
        for setting, path in self._files.items():
            try:
                stamp = path.stat().st_mtime_ns
                known = self._known.get(setting)
                if known is None or known[0] != stamp:
                    found = ends_of(path.read_text())
                    choose = max if setting.endswith("_ca") else min
                    self._known[setting] = stamp, choose(found)
            except (OSError, ValueError):
                continue  # being replaced, or broken: who uses it says so
        return {setting: end for setting, (_, end) in self._known.items()}

    def _observe(self, options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(end, {"hanse.setting": setting}) for setting, end in self.ends().items()]
