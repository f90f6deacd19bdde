"""What a local federation consists of, and what a data directory remembers."""

from __future__ import annotations

import json
import socket
import stat
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hanse_client import ClientConfig
from hanse_local import ports
from hanse_local.checks import SERVICES
from hanse_local.configs import Access, kubeconfig, toml
from hanse_local.keys.renewing import renew
from hanse_local.layout import DataDir
from hanse_local.options import UpOptions
from hanse_local.supervise.state import VERSION, DirectoryState
from hanse_local.topology import default_clusters
from hypothesis import given
from hypothesis import strategies as st

from hanse.errors import ConfigError, FailedPreconditionError
from hanse.security.pki import write_private
from tests.local.fakes import fake_etcd, plan_of


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    """A new data directory."""
    made = DataDir.at(tmp_path / "data")
    made.create()
    return made


def found(data: DataDir) -> None:
    """Remember that the federation was up, and let etcd have something."""
    DirectoryState.load(data.state).with_founded().save(data.state)
    (data.etcd("etcd") / "member").mkdir(parents=True)


def test_a_new_federation_has_two_etcds_three_clusters_and_five_services(data: DataDir) -> None:
    """In the order in which they start."""
    plan = plan_of(data, UpOptions())
    assert [spec.name for spec in plan.specs] == [
        "etcd",
        "members-etcd",
        "sim-eu-west",
        "sim-us-east",
        "sim-on-prem",
        *SERVICES,
    ]
    assert plan.state.clusters[0].zones == ("a", "b")


def test_no_clusters_need_no_members_etcd(data: DataDir) -> None:
    """`--clusters 0` is a bare federation."""
    names = [spec.name for spec in plan_of(data, UpOptions(clusters=0)).specs]
    assert names == ["etcd", *SERVICES]


def test_files_with_keys_are_the_users_alone(data: DataDir) -> None:
    """All keys, configurations and the state are 0600."""
    plan_of(data, UpOptions(clusters=1))
    private = [*data.root.rglob("*.key"), *data.config.iterdir(), data.client_config, data.state]
    assert len(private) > 15
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}


def test_the_same_ports_and_certificates_come_back(data: DataDir) -> None:
    """A second start changes nothing."""
    first = plan_of(data, UpOptions())
    before = {path: path.read_bytes() for path in data.root.rglob("*") if path.is_file()}
    second = plan_of(data, UpOptions())
    assert second.state == first.state
    assert before == {path: path.read_bytes() for path in data.root.rglob("*") if path.is_file()}


def test_a_port_that_somebody_took_is_replaced(data: DataDir) -> None:
    """And the plan says so."""
    first = plan_of(data, UpOptions(clusters=0))
    with socket.socket() as thief:
        thief.bind(("127.0.0.1", first.state.ports["dns.dns"]))
        thief.listen()
        second = plan_of(data, UpOptions(clusters=0))
    assert second.moved == ("dns.dns",)
    assert second.state.ports["dns.dns"] != first.state.ports["dns.dns"]


def test_a_joined_clusters_port_is_never_replaced(data: DataDir) -> None:
    """The federation knows the cluster by it."""
    plan = plan_of(data, UpOptions(clusters=1))
    DirectoryState.load(data.state).with_joined("eu-west").save(data.state)
    found(data)
    with socket.socket() as thief:
        thief.bind(("127.0.0.1", plan.state.ports["sim-eu-west.https"]))
        thief.listen()
        with pytest.raises(FailedPreconditionError, match="port of the simulated cluster eu-west"):
            plan_of(data, UpOptions())


def test_no_two_supervisors_choose_the_same_port() -> None:
    """Also while nothing listens there yet, or a process is being started again."""
    with ports.Claims() as first, ports.Claims() as second:
        chosen, _ = ports.choose(["x"], recorded={}, given={}, claims=first)
        other, moved = ports.choose(["x"], recorded=chosen, given={}, claims=second)
        assert other != chosen
        assert moved == ["x"]
        with pytest.raises(FailedPreconditionError, match=f"port {chosen['x']} for x is taken"):
            ports.choose(["x"], recorded={}, given=chosen, claims=second)
    with ports.Claims() as later:
        assert ports.choose(["x"], recorded=chosen, given={}, claims=later) == (chosen, [])


def test_given_ports_are_taken(data: DataDir) -> None:
    """And an unknown name is refused with the known ones."""
    with ports.Claims() as claims:
        free, _ = ports.choose(["x"], recorded={}, given={}, claims=claims)
    assert plan_of(data, UpOptions(clusters=0, ports={"dns.dns": free["x"]})).dns.endswith(f":{free['x']}")
    with pytest.raises(ConfigError, match=r"no port called nonsense: the names are apiserver\.grpc"):
        plan_of(data, UpOptions(clusters=0, ports={"nonsense": 4}))


def test_clusters_are_added_and_never_dropped(data: DataDir) -> None:
    """What runs in a cluster is not lost because of a flag."""
    plan_of(data, UpOptions(clusters=2))
    found(data)
    assert len(plan_of(data, UpOptions(clusters=3)).state.clusters) == 3
    assert len(plan_of(data, UpOptions()).state.clusters) == 3
    with pytest.raises(ConfigError, match="has 3 simulated clusters, and --clusters is 1"):
        plan_of(data, UpOptions(clusters=1))


@pytest.mark.parametrize("option", ["dns_suffix", "federation_name"])
def test_names_in_use_cannot_change(data: DataDir, option: str) -> None:
    """They are remembered, and a contradiction is refused."""
    plan_of(data, UpOptions(clusters=0, **{option: "first"}))  # type: ignore[arg-type]
    found(data)
    assert getattr(plan_of(data, UpOptions()).options, option) == "first"
    with pytest.raises(ConfigError, match=r"brought up with --.* first"):
        plan_of(data, UpOptions(**{option: "other"}))  # type: ignore[arg-type]


def test_a_lost_etcd_is_not_replaced_by_an_empty_one(data: DataDir) -> None:
    """Nothing is started, so the place is free for a backup; the message says what can be done."""
    plan_of(data, UpOptions(clusters=0))
    found(data)
    (data.etcd("etcd") / "member").rename(data.root / "moved")
    with pytest.raises(FailedPreconditionError, match=r"etcd is empty, and .* had a federation") as caught:
        plan_of(data, UpOptions())
    assert caught.value.reason == "FEDERATION_LOST"
    assert "restore a backup of it (see docs/operations.md)" in caught.value.message
    assert f"to start over on purpose, move {data.root} away" in caught.value.message
    (data.root / "moved").rename(data.etcd("etcd") / "member")
    plan_of(data, UpOptions())


def test_an_etcd_that_cannot_open_the_data_is_not_started(
    data: DataDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version that served last is remembered; one that is prepared has not served."""
    monkeypatch.setenv("HANSE_ETCD", str(fake_etcd(tmp_path, "3.6.4")))
    assert plan_of(data, UpOptions(clusters=0)).etcd_version == "3.6.4"
    state = DirectoryState.load(data.state)
    assert state.etcd_version == ""
    replace(state, etcd_version="3.6.4").save(data.state)
    monkeypatch.setenv("HANSE_ETCD", str(fake_etcd(tmp_path, "3.5.21")))
    with pytest.raises(FailedPreconditionError, match=r"cannot open what etcd 3\.6\.4 has written"):
        plan_of(data, UpOptions())
    assert DirectoryState.load(data.state).etcd_version == "3.6.4"


def test_the_client_configuration_is_read_by_the_client(data: DataDir) -> None:
    """It has the five services, and its files exist."""
    plan = plan_of(data, UpOptions(clusters=0))
    config = ClientConfig.load(data.client_config)
    assert config.endpoint("federation") == f"127.0.0.1:{plan.state.ports['apiserver.grpc']}"
    assert set(config.endpoints) == {"federation", "registry", "scheduler", "syncer", "dns"}
    assert config.tls is not None
    config.tls.read()


@pytest.mark.parametrize("key", ["credentials_key", "secrets_key"])
def test_a_lost_key_is_not_replaced_by_a_new_one(data: DataDir, key: str) -> None:
    """What it sealed can be opened again once it is back, and nothing was sealed with another meanwhile."""
    path: Path = getattr(data, key)
    plan_of(data, UpOptions(clusters=0))
    path.unlink()
    plan_of(data, UpOptions(clusters=0))  # nothing is sealed yet
    found(data)
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(ConfigError, match=rf"{path.name} is gone.*restore it from a backup"):
        plan_of(data, UpOptions())
    assert not path.exists()
    renew(data)
    assert not path.exists()
    for damaged in (b"", content[:20]):
        write_private(path, damaged)
        with pytest.raises(ConfigError, match="key"):
            plan_of(data, UpOptions())
    write_private(path, content)
    plan_of(data, UpOptions())


def test_a_directory_of_an_older_release_is_taken_over_and_not_given_back(data: DataDir) -> None:
    """It gets its key for Secrets; a release that knows nothing of that refuses it by its version."""
    plan_of(data, UpOptions(clusters=0))
    found(data)
    document = json.loads(data.state.read_text())
    data.state.write_text(json.dumps({**document, "version": 1}))
    data.secrets_key.unlink()
    plan_of(data, UpOptions())
    assert data.secrets_key.exists()
    assert json.loads(data.state.read_text())["version"] == VERSION == 2
    data.state.write_text(json.dumps({**document, "version": VERSION + 1}))
    with pytest.raises(ConfigError, match="is of version 3, this Hanse knows version 2: use the Hanse that"):
        plan_of(data, UpOptions())


def test_a_damaged_state_is_not_overwritten(data: DataDir) -> None:
    """Guessing would lose the ports by which clusters are known."""
    data.state.write_text('{"version": 1, "ports": ')
    with pytest.raises(ConfigError, match="is damaged"):
        plan_of(data, UpOptions())
    assert data.state.read_text() == '{"version": 1, "ports": '


def test_the_first_clusters_are_those_of_the_guide() -> None:
    """And more clusters have other names."""
    assert [each.name for each in default_clusters(3)] == ["eu-west", "us-east", "on-prem"]
    names = [each.name for each in default_clusters(40)]
    assert len(set(names)) == 40


@given(
    st.dictionaries(
        st.from_regex(r"[a-z_]{1,9}", fullmatch=True),
        st.one_of(
            st.text(st.characters(exclude_categories=["Cs", "Cc"])),
            st.integers(-(2**40), 2**40),
            st.booleans(),
        ),
    )
)
def test_what_is_written_as_toml_is_read_back(values: dict[str, str | int | bool]) -> None:
    """For every plain value."""
    assert tomllib.loads(toml(values)) == values


def test_the_kubeconfig_has_the_federation_first_and_every_member() -> None:
    """Contexts are named as the clusters."""
    member = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    access = Access(server="https://127.0.0.1:2", ca=b"ca", cert=b"cert", key=b"key")
    document = yaml.safe_load(kubeconfig(access, {"eu-west": member}))
    assert document["current-context"] == "hanse"
    assert [each["name"] for each in document["contexts"]] == ["hanse", "eu-west"]
    assert document["users"][1] == {"name": "eu-west", "user": {"token": "t"}}
    with pytest.raises(ConfigError, match="us-east has no usable current context"):
        kubeconfig(access, {"us-east": {"contexts": []}})
