"""What an answer of a member's API server means for one object.

Owns the reading of status codes and Status objects of answers that were found to count
(`hanse.kube.client.answer`). It is strict with 404: only an API server that names the very object has said
that it is gone; a proxy's page, an API that is not served and a missing namespace are something else. Pure
functions.

Next: `hanse_syncer.member.client`, which asks, and `hanse_syncer.act.reconciler`, which acts on the verdicts.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from typing import Final

from hanse.kube.client.answer import Absence, Answer, absence
from hanse.kube.client.expect import AnObject
from hanse.kube.model.objects import Object, sequence


class MemberVerdict(enum.Enum):
    """What a member said."""

    DONE = "done"
    ABSENT = "absent"
    """The API server knows of no such object."""
    CHANGED = "changed"
    """A precondition does not hold: another object is there, or none, or a newer version."""
    NO_NAMESPACE = "no-namespace"
    NAMESPACE_TERMINATING = "namespace-terminating"
    NO_API = "no-api"
    """The resource is not served, or something that is not an API server answered."""
    THROTTLED = "throttled"
    REFUSED = "refused"
    """It will say the same again until somebody changes something."""
    BROKEN = "broken"
    """The member's own trouble; it may pass."""


def verdict_of(answer: Answer, asked: AnObject) -> MemberVerdict:
    """Return what `answer` says about the object that was asked for."""
    status = answer.status
    if 200 <= status < 300:
        return MemberVerdict.DONE
    if status == 404:
        return _NOT_FOUND[absence(asked, answer)]
    if status == 409:
        return MemberVerdict.CHANGED
    if status == 429:
        return MemberVerdict.THROTTLED
    if not answer.document:
        return MemberVerdict.BROKEN  # whatever is in front of the API server: it has not said anything itself
    if status == 403 and "NamespaceTerminating" in _causes(answer.document, "reason"):
        return MemberVerdict.NAMESPACE_TERMINATING
    if status == 422 and "metadata.uid" in _causes(answer.document, "field"):
        return MemberVerdict.CHANGED
    if status >= 500 or status == 408:
        return MemberVerdict.BROKEN
    return MemberVerdict.REFUSED


_CANNOT: Final = re.compile(
    r"cannot (get|list|watch|create|update|patch|delete|deletecollection) resource \""
)
_NOT_FOUND: Final = {
    Absence.OBJECT: MemberVerdict.ABSENT,
    Absence.NAMESPACE: MemberVerdict.NO_NAMESPACE,
    Absence.NOTHING: MemberVerdict.NO_API,
}


def forbidden_verb(answer: Answer) -> str:
    """Return what the credential may not do, by the words of a refusal by RBAC; empty if it is none.

    Only Kubernetes' own verbs count, so that nothing else of a cluster's words gets out.
    """
    found = _CANNOT.search(answer.message) if answer.status == 403 else None
    return found[1] if found else ""


def _causes(status: Object, what: str) -> set[str]:
    causes = sequence(status, "details", "causes")
    return {str(cause.get(what)) for cause in causes if isinstance(cause, Mapping)}
