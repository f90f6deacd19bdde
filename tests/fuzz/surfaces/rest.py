"""The REST API over HTTPS: paths, queries, headers, bodies in JSON, YAML and protobuf, four kinds of patches.

Owns `Rest`. Requests are written by hand, so that nothing between the fuzzer and the server makes them right.
An answer 5xx is a failure (but 504 for a version that does not exist yet), and so is none at all.

Concurrency: one connection, one request after the other.

Next: `tests.fuzz.surfaces.rpcs`.
"""

from __future__ import annotations

import json
import socket
import ssl
from random import Random
from urllib.parse import quote

from tests.fuzz import mutations
from tests.fuzz.engine import Input
from tests.fuzz.surfaces.requests import PATCHES, seeds
from tests.fuzz.surfaces.served import ServedFederation

DEADLINE = 25.0
"""Seconds: longer than any wait of the server's own."""

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get")
_MEDIA = (
    *PATCHES,
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "text/plain",
    "",
    "x/é",
    "application/json; charset=utf-16",
    "multipart/form-data; boundary=x",
    "application/x-www-form-urlencoded",
)
_ACCEPT = (
    "application/json",
    "application/yaml",
    "application/json;as=Table;v=v1;g=meta.k8s.io",
    "*/*",
    "",
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
    "application/vnd.kubernetes.protobuf",
    ";",
    ",,;=",
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
    "text/html;q=²",
)
_PARAMETERS: dict[str, tuple[str, ...]] = {
    "limit": mutations.NUMBERS,
    "continue": (
        "x",
        "WzEsMSwiIiwiIl0",
        "WzEsIsKyIiwiIiwiIl0",
        "WzEsMWU5OSwiIiwiIl0",
        "W10",
        "bnVsbA",
        "é",
        "=" * 9,
    ),
    "resourceVersion": ("0", "1", *mutations.NUMBERS),
    "resourceVersionMatch": ("Exact", "NotOlderThan", "x"),
    "timeoutSeconds": ("1", *mutations.NUMBERS),
    "watch": ("true", "1", "x"),
    "sendInitialEvents": ("true", "false", "x"),
    "allowWatchBookmarks": ("true", "x"),
    "labelSelector": (
        "a=b",
        "a in (b,c),!d",
        "a>1",
        "a>²",
        "a in (",
        "!",
        "a=" + "x" * 70,
        ",".join(["a=b"] * 900),
        "(" * 300,
        "a notin ()",
        "a==",
        "a,b,c",
        "\0",
        "a in (b",
        "a>" + "9" * 400,
    ),
    "fieldSelector": (
        "metadata.name=w",
        "spec.x=1",
        "metadata.name!=",
        "a\\",
        "=",
        ",,,",
        "metadata.name=a\\,b",
        "\\" * 99,
    ),
    "dryRun": ("All", "x"),
    "fieldManager": ("m", "x" * 129, "a\nb", "é", ""),
    "fieldValidation": ("Strict", "Warn", "Ignore", "x"),
    "force": ("true", "x"),
    "propagationPolicy": ("Foreground", "Background", "Orphan", "x"),
    "gracePeriodSeconds": mutations.NUMBERS,
    "pretty": ("true", ""),
    "includeObject": ("Object", "None", "Metadata", "x"),
}
_HEADERS = (
    "Accept",
    "Accept-Encoding",
    "Authorization",
    "Impersonate-User",
    "Impersonate-Group",
    "Impersonate-Uid",
    "Impersonate-Extra-a",
    "User-Agent",
    "If-None-Match",
    "traceparent",
    "X-Forwarded-For",
    "Content-Encoding",
    "Host",
    "Cookie",
    "Range",
    "Content-Type",
)


_WORDS = ("widgets", "gadgets", "things", "core", "secrets", "pods")


class Rest:
    """The apiserver's REST API."""

    name = "rest"

    def __init__(self) -> None:
        self._federation: ServedFederation | None = None
        self._socket: ssl.SSLSocket | None = None
        self._context: ssl.SSLContext | None = None

    def start(self) -> None:
        """Serve a federation."""
        self._federation = ServedFederation()
        files = self._federation.identity()
        self._context = ssl.create_default_context(cafile=files["ca"])
        self._context.load_cert_chain(files["cert"], files["key"])

    def stop(self) -> None:
        """Stop it."""
        self._close()
        if self._federation is not None:
            self._federation.close()
        self._federation = None

    def lag(self) -> float:
        """How long the last request held the loop."""
        assert self._federation is not None
        return self._federation.loop.settle()

    def seeds(self) -> list[Input]:
        """Requests that are fine, for every kind of verb, body and patch."""
        return seeds()

    def mutated(self, rng: Random, seed: Input) -> Input:
        """Change method, target, headers or body, one or two of them."""
        out: Input = {**seed, "headers": [list(header) for header in seed["headers"]]}
        for _ in range(rng.choice((1, 1, 1, 2))):
            kind = rng.random()
            if kind < 0.55 and out["body"]:
                self._change_body(rng, out)
            elif kind < 0.7:
                out["target"] = _changed_path(rng, out["target"])
            elif kind < 0.9:
                out["target"] = _with_parameter(rng, out["target"])
            elif kind < 0.95:
                _change_header(rng, out)
            else:
                out["method"] = rng.choice(_METHODS)
        return out

    def _change_body(self, rng: Random, out: Input) -> None:
        kind = rng.random()
        media: str | None = None
        if kind < 0.7:
            try:
                body, media = mutations.encode(rng, mutations.mutate_json(rng, json.loads(out["body"])))
            except (ValueError, RecursionError):
                body = mutations.mutate_bytes(rng, out["body"].encode("latin-1", "replace"))
        elif kind < 0.85:
            body = mutations.mutate_bytes(rng, out["body"].encode("latin-1", "replace"))
        else:
            body, media = mutations.costly(rng), rng.choice(("application/yaml", "application/json"))
        out["body"] = body.decode("latin-1")
        said = dict(out["headers"]).get("Content-Type", "")
        if rng.random() < 0.1:
            said = rng.choice(_MEDIA)
        elif media is not None and said not in PATCHES:
            said = media
        out["headers"] = [header for header in out["headers"] if header[0] != "Content-Type"]
        out["headers"].append(["Content-Type", said])

    def run(self, step: Input) -> str:
        """Send the request; say what is wrong with the answer."""
        assert self._federation is not None
        self._federation.loop.reset()
        message = _wire(step)
        try:
            answer = self._exchange(message, bodiless=step["method"] == "HEAD")
        except TimeoutError:
            self._close()
            return "no answer in time"
        except OSError as error:
            self._close()
            return f"the connection ended: {error}"
        if answer is None:
            self._close()
            return "" if step["method"] not in _METHODS[:6] else "the connection was closed without an answer"
        status, body = answer
        if status < 500 or status == 504:
            return ""
        return f"answered {status}: {body[:300].decode(errors='replace')}"

    def _exchange(self, message: bytes, *, bodiless: bool) -> tuple[int, bytes] | None:
        for fresh in (self._socket is None, True):
            if fresh:
                self._open()
            assert self._socket is not None
            try:
                self._socket.sendall(message)
                found = self._answer(bodiless=bodiless)
            except (ConnectionError, ssl.SSLError):
                found = None
            if found is not None or fresh:
                return found
            self._close()
        return None

    def _open(self) -> None:
        self._close()
        assert self._federation is not None
        assert self._context is not None
        host, _, port = self._federation.world.apiserver.https.rpartition(":")
        plain = socket.create_connection((host, int(port)), timeout=DEADLINE)
        self._socket = self._context.wrap_socket(plain, server_hostname=host)

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _answer(self, *, bodiless: bool) -> tuple[int, bytes] | None:
        """Read one answer; of a stream only the head, and then the connection is closed."""
        assert self._socket is not None
        data = b""
        while b"\r\n\r\n" not in data:
            piece = self._socket.recv(65536)
            if not piece:
                return None
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        status = int(lines[0].split(b" ")[1])
        headers = {
            name.strip().lower(): said.strip()
            for name, _, said in (line.partition(b":") for line in lines[1:])
        }
        if b"content-length" not in headers:
            self._close()
            return status, body
        length = 0 if bodiless else int(headers[b"content-length"])
        while len(body) < length:
            piece = self._socket.recv(65536)
            if not piece:
                break
            body += piece
        if headers.get(b"connection", b"").lower() == b"close" or len(body) < length:
            self._close()
        return status, body


def _wire(step: Input) -> bytes:
    """A request as bytes; what would end it too early is escaped."""
    target = quote(step["target"], safe="/?&=%:;,+~*'()[]{}!@$\\|^`<>\"", errors="surrogatepass")
    body: bytes = step["body"].encode("latin-1", "replace")
    lines = [f"{step['method']} {target or '/'} HTTP/1.1"]
    named = {name.lower() for name, _ in step["headers"]}
    if "host" not in named:
        lines.append("Host: fuzz")
    for name, said in step["headers"]:
        clean = "".join(char for char in said if char not in "\r\n\0")
        lines.append(f"{name}: {clean}")
    if body or step["method"] in ("POST", "PUT", "PATCH"):
        lines.append(f"Content-Length: {len(body)}")
    head = "\r\n".join(lines).encode("utf-8", "surrogatepass")
    return head + b"\r\n\r\n" + body


def _changed_path(rng: Random, target: str) -> str:
    path, mark, query = target.partition("?")
    parts = path.split("/")
    at = rng.randrange(len(parts))
    kind = rng.random()
    if kind < 0.5:
        parts[at] = quote(rng.choice((*mutations.NAMES, *_WORDS)), safe="%", errors="surrogatepass")
    elif kind < 0.7:
        parts.insert(at, quote(rng.choice(mutations.NAMES), safe="%", errors="surrogatepass"))
    elif kind < 0.8:
        del parts[at]
    elif kind < 0.9:
        parts.append(rng.choice(("status", "scale", "watch", "log", "binding", "finalize", "x")))
    else:
        parts[at] = mutations.mutate_text(rng, parts[at])[:300]
    return "/".join(parts)[:4000] + mark + query


def _with_parameter(rng: Random, target: str) -> str:
    name = rng.choice(tuple(_PARAMETERS))
    said = rng.choice(_PARAMETERS[name])
    if rng.random() < 0.2:
        said = mutations.mutate_text(rng, said)
    encoded = quote(said[:5000], safe="" if rng.random() < 0.95 else "%&=", errors="surrogatepass")
    return f"{target}{'&' if '?' in target else '?'}{name}={encoded}"[:7000]


def _change_header(rng: Random, out: Input) -> None:
    name = rng.choice(_HEADERS)
    values = _ACCEPT if name == "Accept" else _MEDIA if name == "Content-Type" else mutations.TEXTS
    said = rng.choice(values)
    if name == "Authorization":
        said = rng.choice(("Bearer ", "Basic ", "")) + said
    if name == "Content-Encoding":
        said = rng.choice(("gzip", "deflate", "br", "identity", "gzip, gzip", said))
    if name == "Accept-Encoding":
        said = rng.choice(("gzip", "gzip;q=²", "*", said))
    out["headers"] = [header for header in out["headers"] if header[0] != name] + [[name, said[:3000]]]
