"""What a user types, and how mistakes are answered."""

from __future__ import annotations

import json
import socket
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hanse_local.commands import commands


def run(*arguments: str) -> Result:
    """Run one of the commands."""
    by_name = {command.name: command for command in commands()}
    return CliRunner().invoke(by_name[arguments[0]], list(arguments[1:]), catch_exceptions=False)


@pytest.fixture
def old_etcd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The only etcd is 3.5.1."""
    path = tmp_path / "old-etcd"
    path.write_text("#!/bin/sh\necho 'etcd Version: 3.5.1'\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("HANSE_ETCD", str(path))


def test_status_of_nothing(tmp_path: Path) -> None:
    """Has a status of its own, for scripts."""
    result = run("status", "--data-dir", str(tmp_path))
    assert result.exit_code == 3
    assert "start it with `hanse up`" in result.stderr.replace("\n", " ")


def test_down_of_nothing_is_done(tmp_path: Path) -> None:
    """It can be said twice."""
    result = run("down", "--data-dir", str(tmp_path / "none"))
    assert result.exit_code == 0
    assert "nothing runs" in result.stderr


def test_a_lost_cluster_needs_a_federation(tmp_path: Path) -> None:
    """The answer says how to get one."""
    result = run("sim", "stop", "eu-west", "--data-dir", str(tmp_path))
    assert result.exit_code == 1
    assert "no federation runs" in result.stderr


@pytest.mark.usefixtures("old_etcd")
@pytest.mark.parametrize("detach", [[], ["--detach"]], ids=["foreground", "background"])
def test_production_refuses_an_etcd_that_can_corrupt_data(tmp_path: Path, detach: list[str]) -> None:
    """Before anything is started."""
    result = run("up", "--production", "--data-dir", str(tmp_path / "data"), *detach)
    assert result.exit_code == 1
    assert "refused with --production" in " ".join(result.stderr.split())
    assert not (tmp_path / "data" / "etcd").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--etcd-endpoints", "http://127.0.0.1:2379"], "without a scheme"),
        (["--port", "dns=x"], "must be NAME=PORT"),
        (["--set", "toleration=3"], "must be SERVICE.SETTING=VALUE"),
        (["--clusters", "x"], "not a valid integer"),
        (["--log-level", "loud"], "loud"),
        (["--clusters", "-1"], "from 0 to 100"),
        (["--https-port", "99999"], "port apiserver.https is 99999: it must be from 1 to 65535"),
        (["--port", "dns.dns=4444", "--https-port", "4444"], "port 4444 is given twice, for dns.dns and"),
        (["--federation-name", "Bad_Name"], "federation name 'Bad_Name' is not a DNS label"),
        (["--dns-suffix", "example..org"], "is not a DNS label"),
        (["--etcd-prefix", ""], "it is empty"),
        (["--etcd-prefix", "hanse/"], "setting etcd_prefix is 'hanse/': it must be a path that starts"),
        (["--otlp-endpoint", "nonsense"], "setting otlp_endpoint is 'nonsense': it must be like http://"),
        (["--set", "nobody.x=3"], "there is no setting nobody.x"),
        (["--set", "scheduler.bar=1"], "--set scheduler.bar is unknown: remove it, or see `python"),
        (["--set", "dns.dns_tl=1"], "--set dns.dns_tl is unknown: did you mean dns_ttl?"),
        (
            ["--set", "scheduler.toleration_seconds=abc"],
            "--set scheduler.toleration_seconds is 'abc': it must be a number",
        ),
    ],
)
def test_wrong_options_are_refused(tmp_path: Path, arguments: list[str], words: str) -> None:
    """Before a data directory is made."""
    result = run("up", "--data-dir", str(tmp_path / "data"), *arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("detach", [[], ["--detach"]], ids=["foreground", "background"])
@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--set", "dns.dns_ttl=0"], 2, "dns cannot start with its --set: setting dns_ttl is 0: it must be"),
        (["--set", "syncer.tls_key="], 2, "syncer cannot start with its --set: setting tls_key is empty"),
        (["--port", "nope=1"], 2, "there is no port called nope"),
        (["--etcd-endpoints", "127.0.0.1:1"], 1, "no etcd answers at the endpoints: 127.0.0.1:1"),
        (["--etcd-endpoints", "127.0.0.1:1", "--etcd-ca", "ca"], 2, "give all of --etcd-ca"),
    ],
)
def test_what_cannot_be_is_one_line(
    tmp_path: Path, arguments: list[str], status: int, words: str, detach: list[str]
) -> None:
    """Wrong input has a status of its own, whoever finds it."""
    result = run("up", "--data-dir", str(tmp_path / "data"), *arguments, *detach)
    assert result.exit_code == status
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_port_that_is_taken_is_no_wrong_input(tmp_path: Path) -> None:
    """The same command does later, when the other program has ended."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        result = run("up", "--data-dir", str(tmp_path / "data"), "--https-port", str(port))
    assert result.exit_code == 1
    assert f"port {port} for apiserver.https is taken" in result.stderr


def test_a_data_directory_that_is_a_file_is_one_sentence(tmp_path: Path) -> None:
    """It names the option."""
    (tmp_path / "file").write_text("")
    result = run("up", "--data-dir", str(tmp_path / "file"))
    assert result.exit_code == 2
    assert "choose another with --data-dir" in " ".join(result.stderr.split())


def test_the_failure_is_recorded_for_whoever_waits(tmp_path: Path) -> None:
    """In the data directory."""
    run("up", "--data-dir", str(tmp_path / "data"), "--port", "nope=1")
    assert (
        "no port called nope" in json.loads((tmp_path / "data" / "run" / "failure.json").read_text())["error"]
    )
