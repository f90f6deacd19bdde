"""What the engine knows about one resource: a value, made from a table, a schema or a CRD.

Frozen; shared freely. Next: `hanse.kube.kinds.catalogue`, which holds the ones that a server serves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
READ_VERBS = ("get", "list", "watch")


@dataclass(frozen=True, slots=True)
class PrinterColumn:
    """A column of `kubectl get` as a CRD declares it; priority 0 is always shown, others with -o wide."""

    name: str
    type: str
    json_path: str
    format: str = ""
    description: str = ""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class ResourceInfo:
    """One resource in one version.

    `group` is "" for core. `subresources` are names such as "status" and "scale". `storage_version` is the
    version in which objects of the resource are stored, `storage_group` and `storage_resource` say where
    (they differ from `group` and `plural` for a view of another resource, as events.k8s.io is of core's).
    `schema` is the OpenAPI v3 schema of kinds that are not Kubernetes' own. `virtual` resources have nothing
    stored: a `View` renders them. `selectable_fields` are the dotted paths that a CRD declares to be selected
    by. `scale_paths` are (spec replicas, status replicas, label selector) paths.
    """

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    namespaced: bool
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    subresources: tuple[str, ...] = ()
    storage_version: str = ""
    storage_group: str = ""
    storage_resource: str = ""
    list_kind: str = ""
    virtual: bool = False
    custom: bool = False
    schema: dict[str, Any] | None = field(default=None, compare=False, hash=False)
    columns: tuple[PrinterColumn, ...] = ()
    selectable_fields: tuple[str, ...] = ()
    scale_paths: tuple[str, str, str] | None = None

    @property
    def api_version(self) -> str:
        """Return `group/version`, or `version` for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def storage_key(self) -> tuple[str, str]:
        """Return the group ("" for core) and plural under which objects of the resource are stored."""
        return (self.storage_group, self.storage_resource)

    @property
    def group_resource(self) -> str:
        """Return `plural.group`, as error messages name a resource."""
        return f"{self.plural}.{self.group}" if self.group else self.plural
