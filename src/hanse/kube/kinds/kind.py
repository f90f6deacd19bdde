"""A kind: what is known of it as facts, and nothing that handles objects.

Owns how a kind is named and served, by which fields it is selected and how it is scaled. Every service may
import it at little cost: what a service knows of kinds is in a table of its own with `Kind` as the key (the
API server's are the strategies). A `Kind` is one object for the whole process and is compared as such.

Frozen; shared freely. Next: `hanse.kube.kinds.kubernetes` for Kubernetes' own kinds,
`hanse.kube.kinds.strategy` for what is done with objects of a kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, TypeVar

ALL_VERBS: Final = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
READ_VERBS: Final = ("get", "list", "watch")
CREATE: Final = ("create",)


class SelectableField(NamedTuple):
    """A field that a field selector may name: the label it goes by, and its path where that is another.

    `absent` is what the field is in an object that does not have it.
    """

    label: str
    path: str = ""
    absent: str = ""


class ScalePaths(NamedTuple):
    """Where the scale subresource finds the replicas that are wanted, those that there are, and the selector.

    `form` says what is at `selector`: a text, a LabelSelector, or a map of labels. `default` is the number of
    replicas that an object which says nothing wants.
    """

    replicas: str = "spec.replicas"
    current: str = "status.replicas"
    selector: str = "spec.selector"
    form: Literal["text", "selector", "labels"] = "selector"
    default: int = 1


class PrinterColumn(NamedTuple):
    """A column of `kubectl get` as a CRD declares it; priority 0 is always shown, others with -o wide."""

    name: str
    type: str
    json_path: str
    format: str = ""
    description: str = ""
    priority: int = 0


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Kind:
    """One kind in all its versions.

    `group` is "" for core. The first of `versions` is the preferred one, and the one that objects are stored
    in. `stored_as` is the kind whose objects this one shows (events.k8s.io shows core's). `subresources` are
    names such as "status". `pod_count` is the field of the spec with the number of Pods, 1 where it says
    nothing; "" for kinds that have none. `schema` is the OpenAPI v3 schema of a kind that is not Kubernetes'
    own, `columns` are what its table shows. `virtual` kinds have nothing stored. `deprecation` is said
    to whoever uses the kind, in the words of kube-apiserver. `lenient` says that the engine does not check
    all that a kube-apiserver checks: it may store what one refuses.
    """

    group: str
    name: str
    plural: str
    namespaced: bool = True
    versions: tuple[str, ...] = ("v1",)
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    stored_as: Kind | None = None
    virtual: bool = False
    selectable: tuple[SelectableField, ...] = ()
    scale: ScalePaths | None = None
    pod_count: str = ""
    schema: dict[str, Any] | None = None
    columns: tuple[PrinterColumn, ...] = ()
    deprecation: str = ""
    lenient: bool = False

    @property
    def group_kind(self) -> tuple[str, str]:
        """Return the group and the name of the kind, as objects carry them."""
        return self.group, self.name

    @property
    def group_plural(self) -> tuple[str, str]:
        """Return the group and the plural, as paths and keys have them."""
        return self.group, self.plural

    def matches(self, obj: Mapping[str, Any]) -> bool:
        """Report whether an object is of this kind, in whatever version; it may have any shape."""
        return obj.get("kind") == self.name and group_of(obj) == self.group

    def __repr__(self) -> str:
        """Return how error messages and tests name the kind."""
        return f"<Kind {self.name}.{self.group or 'core'}>"


T = TypeVar("T")


def group_of(obj: Mapping[str, Any]) -> str:
    """Return the group in an object's apiVersion, "" for core; the object may have any shape."""
    group, slash, _ = str(obj.get("apiVersion") or "").partition("/")
    return group if slash else ""


def group_kind_of(obj: Mapping[str, Any]) -> tuple[str, str]:
    """Return the group and the kind that an object carries; it may have any shape."""
    return group_of(obj), str(obj.get("kind"))


def by_group_plural(table: Mapping[Kind, T]) -> dict[tuple[str, str], T]:
    """Return a table by kind as one by (group, plural), for objects that are known by their key."""
    return {kind.group_plural: value for kind, value in table.items()}
