"""A federation that others than its machine reach, and options that hold for later runs."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography import x509
from hanse_local import commands, ports, upfile
from hanse_local.federation import FederationPlan
from hanse_local.layout import DataDir
from hanse_local.options import NOBODY, UpOptions

from hanse.errors import ConfigError
from hanse.security.pki import names_of
from tests.local.fakes import plan_of

NAMES = ("fed.example.org", "192.0.2.7", "2001:DB8::7")


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    """A new data directory."""
    made = DataDir.at(tmp_path / "data")
    made.create()
    return made


def config(data: DataDir, service: str) -> dict[str, Any]:
    """What a service is told."""
    return tomllib.loads(data.config_file(service).read_text())


def names(data: DataDir, service: str) -> frozenset[str]:
    """What a service's certificate is for."""
    return names_of(x509.load_pem_x509_certificate((data.pki / f"{service}.crt").read_bytes()))


def told(plan: FederationPlan, data: DataDir) -> tuple[str, str, str, str]:
    """Where the federation says that it is, and where it listens."""
    api, dns = config(data, "apiserver"), config(data, "dns")
    port = f":{plan.state.ports['apiserver.https']}"
    return plan.https.removesuffix(port), api["advertise_address"], api["https_listen"], dns["dns_listen"]


def test_what_is_advertised_is_in_certificate_kubeconfig_and_listeners(data: DataDir) -> None:
    """Of the apiserver alone: nothing else of it is for others. It holds in the next run, until it is taken
    back."""
    plan = plan_of(data, UpOptions(clusters=0, advertise=NAMES))
    https, dns = plan.state.ports["apiserver.https"], plan.state.ports["dns.dns"]
    expected = (
        "https://fed.example.org",
        f"fed.example.org:{https}",
        f"0.0.0.0:{https}",
        f"0.0.0.0:{dns}",
    )
    assert told(plan, data) == expected
    assert plan.dns == f"fed.example.org:{dns}"
    assert {"fed.example.org", "192.0.2.7", "2001:db8::7", "127.0.0.1"} <= names(data, "apiserver")
    assert "fed.example.org" not in names(data, "registry")
    assert config(data, "registry")["listen"].startswith("127.0.0.1:")
    before = (data.pki / "apiserver.crt").read_bytes()
    assert told(plan_of(data, UpOptions()), data) == expected
    assert (data.pki / "apiserver.crt").read_bytes() == before
    back = plan_of(data, UpOptions(advertise=(NOBODY,)))
    assert told(back, data)[0] == "https://127.0.0.1"
    assert config(data, "dns")["dns_listen"] == f"127.0.0.1:{dns}"


def test_it_listens_where_it_is_told(data: DataDir) -> None:
    """At one address of the machine; one that it does not have is refused before anything is written."""
    plan = plan_of(data, UpOptions(clusters=0, listen="127.0.0.3"))
    assert told(plan, data)[2].startswith("127.0.0.3:")
    assert plan.https.startswith("https://127.0.0.3:")
    with pytest.raises(ConfigError, match=r"cannot listen at 192\.0\.2\.77: this machine does not have it"):
        ports.is_free(20_000, host="192.0.2.77")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (UpOptions(advertise=("a b",)), "'a b' is neither a host name nor an IP address"),
        (UpOptions(advertise=("::",)), "no address that others can reach"),
        (UpOptions(listen="here"), "'here' is no IP address"),
        (UpOptions(settings={"apiserver.https_listen": "0.0.0.0:1"}), "give --listen, --https-port"),
        (UpOptions(unset=("dns.dns_ttl",)), "that is not set; what is set: none"),
    ],
)
def test_senseless_options_are_refused(data: DataDir, options: UpOptions, says: str) -> None:
    """With the remedy, and nothing is remembered of them."""
    with pytest.raises(ConfigError, match=says):
        plan_of(data, replace(options, clusters=0))
    assert not data.state.exists()


def test_settings_hold_until_they_are_unset(data: DataDir) -> None:
    """What is given later wins; log level and telemetry are remembered too."""
    first = {"scheduler.toleration_seconds": "7", "dns.dns_ttl": "9"}
    plan_of(data, UpOptions(clusters=0, settings=first, log_level="warning"))
    plan_of(data, UpOptions(settings={"dns.dns_ttl": "10"}))
    assert config(data, "scheduler")["toleration_seconds"] == "7"
    assert config(data, "dns")["dns_ttl"] == "10"
    assert config(data, "dns")["log_level"] == "warning"
    state = plan_of(data, UpOptions(unset=("scheduler.toleration_seconds",))).state
    assert "toleration_seconds" not in config(data, "scheduler")
    assert state.settings == {"dns.dns_ttl": "10"}


def test_a_file_says_what_the_command_line_does_not(data: DataDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """That in the data directory, or one that is named; each option may be in it."""
    asked: list[UpOptions] = []
    monkeypatch.setattr(commands, "_in_foreground", lambda data, options, *rest: asked.append(options))
    data.up_config.write_text(
        'advertise = ["fed.example.org", "192.0.2.7"]\nclusters = 2\nproduction = true\nhttps_port = 6443\n'
        'etcd_endpoints = ["a:1", "b:2"]\n[port]\n"dns.grpc" = 20001\n'
        "[set.scheduler]\ntoleration_seconds = 60\n"
    )
    run = CliRunner().invoke
    result = run(commands.up, ["--data-dir", str(data.root), "--clusters", "5"])
    assert result.exit_code == 0, result.output
    (found,) = asked
    assert (found.clusters, found.production, found.advertise) == (5, True, ("fed.example.org", "192.0.2.7"))
    assert found.ports == {"dns.grpc": 20001, "apiserver.https": 6443}
    assert found.settings == {"scheduler.toleration_seconds": "60"}
    assert found.etcd_endpoints == ("a:1", "b:2")
    other = data.root / "other.toml"
    other.write_text("clusters = 1\n")
    run(commands.up, ["--config", str(other), "--data-dir", str(data.root)])
    assert (asked[1].clusters, asked[1].advertise) == (1, ())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a = ", "is not TOML"),
        ("cluster = 1", "has cluster, which is no option: there are"),
        ("data = 'x'", "has data, which is no option"),
        ("set = 1", "set must be a table"),
        ("listen = 2026-01-01", "it must be a text, a number"),
    ],
)
def test_a_file_with_a_mistake_is_refused(tmp_path: Path, text: str, says: str) -> None:
    """By name, with what is wrong."""
    path = tmp_path / "up.toml"
    path.write_text(text)
    known = {option.name or "" for option in commands.up.params} - {"data"}
    with pytest.raises(ConfigError, match=says):
        upfile.read(path, known=known)
    with pytest.raises(ConfigError, match="cannot read"):
        upfile.read(tmp_path / "none.toml", known=known)
