"""Certificates can be revoked, and renewed in place."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

import hanse.rpc.server as server_module
from hanse.errors import ConfigError, UnauthenticatedError
from hanse.process.settings import TlsFiles
from hanse.rpc.channel import RpcChannel
from hanse.rpc.policy import Policy, group
from hanse.rpc.server import RpcServer
from hanse.security.pki import CertificateAuthority
from hanse.security.revocation import DenyList, normal, parse

from .echo import NAME, Echo, Stub, Text, add_echo

CA = CertificateAuthority.create()


def der(files: TlsFiles) -> bytes:
    """The certificate of these files."""
    return x509.load_pem_x509_certificate(files.cert.read_bytes()).public_bytes(Encoding.DER)


def issued(directory: Path, name: str) -> TlsFiles:
    """A certificate of a friend."""
    return CA.issue_local(name, organizations=("friends",)).write(directory, name, ca_pem=CA.ca_pem)


@pytest.mark.parametrize("form", ["sha256", "serial", "name"])
def test_a_certificate_is_denied_by_each_of_its_marks(tmp_path: Path, form: str) -> None:
    """By fingerprint, serial number or name; in upper case and with colons, as openssl prints them."""
    files, other = issued(tmp_path, "eve"), issued(tmp_path, "bob")
    certificate = der(files)
    serial = f"{x509.load_der_x509_certificate(certificate).serial_number:040X}"
    digest = hashlib.sha256(certificate).hexdigest().upper()
    colons = ":".join(digest[at : at + 2] for at in range(0, 64, 2))
    path = tmp_path / "denied"
    entry = {"sha256": f"sha256:{colons}", "serial": f"serial:{serial}", "name": "name:eve"}[form]
    path.write_text(f"# who left\n\n{entry} # gone\n")
    denied = DenyList(str(path))
    assert denied.denies(certificate)
    assert not denied.denies(der(other))
    with pytest.raises(UnauthenticatedError, match="was revoked"):
        denied.check(certificate)


def test_a_mistake_in_the_file_lets_nobody_in_again(tmp_path: Path) -> None:
    """A list that cannot be read any more, or is gone, denies what it denied; at the start it is an error."""
    certificate = der(issued(tmp_path, "eve"))
    path = tmp_path / "denied"
    path.write_text("name:eve\n")
    denied = DenyList(str(path))
    for text in ("name:eve\nnonsense\n", "serial:xyz\n", "sha256:12\n"):
        path.write_text(text)
        assert denied.denies(certificate)
        with pytest.raises(ConfigError, match="line"):
            DenyList(str(path))
    path.unlink()
    assert denied.denies(certificate)
    with pytest.raises(ConfigError, match="cannot read the deny list"):
        DenyList(str(path))
    path.write_text("")
    assert not denied.denies(certificate)


@given(st.text())
def test_any_text_is_a_list_or_an_error_with_a_line(text: str) -> None:
    """Nothing but ConfigError comes out of a file that makes no sense."""
    entries: frozenset[str] = frozenset()
    with contextlib.suppress(ConfigError):
        entries = parse(text, "denied")
    assert all(entry.partition(":")[0] in ("sha256", "serial", "name") for entry in entries)


async def test_a_revoked_certificate_may_call_nothing_and_its_streams_end(tmp_path: Path) -> None:
    """Over the connection that it has, from the moment that the file says so; others go on."""
    server_files, eve, bob = issued(tmp_path, "server"), issued(tmp_path, "eve"), issued(tmp_path, "bob")
    path = tmp_path / "denied"
    path.write_text("")
    server = RpcServer(
        listen="127.0.0.1:0",
        tls=server_files,
        policy=Policy({f"{NAME}/*": [group("friends")]}),
        deny_list=DenyList(str(path)),
    )
    server.add(add_echo, Echo())
    async with (
        server,
        RpcChannel(server.address, tls=eve, timeout=5) as one,
        RpcChannel(server.address, tls=bob, timeout=5) as two,
    ):
        streams = [Stub(channel).watch(Text(value="x")) for channel in (one, two)]
        for stream in streams:
            await stream.read()
        path.write_text("name:eve\n")
        with pytest.raises(UnauthenticatedError, match="revoked"):
            await Stub(one).get(Text())
        async with asyncio.timeout(10):
            with pytest.raises(UnauthenticatedError, match="revoked"):
                await streams[0].read()
        await Stub(two).get(Text())
        streams[1].cancel()


@pytest.mark.parametrize("name", ["eve#2", "eve\nname:bob", "eve\u2028name:bob", "eve\0"])
def test_a_name_that_a_line_cannot_have_is_not_taken(name: str) -> None:
    """Else the list would deny another name than the one that was given."""
    with pytest.raises(ConfigError, match="serial:"):
        normal(f"name:{name}", where="the entry")


async def test_a_certificate_that_ends_counts_no_more_on_a_connection_that_is_open(tmp_path: Path) -> None:
    """TLS looked at its dates when the connection was made, a month ago perhaps."""
    server_files = issued(tmp_path, "server")
    pair = CA.issue_local("me", organizations=("friends",), days=1)
    end = pair.certificate.not_valid_after_utc.timestamp()
    now = [end - 3600]
    server = RpcServer(
        listen="127.0.0.1:0",
        tls=server_files,
        policy=Policy({f"{NAME}/*": [group("friends")]}),
        clock=lambda: now[0],
    )
    server.add(add_echo, Echo())
    files = pair.write(tmp_path, "me", ca_pem=CA.ca_pem)
    async with server, RpcChannel(server.address, tls=files, timeout=5) as channel:
        await Stub(channel).get(Text())
        now[0] = end
        await Stub(channel).get(Text())
        now[0] = end + 1
        with pytest.raises(UnauthenticatedError) as caught:
            await Stub(channel).get(Text())
        assert caught.value.reason == "CERTIFICATE_EXPIRED"


def test_grpc_gets_a_certificate_only_when_there_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks at each connection, and puts what it gets in the place of what other connections use. Given
    the same each time, a thousand connections of anybody ended the process with a segmentation fault."""
    found: list[Any] = []
    monkeypatch.setattr(grpc, "dynamic_ssl_server_credentials", lambda *given, **_: found.extend(given))
    files = issued(tmp_path, "server")
    server_module._credentials(files)
    first, fetch = found
    assert first is not None
    assert fetch() is None
    issued(tmp_path, "server")
    os.utime(files.cert)
    assert fetch() is not None
    assert fetch() is None
    _replace(files.cert, b"-----BEGIN")
    assert fetch() is None
    issued(tmp_path, "server")
    os.utime(files.cert)
    assert fetch() is not None


def _replace(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    os.utime(path)


@pytest.mark.parametrize("what", ["key", "cert", "ca"])
@pytest.mark.parametrize("left", [b"", b"-----BEGIN", None])
async def test_half_a_renewal_changes_nothing(tmp_path: Path, what: str, left: bytes | None) -> None:
    """A disk that was full after the first file leaves what does not fit, or is cut off: on both sides new
    connections are made with what was there before, until the rest comes."""
    server_files, files = issued(tmp_path / "server", "server"), issued(tmp_path / "me", "me")
    server = RpcServer(
        listen="127.0.0.1:0", tls=server_files, policy=Policy({f"{NAME}/*": [group("friends")]})
    )
    server.add(add_echo, Echo())
    async with server, RpcChannel(server.address, tls=files, timeout=5) as known:
        await Stub(known).get(Text())
        for each in (server_files, files):
            broken: Path = getattr(each, what)
            other = CertificateAuthority.create().issue_local("me")
            fits_not = {"key": other.key_pem, "cert": other.cert_pem, "ca": b"junk"}[what]
            _replace(broken, fits_not if left is None else left)
        await Stub(known).get(Text())
        fresh = issued(tmp_path / "fresh", "fresh")
        async with RpcChannel(server.address, tls=fresh, timeout=5) as channel:
            await Stub(channel).get(Text())
        with pytest.raises(ConfigError, match=str(getattr(files, what))):
            files.read()
        for name, each in (("server", server_files), ("me", files)):
            issued(tmp_path / name, name)
            os.utime(each.cert)
        async with RpcChannel(server.address, tls=files, timeout=5) as channel:
            await Stub(channel).get(Text())


async def test_a_channel_uses_a_renewed_certificate_without_a_restart(tmp_path: Path) -> None:
    """The next call is made with the new certificate; a stream that is open goes on with the old one."""
    server_files = issued(tmp_path, "server")
    files = issued(tmp_path, "me")
    path = tmp_path / "denied"
    path.write_text("")
    server = RpcServer(
        listen="127.0.0.1:0",
        tls=server_files,
        policy=Policy({f"{NAME}/*": [group("friends")]}),
        deny_list=DenyList(str(path)),
    )
    server.add(add_echo, Echo())
    async with server, RpcChannel(server.address, tls=files, timeout=5) as channel:
        stub = Stub(channel)
        await stub.get(Text())
        old = hashlib.sha256(der(files)).hexdigest()
        issued(tmp_path, "me")
        os.utime(files.cert)
        path.write_text(f"sha256:{old}\n")
        await stub.get(Text())
