"""Ports of a local federation: the same as last time if they are still free, else new ones.

Ports are taken from below the range that operating systems give to outgoing connections, so that the
port of a stopped process is still free when it starts again.

Concurrency: between the choice and the process that binds a port, and while a process is started again,
nothing listens there. Supervisors of one host therefore claim what they choose (`Claims`), so that no two
choose the same. Any other program may still take a port in between; the process then fails to start and
says so.

Next: `hanse_local.federation`.
"""

from __future__ import annotations

import errno
import random
import socket
import sys
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self

from hanse.errors import ConfigError, FailedPreconditionError

RANGE = range(20000, 32000)


def is_free(port: int, *, host: str = "127.0.0.1") -> bool:
    """Return whether TCP and UDP `port` of `host` can be bound now. Raises ConfigError for one that is not
    here.
    """
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except socket.gaierror as error:
                raise ConfigError(f"cannot listen at {host}: {error.strerror}") from error
            except OSError as error:
                if error.errno == errno.EADDRNOTAVAIL:
                    raise ConfigError(f"cannot listen at {host}: this machine does not have it") from error
                return False
    return True


class Claims:
    """The ports that one supervisor has chosen, until it ends. Use as a context manager.

    A claim is a bound socket in Linux's abstract namespace (unix(7)): it is seen by every user of the host,
    as a port is, and ends with the process that holds it. Other systems have none; there a port is only
    probed.
    """

    def __init__(self) -> None:
        self._sockets: dict[int, socket.socket] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        while self._sockets:
            self._sockets.popitem()[1].close()

    def take(self, port: int, *, host: str = "127.0.0.1") -> bool:
        """Claim `port`; False if something listens at `host` there, or another supervisor has claimed it."""
        if port in self._sockets:
            return True
        if sys.platform != "linux":
            return is_free(port, host=host)
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            claim.bind(f"\0hanse/port/{port}")
        except OSError:
            claim.close()
            return False
        try:
            free = is_free(port, host=host)
        except ConfigError:
            claim.close()
            raise
        if not free:
            claim.close()
            return False
        self._sockets[port] = claim
        return True


def check_given(given: Mapping[str, int]) -> None:
    """Raise ConfigError if one of the ports that a user gave is none, or is given twice."""
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
    names: Iterable[str],
    *,
    recorded: Mapping[str, int],
    given: Mapping[str, int],
    claims: Claims,
    hosts: Mapping[str, str] | None = None,
) -> tuple[dict[str, int], list[str]]:
    """Choose a port for each of `names`: the given one, else the recorded one if free, else a free one.

    Claims those of `names`; `hosts` has the addresses of those that are not of 127.0.0.1. Returns the ports,
    with those of `recorded` that were not asked for, and the names whose recorded port was taken by somebody
    else. Raises ConfigError if a given port is wrong or has an unknown name, FailedPreconditionError if it is
    taken.
    """
    check_given(given)
    hosts = hosts or {}
    wanted = list(names)
    unknown = sorted(set(given) - set(wanted))
    if unknown:
        raise ConfigError(f"there is no port called {unknown[0]}: the names are {', '.join(sorted(wanted))}")
    chosen: dict[str, int] = {}
    for name, port in given.items():
        if not claims.take(port, host=hosts.get(name, "127.0.0.1")):
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
        port, host = kept.get(name, 0), hosts.get(name, "127.0.0.1")
        if port and port not in chosen.values() and claims.take(port, host=host):
            chosen[name] = port
            continue
        if port:
            moved.append(name)
        chosen[name] = _next_free(pool, taken={*chosen.values(), *kept.values()}, claims=claims, host=host)
    return {**kept, **chosen}, moved


def _next_free(pool: Iterable[int], *, taken: set[int], claims: Claims, host: str) -> int:
    for port in pool:
        if port not in taken and claims.take(port, host=host):
            return port
    raise FailedPreconditionError(f"no free port from {RANGE.start} to {RANGE.stop} on 127.0.0.1")
