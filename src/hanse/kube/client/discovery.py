"""What a member serves: the one reader of its aggregated discovery (apidiscovery.k8s.io/v2 or v2beta1).

Owns the rule that unknown is not empty. A group and version that the API server marks as anything but
current is unknown: the aggregated API server that answers for it is away. What the document still lists of
it is kept, and its absence says nothing. A document that is not one of an API server, in any of its fields,
raises WrongAnswerError; a name that Kubernetes does not allow, or more resources than any cluster has,
MisbehavingMemberError. Every supported Kubernetes serves aggregated discovery, one document for /api and one
for /apis.

Pure functions. Reading the largest catalogue takes some 50 ms: in a thread, not on the event loop.

Next: `hanse_registry.member.inventory`, which makes the API catalogue of it, and
`hanse_syncer.member.served`, which says where objects may be that no list shows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from hanse.kube.client.answer import WrongAnswerError
from hanse.kube.client.bounds import CATALOGUE_RESOURCES, NAME_CHARS, MisbehavingMemberError
from hanse.kube.model.objects import Object, api_version

KIND: Final = "APIGroupDiscoveryList"
MAX_LABEL_CHARS: Final = 63
_NAME: Final = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?", re.ASCII)
_NOTHING: Final[Mapping[str, Any]] = {}


class GroupVersion(NamedTuple):
    """One version of an API group; the core group is ""."""

    group: str
    version: str

    def __str__(self) -> str:
        return api_version(self.group, self.version)


@dataclass(frozen=True, slots=True)
class ServedResource:
    """One resource in one version, as a server describes it.

    `preferred` is set for the first version of a group. `subresources` are (name, verbs). A resource without
    verbs of its own is served by its subresources only.
    """

    group: str
    version: str
    resource: str
    kind: str = ""
    singular: str = ""
    namespaced: bool = False
    preferred: bool = False
    verbs: frozenset[str] = frozenset()
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[tuple[str, frozenset[str]], ...] = ()

    @property
    def api_version(self) -> str:
        """Return `group/version`, or `version` for the core group."""
        return api_version(self.group, self.version)

    @property
    def listable(self) -> bool:
        """Whether its objects can be listed."""
        return "list" in self.verbs


@dataclass(frozen=True, slots=True)
class ServedApis:
    """All that a server says that it serves, the preferred version of each group first.

    Of the groups and versions in `unknown` it cannot tell now; `resources` has what it still lists of them.
    """

    resources: tuple[ServedResource, ...]
    unknown: frozenset[GroupVersion] = frozenset()


def read_discovery(documents: Sequence[Any]) -> ServedApis:
    """Return what APIGroupDiscoveryLists say. Raises WrongAnswerError, MisbehavingMemberError."""
    versions = [found for document in documents for found in _versions(document)]
    listed = sum(len(_objects(entry, "resources")) for _, entry, _ in versions)
    if listed > CATALOGUE_RESOURCES:
        raise MisbehavingMemberError(
            f"it lists {listed} resources, more than {CATALOGUE_RESOURCES}: no cluster does",
            metadata={"bound": str(CATALOGUE_RESOURCES)},
        )
    resources = tuple(
        _resource(where, entry, preferred=preferred)
        for where, version, preferred in versions
        for entry in _objects(version, "resources")
    )
    unknown = frozenset(where for where, version, _ in versions if not _is_current(version))
    return ServedApis(resources, unknown)


def is_name(value: object, longest: int) -> bool:
    """Return whether it is what Kubernetes has for names and label values: letters, digits, and -_.
    between them.
    """
    return isinstance(value, str) and len(value) <= longest and _NAME.fullmatch(value) is not None


def _versions(document: Any) -> Iterator[tuple[GroupVersion, Object, bool]]:
    """Yield the versions of a document's groups, and whether each is its group's preferred one."""
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise WrongAnswerError(f"the cluster does not say what it serves: the answer is no {KIND}")
    if not isinstance(document.get("items"), list):
        raise WrongAnswerError("the cluster does not say what it serves: the answer has no items")
    for group in _objects(document, "items"):
        name = _text(_mapping(group, "metadata"), "name")
        if name and not is_name(name, NAME_CHARS):
            raise MisbehavingMemberError(f"it serves a group {name[:NAME_CHARS]!r}, a name that is none")
        for position, version in enumerate(_objects(group, "versions")):
            label = _text(version, "version")
            if not is_name(label, MAX_LABEL_CHARS):
                raise _no_name(label, name)
            yield GroupVersion(name, label), version, position == 0


def _is_current(version: Object) -> bool:
    return _text(version, "freshness") in ("", "Current")


def _resource(where: GroupVersion, entry: Object, *, preferred: bool) -> ServedResource:
    found = ServedResource(
        group=where.group,
        version=where.version,
        resource=_text(entry, "resource"),
        kind=_text(_mapping(entry, "responseKind"), "kind"),
        singular=_text(entry, "singularResource"),
        namespaced=entry.get("scope") == "Namespaced",
        preferred=preferred,
        verbs=frozenset(_texts(entry, "verbs")),
        short_names=_texts(entry, "shortNames"),
        categories=_texts(entry, "categories"),
        subresources=tuple(
            (_text(part, "subresource"), frozenset(_texts(part, "verbs")))
            for part in _objects(entry, "subresources")
        ),
    )
    _check_names(found)
    return found


def _check_names(found: ServedResource) -> None:
    """Raise MisbehavingMemberError if a name in it is not what Kubernetes lets names be.

    A resource that is served by its subresources only may have no kind.
    """
    names = [found.resource, *found.verbs, *found.short_names, *found.categories]
    names += [found.kind] if found.kind or found.verbs else []
    parts = [found.singular, *(name for name, _ in found.subresources)]
    names += [name for part in parts for name in part.split("/") if name]
    if not all(is_name(name, MAX_LABEL_CHARS) for name in names):
        raise _no_name(found.resource, found.group)


def _no_name(resource: str, group: str) -> MisbehavingMemberError:
    return MisbehavingMemberError(
        f"it serves {resource[:MAX_LABEL_CHARS]!r} of {group[:NAME_CHARS]!r}, with a name that is none: at "
        f"most {MAX_LABEL_CHARS} letters, digits and -_."
    )


# Fields of a document. What is absent or null is empty, as Go's encoder writes it; any other type is wrong.


def _objects(parent: Mapping[str, Any], name: str) -> list[Object]:
    return _list(parent, name, dict)


def _texts(parent: Mapping[str, Any], name: str) -> tuple[str, ...]:
    return tuple(_list(parent, name, str))


def _list(parent: Mapping[str, Any], name: str, of: type) -> list[Any]:
    value = parent.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, of) for item in value):
        raise _wrong_field(name)
    return value


def _mapping(parent: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = parent.get(name)
    if value is not None and not isinstance(value, dict):
        raise _wrong_field(name)
    return value or _NOTHING


def _text(parent: Mapping[str, Any], name: str) -> str:
    value = parent.get(name)
    if value is not None and not isinstance(value, str):
        raise _wrong_field(name)
    return value or ""


def _wrong_field(name: str) -> WrongAnswerError:
    return WrongAnswerError(f"the cluster does not say what it serves: {name} of its discovery is malformed")
