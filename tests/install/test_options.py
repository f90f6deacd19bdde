"""What init takes on its command line, and what it refuses with the flag's name."""

from __future__ import annotations

from typing import Any

import pytest
from hanse_install.options import InitOptions, check, settings, without_meaning

from hanse.errors import ConfigError


def options(**given: Any) -> InitOptions:
    """Options of a federation `east`."""
    return InitOptions("east", **given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"dns_zone_name": "Example.org"}, "label 'Example'"),
        ({"dns_zone_name": "example..org"}, "DNS suffix"),
        ({"overlay": "double"}, "--overlay double is unknown"),
        ({"namespace": "Hanse"}, "--federation-system-namespace 'Hanse'"),
        ({"image": "hanse"}, "--image hanse is another image tomorrow"),
        ({"image": "r.example.org:5000/hanse"}, "is another image tomorrow"),
        ({"image": "hanse:latest"}, "is another image tomorrow"),
        ({"etcd_image": "etcd:"}, "--etcd-image 'etcd:'"),
        ({"image_pull_policy": "Sometimes"}, "--image-pull-policy Sometimes is unknown"),
        ({"etcd_pv_capacity": "ten"}, "--etcd-pv-capacity 'ten'"),
        ({"etcd_pv_storage_class": "a b"}, "--etcd-pv-storage-class 'a b'"),
        ({"etcd_servers": "http://etcd:2379"}, "--etcd-servers has http://"),
        ({"etcd_servers": "https://etcd:port"}, "--etcd-servers etcd:port is no address"),
        ({"etcd_servers": "etcd:1", "etcd_pv_capacity": "1Gi"}, "names an etcd of yours"),
        ({"etcd_persistent_storage": False, "etcd_pv_capacity": "1Gi"}, "has no volume"),
        ({"api_server_service_type": "ExternalName"}, "--api-server-service-type ExternalName is unknown"),
        ({"api_server_service_type": "LoadBalancer", "api_server_port": 30000}, "--api-server-port 30000"),
        ({"overlay": "ha", "api_server_port": 30000}, "--api-server-port 30000"),
        ({"api_server_advertise_address": "a_b"}, "--api-server-advertise-address 'a_b'"),
        ({"api_server_advertise_address": "a:port"}, "--api-server-advertise-address 'a:port'"),
        ({"node_selector": "disk"}, "--node-selector 'disk' is no label"),
        ({"cluster_domain": "cluster_local"}, "--cluster-domain 'cluster_local'"),
        ({"apiserver_arg_overrides": "--v=4"}, "--apiserver-arg-overrides '--v=4' is no setting"),
        ({"apiserver_arg_overrides": "--event-ttl=soon"}, "--apiserver-arg-overrides event_ttl is 'soon'"),
        ({"apiserver_arg_overrides": "--dns-suffix=a.org"}, "say this by --dns-zone-name"),
        ({"controllermanager_arg_overrides": "--https-listen=a:1"}, "is no setting of registry"),
        ({"controllermanager_arg_overrides": "--apiserver.event-ttl=1"}, "is no setting of registry"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], said: str) -> None:
    """The message names the flag, or what of it is wrong."""
    with pytest.raises(ConfigError) as raised:
        check(options(**given))
    assert said in raised.value.message


def test_a_name_of_a_federation_is_a_dns_label() -> None:
    """It is in the names of Services."""
    with pytest.raises(ConfigError, match="federation name 'East'"):
        check(InitOptions("East"))


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"image": "registry.example.org:5000/team/hanse:0.1.0"},
        {"image": f"hanse@sha256:{'0' * 64}"},
        {"etcd_servers": "https://10.0.0.1:2379,https://etcd.example.org"},
        {"api_server_advertise_address": "192.0.2.7"},
        {"api_server_advertise_address": "[2001:db8::1]:6443"},
        {"api_server_service_type": "NodePort", "api_server_port": 30443},
        {"node_selector": "disk=ssd,example.org/pool=hanse"},
        {"controllermanager_arg_overrides": "--log-level=debug,--syncer.lease-seconds=9"},
    ],
)
def test_what_can_be_is_taken(given: dict[str, Any]) -> None:
    """None of these is refused."""
    check(options(**given))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.7", ("192.0.2.7", None)),
        ("api.example.org:6443", ("api.example.org", 6443)),
        ("[2001:db8::1]:6443", ("2001:db8::1", 6443)),
        ("[2001:db8::1]", ("2001:db8::1", None)),
        ("2001:db8::1", ("2001:db8::1", None)),
    ],
)
def test_an_address_may_have_a_port(text: str, address: tuple[str, int | None]) -> None:
    """Addresses of both families, with and without one."""
    assert options(api_server_advertise_address=text).address == address


def test_endpoints_of_etcd_are_as_services_take_them() -> None:
    """Without scheme, with a port."""
    given = options(etcd_servers="https://a.example.org, https://10.0.0.1:12379/,b")
    assert given.endpoints == ("a.example.org:2379", "10.0.0.1:12379", "b:2379")


def test_what_was_said_once_holds_until_it_is_said_anew() -> None:
    """The record's options stand where the command line says nothing, false included; unknown ones do not."""
    first = options(image="a:1", etcd_persistent_storage=False, dns_zone_name="a.org")
    again = options(image="a:2").over({**first.said(), "of_a_later_release": 1, "federation": "west"})
    assert again == options(image="a:2", etcd_persistent_storage=False, dns_zone_name="a.org")


def test_a_setting_of_a_controller_reaches_all_that_have_it() -> None:
    """As arguments of the one program of Federation v1 did; a comma in a value is no end of it."""
    given = options(controllermanager_arg_overrides="--leader-ttl=5,--dns.log-level=debug")
    assert set(settings(given)) == {
        ("registry", "leader_ttl", "5"),
        ("scheduler", "leader_ttl", "5"),
        ("dns", "leader_ttl", "5"),
        ("dns", "log_level", "debug"),
    }
    several = options(apiserver_arg_overrides="--viewer-groups=a,b,--event-ttl=60")
    assert list(settings(several)) == [
        ("apiserver", "viewer_groups", "a,b"),
        ("apiserver", "event_ttl", "60"),
    ]


def test_flags_without_meaning_are_warned_of() -> None:
    """One line each that says what to use; those that are not given, or false, are silent."""
    given = {
        "dns_provider": "google-clouddns",
        "dns_provider_config": "dns.conf",
        "apiserver_enable_basic_auth": True,
        "apiserver_enable_token_auth": False,
        "credentials_kubeconfig": "",
    }
    lines = list(without_meaning(given, "a.org"))
    assert [line.split()[0] for line in lines] == [
        "--dns-provider",
        "--dns-provider-config",
        "--apiserver-enable-basic-auth",
    ]
    assert all("means nothing here" in line and "\n" not in line for line in lines)
    assert "delegate a.org" in lines[0]


def test_an_unknown_dns_provider_is_refused() -> None:
    """It is a mistake, also where no provider has a meaning."""
    with pytest.raises(ConfigError, match="--dns-provider clouddns is unknown"):
        list(without_meaning({"dns_provider": "clouddns"}, "a.org"))
