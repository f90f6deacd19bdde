"""Which resource a user means: `deploy`, `deployments.apps`, `Deployment`, `cm/web`.

Owns the lookup of names among the resources that the federation serves.

Concurrency: one paged call, then pure functions.

Next: `hanse_cli.commands.apply`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import click
from hanse_client import HanseClient

from hanse.api.federation.v1.federation_pb2 import Resource
from hanse.api.federation.v1.federation_service_pb2 import ListResourcesRequest
from hanse.api.type.v1.object_reference_pb2 import ObjectReference
from hanse.errors import InvalidArgumentError, NotFoundError
from hanse.well_known import GROUP

_PAGE = 1000
_RANK = {"": 0, "apps": 1, GROUP: 2}
"""Whose resource a word means that several groups have: core before apps, as in kubectl, and Hanse's own
clusters before those in Federation v1's form."""
VIEWS = {("federation", "clusters"): GROUP, ("events.k8s.io", "events"): ""}
"""(group, resource) of what is stored as another group's, and that group, in which the services name it."""


@dataclass(frozen=True, slots=True)
class NamedResource:
    """A resource, and the name of one object of it; an empty name means all."""

    resource: Resource
    name: str = ""

    @property
    def title(self) -> str:
        """As kubectl names it, such as deployment.apps/web."""
        group = f".{self.resource.group}" if self.resource.group else ""
        return f"{self.resource.singular or self.resource.kind.lower()}{group}/{self.name}"

    @property
    def group(self) -> str:
        """The group under which its objects are stored."""
        return VIEWS.get((self.resource.group, self.resource.resource), self.resource.group)

    def reference(self, namespace: str) -> ObjectReference:
        """Return the object in `namespace`; the namespace is left out where the resource has none."""
        return ObjectReference(
            group=self.group,
            version=self.resource.version,
            resource=self.resource.resource,
            kind=self.resource.kind,
            namespace=namespace if self.resource.namespaced else "",
            name=self.name,
        )


class Resources:
    """The resources that a federation serves."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self._resources = sorted(resources, key=lambda each: _RANK.get(each.group, len(_RANK)))

    @classmethod
    async def load(cls, client: HanseClient) -> Resources:
        """Ask the federation."""
        found: list[Resource] = []
        token = ""
        while True:
            request = ListResourcesRequest(page_size=_PAGE, page_token=token)
            page = await client.federation.ListResources(request)
            found.extend(page.resources)
            token = page.next_page_token
            if not token:
                return cls(found)

    def find(self, word: str) -> Resource:
        """Return the resource that a user calls `word`. Raises NotFoundError with what is close to it."""
        name, _, suffix = word.lower().partition(".")
        for resource in self._resources:
            if name in _names(resource) and suffix in {
                "",
                resource.group,
                resource.version,
                f"{resource.version}.{resource.group}",
            }:
                return resource
        known = {each for resource in self._resources for each in _names(resource)}
        close = difflib.get_close_matches(word.lower(), known, n=1)
        hint = f"did you mean {close[0]}?" if close else "see `hanse federation list-resources`"
        raise NotFoundError(f"the federation serves no resource {word}: {hint}")

    def plurals(self) -> list[str]:
        """Return the plural names of all resources, such as deployments."""
        return [resource.resource for resource in self._resources]

    def of_manifest(self, manifest: dict[str, Any]) -> Resource:
        """Return the resource of a manifest's apiVersion and kind. Raises NotFoundError."""
        group, _, version = str(manifest["apiVersion"]).rpartition("/")
        for resource in self._resources:
            if (resource.group, resource.version, resource.kind) == (group, version, manifest["kind"]):
                return resource
        raise NotFoundError(
            f"the federation serves no {manifest['kind']} of {manifest['apiVersion']}: is its "
            "CustomResourceDefinition applied?"
        )


def _names(resource: Resource) -> set[str]:
    singular = resource.singular or resource.kind.lower()
    return {resource.resource, singular, resource.kind.lower(), *resource.short_names}


def targets(words: Sequence[str], resources: Resources) -> list[NamedResource]:
    """Return what the arguments of get, delete or explain mean: `deploy`, `deploy web db`, `deploy/web
    cm/conf`, `deploy,svc`. Raises NotFoundError and InvalidArgumentError.
    """
    if not words or not words[0]:
        raise click.UsageError("say what: a resource such as deploy, or an object such as deploy/web")
    if any("/" in word for word in words):
        found: list[NamedResource] = []
        for word in words:
            kind, separator, name = word.partition("/")
            if not separator or not kind or not name or "/" in name:
                raise InvalidArgumentError(f"{word!r} must be RESOURCE/NAME, such as deploy/web")
            found.append(NamedResource(resources.find(kind), name))
        return found
    kinds, names = words[0].split(","), words[1:]
    if not all((*kinds, *names)):
        raise InvalidArgumentError("a resource or a name is empty: give one, or leave it out")
    if len(kinds) > 1 and names:
        raise InvalidArgumentError(
            "several resources and names do not go together: write RESOURCE/NAME for each"
        )
    return [NamedResource(resources.find(kind), name) for kind in kinds for name in (names or [""])]


async def named_objects(client: HanseClient, words: Sequence[str]) -> list[NamedResource]:
    """Return the objects that the arguments of a command name. Raises what `targets` raises, and
    click.UsageError for a resource without a name.
    """
    found = targets(words, await Resources.load(client))
    if not all(target.name for target in found):
        raise click.UsageError("say which: RESOURCE/NAME, such as deploy/web")
    return found
