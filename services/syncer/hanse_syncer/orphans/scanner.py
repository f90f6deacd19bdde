"""Looks for orphans in one member.

Owns `OrphanScanner`. What the informers show is told at once (`consider`); all other resources that the
member serves are listed, metadata of our objects only, when the connection is made or comes back and every
`interval` seconds. A candidate becomes an orphan only if the object is unexplained twice, `settle` seconds
apart, and the member shows it by name. One that is listed no more is asked for by name as well before it is
taken off the report. Nothing is ever deleted in the member.

Concurrency: one task per controller; every method but `run` only notes something. Requests go one at a time.

Next: `hanse_syncer.orphans.rules` for the rules, `hanse_syncer.orphans.reporter` for what becomes of a
finding.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from typing import Final

from hanse.api.registry.v1.cluster_pb2 import ApiCatalogue, ApiResource
from hanse.api.syncer.v1.orphan_pb2 import Orphan
from hanse.boundary import Boundary
from hanse.errors import FailedPreconditionError, HanseError, UnavailableError
from hanse.kube.client.requests import GroupVersionResource
from hanse.paths import path_to, resource_path
from hanse.process.telemetry import get_logger
from hanse.store import keys
from hanse.store.keys import ObjectKey
from hanse_syncer import ownership
from hanse_syncer.decide.errors import SyncError
from hanse_syncer.decide.verdicts import MemberVerdict
from hanse_syncer.federation.state import FederationState
from hanse_syncer.member.client import LinkDownError, MemberObject
from hanse_syncer.member.session import MemberSession
from hanse_syncer.orphans import rules as orphans
from hanse_syncer.orphans.reporter import OrphanReporter
from hanse_syncer.report.state_table import SyncStateTable

_log = get_logger(__name__)
MAX_CANDIDATES: Final = 1000
"""Paths that are looked at in one turn; a member that shows more has the rest looked at in the next scan."""
_SLICE: Final = 200
"""Objects that are judged before others get their turn."""
_BUSY_SECONDS: Final = 30.0
"""The first scan waits at most so long for the controller to have gone through everything."""
_SPACING_SECONDS: Final = 10.0
"""Least time between two scans that something asks for."""
_ATTENTIVE_SECONDS: Final = 30.0
"""Time between two scans while there are orphans, so that one that was dealt with is soon off the report."""


class NotOrphan(enum.Enum):
    """What the member says about a candidate that it does not show to be an orphan."""

    NONE = "none"
    """It is none, or not any more."""
    UNKNOWN = "unknown"


class OrphanScanner:
    """The orphans of one cluster. `session` and `settled` tell how the controller is."""

    def __init__(
        self,
        cluster: str,
        *,
        federation: FederationState,
        states: SyncStateTable,
        report: OrphanReporter,
        federation_id: str,
        session: Callable[[], MemberSession | None],
        settled: Callable[[], bool],
        interval: float,
        settle: float,
        monotonic: Callable[[], float],
    ) -> None:
        """`interval` and `settle` are in seconds, and `monotonic` counts them."""
        self._cluster = cluster
        self._federation = federation
        self._states = states
        self._report = report
        self._federation_id = federation_id
        self._session = session
        self._settled = settled
        self._interval = interval
        self._settle = settle
        self._monotonic = monotonic
        self._candidates: set[str] = set()
        self._dismissed: dict[str, str] = {}
        """By path: the uid of what carries our marks and is no orphan for a reason that stays."""
        self._refused_kinds: set[tuple[str, str, str]] = set()
        """Kinds that the member did not list, with the errors that were logged."""
        self._boundary = Boundary("member orphans")
        self._scan_asked = True
        self._wake = asyncio.Event()

    def consider(self, path: str) -> None:
        """Take note that the object at `path` may be an orphan, or may be one no longer."""
        if len(self._candidates) < MAX_CANDIDATES and orphans.is_path(path):
            self._candidates.add(path)
            self._wake.set()

    def changed(self, path: str) -> None:
        """Something about the object changed: that matters if it is on the report."""
        if path in self._report.listed:
            self.consider(path)

    def scan_soon(self) -> None:
        """Go through the whole member soon: what it has may have changed unseen."""
        self._scan_asked = True
        self._wake.set()

    async def run(self) -> None:
        """Look until cancelled. Raises FailedPreconditionError (`LEADERSHIP_LOST`) when the fence fails."""
        await self._report.load()
        try:
            await self._until_settled()
            scanned_at = float("-inf")
            while True:
                session, catalogue = self._session(), self._federation.catalogue(self._cluster)
                if session is None or not session.open or catalogue is None:
                    await asyncio.sleep(self._settle)
                    continue
                self._wake.clear()
                wait = self._until_scan(self._monotonic() - scanned_at)
                try:
                    if wait <= 0:
                        scanned_at, self._scan_asked = self._monotonic(), False
                        await self._scan(session, catalogue)
                    else:
                        await self._check(session, await self._still_unexplained(self._take()))
                    await self._report.write()
                except LinkDownError as error:
                    self._scan_asked = True
                    session.lost(error)
                except FailedPreconditionError:
                    raise
                except UnavailableError as error:
                    _log.info("cannot look for orphans now", cluster=self._cluster, error=error.message)
                    self._scan_asked = True
                except Exception as error:  # noqa: BLE001 - what a member shows ends no controller
                    self._boundary.failed(self._cluster, error)
                await asyncio.sleep(self._settle)
                if not self._candidates:
                    await self._pause(self._until_scan(self._monotonic() - scanned_at))
        finally:
            self._report.close()

    # --- when to look

    def _until_scan(self, since: float) -> float:
        """Return the seconds until the next scan; `since` is how long ago the last one began."""
        if self._scan_asked:
            return min(_SPACING_SECONDS, self._interval) - since
        interval = min(self._interval, _ATTENTIVE_SECONDS) if self._report.listed else self._interval
        return interval - since

    async def _until_settled(self) -> None:
        """Wait until the informers have listed what is in use: that needs no list of its own."""
        deadline = self._monotonic() + _BUSY_SECONDS
        while not self._settled() and self._monotonic() < deadline:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(min(1.0, self._settle))

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _take(self) -> set[str]:
        taken, self._candidates = self._candidates, set()
        return taken

    async def _still_unexplained(self, candidates: set[str]) -> set[str]:
        """Return those that are still unexplained after a while, and those that are on the report."""
        new = {path for path in candidates if path not in self._report.listed and self._unexplained(path)}
        if new:
            await asyncio.sleep(self._settle)
        return {path for path in new if self._unexplained(path)} | (candidates & self._report.listed.keys())

    # --- looking

    async def _scan(self, session: MemberSession, catalogue: ApiCatalogue) -> None:
        """Go through all that the member serves."""
        shown: dict[str, str] = {}
        dismissed: dict[str, str] = {}
        unlisted: set[str] = set()
        for resource in orphans.places(catalogue.resources):
            prefix = f"{resource_path(resource.group, resource.resource)}/"
            found = await self._ours(session, resource)
            if found is None:
                unlisted.add(prefix)
                continue
            for number, (namespace, name, uid) in enumerate(found):
                path = path_to(
                    group=resource.group, resource=resource.resource, namespace=namespace, name=name
                )
                if not orphans.is_path(path) or len(uid) > orphans.MAX_UID:
                    continue
                if self._dismissed.get(path) == uid:
                    dismissed[path] = uid
                elif self._unexplained(path):
                    shown[path] = uid
                if number % _SLICE == 0:
                    await asyncio.sleep(0)
        self._dismissed = dismissed
        gone = {
            path
            for path, orphan in self._report.listed.items()
            if shown.get(path) != orphan.member_uid and not path.startswith(tuple(unlisted))
        }
        candidates = self._take() | (shown.keys() - self._report.listed.keys()) | gone
        room = sorted(candidates)[:MAX_CANDIDATES]
        left = await self._check(session, await self._still_unexplained(set(room)))
        self._report.beyond = left + len(candidates) - len(room)

    async def _ours(self, session: MemberSession, resource: ApiResource) -> list[tuple[str, str, str]] | None:
        """Return (namespace, name, uid) of our objects of a resource; None if the member does not tell."""
        followed = session.followed(resource.group, resource.resource)
        if followed is not None:
            return [(*identity, seen.uid) for identity, seen in followed.items()]
        try:
            listed = await session.client.list_metadata(
                GroupVersionResource.of(resource.group, resource.version, resource.resource, resource.kind),
                label_selector=ownership.selector(self._federation_id),
            )
            return [
                (str(metadata.get("namespace") or ""), str(metadata["name"]), str(metadata["uid"]))
                for item in listed.items
                if orphans.is_ours(item, self._federation_id) and (metadata := item["metadata"])
            ]
        except UnavailableError:
            raise
        except (HanseError, LookupError, TypeError, ValueError) as error:
            said = (resource.group, resource.resource, type(error).__name__)
            if said not in self._refused_kinds:
                self._refused_kinds.add(said)
                _log.info(
                    "objects of a kind cannot be listed",
                    cluster=self._cluster,
                    kind=resource.kind,
                    error=str(error),
                )
            return None

    def _unexplained(self, path: str) -> bool:
        federation = self._federation
        if (
            orphans.may_be_copied(path)
            or f"{keys.OBJECTS}/{path}" in federation.intents.broken
            or f"{keys.PLACEMENTS}/{path}" in federation.placements.broken
        ):
            return False
        entry = federation.placement(path)
        placement = entry.value if entry is not None else None
        return orphans.unexplained(federation.intent(path), placement, self._cluster) is not None

    async def _check(self, session: MemberSession, candidates: set[str]) -> int:
        """Ask for candidates by name, report what is so; return for how many there was no room."""
        report, left = self._report, 0
        try:
            for path in sorted(candidates):
                if path not in report.listed and report.full:
                    left += 1
                    continue
                found = await self._read(session, path)
                if isinstance(found, Orphan):
                    report.add(path, found)
                elif found is NotOrphan.NONE:
                    report.drop(path)
        finally:
            report.announce()
        return left

    async def _read(self, session: MemberSession, path: str) -> Orphan | NotOrphan:
        """Return the orphan at `path` as the member shows it by name."""
        if not self._unexplained(path):
            return NotOrphan.NONE
        key = ObjectKey.parse(f"{keys.OBJECTS}/{path}")
        served = self._served(key)
        if served is None:
            return NotOrphan.NONE
        version = f"{served.group}/{served.version}" if served.group else served.version
        target = MemberObject(key, version, kind=served.kind)
        try:
            answer = await session.member.get(target)
        except SyncError:
            return NotOrphan.UNKNOWN
        verdict = session.member.verdict(target, answer)
        if verdict is MemberVerdict.ABSENT:
            if self._unexplained(path):
                self._states.drop(path)  # of what nobody wants, and is not there
            return NotOrphan.NONE
        if verdict is not MemberVerdict.DONE:
            return NotOrphan.UNKNOWN
        live = answer.document
        uid = str(live["metadata"]["uid"])
        if len(uid) > orphans.MAX_UID:
            return NotOrphan.UNKNOWN
        if not orphans.is_ours(live, self._federation_id):
            self._dismissed[path] = uid
            return NotOrphan.NONE
        entry = self._federation.placement(path)
        reason = orphans.unexplained(
            self._federation.intent(path), entry.value if entry is not None else None, self._cluster
        )
        if reason is None:
            return NotOrphan.NONE
        return orphans.orphan(key, self._cluster, uid=uid, served=served, reason=reason)

    def _served(self, key: ObjectKey) -> ApiResource | None:
        """Return the resource in which to ask for the object; None if the member serves none."""
        catalogue = self._federation.catalogue(self._cluster)
        resources = catalogue.resources if catalogue is not None else ()
        served = [r for r in resources if (r.group, r.resource) == (key.group, key.resource)]
        return next((r for r in served if r.preferred), served[0] if served else None)
