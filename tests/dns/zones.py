"""Zones for tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hanse_dns.serving.answers import CompiledZone, Name


def compile_zone(
    *,
    origin: str,
    serial: int,
    names: Iterable[Name],
    name_servers: Sequence[tuple[str, str]],
    negative_ttl: int,
) -> CompiledZone:
    """Return a zone with `names` in it; see `CompiledZone` for the rest."""
    zone = CompiledZone(origin=origin, serial=serial, name_servers=name_servers, negative_ttl=negative_ttl)
    for name in names:
        zone.put(name)
    return zone
