"""Settings of a process: frozen dataclasses filled from flags, environment, a TOML file and defaults.

Owns how a setting is found and checked. A service subclasses `ServiceSettings`, adds fields with a
docstring each, and calls `load`. The order is flags > environment > file > defaults. A field `listen`
of the service `dns` is the flag `--listen`, the variable `HANSE_DNS_LISTEN` and the key `listen`.
Every mistake is one `ConfigError` that names the setting, where it was found, and what to do.

Concurrency: none; settings are read once, before the loop starts, and never change.

Next: `hanse.service.runtime`, which runs a service with its settings.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import difflib
import inspect
import itertools
import os
import re
import ssl
import sys
import textwrap
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NoReturn, Self, get_args, get_origin, get_type_hints

from hanse.errors import ConfigError
from hanse.numbers import whole_number

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # RFC 1123 section 2.1, in lower case
_UNIX = "unix://"
_SOCKET_BYTES = 107
"""Longest path of a socket."""
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
# Kubernetes puts variables like HANSE_DNS_SERVICE_HOST and HANSE_DNS_PORT_53_UDP into every container
# next to a Service called hanse-dns. They are not settings.
_SERVICE_LINK = re.compile(r"^(SERVICE_(HOST|PORT)(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)$")


RELOAD_SECONDS = 5.0
"""Within so many seconds each process uses files of certificates that were replaced."""
_REPLACING_SECONDS = 0.01
ETCD_HISTORY_SECONDS = 600.0
"""How much history etcd keeps, in seconds, unless a setting says."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of one side of mutual TLS: whom to trust, who we are, and the key that proves it."""

    ca: Path
    cert: Path
    key: Path

    def read(self, *, again: int = 0) -> tuple[bytes, bytes, bytes]:
        """Return the bytes of (ca, cert, key). Raises ConfigError that names a file that cannot be used.

        Key and certificate are two files, so while they are replaced, or if only one of them could be, they
        do not belong together. gRPC would take them, and fail at each connection. They are replaced one right
        after the other: who has nothing to go on with reads what does not fit `again` so many times, 10 ms
        apart, before it counts as wrong.
        """
        for _ in range(again):
            try:
                return self._read_once()
            except ConfigError:
                time.sleep(_REPLACING_SECONDS)
        return self._read_once()

    def _read_once(self) -> tuple[bytes, bytes, bytes]:
        found = _read(self.ca), _read(self.cert), _read(self.key)
        self.load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        if found != (_read(self.ca), _read(self.cert), _read(self.key)):
            raise ConfigError(f"{self.cert}, {self.key} or {self.ca} is being replaced")
        return found

    def load(self, context: ssl.SSLContext) -> None:
        """Have `context` use the files. Raises ConfigError that says which cannot be used."""
        try:
            context.load_cert_chain(self.cert, self.key, password="")  # else it would ask on the terminal
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"cannot use the certificate {self.cert} with the key {self.key}: {error}",
                metadata={"file": str(self.cert)},
            ) from error
        try:
            context.load_verify_locations(self.ca)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"cannot use the authority {self.ca}: {error}", metadata={"file": str(self.ca)}
            ) from error

    def stamp(self) -> tuple[int, ...]:
        """Return what changes when a file is replaced. Raises OSError."""
        return tuple(Path(path).stat().st_mtime_ns for path in (self.ca, self.cert, self.key))


@dataclass(frozen=True)
class Settings:
    """Base of settings that are not a service's. Field types: str, int, float, bool, Path,
    tuple[str, ...] and Literal of strings. Subclasses must be `@dataclass(frozen=True)`."""

    service: ClassVar[str] = ""
    """Name used in the environment prefix `HANSE_<SERVICE>_`; empty means `HANSE_`."""

    @classmethod
    def load(
        cls,
        argv: Sequence[str] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Self:
        """Build the settings from `argv` (default: the process's), `environ` (default: the process's)
        and the file of `--config` or `HANSE_<SERVICE>_CONFIG`.

        Raises ConfigError for a bad value or an unknown name; `--help` prints the fields and exits 0.
        """
        environ = os.environ if environ is None else environ
        prefix = f"HANSE_{cls.service.upper()}_" if cls.service else "HANSE_"
        fields = _fields(cls)
        flags = _parse_flags(cls, fields, sys.argv[1:] if argv is None else argv)
        config = flags.pop("config", None) or environ.get(prefix + "CONFIG")
        values = _from_file(fields, Path(config)) if config else {}
        values |= _from_environment(fields, prefix, environ)
        values |= {
            name: _convert(value, fields[name].type, where=f"flag {_flag(name)}")
            for name, value in flags.items()
        }
        missing = [name for name, field in fields.items() if field.required and name not in values]
        if missing:
            name = missing[0]
            raise ConfigError(
                f"setting {name} is required: give {_flag(name)}, {prefix}{name.upper()} "
                f"or {name} in the configuration file",
                metadata={"setting": name},
            )
        settings = cls(**values)
        settings.validate()
        return settings

    @classmethod
    def of(cls, values: Mapping[str, object], *, called: Callable[[str], str]) -> Self:
        """Build the settings from `values`, text or what TOML has, and defaults for the rest.

        `called` is how errors call a setting. Raises ConfigError for a bad value or an unknown name; what
        `validate` checks is left to it.
        """
        fields = _fields(cls)
        for name in values:
            if name not in fields:
                raise _unknown(called(name), name, fields, listed=f"`python -m hanse_{cls.service} --help`")
        converted = {
            name: _convert(value, fields[name].type, where=called(name)) for name, value in values.items()
        }
        return cls(**converted)

    def validate(self) -> None:
        """Check what one field's type cannot say. Subclasses extend it; raises ConfigError."""


@dataclass(frozen=True)
class ServiceSettings(Settings):
    """What every Hanse service can be told."""

    listen: str = "127.0.0.1:0"
    """Address of the gRPC server as host:port. Port 0 takes a free port; see ready_file."""
    metrics_listen: str = "127.0.0.1:0"
    """Address of /metrics, /healthz and /readyz over HTTP as host:port; empty turns it off."""
    etcd_endpoints: tuple[str, ...] = ("127.0.0.1:2379",)
    """Endpoints of etcd as host:port, separated by commas."""
    etcd_prefix: str = "/hanse"
    """Prefix of all keys in etcd; two federations can share an etcd with two prefixes."""
    etcd_ca: str = ""
    """PEM file of the certificate authority of etcd; empty means no TLS to etcd."""
    etcd_cert: str = ""
    """PEM file of the client certificate for etcd."""
    etcd_key: str = ""
    """PEM file of the key of etcd_cert."""
    tls_ca: str = ""
    """PEM file of the certificate authority of the mesh; empty means no TLS (tests only)."""
    tls_cert: str = ""
    """PEM file of this service's certificate, used as server and as client."""
    tls_key: str = ""
    """PEM file of the key of tls_cert."""
    deny_list_file: str = ""
    """File of revoked certificates, sha256:HEX, serial:HEX or name:NAME a line; read again at a change."""
    ready_file: str = ""
    """File that is written, as JSON with pid and endpoints, when the service serves; empty writes none."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe log level that is written."""
    log_format: Literal["json", "console"] = "json"
    """json for one object per line, console for people."""
    otlp_endpoint: str = ""
    """OTLP/gRPC endpoint for traces, metrics and logs, such as http://127.0.0.1:4317; empty is off."""
    trace_file: str = ""
    """File to append finished spans to, one JSON object per line; empty is off."""
    trace_ratio: float = 1.0
    """Share of traces that are recorded when there is somewhere to send them, from 0 to 1."""
    federation_name: str = "hanse"
    """Name of the federation, as it appears in DNS names."""
    dns_suffix: str = "example.org"
    """DNS zone under which the federation's names are."""
    credentials_key_file: str = ""
    """File with the keys that seal member credentials, ID:BASE64 a line; the first seals, all open. It is
    read again when it changes."""
    credentials_kms_socket: str = ""
    """Socket of a KMS v2 plugin, unix:///PATH, that keeps the key of member credentials; a key file beside it
    only opens."""
    apiserver_endpoint: str = ""
    """gRPC address of FederationService as host:port."""
    apiserver_name: str = "apiserver.hanse.internal"
    """Name expected in the apiserver's certificate; empty expects the host of apiserver_endpoint."""
    peers: tuple[str, ...] = ()
    """gRPC addresses of other services as name=host:port, separated by commas."""
    drain_seconds: float = 5.0
    """How long a stop waits for work in flight, in seconds."""

    @property
    def tls(self) -> TlsFiles | None:
        """The mesh's TLS files, or None if TLS is off."""
        return _tls_files("tls", self.tls_ca, self.tls_cert, self.tls_key)

    @property
    def etcd_tls(self) -> TlsFiles | None:
        """The TLS files for etcd, or None if TLS is off."""
        return _tls_files("etcd", self.etcd_ca, self.etcd_cert, self.etcd_key)

    def peer(self, name: str) -> str:
        """Return the address of the peer service `name`, "" if peers does not have it."""
        entries = (entry.partition("=") for entry in self.peers)
        return next((address for peer, _, address in entries if peer == name), "")

    def validate(self) -> None:
        """Check addresses, names, TLS files and ranges. Raises ConfigError."""
        split_address(self.listen, setting="listen")
        if self.metrics_listen:
            split_address(self.metrics_listen, setting="metrics_listen")
        for entry in self.peers:
            if not re.fullmatch(r"[a-z0-9-]+=\S+:\d+", entry):
                raise _bad("peers", entry, "name=host:port")
        if not self.etcd_endpoints:
            raise ConfigError(
                "setting etcd_endpoints is empty: give at least one host:port",
                metadata={"setting": "etcd_endpoints"},
            )
        if not self.etcd_prefix.startswith("/") or self.etcd_prefix.endswith("/"):
            raise _bad("etcd_prefix", self.etcd_prefix, "a path that starts and does not end with /")
        if not 0.0 <= self.trace_ratio <= 1.0:
            raise _bad("trace_ratio", str(self.trace_ratio), "a number from 0 to 1")
        if self.drain_seconds < 0:
            raise _bad("drain_seconds", str(self.drain_seconds), "a number of seconds, 0 or more")
        if self.otlp_endpoint and not _is_endpoint(self.otlp_endpoint):
            raise _bad("otlp_endpoint", self.otlp_endpoint, "like http://127.0.0.1:4317")
        check_names(self.federation_name, self.dns_suffix)
        check_socket(self.credentials_kms_socket, setting="credentials_kms_socket")
        _ = self.tls, self.etcd_tls


def check_socket(socket: str, *, setting: str) -> None:
    """Raise ConfigError unless `socket` is empty or unix:///PATH."""
    if not socket:
        return
    path = socket.removeprefix(_UNIX)
    if path == socket or not path.startswith("/") or len(path.encode()) > _SOCKET_BYTES:
        raise ConfigError(
            f"setting {setting} is {socket!r}: it must be unix:///PATH, the socket of a KMS v2 plugin, with "
            f"a path of at most {_SOCKET_BYTES} bytes",
            metadata={"setting": setting},
        )


def split_address(address: str, *, setting: str = "address") -> tuple[str, int]:
    """Split host:port, with IPv6 hosts in brackets. Raises ConfigError that names `setting`."""
    host, separator, port = address.rpartition(":")
    number = whole_number(port, maximum=65535)
    if not separator or not host or number is None:
        raise _bad(setting, address, "host:port such as 127.0.0.1:0")
    return host.removeprefix("[").removesuffix("]"), number


def _is_endpoint(url: str) -> bool:
    """Return whether gRPC can be spoken there: http(s)://host or host:port or both, and no path."""
    match = re.fullmatch(r"(https?://)?([\w.-]+|\[[0-9a-fA-F:.]+\])(:\d{1,5})?/?", url)
    return match is not None and bool(match[1] or match[3]) and 0 < int((match[3] or ":443")[1:]) < 65536


def check_names(federation_name: str, dns_suffix: str) -> None:
    """Check by the rule for a federation's name and DNS suffix wherever they are given: names of Services
    end in them, and once there are such names they stand. Raises ConfigError that names the setting.
    """
    labels = dns_suffix.split(".")
    for setting, what, label in (
        ("federation_name", f"federation name {federation_name!r}", federation_name),
        *(("dns_suffix", f"label {each!r} of the DNS suffix {dns_suffix!r}", each) for each in labels),
    ):
        if not _LABEL.fullmatch(label):
            raise ConfigError(
                f"{what} is not a DNS label: use lower case letters, digits and '-', at most 63",
                metadata={"setting": setting},
            )


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    type: Any
    required: bool
    default: Any


def _fields(cls: type[Settings]) -> dict[str, _Field]:
    hints = get_type_hints(cls)
    return {
        field.name: _Field(
            name=field.name,
            type=hints[field.name],
            required=field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
            default=None if field.default is dataclasses.MISSING else field.default,
        )
        for field in dataclasses.fields(cls)
        if field.init
    }


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _bad(setting: str, value: str, expected: str) -> ConfigError:
    return ConfigError(
        f"setting {setting} is {value!r}: it must be {expected}", metadata={"setting": setting}
    )


def _tls_files(setting: str, ca: str, cert: str, key: str) -> TlsFiles | None:
    given = {f"{setting}_ca": ca, f"{setting}_cert": cert, f"{setting}_key": key}
    missing = [name for name, value in given.items() if not value]
    if len(missing) == len(given):
        return None
    if missing:
        raise ConfigError(
            f"setting {missing[0]} is empty: give all of {', '.join(given)}, or none of them",
            metadata={"setting": missing[0]},
        )
    return TlsFiles(ca=Path(ca), cert=Path(cert), key=Path(key))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", metadata={"file": str(path)}) from error


def _convert(value: object, target: Any, *, where: str) -> Any:
    """Turn a string, or a TOML value, into `target`. Raises ConfigError that says where it was found."""
    origin = get_origin(target)
    if origin is Literal:
        choices = get_args(target)
        if value not in choices:
            raise _wrong(where, value, "one of " + ", ".join(map(str, choices)))
        return value
    if origin is tuple:
        return _tuple(value, where=where)
    if target not in _CONVERTERS:
        raise TypeError(f"{where}: settings cannot have the type {target}")
    expected, convert = _CONVERTERS[target]
    try:
        return convert(value)
    except (TypeError, ValueError) as error:
        raise _wrong(where, value, expected) from error


def _wrong(where: str, value: object, expected: str) -> ConfigError:
    return ConfigError(
        f"{where} is {value!r}: it must be {expected}", metadata={"setting": where.split()[-1]}
    )


def _tuple(value: object, *, where: str) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return tuple(value)
    raise _wrong(where, value, "a list of strings")


def _to_str(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _to_bool(value: object) -> bool:
    if isinstance(value, bool):
        return value
    text = _to_str(value).strip().lower()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError


def _to_int(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError
    return int(value)


def _to_float(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError
    number = float(value)
    if number != number or number in (float("inf"), float("-inf")):
        raise ValueError
    return number


def _to_path(value: object) -> Path:
    return Path(_to_str(value)).expanduser()


_CONVERTERS: Mapping[Any, tuple[str, Callable[[object], object]]] = {
    str: ("text", _to_str),
    bool: ("true or false", _to_bool),
    int: ("a whole number", _to_int),
    float: ("a number", _to_float),
    Path: ("a path", _to_path),
}


def _from_file(fields: Mapping[str, _Field], path: Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(_read(path).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}", metadata={"file": str(path)}) from error
    for key in document:
        if key not in fields:
            raise _unknown(f"setting {key} in {path}", key, fields)
    return {
        key: _convert(value, fields[key].type, where=f"in {path}, setting {key}")
        for key, value in document.items()
    }


def _from_environment(
    fields: Mapping[str, _Field], prefix: str, environ: Mapping[str, str]
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for variable, value in environ.items():
        if not variable.startswith(prefix):
            continue
        rest = variable.removeprefix(prefix)
        name = rest.lower()
        if name in fields:
            values[name] = _convert(value, fields[name].type, where=f"variable {variable}")
        elif prefix != "HANSE_" and name != "config" and not _SERVICE_LINK.match(rest):
            raise _unknown(f"variable {variable}", name, fields)
    return values


def _unknown(what: str, name: str, fields: Mapping[str, _Field], *, listed: str = "--help") -> ConfigError:
    close = difflib.get_close_matches(name, fields, n=1)
    hint = f": did you mean {close[0]}?" if close else f": remove it, or see {listed} for all settings"
    return ConfigError(f"{what} is unknown{hint}", reason="CONFIG_UNKNOWN", metadata={"setting": name})


class _ArgumentParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see --help", metadata={"setting": "argv"})


def _parse_flags(cls: type[Settings], fields: Mapping[str, _Field], argv: Sequence[str]) -> dict[str, Any]:
    parser = _ArgumentParser(
        prog=f"python -m hanse_{cls.service}" if cls.service else None,
        description=inspect.getdoc(cls),
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--config", metavar="FILE", help="TOML file with any of these settings")
    docs = field_docs(cls) if {"-h", "--help"} & set(argv) else {}
    for name, field in fields.items():
        text = docs.get(name, "")
        shown = ",".join(field.default) if isinstance(field.default, tuple) else field.default
        suffix = "(required)" if field.required else f"(default: {shown})" if shown not in ("", None) else ""
        doc = f"{text} {suffix}".strip().replace("%", "%%")
        if field.type is bool:
            parser.add_argument(_flag(name), dest=name, action=argparse.BooleanOptionalAction, help=doc)
        else:
            parser.add_argument(_flag(name), dest=name, metavar="VALUE", help=doc)
    return vars(parser.parse_args(list(argv)))


def field_docs(cls: type[Settings]) -> dict[str, str]:
    """Return the docstring that follows each field in the source of `cls` and of its bases."""
    docs: dict[str, str] = {}
    for owner in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(owner):
            continue
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(owner)))
        except (OSError, TypeError):
            continue
        body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
        for statement, following in itertools.pairwise(body):
            if (
                isinstance(statement, ast.AnnAssign)
                and isinstance(statement.target, ast.Name)
                and isinstance(following, ast.Expr)
                and isinstance(following.value, ast.Constant)
                and isinstance(following.value.value, str)
            ):
                docs[statement.target.id] = " ".join(following.value.value.split())
    return docs
