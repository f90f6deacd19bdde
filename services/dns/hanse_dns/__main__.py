"""Runs the dns service: only wires."""

from __future__ import annotations

import asyncio
import os
import socket
import sys

from hanse.api.dns.v1.dns_service_pb2_grpc import add_DnsServiceServicer_to_server
from hanse.control.leading import observe_leading
from hanse.process.settings import split_address
from hanse.rpc import RpcServer
from hanse.security.revocation import DenyList
from hanse.service.runtime import Runtime, run
from hanse.store import EtcdStore
from hanse_dns.controller import ELECTION, Compilation, Compiler
from hanse_dns.service import POLICY, DnsServicer
from hanse_dns.serving.answering import Answering
from hanse_dns.serving.guarding import Guarding
from hanse_dns.serving.server import NameServer
from hanse_dns.settings import DnsSettings


async def serve(runtime: Runtime[DnsSettings]) -> None:
    """Serves names until told to stop."""
    settings = runtime.settings
    store = await EtcdStore.connect(
        settings.etcd_endpoints, prefix=settings.etcd_prefix, tls=settings.etcd_tls
    )
    runtime.follow_fullness(store)
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
    identity = f"{socket.gethostname()}-{os.getpid()}"
    compiler = Compiler(store=store, settings=settings, compilation=compilation, identity=identity)
    observe_leading(runtime.telemetry.meter, ELECTION, lambda: compiler.leads)
    names = NameServer(
        answering.respond,
        host=host,
        port=port,
        connections=settings.dns_tcp_connections,
        connections_per_client=settings.dns_tcp_connections_per_client,
    )
    async with answering.follower, names:
        await answering.follower.synced()
        runtime.tasks.create_task(answering.follower.failed())
        work = [runtime.tasks.create_task(each.run()) for each in (compilation.follower, compiler)]
        rpc = RpcServer(
            listen=settings.listen,
            tls=settings.tls,
            policy=POLICY,
            telemetry=runtime.telemetry,
            health=runtime.health,
            deny_list=DenyList(settings.deny_list_file, authorities=[settings.tls_ca]),
        )
        address = f"{host}:{names.port}"
        rpc.add(add_DnsServiceServicer_to_server, DnsServicer(answering, server=address))
        async with rpc:
            runtime.ready({"grpc": rpc.address, "dns": address})
            await runtime.stopping.wait()
        for task in work:
            task.cancel()
        await asyncio.wait(work)  # they use the store to their end
    await store.close()


if __name__ == "__main__":
    sys.exit(run("dns", DnsSettings, serve))
