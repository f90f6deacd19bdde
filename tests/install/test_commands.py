"""`kubefed init` and `deinit` as they are typed: what is printed, and what is refused before anything is
made."""

from __future__ import annotations

import http.server
import json
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hanse_cli import exits
from hanse_cli.kubefed import kubefed
from hanse_cli.main import hanse, run
from hanse_install import commands
from hanse_install.checks import etcd_answers, plural, reviews
from hanse_install.kubectl import complaint

from hanse.errors import (
    ConflictError,
    FailedPreconditionError,
    HanseError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnavailableError,
)
from hanse.security.pki import CertificateAuthority
from tests.deploy import manifests as deploy
from tests.deploy.manifests import needs_kubectl, rendered

V1_FLAGS = (
    "--api-server-advertise-address",
    "--api-server-port",
    "--api-server-service-type",
    "--apiserver-arg-overrides",
    "--apiserver-enable-basic-auth",
    "--apiserver-enable-token-auth",
    "--controllermanager-arg-overrides",
    "--credentials-kubeconfig",
    "--dns-provider",
    "--dns-provider-config",
    "--dns-zone-name",
    "--dry-run",
    "--etcd-image",
    "--etcd-persistent-storage",
    "--etcd-pv-capacity",
    "--etcd-pv-storage-class",
    "--etcd-servers",
    "--federation-system-namespace",
    "--host-cluster-context",
    "--image",
    "--image-pull-policy",
    "--image-pull-secrets",
    "--kubeconfig",
    "--node-selector",
)
"""Of `kubefed init` in Kubernetes 1.9."""


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    status: int
    out: str
    err: str


class Kubefed:
    """Runs commands with a home of their own."""

    def __init__(self, home: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.home = home
        self._capture = capture

    def __call__(self, *words: str) -> Done:
        """Run it, within this process."""
        self._capture.readouterr()
        status = run(kubefed, words, program="kubefed")
        out, err = self._capture.readouterr()
        return Done(status, out, err)

    def kubeconfig(self, server: str = "http://127.0.0.1:9", **user: Any) -> Path:
        """A kubeconfig with the context `host`."""
        path = self.home / "kubeconfig"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "host", "cluster": {"server": server}}],
            "users": [{"name": "host", "user": user}],
            "contexts": [{"name": "host", "context": {"cluster": "host", "user": "host"}}],
        }
        path.write_text(yaml.safe_dump(config))
        return path

    def refused(self, *words: str, status: int) -> str:
        """What is said by an init that is refused with this status: one line, and nothing is left behind."""
        before = sorted(self.home.rglob("*"))
        done = self("init", "east", "--image", "hanse:1", *words)
        assert done.status == status, done.err
        assert not done.out
        assert sorted(path for path in self.home.rglob("*") if ".kube" not in path.parts) == before
        (line,) = [line for line in done.err.splitlines() if not line.startswith("warning: ")]
        return line


@pytest.fixture
def kubefed_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Kubefed:
    """The command, with an empty home and no kubeconfig."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    return Kubefed(home, capsys)


@contextmanager
def answering(answers: Mapping[str, tuple[int, Any]]) -> Iterator[str]:
    """The URL of a server with these answers by path, and 404 for the rest."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers.get(self.path.partition("?")[0], (404, {}))
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_every_flag_of_federation_v1_is_taken() -> None:
    """None of them is unknown."""
    (init,) = [each for each in commands.commands() if each.name == "init"]
    known = {option for parameter in init.params for option in parameter.opts}
    assert set(V1_FLAGS) <= known


def test_both_programs_have_the_commands() -> None:
    """By their entry points."""
    for root in (kubefed, hanse):
        with root.make_context("it", ["--help"], resilient_parsing=True) as context:
            assert {"init", "deinit"} <= set(root.list_commands(context))


@needs_kubectl
@pytest.mark.parametrize("overlay", deploy.OVERLAYS)
def test_a_dry_run_prints_what_is_applied(kubefed_: Kubefed, overlay: str) -> None:
    """It equals the overlay, and makes nothing; no host cluster is needed."""
    done = kubefed_("init", "hanse", "--overlay", overlay, "--dry-run", "-o", "yaml")
    assert done.status == exits.OK, done.err
    assert done.out == rendered(overlay)
    assert not (kubefed_.home / ".hanse").exists()


@needs_kubectl
def test_a_dry_run_has_other_forms(kubefed_: Kubefed) -> None:
    """Names for a person, JSON for a program; `--dry-run=true` is the form of v1."""
    names = kubefed_("init", "hanse", "--dry-run=true").out.splitlines()
    assert "deployment.apps/hanse-apiserver (dry run)" in names
    items = json.loads(kubefed_("init", "hanse", "--dry-run", "-o", "json").out)["items"]
    assert len(items) == len(names)


@needs_kubectl
def test_booleans_may_be_written_as_in_v1(kubefed_: Kubefed) -> None:
    """--flag=false takes it away; other words are refused."""
    done = kubefed_("init", "hanse", "--etcd-persistent-storage=false", "--dry-run", "-o", "yaml")
    assert "volumeClaimTemplates" not in done.out
    done = kubefed_("init", "hanse", "--etcd-persistent-storage=no", "--dry-run")
    assert done.status == exits.USAGE
    assert "neither true nor false" in done.err


@needs_kubectl
def test_flags_without_meaning_are_one_line_each(kubefed_: Kubefed) -> None:
    """And change nothing."""
    flags = ["--dns-provider=aws-route53", "--dns-provider-config=x", "--apiserver-enable-basic-auth=true"]
    done = kubefed_("init", "hanse", *flags, "--image=hanse:1", "--dry-run")
    assert done.status == exits.OK
    warned = [line for line in done.err.splitlines() if line.startswith("warning: ")]
    assert len(warned) == 3
    assert all("means nothing here" in line for line in warned)


def test_without_kubectl_it_says_so(kubefed_: Kubefed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything else."""
    monkeypatch.setenv("PATH", str(kubefed_.home))
    assert "kubectl is not on PATH" in kubefed_.refused("--host-cluster-context", "host", status=exits.FAILED)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--dns-zone-name", "Zone"], "'Zone'"),
        (["--dns-provider", "bind"], "--dns-provider bind is unknown"),
        (["--api-server-port", "70000"], "--api-server-port"),
        (["--node-selector", "disk"], "--node-selector"),
    ],
)
def test_wrong_flags_are_wrong_usage(kubefed_: Kubefed, words: list[str], said: str) -> None:
    """With the status of wrong usage, whatever clusters there are."""
    assert said in kubefed_.refused(*words, status=exits.USAGE)


@needs_kubectl
def test_the_host_cluster_is_named_and_known(kubefed_: Kubefed) -> None:
    """A context that is missing or unknown, or a file that is not there, is told with what there is."""
    path = str(kubefed_.kubeconfig())
    missing = kubefed_.refused("--kubeconfig", path, status=exits.USAGE)
    assert "--host-cluster-context is missing" in missing
    assert missing.endswith("contexts: host")
    unknown = kubefed_.refused("--kubeconfig", path, "--host-cluster-context", "hots", status=exits.USAGE)
    assert "no context hots: it has host" in unknown
    assert "there is no kubeconfig" in kubefed_.refused("--kubeconfig", "/nowhere", status=exits.USAGE)


@needs_kubectl
def test_a_kubeconfig_that_cannot_be_read_is_told(kubefed_: Kubefed) -> None:
    """With what kubectl says of it."""
    path = kubefed_.kubeconfig()
    path.write_text("clusters: [\n")
    line = kubefed_.refused("--kubeconfig", str(path), "--host-cluster-context", "host", status=exits.USAGE)
    assert "the kubeconfig cannot be read: mend it" in line


@needs_kubectl
def test_a_host_cluster_that_does_not_answer_is_told(kubefed_: Kubefed) -> None:
    """Within seconds."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        path = kubefed_.kubeconfig(f"http://127.0.0.1:{closed.getsockname()[1]}")
        words = ("--kubeconfig", str(path), "--host-cluster-context", "host")
        line = kubefed_.refused(*words, status=exits.UNREACHABLE)
    assert "the host cluster of context host does not answer" in line


@needs_kubectl
def test_credentials_that_have_ended_are_told(kubefed_: Kubefed) -> None:
    """Not as a cluster that is away."""
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "reason": "Unauthorized",
        "code": 401,
    }
    with answering({"/version": (401, status), "/apis": (401, status), "/api": (401, status)}) as server:
        path = kubefed_.kubeconfig(server, token="old")
        line = kubefed_.refused(
            "--kubeconfig", str(path), "--host-cluster-context", "host", status=exits.DENIED
        )
    assert "does not take your credentials" in line


@needs_kubectl
def test_a_federation_is_no_host_cluster(kubefed_: Kubefed) -> None:
    """Its own kubeconfig is a mistake that is easily made."""
    groups = {"kind": "APIGroupList", "apiVersion": "v1", "groups": [{"name": "hanse.dev", "versions": []}]}
    with answering({"/version": (200, {"gitVersion": "v1.37.0+hanse"}), "/apis": (200, groups)}) as server:
        path = kubefed_.kubeconfig(server)
        words = ("--kubeconfig", str(path), "--host-cluster-context", "host")
        line = kubefed_.refused(*words, status=exits.FAILED)
    assert "context host is the API of a federation and not a cluster" in line


@needs_kubectl
def test_what_is_no_kubernetes_is_told(kubefed_: Kubefed) -> None:
    """A page of a proxy, for one."""
    with answering({"/version": (200, "hello"), "/apis": (200, {})}) as server:
        path = kubefed_.kubeconfig(server)
        words = ("--kubeconfig", str(path), "--host-cluster-context", "host")
        assert "does not answer" in kubefed_.refused(*words, status=exits.UNREACHABLE)


def test_deinit_is_told_one_way(kubefed_: Kubefed) -> None:
    """--unjoin and --force are opposites."""
    done = kubefed_("deinit", "east", "--unjoin", "--force")
    assert done.status == exits.USAGE
    assert "not both" in done.err


@needs_kubectl
def test_rights_are_asked_for_each_kind() -> None:
    """With the resource of each kind as the API has it."""
    asked = reviews(deploy.build("host-member"), "hanse")
    resources = {each["spec"]["resourceAttributes"]["resource"] for each in asked}
    assert {"networkpolicies", "priorityclasses", "poddisruptionbudgets", "clusterroles"} <= resources
    assert plural("HorizontalPodAutoscaler") == "horizontalpodautoscalers"
    where = {
        each["spec"]["resourceAttributes"]["namespace"]
        for each in asked
        if each["spec"]["resourceAttributes"]["resource"] in {"namespaces", "priorityclasses"}
    }
    assert where == {""}


@contextmanager
def tls_server(directory: Path, authority: CertificateAuthority) -> Iterator[str]:
    """host:port of a server that ends each TLS connection once it stands, as etcd does without a
    certificate."""
    pair = authority.issue("etcd", ip_addresses=["127.0.0.1"])
    files = pair.write(directory, "server", ca_pem=authority.ca_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.cert, files.key)

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            try:
                context.wrap_socket(connection, server_side=True).close()
            except OSError:
                connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_an_etcd_that_answers_is_taken_and_one_that_does_not_is_named(tmp_path: Path) -> None:
    """By TLS, from the authority that services will ask for; all that fail are in the one line."""
    own, other = CertificateAuthority.create(), CertificateAuthority.create()
    foreign = tmp_path / "other.crt"
    foreign.write_bytes(other.ca_pem)
    with tls_server(tmp_path, own) as endpoint, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        away = f"127.0.0.1:{closed.getsockname()[1]}"
        etcd_answers([endpoint], tmp_path / "ca.crt")
        etcd_answers([endpoint], None)
        with pytest.raises(UnavailableError) as raised:
            etcd_answers([endpoint, away], tmp_path / "ca.crt")
        assert away in raised.value.message
        assert endpoint not in raised.value.message
        with pytest.raises(UnavailableError, match=r"certificate verify failed|CERTIFICATE_VERIFY_FAILED"):
            etcd_answers([endpoint], foreign)


@pytest.mark.parametrize(
    ("stderr", "kind", "said"),
    [
        (
            "Warning: old\nE1127 04:25:45.5 1 run.go:72] x\nInvalid value: 1\n",
            FailedPreconditionError,
            "Invalid value: 1",
        ),
        (
            "E1127 04:25:45.5 1 run.go:72] alone\n",
            FailedPreconditionError,
            "E1127 04:25:45.5 1 run.go:72] alone",
        ),
        ("Error from server (Forbidden): no\n", PermissionDeniedError, "Error from server (Forbidden): no"),
        ("error: You must be logged in\n", UnauthenticatedError, "You must be logged in"),
        ("Apply failed with 1 conflict: x\n", ConflictError, "Apply failed with 1 conflict: x"),
        ("Unable to connect to the server: EOF\n", UnavailableError, "Unable to connect to the server: EOF"),
        ("", FailedPreconditionError, "it says nothing"),
    ],
)
def test_what_kubectl_complains_of_is_one_line(stderr: str, kind: type[HanseError], said: str) -> None:
    """Without warnings and its log, unless there is nothing else; the error says what kind it is."""
    error = complaint(["apply"], stderr)
    assert type(error) is kind
    assert error.message == f"kubectl apply: {said}"
