"""What init has made in a host cluster, and with which flags: a ConfigMap beside it.

Owns its form. A later run takes the flags from it that it is not given, and deinit the objects; nothing that
is
not in it is ever removed.

Pure functions.

Next: `hanse_install.installing` and `hanse_install.removing`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from hanse.errors import FailedPreconditionError
from hanse_install.stages import Manifest, identity, reference

NAME: Final = "hanse-installation"
LABEL: Final = "hanse.dev/installation"


@dataclass(frozen=True, slots=True)
class InstallationRecord:
    """What was made. `authority` is the SHA-256 of the certificate of the federation's authority: its id
    here."""

    federation: str
    namespace: str
    authority: str
    options: Mapping[str, Any] = field(default_factory=dict)
    objects: tuple[Manifest, ...] = ()
    """Identities of what was made, in the order in which it was."""
    kept: tuple[str, ...] = ()
    """What was there before and stays, as `reference` writes it."""
    jobs: Mapping[str, str] = field(default_factory=dict)
    """Digests of the Jobs that are done, by name."""

    def manifest(self) -> Manifest:
        """Return the ConfigMap."""
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": NAME,
                "namespace": self.namespace,
                "labels": {
                    "app.kubernetes.io/name": "hanse",
                    "app.kubernetes.io/part-of": "hanse",
                    LABEL: self.federation,
                },
            },
            "data": {
                "federation": self.federation,
                "authority": self.authority,
                "options": _json(self.options),
                "objects": _json(self.objects),
                "kept": _json(self.kept),
                "jobs": _json(self.jobs),
            },
        }

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> InstallationRecord:
        """Read the ConfigMap. Raises FailedPreconditionError for one that somebody has changed beyond
        reading."""
        namespace = manifest["metadata"]["namespace"]
        try:
            data = manifest["data"]
            return cls(
                federation=data["federation"],
                namespace=namespace,
                authority=data["authority"],
                options=json.loads(data["options"]),
                objects=tuple(identity(each) for each in json.loads(data["objects"])),
                kept=tuple(json.loads(data["kept"])),
                jobs=json.loads(data["jobs"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise FailedPreconditionError(
                f"the ConfigMap {NAME} in namespace {namespace} of the host cluster is damaged ({error}): "
                "restore it from a backup, or remove it and what is labelled app.kubernetes.io/name=hanse "
                "by hand"
            ) from error

    def makes(self, manifest: Mapping[str, Any]) -> bool:
        """Return whether this installation has made an object."""
        return identity(manifest) in self.objects


def union(first: Sequence[Manifest], second: Iterable[Manifest]) -> tuple[Manifest, ...]:
    """Return the identities of both, each once, in order."""
    found = {(reference(each), each["metadata"].get("namespace", "")): each for each in first}
    for each in second:
        found.setdefault((reference(each), each["metadata"].get("namespace", "")), identity(each))
    return tuple(found.values())


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)
