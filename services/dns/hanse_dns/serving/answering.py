"""Answers from what is stored: every dns service, leader or not, serves the same zone.

Owns `Answering`, which follows the stored record sets into a `CompiledZone` and answers from it. A lost etcd
changes nothing: the last known zone goes on being served. Before the zone was read once, the answer is
SERVFAIL, so that a resolver asks another name server. One loop; a stored transaction shows as one change.
`hanse_dns.serving.responder` is next.
"""

from __future__ import annotations

import dns.exception
import dns.rcode
from opentelemetry import metrics

from hanse.api.dns.v1 import record_set_pb2
from hanse.boundary import Boundary
from hanse.process.telemetry import get_logger
from hanse.store import Collection, Follower, KeyValue, Store, keys
from hanse.store.decoding import decode
from hanse_dns.journal import APEX, stored_record
from hanse_dns.serving.answers import CompiledZone, Name
from hanse_dns.serving.responder import SERVFAIL, Guard, failure, respond

_log = get_logger(__name__)

Stored = record_set_pb2.RecordSet | record_set_pb2.Zone


class Answering:
    """The zone as it is served."""

    def __init__(
        self,
        store: Store,
        *,
        zone: str,
        name_server: str,
        address: str,
        negative_ttl: int,
        guard: Guard | None = None,
    ) -> None:
        """`name_server` may be relative to `zone`; `address` is where it is reached. TTL in seconds. `guard`
        says which clients are answered; without one all are."""
        self._guard = guard
        self.zone_name = zone
        self.records: Collection[Stored] = Collection(f"{keys.RECORDS}/{zone}/", self._decode)
        self.records.subscribe(self._changed)
        self.follower = Follower(store, self.records)
        origin = f"{zone}."
        server = name_server if name_server.endswith(".") else f"{name_server}.{origin}"
        self._apex = keys.record(zone, APEX)
        self._zone = CompiledZone(
            origin=origin, serial=1, name_servers=[(server, address)], negative_ttl=negative_ttl
        )
        self._turn = 0
        self._boundary = Boundary("dns answers")
        self._questions = metrics.get_meter("hanse").create_counter(
            "hanse.dns.questions", unit="{question}", description="Questions answered, by response code."
        )
        self._attributes = {
            code: {"dns.rcode": dns.rcode.to_text(dns.rcode.Rcode(code))} for code in range(24)
        }

    @property
    def serial(self) -> int:
        """The serial of the zone as it is served."""
        return self._zone.serial

    @property
    def stored_zone(self) -> record_set_pb2.Zone | None:
        """The zone as the leader has stored it; None before it had a name."""
        found = self.records.get(self._apex)
        return found if isinstance(found, record_set_pb2.Zone) else None

    def record_sets(self) -> list[tuple[str, record_set_pb2.RecordSet]]:
        """Return what is served, by key."""
        found = ((key, value) for key, value in self.records.items())
        return sorted((key, value) for key, value in found if isinstance(value, record_set_pb2.RecordSet))

    def record_set(self, fqdn: str) -> record_set_pb2.RecordSet | None:
        """Return the record set of a name, given with or without the dot at its end."""
        found = self.records.get(f"{keys.RECORDS}/{self.zone_name}/{fqdn.rstrip('.').lower()}")
        return found if isinstance(found, record_set_pb2.RecordSet) else None

    def respond(self, message: bytes, tcp: bool, client: str = "") -> bytes | None:
        """Return the response to a DNS message from an address, or None where none may be sent.

        Without `client` it is the service's own question.
        """
        self._turn += 1
        zone = self._zone if self.records.revision else None
        guard = self._guard if client else None
        try:
            response, code = respond(message, zone, turn=self._turn, tcp=tcp, client=client, guard=guard)
        except Exception as error:  # noqa: BLE001 - of this question; the next one is answered
            self._boundary.failed("question", error)
            response, code = failure(message), SERVFAIL
        if response is not None:
            self._questions.add(1, self._attributes.get(code, self._attributes[SERVFAIL]))
        return response

    def _decode(self, kv: KeyValue) -> Stored:
        if kv.key == self._apex:
            return decode(record_set_pb2.Zone, kv.value)
        found = stored_record(kv)
        found.revision = kv.mod_revision
        return found

    def _changed(self, key: str, old: Stored | None, new: Stored | None, revision: int) -> None:
        if isinstance(new, record_set_pb2.Zone):
            self._zone.set_serial(new.serial)
        elif isinstance(new, record_set_pb2.RecordSet):
            addresses = tuple(dict.fromkeys(endpoint.address for endpoint in new.endpoints))
            try:
                self._zone.put(Name(new.fqdn, addresses, new.ttl))
            except (dns.exception.DNSException, ValueError) as error:  # of this name alone
                self._boundary.failed(new.fqdn, error)
                if isinstance(old, record_set_pb2.RecordSet):
                    self._zone.remove(old.fqdn)
        elif isinstance(old, record_set_pb2.RecordSet):
            self._zone.remove(old.fqdn)
