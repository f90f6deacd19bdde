"""What a URL of the Kubernetes API means: verb, resource, namespace, name, subresource. Pure.

Next: `hanse.kube.server.app`, which finds the resource in the catalogue and the handler for the verb.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from aiohttp import web

from hanse.errors import InvalidArgumentError
from hanse.kube.kinds.kubernetes import core
from hanse.kube.kinds.resource_info import ResourceInfo
from hanse.kube.model.identity import User
from hanse.numbers import MAX_WHOLE, whole_number
from hanse.store.keys import ObjectKey

_DURATION = re.compile(r"[-+]?(0|([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+")
_NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})
_COLLECTION_VERBS = {"GET": "list", "HEAD": "list", "POST": "create", "DELETE": "deletecollection"}
_OBJECT_VERBS = {
    "GET": "get",
    "HEAD": "get",
    "POST": "create",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}


@dataclass(frozen=True, slots=True)
class ResourcePath:
    """A URL that names a resource. `group` is "" for core; what is absent is "".

    `rest` is what follows the subresource (proxies use it).
    """

    group: str
    version: str
    resource: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""
    watch: bool = False


def parse_path(path: str) -> ResourcePath | None:
    """Return the resource that a decoded URL path names; None if it names none (discovery, health, ...)."""
    parts = [part for part in path.split("/") if part]
    if len(parts) >= 3 and parts[0] == "api":
        group, version, rest = "", parts[1], parts[2:]
    elif len(parts) >= 4 and parts[0] == "apis":
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    watch = rest[0] == "watch" and len(rest) > 1
    if watch:
        rest = rest[1:]
    namespace = ""
    if rest[0] == core.NAMESPACE.plural and len(rest) > 2 and rest[2] not in _NAMESPACE_SUBRESOURCES:
        namespace, rest = rest[1], rest[2:]
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    return ResourcePath(
        group, version, rest[0], namespace, name, subresource, rest="/".join(rest[3:]), watch=watch
    )


def verb_of(method: str, path: ResourcePath, *, watch: bool) -> str:
    """Return the Kubernetes verb of a request; "" if the method has none there."""
    verb = (_OBJECT_VERBS if path.name else _COLLECTION_VERBS).get(method, "")
    if verb == "create" and path.name and not path.subresource:
        return ""
    return "watch" if watch and verb in ("list", "get") else verb


def check_timeout(value: str) -> None:
    """Raise InvalidArgumentError for a `timeout` parameter that is no duration, such as 1m30s."""
    if value and not _DURATION.fullmatch(value):
        raise InvalidArgumentError(
            f"invalid timeout specified in the request URL - {_short(value)} is no duration such as 30s"
        )


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated, authorized request on a resource."""

    request: web.Request
    info: ResourceInfo
    path: ResourcePath
    verb: str
    user: User
    now: datetime
    """When it was taken up, by the engine's clock."""
    warnings: list[str] = field(default_factory=list)

    @property
    def query(self) -> Mapping[str, str]:
        """Return the query parameters; of a repeated one the first."""
        return self.request.query

    @property
    def key(self) -> ObjectKey:
        """Return where the object that the request names is stored."""
        info = self.info
        return ObjectKey(info.storage_group, info.storage_resource, self.path.namespace, self.path.name)

    def flag(self, name: str) -> bool:
        """Return a boolean parameter, False if absent. Raises InvalidArgumentError."""
        value = self.query.get(name, "")
        if value.lower() in ("", "false", "0"):
            return False
        if value.lower() in ("true", "1"):
            return True
        raise InvalidArgumentError(f"{name} must be true or false, not {value!r}")

    def number(self, name: str, default: int = 0) -> int:
        """Return a non-negative whole number parameter. Raises InvalidArgumentError."""
        value = self.query.get(name, "")
        if not value:
            return default
        number = whole_number(value)
        if number is None:
            raise InvalidArgumentError(
                f"{name} must be a whole number of at most {MAX_WHOLE}, not {_short(value)}"
            )
        return number


def _short(value: str) -> str:
    return repr(value if len(value) <= 40 else value[:37] + "...")


CALL = web.RequestKey("call", Call)
"""Under which a request carries its call, for telemetry."""
