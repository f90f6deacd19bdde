"""One resource in one version, as a server serves it: made from a kind's declaration or from a CRD.

Frozen; shared freely. Next: `hanse.kube.kinds.catalogue`, which holds the ones that a server serves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hanse.kube.kinds.kind import ALL_VERBS, PrinterColumn, ScalePaths, SelectableField
from hanse.kube.kinds.strategy import NO_STRATEGY, Strategy


@dataclass(frozen=True, slots=True)
class ResourceInfo:
    """One resource in one version.

    `group` is "" for core. `subresources` are names such as "status" and "scale". `storage_version` is the
    version in which objects of the resource are stored, `storage_group` and `storage_resource` say where
    (they differ from `group` and `plural` for a view of another resource, as events.k8s.io is of core's).
    `schema` is the OpenAPI v3 schema of kinds that are not Kubernetes' own. `virtual` resources have nothing
    stored: a `View` renders them. `deprecation` is said to whoever uses the version. `custom` resources are
    defined by a CRD. `strategy` is what is done with objects of the kind. `lenient` resources are those of
    which not all is checked that a kube-apiserver checks, by declaration of their kind.
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
    selectable: tuple[SelectableField, ...] = ()
    scale: ScalePaths | None = None
    deprecation: str = ""
    strategy: Strategy = field(default=NO_STRATEGY, compare=False, repr=False)
    lenient: bool = False

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
