"""A snapshot of etcd through its maintenance API, checked while it is written.

Where etcd has authentication it needs the role `root`. The snapshot is one member's whole database, so it has
the keys of all who share the etcd, its users and its roles. etcd puts a SHA-256 behind the database, by which
`etcdutl snapshot restore` checks it too.

Concurrency: one stream. Next: `hanse_local.backup.contents`, which keeps it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

import grpc.aio
from etcd3aio import _protobuf as pb

from hanse.errors import DataLossError, HanseError, UnavailableError
from hanse.process.settings import TlsFiles
from hanse.store.etcd import wire
from hanse.store.etcd.channel import EtcdChannel, open_channel

STALL_SECONDS: Final = 60.0
"""How long etcd may send nothing."""
_DIGEST: Final = 32
_PAGE: Final = 512


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is known of a snapshot."""

    version: str
    """Of the etcd that sent it."""
    revision: int
    """It has everything up to this revision, and maybe more."""
    size: int
    """In bytes, with its checksum."""


async def save_snapshot(
    endpoints: Sequence[str],
    *,
    tls: TlsFiles | None,
    file: BinaryIO,
    tls_server_name: str | None = None,
) -> Snapshot:
    """Write a snapshot to `file`, from the first of the endpoints that answers.

    Raises PermissionDeniedError, UnavailableError, DataLossError (its checksum is wrong), OSError.
    """
    problem: HanseError = UnavailableError("no etcd endpoint is given")
    for endpoint in endpoints:
        channel = await open_channel([endpoint], tls=tls, tls_server_name=tls_server_name, timeout=5.0)
        try:
            status = await channel.read(channel.maintenance.Status, pb.StatusRequest(), what="ask etcd")
            size = await _receive(channel, file)
            return Snapshot(str(status.version), int(status.header.revision), size)
        except UnavailableError as error:
            problem = error
            file.seek(0)
            file.truncate()
        finally:
            await channel.close()
    raise problem


async def _receive(channel: EtcdChannel, file: BinaryIO) -> int:
    stream = channel.maintenance.Snapshot(pb.SnapshotRequest())
    digest = hashlib.sha256()
    held = b""  # what may be the checksum
    size = 0
    try:
        while True:
            async with asyncio.timeout(STALL_SECONDS):
                response = await stream.read()
            if response is grpc.aio.EOF:
                break
            file.write(response.blob)
            size += len(response.blob)
            held += response.blob
            digest.update(held[:-_DIGEST])
            held = held[-_DIGEST:]
    except TimeoutError as error:
        raise UnavailableError(f"etcd has sent nothing of its snapshot for {STALL_SECONDS:.0f} s") from error
    except grpc.aio.AioRpcError as error:
        code, details = error.code(), error.details() or code_name(error)
        if wire.outcome(code, details) is wire.Outcome.REFUSED:
            raise wire.refusal(code, details, what="take a snapshot") from error
        raise UnavailableError(f"cannot take a snapshot of etcd: {details}") from error
    finally:
        stream.cancel()
    if size % _PAGE != _DIGEST or held != digest.digest():
        raise DataLossError(
            "etcd has sent a snapshot whose checksum is wrong: try again, and look at its disk"
        )
    return size


def code_name(error: grpc.aio.AioRpcError) -> str:
    """Return the name of an error's code."""
    return str(error.code().name)
