"""Writes /etc/hanse from /etc/hanse/machine.toml: settings, certificates and keys of the services here.

It can be run at any time: what is right stays, certificates near their end are issued again, and those for
etcd are copied again from where they are kept. Each service can read its own folder and no other; `pki/` has
the authority and the keys that seal, and is root's. A key that is gone, where there was one, is an error:
what it has sealed could not be opened with another.

Next: `hanse.security.pki`, which issues; `hanse.store.admin.roles`, which gives the services their rights in
etcd.
"""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import os
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hanse_local.configs import Access, Value, client_toml, kubeconfig, toml

from hanse.errors import ConfigError, HanseError
from hanse.process.settings import TlsFiles
from hanse.security.auth import ADMIN_NAME, ADMINS, MASTERS, SERVICES, server_name, service_name
from hanse.security.credentials import Sealer
from hanse.security.keyring import create_key_file
from hanse.security.pki import CertificateAuthority, KeyPair, needs_renewal
from hanse.store.admin.roles import Roles

NAMES = ("apiserver", "registry", "scheduler", "syncer", "dns")
PORTS = {name: 7000 + number for number, name in enumerate(NAMES)}
METRICS = {name: 7100 + number for number, name in enumerate(NAMES)}
PREFIX = "/hanse"
KEYS = {
    "registry": ("credentials.key",),
    "syncer": ("credentials.key", "secrets.key"),
    "apiserver": ("secrets.key",),
}
"""Which keys that seal each service has."""


@dataclass(frozen=True)
class Machine:
    """What machine.toml says."""

    address: str = "127.0.0.1"
    names: tuple[str, ...] = ()
    https_port: int = 6443
    dns_port: int = 53
    etcd_endpoints: tuple[str, ...] = ("127.0.0.1:2379",)
    etcd_certificates: Path = Path("/etc/hanse/etcd")
    federation_name: str = "hanse"
    dns_suffix: str = "example.org"
    settings: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Machine:
        """Read it. Raises ConfigError for a file that is no TOML, or a key that is not one of these."""
        try:
            values: dict[str, Any] = tomllib.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path}: {error}") from error
        if unknown := sorted({*values} - {*cls.__dataclass_fields__}):
            raise ConfigError(
                f"{path} has {unknown[0]}, which is not one of {', '.join(cls.__dataclass_fields__)}"
            )
        if unknown := sorted({*values.get("settings", {})} - {*NAMES}):
            raise ConfigError(f"{path} has settings of {unknown[0]}, which is not one of {', '.join(NAMES)}")
        for name in ("names", "etcd_endpoints"):
            values[name] = tuple(values.get(name, getattr(cls, name)))
        values["etcd_certificates"] = Path(values.get("etcd_certificates", cls.etcd_certificates))
        return cls(**values)

    def of_service(self, name: str, folder: Path) -> dict[str, Value]:
        """Return the settings of one service, whose files are in `folder`."""
        own: dict[str, Value] = {
            "listen": f"{self.address}:{PORTS[name]}",
            "metrics_listen": f"127.0.0.1:{METRICS[name]}",
            "etcd_endpoints": self.etcd_endpoints,
            "etcd_prefix": PREFIX,
            "federation_name": self.federation_name,
            "dns_suffix": self.dns_suffix,
            "apiserver_endpoint": f"{self.address}:{PORTS['apiserver']}",
            "peers": [f"{peer}={self.address}:{port}" for peer, port in PORTS.items()],
        }
        for prefix in ("etcd", "tls"):
            own |= {f"{prefix}_{end}": str(folder / f"{prefix}.{end}") for end in ("ca", "cert", "key")}
        own |= {f"{key.partition('.')[0]}_key_file": str(folder / key) for key in KEYS.get(name, ())}
        if name == "apiserver":
            own["https_listen"] = f"{self.address}:{self.https_port}"
        if name == "dns":
            own["dns_listen"] = f"{self.address}:{self.dns_port}"
        return own | dict(self.settings.get(name, {}))


def place(path: Path, content: bytes, *, group: str, mode: int) -> None:
    """Write a file of root's that a group can read, whole at any moment, unless it is as it should be."""
    if path.exists() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    shutil.chown(temporary, "root", group)
    Path(temporary).chmod(mode)
    Path(temporary).replace(path)


def current(pki: Path, authority: CertificateAuthority, name: str, machine: Machine) -> KeyPair:
    """Return the certificate of a service or `admin`, issued again if it is near its end or for other
    names.
    """
    said = [machine.address, *machine.names, "127.0.0.1", "localhost"]
    dns_names = [
        *(each for each in said if not _is_address(each)),
        *([server_name(name)] if name in NAMES else []),
    ]
    wanted = "\n".join([name, *sorted({*said, *dns_names})])
    stamp = pki / f"{name}.names"
    if stamp.exists() and stamp.read_text() == wanted:
        pair = KeyPair.read(pki, name)
        if authority.has_issued(pair.certificate) and not needs_renewal(pair.certificate):
            return pair
    pair = authority.issue(
        service_name(name) if name in NAMES else ADMIN_NAME,
        organizations=(SERVICES,) if name in NAMES else (ADMINS, MASTERS),
        dns_names=sorted({*dns_names}),
        ip_addresses=sorted({each for each in said if _is_address(each)}),
        days=30 if name in NAMES else 365,
    )
    pair.write(pki, name)
    stamp.write_text(wanted)
    return pair


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def sealing_keys(pki: Path, *, first: bool) -> dict[str, bytes]:
    """Return the keys that seal, made at the first time only. Raises ConfigError for one that is gone."""
    for name in ("credentials.key", "secrets.key"):
        if not first and not (pki / name).exists():
            raise ConfigError(f"{pki / name} is gone: restore it, or what it has sealed stays unreadable")
        create_key_file(pki / name)
        Sealer.from_file(pki / name)
    return {name: (pki / name).read_bytes() for name in ("credentials.key", "secrets.key")}


def etcd_files(machine: Machine, name: str) -> TlsFiles:
    """Our certificate for etcd, as it was given to us. Raises ConfigError if it is missing."""
    folder = machine.etcd_certificates
    files = TlsFiles(ca=folder / "ca.crt", cert=folder / f"{name}.crt", key=folder / f"{name}.key")
    for path in (files.ca, files.cert, files.key):
        if not path.exists():
            raise ConfigError(
                f"{path} is missing: {folder} needs ca.crt, and NAME.crt and NAME.key of each service"
            )
    return files


async def give_rights(machine: Machine) -> None:
    """Give each service its rights in etcd, if there is a certificate of etcd's root."""
    if not (machine.etcd_certificates / "root.crt").exists():
        return
    roles = await Roles.connect(machine.etcd_endpoints, prefix=PREFIX, tls=etcd_files(machine, "root"))
    try:
        await roles.apply()
    finally:
        await roles.close()


def configure(directory: Path) -> None:
    """Doe all of it."""
    machine = Machine.read(directory / "machine.toml")
    certificates = {name: etcd_files(machine, name) for name in NAMES}
    pki = directory / "pki"
    first = not (pki / "ca.crt").exists()
    pki.mkdir(mode=0o700, exist_ok=True)
    keys = sealing_keys(pki, first=first)
    authority = CertificateAuthority.load_or_create(pki)
    asyncio.run(give_rights(machine))
    for name in NAMES:
        group, folder = f"hanse-{name}", directory / name
        pair, store = current(pki, authority, name, machine), certificates[name].read()
        parts = {
            "tls.ca": authority.ca_pem, "tls.cert": pair.cert_pem, "tls.key": pair.key_pem,
            "etcd.ca": store[0], "etcd.cert": store[1], "etcd.key": store[2],
            **{key: keys[key] for key in KEYS.get(name, ())},
            f"{name}.toml": toml(machine.of_service(name, folder)).encode(),
        }  # fmt: skip
        folder.mkdir(exist_ok=True)
        shutil.chown(folder, "root", group)
        folder.chmod(0o750)
        for file, content in parts.items():
            place(folder / file, content, group=group, mode=0o440)
    administrator(directory / "admin", machine, authority, current(pki, authority, "admin", machine))


def administrator(folder: Path, machine: Machine, authority: CertificateAuthority, pair: KeyPair) -> None:
    """Write what `kubectl` and `hanse` need, for root."""
    folder.mkdir(mode=0o700, exist_ok=True)
    endpoints = {
        ("federation" if name == "apiserver" else name): f"{machine.address}:{PORTS[name]}" for name in NAMES
    }
    access = Access(
        f"https://{machine.address}:{machine.https_port}", authority.ca_pem, pair.cert_pem, pair.key_pem
    )
    files = {
        "ca.crt": authority.ca_pem,
        "admin.crt": pair.cert_pem,
        "admin.key": pair.key_pem,
        "client.toml": client_toml(endpoints, ca="ca.crt", cert="admin.crt", key="admin.key").encode(),
        "kubeconfig": kubeconfig(access, {}).encode(),
    }
    for name, content in files.items():
        place(folder / name, content, group="root", mode=0o600)


def main() -> int:
    """Run it; what is wrong is one line and status 2."""
    parser = argparse.ArgumentParser(description="Write Hanse's settings, certificates and keys.")
    parser.add_argument("--directory", type=Path, default=Path("/etc/hanse"))
    try:
        configure(parser.parse_args().directory)
    except HanseError as error:
        print(f"configure: {error}", file=sys.stderr)  # noqa: T201 - a command
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
