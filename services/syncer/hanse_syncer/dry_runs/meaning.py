"""What a member's answer to a dry run says of the object: it would take it, it would refuse it, or nothing.

Owns the rule that only a refusal of *this object* counts as one. A refusal that the next apply would not
meet, or that is about somebody else, says nothing:

- the member lacks the namespace or the kind, or is deleting the namespace: the federation may be about to
  bring them, and does not create the object before;
- something that the object names is not there yet (a ServiceAccount, a PriorityClass, the counts of a quota);
- the federation's credential may not write such objects, or is not accepted at all: no object is at fault;
- another object of that name is there: the syncer says so, and a policy may have it adopted;
- an admission webhook cannot be asked without an effect, fails, or is late; the member is overloaded;
- the server takes no server-side apply for the kind.

What a webhook or a ValidatingAdmissionPolicy has denied in so many words is a refusal by whatever code: they
may choose one.

Pure. Next: `hanse_syncer.decide.verdicts` for what answers mean otherwise.
"""

from __future__ import annotations

import re
from typing import Final

from hanse.api.syncer.v1 import syncer_service_pb2 as pb
from hanse.kube.client.answer import Answer
from hanse.kube.model.untrusted import mapping, mappings, text
from hanse_syncer.decide.verdicts import MemberVerdict

MAX_CAUSES: Final = 20
"""Causes of one refusal that are passed on."""
MAX_WORDS: Final = 2048
"""Characters of one text that are passed on."""

_DENIED: Final = re.compile(
    r'^admission webhook "[^"]*" denied the request|\b(?:ValidatingAdmissionPolicy|admission policy) '
    r"'[^']*' (?:with binding '[^']*' )?denied request"
)
_REFUSING: Final = frozenset({400, 403, 413, 422})
"""Statuses by which an API server refuses an object for what is in it."""
_MAYBE_OTHERS: Final = frozenset({400, 403})
_ABOUT_OTHERS: Final = re.compile(
    r'is forbidden: User "[^"]*" cannot |does not support dry run|\bnot found\b|no PriorityClass with name'
    r"|status unknown for quota|not yet ready to handle request"
)
"""Refusals by those statuses which are not about what is in the object."""


def outcome(verdict: MemberVerdict, answer: Answer) -> pb.DryRunOutcome.ValueType:
    """Return what the answer to the dry run of an object says of it."""
    if verdict is MemberVerdict.DONE:
        return pb.ACCEPTED
    if answer.document and 400 <= answer.status < 500 and _DENIED.search(answer.message):
        return pb.REFUSED
    if verdict is not MemberVerdict.REFUSED or answer.status not in _REFUSING:
        return pb.UNKNOWN
    about_others = answer.status in _MAYBE_OTHERS and _ABOUT_OTHERS.search(answer.message)
    return pb.UNKNOWN if about_others else pb.REFUSED


def told(cluster: str, verdict: MemberVerdict, answer: Answer) -> pb.ClusterDryRun:
    """Return what the cluster says, by its answer."""
    found = outcome(verdict, answer)
    if found == pb.ACCEPTED:
        return pb.ClusterDryRun(cluster=cluster, outcome=found)
    if found == pb.UNKNOWN:
        return unknown(cluster, answer.message)
    causes = [
        pb.DryRunCause(
            reason=text(cause.get("reason"), MAX_WORDS),
            message=text(cause.get("message"), MAX_WORDS),
            field=text(cause.get("field"), MAX_WORDS),
        )
        for cause in mappings(mapping(answer.document.get("details")).get("causes"))[:MAX_CAUSES]
    ]
    return pb.ClusterDryRun(
        cluster=cluster, outcome=found, code=answer.status, message=answer.message[:MAX_WORDS], causes=causes
    )


def mistyped(cluster: str, message: str) -> pb.ClusterDryRun:
    """Return the refusal of an object that does not fit the member's schema, which it says with 500."""
    return pb.ClusterDryRun(cluster=cluster, outcome=pb.REFUSED, code=422, message=message[:MAX_WORDS])


def unknown(cluster: str, why: str) -> pb.ClusterDryRun:
    """Return that nothing is known of what the cluster says."""
    return pb.ClusterDryRun(cluster=cluster, outcome=pb.UNKNOWN, message=why[:MAX_WORDS])
