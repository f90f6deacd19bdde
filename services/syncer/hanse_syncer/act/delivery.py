"""How a manifest gets into a member, whatever stands in the way of a plain server-side apply.

Owns the rule that everything that an API server stores can be delivered, and that each way has the same
safety: it creates where nothing is, or changes the very object that is known by its uid, in the version that
was read where the change was made out of one. The ways, in this order:

- server-side apply;
- where the member's schema lacks fields, without them, and it is said if the author wrote one of them;
- where something that others put there cannot be together with ours, with its ownership taken over first;
- where a list cannot be merged by its keys, a POST, and later a merge patch.

What is to be adopted is made ours first, in a request of its own that changes no value.

Concurrency: called for one object at a time. Next: `hanse_syncer.decide.takeover` and
`hanse_syncer.decide.inapplicable` for what is decided, `hanse_syncer.act.applying` for who calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.kube.client.answer import Answer
from hanse.kube.model.objects import Object, child, sequence
from hanse.kube.model.untrusted import mapping
from hanse_syncer.decide import inapplicable, kinds, takeover
from hanse_syncer.decide.caveats import Caveat
from hanse_syncer.decide.errors import SyncCondition, SyncError
from hanse_syncer.decide.render import Manifest
from hanse_syncer.member.client import MemberClient, MemberObject

_TRIES: Final = 5
_NOTHING: Final = Answer(200, {}, b"", {})
"""There is nothing to write."""
_CHANGED: Final = Answer(409, {}, b"", {"kind": "Status", "reason": "Conflict"})
"""It changes all the time, or another object is there by now."""
_UNTOLD: Final = Answer(503, {}, b"what stands in the way would be taken over first", {})
"""A dry run cannot tell: nothing is stored, so nothing can be taken over before it."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The last answer, and what should be said if it is a success.

    `sent` is the manifest that was sent in the end, None for the very one that was to be delivered.
    """

    answer: Answer
    caveat: Caveat | None = None
    sent: Manifest | None = None


class Delivery:
    """Sends manifests to one member. All methods raise SyncError and LinkDownError."""

    def __init__(self, member: MemberClient) -> None:
        self._member = member

    async def create(self, target: MemberObject, manifest: Manifest) -> Delivered:
        """Deliver the manifest if nothing of that name is there."""
        return await self._deliver(target, manifest, uid="")

    async def apply(self, target: MemberObject, manifest: Manifest, *, uid: str) -> Delivered:
        """Deliver the manifest to the object with that uid, and to no other."""
        return await self._deliver(target, manifest, uid=uid)

    async def adopt(self, target: MemberObject, manifest: Manifest, live: Object) -> Delivered:
        """Deliver the manifest to `live`, an object that others wrote: what the manifest lacks goes away."""
        delivered = await self._taken(target, manifest, live)
        if delivered.answer.ok and not mapping(live["metadata"]).get("managedFields"):
            # Nobody was said to own it: then the first apply says who owned it before.
            delivered = await self._taken(target, manifest, delivered.answer.document)
        return delivered

    async def _taken(self, target: MemberObject, manifest: Manifest, live: Object) -> Delivered:
        uid = str(live["metadata"]["uid"])

        async def own(newest: Object) -> Answer:
            managed = takeover.adopted(newest, retained=kinds.retained_paths(newest))
            return _NOTHING if managed is None else await self._member.own(target, newest, managed)

        owned = await self._on_newest(target, own, uid=uid)
        return await self._deliver(target, manifest, uid=uid) if owned.ok else Delivered(owned)

    async def _deliver(self, target: MemberObject, manifest: Manifest, *, uid: str) -> Delivered:
        answer = await self._send(target, manifest, uid=uid)
        if answer.ok:
            return Delivered(await self._as_apply(target, manifest, answer))
        caveat: Caveat | None = None
        found = inapplicable.problems(answer)
        if found is None and answer.status == 422 and uid:
            return Delivered(await self._against_others(target, manifest, answer, uid=uid))
        if found is not None and found.lacking:
            reduced = inapplicable.without(manifest.object, found.lacking)
            if reduced is None:
                raise _refused("FieldsNotServed", answer)
            # In a thread: the first time it loads what is known of all kinds.
            missed = await asyncio.to_thread(inapplicable.written, manifest.object, found.lacking)
            manifest, caveat = manifest.of(reduced), inapplicable.lacking_caveat(missed) if missed else None
            answer = await self._send(target, manifest, uid=uid)
            found = inapplicable.problems(answer)
        if found is not None and found.unmergeable:
            caveat = caveat or inapplicable.BY_PATCH
            answer = await self._without_apply(target, manifest, uid=uid)
        elif found is not None:
            raise _refused("SchemaMismatch" if found.mistyped else "FieldsNotServed", answer)
        return Delivered(answer, caveat, sent=manifest)

    async def _send(self, target: MemberObject, manifest: Manifest, *, uid: str) -> Answer:
        if uid:
            return await self._member.apply(target, manifest, uid=uid)
        return await self._member.create(target, manifest)

    async def _as_apply(self, target: MemberObject, manifest: Manifest, answer: Answer) -> Answer:
        """Have what an earlier patch wrote count as applied, so that fields taken out go away."""
        if not takeover.updated_by_us(answer.document):
            return answer

        async def own(live: Object) -> Answer:
            return await self._member.own(target, live, takeover.as_apply(live))

        uid = str(answer.document["metadata"]["uid"])
        owned = await self._on_newest(target, own, uid=uid)
        return await self._send(target, manifest, uid=uid) if owned.ok else owned

    async def _against_others(
        self, target: MemberObject, manifest: Manifest, refusal: Answer, *, uid: str
    ) -> Answer:
        """Take over what stands in the way, if something does that can go, and apply again."""
        causes = sequence(refusal.document, "details", "causes")

        async def own(live: Object) -> Answer:
            retained = kinds.retained_paths(live)
            managed = takeover.contested(live, manifest.object, causes, retained=retained)
            if managed is not None and self._member.dry_run:
                return _UNTOLD
            return refusal if managed is None else await self._member.own(target, live, managed)

        owned = await self._on_newest(target, own, uid=uid)
        return await self._send(target, manifest, uid=uid) if owned.ok else owned

    async def _without_apply(self, target: MemberObject, manifest: Manifest, *, uid: str) -> Answer:
        if not uid:
            return await self._member.post(target, manifest)

        async def update(live: Object) -> Answer:
            return await self._member.update(target, inapplicable.patch(live, manifest.object), uid=uid)

        return await self._on_newest(target, update, uid=uid)

    async def _on_newest(
        self, target: MemberObject, write: Callable[[Object], Awaitable[Answer]], *, uid: str
    ) -> Answer:
        """Read the object and have a change of it written; again, if it was changed in between.

        A controller that counts Pods changes it often, which is nobody's conflict with us.
        """
        for _ in range(_TRIES):
            read = await self._member.get(target)
            if not read.ok:
                return read
            if child(read.document, "metadata", "uid") != uid:
                break
            answer = await write(read.document)
            if answer.status != 409:
                return answer
        return _CHANGED


def _refused(reason: str, answer: Answer) -> SyncError:
    return SyncError(SyncCondition(sync.FAILED, reason, answer.message, quoted=True), slow=True)
