"""Host names of load balancers: resolved in time, and never lost to a resolver that is dead or lies."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import dns.rcode
import pytest
from hanse_dns.compiler import ClusterView, LeftOut, Presence, answered, compile_service
from hanse_dns.names import Naming
from hanse_dns.resolution import MAX_HOST_ADDRESSES, FamilyAnswer, Resolution, renewed, usable
from hanse_dns.resolving import AT_ONCE, HostNames
from hanse_dns.settings import DnsSettings
from hanse_dns.upstream import Upstream
from hypothesis import given
from hypothesis import strategies as st

from hanse.errors import ConfigError
from tests.dns.upstream import resolver
from tests.support.waiting import SECONDS

LB = "lb.example.net"
NONE = FamilyAnswer()

ANSWERS = st.one_of(
    st.builds(lambda problem: FamilyAnswer(problem=problem), st.sampled_from(["no resolver answers", "x"])),
    st.builds(
        FamilyAnswer,
        st.lists(st.sampled_from(["10.0.0.1", "10.0.0.2", "255.255.255.255", "127.0.0.1"]), max_size=3).map(
            tuple
        ),
        st.integers(0, 300),
    ),
)


@given(st.lists(st.tuples(ANSWERS, ANSWERS), max_size=12))
def test_only_addresses_replace_addresses(answers: list[tuple[FamilyAnswer, FamilyAnswer]]) -> None:
    """Whatever a resolver says, a host name that had addresses has some, and says if they are not fresh."""
    known = Resolution()
    for ipv4, ipv6 in answers:
        before, known = known, renewed(known, ipv4, ipv6)
        told = usable(ipv4.addresses) + usable(ipv6.addresses)
        assert bool(known.addresses) >= bool(before.addresses)
        if not told:
            assert known.addresses == before.addresses
            assert known.problem
        if ipv4.problem or (ipv4.addresses and not usable(ipv4.addresses)):
            assert known.ipv4 == before.ipv4
        elif told:
            assert known.ipv4 == usable(ipv4.addresses)


def test_a_family_that_is_not_known_is_no_trouble_of_the_other() -> None:
    """Resolvers that fail for AAAA alone are common; what was known of it stays, and is marked."""
    failed = FamilyAnswer(problem="the resolver fails")
    first = renewed(Resolution(), FamilyAnswer(("10.0.0.1",), 60), failed)
    assert (first.addresses, first.problem) == (("10.0.0.1",), "")
    both = renewed(first, FamilyAnswer(("10.0.0.1",), 20), FamilyAnswer(("2001:db8::1",), 30))
    assert (both.addresses, both.ttl) == (("10.0.0.1", "2001:db8::1"), 20)
    stale = renewed(both, FamilyAnswer(("10.0.0.2",), 60), failed)
    assert (stale.addresses, stale.problem) == (("10.0.0.2", "2001:db8::1"), "the resolver fails")


@pytest.mark.parametrize(
    ("address", "believed"),
    [
        ("10.1.2.3", True),
        ("192.168.0.1", True),
        ("100.64.0.1", True),
        ("203.0.113.7", True),
        ("fd00::1", True),
        ("2001:db8::1", True),
        ("0.0.0.0", False),  # noqa: S104 - by which a resolver blocks a name
        ("127.0.0.1", False),
        ("127.8.9.1", False),
        ("169.254.169.254", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("fe80::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
    ],
)
def test_where_clients_are_sent(address: str, believed: bool) -> None:
    """To a private address, as load balancers inside a network have; never to themselves or their neighbours,
    whatever a resolver says. That counts as no answer of its family."""
    assert usable([address]) == ((address,) if believed else ())
    family = FamilyAnswer((address,), 60)
    known = renewed(Resolution(("10.9.9.9",), ("2001:db8::9",), 60), family, family)
    assert (known.addresses == ("10.9.9.9", "2001:db8::9")) is not believed
    assert known.problem == ("" if believed else f"no client can be sent to {address}")
    other = renewed(Resolution(("10.9.9.9",), (), 60), family, FamilyAnswer(("2001:db8::7",), 60))
    assert other.ipv4 == ((address,) if believed else ("10.9.9.9",))
    assert other.ipv6 == ("2001:db8::7",)


def test_a_host_that_has_ipv6_alone_loses_its_old_ipv4_addresses() -> None:
    """That it has none any more is an answer; that nobody says so is none."""
    before = Resolution(("10.0.0.1",), ("2001:db8::1",), 60)
    assert renewed(before, NONE, FamilyAnswer(("2001:db8::1",), 60)).addresses == ("2001:db8::1",)
    assert renewed(before, NONE, NONE).addresses == before.addresses
    assert renewed(before, NONE, NONE).problem == "it has no address"


def test_of_an_answer_without_end_so_many_are_used() -> None:
    """The same ones each time, whatever the order in which they come."""
    many = [f"10.{n // 256}.{n % 256}.1" for n in range(5000)]
    found = renewed(Resolution(), FamilyAnswer(tuple(many), 60), NONE)
    assert len(found.ipv4) == MAX_HOST_ADDRESSES
    assert renewed(found, FamilyAnswer(tuple(reversed(many)), 60), NONE) == found


def test_a_ttl_that_a_cache_counts_down_is_the_longest_seen() -> None:
    """So that each question does not change the record; other addresses begin again."""
    known = renewed(Resolution(), FamilyAnswer(("10.0.0.1",), 60), NONE)
    known = renewed(known, FamilyAnswer(("10.0.0.1",), 7), NONE)
    assert known.ttl == 60
    assert renewed(known, FamilyAnswer(("10.0.0.9",), 7), NONE).ttl == 7


# Names.

EU, US, ASIA = (ClusterView(name, name, ("a",), reachable=True) for name in ("eu", "us", "asia"))
KNOWN = {
    LB: Resolution(("10.0.0.1", "10.0.0.2"), ttl=20),
    "old.example.net": Resolution(("10.9.9.9",), ttl=60, problem="no resolver answers"),
    "gone.example.net": Resolution(problem="there is no such name"),
}


def told(presences: dict[str, Presence], *clusters: ClusterView) -> tuple[list[str], list[str], int | None]:
    """The addresses of the global name, who is left out, and for how long."""
    records = compile_service(
        naming=Naming("hanse", "example.org"),
        namespace="shop",
        service="web",
        clusters=clusters or (EU, US),
        presences=presences,
        resolve=lambda host: KNOWN.get(host, Resolution(problem="it was not resolved yet")),
    )
    (record,) = [each for each in records if each.fqdn == "web.shop.hanse.svc.example.org."]
    return (
        [t.address for t in record.targets],
        [f"{o.cluster}: {o.reason}" for o in record.left_out],
        record.ttl,
    )


def test_an_address_and_a_host_name_answer_both() -> None:
    """The case of a cluster whose load balancer has an address and one whose load balancer has a name."""
    found = told({"eu": Presence(("10.1.1.1",), 1), "us": Presence((LB,), 1)})
    assert found == (["10.0.0.1", "10.0.0.2", "10.1.1.1"], [], 20)


def test_one_host_name_alone_is_a_cname() -> None:
    """Who asks resolves it himself; two of them are resolved."""
    assert told({"us": Presence((LB,), 1)}) == ([LB], [], None)
    assert told({"eu": Presence((f"{LB}.",), 1), "us": Presence((LB,), 1)})[2] is None
    both = told({"eu": Presence(("old.example.net",), 1), "us": Presence((LB,), 1)})
    assert both == (["10.0.0.1", "10.0.0.2", "10.9.9.9"], [], 20)


def test_who_is_left_out_is_said_with_the_reason() -> None:
    """Host names without an address, no ready endpoint, no address, out of reach."""
    lost = ClusterView("asia", "asia", ("a",), reachable=False)
    found = told(
        {
            "eu": Presence(("10.1.1.1",), 1),
            "us": Presence(("gone.example.net", "10.1.1.2"), 1),
            "asia": Presence(("10.1.1.3",), 1),
        },
        EU,
        US,
        lost,
    )
    assert found[0] == ["10.1.1.1", "10.1.1.2"]
    assert found[1] == [
        "asia: the cluster cannot be reached",
        "us: its host name gone.example.net has no address: there is no such name",
    ]
    idle = told(
        {"eu": Presence(("10.1.1.1",), 1), "us": Presence((LB,), 0), "asia": Presence((), 3)}, EU, US, ASIA
    )
    assert idle[1] == ["asia: its load balancer has no address", "us: no endpoint is ready"]


def test_an_answer_is_better_than_none() -> None:
    """If none of several host names can be resolved, one stands for all, as it did before."""
    targets, out, ttl = answered(
        [EU, US],
        {"eu": Presence(("gone.example.net",), 1), "us": Presence(("lost.example.net",), 1)},
        resolve=lambda host: Resolution(problem="there is no such name"),
    )
    assert ([t.address for t in targets], ttl) == (["gone.example.net"], None)
    assert out == [LeftOut("us", "its host name lost.example.net has no address: there is no such name")]


# In time.


class Clock:
    """Seconds that a test counts."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def hosts(
    lookup: Callable[[str], FamilyAnswer], clock: Clock
) -> AsyncIterator[tuple[HostNames, asyncio.Queue[str]]]:
    """Run host names whose IPv4 addresses are what `lookup` says."""
    changes: asyncio.Queue[str] = asyncio.Queue()

    async def ask(host: str) -> tuple[FamilyAnswer, FamilyAnswer]:
        await asyncio.sleep(0)
        return lookup(host), NONE

    found = HostNames(ask, monotonic=clock, changed=changes.put_nowait)
    task = asyncio.create_task(found.run())
    try:
        yield found, changes
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_name_is_asked_for_again_when_its_ttl_is_over() -> None:
    """Not before; a TTL of nothing is some seconds; what is dropped is asked for no more."""
    clock, asked = Clock(), 0

    def lookup(host: str) -> FamilyAnswer:
        nonlocal asked
        asked += 1
        return FamilyAnswer((f"10.0.0.{asked}",), 0 if asked == 1 else 60)

    async with asyncio.timeout(SECONDS), hosts(lookup, clock) as (names, changes):
        names.want(LB)
        assert await changes.get() == LB
        assert names.of(LB).addresses == ("10.0.0.1",)
        for now, expected in ((4.9, 1), (5.0, 2), (64.9, 2), (65.0, 3)):
            clock.now = now
            names.want(f"{now}.example.net")  # wakes the loop; asked for once itself
            await changes.get()
            asked -= 1
            if asked < expected:
                await changes.get()
            assert asked == expected, now
            names.drop(f"{now}.example.net")
        names.drop(LB)
        assert names.of(LB).addresses == ()


@pytest.mark.looptime
async def test_a_dead_resolver_removes_nothing_and_is_asked_ever_less() -> None:
    """The last good addresses stay, marked; they are fresh again with the next answer."""
    loop = asyncio.get_running_loop()
    dead, times = False, []

    async def ask(host: str) -> tuple[FamilyAnswer, FamilyAnswer]:
        times.append(loop.time())
        answer = FamilyAnswer(problem="no resolver answers") if dead else FamilyAnswer(("10.0.0.1",), 10)
        return answer, answer if dead else NONE

    changes: asyncio.Queue[str] = asyncio.Queue()
    names = HostNames(ask, monotonic=loop.time, changed=changes.put_nowait)
    task = asyncio.create_task(names.run())
    names.want(LB)
    await changes.get()
    dead = True
    await changes.get()
    assert names.of(LB) == Resolution(("10.0.0.1",), ttl=10, problem="no resolver answers")
    times.clear()
    await asyncio.sleep(600)
    pauses = [after - before for before, after in itertools.pairwise(times)]
    assert all(pause >= 5 for pause in pauses)
    assert pauses[-1] >= 60
    dead = False
    await changes.get()
    assert names.of(LB) == Resolution(("10.0.0.1",), ttl=10)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.looptime
async def test_lookups_are_bounded_and_one_that_hangs_holds_nobody_up() -> None:
    """So many at once, so many names in all; an error of the lookup is that name's alone."""
    running = most = 0

    async def ask(host: str) -> tuple[FamilyAnswer, FamilyAnswer]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(5 if host.startswith("slow") else 0.01)
        running -= 1
        if host.startswith("bad"):
            raise RuntimeError(host)
        return FamilyAnswer(("10.0.0.1",), 60), NONE

    limit = 100
    names = HostNames(ask, monotonic=asyncio.get_running_loop().time, changed=lambda host: None, limit=limit)
    task = asyncio.create_task(names.run())
    names.want("slow.example.net")
    names.want("bad.example.net")
    for number in range(limit + 10):
        names.want(f"n{number}.example.net")
    await asyncio.sleep(1)
    assert names.of("n0.example.net").addresses == ("10.0.0.1",)
    assert most == AT_ONCE
    await asyncio.sleep(600)
    assert names.of("bad.example.net").problem == "the resolver fails"
    assert names.of(f"n{limit - 3}.example.net").addresses == ("10.0.0.1",)
    assert names.of(f"n{limit + 5}.example.net").addresses == ()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


# Over the wire.


async def test_a_resolver_is_asked_over_the_wire() -> None:
    """Both families, the TTL of the answer; what is no answer to the question is none."""
    async with resolver() as server:
        upstream = Upstream([f"127.0.0.53:{server.port}"], seconds=0.5)
        server.records[LB] = (42, ["10.0.0.2", "10.0.0.1", "2001:db8::1"])
        ipv4, ipv6 = await upstream(LB)
        assert (sorted(ipv4.addresses), ipv4.ttl) == (["10.0.0.1", "10.0.0.2"], 42)
        assert (ipv6.addresses, ipv6.ttl) == (("2001:db8::1",), 42)
        assert sorted(server.asked) == [(LB, "A"), (LB, "AAAA")]
        server.records[LB] = (42, ["10.0.0.1"])
        assert (await upstream(LB))[1] == FamilyAnswer()
        assert (await upstream("no.example.net"))[0].problem == "there is no such name"
        server.rcode = dns.rcode.SERVFAIL
        assert (await upstream(LB))[0].problem == "the resolver fails"
        server.rcode, server.lies = dns.rcode.NOERROR, True
        assert (await upstream(LB))[0].problem
        server.lies, server.silent = False, True
        assert (await upstream(LB))[0].problem == "no resolver answers"


async def test_aliases_are_followed_and_the_first_to_end_counts() -> None:
    """The clouds answer so. A chain that comes back to itself, or leads nowhere, is no address."""
    async with resolver() as server:
        upstream = Upstream([f"127.0.0.53:{server.port}"], seconds=0.5)
        server.aliases = {LB: (300, "a.example.net"), "a.example.net": (7, "b.example.net")}
        server.records["b.example.net"] = (60, ["10.0.0.1", "2001:db8::1"])
        ipv4, ipv6 = await upstream(LB)
        assert (ipv4.addresses, ipv4.ttl) == (("10.0.0.1",), 7)
        assert (ipv6.addresses, ipv6.ttl) == (("2001:db8::1",), 7)
        del server.records["b.example.net"]
        assert not any(each.addresses for each in await upstream(LB))
        server.aliases["a.example.net"] = (7, LB)
        assert all(each.problem and not each.addresses for each in await upstream(LB))


async def test_an_answer_too_large_for_udp_comes_over_tcp() -> None:
    """As a large one does from every resolver; of a TTL of nothing it says so."""
    async with resolver() as server:
        upstream = Upstream([f"127.0.0.53:{server.port}"], seconds=2)
        many = [f"10.0.{n // 256}.{n % 256}" for n in range(1, 600)]
        server.records[LB] = (0, many)
        ipv4, _ = await upstream(LB)
        assert (sorted(ipv4.addresses), ipv4.ttl) == (sorted(many), 0)
        assert server.over_tcp == 1


def test_a_resolver_is_named_by_its_address() -> None:
    """A name would have to be resolved first."""
    assert DnsSettings(dns_upstream=("10.0.0.10:53",)).dns_upstream == ("10.0.0.10:53",)
    with pytest.raises(ConfigError, match=r"dns_upstream has 'dns\.example\.net:53'"):
        DnsSettings(dns_upstream=("dns.example.net:53",)).validate()
