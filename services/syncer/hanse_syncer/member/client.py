"""Requests to one member, with the care that a shared API server deserves.

Owns which requests are sent for an object, and the rule that one answer teaches the limiter. Every request
has a deadline and says what it expects. A transport failure, or another cluster at the address, raises
`LinkDownError`; an answer that is not the one to the request raises `SyncError`; a refusal is returned.

Which 401 and 403 are about the credential, and which about an object: whoever is not known (401) is not known
for anything. Whoever is forbidden something (403) may not even read the namespace kube-system if it is the
credential that is refused, and that is asked then. `CredentialRefusedError` says so: the member is up, no
object is at fault, and all of them wait. Any other 403 is the answer for that object.

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

Next: `hanse.kube.client.requests` for the requests, `hanse_syncer.decide.verdicts` for what answers mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.errors import HanseError, PermissionDeniedError, UnauthenticatedError, UnavailableError
from hanse.kube.client import requests
from hanse.kube.client.answer import Answer, WrongAnswerError
from hanse.kube.client.bounds import AnswerTooLongError, MisbehavingMemberError
from hanse.kube.client.client import KubeClient
from hanse.kube.client.paging import PAGE, ListPage, Send, list_pages
from hanse.kube.client.requests import ApiRequest, GroupVersionResource
from hanse.kube.model.objects import Object, child, sequence
from hanse.store.keys import ObjectKey
from hanse.well_known import FIELD_MANAGER
from hanse_syncer.decide.errors import SyncCondition, SyncError
from hanse_syncer.decide.render import Manifest
from hanse_syncer.decide.verdicts import MemberVerdict, verdict_of
from hanse_syncer.member.limiter import Limiter

NEW_OBJECT: Final = "1"
"""resourceVersion that no object has: with it, an apply creates and never changes. See the module."""
ACCEPTED_SECONDS: Final = 2.0
"""So long after a member has shown that it accepts the credential it is not asked again for a refusal."""


class LinkDownError(UnavailableError):
    """The member did not answer at all."""

    default_reason = "MEMBER_UNREACHABLE"


class CredentialRefusedError(LinkDownError):
    """The member answered that it does not accept the credential, whatever it is asked."""

    default_reason = "CREDENTIAL_REFUSED"


@dataclass(frozen=True, slots=True)
class MemberObject:
    """One object of a member: where it is, in the version that the member is asked for."""

    key: ObjectKey
    api_version: str
    kind: str = ""
    """Its kind, where that is known: answers of another kind are told."""

    @property
    def resource(self) -> GroupVersionResource:
        """Its resource in that version."""
        return GroupVersionResource(self.api_version, self.key.resource, self.kind)


class MemberClient:
    """One member's API server."""

    def __init__(self, client: KubeClient, *, cluster: str, limiter: Limiter, dry_run: bool = False) -> None:
        """Send requests by `client`, whose timeout is each request's deadline; it must not retry by
        itself. With `dry_run` no write of an object is stored; deletions are not for such a client.
        """
        self.client = client
        self.dry_run = dry_run
        self.cluster = cluster
        self.limiter = limiter
        self._accepted_at = float("-inf")
        """When the member showed last, in the loop's time, that it accepts the credential."""

    async def create(self, target: MemberObject, manifest: Manifest) -> Answer:
        """Apply the manifest if nothing of that name is there."""
        return await self._apply(target, manifest.body(resource_version=NEW_OBJECT))

    async def apply(self, target: MemberObject, manifest: Manifest, *, uid: str) -> Answer:
        """Apply the manifest to the object with that uid, and to no other."""
        return await self._apply(target, manifest.body(uid=uid), uid=uid)

    async def post(self, target: MemberObject, manifest: Manifest) -> Answer:
        """Create the object if nothing of that name is there, by a POST."""
        key = target.key
        return await self.send(
            requests.create_object(
                target.resource,
                key.name,
                manifest.body(),
                namespace=key.namespace,
                field_manager=FIELD_MANAGER,
                dry_run=self.dry_run,
            )
        )

    async def update(self, target: MemberObject, patch: Object, *, uid: str) -> Answer:
        """Patch the object with that uid, and no other, by JSON merge patch; the patch names it, too."""
        key = target.key
        return await self.send(
            requests.merge_object(
                target.resource,
                key.name,
                patch,
                namespace=key.namespace,
                field_manager=FIELD_MANAGER,
                uid=uid,
                dry_run=self.dry_run,
            )
        )

    async def own(self, target: MemberObject, live: Object, managed: list[Object]) -> Answer:
        """Write who owns the fields of `live`, and nothing else, if it is there as it was read."""
        identity = {name: live["metadata"][name] for name in ("uid", "resourceVersion")}
        patch = {"metadata": {**identity, "managedFields": managed}}
        return await self.update(target, patch, uid=str(identity["uid"]))

    async def get(self, target: MemberObject) -> Answer:
        """Read the object."""
        key = target.key
        return await self.send(requests.get_object(target.resource, key.name, namespace=key.namespace))

    async def delete(
        self, target: MemberObject, *, uid: str, version: str, foreground: bool = False
    ) -> Answer:
        """Delete the object with that uid in that resourceVersion, and no other; `foreground`: its Pods
        first.

        A request that arrives late, when the object has been written to meanwhile, does nothing.
        """
        key = target.key
        return await self.send(
            requests.delete_object(
                target.resource,
                key.name,
                namespace=key.namespace,
                uid=uid,
                version=version,
                foreground=foreground,
            )
        )

    async def confirm_deleted(self, target: MemberObject, answer: Answer, *, uid: str) -> None:
        """Read the object if the answer to its DELETE is no Status about it. Raises SyncError if it is there.

        An API server answers some kinds with the object, unchanged, when it has deleted it; a cache does so
        when nothing is deleted, and anybody can say Success.
        """
        if child(answer.document, "details", "uid") == uid:
            return
        now = await self.get(target)
        verdict = self.verdict(target, now)
        if verdict is MemberVerdict.ABSENT:
            return
        if verdict is not MemberVerdict.DONE:
            raise SyncError.of(verdict, now)
        if str(now.document["metadata"]["uid"]) == uid:
            said = "the cluster accepted the deletion, but the object is still there"
            raise SyncError(SyncCondition(sync.FAILED, "NotDeleted", said), transient=True)

    async def merge(self, target: MemberObject, patch: Object) -> Answer:
        """Patch the object by JSON merge patch."""
        key = target.key
        return await self.send(
            requests.merge_object(
                target.resource, key.name, patch, namespace=key.namespace, field_manager=FIELD_MANAGER
            )
        )

    async def lacks(self, api_version: str, resource: str) -> bool:
        """Return whether the member itself says, in a discovery document, that it does not serve the
        resource."""
        served = await self.send(requests.resources_of(api_version))
        if served.ok:
            return resource not in {child(each, "name") for each in served.document["resources"]}
        groups = await self.send(requests.GROUPS)
        if "/" not in api_version or not groups.ok or groups.document["kind"] != "APIGroupList":
            return False
        versions = {
            child(version, "groupVersion")
            for group in sequence(groups.document, "groups")
            for version in sequence(group, "versions")
        }
        return bool(versions) and api_version not in versions

    async def answers(self) -> bool:
        """Return whether the API server answers, and accepts the credential; for a member that did not."""
        try:
            answer = await self.send(requests.IDENTITY)
        except (LinkDownError, SyncError):
            return False
        return answer.status != 429 and answer.status < 500

    def verdict(self, target: MemberObject, answer: Answer) -> MemberVerdict:
        """Return what the answer means for the target."""
        return verdict_of(answer, target.resource.object(target.key.namespace, target.key.name))

    async def _apply(self, target: MemberObject, body: bytes, *, uid: str = "") -> Answer:
        key = target.key
        return await self.send(
            requests.apply_object(
                target.resource,
                key.name,
                body,
                namespace=key.namespace,
                uid=uid,
                field_manager=FIELD_MANAGER,
                dry_run=self.dry_run,
            )
        )

    async def send(self, request: ApiRequest) -> Answer:
        """Send a request when the limiter lets it; return the answer to it, or the refusal.

        Raises LinkDownError, as CredentialRefusedError where the credential is refused, and SyncError.
        """
        loop = asyncio.get_running_loop()
        while (pause := self.limiter.pause_left(loop.time())) > 0:  # noqa: ASYNC110 - it may be prolonged
            await asyncio.sleep(pause)
        started = loop.time()
        try:
            answer = await self.client.ask(request)
        except WrongAnswerError as error:
            self.limiter.overloaded(loop.time())
            raise SyncError(
                SyncCondition(sync.FAILED, "WrongAnswer", error.message), transient=True
            ) from error
        except (UnauthenticatedError, PermissionDeniedError) as error:  # said to a new connection
            raise self._refused(error.message) from error
        except HanseError as error:
            self.limiter.overloaded(loop.time())
            raise LinkDownError(
                f"cluster {self.cluster} did not answer {request}: {error.message}",
                metadata={"cluster": self.cluster},
            ) from error
        if answer.status in (429, 503, 504):
            self.limiter.overloaded(loop.time(), retry_after=answer.retry_after())
        else:
            self.limiter.answered(loop.time() - started)
        if answer.status == 401 or (answer.status == 403 and await self._refuses(request)):
            raise self._refused(answer.message)
        return answer

    async def _refuses(self, request: ApiRequest) -> bool:
        """Return whether the member, which has answered a request with 403, says it of the credential."""
        now = asyncio.get_running_loop().time()
        if request is requests.IDENTITY:
            return True
        if now - self._accepted_at < ACCEPTED_SECONDS:
            return False
        try:
            answer = await self.client.ask(requests.IDENTITY)
        except (UnauthenticatedError, PermissionDeniedError):
            return True
        except HanseError:
            return False  # not known: what was refused is that request
        if answer.ok:
            self._accepted_at = now
        return answer.status in (401, 403)

    def _refused(self, said: str) -> CredentialRefusedError:
        return CredentialRefusedError(
            f"cluster {self.cluster} refuses the credential: {said}; give another one with "
            f"`hanse update-credentials {self.cluster} --kubeconfig FILE`",
            metadata={"cluster": self.cluster},
        )

    async def pages(
        self, listing: ApiRequest, *, what: str, send: Send, limit: int = PAGE
    ) -> AsyncGenerator[ListPage, None]:
        """Yield the pages of a list. `send` sends each by `send_page` and raises for a refusal.

        Raises what it raises, and LinkDownError also for a list that no cluster has.
        """
        try:
            found = list_pages(send, listing, what=f"{what} of cluster {self.cluster}", limit=limit)
            async with aclosing(found) as pages:
                async for page in pages:
                    yield page
        except MisbehavingMemberError as error:
            raise self.too_much(error) from error

    async def send_page(self, request: ApiRequest) -> Answer:
        """As `send`; raises AnswerTooLongError itself, since a smaller page may not be too long."""
        try:
            return await self.send(request)
        except LinkDownError as error:
            if isinstance(error.__cause__, AnswerTooLongError):
                raise error.__cause__ from error
            raise

    def too_much(self, error: MisbehavingMemberError) -> LinkDownError:
        """Return the error for what is more than any cluster has: no answer at all. Raise it from `error`,
        for which the controller leaves the member alone."""
        return LinkDownError(f"cluster {self.cluster}: {error.message}", metadata={"cluster": self.cluster})
