"""The dns service, wired: what `python -m hanse_dns` runs.

Owns `serve`: what the service is made of, and the order of its start. Concurrency: that of
`hanse.service.shell`. Next: `hanse_dns.controller`.
"""

from __future__ import annotations

from hanse.api.dns.v1.dns_service_pb2_grpc import add_DnsServiceServicer_to_server
from hanse.control.leading import observe_leading
from hanse.process.settings import split_address
from hanse.service.shell import ServiceShell
from hanse_dns.controller import ELECTION, Compilation, Compiler
from hanse_dns.service import POLICY, DnsServicer
from hanse_dns.serving.answering import Answering
from hanse_dns.serving.guarding import Guarding
from hanse_dns.serving.server import NameServer
from hanse_dns.settings import DnsSettings


async def serve(shell: ServiceShell[DnsSettings]) -> None:
    """Serve names until told to stop."""
    settings = shell.settings
    store = await shell.connect_store()
    host, port = split_address(settings.dns_listen, setting="dns_listen")
    answering = Answering(
        store,
        zone=settings.dns_suffix,
        name_server=settings.dns_name_server,
        address=settings.address,
        negative_ttl=settings.dns_negative_ttl,
        guard=Guarding(settings),
    )
    compilation = Compilation(store, settings)
    compiler = Compiler(store=store, settings=settings, compilation=compilation, identity=shell.identity)
    observe_leading(shell.telemetry.meter, ELECTION, lambda: compiler.leads)
    names = NameServer(
        answering.respond,
        host=host,
        port=port,
        connections=settings.dns_tcp_connections,
        connections_per_client=settings.dns_tcp_connections_per_client,
    )
    await shell.enter(answering.follower)
    await shell.enter(names)
    await answering.follower.synced()
    shell.start(answering.follower.failed(), name="names")
    shell.start(compilation.follower.run(), name="state of the compiler")
    shell.start(compiler.run(), name="compiler")
    address = f"{host}:{names.port}"
    servicer = DnsServicer(answering, server=address)
    server = await shell.serve(add_DnsServiceServicer_to_server, servicer, policy=POLICY)
    await shell.until_stopped({"grpc": server.address, "dns": address})
