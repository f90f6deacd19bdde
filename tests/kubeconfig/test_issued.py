"""Kubeconfigs of every form are reduced to a credential that the federation can use by itself."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import yaml
from hanse_cli.kubeconfig import LASTING_DAYS, ReducedKubeconfig, reduced

from hanse.errors import InvalidArgumentError
from hanse.security.pki import CertificateAuthority, KeyPair

pytest.importorskip("kubernetes", reason="the official Kubernetes client is not installed")

NOW = datetime.now(UTC).replace(microsecond=0)
SOON = NOW + timedelta(minutes=15)
LATE = NOW + timedelta(days=LASTING_DAYS + 1)
AUTHORITY = CertificateAuthority.create("test")


def written(directory: Path, user: dict[str, Any], **cluster: Any) -> Path:
    """A kubeconfig of two clusters, of which one is joined by `user`."""
    path = directory / "kubeconfig"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "prod",
        "contexts": [
            {"name": "prod", "context": {"cluster": "c1", "user": "u1"}},
            {"name": "other", "context": {"cluster": "c2", "user": "u2"}},
        ],
        "clusters": [
            {"name": "c1", "cluster": {"server": "https://c1", **cluster}},
            {"name": "c2", "cluster": {"server": "https://c2"}},
        ],
        "users": [{"name": "u1", "user": user}, {"name": "u2", "user": {"token": "of-another"}}],
    }
    path.write_text(yaml.safe_dump(config))
    return path


def user_of(found: ReducedKubeconfig) -> dict[str, Any]:
    """The one user of what is sent."""
    sent = yaml.safe_load(found.document)
    assert b"of-another" not in found.document
    assert [len(sent[kind]) for kind in ("contexts", "clusters", "users")] == [1, 1, 1]
    user: dict[str, Any] = sent["users"][0]["user"]
    return user


def token(end: datetime | None, subject: str = "me") -> str:
    """A JSON Web Token; nobody checks its signature here."""
    claims = {"sub": subject} | ({"exp": int(end.timestamp())} if end is not None else {})
    parts = ({"alg": "none"}, claims)
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, "c2lnbmVk"])


def plugin(directory: Path, status: dict[str, Any] | None, *, code: int = 0) -> dict[str, Any]:
    """A user whose exec plugin gives that status; it tells what it was given in a file."""
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
    (directory / "answer").write_text(json.dumps(answer if status is not None else {}))
    script = directory / "plugin"
    script.write_text(
        f'#!/bin/sh\nprintf "%s|%s" "$1" "$FLAVOUR" > {directory}/asked\ncat {directory}/answer\n'
        f"echo no session >&2\nexit {code}\n"
    )
    script.chmod(0o755)
    command = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": str(script),
        "args": ["get-token"],
        "env": [{"name": "FLAVOUR", "value": "plain"}],
        "interactiveMode": "Never",
    }
    return {"exec": command}


def test_a_token_file_and_certificate_files_are_sent_inline(tmp_path: Path) -> None:
    """Relative to the kubeconfig, without the official client."""
    pair = AUTHORITY.issue_local("me")
    for name, content in (("ca", AUTHORITY.ca_pem), ("crt", pair.cert_pem), ("key", pair.key_pem)):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "token").write_text("secret\n")
    by_token = reduced(written(tmp_path, {"tokenFile": "token"}, **{"certificate-authority": "ca"}), now=NOW)
    assert (user_of(by_token), by_token.warning) == ({"token": "secret"}, "")
    sent = yaml.safe_load(by_token.document)["clusters"][0]["cluster"]
    assert base64.b64decode(sent["certificate-authority-data"]) == AUTHORITY.ca_pem
    files = {"client-certificate": "crt", "client-key": str(tmp_path / "key")}
    by_certificate = user_of(reduced(written(tmp_path, files), now=NOW))
    assert decoded(by_certificate) == (pair.cert_pem, pair.key_pem)


def decoded(user: dict[str, Any]) -> tuple[bytes, bytes]:
    """The certificate and the key of a user."""
    assert set(user) == {"client-certificate-data", "client-key-data"}
    certificate, key = user["client-certificate-data"], user["client-key-data"]
    return base64.b64decode(certificate), base64.b64decode(key)


@pytest.mark.parametrize("said", ["in the token", "by the plugin"])
def test_an_exec_plugin_is_run_and_its_lasting_token_sent(tmp_path: Path, said: str) -> None:
    """With its arguments and environment; that a command was asked is not sent."""
    status: dict[str, Any] = {"token": token(LATE if said == "in the token" else None)}
    if said == "by the plugin":
        status["expirationTimestamp"] = f"{LATE:%Y-%m-%dT%H:%M:%SZ}"
    found = reduced(written(tmp_path, plugin(tmp_path, status)), now=NOW)
    assert (user_of(found), found.warning) == ({"token": status["token"]}, "")
    assert (tmp_path / "asked").read_text() == "get-token|plain"


def test_an_exec_plugin_may_give_a_certificate(tmp_path: Path) -> None:
    """How long it lasts is in it."""
    pair = AUTHORITY.issue_local("me", days=LASTING_DAYS + 10)
    found = reduced(written(tmp_path, plugin(tmp_path, given(pair))), now=NOW)
    assert (decoded(user_of(found)), found.warning) == ((pair.cert_pem, pair.key_pem), "")
    short = AUTHORITY.issue_local("me", days=1)
    with pytest.raises(InvalidArgumentError, match="ends at"):
        reduced(written(tmp_path, plugin(tmp_path, given(short))), now=NOW)


def given(pair: KeyPair) -> dict[str, Any]:
    """A certificate as a plugin gives it."""
    return {"clientCertificateData": pair.cert_pem.decode(), "clientKeyData": pair.key_pem.decode()}


@pytest.mark.parametrize("said", ["in the token", "by the plugin"])
def test_a_credential_that_ends_soon_is_refused_unless_it_is_asked_for(tmp_path: Path, said: str) -> None:
    """The cluster would be out of reach after that: both say when."""
    status: dict[str, Any] = {"token": token(SOON if said == "in the token" else LATE)}
    if said == "by the plugin":
        status["expirationTimestamp"] = f"{SOON:%Y-%m-%dT%H:%M:%SZ}"
    path = written(tmp_path, plugin(tmp_path, status))
    with pytest.raises(InvalidArgumentError, match=f"ends at {SOON:%Y-%m-%d %H:%M} UTC.*--short-lived"):
        reduced(path, now=NOW)
    found = reduced(path, now=NOW, short_lived=True)
    assert user_of(found) == {"token": status["token"]}
    assert f"out of reach after {SOON:%Y-%m-%d %H:%M} UTC" in found.warning


def test_a_credential_that_has_ended_is_never_sent(tmp_path: Path) -> None:
    """A plugin may hand out what it has cached."""
    path = written(tmp_path, plugin(tmp_path, {"token": token(NOW - timedelta(seconds=1))}))
    with pytest.raises(InvalidArgumentError, match="ended at"):
        reduced(path, now=NOW, short_lived=True)


def test_a_credential_that_does_not_say_when_it_ends_is_sent_with_a_warning(tmp_path: Path) -> None:
    """An opaque token may last."""
    found = reduced(written(tmp_path, plugin(tmp_path, {"token": "opaque"})), now=NOW)
    assert user_of(found) == {"token": "opaque"}
    assert "does not say when it ends" in found.warning


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        ({"token": "t"}, 3, "process returned 3. no session"),
        (None, 0, "malformed response"),
        ({}, 0, "missing token or clientCertificateData"),
    ],
)
def test_a_plugin_that_fails_is_told_in_its_words(
    tmp_path: Path, status: dict[str, Any] | None, code: int, words: str
) -> None:
    """In one line that names the user, the file and the method."""
    path = written(tmp_path, plugin(tmp_path, status, code=code))
    with pytest.raises(InvalidArgumentError) as caught:
        reduced(path, now=NOW)
    assert caught.value.message.startswith(f"the user of context prod in {path} authenticates with exec: ")
    assert words in caught.value.message
    assert "\n" not in caught.value.message


def test_a_provider_that_the_client_does_not_know_is_refused(tmp_path: Path) -> None:
    """Instead of a join without a credential."""
    user = {"auth-provider": {"name": "azure", "config": {"access-token": "x"}}}
    with pytest.raises(InvalidArgumentError, match="authenticates with auth-provider: it gave no credential"):
        reduced(written(tmp_path, user), now=NOW)


@dataclass
class Provider:
    """An OIDC provider."""

    url: str
    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[dict[str, list[str]], str]] = field(default_factory=list)


@contextmanager
def oidc(directory: Path) -> Iterator[Provider]:
    """Run an OIDC provider that refreshes tokens."""
    files = AUTHORITY.issue_local("localhost").write(directory, "idp")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.cert, files.key)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(200, {"token_endpoint": f"{provider.url}/token"})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            provider.asked.append((parse_qs(body), str(self.headers["Authorization"])))
            self.answer(200 if provider.answers else 400, provider.answers or {"error": "invalid_grant"})

        def answer(self, status: int, document: dict[str, Any]) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        provider = Provider(f"https://localhost:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield provider
        finally:
            server.shutdown()
            thread.join()


def oidc_user(provider: Provider, id_token: str, **authority: str) -> dict[str, Any]:
    """A user of that provider."""
    config = {
        "idp-issuer-url": provider.url,
        "client-id": "kubectl",
        "client-secret": "s3cret",
        "id-token": id_token,
        "refresh-token": "first",
        **(authority or {"idp-certificate-authority-data": base64.b64encode(AUTHORITY.ca_pem).decode()}),
    }
    return {"auth-provider": {"name": "oidc", "config": config}}


@pytest.mark.parametrize("form", ["data", "file"])
def test_an_oidc_token_that_has_ended_is_refreshed_and_kept(tmp_path: Path, form: str) -> None:
    """The new refresh token is written back, for the provider takes no other from now on."""
    (tmp_path / "ca.pem").write_bytes(AUTHORITY.ca_pem)
    authority = {"idp-certificate-authority": "ca.pem"} if form == "file" else {}
    with oidc(tmp_path) as provider:
        fresh = token(LATE, "fresh")
        provider.answers = {"id_token": fresh, "refresh_token": "second", "access_token": "a"}
        path = written(tmp_path, oidc_user(provider, token(NOW - timedelta(hours=1)), **authority))
        found = reduced(path, now=NOW)
    assert (user_of(found), found.warning) == ({"token": fresh}, "")
    ((form_sent, authorization),) = provider.asked
    assert (form_sent["grant_type"], form_sent["refresh_token"]) == (["refresh_token"], ["first"])
    assert base64.b64decode(authorization.removeprefix("Basic ")) == b"kubectl:s3cret"
    kept = yaml.safe_load(path.read_text())
    config = kept["users"][0]["user"]["auth-provider"]["config"]
    assert (config["id-token"], config["refresh-token"]) == (fresh, "second")
    assert config.get("idp-certificate-authority") == authority.get("idp-certificate-authority")
    assert kept["users"][1] == {"name": "u2", "user": {"token": "of-another"}}
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_oidc_token_that_lasts_is_sent_as_it_is(tmp_path: Path) -> None:
    """Nobody is asked, and nothing is written."""
    lasting = token(LATE)
    path = written(tmp_path, oidc_user(Provider("https://localhost:1"), lasting))
    before = path.read_bytes()
    assert user_of(reduced(path, now=NOW)) == {"token": lasting}
    assert path.read_bytes() == before


def test_an_oidc_provider_that_refuses_or_is_not_trusted_gives_no_credential(tmp_path: Path) -> None:
    """A token that has ended is never sent, and a refresh token never to whom nobody vouches for."""
    with oidc(tmp_path) as provider:
        path = written(tmp_path, oidc_user(provider, token(NOW - timedelta(hours=1))))
        with pytest.raises(InvalidArgumentError, match="authenticates with auth-provider"):
            reduced(path, now=NOW, short_lived=True)
        asked = len(provider.asked)
        other = base64.b64encode(CertificateAuthority.create().ca_pem).decode()
        for authority in ({"idp-certificate-authority-data": other}, {"idp-certificate-authority": ""}):
            user = oidc_user(provider, token(NOW - timedelta(hours=1)), **authority)
            with pytest.raises(InvalidArgumentError, match=r"(?i)certificate"):
                reduced(written(tmp_path, user), now=NOW, short_lived=True)
        assert len(provider.asked) == asked
