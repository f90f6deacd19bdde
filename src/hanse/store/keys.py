"""What is kept under which key, and the only place that knows.

Keys are relative to the store's prefix. A name is one path segment: never empty, never with "/". Cluster
scope is written `_` where a namespace would be, and the empty API group `core`; neither can be the name of
a namespace or group, so no two objects have one key. Pure functions, no state.

| key | value | one writer |
|---|---|---|
| `objects/<group>/<resource>/<namespace>/<name>` | JSON | apiserver |
| `objecttombstones/<group>/<resource>/<namespace>/<name>` | protobuf: what deleted objects left | apiserver |
| `clusters/<name>`, `catalogues/<name>`, `credentials/<name>` | protobuf, sealed | registry |
| `placements/<group>/<resource>/<namespace>/<name>` | protobuf | scheduler |
| `syncstates/<group>/<resource>/<namespace>/<name>/<cluster>` | protobuf | syncer |
| `memberreports/<cluster>` | protobuf, leased: a cluster that misbehaves | syncer |
| `orphans/<cluster>` | protobuf | syncer |
| `records/<zone>/<name>` | protobuf | dns |
| `elections/<name>/<lease>`, `members/<service>/<id>` | text, leased | each for itself |
| `federation` | protobuf, written once | apiserver |

Next: `hanse.store.types` for what a store does with them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

from hanse.errors import InvalidArgumentError
from hanse.paths import CLUSTER_SCOPE, CORE, parse_group, parse_namespace

OBJECTS: Final = "objects"
TOMBSTONES: Final = "objecttombstones"
"""Sorts between objects and placements, so that all three are followed in one watch, also by the release
before."""
CLUSTERS: Final = "clusters"
CATALOGUES: Final = "catalogues"
CREDENTIALS: Final = "credentials"
PLACEMENTS: Final = "placements"
SYNCSTATES: Final = "syncstates"
MEMBER_REPORTS: Final = "memberreports"
ORPHANS: Final = "orphans"
RECORDS: Final = "records"
ELECTIONS: Final = "elections"
MEMBERS: Final = "members"
FEDERATION: Final = "federation"
"""The key of the federation itself: its name, id and DNS suffix."""

MAX_SEGMENT: Final = 512
"""Characters of one segment: twice what a name may have in Kubernetes, for names that have no bound there."""

_UNFIT: Final = re.compile(r"[/\x00-\x1f\x7f\ud800-\udfff]")
_UNFIT_KEY: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")

_FORMS: Final = {
    OBJECTS: "objects/<group>/<resource>/<namespace>/<name>",
    TOMBSTONES: "objecttombstones/<group>/<resource>/<namespace>/<name>",
    CLUSTERS: "clusters/<name>",
    CATALOGUES: "catalogues/<name>",
    CREDENTIALS: "credentials/<name>",
    PLACEMENTS: "placements/<group>/<resource>/<namespace>/<name>",
    SYNCSTATES: "syncstates/<group>/<resource>/<namespace>/<name>/<cluster>",
    MEMBER_REPORTS: "memberreports/<cluster>",
    ORPHANS: "orphans/<cluster>",
    RECORDS: "records/<zone>/<name>",
    ELECTIONS: "elections/<name>/<lease>",
    MEMBERS: "members/<service>/<id>",
    FEDERATION: "federation",
}
_SEGMENTS: Final = {prefix: form.count("/") + 1 for prefix, form in _FORMS.items()}


def check(key: str) -> None:
    """Raise InvalidArgumentError for a key that nobody here writes: read back it would name what cannot be
    written, or something else.

    Of a prefix that is not in the table every key is fine that is UTF-8 in the store; one that is not has
    surrogates for the bytes that are not.
    """
    parts = key.split("/")
    expected = _SEGMENTS.get(parts[0])
    if expected is None:
        if not key.isascii() and any("\ud800" <= character <= "\udfff" for character in key):
            raise _not_a(key, "UTF-8")
    elif len(parts) != expected or not _are_segments(key, parts):
        raise _not_a(key, _FORMS[parts[0]])


def _are_segments(key: str, parts: list[str]) -> bool:
    """Return whether each part of the key is what `segment` returns."""
    if _UNFIT_KEY.search(key) or not all(parts):
        return False
    return len(key) <= MAX_SEGMENT or max(map(len, parts)) <= MAX_SEGMENT


def segment(value: str, *, what: str) -> str:
    """Return `value` if it can be one segment of a key, else raise `InvalidArgumentError`."""
    if not value or len(value) > MAX_SEGMENT or _UNFIT.search(value):
        shown = value if len(value) <= 80 else value[:77] + "..."
        raise InvalidArgumentError(
            f"{what} {shown!r} cannot be stored: it must have 1 to {MAX_SEGMENT} characters, without '/' and "
            "control characters",
            reason="INVALID_NAME",
            metadata={"field": what, "value": shown.encode(errors="replace").decode()},
        )
    return value


def _no_alias(value: str, reserved: str, *, what: str) -> str:
    """Return `value` unless it is how nothing is written, which would be the key of another object."""
    if value == reserved:
        raise InvalidArgumentError(
            f"{what} {value!r} cannot be stored: it is reserved",
            reason="INVALID_NAME",
            metadata={"field": what, "value": value},
        )
    return segment(value or reserved, what=what)


@dataclass(frozen=True, slots=True, order=True)
class ObjectKey:
    """Names one federated object. `group` is "" for the core API, `namespace` "" for cluster scope."""

    group: str
    resource: str
    namespace: str
    name: str

    def path(self) -> str:
        """Return `<group|core>/<resource>/<namespace|_>/<name>`."""
        return (
            f"{_no_alias(self.group, CORE, what='group')}/{segment(self.resource, what='resource')}/"
            f"{_no_alias(self.namespace, CLUSTER_SCOPE, what='namespace')}/{segment(self.name, what='name')}"
        )

    def key(self, prefix: str = OBJECTS) -> str:
        """Return the object's key under `prefix`: `objects`, `objecttombstones`, `placements`,
        `syncstates`."""
        return f"{prefix}/{self.path()}"

    def sync_state(self, cluster: str) -> str:
        """Return the key of the object's sync state in `cluster`."""
        return f"{SYNCSTATES}/{self.path()}/{segment(cluster, what='cluster')}"

    def sync_states(self) -> str:
        """Return the prefix of the object's sync states in all clusters."""
        return f"{SYNCSTATES}/{self.path()}/"

    @classmethod
    def parse(cls, key: str) -> Self:
        """Return what `key` (an object's or a placement's) names; `InvalidArgumentError` if it is neither."""
        parts = key.split("/")
        if len(parts) != 5 or not _are_segments(key, parts):
            raise _not_a(key, "<prefix>/<group>/<resource>/<namespace>/<name>")
        _, group, resource, namespace, name = parts
        return cls(parse_group(group), resource, parse_namespace(namespace), name)

    def __str__(self) -> str:
        where = f"{self.namespace}/" if self.namespace else ""
        return f"{self.resource}{'.' if self.group else ''}{self.group} {where}{self.name}"


def parse_sync_state(key: str) -> tuple[ObjectKey, str]:
    """Return the object and the cluster of a sync state's key. Raises `InvalidArgumentError`."""
    parts = key.split("/")
    if len(parts) != 6 or parts[0] != SYNCSTATES or not _are_segments(key, parts):
        raise _not_a(key, _FORMS[SYNCSTATES])
    _, group, resource, namespace, name, cluster = parts
    return ObjectKey(parse_group(group), resource, parse_namespace(namespace), name), cluster


def parse_cluster(key: str) -> str:
    """Return the cluster that `clusters/<name>` is of. Raises InvalidArgumentError."""
    check(key)
    prefix, _, name = key.partition("/")
    if prefix != CLUSTERS:
        raise _not_a(key, _FORMS[CLUSTERS])
    return name


def resource_prefix(
    *, group: str = "", resource: str = "", namespace: str | None = None, prefix: str = OBJECTS
) -> str:
    """Return the prefix of all objects, of those of a resource, or of those in one namespace.

    No `resource` gives the whole `prefix`; `namespace` "" is cluster scope and None any.
    """
    if not resource:
        return f"{prefix}/"
    base = f"{prefix}/{_no_alias(group, CORE, what='group')}/{segment(resource, what='resource')}/"
    if namespace is None:
        return base
    return f"{base}{_no_alias(namespace, CLUSTER_SCOPE, what='namespace')}/"


def cluster(name: str) -> str:
    """Return the key of a cluster's compiled view."""
    return f"{CLUSTERS}/{segment(name, what='cluster')}"


def catalogue(name: str) -> str:
    """Return the key of a cluster's API catalogue."""
    return f"{CATALOGUES}/{segment(name, what='cluster')}"


def credential(name: str) -> str:
    """Return the key of a cluster's sealed credentials."""
    return f"{CREDENTIALS}/{segment(name, what='cluster')}"


def member_report(name: str) -> str:
    """Return the key of what the syncer found wrong with a cluster's answers."""
    return f"{MEMBER_REPORTS}/{segment(name, what='cluster')}"


def orphans(name: str) -> str:
    """Return the key of the orphans that were found in a cluster."""
    return f"{ORPHANS}/{segment(name, what='cluster')}"


def record(zone: str, name: str) -> str:
    """Return the key of a DNS record set."""
    return f"{RECORDS}/{segment(zone, what='zone')}/{segment(name, what='record name')}"


def election(name: str) -> str:
    """Return the prefix of an election's candidates."""
    return f"{ELECTIONS}/{segment(name, what='election')}/"


def member(service: str, identity: str) -> str:
    """Return the key of a live process of `service`."""
    return f"{MEMBERS}/{segment(service, what='service')}/{segment(identity, what='member')}"


def last_segment(key: str) -> str:
    """Return what is after the last slash: the name in every key of one name."""
    return key.rpartition("/")[2]


def _not_a(key: str, form: str) -> InvalidArgumentError:
    shown = key if len(key) <= 160 else key[:157] + "..."
    return InvalidArgumentError(
        f"the key {shown!r} is not of the form {form}", reason="INVALID_KEY", metadata={"key": shown}
    )
