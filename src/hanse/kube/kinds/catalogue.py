"""The resources that a server serves: a table by group, version and plural, which CRDs extend at run time.

A `Catalogue` belongs to one engine and is changed only from its event loop (by the CRD controller); readers
take what they see at once, and compare `generation` to know whether what they derived is still right.
Next: `hanse.kube.kinds.registry`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hanse.errors import NotFoundError
from hanse.kube.kinds.kind import Kind
from hanse.kube.kinds.registry import KindRegistry
from hanse.kube.kinds.resource_info import ResourceInfo
from hanse.kube.merge.schema import Schema, SchemaSet


class Catalogue:
    """The resources of one server, in discovery order."""

    def __init__(self, kinds: KindRegistry) -> None:
        """Serve the kinds of a registry; its order is the order of groups in discovery."""
        self._by_path: dict[tuple[str, str, str], ResourceInfo] = {}
        self._by_kind: dict[tuple[str, str, str], ResourceInfo] = {}
        self._storage: dict[tuple[str, str], ResourceInfo] = {}
        self.schemas = SchemaSet.builtin()
        self.generation = 0
        self.reserved_groups = frozenset(kind.group for kind in kinds)
        """The API groups that no CRD may define kinds in."""
        self.add(kinds.resources())

    def add(self, infos: Iterable[ResourceInfo]) -> None:
        """Add or replace resources."""
        for info in infos:
            self._by_path[(info.group, info.version, info.plural)] = info
            self._by_kind[(info.group, info.version, info.kind)] = info
            if info.version == info.storage_version and (info.group, info.plural) == info.storage_key:
                self._storage[info.storage_key] = info
            if info.schema is not None:
                self.schemas = self.schemas.with_kind(
                    group=info.group, version=info.version, kind=info.kind, openapi_v3_schema=info.schema
                )
        self.generation += 1

    def replace(self, infos: list[ResourceInfo]) -> None:
        """Put these, all the versions of one resource, in place of those that are there."""
        self.remove(infos[0].group, infos[0].plural)
        self.add(infos)

    def remove(self, group: str, plural: str) -> None:
        """Remove a resource in all its versions; nothing happens if it is not there."""
        for path in [p for p in self._by_path if p[0] == group and p[2] == plural]:
            info = self._by_path.pop(path)
            self._by_kind.pop((info.group, info.version, info.kind), None)
            if info.schema is not None:
                self.schemas = self.schemas.without(group, info.kind)
        self._storage.pop((group, plural), None)
        self.generation += 1

    def __iter__(self) -> Iterator[ResourceInfo]:
        """Iterate over all resources in all versions."""
        return iter(tuple(self._by_path.values()))

    def get(self, group: str, version: str, plural: str) -> ResourceInfo | None:
        """Return a resource by its path; None if it is not served. `group` is "" for core."""
        return self._by_path.get((group, version, plural))

    def require(self, group: str, version: str, plural: str) -> ResourceInfo:
        """Return a resource by its path. Raises NotFoundError if it is not served."""
        info = self._by_path.get((group, version, plural))
        if info is None:
            raise NotFoundError(
                "the server could not find the requested resource",
                metadata={"group": group, "version": version, "resource": plural},
            )
        return info

    def require_kind(self, kind: Kind) -> ResourceInfo:
        """Return the resource of a kind in its preferred version. Raises NotFoundError if none is served."""
        return self.require(kind.group, kind.versions[0], kind.plural)

    def by_kind(self, group: str, version: str, kind: str) -> ResourceInfo | None:
        """Return the resource of a kind; None if it is not served."""
        return self._by_kind.get((group, version, kind))

    def storage(self, group: str, plural: str) -> ResourceInfo | None:
        """Return the resource as it is stored: the info of its storage version; None if it is not served."""
        return self._storage.get((group, plural))

    def is_builtin(self, group: str, plural: str) -> bool:
        """Report whether a resource is served that no CRD defines."""
        return any(not i.custom for (g, _, p), i in self._by_path.items() if (g, p) == (group, plural))

    def schema(self, info: ResourceInfo) -> Schema | None:
        """Return the schema of a resource in its version; None if there is none."""
        return self.schemas.lookup(info.group, info.version, info.kind)

    def groups(self) -> dict[str, list[str]]:
        """Return each group with its versions, the preferred one first, in discovery order."""
        result: dict[str, list[str]] = {}
        for group, version, _ in self._by_path:
            versions = result.setdefault(group, [])
            if version not in versions:
                versions.append(version)
        return result

    def group_version(self, group: str, version: str) -> list[ResourceInfo]:
        """Return the resources of a group in a version."""
        return [i for (g, v, _), i in self._by_path.items() if g == group and v == version]
