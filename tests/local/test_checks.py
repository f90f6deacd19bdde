"""What `hanse up` takes and what it refuses before anything is made."""

from __future__ import annotations

import pytest
from hanse_local.checks import SERVICES, SIMULATOR, check_options, settings_class
from hanse_local.options import UpOptions

from hanse.errors import ConfigError


def test_every_process_has_its_settings() -> None:
    """They are found by its name."""
    assert [settings_class(name).service for name in (*SERVICES, SIMULATOR)] == [*SERVICES, SIMULATOR]


def test_the_settings_of_a_process_and_those_of_all_can_be_set() -> None:
    """Text is turned into what the setting is."""
    check_options(UpOptions(settings={"scheduler.toleration_seconds": "10", "simulator.log_level": "debug"}))


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:4317", "127.0.0.1:4317", "https://otlp.example.org", "http://[::1]:4317/", "a_b:1"],
)
def test_where_telemetry_can_go(url: str) -> None:
    """With a scheme, with a port, or with both."""
    check_options(UpOptions(otlp_endpoint=url))


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "ftp://127.0.0.1:4317",
        "http://",
        "http://127.0.0.1:99999",
        "http://a:0",
        "a:4317/v1/traces",
    ],
)
def test_where_telemetry_cannot_go(url: str) -> None:
    """The message shows a good one."""
    with pytest.raises(ConfigError, match=r"it must be like http://127\.0\.0\.1:4317"):
        check_options(UpOptions(otlp_endpoint=url))


def test_the_prefix_of_all_processes_is_no_setting_of_one() -> None:
    """One of them would found or read another federation; the error names the option for all."""
    with pytest.raises(ConfigError, match="--etcd-prefix"):
        check_options(UpOptions(settings={"apiserver.etcd_prefix": "/other"}))
