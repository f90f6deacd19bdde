"""The generated commands: every method of every service, made from the descriptors at run time.

`hanse registry list-clusters --page-size 20` calls RegistryService.ListClusters. Nothing here knows a
method by name: what a new proto adds is a command at once. A list is followed to its end unless a page
size or a page token is given. A stream is printed as it comes, until Ctrl-C.

Concurrency: one call at a time in one loop.

Next: `hanse_cli.flags` for requests, `hanse_cli.output` for answers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, cast

import click
from google.api import resource_pb2
from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from hanse_client import HanseClient

from hanse_cli import comments
from hanse_cli.commands.values import complete_cluster_names
from hanse_cli.flags import build, flags_of, options_of
from hanse_cli.output import Printer, list_field
from hanse_cli.session import GlobalOptions, output_option, run, with_global_options


@dataclass(frozen=True, slots=True)
class Service:
    """One service: its command, the module of its contract, and its name there."""

    command: str
    module: str
    name: str

    @property
    def descriptor(self) -> ServiceDescriptor:
        """Its descriptor."""
        file = import_module(self.module).DESCRIPTOR
        return cast(ServiceDescriptor, file.services_by_name[self.name])


SERVICES: Mapping[str, Service] = {
    each.command: each
    for each in (
        Service("registry", "hanse.api.registry.v1.registry_service_pb2", "RegistryService"),
        Service("scheduler", "hanse.api.scheduler.v1.scheduler_service_pb2", "SchedulerService"),
        Service("syncer", "hanse.api.syncer.v1.syncer_service_pb2", "SyncerService"),
        Service("dns", "hanse.api.dns.v1.dns_service_pb2", "DnsService"),
        Service("federation", "hanse.api.federation.v1.federation_service_pb2", "FederationService"),
    )
}


def kebab(name: str) -> str:
    """`list-clusters` for ListClusters."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()


class ServiceGroup(click.Group):
    """The commands of one service, made when they are asked for."""

    def __init__(self, service: Service, **attributes: Any) -> None:
        super().__init__(name=service.command, **attributes)
        self._service = service
        if not self.help:
            self.help = comments.of_service(service.descriptor)

    def _methods(self) -> dict[str, MethodDescriptor]:
        return {kebab(method.name): method for method in self._service.descriptor.methods}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the methods' commands in the order of the contract."""
        return list(self._methods())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of a method."""
        method = self._methods().get(cmd_name)
        return None if method is None else with_global_options(command_of(self._service.command, method))


def command_of(service: str, method: MethodDescriptor) -> click.Command:
    """Return the command that calls a method."""
    positional = next((field for field in method.input_type.fields if field.name in {"name", "parent"}), None)

    @output_option()
    @click.option("--all", "every", is_flag=True, help="Follow a list to its end whatever the page size.")
    def callback(*, output: str, every: bool = False, **given: Any) -> None:
        if positional is not None:
            resource = given.pop("resource", None)
            key = f"field__{positional.name}"
            given[key] = given.get(key) or resource
        request = build(message_factory.GetMessageClass(method.input_type), given)
        session = click.get_current_context().find_object(GlobalOptions) or GlobalOptions()
        printer = Printer(output)

        async def call(client: HanseClient) -> None:
            stub = getattr(getattr(client, service), method.name)
            if method.server_streaming:
                async for message in stub(request):
                    printer.event(message)
            elif _is_list(method):
                await _list(stub, request, printer, every=every)
            else:
                printer.message(await stub(request))

        try:
            run(session, call)
        except KeyboardInterrupt:
            if not method.server_streaming:
                raise

    arguments: list[click.Parameter] = []
    if positional is not None:
        complete = complete_cluster_names if _names_cluster(positional) else None
        metavar = f"[{positional.name.upper()}]"
        arguments = [click.Argument(["resource"], required=False, metavar=metavar, shell_complete=complete)]
    flags = options_of(method.input_type)
    extra: list[click.Parameter] = list(getattr(callback, "__click_params__", []))
    if not _is_list(method):
        extra = [parameter for parameter in extra if parameter.name != "every"]
    return click.Command(
        kebab(method.name),
        params=[*arguments, *flags, *reversed(extra)],
        callback=callback,
        help=comments.of_method(method),
    )


def _names_cluster(field: FieldDescriptor) -> bool:
    options: Any = field.GetOptions()
    return str(options.Extensions[resource_pb2.resource_reference].type) == "hanse.dev/Cluster"


def _is_list(method: MethodDescriptor) -> bool:
    names = {field.name for field in method.output_type.fields}
    asks = {field.name for field in method.input_type.fields}
    return "next_page_token" in names and "page_token" in asks


async def _list(stub: Any, request: Any, printer: Printer, *, every: bool) -> None:
    """Call a list method; follow the pages unless one page was asked for."""
    one_page = bool(request.page_size or request.page_token) and not every
    answer = await stub(request)
    while answer.next_page_token and not one_page:
        request.page_token = answer.next_page_token
        page = await stub(request)
        _extend(answer, page)
    if answer.next_page_token and not printer.structured:
        printer.message(answer)
        click.echo(f"more with --page-token {answer.next_page_token}", err=True)
        return
    printer.message(answer)


def _extend(answer: Any, page: Message) -> None:
    """Append the items of `page` to `answer`."""
    field = list_field(answer)
    if field is not None:
        getattr(answer, field.name).extend(getattr(page, field.name))
    answer.next_page_token = getattr(page, "next_page_token")  # noqa: B009


__all__ = ["SERVICES", "Service", "ServiceGroup", "command_of", "flags_of", "kebab"]
