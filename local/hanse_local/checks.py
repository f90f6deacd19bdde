"""What is wrong with what a user asks of `hanse up`, found before anything is made or started.

Owns the rules that need no data directory. What must fit the data directory is checked by
`hanse_local.federation`, which applies these rules to what the directory remembers too. What a process
can be told is judged by its own settings class, which is imported only when somebody tells it something.

Concurrency: none; pure.

Next: `hanse_local.federation`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module

from hanse.addresses import is_ip_address
from hanse.errors import ConfigError
from hanse.process.settings import ServiceSettings
from hanse_local import ports
from hanse_local.options import UpOptions
from hanse_local.topology import default_clusters

SERVICES = ("apiserver", "registry", "scheduler", "syncer", "dns")
SIMULATOR = "simulator"
_LABEL = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_COMMON = ("etcd_prefix", "federation_name", "dns_suffix", "otlp_endpoint")
"""Options that are a setting of every process, and are judged as such."""


def check_options(options: UpOptions) -> None:
    """Raise ConfigError for an option that is wrong whatever is in the data directory."""
    if options.clusters is not None:
        try:
            default_clusters(options.clusters)
        except ValueError as error:
            raise ConfigError(str(error)) from error
    ports.check_given(options.ports)
    given = {name: getattr(options, name) for name in _COMMON}
    ServiceSettings(**{name: value for name, value in given.items() if value}).validate()
    for name, value in options.settings.items():
        _check_setting(name, value)
    if options.rebuild and not _UUID.fullmatch(options.rebuild):
        raise ConfigError(
            f"--rebuild {options.rebuild!r} is no federation's id: it is federation_id in state.json, and "
            "the label hanse.dev/federation of its objects in the members"
        )
    for name in options.advertise:
        _check_name(name)
    if options.listen and not is_ip_address(options.listen):
        raise ConfigError(f"--listen {options.listen!r} is no IP address")


def _check_name(name: str) -> None:
    labels = name.rstrip(".").split(".")
    if not is_ip_address(name) and not all(map(_LABEL.fullmatch, labels)):
        raise ConfigError(f"--advertise {name!r} is neither a host name nor an IP address")
    if name in ("0.0.0.0", "::"):  # noqa: S104 - it is refused
        raise ConfigError(f"--advertise {name} is no address that others can reach: give this machine's")


def _check_setting(name: str, value: str) -> None:
    service, separator, setting = name.partition(".")
    known = (*SERVICES, SIMULATOR)
    if setting.endswith("listen"):
        raise ConfigError(
            f"`hanse up` chooses {service}'s {setting}: give --listen, --https-port, --dns-port or --port"
        )
    if setting == "etcd_prefix":  # one of them would found or read another federation
        raise ConfigError("etcd_prefix is one for all processes: give it as --etcd-prefix")
    if not separator or not setting or service not in known:
        raise ConfigError(f"there is no setting {name}: it must be SERVICE.SETTING of {', '.join(known)}")
    settings_class(service).of({setting: value}, called=lambda setting: f"--set {service}.{setting}")


def check_process(service: str, values: Mapping[str, object]) -> None:
    """Raise ConfigError if a process could not start with all that it is told."""
    settings = settings_class(service).of(values, called=lambda setting: f"setting {setting}")
    try:
        settings.validate()
    except ConfigError as error:
        raise ConfigError(f"{service} cannot start with its --set: {error.message}") from error


def settings_class(service: str) -> type[ServiceSettings]:
    """Return what `service`, or the simulator, can be told."""
    module = import_module(f"hanse_{service}.settings")
    found: type[ServiceSettings] = getattr(module, f"{service.capitalize()}Settings")
    return found
