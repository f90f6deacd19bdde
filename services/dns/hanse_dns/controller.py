"""Keeps the stored record sets what the clusters' health says. The leader runs it; others wait.

Owns `Compilation`: it follows Services, their sync states and the clusters, and notes which Services are
touched. One task compiles everything that is touched since its last turn and commits it, so a burst of
changes is one transaction. A failed turn marks its Services again, loads the journal again and retries;
nothing is forgotten. Host names of load balancers are resolved by the leader (`hanse_dns.resolving`); what is
new of one has its Services compiled. `hanse_dns.journal` is next.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping

from hanse.addresses import is_ip_address
from hanse.background import first_of
from hanse.boundary import Boundary
from hanse.control.leading import lead
from hanse.errors import HanseError, ResourceExhaustedError
from hanse.federation.references import is_same_object
from hanse.kube.kinds.kubernetes import core
from hanse.paths import parts_of, path_of
from hanse.process.telemetry import get_logger, span_from_traceparent
from hanse.store import Collection, Follower, Store, keys
from hanse.store.election import Leadership
from hanse_dns.compiler import ClusterView, CompiledRecord, Presence, compile_service
from hanse_dns.journal import Journal
from hanse_dns.resolution import Resolution
from hanse_dns.resolving import HostNames
from hanse_dns.settings import DnsSettings
from hanse_dns.sources import ServiceIntent, cluster_view, presence, service_intent
from hanse_dns.upstream import Lookup, Upstream

Service = tuple[str, str]
"""(namespace, name)"""

SERVICES = keys.resource_prefix(resource=core.SERVICE.plural)
PRESENCES = keys.resource_prefix(resource=core.SERVICE.plural, prefix=keys.SYNCSTATES)
_FULL_SECONDS = 1.0
ELECTION = "dns"
_log = get_logger(__name__)


def service_of(key: str) -> Service:
    """Return the Service that a key of an object or of a sync state is of."""
    _, _, namespace, name = parts_of(path_of(key))
    return namespace, name


def _is_below(host: str, suffix: str) -> bool:
    """Return whether a host name is the suffix of the federation, or below it."""
    return f".{host.rstrip('.').lower()}".endswith(f".{suffix.lower()}")


class Compilation:
    """What is known of every Service, and which of them must be compiled again."""

    def __init__(
        self,
        store: Store,
        settings: DnsSettings,
        *,
        lookup: Lookup | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`lookup` resolves host names; by default it asks the resolvers of the settings."""
        self._settings = settings
        self._by_host: dict[str, set[Service]] = {}
        self.hosts = HostNames(
            Upstream(settings.dns_upstream) if lookup is None else lookup,
            monotonic=monotonic,
            changed=self._host_changed,
        )
        self._services = Collection(SERVICES, service_intent)
        self._presences = Collection(PRESENCES, presence)
        self._clusters = Collection(f"{keys.CLUSTERS}/", cluster_view)
        self.follower = Follower(store, self._services, self._presences, self._clusters)
        self._services.subscribe(self._service_changed)
        self._presences.subscribe(self._presence_changed)
        self._clusters.subscribe(self._cluster_changed)
        self._by_service: dict[Service, dict[str, Presence]] = {}
        self._touched: set[Service] = set()
        self._boundary = Boundary("dns names")
        self._wake = asyncio.Event()

    def touch(self, services: Iterable[Service]) -> None:
        """Mark Services to be compiled again."""
        self._touched.update(services)
        if self._touched:
            self._wake.set()

    def touch_all(self) -> None:
        """Mark every Service."""
        self.touch(service_of(key) for key, _ in self._services.items())

    async def take(self) -> set[Service]:
        """Wait until something is marked, and takes all the marks."""
        await self._wake.wait()
        self._wake.clear()
        touched, self._touched = self._touched, set()
        return touched

    def blind(self) -> bool:
        """Return whether a cluster is stored that never could be read: it may be one that some name is of."""
        return bool(self._clusters.unknown())

    def compile(self, service: Service) -> tuple[CompiledRecord, ...] | None:
        """Return the record sets that a Service should have now; none if it is not to have names.

        None if that cannot be known, because something that is stored of it never could be read, or the
        compiler fails on it: then its names stay as they are.
        """
        try:
            return None if self._unreadable(service) else self._compiled(service)
        except Exception as error:  # noqa: BLE001 - of this Service; all others are compiled
            self._boundary.failed("/".join(service), error)
            return None

    def _unreadable(self, service: Service) -> bool:
        namespace, name = service
        key = keys.ObjectKey(*core.SERVICE.group_plural, namespace, name)
        if self._services.is_unknown(key.key()):
            return True
        lost = {keys.last_segment(cluster) for cluster in self._clusters.unknown()}
        if not lost.isdisjoint(self._by_service.get(service, ())):
            return True
        return any(state.startswith(key.sync_states()) for state in self._presences.unknown())

    def _compiled(self, service: Service) -> tuple[CompiledRecord, ...]:
        intent = self._intent(service)
        if intent is None or not intent.named:
            return ()
        namespace, name = service
        presences = self._by_service.get(service, {})
        return compile_service(
            naming=self._settings.naming,
            namespace=namespace,
            service=name,
            clusters=sorted((view for _, view in self._clusters.items()), key=lambda view: view.name),
            # what a deleted Service of that name has left is none of this one's
            presences={
                cluster: found
                for cluster, found in presences.items()
                if is_same_object(intent.uid, found.uid)
            },
            resolve=self._resolve,
        )

    def _resolve(self, host: str) -> Resolution:
        """Return what is known of a host name. Those of the federation itself are not asked for."""
        if _is_below(host, self._settings.dns_suffix):
            return Resolution(problem="it is a name of the federation itself")
        return self.hosts.of(host)

    def _host_changed(self, host: str) -> None:
        self.touch(self._by_host.get(host, ()))

    def traceparent(self, service: Service) -> str:
        """Return the trace that the last change of a Service belongs to."""
        intent = self._intent(service)
        return intent.traceparent if intent else ""

    def _intent(self, service: Service) -> ServiceIntent | None:
        namespace, name = service
        return self._services.get(keys.ObjectKey(*core.SERVICE.group_plural, namespace, name).key())

    def _service_changed(
        self, key: str, old: ServiceIntent | None, new: ServiceIntent | None, revision: int
    ) -> None:
        if (old and old.named) or (new and new.named):
            self.touch([service_of(key)])

    def _presence_changed(self, key: str, old: Presence | None, new: Presence | None, revision: int) -> None:
        service, cluster = service_of(key), keys.last_segment(key)
        known = self._by_service.setdefault(service, {})
        if new is None:
            known.pop(cluster, None)
            if not known:
                del self._by_service[service]
        else:
            known[cluster] = new
        if old != new:
            self._follow_hosts(service, known)
            self.touch([service])

    def _follow_hosts(self, service: Service, presences: Mapping[str, Presence]) -> None:
        """Have the host names of a Service resolved, and those of it that are gone no more."""
        wanted = {host for each in presences.values() for host in each.addresses if not is_ip_address(host)}
        for host in [
            host for host, users in self._by_host.items() if service in users and host not in wanted
        ]:
            self._by_host[host].discard(service)
            if not self._by_host[host]:
                del self._by_host[host]
                self.hosts.drop(host)
        for host in wanted:
            self._by_host.setdefault(host, set()).add(service)
            if not _is_below(host, self._settings.dns_suffix):
                self.hosts.want(host)

    def _cluster_changed(
        self, key: str, old: ClusterView | None, new: ClusterView | None, revision: int
    ) -> None:
        if old != new:
            self.touch_all()


class Compiler:
    """Compiles and commits while it leads; see `run`."""

    def __init__(
        self, store: Store, settings: DnsSettings, compilation: Compilation, *, identity: str
    ) -> None:
        self._store = store
        self._settings = settings
        self._compilation = compilation
        self._identity = identity
        self.leads = False
        """Whether this process compiles now."""

    async def run(self) -> None:
        """Lead whenever it may, until cancelled."""
        # Compiling before everything was read once would take names for gone.
        await self._compilation.follower.synced()
        await lead(
            self._store,
            election=ELECTION,
            identity=self._identity,
            ttl=self._settings.leader_ttl,
            while_leading=self._lead,
        )

    async def _lead(self, leadership: Leadership) -> None:
        """Compile what is touched, everything at first, until cancelled."""
        self.leads = True
        try:
            journal = Journal(self._store, zone=self._settings.dns_suffix, fence=leadership.fence())
            await journal.load()
            self._compilation.hosts.recall(journal.resolutions)
            self._compilation.touch(journal.services)
            self._compilation.touch_all()
            await first_of(self._compile(journal), self._compilation.hosts.run())
        finally:
            self.leads = False

    async def _compile(self, journal: Journal) -> None:
        while True:
            touched = await self._compilation.take()
            try:
                await self._commit(journal, touched)
            except ResourceExhaustedError as error:  # to give up the lease would not give it room
                _log.warning("names wait for the store", error=str(error), reason=error.reason)
                await asyncio.sleep(_FULL_SECONDS)

    async def _commit(self, journal: Journal, touched: set[Service]) -> None:
        compiled = {service: self._compilation.compile(service) for service in sorted(touched)}
        wanted = {service: records for service, records in compiled.items() if records is not None}
        traceparents = {service: self._compilation.traceparent(service) for service in wanted}
        first = next(iter(traceparents.values()), "")
        try:
            with span_from_traceparent("dns.compile", first, attributes={"hanse.services": len(wanted)}):
                written = await journal.apply(
                    wanted,
                    ttl=self._settings.dns_ttl,
                    traceparents=traceparents,
                    keep=self._compilation.blind(),
                )
        except HanseError:
            self._compilation.touch(touched)
            raise
        if written:
            _log.info("names changed", services=len(wanted), records=written)
