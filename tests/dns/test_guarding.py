"""Who is answered, how often and with what proof: rates and cookies, judged by dnspython."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest
from hanse_dns.serving.answers import Name
from hanse_dns.serving.cookies import Cookies, FileSecrets, RandomSecrets
from hanse_dns.serving.guarding import Guarding
from hanse_dns.serving.ratelimit import RateLimiter, Verdict, network_of
from hanse_dns.serving.responder import respond
from hanse_dns.settings import DnsSettings
from hypothesis import given
from hypothesis import strategies as st

from hanse.errors import ConfigError
from tests.dns.zones import compile_zone

WEB = "web.shop.hanse.svc.example.org."
ZONE = compile_zone(
    origin="example.org.",
    serial=1,
    names=[Name(WEB, ("127.0.1.1",), 30), Name(f"x{WEB}", ("127.0.1.2",), 30)],
    name_servers=[("ns.example.org.", "127.0.0.1")],
    negative_ttl=5,
)
CLIENT = "198.51.100.100"
# RFC 9018 appendix A.1
SECRET = bytes.fromhex("e5e973e5a6b2a43f48e7dc849e37bfcf")
CLIENT_COOKIE = bytes.fromhex("2464c4abcf10c957")
COOKIE = bytes.fromhex("2464c4abcf10c957010000005cf79f111f8130c3eee29480")
MADE = 1559731985


@dataclass
class Server:
    """The responder behind its guard, at a time that the test sets."""

    settings: DnsSettings = field(default_factory=lambda: DnsSettings(dns_rate_limit=5))
    now: float = 1000.0

    def __post_init__(self) -> None:
        self.guard = Guarding(self.settings, clock=lambda: self.now, monotonic=lambda: self.now)

    def ask(
        self,
        name: str = WEB,
        kind: str = "A",
        *,
        client: str = CLIENT,
        tcp: bool = False,
        cookie: bytes = b"",
    ) -> dns.message.Message | None:
        """What it answers, parsed; None for nothing."""
        sent = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, cookie)
        options: list[dns.edns.Option] = [sent] if cookie else []
        query = dns.message.make_query(name, kind, use_edns=0 if cookie else False, options=options)
        return self.send(query.to_wire(), client=client, tcp=tcp)

    def send(self, wire: bytes, *, client: str = CLIENT, tcp: bool = False) -> dns.message.Message | None:
        """The same for bytes."""
        reply, _ = respond(wire, ZONE, turn=0, tcp=tcp, client=client, guard=self.guard)
        return dns.message.from_wire(reply) if reply is not None else None


def cookie_of(reply: dns.message.Message | None) -> bytes:
    """The cookie in a response."""
    assert reply is not None
    (option,) = [each for each in reply.options if each.otype == dns.edns.OptionType.COOKIE]
    return bytes(option.to_wire() or b"")


def shapes(server: Server, count: int, **how: str) -> list[str]:
    """What becomes of so many of the same questions."""
    replies = [server.ask(**how) for _ in range(count)]  # type: ignore[arg-type]
    return ["-" if r is None else "short" if r.flags & dns.flags.TC else "whole" for r in replies]


def test_over_the_rate_every_second_response_says_ask_over_tcp() -> None:
    """The others are not sent; a second later, as many as a second allows are."""
    server = Server()
    assert shapes(server, 9) == ["whole"] * 5 + ["-", "short", "-", "short"]
    short = [server.ask() for _ in range(2)][1]
    assert short is not None
    assert not short.answer
    assert server.ask(tcp=True) is not None
    server.now += 100
    assert shapes(server, 5) == ["whole"] * 5


def test_a_flood_is_paid_for_with_silence_and_no_more_than_the_window() -> None:
    """Who asked for a thousand waits; who asked for a million waits no longer."""
    server = Server()
    shapes(server, 1000)
    server.now += 10
    assert "whole" not in shapes(server, 1)
    server.now += 16
    assert shapes(server, 1) == ["whole"]


def test_networks_do_not_pay_for_each_other_and_their_addresses_do() -> None:
    """A victim's network is one: a /24, a /56."""
    server = Server()
    shapes(server, 50)
    assert shapes(server, 1, client="198.51.100.7") == ["-"] or shapes(server, 1, client="198.51.100.7") == [
        "-"
    ]
    assert shapes(server, 1, client="198.51.101.7") == ["whole"]
    shapes(server, 50, client="2001:db8:0:12::1")
    assert "whole" not in shapes(server, 2, client="2001:db8:0:13::1")
    assert shapes(server, 1, client="2001:db8:0:112::1") == ["whole"]


@pytest.mark.parametrize(
    ("first", "second", "one"),
    [
        ((WEB, "A"), (f"x{WEB}", "A"), False),
        ((WEB, "A"), (WEB.upper(), "A"), True),
        ((f"r1.{WEB}", "A"), (f"r2.{WEB}", "AAAA"), True),
        (("a.example.com.", "A"), ("b.example.net.", "TXT"), True),
        ((WEB, "AAAA"), (WEB, "TXT"), True),
    ],
    ids=["two names", "one name spelled twice", "names that are not there", "refusals", "no such type"],
)
def test_responses_that_say_the_same_count_together(
    first: tuple[str, str], second: tuple[str, str], one: bool
) -> None:
    """So that random names and types get nobody more."""
    server = Server()
    for _ in range(30):
        server.ask(*first)
    found = [server.ask(*second) for _ in range(2)]
    whole = [each for each in found if each is not None and not each.flags & dns.flags.TC]
    assert len(whole) == (0 if one else 2)


def test_a_network_has_a_rate_in_all() -> None:
    """However many names it asks for."""
    limiter = RateLimiter(rate=5, slip=0)
    sent = [limiter.judge(CLIENT, number, now=0.0) is Verdict.SEND for number in range(100)]
    assert sum(sent) == 50


def test_the_counts_stay_few_and_exempt_networks_are_not_counted() -> None:
    """A flood from everywhere fills no memory."""
    limiter = RateLimiter(rate=5, slip=2, entries=100, exempt=[ipaddress.ip_network("10.0.0.0/8")])
    for number in range(10_000):
        limiter.judge(f"192.0.{number % 250}.1", number, now=0.0)
    assert len(limiter) <= 100
    assert all(limiter.judge("10.1.2.3", "a", now=0.0) is Verdict.SEND for _ in range(100))


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(0, 2)), max_size=80), st.integers(0, 3))
def test_never_more_than_the_rate_is_sent(steps: list[tuple[float, int]], slip: int) -> None:
    """In any stretch of time, besides what a second of silence before it allows."""
    limiter = RateLimiter(rate=4, slip=slip)
    now = 0.0
    sent: list[float] = []
    for wait, kind in steps:
        now += wait if kind == 0 else 0.0
        if limiter.judge(CLIENT, "same", now=now) is Verdict.SEND:
            sent.append(now)
    for first in range(len(sent)):
        assert len(sent) - first <= 4 * (now - sent[first]) + 4 + 1e-6


def test_a_good_cookie_is_not_limited_and_a_made_up_one_is() -> None:
    """It came back from the address that it was sent to."""
    server = Server()
    given_ = cookie_of(server.ask(cookie=CLIENT_COOKIE))
    assert given_.startswith(CLIENT_COOKIE)
    assert len(given_) == 24
    for _ in range(50):
        reply = server.ask(cookie=given_)
        assert reply is not None
        assert reply.answer
        assert cookie_of(reply) == given_
    shapes(server, 50)
    for wrong in (
        given_[:-1] + bytes([given_[-1] ^ 1]),
        given_[:8] + b"\x02" + given_[9:],
        given_ + b"12345678",
    ):
        replies = [server.ask(cookie=wrong) for _ in range(2)]
        (short,) = [each for each in replies if each is not None]
        assert short.rcode() == dns.rcode.BADCOOKIE
        assert not short.answer
        again = server.ask(cookie=cookie_of(short))
        assert again is not None
        assert again.answer
    (other,) = [r for r in (server.ask(cookie=given_, client="198.51.100.7") for _ in range(2)) if r]
    assert other.rcode() == dns.rcode.BADCOOKIE


def test_the_cookie_is_that_of_the_standard() -> None:
    """RFC 9018 appendix A.1: servers of other makers that share the secret make the same."""
    cookies = Cookies(lambda now: [SECRET])
    assert cookies.check(CLIENT_COOKIE, CLIENT, now=MADE) == (COOKIE, False)
    assert cookies.check(COOKIE, CLIENT, now=MADE + 60) == (COOKIE, True)


@pytest.mark.parametrize(
    ("age", "good", "renewed"),
    [(0, True, False), (1800, True, False), (1801, True, True), (3600, True, True), (3601, False, True),
     (-300, True, False), (-301, False, True)],
)  # fmt: skip
def test_a_cookie_is_good_for_an_hour(age: int, good: bool, renewed: bool) -> None:
    """And renewed after half of it; clocks may differ by five minutes."""
    answer, known = Cookies(lambda now: [SECRET]).check(COOKIE, CLIENT, now=MADE + age)
    assert known == good
    assert (answer != COOKIE) == renewed


def test_secrets_change_every_day_and_the_one_before_stays_good() -> None:
    """So that no client notices."""
    secrets = RandomSecrets()
    cookies = Cookies(secrets)
    day = 86_400
    secrets(0.0)
    first, _ = cookies.check(CLIENT_COOKIE, CLIENT, now=day - 60)
    renewed, known = cookies.check(first, CLIENT, now=day + 1)
    assert known
    assert renewed != first
    assert cookies.check(renewed, CLIENT, now=day + 2) == (renewed, True)
    assert len(secrets(3 * day + 3.0)) == 2


def test_secrets_of_a_file_are_shared_and_followed(tmp_path: Path) -> None:
    """A new first line makes cookies, the others stay good; a broken file keeps the last good ones."""
    file = tmp_path / "secrets"
    file.write_text(f"{SECRET.hex()}\n")
    secrets = FileSecrets(file)
    assert secrets(100.0) == [SECRET]
    for number, (text, expected) in enumerate(
        [(f"{'ab' * 16}\n{SECRET.hex()}\n", [b"\xab" * 16, SECRET]), ("nonsense", [b"\xab" * 16, SECRET])]
    ):
        file.write_text(text)
        os.utime(file, ns=(number, number))
        assert secrets(200.0 + number * 100) == expected
    with pytest.raises(ConfigError, match="dns_cookie_secret_file"):
        FileSecrets(file)


def test_a_question_for_nothing_gets_a_cookie_and_half_a_cookie_is_malformed() -> None:
    """RFC 7873 sections 5.4 and 5.2.2."""
    server = Server()
    ping = dns.message.Message()
    ping.use_edns(0, options=[dns.edns.GenericOption(dns.edns.OptionType.COOKIE, CLIENT_COOKIE)])
    reply = server.send(ping.to_wire())
    assert reply is not None
    assert reply.rcode() == dns.rcode.NOERROR
    assert len(cookie_of(reply)) == 24
    half = dns.message.make_query(WEB, "A", use_edns=0)
    wire = half.to_wire()[:-2] + b"\x00\x0d\x00\x0a\x00\x09" + b"123456789"
    refused = server.send(wire)
    assert refused is not None
    assert refused.rcode() == dns.rcode.FORMERR


@given(st.text(max_size=30))
def test_whatever_an_address_looks_like_has_a_network(text: str) -> None:
    """No address raises; IPv4 in IPv6 is IPv4; zones of links do not count."""
    network_of(text)
    assert network_of("::ffff:192.0.2.1") == network_of("192.0.2.9")
    assert network_of("fe80::1%eth0") == network_of("fe80::2")
