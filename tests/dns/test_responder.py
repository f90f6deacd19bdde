"""The name server's answers, judged by dnspython."""

from __future__ import annotations

import random

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import pytest
from hanse_dns.serving.answers import CompiledZone, Name
from hanse_dns.serving.responder import respond
from hanse_dns.settings import DnsSettings
from hypothesis import given
from hypothesis import strategies as st

from hanse.errors import ConfigError
from tests.dns.zones import compile_zone

WEB = "web.shop.hanse.svc.example.org."


def zone(count: int = 2) -> CompiledZone:
    """A zone with a Service of `count` addresses, one of none, and one behind a host name."""
    return compile_zone(
        origin="example.org.",
        serial=7,
        names=[
            Name(WEB, tuple(f"127.0.{i // 250}.{i % 250 + 1}" for i in range(count)), 30),
            Name("none.shop.hanse.svc.example.org.", (), 30),
            Name("six.shop.hanse.svc.example.org.", ("2001:db8::1",), 30),
            Name("host.shop.hanse.svc.example.org.", ("lb.cloud.example",), 30),
        ],
        name_servers=[("ns.example.org.", "127.0.0.53")],
        negative_ttl=5,
    )


def ask(
    name: str, kind: str = "A", *, count: int = 2, turn: int = 0, tcp: bool = False, edns: int = -1
) -> dns.message.Message:
    """What the responder says, parsed."""
    query = dns.message.make_query(name, kind, use_edns=edns if edns >= 0 else False, payload=1232)
    reply, _ = respond(query.to_wire(), zone(count), turn=turn, tcp=tcp)
    assert reply is not None
    message = dns.message.from_wire(reply)
    assert query.is_response(message)
    return message


def test_addresses_are_answered_with_authority() -> None:
    """All addresses of the name, marked authoritative, no recursion offered."""
    reply = ask(WEB)
    assert reply.rcode() == dns.rcode.NOERROR
    assert reply.flags & dns.flags.AA
    assert not reply.flags & dns.flags.RA
    (answer,) = reply.answer
    assert (str(answer.name), answer.ttl) == (WEB, 30)
    assert sorted(item.to_text() for item in answer) == ["127.0.0.1", "127.0.0.2"]


def test_the_order_of_addresses_takes_turns() -> None:
    """Resolvers that take the first address are spread over all of them."""
    first = [next(iter(ask(WEB, count=3, turn=turn).answer[0])).to_text() for turn in range(4)]
    assert first == ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.1"]


def test_the_question_comes_back_as_it_was_spelled() -> None:
    """Resolvers that mix upper and lower case (0x20) recognise their question."""
    name = "wEb.Shop.hanse.SVC.example.ORG."
    query = dns.message.make_query(name, "A")
    reply, _ = respond(query.to_wire(), zone(), turn=0, tcp=False)
    assert reply is not None
    assert query.to_wire()[12:] in reply
    assert dns.message.from_wire(reply).answer


def test_a_missing_name_is_nxdomain_with_soa() -> None:
    """The SOA's TTL says how long the absence may be remembered."""
    reply = ask("nobody.shop.hanse.svc.example.org.")
    assert reply.rcode() == dns.rcode.NXDOMAIN
    (soa,) = reply.authority
    assert (soa.rdtype, soa.ttl, str(soa.name)) == (dns.rdatatype.SOA, 5, "example.org.")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (WEB, "AAAA"),
        ("six.shop.hanse.svc.example.org.", "A"),
        ("none.shop.hanse.svc.example.org.", "A"),
        ("svc.example.org.", "A"),
        ("hanse.svc.example.org.", "TXT"),
        ("example.org.", "A"),
    ],
)
def test_a_name_without_the_type_is_nodata_with_soa(name: str, kind: str) -> None:
    """It exists, so it is not NXDOMAIN: other types, names below it, a Service without healthy addresses."""
    reply = ask(name, kind)
    assert reply.rcode() == dns.rcode.NOERROR
    assert not reply.answer
    assert [group.rdtype for group in reply.authority] == [dns.rdatatype.SOA]


def test_the_apex_has_soa_and_ns() -> None:
    """As every zone must; the name server below the zone has its address."""
    (soa,) = ask("example.org.", "SOA").answer
    assert next(iter(soa)).serial == 7
    assert ask("example.org.", "NS").answer[0][0].to_text() == "ns.example.org."
    assert ask("ns.example.org.").answer[0][0].to_text() == "127.0.0.53"


def test_a_host_name_is_answered_with_cname_for_every_type() -> None:
    """Load balancers that only have a name are aliases."""
    for kind in ("A", "AAAA", "CNAME"):
        (alias,) = ask("host.shop.hanse.svc.example.org.", kind).answer
        assert alias[0].to_text() == "lb.cloud.example."


def test_other_zones_are_refused() -> None:
    """The server is authoritative for its suffix and nothing else, whatever the name ends in."""
    for name in ("example.com.", "badexample.org.", "org.", "."):
        reply = ask(name)
        assert reply.rcode() == dns.rcode.REFUSED
        assert not reply.flags & dns.flags.AA


def test_an_answer_that_does_not_fit_is_truncated_over_udp_and_whole_over_tcp() -> None:
    """512 bytes without EDNS, 1232 with it, 64 KiB over TCP."""
    assert ask(WEB, count=28).flags & dns.flags.TC == 0
    assert ask(WEB, count=40).flags & dns.flags.TC
    assert not ask(WEB, count=40).answer
    assert ask(WEB, count=40, edns=0).flags & dns.flags.TC == 0
    assert ask(WEB, count=100, edns=0).flags & dns.flags.TC
    assert len(ask(WEB, count=1000, tcp=True).answer[0]) == 1000


def test_edns_is_answered_with_edns_and_only_then() -> None:
    """Version 0 is spoken; higher ones get BADVERS."""
    assert ask(WEB).edns == -1
    assert ask(WEB, edns=0).edns == 0
    assert ask(WEB, edns=1).rcode() == dns.rcode.BADVERS


def test_any_gets_one_record_group() -> None:
    """RFC 8482: no amplification."""
    assert len(ask(WEB, "ANY", count=30).answer[0]) == 1
    assert ask("svc.example.org.", "ANY").answer[0].rdtype == dns.rdatatype.HINFO


def test_other_classes_transfers_and_opcodes_are_turned_down() -> None:
    """REFUSED for classes and transfers, NOTIMP for other opcodes."""
    chaos = dns.message.make_query("version.bind.", "TXT", dns.rdataclass.CH)
    update = dns.message.make_query("example.org.", "SOA")
    update.set_opcode(dns.opcode.NOTIFY)
    for query, code in ((chaos, dns.rcode.REFUSED), (update, dns.rcode.NOTIMP)):
        reply, _ = respond(query.to_wire(), zone(), turn=0, tcp=False)
        assert reply is not None
        assert dns.message.from_wire(reply, ignore_trailing=True).rcode() == code
    assert ask("example.org.", "AXFR", tcp=True).rcode() == dns.rcode.REFUSED


def test_before_the_zone_is_known_the_answer_is_servfail() -> None:
    """A resolver then asks another name server instead of believing that nothing exists."""
    reply, code = respond(dns.message.make_query(WEB, "A").to_wire(), None, turn=0, tcp=False)
    assert code == dns.rcode.SERVFAIL
    assert reply is not None


def test_responses_and_fragments_get_no_answer() -> None:
    """So that two servers never talk to each other for ever."""
    answer = dns.message.make_response(dns.message.make_query(WEB, "A")).to_wire()
    assert respond(answer, zone(), turn=0, tcp=False)[0] is None
    assert respond(b"\x00\x01\x02", zone(), turn=0, tcp=False)[0] is None


@given(st.binary(max_size=80))
def test_garbage_is_answered_with_an_error_or_not_at_all(garbage: bytes) -> None:
    """No bytes raise, and what is sent can be parsed and echoes the id."""
    reply, _ = respond(garbage, ZONE, turn=0, tcp=False)
    if reply is not None:
        assert reply[:2] == garbage[:2]
        assert reply[2] & 0x80


@given(position=st.integers(0, 60), value=st.integers(0, 255))
def test_a_damaged_query_never_raises(position: int, value: int) -> None:
    """One wrong byte anywhere in a real question."""
    query = bytearray(dns.message.make_query(WEB, "A", use_edns=0).to_wire())
    query[position % len(query)] = value
    respond(bytes(query), ZONE, turn=0, tcp=False)


ZONE = zone()


def test_a_name_that_is_taken_out_takes_the_names_above_it_along() -> None:
    """What only existed for it is NXDOMAIN again; what others need stays."""
    whole = zone()
    whole.put(Name("web.shop.hanse.svc.a.eu.example.org.", ("127.0.0.9",), 30))
    assert rcode(whole, "a.eu.example.org.") == dns.rcode.NOERROR
    whole.remove("web.shop.hanse.svc.a.eu.example.org.")
    assert rcode(whole, "eu.example.org.") == dns.rcode.NXDOMAIN
    assert rcode(whole, "svc.example.org.") == dns.rcode.NOERROR
    assert whole.nodes.keys() == zone().nodes.keys()


labels = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4).map(
    lambda parts: ".".join([*parts, "example.org."])
)


@given(kept=st.sets(labels, max_size=6), gone=st.sets(labels, max_size=6), order=st.randoms())
def test_taking_names_out_leaves_what_never_having_them_gives(
    kept: set[str], gone: set[str], order: random.Random
) -> None:
    """In any order of adding and removing, the zone is that of the names that are left."""
    changed, plain = zone(0), zone(0)
    added = sorted(kept | gone)
    order.shuffle(added)
    for fqdn in added:
        changed.put(Name(fqdn, ("127.0.0.9",), 30))
    for fqdn in sorted(gone - kept, key=lambda _: order.random()):
        changed.remove(fqdn)
    for fqdn in kept:
        plain.put(Name(fqdn, ("127.0.0.9",), 30))
    assert changed.nodes == plain.nodes


def rcode(whole: CompiledZone, name: str) -> int:
    """The response code for the addresses of `name`."""
    return respond(dns.message.make_query(name, "A").to_wire(), whole, turn=0, tcp=False)[1]


@pytest.mark.parametrize(
    ("listen", "address", "expected"),
    [
        ("127.0.0.53:53", "", ["127.0.0.53"]),
        ("0.0.0.0:53", "", []),
        ("[::]:53", "", []),
        ("0.0.0.0:53", "192.0.2.7", ["192.0.2.7"]),
    ],
)
def test_the_name_server_has_the_address_at_which_it_is_reached(
    listen: str, address: str, expected: list[str]
) -> None:
    """The zone says where its name server is, and never that it is at 0.0.0.0."""
    settings = DnsSettings(dns_listen=listen, dns_address=address)
    settings.validate()
    zone = compile_zone(
        origin="example.org.",
        serial=1,
        names=[],
        name_servers=[("ns.example.org.", settings.address)],
        negative_ttl=5,
    )
    reply, _ = respond(dns.message.make_query("ns.example.org.", "A").to_wire(), zone, turn=0, tcp=False)
    assert reply is not None
    found = [item.to_text() for answer in dns.message.from_wire(reply).answer for item in answer]
    assert found == expected


def test_an_address_of_the_name_server_that_is_none_is_refused() -> None:
    """The setting dns_address takes IP addresses only."""
    with pytest.raises(ConfigError, match=r"dns_address is 'ns.example.org': it must be an IP address"):
        DnsSettings(dns_address="ns.example.org").validate()
