"""What `kubefed init` is told, checked, and what of it means nothing here.

Owns the rules for each flag. Flags that were given in the first run hold for later ones, as the record in
the host cluster has them (`hanse_install.record`).

Pure functions.

Next: `hanse_install.overlay`, which makes patches of it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from hanse.errors import ConfigError
from hanse.numbers import whole_number
from hanse.process.settings import ServiceSettings, check_names

NAMESPACE: Final = "hanse"
ZONE: Final = "example.org"
OVERLAYS: Final = ("single", "ha", "air-gapped", "host-member")
SERVICE_TYPES: Final = ("LoadBalancer", "NodePort", "ClusterIP")
PULL_POLICIES: Final = ("Always", "IfNotPresent", "Never")
PROVIDERS: Final = ("google-clouddns", "aws-route53", "coredns")
"""DNS providers of Federation v1."""
CONTROLLERS: Final = ("registry", "scheduler", "syncer", "dns")
"""What federation-controller-manager did."""
_SAID_ELSEWHERE: Final[Mapping[str, str]] = {
    "federation_name": "FEDERATION",
    "dns_suffix": "--dns-zone-name",
    "etcd_endpoints": "--etcd-servers",
    "etcd_prefix": "an etcd of its own (--etcd-servers)",
}
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_KEY = re.compile(r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?")
_VALUE = re.compile(r"([A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?)?")
_QUANTITY = re.compile(r"[1-9]\d*(\.\d+)?(Ki|Mi|Gi|Ti|Pi|Ei|k|M|G|T|P|E)?")
_IMAGE = re.compile(r"[\w.-]+(:\d+)?(/[\w.-]+)*(:[\w][\w.-]{0,127})?(@sha256:[0-9a-f]{64})?")


@dataclass(frozen=True, slots=True)
class InitOptions:
    """What init is told. None is what nobody said: then it is as the overlay has it."""

    federation: str
    namespace: str | None = None
    overlay: str | None = None
    dns_zone_name: str | None = None
    image: str | None = None
    image_pull_policy: str | None = None
    image_pull_secrets: str | None = None
    etcd_image: str | None = None
    etcd_servers: str | None = None
    etcd_pv_capacity: str | None = None
    etcd_pv_storage_class: str | None = None
    etcd_persistent_storage: bool | None = None
    api_server_service_type: str | None = None
    api_server_advertise_address: str | None = None
    api_server_port: int | None = None
    node_selector: str | None = None
    apiserver_arg_overrides: str | None = None
    controllermanager_arg_overrides: str | None = None
    cluster_domain: str | None = None

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The external etcd as host:port; empty if it is the one in the host cluster."""
        words = [word.strip() for word in (self.etcd_servers or "").split(",")]
        return tuple(
            word.removeprefix("https://").rstrip("/")
            if ":" in word.removeprefix("https://")
            else f"{word.removeprefix('https://').rstrip('/')}:2379"
            for word in words
            if word
        )

    @property
    def address(self) -> tuple[str, int | None]:
        """Host and port at which the Kubernetes API is said to be; the port may be left open."""
        text = self.api_server_advertise_address or ""
        host, separator, port = text.rpartition(":")
        if not separator or text.endswith("]") or (text.count(":") > 1 and not text.startswith("[")):
            return text.strip("[]"), None
        return host.strip("[]"), whole_number(port, maximum=65535)

    @property
    def selector(self) -> dict[str, str]:
        """The node selector."""
        return dict(_pairs(self.node_selector, "--node-selector"))

    def over(self, remembered: Mapping[str, Any]) -> InitOptions:
        """Return these options, with what is remembered where nothing was said."""
        known = {field.name for field in fields(self)} & remembered.keys() - {"federation"}
        unsaid = {name: remembered[name] for name in known if getattr(self, name) is None}
        return replace(self, **unsaid)

    def said(self) -> dict[str, Any]:
        """Return what was said, to be remembered."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in found.items() if value is not None}


def check(options: InitOptions) -> None:
    """Raise ConfigError, naming the flag, for what cannot be."""
    check_names(options.federation, options.dns_zone_name or ZONE)
    for flag, value, known in (
        ("--overlay", options.overlay, OVERLAYS),
        ("--api-server-service-type", options.api_server_service_type, SERVICE_TYPES),
        ("--image-pull-policy", options.image_pull_policy, PULL_POLICIES),
    ):
        if value is not None and value not in known:
            raise ConfigError(f"{flag} {value} is unknown: use one of {', '.join(known)}")
    for flag, value, pattern, example in (
        ("--federation-system-namespace", options.namespace, _LABEL, "hanse"),
        ("--image-pull-secrets", options.image_pull_secrets, _LABEL, "hanse-pull"),
        ("--etcd-pv-storage-class", options.etcd_pv_storage_class, re.compile(r"[a-z0-9.-]+"), "standard"),
        ("--etcd-pv-capacity", options.etcd_pv_capacity, _QUANTITY, "10Gi"),
        ("--image", options.image, _IMAGE, "registry.example.org/hanse:0.1.0"),
        ("--etcd-image", options.etcd_image, _IMAGE, "registry.example.org/etcd:v3.6.5"),
    ):
        if value is not None and not pattern.fullmatch(value):
            raise ConfigError(f"{flag} {value!r} is none: write it like {example}")
    for label in (options.cluster_domain or "").split("."):
        if options.cluster_domain is not None and not _LABEL.fullmatch(label):
            raise ConfigError(f"--cluster-domain {options.cluster_domain!r} is no DNS name")
    _check_images(options)
    _check_etcd(options)
    _check_address(options)
    _ = options.selector, list(settings(options))


def _check_images(options: InitOptions) -> None:
    for flag, image in (("--image", options.image), ("--etcd-image", options.etcd_image)):
        if image is None or "@" in image:
            continue
        tag = image.rpartition("/")[2].partition(":")[2]
        if tag in {"", "latest"}:
            raise ConfigError(
                f"{flag} {image} is another image tomorrow: give a tag that is not latest, or a digest"
            )


def _check_etcd(options: InitOptions) -> None:
    if "http://" in (options.etcd_servers or ""):
        raise ConfigError(
            "--etcd-servers has http://, and services talk to etcd by TLS with certificates of their own: "
            "give https:// (docs/operations.md, Rights in etcd)"
        )
    for endpoint in options.endpoints:
        host, _, port = endpoint.rpartition(":")
        if not host or "/" in endpoint or not whole_number(port, maximum=65535):
            raise ConfigError(f"--etcd-servers {endpoint} is no address: write https://HOST:PORT,...")
    own = (options.etcd_pv_capacity, options.etcd_pv_storage_class, options.etcd_image)
    if options.endpoints and (any(own) or options.etcd_persistent_storage is not None):
        raise ConfigError("--etcd-servers names an etcd of yours: omit what is for one in the host cluster")
    if options.etcd_persistent_storage is False and (
        options.etcd_pv_capacity or options.etcd_pv_storage_class
    ):
        raise ConfigError("--etcd-persistent-storage=false has no volume: omit the --etcd-pv flags")


def _check_address(options: InitOptions) -> None:
    port = options.api_server_port
    kind = options.api_server_service_type or default_type(options)
    if port and (kind != "NodePort" or not 1 <= port <= 65535):
        raise ConfigError(
            f"--api-server-port {port} is a port of the nodes: it needs --api-server-service-type=NodePort, "
            "and a port in the host cluster's range (30000-32767 if nobody changed it)"
        )
    text = options.api_server_advertise_address
    if text is not None:
        host, advertised = options.address
        bad_host = ":" not in host and not all(_LABEL.fullmatch(label) for label in host.split("."))
        if bad_host or (advertised is None and text.strip("[]") != host):
            raise ConfigError(f"--api-server-advertise-address {text!r} is none: write HOST or HOST:PORT")


def default_type(options: InitOptions) -> str:
    """Return how the Kubernetes API is reached where nobody says so."""
    return "NodePort" if (options.overlay or OVERLAYS[0]) in {"single", "host-member"} else "LoadBalancer"


@functools.cache
def setting_classes() -> Mapping[str, type[ServiceSettings]]:
    """Return the settings of each service. Imported when they are asked for: every `hanse` command loads this
    module."""
    from hanse_apiserver.settings import ApiserverSettings
    from hanse_dns.settings import DnsSettings
    from hanse_registry.settings import RegistrySettings
    from hanse_scheduler.settings import SchedulerSettings
    from hanse_syncer.settings import SyncerSettings

    known = (ApiserverSettings, RegistrySettings, SchedulerSettings, SyncerSettings, DnsSettings)
    return {each.service: each for each in known}


def settings(options: InitOptions) -> Iterator[tuple[str, str, str]]:
    """Service, setting and value of each override. Raises ConfigError for those that do not exist."""
    for flag, text, services in (
        ("--apiserver-arg-overrides", options.apiserver_arg_overrides, ("apiserver",)),
        ("--controllermanager-arg-overrides", options.controllermanager_arg_overrides, CONTROLLERS),
    ):
        for word in re.split(r",(?=--)", text or ""):
            if word:
                yield from _setting(flag, word, services)


def _setting(flag: str, word: str, services: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    name, separator, value = word.partition("=")
    service, dot, last = name.removeprefix("--").rpartition(".")
    setting = last.replace("-", "_")
    among = [service] if dot else list(services)
    having = [
        each
        for each in among
        if each in services and setting in {field.name for field in fields(setting_classes()[each])}
    ]
    if not name.startswith("--") or not separator or not having:
        form = "--SETTING=VALUE" if len(services) == 1 else "--SETTING=VALUE or --SERVICE.SETTING=VALUE"
        raise ConfigError(
            f"{flag} {word!r} is no setting of {', '.join(services)}: write {form}, with a setting of "
            "docs/operations.md; arguments of Federation v1's programs mean nothing here"
        )
    for each in having:
        _check_value(flag, word, service=each, setting=setting, value=value)
        yield each, setting, value


def _check_value(flag: str, word: str, *, service: str, setting: str, value: str) -> None:
    """Raise ConfigError unless the value has the form of the setting."""
    if setting in _SAID_ELSEWHERE:
        raise ConfigError(
            f"{flag} {word!r}: say this by {_SAID_ELSEWHERE[setting]}, for all services at once"
        )
    setting_classes()[service].of({setting: value}, called=lambda name: f"{flag} {name}")


def _pairs(text: str | None, flag: str) -> Iterator[tuple[str, str]]:
    for word in (text or "").split(","):
        key, separator, value = word.strip().partition("=")
        if not word.strip():
            continue
        if not separator or not _KEY.fullmatch(key) or not _VALUE.fullmatch(value):
            raise ConfigError(f"{flag} {word.strip()!r} is no label: write KEY=VALUE,...")
        yield key, value


def without_meaning(given: Mapping[str, Any], zone: str) -> Iterator[str]:
    """Yield a line for each flag of Federation v1 that changes nothing, with what to use instead.

    Raises ConfigError for a DNS provider that v1 did not know either.
    """
    provider = given.get("dns_provider")
    if provider and provider not in PROVIDERS:
        raise ConfigError(
            f"--dns-provider {provider} is unknown: Federation v1 had {', '.join(PROVIDERS)}; omit it, "
            "as Hanse has a name server of its own"
        )
    served = f"Hanse serves names itself: delegate {zone} to the Service hanse-names"
    told = {
        "dns_provider": served,
        "dns_provider_config": served,
        "apiserver_enable_basic_auth": "people have client certificates, or tokens of the setting token_file",
        "apiserver_enable_token_auth": "use --apiserver-arg-overrides=--token-file=PATH",
        "credentials_kubeconfig": "services have no access to the host cluster; members' credentials come by "
        "join",
    }
    for name, instead in told.items():
        if given.get(name):
            yield f"--{name.replace('_', '-')} means nothing here: {instead}"
