"""Requests to one member, with the care that a shared API server deserves.

Owns the paths, the form of each request and the rule that one answer teaches the limiter. Every request has
a deadline and says what it expects. A transport failure, or another cluster at the address, raises
`LinkDownError`; an answer that is not the one to the request raises `SyncError`; a refusal is returned.

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

Concurrency: any number of requests at once; `hanse_syncer.member.limiter` says how many are wise.

Next: `hanse_syncer.member.answers` for what the answers mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import quote

import orjson

from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.errors import HanseError, UnavailableError
from hanse.kube.client.client import AS_DISCOVERY, AS_METADATA, AS_METADATA_LIST, KubeClient, ResourcePath
from hanse.kube.client.expect import (
    DISCOVERY,
    GROUPS,
    VERSION,
    ADeletion,
    AList,
    AnObject,
    Expected,
    WrongAnswerError,
    resource_list,
)
from hanse.kube.client.transport import JSON
from hanse.kube.model.objects import Object, child, sequence
from hanse.store.keys import ObjectKey
from hanse.well_known import FIELD_MANAGER
from hanse_syncer.decide.errors import SyncCondition, SyncError
from hanse_syncer.decide.render import Manifest
from hanse_syncer.member.answers import Answer, Verdict, read
from hanse_syncer.member.limiter import Limiter

NEW_OBJECT: Final = "1"
"""resourceVersion that no object has: with it, an apply creates and never changes. See the module."""

_APPLY: Final = f"?fieldManager={FIELD_MANAGER}&force=true&fieldValidation=Ignore"
"""An apply refuses fields that no schema knows in any case; to be warned as well has the API server parse the
body a second time, as YAML, which costs it a tenth of the request."""
_METADATA_ONLY: Final = f"{AS_METADATA},{JSON}"
_METADATA_PAGE: Final = f"{AS_METADATA_LIST},{JSON}"


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
    kind: str = ""
    """Its kind, where that is known: answers of another kind are told."""

    @property
    def path(self) -> str:
        """Path of the object in the REST API."""
        root = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        where = f"/namespaces/{self.key.namespace}" if self.key.namespace else ""
        return f"{root}{where}/{self.key.resource}/{quote(self.key.name, safe='')}"

    @property
    def expected(self) -> AnObject:
        """What an answer about the object must be."""
        return AnObject(
            self.api_version,
            self.kind,
            namespace=self.key.namespace,
            name=self.key.name,
            resource=self.key.resource,
            partial=self.metadata_only,
        )


class Member:
    """One member's API server."""

    def __init__(self, client: KubeClient, *, cluster: str, limiter: Limiter) -> None:
        """The client's own timeout is each request's deadline; it must not retry by itself."""
        self.client = client
        self.cluster = cluster
        self.limiter = limiter

    async def create(self, target: Target, manifest: Manifest) -> Answer:
        """Apply the manifest if nothing of that name is there."""
        return await self._apply(target, manifest.body(resource_version=NEW_OBJECT), target.expected)

    async def apply(self, target: Target, manifest: Manifest, *, uid: str) -> Answer:
        """Apply the manifest to the object with that uid, and to no other."""
        return await self._apply(target, manifest.body(uid=uid), replace(target.expected, uid=uid))

    async def get(self, target: Target) -> Answer:
        """Read the object."""
        return await self._send("GET", target.path, expect=replace(target.expected, partial=False))

    async def delete(self, target: Target, *, uid: str, version: str) -> Answer:
        """Delete the object with that uid in that resourceVersion, and no other.

        Its dependents go by the member's own collector. A request that arrives late, when the object has been
        written to meanwhile, does nothing.
        """
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": uid, "resourceVersion": version},
        }
        expected = ADeletion(replace(target.expected, partial=False, uid=uid))
        return await self._send("DELETE", target.path, expect=expected, body=orjson.dumps(options))

    async def confirm_deleted(self, target: Target, answer: Answer, *, uid: str) -> None:
        """Read the object if the answer to its DELETE is no Status about it. Raises SyncError if it is there.

        An API server answers some kinds with the object, unchanged, when it has deleted it; a cache does so
        when nothing is deleted, and anybody can say Success.
        """
        if child(answer.json(), "details", "uid") == uid:
            return
        now = await self.get(target)
        verdict = self.verdict(target, now)
        if verdict is Verdict.ABSENT:
            return
        if verdict is not Verdict.DONE:
            raise SyncError.of(verdict, now)
        if str(now.json()["metadata"]["uid"]) == uid:
            said = "the cluster accepted the deletion, but the object is still there"
            raise SyncError(SyncCondition(sync.FAILED, "NotDeleted", said), transient=True)

    async def merge(self, target: Target, patch: Object) -> Answer:
        """Patch the object by JSON merge patch."""
        return await self._send(
            "PATCH",
            target.path,
            expect=replace(target.expected, partial=False),
            params={"fieldManager": FIELD_MANAGER},
            body=orjson.dumps(patch),
            content_type="application/merge-patch+json",
        )

    async def page(
        self, resource: ResourcePath, namespace: str, params: Mapping[str, str], *, partial: bool
    ) -> Answer:
        """GET a page of a list; with `partial` of metadata, where the member can."""
        expected = AList(
            resource.api_version, resource.kind, namespace=namespace, partial=partial, watchable=False
        )
        accept = _METADATA_PAGE if partial else "application/json"
        return await self._send("GET", resource.url(namespace), expect=expected, params=params, accept=accept)

    async def discovery(self, path: str) -> Answer:
        """GET an aggregated discovery document: of /api or of /apis."""
        return await self._send("GET", path, expect=DISCOVERY, accept=AS_DISCOVERY)

    async def lacks(self, api_version: str, resource: str) -> bool:
        """Whether the member itself says, in a discovery document, that it does not serve the resource."""
        root = "apis" if "/" in api_version else "api"
        served = await self._send("GET", f"/{root}/{api_version}", expect=resource_list(api_version))
        if served.ok:
            return resource not in {child(each, "name") for each in served.document["resources"]}
        groups = await self._send("GET", "/apis", expect=GROUPS)
        if root == "api" or not groups.ok or groups.document["kind"] != "APIGroupList":
            return False
        versions = {
            child(version, "groupVersion")
            for group in sequence(groups.document, "groups")
            for version in sequence(group, "versions")
        }
        return bool(versions) and api_version not in versions

    async def answers(self) -> bool:
        """Whether the API server answers at all; for a member that did not."""
        try:
            answer = await self._send("GET", "/version", expect=VERSION)
        except (LinkDownError, SyncError):
            return False
        return answer.status != 429 and answer.status < 500

    def verdict(self, target: Target, answer: Answer) -> Verdict:
        """Return what the answer means for the target."""
        return read(answer, target.expected)

    async def _apply(self, target: Target, body: bytes, expected: AnObject) -> Answer:
        return await self._send(
            "PATCH",
            target.path + _APPLY,
            expect=expected,
            body=body,
            content_type="application/apply-patch+yaml",
            accept=_METADATA_ONLY if target.metadata_only else "application/json",
        )

    async def _send(
        self,
        method: str,
        path: str,
        *,
        expect: Expected,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Answer:
        loop = asyncio.get_running_loop()
        while (pause := self.limiter.pause_left(loop.time())) > 0:  # noqa: ASYNC110 - it may be prolonged
            await asyncio.sleep(pause)
        started = loop.time()
        try:
            found = await self.client.ask(
                method, path, expect=expect, params=params, body=body, content=content_type, accept=accept
            )
        except WrongAnswerError as error:
            self.limiter.overloaded(loop.time())
            raise SyncError(
                SyncCondition(sync.FAILED, "WrongAnswer", error.message), transient=True
            ) from error
        except HanseError as error:
            self.limiter.overloaded(loop.time())
            raise LinkDownError(
                f"cluster {self.cluster} did not answer {method} {path}: {error.message}",
                metadata={"cluster": self.cluster},
            ) from error
        answer = Answer.of(found, seconds=loop.time() - started)
        if answer.status in (429, 503, 504):
            self.limiter.overloaded(loop.time(), retry_after=answer.retry_after())
        else:
            self.limiter.answered(answer.seconds)
        return answer
