"""Waits until what was applied is there, and says what it waits for.

Owns the deadline: it is one for the whole run, and when it is over the reasons that the Pods give are in the
error. A reason is said as soon as it is known, since some go away by themselves.

Concurrency: one call at a time, a second apart.

Next: `hanse_install.stages`, which judges.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hanse.errors import DeadlineError, FailedPreconditionError, HanseError, UnavailableError
from hanse_install.kubectl import Kubectl, Manifest
from hanse_install.stages import RolloutStage, failed, identity, reasons, reference, waits_for

_POLL = 1.0
_OURS = "app.kubernetes.io/name=hanse"
_REASONS_AFTER = 5.0
"""After how many seconds it is first asked why: Pods that start are not ready yet and nothing is wrong."""


@dataclass(slots=True)
class RolloutWait:
    """The wait of one run; `deadline` is of time.monotonic()."""

    kubectl: Kubectl
    namespace: str
    deadline: float
    say: Callable[[str], None]
    poll: float = _POLL
    _said: set[str] = field(default_factory=set)

    def left(self) -> float:
        """Return seconds that are left, 1 at least."""
        return max(1.0, self.deadline - time.monotonic())

    def until_there(self, stage: RolloutStage, *, skip: Sequence[str] = ()) -> None:
        """Wait for the workloads of a stage. Raises DeadlineError, FailedPreconditionError."""
        wanted = [identity(each) for each in stage.manifests if reference(each) not in skip]
        began, last, known = time.monotonic(), "", "nothing is known of them"
        while wanted:
            try:
                found = self._get(wanted)
            except UnavailableError as error:  # an apiserver of the host cluster that restarts comes back
                found, known = None, error.message
            if found is not None:
                missing = self._missing(wanted, found)
                if not missing:
                    break
                known = "; ".join(f"{name} {what}" for name, what in missing)
                if known != last:
                    self.say(f"  waits: {known}")
                    last = known
                if time.monotonic() - began > _REASONS_AFTER:
                    self._say_reasons(found)
            if time.monotonic() > self.deadline:
                raise self._late(stage, known, found or [])
            time.sleep(self.poll)

    def _get(self, wanted: Sequence[Manifest]) -> list[Manifest]:
        kinds = ",".join(dict.fromkeys(f"{each['kind'].lower()}s" for each in wanted))
        items = self.kubectl.items(kinds, "-n", self.namespace)
        names = {reference(each) for each in wanted}
        return [each for each in items if reference(each) in names]

    def _missing(self, wanted: Sequence[Manifest], found: Sequence[Manifest]) -> list[tuple[str, str]]:
        for each in found:
            if reason := failed(each):
                raise FailedPreconditionError(
                    self._with_reasons(f"{reference(each)} has failed, {reason}", found)
                )
        there = {reference(each) for each in found}
        gone = [(each["metadata"]["name"], "is not there") for each in wanted if reference(each) not in there]
        return gone + [(each["metadata"]["name"], what) for each in found if (what := waits_for(each))]

    def why(self, found: Sequence[Manifest]) -> list[str]:
        """Return why workloads are not ready, as far as the host cluster tells."""
        try:
            pods = self.kubectl.items("pods", "-n", self.namespace, "-l", _OURS)
            events = self.kubectl.items("events", "-n", self.namespace, "--field-selector=type=Warning")
        except HanseError:
            return []
        return reasons(found, pods, events)

    def _say_reasons(self, found: Sequence[Manifest]) -> None:
        for reason in self.why(found):
            if reason not in self._said:
                self._said.add(reason)
                self.say(f"  {reason}")

    def _with_reasons(self, text: str, found: Sequence[Manifest]) -> str:
        told = "; ".join(self.why(found)[:3])
        return f"{text}: {told}" if told else text

    def _late(self, stage: RolloutStage, known: str, found: Sequence[Manifest]) -> DeadlineError:
        return DeadlineError(
            self._with_reasons(f"{stage.title} did not get ready in time ({known})", found)
            + ". What is made stays: mend it and run init again, give it longer with --wait-timeout, or take "
            "it out with deinit"
        )
