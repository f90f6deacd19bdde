"""DnsService: what is served, for people and programs that would rather ask over gRPC.

All answers come from the zone that is served (`hanse_dns.serving.answering`); nothing here writes. One loop.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from hanse.api.dns.v1 import dns_service_pb2, dns_service_pb2_grpc, record_set_pb2
from hanse.errors import InvalidArgumentError, NotFoundError
from hanse.rpc.lists.query import ListQuery
from hanse.rpc.policy import Policy, group
from hanse.rpc.watch import responses
from hanse.security.auth import VIEWERS
from hanse.store.history.logged import CollectionHistory
from hanse_dns.serving.answering import Answering, Stored

POLICY = Policy({"hanse.api.dns.v1.DnsService/*": [group(VIEWERS)]})
"""Who wants to know a name asks the name server; the list of all is for viewers."""


class DnsServicer(dns_service_pb2_grpc.DnsServiceServicer):
    """Serves DnsService for the one zone of the federation."""

    def __init__(self, answering: Answering, *, server: str) -> None:
        """`server` is the name server's host:port."""
        self._answering = answering
        self._server = server
        self._history = CollectionHistory(answering.records, lambda value, _: value)
        self._zone_name = f"zones/{answering.zone_name}"

    async def GetZone(self, request: dns_service_pb2.GetZoneRequest, context: Any) -> record_set_pb2.Zone:
        """Return the zone, if it is named. Raises NotFoundError."""
        self._check_zone(request.name)
        return self._zone()

    async def ListZones(
        self, request: dns_service_pb2.ListZonesRequest, context: Any
    ) -> dns_service_pb2.ListZonesResponse:
        """Return the zones, of which there is one."""
        query = ListQuery.of(request, record_set_pb2.Zone.DESCRIPTOR)
        page = query.page([(self._zone_name, self._zone())], revision=self._answering.records.revision)
        return dns_service_pb2.ListZonesResponse(zones=page.items, next_page_token=page.next_page_token)

    async def GetRecordSet(
        self, request: dns_service_pb2.GetRecordSetRequest, context: Any
    ) -> record_set_pb2.RecordSet:
        """Return one record set. Raises NotFoundError."""
        parent, separator, fqdn = request.name.partition("/recordSets/")
        if not separator or not fqdn:
            raise InvalidArgumentError(
                f"name {request.name!r} is not of the form zones/ZONE/recordSets/FQDN",
                metadata={"field": "name"},
            )
        self._check_zone(parent)
        found = self._answering.record_set(fqdn)
        if found is None:
            raise NotFoundError(
                f"zone {self._answering.zone_name} has no record set {fqdn}", metadata={"name": request.name}
            )
        return found

    async def ListRecordSets(
        self, request: dns_service_pb2.ListRecordSetsRequest, context: Any
    ) -> dns_service_pb2.ListRecordSetsResponse:
        """Return a page of record sets, of those that the filter chooses."""
        self._check_zone(request.parent, field="parent")
        query = ListQuery.of(request, record_set_pb2.RecordSet.DESCRIPTOR)
        page = query.page(self._answering.record_sets(), revision=self._answering.records.revision)
        return dns_service_pb2.ListRecordSetsResponse(
            record_sets=page.items, next_page_token=page.next_page_token, revision=page.revision
        )

    async def WatchRecordSets(
        self, request: dns_service_pb2.WatchRecordSetsRequest, context: Any
    ) -> AsyncIterator[dns_service_pb2.WatchRecordSetsResponse]:
        """Yield the record sets as they are, then every change."""

        def selected(_: str, value: Stored) -> bool:
            return isinstance(value, record_set_pb2.RecordSet)

        def put(response: dns_service_pb2.WatchRecordSetsResponse, value: Stored) -> None:
            if isinstance(value, record_set_pb2.RecordSet):
                response.record_set.CopyFrom(value)

        def gone(response: dns_service_pb2.WatchRecordSetsResponse, _: str, value: Stored | None) -> None:
            if value is not None:
                response.record_set.name = value.name

        told = responses(
            self._history,
            request.revision,
            dns_service_pb2.WatchRecordSetsResponse,
            put=put,
            gone=gone,
            select=selected,
        )
        async with aclosing(told):
            async for response in told:
                yield response

    async def Resolve(
        self, request: dns_service_pb2.ResolveRequest, context: Any
    ) -> dns_service_pb2.ResolveResponse:
        """Return the name server's own answer. Raises InvalidArgumentError for what is no name or no type."""
        origin = dns.name.from_text(f"{self._answering.zone_name}.")
        try:
            name = dns.name.from_text(request.fqdn, origin=None if request.fqdn.endswith(".") else origin)
            if not request.fqdn.endswith(".") and request.fqdn.endswith(self._answering.zone_name):
                name = dns.name.from_text(f"{request.fqdn}.")
            kind = dns.rdatatype.from_text(request.type or "A")
        except (dns.exception.DNSException, UnicodeError, ValueError) as error:
            raise InvalidArgumentError(
                f"cannot ask for {request.fqdn!r} {request.type}: {error}",
                metadata={"fqdn": request.fqdn, "type": request.type},
            ) from error
        query = dns.message.make_query(name, kind)
        wire = self._answering.respond(query.to_wire(), True)
        if wire is None:
            raise InvalidArgumentError(
                f"the name server does not answer questions for {request.fqdn!r}",
                metadata={"fqdn": request.fqdn},
            )
        reply = dns.message.from_wire(wire)
        response = dns_service_pb2.ResolveResponse(
            rcode=dns.rcode.to_text(reply.rcode()),
            answers=[line for group in reply.answer for line in group.to_text().splitlines()],
        )
        found = self._answering.record_set(name.to_text())
        if found is not None:
            response.record_set.CopyFrom(found)
        return response

    def _zone(self) -> record_set_pb2.Zone:
        stored = self._answering.stored_zone
        return record_set_pb2.Zone(
            create_time=stored.create_time if stored is not None and stored.HasField("create_time") else None,
            update_time=stored.update_time if stored is not None and stored.HasField("update_time") else None,
            name=self._zone_name,
            origin=f"{self._answering.zone_name}.",
            serial=self._answering.serial,
            record_sets=len(self._answering.record_sets()),
            server=self._server,
        )

    def _check_zone(self, name: str, *, field: str = "name") -> None:
        collection, _, zone = name.partition("/")
        if collection != "zones" or not zone or "/" in zone:
            raise InvalidArgumentError(
                f"{field} {name!r} is not of the form zones/ZONE", metadata={"field": field}
            )
        if name != self._zone_name:
            raise NotFoundError(
                f"there is no zone {name!r}; this federation serves {self._zone_name}",
                metadata={field: name, "zone": self._zone_name},
            )
