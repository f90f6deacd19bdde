"""Ports of a local federation: the same as last time if they are still free, else new ones.

Ports are taken from below the range that operating systems give to outgoing connections, so that the
port of a stopped process is still free when it starts again.

Concurrency: probing only; between the probe and the process that binds, somebody else may take a port.
The process then fails to start and says so.

Next: `hanse_local.federation`.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable, Mapping

from hanse.errors import ConfigError, FailedPreconditionError

RANGE = range(20000, 32000)


def is_free(port: int) -> bool:
    """Whether TCP and UDP `port` of 127.0.0.1 can be bound now."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


def check_given(given: Mapping[str, int]) -> None:
    """Raises ConfigError if one of the ports that a user gave is none, or is given twice."""
    names: dict[int, str] = {}
    for name, port in given.items():
        if not 0 < port < 65536:
            raise ConfigError(f"port {name} is {port}: it must be from 1 to 65535")
        if port in names:
            raise ConfigError(
                f"port {port} is given twice, for {names[port]} and {name}: every listener needs its own"
            )
        names[port] = name


def choose(
    names: Iterable[str], *, recorded: Mapping[str, int], given: Mapping[str, int]
) -> tuple[dict[str, int], list[str]]:
    """Choose a port for each of `names`: the given one, else the recorded one if free, else a free one.

    Returns the ports, with those of `recorded` that were not asked for, and the names whose recorded port
    was taken by somebody else. Raises ConfigError if a given port is wrong or has an unknown name, and
    FailedPreconditionError if it is taken.
    """
    check_given(given)
    wanted = list(names)
    unknown = sorted(set(given) - set(wanted))
    if unknown:
        raise ConfigError(f"there is no port called {unknown[0]}: the names are {', '.join(sorted(wanted))}")
    chosen: dict[str, int] = {}
    for name, port in given.items():
        if not is_free(port):
            raise FailedPreconditionError(
                f"port {port} for {name} is taken: stop what listens there, or give another"
            )
        chosen[name] = port
    moved: list[str] = []
    pool = iter(random.sample(RANGE, len(RANGE)))  # any free port will do
    kept = {name: port for name, port in recorded.items() if name not in chosen}
    for name in wanted:
        if name in chosen:
            continue
        port = kept.get(name, 0)
        if port and port not in chosen.values() and is_free(port):
            chosen[name] = port
            continue
        if port:
            moved.append(name)
        chosen[name] = _next_free(pool, taken={*chosen.values(), *kept.values()})
    return {**kept, **chosen}, moved


def _next_free(pool: Iterable[int], *, taken: set[int]) -> int:
    for port in pool:
        if port not in taken and is_free(port):
            return port
    raise FailedPreconditionError(f"no free port from {RANGE.start} to {RANGE.stop} on 127.0.0.1")
