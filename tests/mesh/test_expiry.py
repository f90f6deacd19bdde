"""When certificates end, as every service shows it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from hanse.control.leading import observe_leading
from hanse.process.settings import ServiceSettings
from hanse.process.telemetry import setup
from hanse.security.lifetimes import ends_of
from hanse.security.pki import CertificateAuthority
from hanse.service.expiry import Expiry, certificate_files


@pytest.fixture
def mesh() -> CertificateAuthority:
    """An authority."""
    return CertificateAuthority.create()


def end(registry: CollectorRegistry, setting: str) -> float | None:
    """What the metrics say of a certificate."""
    return registry.get_sample_value("hanse_certificate_end_seconds", {"hanse_setting": setting})


def test_every_certificate_in_the_settings_shows_its_end(tmp_path: Path, mesh: CertificateAuthority) -> None:
    """From the start, by setting, in seconds since the epoch; a renewed file shows at the next look."""
    old, new = mesh.issue("x", days=5), mesh.issue("x", days=50)
    files = old.write(tmp_path, "x", ca_pem=mesh.ca_pem)
    settings = ServiceSettings(tls_ca=str(files.ca), tls_cert=str(files.cert), tls_key=str(files.key))
    telemetry = setup("test", settings, install=False)
    Expiry(certificate_files(settings)).observe(telemetry.meter)
    assert end(telemetry.registry, "tls_cert") == old.certificate.not_valid_after_utc.timestamp()
    assert end(telemetry.registry, "tls_ca") == mesh.pair.certificate.not_valid_after_utc.timestamp()
    assert end(telemetry.registry, "etcd_cert") is None

    files.cert.write_bytes(new.cert_pem)
    os.utime(files.cert, ns=(0, 1))
    assert end(telemetry.registry, "tls_cert") == new.certificate.not_valid_after_utc.timestamp()
    files.cert.write_text("half of a certif")
    assert end(telemetry.registry, "tls_cert") == new.certificate.not_valid_after_utc.timestamp()
    telemetry.shutdown()


def test_of_several_the_one_that_matters_counts(tmp_path: Path, mesh: CertificateAuthority) -> None:
    """The first of a chain to end; of authorities the last, as the old one stays for a while."""
    short, long = mesh.issue("x", days=1), mesh.issue("x", days=9)
    both = tmp_path / "both.pem"
    both.write_bytes(short.cert_pem + b"what people write\n" + long.cert_pem)
    days = sorted(ends_of(both.read_text()))
    assert Expiry({"tls_cert": both, "tls_ca": both}).ends() == {"tls_cert": days[0], "tls_ca": days[1]}
    assert days[0] < days[1]


def test_no_file_is_no_certificate(tmp_path: Path) -> None:
    """Settings that are empty, and files that are missing or hold none, show nothing."""
    (tmp_path / "empty").touch()
    assert certificate_files(ServiceSettings()) == {}
    assert Expiry({"tls_cert": tmp_path / "missing", "tls_ca": tmp_path / "empty"}).ends() == {}


def test_who_stands_by_shows_that_it_does_not_lead() -> None:
    """The gauge is there before anybody leads."""
    telemetry = setup("test", ServiceSettings(), install=False)
    leads = False
    observe_leading(telemetry.meter, "x", lambda: leads)
    assert telemetry.registry.get_sample_value("hanse_leader", {"hanse_election": "x"}) == 0
    leads = True
    assert telemetry.registry.get_sample_value("hanse_leader", {"hanse_election": "x"}) == 1
    telemetry.shutdown()
