"""What a local federation consists of: its etcds, its five services, its simulated clusters.

Owns the plan: which processes, in which order, with which ports, files and settings. Tiers: the etcds,
then services and simulated clusters together; the services stop first. `prepare` writes files and starts
nothing.

Concurrency: none; runs before the supervisor starts, under the lock of the data directory.

Next: `hanse_local.supervise.host`, which brings the plan to life.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from hanse.errors import ConfigError, FailedPreconditionError
from hanse.process.settings import ETCD_HISTORY_SECONDS, TlsFiles
from hanse.security.pki import write_private
from hanse_local import ports
from hanse_local.checks import SERVICES, check_options, check_process
from hanse_local.configs import Value, client_toml, tls_values, toml
from hanse_local.etcd import beginnings
from hanse_local.etcd import binary as etcd
from hanse_local.etcd.continuity import EtcdAccess, check_directory
from hanse_local.keys.certificates import ADMIN, ETCD, MEMBERS_ETCD, ROOT, Certificates, held
from hanse_local.layout import DataDir
from hanse_local.options import DEFAULT_CLUSTERS, LOOPBACK, UpOptions
from hanse_local.supervise.process import ProcessSpec
from hanse_local.supervise.readiness import EtcdHealth, ReadyFile
from hanse_local.supervise.state import SEALING, DirectoryState
from hanse_local.topology import SimulatedCluster, default_clusters

HOST = LOOPBACK
_OUTWARD = ("apiserver.https", "dns.dns")
"""The ports that others than this machine may use."""
_COMPACT = "etcd_compact_seconds"
"""The apiserver's setting that the supervisor acts on where etcd is ours: newer etcds let only `root`."""
ETCD_TIER, OTHERS_TIER = 0, 1
"""All but the etcds start together: each waits for those that it needs."""
MEMBER_STOP, SERVICE_STOP = 1, 2
"""Services stop while their members still answer."""


@dataclass(frozen=True, slots=True)
class FederationPlan:
    """All that is needed to run a federation."""

    data: DataDir
    options: UpOptions
    state: DirectoryState
    specs: tuple[ProcessSpec, ...]
    etcd: EtcdAccess
    """Where the federation's state is; as the administrator of etcd if etcd is ours."""
    warnings: tuple[str, ...] = ()
    moved: tuple[str, ...] = field(default=())
    """Names of the ports that are not the same as in the run before."""
    etcd_version: str = ""
    """Version of the embedded etcd; empty if there is none."""
    etcd_words: str = ""
    """The same with where it is from, for people."""
    etcd_quota: int = 0
    """Quota of the embedded etcd in bytes; 0 if there is none."""
    etcd_compact_seconds: float = 0.0
    """How much history of the embedded etcd stays, in seconds; 0 leaves that to etcd."""
    etcd_data: tuple[Path, ...] = ()
    """Where the embedded etcds have their data."""

    @property
    def etcd_warned(self) -> bool:
        """Whether the embedded etcd is one that a crash may harm."""
        return bool(self.etcd_version) and etcd.is_corrupting(etcd.parse_version(self.etcd_version))

    @property
    def https(self) -> str:
        """URL of the Kubernetes API of the federation."""
        return f"https://{joined(self.options.reached_at, self.state.ports['apiserver.https'])}"

    @property
    def dns(self) -> str:
        """Address of the name server."""
        return joined(self.options.reached_at, self.state.ports["dns.dns"])


def joined(host: str, port: int) -> str:
    """`host:port`, as a URL has it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def prepare(data: DataDir, options: UpOptions, claims: ports.Claims) -> FederationPlan:
    """Choose and claim ports, issue certificates, write configuration. Raises HanseError."""
    with held(data):
        return _prepare(data, options, claims)


def _prepare(data: DataDir, options: UpOptions, claims: ports.Claims) -> FederationPlan:
    old = DirectoryState.load(data.state)
    options = options.resolved(old)
    check_options(options)
    clusters = _clusters(old, options)
    endpoints = options.etcd_endpoints or old.etcd_endpoints
    # Addresses of an etcd of several members change; whose federation is there is checked once it answers.
    moved_etcd = bool(endpoints and old.etcd_endpoints and old.federation_id)
    if old.has_federation and endpoints != old.etcd_endpoints and not moved_etcd:
        raise ConfigError(
            f"{data.root} was brought up with {_etcd_words(old.etcd_endpoints)}, not with "
            f"{_etcd_words(endpoints)}: its state is there; use another --data-dir"
        )
    if options.rebuild and old.federation_id not in {"", options.rebuild}:
        raise ConfigError(
            f"--rebuild is {options.rebuild}, and {data.root} had the federation {old.federation_id}: "
            "give that"
        )
    if not endpoints and not options.rebuild:
        check_directory(data.etcd(ETCD), old)
    chosen, moved = ports.choose(
        _port_names(clusters, embedded=not endpoints),
        recorded=old.ports,
        given=options.ports,
        claims=claims,
        hosts=dict.fromkeys(_OUTWARD, options.address),
    )
    state = replace(
        old,
        ports=chosen,
        clusters=clusters,
        etcd_endpoints=endpoints,
        options=options.remembered,
        settings=options.settings,
        advertise=options.advertise,
    )
    _check_moved(state, moved)
    builder = _Builder(data, options, state)
    builder.certificates.keys(
        credentials=old.has_federation, secrets=old.has_federation and old.version >= SEALING
    )
    specs, warnings = builder.specs()
    state.save(data.state)
    builder.write_client_config()
    return FederationPlan(
        data=data,
        options=options,
        state=state,
        specs=specs,
        etcd=builder.etcd_access(ROOT),
        warnings=tuple(warnings),
        moved=tuple(moved),
        etcd_version=builder.etcd_version,
        etcd_words=builder.etcd_words,
        etcd_quota=0 if endpoints else builder.quota(),
        etcd_compact_seconds=0.0 if endpoints else builder.compact_seconds(),
        etcd_data=tuple(data.etcd(spec.name) for spec in specs if spec.tier == ETCD_TIER),
    )


def _clusters(state: DirectoryState, options: UpOptions) -> tuple[SimulatedCluster, ...]:
    known = state.clusters
    if options.clusters is None:
        return known if state.founded else known or default_clusters(DEFAULT_CLUSTERS)
    wanted = default_clusters(options.clusters)
    if state.founded and len(wanted) < len(known):
        raise ConfigError(
            f"this data directory has {len(known)} simulated clusters, and --clusters is {len(wanted)}: "
            "omit --clusters and `hanse unjoin` those that should go, or use another --data-dir"
        )
    return (*known, *wanted[len(known) :]) if state.founded else wanted


def _settings_of(service: str, settings: Mapping[str, str]) -> dict[str, Value]:
    start = f"{service}."
    return {name.removeprefix(start): value for name, value in settings.items() if name.startswith(start)}


def _etcd_words(endpoints: tuple[str, ...]) -> str:
    return f"the etcd at {', '.join(endpoints)}" if endpoints else "its own etcd"


def _port_names(clusters: Iterable[SimulatedCluster], *, embedded: bool) -> list[str]:
    clusters = tuple(clusters)
    etcds = [ETCD] * embedded + [MEMBERS_ETCD] * bool(clusters)
    return [
        *(f"{name}.{port}" for name in etcds for port in ("client", "peer", "health")),
        *(f"{name}.{port}" for name in SERVICES for port in ("grpc", "metrics")),
        "apiserver.https",
        "dns.dns",
        *(f"{cluster.process}.{port}" for cluster in clusters for port in ("https", "metrics")),
    ]


def _check_moved(state: DirectoryState, moved: Iterable[str]) -> None:
    """Check the ports: a joined cluster is known to the federation by its address, so its port must stay."""
    for cluster in state.clusters:
        name = f"{cluster.process}.https"
        if cluster.joined and name in moved:
            raise FailedPreconditionError(
                f"another program listens at the port of the simulated cluster {cluster.name}: end it and "
                "try again, because the cluster was joined with that address"
            )


class _Builder:
    """Builds the processes of one federation and writes their files."""

    def __init__(self, data: DataDir, options: UpOptions, state: DirectoryState) -> None:
        self.data = data
        self.options = options
        self.state = state
        self.certificates = Certificates(data)
        self.etcd_version = self.etcd_words = ""

    def specs(self) -> tuple[tuple[ProcessSpec, ...], list[str]]:
        """Return all processes, and what the user should be warned of."""
        clusters = self.state.clusters
        self.certificates.prepare(
            services=SERVICES,
            clusters=[cluster.name for cluster in clusters],
            names=self.options.advertise,
        )
        found: list[ProcessSpec] = []
        warnings: list[str] = []
        if self.state.etcd_endpoints:
            self._check_remote_etcd(self.state.etcd_endpoints)
        if clusters or not self.state.etcd_endpoints:
            binary = self._embedded()
            warnings += [binary.warning] if binary.warning else []
            if not self.state.etcd_endpoints:
                found.append(self._etcd(binary, ETCD, self.certificates.etcd_server()))
            if clusters:
                found.append(self._etcd(binary, MEMBERS_ETCD, self.certificates.members_etcd_server()))
        found += [self._member(cluster) for cluster in clusters]
        found += [self._service(name) for name in SERVICES]
        return tuple(found), warnings

    def _embedded(self) -> etcd.EtcdBinary:
        """Return the etcd to start, which can open what the one before has written."""
        last = etcd.parse_version(self.state.etcd_version) if self.state.etcd_version else None
        binary = etcd.find(last=last)
        etcd.check_version(binary.version, source=binary.source, production=self.options.production)
        if last is not None:
            etcd.check_change(last, binary.version, source=binary.source)
        self.etcd_version = etcd.dotted(binary.version)
        self.etcd_words = binary.words
        return binary

    def write_client_config(self) -> None:
        """Write client.toml."""
        endpoints = {name: self._address(name, "grpc") for name in SERVICES if name != "apiserver"}
        endpoints["federation"] = self._address("apiserver", "grpc")
        text = client_toml(endpoints, ca="pki/ca.crt", cert=f"pki/{ADMIN}.crt", key=f"pki/{ADMIN}.key")
        write_private(self.data.client_config, text.encode())

    def _address(self, process: str, port: str) -> str:
        name = f"{process}.{port}"
        return joined(self.options.address if name in _OUTWARD else HOST, self.state.ports[name])

    def _expected(self, name: str) -> dict[str, str]:
        """Return where a process serves, as far as it is told."""
        start = f"{name}."
        return {
            port.removeprefix(start): self._address(name, port.removeprefix(start))
            for port in self.state.ports
            if port.startswith(start)
        }

    def etcd_access(self, who: str) -> EtcdAccess:
        """Return how a service, or `ROOT`, reaches the federation's etcd."""
        endpoints, prefix = self.state.etcd_endpoints, self.options.etcd_prefix
        if endpoints:
            where = f"the etcd at {', '.join(endpoints)} below {prefix}"
            return EtcdAccess(endpoints, prefix, tls=self._remote_tls(), where=where)
        return EtcdAccess(
            endpoints=(self._address(ETCD, "client"),),
            prefix=prefix,
            tls=self.certificates.etcd_root() if who == ROOT else self.certificates.etcd_client(who),
            where=str(self.data.etcd(ETCD)),
            root=who == ROOT,
        )

    def _check_remote_etcd(self, endpoints: tuple[str, ...]) -> None:
        version = etcd.remote_version(endpoints, tls=self._remote_tls())
        etcd.check_version(version, source=f"at {endpoints[0]}", production=self.options.production)

    def _remote_tls(self) -> TlsFiles | None:
        given = (self.options.etcd_ca, self.options.etcd_cert, self.options.etcd_key)
        if not any(given):
            return None
        if not all(given):
            raise ConfigError("give all of --etcd-ca, --etcd-cert and --etcd-key, or none of them")
        return TlsFiles(*(Path(path).absolute() for path in given))

    def _etcd(self, binary: etcd.EtcdBinary, name: str, tls: TlsFiles) -> ProcessSpec:
        own = self.state.ports
        numbers = etcd.EtcdPorts(own[f"{name}.client"], own[f"{name}.peer"], own[f"{name}.health"])
        return ProcessSpec(
            name=name,
            command=etcd.command(
                binary,
                name=name,
                data_dir=self.data.etcd(name),
                ports=numbers,
                tls=tls,
                quota=self.quota() if name == ETCD else etcd.QUOTA_BYTES,
            ),
            tier=ETCD_TIER,
            log=self.data.log(name),
            readiness=EtcdHealth(numbers.health, numbers.client),
            keeps=self.data.etcd(name) / beginnings.MEMBER,
        )

    def quota(self) -> int:
        """Quota of the embedded etcd, in bytes."""
        given = _settings_of("apiserver", self.options.settings).get("etcd_quota_bytes", "")
        return int(str(given) or 0) or etcd.QUOTA_BYTES

    def compact_seconds(self) -> float:
        """Return how much history of the embedded etcd stays, in seconds."""
        given = _settings_of("apiserver", self.options.settings).get(_COMPACT, "")
        return float(str(given) or ETCD_HISTORY_SECONDS)

    def _python(
        self, name: str, *, module: str, stop_tier: int, settings: Mapping[str, Value]
    ) -> ProcessSpec:
        service = module.removeprefix("hanse_")
        given = _settings_of(service, self.options.settings)
        settings = {**settings, **given}
        if given:
            check_process(service, settings)
        if service == "apiserver" and not self.state.etcd_endpoints:
            settings[_COMPACT] = 0.0  # the supervisor does it
        write_private(self.data.config_file(name), toml(settings).encode())
        return ProcessSpec(
            name=name,
            command=(sys.executable, "-m", module, "--config", str(self.data.config_file(name))),
            tier=OTHERS_TIER,
            stop_tier=stop_tier,
            log=self.data.log(name),
            readiness=ReadyFile(self.data.ready_file(name), self._expected(name)),
            environment={"PYTHONUNBUFFERED": "1"},
        )

    def _service(self, name: str) -> ProcessSpec:
        options = self.options
        settings: dict[str, Value] = {
            "listen": self._address(name, "grpc"),
            "metrics_listen": self._address(name, "metrics"),
            "etcd_prefix": options.etcd_prefix,
            "ready_file": str(self.data.ready_file(name)),
            "log_level": options.log_level,
            "federation_name": options.federation_name,
            "dns_suffix": options.dns_suffix,
            "apiserver_endpoint": self._address("apiserver", "grpc"),
            "peers": [f"{peer}={self._address(peer, 'grpc')}" for peer in SERVICES],
            "otlp_endpoint": options.otlp_endpoint,
            "deny_list_file": str(self.data.deny_list),
            **tls_values("tls", self.certificates.service(name, names=options.advertise)),
        }
        access = self.etcd_access(name)
        settings["etcd_endpoints"] = list(access.endpoints)
        settings |= tls_values("etcd", access.tls) if access.tls else {}
        if name in ("apiserver", "syncer"):
            settings["secrets_key_file"] = str(self.data.secrets_key)
        if name in ("registry", "syncer"):
            settings["credentials_key_file"] = str(self.data.credentials_key)
        if name == "apiserver":
            settings["https_listen"] = self._address("apiserver", "https")
            settings["advertise_address"] = joined(options.reached_at, self.state.ports["apiserver.https"])
            settings["etcd_quota_bytes"] = 0 if self.state.etcd_endpoints else self.quota()
        if name == "dns":
            settings["dns_listen"] = self._address("dns", "dns")
        return self._python(name, module=f"hanse_{name}", stop_tier=SERVICE_STOP, settings=settings)

    def _member(self, cluster: SimulatedCluster) -> ProcessSpec:
        name = cluster.process
        settings: dict[str, Value] = {
            "name": cluster.name,
            "region": cluster.region,
            "zones": list(cluster.zones),
            "listen": self._address(name, "https"),
            "metrics_listen": self._address(name, "metrics"),
            "etcd_endpoints": [self._address(MEMBERS_ETCD, "client")],
            "etcd_prefix": f"/members/{cluster.name}",
            "pki_dir": str(self.data.clusters / cluster.name),
            "kubeconfig_file": str(self.data.cluster_kubeconfig(cluster.name)),
            "ready_file": str(self.data.ready_file(name)),
            "log_level": self.options.log_level,
            **tls_values("etcd", self.certificates.members_etcd_client(cluster.name)),
        }
        return self._python(name, module="hanse_simulator", stop_tier=MEMBER_STOP, settings=settings)
