"""Keys of a data directory while its federation runs: counted, rotated, taken away.

Owns the order of a rotation. A new key goes *last* into the file; when every process that has the ring can
open with it, it goes *first*; then what older keys have sealed is written again by the services, and only
when nothing is sealed with a key any more may it go. What a process has is read from its metrics, what is
sealed with which key from etcd. Interrupted anywhere, all stays readable, and the services go on.

Concurrency: a command that waits.

Next: `hanse_local.keys.commands`; `hanse.security.rings` for the services' side.
"""

from __future__ import annotations

import asyncio
import http.client
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hanse.errors import FailedPreconditionError, UnavailableError
from hanse.security.keyring import Key, add_key, promote_key, read_ring, remove_keys
from hanse_local.backup.contents import EtcdSource, etcds_of
from hanse_local.layout import DataDir
from hanse_local.supervise.state import DirectoryState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hanse.store import EtcdStore
    from hanse.store.census import Census

CREDENTIALS: Final = "credentials"
SECRETS: Final = "secrets"
HOLDERS: Final = {CREDENTIALS: ("registry", "syncer"), SECRETS: ("apiserver", "syncer")}
"""Which services have which ring; the first writes with it."""
_LOOK: Final = 0.5
_LOADED_SECONDS: Final = 60.0
_POSITION: Final = re.compile(r"^hanse_keys_position\{(?P<labels>[^}]*)\} (?P<value>\S+)", re.MULTILINE)
_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Ring:
    """Where the keys of one ring are; a ring without both has none."""

    name: str
    key_file: Path | None
    kms_socket: str = ""

    def read(self) -> tuple[Key, ...]:
        """Return the keys in the file. Raises ConfigError."""
        return read_ring(self.key_file) if self.key_file is not None else ()


def rings_of(data: DataDir) -> tuple[Ring, ...]:
    """Return the rings of a data directory."""
    settings = DirectoryState.load(data.state).settings
    files = {CREDENTIALS: data.credentials_key, SECRETS: data.secrets_key}
    return tuple(
        Ring(
            name,
            Path(settings.get(f"{HOLDERS[name][0]}.{name}_key_file") or files[name]),
            settings.get(f"{HOLDERS[name][0]}.{name}_kms_socket", ""),
        )
        for name in (CREDENTIALS, SECRETS)
    )


@asynccontextmanager
async def reading(source: EtcdSource, prefix: str) -> AsyncIterator[EtcdStore]:
    """Provide a connection to etcd."""
    from hanse.store import EtcdStore

    store = await EtcdStore.connect(
        source.endpoints, prefix=prefix, tls=source.tls, tls_server_name=source.server_name or None
    )
    try:
        yield store
    finally:
        await store.close()


def source_of(data: DataDir) -> tuple[EtcdSource, str]:
    """Return the etcd of a data directory, and the prefix there."""
    state = DirectoryState.load(data.state)
    return next(iter(etcds_of(data, state))), state.options.get("etcd_prefix") or "/hanse"


async def count(source: EtcdSource, prefix: str, ring: Ring) -> Census:
    """Count what is sealed with the keys of a ring. Raises HanseError."""
    from hanse.security.rings import RingKeeper
    from hanse.store.census import take_credentials, take_objects

    take = take_credentials if ring.name == CREDENTIALS else take_objects
    async with reading(source, prefix) as store:
        if ring.key_file is None and not ring.kms_socket:
            return await take(store)
        keeper = RingKeeper(ring.name, key_file=str(ring.key_file or ""), kms_socket=ring.kms_socket)
        await keeper.prepare()
        try:
            return await take(store, keeper.ring)
        finally:
            await keeper.close()


def rotate(data: DataDir, ring: Ring, *, timeout: float, say: Callable[[str], None]) -> list[str]:
    """Have a new key seal, and wait until nothing is sealed with another; return which may go.

    Raises FailedPreconditionError, UnavailableError if a process does not take the key or time is over.
    """
    if ring.kms_socket:
        raise FailedPreconditionError(
            f"the {ring.name} are sealed by the KMS plugin at {ring.kms_socket}: rotate its key there; what "
            "is sealed with the old one is sealed again by itself"
        )
    if ring.key_file is None:
        raise FailedPreconditionError(f"the {ring.name} have no key file")
    deadline = time.monotonic() + timeout
    key = add_key(ring.key_file)
    say(f"{ring.name}: key {key.id} was added; waiting until all processes can open with it")
    _wait_loaded(data, ring, lambda places: key.id in places)
    promote_key(ring.key_file, key.id)
    say(f"{ring.name}: key {key.id} is first; waiting until all seal with it")
    _wait_loaded(data, ring, lambda places: places.get(key.id) == 1)
    source, prefix = source_of(data)
    left = -1
    while True:
        found = asyncio.run(count(source, prefix, ring))
        others = left_of(found, key.id)
        if not others:
            break
        if others != left:
            left = others
            say(f"{ring.name}: {others} still to be sealed again")
        if time.monotonic() > deadline:
            raise UnavailableError(
                f"{ring.name}: {others} are still sealed with other keys; the services go on with it, and "
                "`hanse keys status` tells how far they are"
            )
        time.sleep(_LOOK)
    return [each.id for each in ring.read() if each.id != key.id and not found.count(each.id)]


def left_of(found: Census, key_id: str) -> int:
    """Return how much is still to be sealed with a key: what can be opened, and is sealed with another."""
    return sum(each for name, each in found.openable.items() if name.id != key_id or name.grant)


def prune(data: DataDir, ring: Ring) -> list[str]:
    """Take the keys away that nothing is sealed with; return their ids. Raises HanseError."""
    if ring.key_file is None or len(keys := ring.read()) < 2:
        return []
    if not ring.kms_socket:
        _wait_loaded(data, ring, lambda places: places.get(keys[0].id) == 1)
    source, prefix = source_of(data)
    found = asyncio.run(count(source, prefix, ring))
    unused = [key.id for key in keys[1:] if not found.count(key.id)]
    if unused:
        remove_keys(ring.key_file, unused)
        _wait_loaded(data, ring, lambda places: not places.keys() & set(unused))
    return unused


def _wait_loaded(data: DataDir, ring: Ring, loaded: Callable[[dict[str, int]], bool]) -> None:
    """Wait until every process that has the ring says so. Raises UnavailableError."""
    waiting = dict(_metrics_of(data, ring))
    deadline = time.monotonic() + _LOADED_SECONDS
    while waiting:
        for service, address in list(waiting.items()):
            if loaded(places_of(ring.name, address)):
                del waiting[service]
        if not waiting:
            return
        if time.monotonic() > deadline:
            raise UnavailableError(
                f"{ring.name}: {', '.join(waiting)} did not take the keys of {ring.key_file} within "
                f"{_LOADED_SECONDS:g} s, so nothing more was changed; `hanse status` tells what is wrong"
            )
        time.sleep(_LOOK)


def _metrics_of(data: DataDir, ring: Ring) -> Iterator[tuple[str, str]]:
    ports = DirectoryState.load(data.state).ports
    for service in HOLDERS[ring.name]:
        yield service, f"127.0.0.1:{ports[f'{service}.metrics']}"


def places_of(ring: str, address: str) -> dict[str, int]:
    """Return the place of each key in a ring that a process has, by its metrics; empty if it does not
    tell.
    """
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=5.0) as answer:
            text = answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return {}
    found: dict[str, int] = {}
    for match in _POSITION.finditer(text):
        labels = dict(_LABEL.findall(match["labels"]))
        if labels.get("hanse_ring") == ring:
            found[labels.get("hanse_key", "")] = int(float(match["value"]))
    return found
