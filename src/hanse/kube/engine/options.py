"""The options of reads and writes, as values. They mirror the query parameters of the Kubernetes API.

Next: `hanse.kube.engine.resources.store`.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final, Literal

from hanse.kube.engine.lifecycle import Propagation
from hanse.kube.model.identity import User
from hanse.security.auth import MASTERS

SYSTEM = User("system:hanse", (MASTERS,))
"""The engine itself, when it writes on its own account."""

FieldValidation = Literal["Strict", "Warn", "Ignore"]
PatchType = Literal["json", "merge", "strategic", "apply"]


@dataclass(frozen=True, slots=True)
class Repeated:
    """What the text of a request says more than once: a sentence for each, of JSON or of `yaml`."""

    found: tuple[str, ...] = ()
    yaml: bool = False

    @property
    def refusal(self) -> tuple[str, ...]:
        """Return what is said of them together, as kube-apiserver does."""
        if self.found and self.yaml:
            return ("\n  ".join(("yaml: unmarshal errors:", *self.found)),)
        return self.found


NOTHING_REPEATED: Final = Repeated()


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How to write.

    `field_manager` is who is recorded in managedFields, "" for the user's name. `force` takes fields over
    from other managers in a server-side apply. `field_validation` is what happens to unknown fields and to
    those that are `repeated` in the text of the request; with Warn, `warnings` is filled with a sentence for
    each. What an admission enters into `until_done` ends with the write, stored or not; each call of a verb
    has its own.
    """

    user: User = SYSTEM
    field_manager: str = ""
    dry_run: bool = False
    field_validation: FieldValidation = "Ignore"
    force: bool = False
    warnings: list[str] = field(default_factory=list)
    until_done: AsyncExitStack = field(default_factory=AsyncExitStack, repr=False, compare=False)
    repeated: Repeated = NOTHING_REPEATED

    @property
    def manager(self) -> str:
        """Return the name to record in managedFields."""
        return self.field_manager or self.user.name


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """How to delete. `uid` and `resource_version` are preconditions, None for none.

    `propagation` "" keeps the finalizers that are there. `grace_seconds` None means the object's own.
    `until_done` is as for `WriteOptions`.
    """

    user: User = SYSTEM
    uid: str | None = None
    resource_version: str | None = None
    propagation: Propagation = ""
    grace_seconds: int | None = None
    dry_run: bool = False
    warnings: list[str] = field(default_factory=list)
    until_done: AsyncExitStack = field(default_factory=AsyncExitStack, repr=False, compare=False)
