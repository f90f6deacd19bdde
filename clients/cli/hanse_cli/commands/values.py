"""Values that a shell completes: clusters, resources, objects and namespaces, asked from the federation.

Owns the options and arguments that have such values, and the rule for asking: a shell waits a second at most,
and is told nothing by a federation that cannot be reached. Where services are reached through kubectl nothing
is asked at all, since opening that way takes longer.

Concurrency: one call at a time, under one deadline.

Next: `hanse_cli.commands.completion`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Final

import click
from click.shell_completion import CompletionItem
from hanse_client import HanseClient
from hanse_client.names import collection_name

from hanse.api.federation.v1.federation_service_pb2 import ListObjectsRequest
from hanse.api.registry.v1.registry_service_pb2 import ListClustersRequest
from hanse.errors import HanseError
from hanse_cli.resources import NamedResource, Resources
from hanse_cli.session import GlobalOptions, run

DEADLINE: Final = 1.0
"""Seconds that a shell waits for values."""
_PAGE: Final = 500
"""Most clusters of one page, and most objects that are offered."""
Values = Callable[[HanseClient, click.Context, str], Awaitable[Iterable[str]]]
Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def completes(values: Values) -> Completer:
    """Make a click completion of a coroutine function that returns all values that there may be."""

    def complete(
        context: click.Context, _parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        given = context.find_object(GlobalOptions) or GlobalOptions()

        async def ask(client: HanseClient) -> Iterable[str]:
            if client.config.host_cluster is not None:
                return ()
            async with asyncio.timeout(DEADLINE):
                return await values(client, context, incomplete)

        try:
            found = run(replace(given, timeout=DEADLINE), ask)
        except (HanseError, TimeoutError, OSError):  # in the middle of a line no error is shown
            return []
        return [
            CompletionItem(value)
            for value in sorted(set(found))
            if value.startswith(incomplete) and value.isprintable()
        ]

    return complete


async def _clusters(client: HanseClient, _context: click.Context, _incomplete: str) -> Iterable[str]:
    return [name.removeprefix("clusters/") for name in await _all_clusters(client)]


async def _cluster_names(client: HanseClient, _context: click.Context, _incomplete: str) -> Iterable[str]:
    return await _all_clusters(client)


async def _all_clusters(client: HanseClient) -> list[str]:
    found: list[str] = []
    request = ListClustersRequest(page_size=_PAGE)
    while True:
        page = await client.registry.ListClusters(request)
        found += [cluster.name for cluster in page.clusters]
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def _namespaces(client: HanseClient, _context: click.Context, _incomplete: str) -> Iterable[str]:
    return await _names(client, collection_name(group="", resource="namespaces"))


async def _objects(client: HanseClient, context: click.Context, incomplete: str) -> Iterable[str]:
    """Return resources for the first word, or names after a resource: `deployments web`, `deploy/web`."""
    resources = await Resources.load(client)
    before = context.params.get("what") or ()
    words = [before] if isinstance(before, str) else list(before)
    kind, slash, _ = incomplete.partition("/")
    if slash:
        names = await _names_of(client, NamedResource(resources.find(kind)), context)
        return [f"{kind}/{name}" for name in names]
    if words and "/" not in words[0]:
        return await _names_of(client, NamedResource(resources.find(words[0])), context)
    return resources.plurals()


async def _names_of(client: HanseClient, target: NamedResource, context: click.Context) -> list[str]:
    """Return the names of the objects of a resource, in the namespace that was given."""
    namespace = ""
    if target.resource.namespaced and not context.params.get("everywhere"):
        namespace = context.params.get("namespace") or "default"
    return await _names(
        client,
        collection_name(group=target.group, resource=target.resource.resource, namespace=namespace),
    )


async def _names(client: HanseClient, parent: str) -> list[str]:
    page = await client.federation.ListObjects(ListObjectsRequest(parent=parent, page_size=_PAGE))
    return [each.name.rpartition("/")[2] for each in page.objects]


complete_clusters: Final = completes(_clusters)
complete_cluster_names: Final = completes(_cluster_names)
"""As the generated commands take them: clusters/eu-west."""
complete_namespaces: Final = completes(_namespaces)
complete_objects: Final = completes(_objects)

files_option = click.option(
    "-f", "--filename", "files", multiple=True, metavar="FILE|DIR|-", help="Manifests; may be given again."
)
namespace_option = click.option(
    "-n",
    "--namespace",
    default="default",
    show_default=True,
    help="For objects that name none.",
    shell_complete=complete_namespaces,
)
cluster_option = click.option(
    "--cluster", default="", help="Only this cluster.", shell_complete=complete_clusters
)
