"""When a CronJob runs: whether a schedule can be read as cron does, and whether there is such a time zone.

Pure. Source: the grammar of robfig/cron v3, which Kubernetes uses. Next: `hanse.kube.kinds.types.batch`.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from hanse.kube.model.fielderrors import FieldError, invalid
from hanse.numbers import whole_number

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MACROS: Final = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
_DURATION: Final = re.compile(r"[-+]?((\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h))+|[-+]?0")
_ZONE: Final = re.compile(r"[A-Za-z0-9+_.][-A-Za-z0-9+_.]*")


class _Range(NamedTuple):
    what: str
    low: int
    high: int
    names: tuple[str, ...] = ()


_FIELDS: Final = (
    _Range("minute", 0, 59),
    _Range("hour", 0, 23),
    _Range("day of month", 1, 31),
    _Range("month", 1, 12, _MONTHS),
    _Range("day of week", 0, 6, _DAYS),
)


def schedule(value: Any, where: str) -> Iterator[FieldError]:
    """Yield what is wrong with a schedule."""
    if "TZ" in value:
        yield invalid(where, value, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead")
        return
    if value.startswith("@"):
        interval = value.removeprefix("@every ")
        if value not in _MACROS and (interval == value or not _DURATION.fullmatch(interval)):
            yield invalid(where, value, f"unrecognized descriptor: {value}")
        return
    parts = value.split()
    if len(parts) != len(_FIELDS):
        yield invalid(where, value, f"expected exactly 5 fields, found {len(parts)}: {parts}")
        return
    for said, field in zip(parts, _FIELDS, strict=True):
        for part in filter(None, said.split(",")):
            problem = _problem(part, field)
            if problem:
                yield invalid(where, value, f"{field.what}: {problem}")
                return


def _problem(part: str, field: _Range) -> str:
    pieces = part.split("/")
    bounds = pieces[0].split("-")
    if len(pieces) > 2 or len(bounds) > 2:
        return f"too many slashes or hyphens: {part}"
    if bounds[0] in ("*", "?"):
        low, high = field.low, field.high
        if len(bounds) > 1:
            return f"too many hyphens: {part}"
    else:
        found = [_number(each, field) for each in bounds]
        if found[0] is None or found[-1] is None:
            return f"failed to parse int from {part}"
        low, high = found[0], found[-1]
    if low < field.low or high > field.high:
        return f"{part} is not between {field.low} and {field.high}"
    if low > high:
        return f"beginning of range ({low}) beyond end of range ({high}): {part}"
    if len(pieces) == 2:
        step = whole_number(pieces[1])
        if not step:
            return f"step of range should be a positive number: {part}"
    return ""


def _number(said: str, field: _Range) -> int | None:
    if said.lower() in field.names:
        return field.names.index(said.lower()) + field.low
    return whole_number(said)


def time_zone(value: Any, where: str) -> Iterator[FieldError]:
    """Yield the error for a time zone that is none."""
    if not value:
        yield invalid(where, value, "timeZone must be nil or non-empty string")
        return
    parts = value.split("/")
    known = all(_ZONE.fullmatch(part) and part not in (".", "..") for part in parts)
    if value.lower() == "local":
        message = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        yield invalid(where, value, message)
    elif not known or (_zones() and value not in _zones() and value.upper() != "UTC"):
        yield invalid(where, value, f"unknown time zone {value}")


def _zones() -> set[str]:
    """Return the names of all time zones; none on a machine that has no such data."""
    return zoneinfo.available_timezones()
