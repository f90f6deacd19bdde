"""What both servers say of an object: accepted, or refused with which status and words.

`judge` asks the engine's own functions as a create does (tests ask a served engine besides); `ask` asks a
kube-apiserver with `dryRun=All`. Concurrency: `compare` keeps some requests under way. Next: `known`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from hanse.errors import UnavailableError
from hanse.kube.client.client import KubeClient
from hanse.kube.kinds.catalogue import Catalogue
from hanse.kube.kinds.conversion import to_stored
from hanse.kube.kinds.decoding import decode
from hanse.kube.kinds.defaults import apply_defaults
from hanse.kube.kinds.resource_info import ResourceInfo
from hanse.kube.model.objects import Object, gvk_of
from hanse.kube.validation.objects import validate
from tests.real.verdicts.breaking import Broken
from tests.support.machine.raw import raw

NAMESPACE = "verdicts"


class Verdict(NamedTuple):
    """A status of HTTP, and what was said."""

    status: int
    message: str

    @property
    def accepted(self) -> bool:
        """Whether the object may be stored."""
        return self.status < 300


@dataclass(frozen=True)
class Judged:
    """An object, and what both said of it."""

    broken: Broken
    kind: str
    ours: Verdict
    real: Verdict

    @property
    def agrees(self) -> bool:
        """Whether both accept it, or both refuse it."""
        return self.ours.accepted == self.real.accepted

    def __str__(self) -> str:
        said = self.real if self.ours.accepted else self.ours
        who = "only refused there" if self.ours.accepted else "only refused here"
        return (
            f"{self.broken.group}: {self.kind} {self.broken.what}: {who} {said.status}: {said.message[:300]}"
        )


def resource_of(catalogue: Catalogue, obj: Object) -> ResourceInfo:
    """Return the resource that serves an object. Raises LookupError."""
    gvk = gvk_of(obj)
    info = catalogue.by_kind(gvk.group, gvk.version, gvk.kind)
    if info is None:
        raise LookupError(f"{gvk} is not served")
    return info


def judge(catalogue: Catalogue, info: ResourceInfo, obj: Object) -> Verdict:
    """Return what the engine says of a new object."""
    schema = catalogue.schema(info)
    read = decode(obj, schema)
    if read.errors:
        return Verdict(400, "; ".join(map(str, read.errors)))
    stored = catalogue.storage(info.storage_group, info.storage_resource) or info
    new = to_stored(info, read.obj, current=None)
    full = apply_defaults(new, catalogue.schema(stored), strategy=stored.strategy)
    errors = validate(full, catalogue.schema(stored), strict=False, strategy=stored.strategy, new=True)
    return Verdict(422, "; ".join(map(str, errors))) if errors else Verdict(201, "")


def path_of(info: ResourceInfo, namespace: str = NAMESPACE) -> str:
    """Return the path of the collection."""
    root = f"/apis/{info.group}/{info.version}" if info.group else f"/api/{info.version}"
    return f"{root}/namespaces/{namespace}/{info.plural}" if info.namespaced else f"{root}/{info.plural}"


async def ask(client: KubeClient, info: ResourceInfo, obj: Object) -> Verdict:
    """Return what a server says of a new object that it is not to store."""
    try:
        status, _, body = await raw(
            client,
            "POST",
            path_of(info),
            params={"dryRun": "All"},
            body=orjson.dumps(obj),
            headers={"Content-Type": "application/json", "Accept": "application/json"},
        )
    except UnavailableError as error:  # its handler has panicked
        return Verdict(500, str(error))
    answer: Any = orjson.loads(body)
    return Verdict(status, "" if status < 300 else str(answer.get("message")))


async def compare(
    client: KubeClient, catalogue: Catalogue, objects: Iterable[Broken], *, at_once: int = 8
) -> AsyncIterator[Judged]:
    """Yield what both say of each object, in their order."""

    async def judged(one: Broken) -> Judged:
        info = resource_of(catalogue, one.object)
        real = await ask(client, info, one.object)
        return Judged(one, info.kind, judge(catalogue, info, one.object), real)

    batch: list[Broken] = []
    for one in objects:
        batch.append(one)
        if len(batch) == at_once:
            for each in await asyncio.gather(*map(judged, batch)):
                yield each
            batch.clear()
    for each in await asyncio.gather(*map(judged, batch)):
        yield each
