"""Requests to one member, with the care that a shared API server deserves.

Owns the paths, the form of each request and the rule that one answer teaches the limiter. Every request has
a deadline. A transport failure raises `LinkDownError`; an answer, whatever it is, is returned.

How an object is created without overwriting somebody else's, in one request, with the ownership of fields
that server-side apply needs (a POST would be recorded as an "Update" by its manager, and fields taken out of
the template later would stay for ever): server-side apply with `metadata.resourceVersion: "1"`. Where
nothing of that name exists the API server creates it; where something exists, its version is never 1 (etcd
is at revision 1 before the first write ever), so the API server answers 409 and changes nothing. And an
object that is known is applied to with its `metadata.uid`: if it is gone the API server answers 409 instead
of creating it, if another one is there 422. Checked against kube-apiserver v1.37.2, for built-in and
custom resources. An apply that creates costs the API server about a quarter more CPU than a POST. A POST
would be made up for by a second request when a field is taken out later (the ownership must be turned from
"Update" into "Apply" before), and by the care that a crash between the two needs: it is not worth that.

Concurrency: any number of requests at once; `hanse_syncer.limiter` says how many are wise.

Next: `hanse_syncer.answers` for what the answers mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import orjson

from hanse.errors import HanseError, UnavailableError
from hanse.kube.client import KubeClient
from hanse.kube.objects import Object
from hanse.store.keys import ObjectKey
from hanse_syncer.answers import Answer, Verdict, read
from hanse_syncer.limiter import Limiter
from hanse_syncer.ownership import FIELD_MANAGER
from hanse_syncer.render import Manifest

NEW_OBJECT: Final = "1"
"""resourceVersion that no object has: with it, an apply creates and never changes. See the module."""

_APPLY: Final = f"?fieldManager={FIELD_MANAGER}&force=true&fieldValidation=Ignore"
"""An apply refuses fields that no schema knows in any case; to be warned as well has the API server parse the
body a second time, as YAML, which costs it a tenth of the request."""
_METADATA_ONLY: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"


class LinkDownError(UnavailableError):
    """The member did not answer at all."""

    default_reason = "MEMBER_UNREACHABLE"


@dataclass(frozen=True, slots=True)
class Target:
    """One object of a member: where it is, in the version that the member is asked for."""

    key: ObjectKey
    api_version: str
    metadata_only: bool = False
    """Answers need to have the metadata only."""

    @property
    def path(self) -> str:
        """Path of the object in the REST API."""
        root = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        where = f"/namespaces/{self.key.namespace}" if self.key.namespace else ""
        return f"{root}{where}/{self.key.resource}/{quote(self.key.name, safe='')}"


class Member:
    """One member's API server."""

    def __init__(self, client: KubeClient, *, cluster: str, limiter: Limiter) -> None:
        """The client's own timeout is each request's deadline; it must not retry by itself."""
        self.client = client
        self.cluster = cluster
        self.limiter = limiter

    async def create(self, target: Target, manifest: Manifest) -> Answer:
        """Apply the manifest if nothing of that name is there."""
        return await self._apply(target, manifest.body(resource_version=NEW_OBJECT))

    async def apply(self, target: Target, manifest: Manifest, *, uid: str) -> Answer:
        """Apply the manifest to the object with that uid, and to no other."""
        return await self._apply(target, manifest.body(uid=uid))

    async def get(self, target: Target) -> Answer:
        """Read the object."""
        return await self._send("GET", target.path)

    async def delete(self, target: Target, *, uid: str) -> Answer:
        """Delete the object with that uid, and no other; its dependents go by the member's own collector."""
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": uid},
        }
        return await self._send("DELETE", target.path, body=orjson.dumps(options))

    async def merge(self, target: Target, patch: Object) -> Answer:
        """Patch the object by JSON merge patch."""
        return await self._send(
            "PATCH",
            target.path,
            params={"fieldManager": FIELD_MANAGER},
            body=orjson.dumps(patch),
            content_type="application/merge-patch+json",
        )

    async def read(
        self, path: str, params: Mapping[str, str] | None = None, *, accept: str = "application/json"
    ) -> Answer:
        """GET any path."""
        return await self._send("GET", path, params=params, accept=accept)

    async def answers(self) -> bool:
        """Whether the API server answers at all; for a member that did not."""
        try:
            answer = await self._send("GET", "/version")
        except LinkDownError:
            return False
        return answer.status != 429 and answer.status < 500

    def verdict(self, target: Target, answer: Answer) -> Verdict:
        """Return what the answer means for the target."""
        return read(answer, name=target.key.name, namespace=target.key.namespace)

    async def _apply(self, target: Target, body: bytes) -> Answer:
        return await self._send(
            "PATCH",
            target.path + _APPLY,
            body=body,
            content_type="application/apply-patch+yaml",
            accept=_METADATA_ONLY if target.metadata_only else "application/json",
        )

    async def _send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Answer:
        loop = asyncio.get_running_loop()
        while (pause := self.limiter.pause_left(loop.time())) > 0:  # noqa: ASYNC110 - it may be prolonged
            await asyncio.sleep(pause)
        headers = {"Accept": accept}
        if body is not None:
            headers["Content-Type"] = content_type
        started = loop.time()
        try:
            status, answered, content = await self.client.raw(
                method, path, params=params, body=body, headers=headers
            )
        except HanseError as error:
            self.limiter.overloaded(loop.time())
            raise LinkDownError(
                f"cluster {self.cluster} did not answer {method} {path}: {error.message}",
                metadata={"cluster": self.cluster},
            ) from error
        answer = Answer(status, answered, content, loop.time() - started)
        if status == 429 or status in (503, 504):
            self.limiter.overloaded(loop.time(), retry_after=answer.retry_after())
        else:
            self.limiter.answered(answer.seconds)
        return answer
