"""What whoever writes a policy is told at once: that it names clusters or kinds that are not there.

Owns `PolicyAdmission`. It refuses nothing, since what is named may come later.

Stateless; runs inside the request's task. Next: `hanse.federation.policies.references`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hanse.federation.policies.titles import is_policy
from hanse.kube.engine.hooks import AdmissionRequest
from hanse.kube.model.objects import Object


class PolicyAdmission:
    """Warns of what names nothing. `unresolved` returns a sentence for each such thing in a policy."""

    def __init__(self, unresolved: Callable[[Object], Sequence[str]]) -> None:
        self._unresolved = unresolved

    async def admit(self, request: AdmissionRequest) -> Object:
        """Return the object as it is."""
        if is_policy(request.key) and not request.subresource and request.operation != "DELETE":
            for each in self._unresolved(request.object):
                if each not in request.warnings:
                    request.warnings.append(each)
        return request.object
