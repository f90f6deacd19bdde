"""Who may read and write which keys: one table, from which etcd's roles, the documents and the tests come.

Owns `RIGHTS`. Each service is one user of etcd, named by its certificate, with one role that has exactly
this. A watch needs the right to read its whole range, so what a service follows in one watch stands here as
one range. Whoever has no row may do nothing. Pure values and functions, no state.

Next: `hanse.store.admin.roles`, which makes etcd keep to it; `hanse.store.keys` for what the keys hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from hanse.store import keys
from hanse.store.spans import Span
from hanse.well_known import GROUP

Kind = Literal["read", "write", "readwrite"]


@dataclass(frozen=True, slots=True)
class Rights:
    """What one service may read (list, watch, compare) and write (put, delete)."""

    reads: tuple[Span, ...]
    writes: tuple[Span, ...]


@dataclass(frozen=True, slots=True, order=True)
class Permission:
    """One permission of a role of etcd: a range of whole keys, and what may be done there."""

    key: bytes
    range_end: bytes
    kind: Kind


def _under(*parts: str) -> Span:
    return Span(f"{'/'.join(parts)}/")


_REVISION: Final = Span("", exact=True)
"""The key that is read for the store's revision. It is never written."""
_FEDERATION: Final = Span(keys.FEDERATION)
_OBJECTS: Final = _under(keys.OBJECTS)
_TOMBSTONES: Final = _under(keys.TOMBSTONES)
_STATE: Final = Span(f"{keys.OBJECTS}/", f"{keys.SYNCSTATES}/")
"""Objects, tombstones, orphans, placements, records, sync states: one watch, so they come in one order."""
_CLUSTERS: Final = Span(f"{keys.CATALOGUES}/", f"{keys.CLUSTERS}/")
_CREDENTIALS: Final = _under(keys.CREDENTIALS)

RIGHTS: Final[Mapping[str, Rights]] = MappingProxyType(
    {
        # Its one watch over clusters and state passes the sealed credentials; it has no key for them.
        "apiserver": Rights(
            reads=(
                _REVISION,
                Span(f"{keys.CLUSTERS}/", f"{keys.SYNCSTATES}/"),
                Span(keys.election("sealing")),
            ),
            writes=(_OBJECTS, _TOMBSTONES, _FEDERATION, Span(keys.election("sealing"))),
        ),
        "registry": Rights(
            reads=(
                _REVISION,
                Span(keys.resource_prefix(group=GROUP, resource="clusters")),
                _CLUSTERS,
                _CREDENTIALS,
                _TOMBSTONES,
                _under(keys.PLACEMENTS),
                _under(keys.SYNCSTATES),
                _under(keys.MEMBER_REPORTS),
                _under(keys.ORPHANS),
                Span(keys.election("registry")),
            ),
            writes=(_CLUSTERS, _CREDENTIALS, Span(keys.election("registry"))),
        ),
        "scheduler": Rights(
            reads=(_REVISION, _CLUSTERS, _STATE, Span(keys.election("scheduler"))),
            writes=(_under(keys.PLACEMENTS), Span(keys.election("scheduler"))),
        ),
        # Its one watch over clusters, objects and placements passes elections and members: no secrets.
        "syncer": Rights(
            reads=(_REVISION, Span(f"{keys.CATALOGUES}/", f"{keys.SYNCSTATES}/")),
            writes=(
                _under(keys.SYNCSTATES),
                _under(keys.MEMBER_REPORTS),
                _under(keys.ORPHANS),
                Span(f"{keys.ELECTIONS}/syncer-"),
                _under(keys.MEMBERS, "syncer"),
            ),
        ),
        "dns": Rights(
            reads=(
                _REVISION,
                Span(keys.resource_prefix(resource="services")),
                Span(keys.resource_prefix(resource="services", prefix=keys.SYNCSTATES)),
                _under(keys.CLUSTERS),
                _under(keys.RECORDS),
                Span(keys.election("dns")),
            ),
            writes=(_under(keys.RECORDS), Span(keys.election("dns"))),
        ),
    }
)
"""The rights of each service."""


def permissions(service: str, *, prefix: str) -> frozenset[Permission]:
    """Return the permissions of a service's role where the store's prefix is `prefix`.

    etcd keeps one permission per range, so a range that may be read and written is one of both.
    """
    root = f"{prefix.rstrip('/')}/".encode()
    rights = RIGHTS[service]
    found: set[Permission] = set()
    for span in {*rights.reads, *rights.writes}:
        key, end = span.range(root)
        read, write = span in rights.reads, span in rights.writes
        found.add(Permission(key, end, "readwrite" if read and write else "read" if read else "write"))
    return frozenset(found)


def table() -> Iterator[tuple[str, str, str]]:
    """Yield each service with what it may read and what it may write, for people."""
    for service, rights in RIGHTS.items():
        reads = ", ".join(f"`{span}`" for span in rights.reads if span != _REVISION)
        yield service, reads, ", ".join(f"`{span}`" for span in rights.writes)
