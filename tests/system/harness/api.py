"""A small synchronous client of one Kubernetes API: what tests look at members and the federation with.

Owns a pool of connections. Resources are given by kubectl's plural names, with the group where it is not the
core's: `configmaps`, `deployments.apps`. It retries nothing; `waiting.until` does.

Concurrency: may be used by several threads. Next: `federation`, which has one per context.
"""

from __future__ import annotations

import base64
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlencode

import orjson
import urllib3
import yaml

Json: TypeAlias = dict[str, Any]
SECONDS = 20.0
MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
# The versions of the groups that tests use; others are v1.
VERSIONS = {"hanse.dev": "v1alpha1", "federation": "v1beta1"}


class ApiError(Exception):
    """An answer other than 2xx: its HTTP `status`, its `reason`, its message."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason


def collection(resource: str, namespace: str = "", name: str = "") -> str:
    """The path of a collection, or of one object in it."""
    plural, _, group = resource.partition(".")
    root = f"/apis/{group}/{VERSIONS.get(group, 'v1')}" if group else "/api/v1"
    where = f"/namespaces/{namespace}" if namespace else ""
    return f"{root}{where}/{plural}" + (f"/{name}" if name else "")


class Api:
    """Requests to one API server."""

    def __init__(self, server: str, context: ssl.SSLContext, headers: Mapping[str, str]) -> None:
        self.server = server
        self._headers = dict(headers)
        self._pool = urllib3.PoolManager(ssl_context=context, maxsize=16, retries=False)

    @classmethod
    def from_kubeconfig(cls, path: Path, context: str = "") -> Api:
        """A client for a context of a kubeconfig, its current one by default."""
        config = yaml.safe_load(path.read_text())
        chosen = _named(config["contexts"], context or config["current-context"])["context"]
        cluster = _named(config["clusters"], chosen["cluster"])["cluster"]
        user = _named(config["users"], chosen["user"])["user"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        tls = ssl.create_default_context(cadata=authority)
        if "client-certificate-data" in user:
            with tempfile.NamedTemporaryFile() as file:
                file.write(base64.b64decode(user["client-certificate-data"]))
                file.write(b"\n" + base64.b64decode(user["client-key-data"]))
                file.flush()
                tls.load_cert_chain(file.name)
        headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
        return cls(cluster["server"], tls, headers)

    def close(self) -> None:
        """Close all connections."""
        self._pool.clear()

    def request(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        content_type: str = "application/json",
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float = SECONDS,
    ) -> Json:
        """One request; the JSON of its answer. Raises ApiError, and OSError if nothing answers."""
        url = self.server + path + ("?" + urlencode(query) if query else "")
        headers = {
            "Content-Type": content_type,
            "Accept": "application/json",
            **self._headers,
            **(headers or {}),
        }
        data = None if body is None else orjson.dumps(body)
        try:
            answer = self._pool.request(method, url, body=data, headers=headers, timeout=seconds)
        except urllib3.exceptions.HTTPError as error:
            raise ConnectionError(f"{method} {path}: {error}") from error
        return _decoded(answer.status, answer.data)

    def list(self, resource: str, namespace: str = "", **query: str) -> list[Json]:
        """The objects of a collection."""
        items: list[Json] = self.request("GET", collection(resource, namespace), query=query)["items"]
        return items

    def names(self, resource: str, namespace: str = "", **query: str) -> set[str]:
        """The names in a collection."""
        return {item["metadata"]["name"] for item in self.list(resource, namespace, **query)}

    def get(self, resource: str, namespace: str, name: str) -> Json:
        """One object; `namespace` is empty for those that have none. Raises ApiError."""
        return self.request("GET", collection(resource, namespace, name))

    def find(self, resource: str, namespace: str, name: str) -> Json | None:
        """One object, or None if there is none."""
        try:
            return self.get(resource, namespace, name)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def create(self, resource: str, namespace: str, body: Json) -> Json:
        """POST."""
        return self.request("POST", collection(resource, namespace), body=body)

    def replace(self, resource: str, namespace: str, body: Json) -> Json:
        """PUT."""
        path = collection(resource, namespace, body["metadata"]["name"])
        return self.request("PUT", path, body=body)

    def merge(self, resource: str, namespace: str, name: str, patch: Json) -> Json:
        """PATCH by JSON merge patch."""
        path = collection(resource, namespace, name)
        return self.request("PATCH", path, body=patch, content_type=MERGE_PATCH)

    def delete(self, resource: str, namespace: str, name: str) -> Json:
        """DELETE in the background."""
        return self.request("DELETE", collection(resource, namespace, name), body={})

    @contextmanager
    def watch(
        self, path: str, resource_version: str, *, seconds: float = SECONDS
    ) -> Iterator[Iterator[tuple[str, Json]]]:
        """A watch after `resource_version`, as (type, object); ends when the server or `seconds` ends it."""
        query = {"watch": "true", "resourceVersion": resource_version, "timeoutSeconds": f"{seconds:.0f}"}
        url = f"{self.server}{path}?{urlencode(query)}"
        timeout = urllib3.Timeout(connect=5, read=seconds)
        try:
            answer = self._pool.request(
                "GET", url, headers=self._headers, timeout=timeout, preload_content=False
            )
        except urllib3.exceptions.HTTPError as error:
            raise ConnectionError(str(error)) from error
        try:
            if answer.status != 200:
                _decoded(answer.status, answer.read())
            yield _events(answer)
        finally:
            answer.close()


def _events(answer: urllib3.BaseHTTPResponse) -> Iterator[tuple[str, Json]]:
    rest = b""
    try:
        for chunk in answer.stream(amt=None, decode_content=False):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if line:
                    event = orjson.loads(line)
                    yield event["type"], event["object"]
    except urllib3.exceptions.HTTPError as error:
        raise ConnectionError(str(error)) from error


def _decoded(status: int, data: bytes) -> Json:
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        document = {"message": data.decode(errors="replace")}
    if status >= 300:
        raise ApiError(status, str(document.get("reason", "")), str(document.get("message", "")))
    return dict(document)


def _named(entries: list[Json], name: str) -> Json:
    return next(entry for entry in entries if entry["name"] == name)
