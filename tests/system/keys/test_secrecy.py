"""Tokens, keys and values of Secrets are nowhere but where they belong.

A federation is used with secrets that are known here; then everything that it has written and said is
searched for them, in each form in which they may appear.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from hanse_local.layout import DataDir
from hanse_local.supervise.background import query

from tests.system.harness import Api, Federation, Json, Standalone, until
from tests.system.manifests import config_map, metadata

pytestmark = pytest.mark.timeout(300)

NS = "vault"
PASSPHRASE = f"passphrase-{secrets.token_hex(16)}"
MEMBER_TOKEN = f"member-token-{secrets.token_urlsafe(32)}"
LATER_TOKEN = f"later-token-{secrets.token_urlsafe(32)}"
EVIL_TOKEN = f"evil/token-{secrets.token_urlsafe(32)}"
USER_TOKEN = f"user-token-{secrets.token_urlsafe(32)}"
VALUES = {
    "plain": f"plain-value-{secrets.token_hex(16)}",
    "odd": f'quoted-"value"\\{secrets.token_hex(16)}\nand a second line / with ünïcode & more',
    "later": f"later-value-{secrets.token_hex(16)}",
}


def forms(secret: bytes) -> set[bytes]:
    """A secret as it may be written: plain, escaped, in hexadecimal, in base64 at each of three places."""
    text = secret.decode(errors="surrogateescape")
    found = {secret, secret.hex().encode(), secret.hex().upper().encode()}
    if max(text, default="") < "\udc80":
        found |= {urllib.parse.quote(text).encode(), urllib.parse.quote_plus(text).encode()}
        for ascii_only in (True, False):
            escaped = json.dumps(text, ensure_ascii=ascii_only)[1:-1].encode()
            found |= {escaped, escaped.replace(b"/", b"\\/"), json.dumps(escaped.decode())[1:-1].encode()}
        found |= {repr(text)[1:-1].encode(), repr(secret)[2:-1].encode()}
    for shift in range(3):
        padded = base64.b64encode(b"\0" * shift + secret + b"\0" * 2)
        inner = padded[(0, 2, 3)[shift] : len(padded) - 8]  # what does not depend on the neighbours
        found |= {inner, inner.translate(bytes.maketrans(b"+/", b"-_"))}
    return {each for each in found if len(each) >= 16}


class Needles:
    """What is searched for, by name."""

    def __init__(self) -> None:
        self._forms: dict[str, set[bytes]] = {}

    def add(self, name: str, secret: str | bytes, *, head: bool = False) -> None:
        """Search for this secret from now on; with `head` for its first half too, where the end was cut."""
        raw = secret.encode() if isinstance(secret, str) else secret
        assert len(raw) >= 20, f"{name} is too short to be told from chance"
        self._forms[name] = forms(raw) | (forms(raw[: len(raw) // 2]) if head else set())

    def add_pem(self, name: str, pem: bytes) -> None:
        """Search for the first line of a key, its whole, and what it decodes to."""
        body = b"".join(pem.splitlines()[1:-1])
        self.add(f"{name} (line)", pem.splitlines()[1])
        self.add(f"{name} (PEM)", pem)
        self.add(f"{name} (DER)", base64.b64decode(body)[40:])

    def inside(self, content: bytes) -> list[str]:
        """The names of those that are in there."""
        return [name for name, each in self._forms.items() if any(form in content for form in each)]


class Echo(BaseHTTPRequestHandler):
    """A server that repeats what it was sent in its errors."""

    status = 500

    def do_GET(self) -> None:
        """Repeat the head of the request."""
        said = f"{self.headers['Authorization']}: {self.headers}"
        text = json.dumps(
            {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": self.status, "message": said}
        )
        body = text.replace("/", "\\/").encode()  # as some servers write JSON
        if self.status == 200:
            body = f"<html>{said}</html>".encode()
        self.send_response(self.status)
        self.send_header("Content-Type", "text/html" if self.status == 200 else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""


@contextmanager
def echo() -> Iterator[str]:
    """Where such a server listens."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class CommandLines:
    """Looks at the command lines of all processes, all the time; `seen` has those with a secret in them."""

    def __init__(self, needles: Needles) -> None:
        self.seen: set[str] = set()
        self._needles = needles
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> CommandLines:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        known: set[bytes] = set()
        while not self._over.wait(0.02):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    line = path.read_bytes()
                except OSError:
                    continue
                if line not in known:
                    known.add(line)
                    self.seen.update(f"{line[:80]!r}: {name}" for name in self._needles.inside(line))


class Recorded(Federation):
    """Keeps all that commands say."""

    said: bytes = b""

    def run(self, *arguments: Any, **values: Any) -> Any:
        """As there; the command and its output are kept."""
        done = super().run(*arguments, **{**values, "check": False})
        self.said += f"{arguments}\n{done.out}\n{done.err}\n".encode()
        assert done.status == 0 or values.get("check") is False, done.err
        return done


@pytest.fixture
def federation(kubectl: str, tmp_path: Path) -> Iterator[Recorded]:
    """A federation of one member of others, which logs and traces all it can."""
    folder = tmp_path / "members"
    folder.mkdir()
    tokens = tmp_path / "tokens.csv"
    tokens.touch(mode=0o600)
    tokens.write_text(f'{USER_TOKEN},ann,1,"system:masters"\n')
    made = Recorded(
        tmp_path / "fed" / "data",
        members=Standalone(folder, 1),
        settings={"apiserver.token_file": str(tokens)},
    )
    made.arguments = ("--log-level", "debug")
    with made:
        yield made


def kubeconfig(path: Path, document: Mapping[str, Any], *, server: str = "", **user: str) -> Path:
    """The kubeconfig of a member with another server or other parts of the user."""
    changed = json.loads(json.dumps(document))
    if server:
        changed["clusters"][0]["cluster"] = {"server": server}
    changed["users"][0]["user"] |= user
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(changed))
    return path


def secret(**values: str) -> Json:
    """A Secret."""
    data = {name: base64.b64encode(value.encode()).decode() for name, value in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata("login", NS), "data": data}


def has(member: Api, number: int) -> bool:
    """Whether a member has the Secret with so many values."""
    return len((member.find("secrets", NS, "login") or {}).get("data", {})) == number


def searched(federation: Recorded) -> Iterator[tuple[str, bytes]]:
    """All that the federation has written, but for what is the owner's own: keys and kubeconfigs."""
    yield "what commands have said", federation.said
    own = [federation.data_dir / name for name in ("pki", "clusters", "kubeconfig")]
    for path in sorted(federation.data_dir.parent.rglob("*")):
        mine = any(path == each or each in path.parents for each in own)
        if path.is_file() and not mine and path != federation.kubeconfig:
            yield str(path.relative_to(federation.data_dir.parent)), path.read_bytes()
    running = query(DataDir.at(federation.data_dir))
    assert running is not None
    for process in running["processes"]:
        for file in ("cmdline", "environ"):
            content = Path(f"/proc/{process['pid']}/{file}").read_bytes()
            yield f"{file} of {process['name']}", content


def use(federation: Recorded, folder: Path, document: Mapping[str, Any]) -> None:
    """Use everything that has to do with secrets, rightly and wrongly."""

    def hanse(*words: str) -> str:
        done: str = federation.run(["hanse", *words], check=False).out
        return done

    # Credentials of members: another token, a dry run, and much that is wrong.
    token = kubeconfig(folder / "token", document, token=MEMBER_TOKEN)
    later = kubeconfig(folder / "later", document, token=LATER_TOKEN)
    assert federation.run(["hanse", "credentials", "set", "eu-west", "--cluster-kubeconfig", str(token)])
    hanse("credentials", "set", "eu-west", "--cluster-kubeconfig", str(later), "--dry-run")
    hanse("join", "eu-west", "--cluster-kubeconfig", str(token))
    hanse("join", "twin", "--cluster-kubeconfig", str(token))
    broken = folder / "broken"
    broken.write_text(token.read_text().replace("users:", "users: ["))
    hanse("join", "broken", "--cluster-kubeconfig", str(broken))
    key = kubeconfig(folder / "key", document, **{"client-key-data": base64.b64encode(b"no key").decode()})
    hanse("join", "key", "--cluster-kubeconfig", str(key))
    space = kubeconfig(folder / "space", document, token=f"{EVIL_TOKEN} {EVIL_TOKEN}")
    hanse("join", "space", "--cluster-kubeconfig", str(space))
    gone = kubeconfig(folder / "gone", document, server="https://127.0.0.1:1", token=EVIL_TOKEN)
    hanse("join", "gone", "--cluster-kubeconfig", str(gone))
    with echo() as url:
        for Echo.status in (200, 401, 403, 500):
            evil = kubeconfig(folder / "evil", document, server=url, token=EVIL_TOKEN)
            said = federation.run(["hanse", "join", "evil", "--cluster-kubeconfig", str(evil)], check=False)
            assert said.status != 0
            hanse("credentials", "set", "eu-west", "--cluster-kubeconfig", str(evil))

    # Secrets: placed, changed, changed by others, refused.
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata(NS, "")}
    federation.apply(namespace, config_map(NS, "settings", color="red"))
    member = federation.each["eu-west"]
    manifest = folder / "secret.yaml"
    for values in ({"plain": VALUES["plain"], "odd": VALUES["odd"]}, {**VALUES}):
        manifest.write_text(yaml.safe_dump(secret(**values)))
        federation.kubectl("apply", "-f", str(manifest))
        until(partial(has, member, len(values)), what="the member has the Secret")
    wrong = secret(**VALUES) | {"type": "kubernetes.io/tls"}
    manifest.write_text(yaml.safe_dump(wrong))
    federation.kubectl("apply", "-f", str(manifest), check=False)
    server = federation.environ["HANSE_SERVER"]
    federation.run(
        ["curl", "-sk", "-K", "-", f"{server}/api/v1/namespaces/{NS}/secrets?limit=0"],
        stdin=f'header = "Authorization: Bearer {USER_TOKEN}"\noutput = "/dev/null"\n',
    )

    # Looking.
    federation.kubectl("get", "secrets,events", "-n", NS)
    federation.kubectl("describe", "secret", "login", "-n", NS)
    federation.kubectl("get", "clusters", "-o", "yaml")
    hanse("explain", "secret/login", "-n", NS)
    hanse("clusters", "-o", "yaml")
    hanse("syncer", "list-sync-states")
    hanse("orphans")
    hanse("status", "-o", "json")
    hanse("certificates", "list")
    hanse("backup", str(federation.data_dir.parent / "hanse.backup"))


def test_no_secret_is_where_it_does_not_belong(federation: Recorded, tmp_path: Path) -> None:
    """Not in logs, traces, etcd's files, backups, what commands say, command lines, environments."""
    data = federation.data_dir
    document = yaml.safe_load((tmp_path / "members" / "eu-west.kubeconfig").read_text())
    federation.environ["HANSE_SERVER"] = federation_server(data)
    needles = Needles()
    for name, value in {
        "the member's token": MEMBER_TOKEN,
        "the member's later token": LATER_TOKEN,
        "a token that is sent to an echo": EVIL_TOKEN,
        "a user's token": USER_TOKEN,
        "the passphrase": PASSPHRASE,
        **{f"the value {name}": value for name, value in VALUES.items()},
    }.items():
        needles.add(name, value, head=True)
    needles.add_pem("the member's key", base64.b64decode(document["users"][0]["user"]["client-key-data"]))
    for path in sorted((data / "pki").rglob("*.key")):
        content = path.read_bytes()
        if content.startswith(b"-----BEGIN"):
            needles.add_pem(str(path.relative_to(data)), content)
        else:
            needles.add(str(path.relative_to(data)), content.strip().partition(b":")[2])
            needles.add(f"{path.name} (raw)", base64.b64decode(content.strip().partition(b":")[2]))

    (tmp_path / "kubeconfigs").mkdir()
    with CommandLines(needles) as lines:
        federation.environ["HANSE_BACKUP_PASSPHRASE"] = PASSPHRASE
        use(federation, tmp_path / "kubeconfigs", document)
    assert lines.seen == set()

    found = dict(searched(federation))
    leaks = {where: names for where, content in found.items() if (names := needles.inside(content))}
    assert leaks == {}

    # The search finds what is there: names are in the places in which values are not, keys where they belong.
    belongs = needles.inside(b"".join(path.read_bytes() for path in (data / "pki").glob("*.key")))
    assert {"pki/ca.key (PEM)", "secrets.key (raw)"} & set(belongs)
    assert needles.inside((tmp_path / "kubeconfigs" / "token").read_bytes())[0] == "the member's token"
    everything = {
        kind: b"".join(v for k, v in found.items() if kind in k) for kind in ("logs", "traces", "etcd")
    }
    assert all(b"login" in content for content in everything.values())
    assert b"[redacted]" in found["what commands have said"]
    assert any(k.endswith(".wal") for k in found)
    assert any(k.startswith("environ of syncer") for k in found)


def federation_server(data: Path) -> str:
    """The URL of the Kubernetes API."""
    document = yaml.safe_load((data / "kubeconfig").read_text())
    server: str = document["clusters"][0]["cluster"]["server"]
    return server
