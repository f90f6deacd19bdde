"""The key ring of a service while it runs: it follows its file or a KMS plugin, and is shown.

Owns `RingKeeper`. A key file that has changed is read again within a second; a ring that cannot be used (cut
short, another mode, empty, or without a key that something is sealed with) changes nothing: the one before
stays, and log, /readyz and a metric say what is wrong. So keys are changed in this order: a new key *last*,
when every process has it *first*, and away with the old one when nothing is sealed with it any more.

Concurrency: one loop; `run` is a task of the service.

Next: `hanse.process.filewatch`, `hanse.security.kms`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

import structlog
from opentelemetry.metrics import CallbackOptions, Meter, Observation

from hanse.process.filewatch import LOOK, WatchedFile
from hanse.security.keyring import Key, KeyName, KeyRing, read_ring
from hanse.security.kms import KmsRing

CREDENTIALS: Final = "credentials"
SECRETS: Final = "secrets"
_RING: Final = "hanse.ring"
_KEY: Final = "hanse.key"
_log = structlog.get_logger(__name__)


class RingKeeper:
    """Keeps `ring` what its file says. `name` tells it from others: `credentials` or `secrets`."""

    def __init__(
        self, name: str, *, key_file: str, kms_socket: str = "", tell: Callable[[str], None] | None = None
    ) -> None:
        """Read the file. `tell` is called with what is wrong with the ring, "" if nothing is.

        Raises ConfigError for a file that cannot be used.
        """
        self.name = name
        self._tell = tell or (lambda _: None)
        self._file = WatchedFile(Path(key_file), read_ring, what="the key file") if key_file else None
        keys = self._file.value if self._file is not None else ()
        self._kms = KmsRing(kms_socket, keys) if kms_socket else None
        self.ring: KeyRing = self._kms or KeyRing(keys)
        self._in_use: Callable[[], Mapping[KeyName, int]] = dict
        self._unreadable: Callable[[], int] = lambda: 0
        self._refused = ""

    @property
    def problem(self) -> str:
        """What is wrong with the ring now; empty if nothing is."""
        if self._file is not None and (self._file.problem or self._refused):
            return self._file.problem or self._refused
        if self._kms is not None and self._kms.problem:
            return f"the KMS plugin at {self._kms.socket} does not do what it should: {self._kms.problem}"
        return ""

    def follow_use(self, in_use: Callable[[], Mapping[KeyName, int]], unreadable: Callable[[], int]) -> None:
        """Say how much is sealed with which key, and how much cannot be read: `in_use`, `unreadable`."""
        self._in_use, self._unreadable = in_use, unreadable

    async def prepare(self) -> None:
        """Ask the plugin, if there is one, before anything is sealed or opened."""
        if self._kms is not None:
            await self._kms.poll()
            self._tell(self.problem)

    async def close(self) -> None:
        """Close what `prepare` has opened, where nothing runs."""
        if self._kms is not None:
            await self._kms.close()

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            if self._kms is not None:
                tasks.create_task(self._poll(self._kms), name=f"KMS plugin of {self.name}")
            if self._file is not None:
                tasks.create_task(self._follow(self._file), name=f"key file of {self.name}")

    async def _poll(self, kms: KmsRing) -> None:
        try:
            await kms.run(lambda: self._tell(self.problem))
        finally:
            await kms.close()

    async def _follow(self, file: WatchedFile[tuple[Key, ...]]) -> None:
        while True:
            self.look(file)
            await asyncio.sleep(LOOK)

    def look(self, file: WatchedFile[tuple[Key, ...]] | None = None) -> None:
        """Take the file's ring, if there is another that can be used."""
        file = file or self._file
        if file is None:
            return
        file.refresh()
        if not file.problem and file.value != self.ring.keys:
            self._take(file.value, file.path)
        elif self._refused and not file.problem:
            self._refused = ""
        self._tell(self.problem)

    def _take(self, keys: tuple[Key, ...], path: Path) -> None:
        refused = self._lacking(keys, path)
        if refused:
            if refused != self._refused:
                _log.error(
                    "the key file cannot be used; the keys of before hold", error=refused, file=str(path)
                )
            self._refused = refused
            return
        self._refused = ""
        self.ring.replace(keys)
        _log.info("the key file was read again", file=str(path), keys=[key.id for key in keys])

    def _lacking(self, keys: tuple[Key, ...], path: Path) -> str:
        """Return what is wrong with a ring that lacks a key, or has another by its id; "" if nothing is."""
        there = set(keys)
        gone = {key.id for key in self.ring.keys if key not in there}
        lost = [
            (name.id, n) for name, n in self._in_use().items() if not name.grant and name.id in gone and n
        ]
        if not lost:
            return ""
        words = ", ".join(f"{key} ({count} sealed with it)" for key, count in sorted(lost))
        return f"{path} lacks keys that are in use: {words}; put their lines back, `hanse keys status` counts"

    def sealed(self) -> Iterable[Observation]:
        """Yield how much is sealed with each key, as an observation."""
        found: Counter[str] = Counter(dict.fromkeys((key.id for key in self.ring.keys), 0))
        for name, count in self._in_use().items():
            found[name.id] += count
        return [Observation(count, {_RING: self.name, _KEY: key}) for key, count in found.items()]

    def unreadable(self) -> Iterable[Observation]:
        """Yield how much cannot be opened, as an observation."""
        return [Observation(self._unreadable(), {_RING: self.name})]

    def positions(self) -> Iterable[Observation]:
        """Yield the place of each key, as an observation."""
        offset = 1 if self._kms is None else 2  # the plugin seals
        return [
            Observation(at, {_RING: self.name, _KEY: key.id}) for at, key in enumerate(self.ring.keys, offset)
        ]

    def problems(self) -> Iterable[Observation]:
        """Yield whether something is wrong, as an observation."""
        return [Observation(int(bool(self.problem)), {_RING: self.name})]


def observe_rings(meter: Meter, *rings: RingKeeper) -> None:
    """Have `meter` show the rings of a process; once for all of them."""

    def shown(of: Callable[[RingKeeper], Iterable[Observation]]) -> Callable[..., list[Observation]]:
        def callback(options: CallbackOptions) -> list[Observation]:
            return [each for ring in rings for each in of(ring)]

        return callback

    meter.create_observable_gauge(
        "hanse.keys.sealed",
        callbacks=[shown(RingKeeper.sealed)],
        unit="{value}",
        description="What is sealed with each key, in etcd.",
    )
    meter.create_observable_gauge(
        "hanse.keys.unreadable",
        callbacks=[shown(RingKeeper.unreadable)],
        unit="{value}",
        description="What is sealed and cannot be opened.",
    )
    meter.create_observable_gauge(
        "hanse.keys.position",
        callbacks=[shown(RingKeeper.positions)],
        unit="1",
        description="Place of each key in the ring; 1 seals.",
    )
    meter.create_observable_gauge(
        "hanse.keys.problem",
        callbacks=[shown(RingKeeper.problems)],
        unit="1",
        description="1 while the key file or the KMS plugin cannot be used.",
    )
