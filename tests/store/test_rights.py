"""Each service gets only its keys: the table of rights, and an etcd that keeps to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import pytest
from etcd3aio import _protobuf as pb

from hanse.errors import ConfigError, PermissionDeniedError, UnauthenticatedError
from hanse.process.settings import TlsFiles
from hanse.security.auth import service_name
from hanse.security.pki import CertificateAuthority
from hanse.store import Compare, EtcdStore, Put, keys
from hanse.store.admin.roles import ROOT, Roles, main
from hanse.store.rights import RIGHTS, permissions
from hanse.store.spans import Span
from tests.support.stores.etcd import EtcdServer

SERVICES = tuple(RIGHTS)
KEYS = (
    keys.ObjectKey("", "secrets", "n", "a").key(),
    keys.ObjectKey("", "services", "n", "a").key(),
    keys.ObjectKey("apps", "deployments", "n", "a").key(),
    keys.ObjectKey("hanse.dev", "clusters", "", "a").key(),
    keys.ObjectKey("hanse.dev", "placementpolicies", "n", "a").key(),
    keys.FEDERATION,
    keys.cluster("a"),
    keys.catalogue("a"),
    keys.credential("a"),
    keys.ObjectKey("", "secrets", "n", "a").key(keys.PLACEMENTS),
    keys.ObjectKey("", "secrets", "n", "a").sync_state("a"),
    keys.ObjectKey("", "services", "n", "a").sync_state("a"),
    keys.record("example.org", "a"),
    f"{keys.election('registry')}1",
    f"{keys.election('scheduler')}1",
    f"{keys.election('dns')}1",
    f"{keys.election('syncer-a')}1",
    f"{keys.election('syncer-janitor')}1",
    keys.member("syncer", "a"),
    "something-new/a",
)
"""One key of every kind that there is, and one that nobody knows."""


@dataclass(frozen=True)
class House:
    """An etcd that asks for certificates, and what issues them."""

    server: EtcdServer
    ca: CertificateAuthority
    directory: Path

    def tls(self, name: str) -> TlsFiles:
        """The files of the certificate with the common name `name`."""
        return self.ca.ensure_local(self.directory, name.replace(":", "-"), common_name=name)

    async def store(self, name: str) -> EtcdStore:
        """The store as whoever has the common name `name`, without asking etcd anything."""
        from hanse.store.etcd.channel import open_channel

        channel = await open_channel(
            [self.server.endpoint], tls=self.tls(name), tls_server_name=None, timeout=10.0
        )
        return EtcdStore(channel, prefix="/hanse")

    async def roles(self, name: str = ROOT) -> Roles:
        """The rights as their administrator sees them."""
        return await Roles.connect([self.server.endpoint], prefix="/hanse", tls=self.tls(name))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One etcd for all tests here; authentication is off when the first test begins."""
    directory = tmp_path_factory.mktemp("rights")
    ca = CertificateAuthority.create("etcd-ca")
    files = ca.ensure_local(directory, "server", common_name="etcd")
    with EtcdServer(directory / "etcd", tls=(files.ca, files.cert, files.key)) as server:
        yield House(server, ca, directory)


@pytest.fixture
async def enforced(house: House) -> AsyncIterator[House]:
    """The etcd with its rights applied."""
    roles = await house.roles()
    await roles.apply()
    yield house
    await roles.close()


def _has(spans: Iterable[Span], key: str) -> bool:
    """Whether a key is in one of the ranges."""
    for span in spans:
        begin, end = span.range()
        if begin <= key.encode() < end if end else begin == key.encode():
            return True
    return False


async def _allowed(work: object) -> bool:
    try:
        async with asyncio.timeout(10):
            await work  # type: ignore[misc]
    except PermissionDeniedError:
        return False
    return True


async def _watch(store: EtcdStore, key: str) -> None:
    """Follow `key` up to an event that is there already."""
    async with aclosing(store.watch(key, start_revision=1)) as watch:
        async for batch in watch:
            if batch.events:
                return


async def test_data_from_before_is_kept_when_rights_are_switched_on(house: House) -> None:
    """An etcd that had no rights gets them with its data in it; before, any certificate read everything."""
    dns = await house.store(service_name("dns"))
    await dns.put(keys.credential("old"), b"sealed")
    roles = await house.roles()
    assert await roles.apply()
    with pytest.raises(PermissionDeniedError):
        await dns.get(keys.credential("old"))
    registry = await house.store(service_name("registry"))
    found = await registry.get(keys.credential("old"))
    assert found is not None
    assert found.value == b"sealed"
    assert not await roles.apply(), "what is right is not written again"
    for each in (dns, registry, roles):
        await each.close()


@pytest.mark.parametrize("service", SERVICES)
async def test_each_service_may_do_with_each_key_what_the_table_says(enforced: House, service: str) -> None:
    """A service reads, watches, writes and deletes each kind of key if the table says so, and else never."""
    root = await enforced.store(ROOT)
    store = await enforced.store(service_name(service))
    rights = RIGHTS[service]
    for key in KEYS:
        await root.put(key, b"there")
        seen = {
            "read": await _allowed(store.get(key)),
            "list": await _allowed(store.range(key)),
            "watch": await _allowed(_watch(store, key)),
            "compare": await _allowed(store.txn([Compare.mod(key, 1)], [], [])),
            "write": await _allowed(store.put(key, b"mine")),
            "delete": await _allowed(store.delete(key)),
        }
        reads, writes = _has(rights.reads, key), _has(rights.writes, key)
        expected = dict.fromkeys(("read", "list", "watch", "compare"), reads)
        assert seen == expected | dict.fromkeys(("write", "delete"), writes), key
    await root.close()
    await store.close()


async def test_the_name_server_reads_no_secret_and_writes_no_intent(enforced: House) -> None:
    """The certificate of the public name server opens Services and records, and nothing else."""
    root = await enforced.store(ROOT)
    dns = await enforced.store(service_name("dns"))
    for prefix in ("", f"{keys.OBJECTS}/", keys.resource_prefix(resource="secrets"), f"{keys.CREDENTIALS}/"):
        with pytest.raises(PermissionDeniedError):
            await dns.range(prefix)
    with pytest.raises(PermissionDeniedError):
        await dns.put(keys.ObjectKey("", "services", "n", "a").key(), b"{}")
    assert await dns.revision() == await root.revision()
    await root.close()
    await dns.close()


async def test_a_lease_is_revoked_by_whoever_may_write_its_keys(enforced: House) -> None:
    """A leader gives up its lease; another service cannot end it."""
    dns = await enforced.store(service_name("dns"))
    scheduler = await enforced.store(service_name("scheduler"))
    lease = await dns.grant(30)
    key = f"{keys.election('dns')}{lease.id:016x}"
    await dns.txn([Compare.absent(key)], [Put(key, b"me", lease.id)])
    with pytest.raises(PermissionDeniedError):
        await scheduler.revoke(lease.id)
    assert await dns.get(key) is not None
    await lease.revoke()
    assert await dns.get(key) is None
    await dns.close()
    await scheduler.close()


@pytest.mark.parametrize("name", ["stranger", "hanse:service:nobody"])
async def test_a_certificate_without_a_user_may_do_nothing(enforced: House, name: str) -> None:
    """A certificate of etcd's authority that is no service's opens nothing."""
    stranger = await enforced.store(name)
    for work in (stranger.get(keys.FEDERATION), stranger.put("x", b""), stranger.revision()):
        with pytest.raises((PermissionDeniedError, UnauthenticatedError)):
            await work
    await stranger.close()


@pytest.mark.parametrize("service", SERVICES)
async def test_no_service_may_change_rights(enforced: House, service: str) -> None:
    """A service can neither widen its own role nor switch authentication off."""
    roles = await enforced.roles(service_name(service))
    for work in (roles.apply(), roles.disable()):
        with pytest.raises(PermissionDeniedError):
            await work
    await roles.close()


async def test_a_role_that_was_widened_by_hand_is_narrowed_again(enforced: House) -> None:
    """Rights that are not in the table are taken away at the next start."""
    roles = await enforced.roles()
    permission = pb.Permission(key=b"/hanse/", range_end=b"/hanse0", permType=pb.Permission.READWRITE)
    await roles._channel.auth.RoleGrantPermission(
        pb.AuthRoleGrantPermissionRequest(name="hanse:dns@/hanse", perm=permission)
    )
    dns = await enforced.store(service_name("dns"))
    await dns.range("")
    assert await roles.apply()
    with pytest.raises(PermissionDeniedError):
        await dns.range("")
    assert await roles.permissions("dns") == permissions("dns", prefix="/hanse")
    await dns.close()
    await roles.close()


async def test_roles_that_were_given_by_hand_are_taken_away(enforced: House) -> None:
    """A service has its own role and no other, not root's, and nobody else has it; a second federation's
    roles are its own affair. The prefix is the same with a slash at its end."""
    roles = await enforced.roles()
    auth = roles._channel.auth
    dns, other = service_name("dns"), "hanse:dns@/second"
    await auth.UserAdd(pb.AuthUserAddRequest(name="eve", options=pb.UserAddOptions(no_password=True)))
    for role in ("all", other):
        await auth.RoleAdd(pb.AuthRoleAddRequest(name=role))
    given = [(dns, "root"), (dns, "all"), (dns, other), ("eve", "hanse:syncer@/hanse"), ("eve", "all")]
    for user, role in given:
        await auth.UserGrantRole(pb.AuthUserGrantRoleRequest(user=user, role=role))
    slashed = Roles(roles._channel, prefix="/hanse/")
    assert await slashed.apply()
    assert not await roles.apply()

    async def has(user: str) -> list[str]:
        return list((await auth.UserGet(pb.AuthUserGetRequest(name=user))).roles)

    assert await has(dns) == ["hanse:dns@/hanse", other]
    assert await has("eve") == ["all"]
    assert await has("root") == ["root"]
    for users in ({"dns": "one", "syncer": "one"}, {"dns": "root"}, {"dns": service_name("syncer")}):
        with pytest.raises(ConfigError, match="one of its own"):
            await roles.apply(users)
    await auth.UserDelete(pb.AuthUserDeleteRequest(name="eve"))
    for role in ("all", other):
        await auth.RoleDelete(pb.AuthRoleDeleteRequest(role=role))
    await roles.close()


async def test_requests_go_on_while_rights_are_changed(enforced: House) -> None:
    """A write that is on its way while a role changes is sent again, not failed."""
    roles = await enforced.roles()
    dns = await enforced.store(service_name("dns"))
    stop = asyncio.Event()

    async def write() -> int:
        count = 0
        while not stop.is_set():
            await dns.put(keys.record("z", "busy"), b"x")
            count += 1
        return count

    writing = [asyncio.create_task(write()) for _ in range(8)]
    for number in range(20):
        permission = pb.Permission(key=f"/other/{number}".encode(), permType=pb.Permission.READ)
        await roles._channel.auth.RoleGrantPermission(
            pb.AuthRoleGrantPermissionRequest(name="hanse:syncer@/hanse", perm=permission)
        )
    stop.set()
    assert min(await asyncio.gather(*writing)) > 0
    await roles.apply()
    await dns.close()
    await roles.close()


async def test_a_store_goes_on_with_a_renewed_certificate(enforced: House) -> None:
    """When the files change, requests and watches go over a new connection; what is open is not cut off."""
    name = service_name("syncer")
    store = await enforced.store(name)
    key = keys.member("syncer", "renewed")
    await store.put(key, b"1")
    async with aclosing(store.watch(key, start_revision=0)) as watch:
        first = asyncio.ensure_future(anext(watch))
        before = store._channel._channel
        enforced.ca.issue_local(name).write(enforced.directory, name.replace(":", "-"))
        async with asyncio.timeout(20):
            while store._channel._channel is before:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await store.put(key, b"2")
        async with asyncio.timeout(20):
            while not (batch := await first).events:
                first = asyncio.ensure_future(anext(watch))
        assert batch.events[0].kv.value == b"2"
    await store.close()


async def test_the_command_applies_rights_and_switches_them_off(
    enforced: House, capsys: pytest.CaptureFixture[str]
) -> None:
    """For an etcd of one's own: the same table, by one command, with names of one's own for the users."""
    files = enforced.tls(ROOT)
    given = ["--endpoints", enforced.server.endpoint, "--ca", str(files.ca), "--cert", str(files.cert)]
    given += ["--key", str(files.key)]
    assert await asyncio.to_thread(main, [*given, "--user", "dns=names.example.org"]) == 0
    assert "changed" in capsys.readouterr().out
    mine = await enforced.store("names.example.org")
    await mine.put(keys.record("z", "a"), b"x")
    with pytest.raises(PermissionDeniedError):
        await mine.get(keys.credential("a"))
    assert await asyncio.to_thread(main, [*given, "--disable"]) == 0
    await mine.get(keys.credential("a"))
    assert await asyncio.to_thread(main, [*given, "--user", "cat=x"]) == 2
    assert await asyncio.to_thread(main, []) == 0
    assert "syncer" in capsys.readouterr().out
    await mine.close()


def test_only_those_who_can_open_credentials_may_ask_for_them() -> None:
    """Only registry and syncer write or ask for credentials; the apiserver's watch passes them, sealed."""
    key = keys.credential("a")
    assert {name for name in SERVICES if _has(RIGHTS[name].reads, key)} == {"apiserver", "registry", "syncer"}
    assert {name for name in SERVICES if _has(RIGHTS[name].writes, key)} == {"registry"}


def test_each_prefix_has_one_writer() -> None:
    """No key may be written by two services."""
    for key in KEYS:
        writers = [name for name in SERVICES if _has(RIGHTS[name].writes, key)]
        assert len(writers) == (key != "something-new/a"), key


def test_a_span_ends_with_its_last_prefix() -> None:
    """A span holds what starts with its first prefix, with its last, and what is between them."""
    span = Span("b/", "d/")
    assert [key for key in ("a/z", "b/", "c", "c/x", "d/", "d/z", "d0", "e") if _has([span], key)] == [
        "b/",
        "c",
        "c/x",
        "d/",
        "d/z",
    ]
