"""The account that Hanse makes in a member: made at the join, renewed in place, removed at the unjoin."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hanse_registry.app import connect
from hanse_registry.controller import Registrar
from hanse_registry.intent import ClusterIntents
from hanse_registry.member import account as accounts
from hanse_registry.member.account import namespace_of
from hanse_registry.member.events import notices
from hanse_registry.member.renewal import CONDITION, NOTICE, due_at, expiring
from hanse_registry.member.rights import rights_missing
from hanse_registry.service import RegistryServicer
from hanse_registry.settings import RegistrySettings
from hypothesis import given
from hypothesis import strategies as st

from hanse.api.federation.v1.federation_service_pb2_grpc import (
    FederationServiceStub,
    add_FederationServiceServicer_to_server,
)
from hanse.api.registry.v1 import cluster_pb2
from hanse.api.registry.v1 import registry_service_pb2 as requests
from hanse.api.registry.v1.registry_service_pb2_grpc import (
    RegistryServiceStub,
    add_RegistryServiceServicer_to_server,
)
from hanse.api.type.v1 import condition_pb2
from hanse.errors import ConfigError, FailedPreconditionError
from hanse.kube.client.expect import ATokenRequest
from hanse.kube.client.requests import GroupVersionResource
from hanse.kube.model.objects import Object
from hanse.rpc.channel import RpcChannel
from hanse.rpc.policy import Policy
from hanse.rpc.server import RpcServer
from hanse.security.credentials import Sealer
from hanse.security.keyring import new_key
from hanse.store import Delete, MemoryStore, keys
from hanse.well_known import FEDERATION_LABEL
from tests.registry.test_service import Objects
from tests.simulator.cluster import NAMESPACES, Cluster, dump, running

ACCOUNTS = GroupVersionResource("v1", "serviceaccounts")
ROLES = GroupVersionResource("rbac.authorization.k8s.io/v1", "clusterroles")
BINDINGS = GroupVersionResource("rbac.authorization.k8s.io/v1", "clusterrolebindings")
WHERE = namespace_of("u")
"""The namespace of the account: the uid of each Cluster object is "u" here."""
BRIEF = RegistrySettings(
    probe_interval=0.02, probe_timeout=5.0, failure_threshold=2, inventory_interval=60.0,
    token_renew_seconds=0.2,
)  # fmt: skip
LASTING = RegistrySettings(
    probe_interval=0.02, probe_timeout=5.0, failure_threshold=2, inventory_interval=60.0
)


@dataclass
class Federated:
    """A registry over a store in memory, and a real member."""

    store: MemoryStore
    registrar: Registrar
    stub: RegistryServiceStub
    member: Cluster

    async def join(self, *, path: str = "", **fields: Any) -> cluster_pb2.Cluster:
        """Join the member as eu with an account."""
        return await self.stub.JoinCluster(
            requests.JoinClusterRequest(
                cluster_id="eu", kubeconfig=self.kubeconfig(path), **{"service_account": True, **fields}
            )
        )

    def kubeconfig(self, path: str = "") -> bytes:
        """The administrator's kubeconfig, or that at a path."""
        return Path(path or self.member.simulator.settings.kubeconfig_file).read_bytes()

    async def cluster(self) -> cluster_pb2.Cluster:
        """The cluster as it is."""
        return await self.stub.GetCluster(requests.GetClusterRequest(name="clusters/eu"))

    async def until(self, check: Callable[[cluster_pb2.Cluster], bool], *, what: str) -> cluster_pb2.Cluster:
        """Wait until the cluster is so."""

        async def look() -> cluster_pb2.Cluster | None:
            found = await self.cluster()
            return found if check(found) else None

        found: cluster_pb2.Cluster = await self.member.until(look, what=what)
        return found

    def credential(self) -> cluster_pb2.ClusterCredential:
        """What is stored."""
        found, _ = self.registrar.credential("eu")
        assert found is not None
        return found

    async def made(self) -> list[str]:
        """What there is in the member of what Hanse makes."""
        found: list[str] = []
        for kind in (NAMESPACES, ROLES, BINDINGS):
            listed = await self.member.client.list(kind, field_selector=f"metadata.name={WHERE}")
            found += [kind.plural for each in listed.items if not each["metadata"].get("deletionTimestamp")]
        return found


@asynccontextmanager
async def federated(tmp_path: Path, settings: RegistrySettings, **member: Any) -> AsyncIterator[Federated]:
    """A registry that leads, and a simulated member that is not joined yet."""
    store, sealer = MemoryStore(), Sealer([new_key()])
    async with running(tmp_path, **member) as cluster:
        objects = RpcServer(listen="127.0.0.1:0", tls=None, policy=Policy.allow_all())
        servicer = Objects(store)  # type: ignore[abstract]  # the registry calls no other method
        objects.add(add_FederationServiceServicer_to_server, servicer)
        async with objects, RpcChannel(objects.address, tls=None) as channel:
            intents = ClusterIntents(FederationServiceStub(channel))
            registrar = Registrar(
                store=store, settings=settings, sealer=sealer, intents=intents, connect=connect,
                identity="test",
            )  # fmt: skip
            server = RpcServer(listen="127.0.0.1:0", tls=None, policy=Policy.allow_all())
            server.add(
                add_RegistryServiceServicer_to_server,
                RegistryServicer(
                    store=store, registrar=registrar, intents=intents, sealer=sealer, connect=connect
                ),
            )
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(registrar.follower.run())]
                await registrar.follower.synced()
                tasks.append(group.create_task(registrar.run()))
                async with server, RpcChannel(server.address, tls=None) as mine:
                    yield Federated(store, registrar, RegistryServiceStub(mine), cluster)
                for task in tasks:
                    task.cancel()
    await store.close()


def condition(cluster: cluster_pb2.Cluster, kind: str = CONDITION) -> condition_pb2.Condition:
    """A condition of a cluster; an empty one if there is none."""
    return next((each for each in cluster.conditions if each.type == kind), condition_pb2.Condition())


async def test_a_join_with_an_account_keeps_no_other_credential(tmp_path: Path) -> None:
    """What is stored is a token of an account in a namespace of its own, which says what it is."""
    async with federated(tmp_path, LASTING) as world:
        cluster = await world.join()
        assert cluster.state == cluster_pb2.READY
        stored = world.credential()
        assert (stored.client_certificate_pem, stored.client_key_pem) == (b"", b"")
        assert (stored.account.namespace, stored.account.service_account) == (WHERE, "hanse")
        lasts = stored.account.expire_time.ToDatetime(UTC) - stored.account.issue_time.ToDatetime(UTC)
        assert timedelta(days=29) < lasts <= timedelta(days=30)
        assert await world.made() == ["namespaces", "clusterroles", "clusterrolebindings"]
        namespace = await world.member.client.get(NAMESPACES, WHERE)
        assert "in as eu" in namespace["metadata"]["annotations"]["hanse.dev/description"]
        assert FEDERATION_LABEL not in namespace["metadata"]["labels"]
        said = condition(await world.until(lambda found: bool(condition(found).type), what="it is said"))
        assert (said.status, said.reason) == (condition_pb2.FALSE, "TokenCurrent")
        assert f"ServiceAccount {WHERE}/hanse" in said.message


async def test_a_token_is_renewed_in_place(tmp_path: Path) -> None:
    """Again and again, without leaving; the cluster is ready all the while, and the account is the same."""
    async with federated(tmp_path, BRIEF) as world:
        joined = await world.join()
        seen = {world.credential().token}
        uid = world.credential().account.namespace_uid

        async def three() -> bool:
            seen.add(world.credential().token)
            assert (await world.cluster()).state == cluster_pb2.READY
            return len(seen) >= 3

        await world.member.until(three, what="three tokens")
        assert world.credential().account.namespace_uid == uid
        assert (await world.cluster()).uid == joined.uid
        assert await world.made() == ["namespaces", "clusterroles", "clusterrolebindings"]


async def test_what_is_not_renewed_is_said_long_before_the_end(tmp_path: Path) -> None:
    """A right that the account lost is a condition with the reason; it goes when it is given back."""
    async with federated(tmp_path, BRIEF) as world:
        await world.join()
        role = await world.member.client.get(ROLES, WHERE)
        reading = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]}]
        await world.member.client.patch(ROLES, WHERE, {"rules": reading})
        found = await world.until(
            lambda found: condition(found).status == condition_pb2.TRUE, what="it is not renewed"
        )
        said = condition(found)
        assert said.reason == "RenewalFailed"
        assert "serviceaccounts/hanse/token answers HTTP 403" in said.message
        assert found.state == cluster_pb2.READY
        (event,) = [each for each in notices(None, found) if each.reason == "RenewalFailed"]
        assert (event.warning, event.message) == (True, said.message)
        await world.member.client.patch(ROLES, WHERE, {"rules": role["rules"]})
        after = await world.until(
            lambda found: condition(found).status == condition_pb2.FALSE, what="it is renewed"
        )
        assert [each.reason for each in notices(found, after)] == ["CredentialRenewed"]


async def test_a_token_that_was_revoked_is_said_so(tmp_path: Path) -> None:
    """The state is CREDENTIAL_REFUSED; another account can be made in place, and the cluster is as before."""
    async with federated(tmp_path, LASTING) as world:
        joined = await world.join()
        await world.member.client.delete(ACCOUNTS, "hanse", namespace=WHERE)
        found = await world.until(
            lambda found: found.state == cluster_pb2.CREDENTIAL_REFUSED, what="it is refused"
        )
        assert "was revoked there before its end" in condition(found, "Ready").message
        assert "hanse update-credentials" in condition(found, "Ready").message
        replaced = await world.stub.ReplaceCredential(
            requests.ReplaceCredentialRequest(
                name="clusters/eu", kubeconfig=world.kubeconfig(), service_account=True
            )
        )
        assert (replaced.state, replaced.uid) == (cluster_pb2.READY, joined.uid)
        assert world.credential().account.namespace == WHERE


async def test_an_account_that_is_used_no_more_is_removed(tmp_path: Path) -> None:
    """When another credential takes its place."""
    async with federated(tmp_path, LASTING) as world:
        await world.join()
        await world.stub.ReplaceCredential(
            requests.ReplaceCredentialRequest(name="clusters/eu", kubeconfig=world.kubeconfig())
        )
        assert not world.credential().HasField("account")
        assert await world.made() in ([], ["clusterroles", "clusterrolebindings"])

        async def gone() -> bool:
            return await world.made() == []

        await world.member.until(gone, what="nothing of it is left")
        assert (await world.cluster()).state == cluster_pb2.READY


async def test_a_join_that_comes_second_leaves_the_account_to_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both go on with a join that was interrupted: they make the same account, and one of them keeps it."""
    async with federated(tmp_path, LASTING) as world:
        await world.join()
        await world.store.txn([], [Delete(keys.credential("eu"))])
        both, make = asyncio.Barrier(2), accounts.make_account

        async def together(*arguments: Any, **values: Any) -> accounts.GivenToken:
            given = await make(*arguments, **values)
            await both.wait()
            return given

        monkeypatch.setattr("hanse_registry.service.make_account", together)
        ends = await asyncio.gather(world.join(), world.join(), return_exceptions=True)
        assert sorted(isinstance(each, BaseException) for each in ends) == [False, True]
        assert await world.made() == ["namespaces", "clusterroles", "clusterrolebindings"]
        assert (await world.cluster()).state == cluster_pb2.READY


async def test_an_unjoin_removes_what_was_made(tmp_path: Path) -> None:
    """And nothing else; the credential is forgotten, too."""
    async with federated(tmp_path, LASTING) as world:
        before = {each["metadata"]["name"] for each in (await world.member.client.list(NAMESPACES)).items}
        await world.join()
        await world.stub.UnjoinCluster(requests.UnjoinClusterRequest(name="clusters/eu"))

        async def gone() -> bool:
            left = await world.store.get(keys.credential("eu"))
            return left is None and await world.made() == []

        await world.member.until(gone, what="nothing of it is left")

        async def as_before() -> bool:
            listed = await world.member.client.list(NAMESPACES)
            return {each["metadata"]["name"] for each in listed.items} == before

        await world.member.until(as_before, what="the namespaces are as before")


async def test_an_unjoin_does_not_take_a_refusal_for_a_removal(tmp_path: Path) -> None:
    """A token that was revoked before removes nothing: it is said what stays, until somebody forces it."""
    async with federated(tmp_path, LASTING) as world:
        await world.join()
        await world.member.client.delete(ACCOUNTS, "hanse", namespace=WHERE)
        await world.until(lambda found: found.state == cluster_pb2.CREDENTIAL_REFUSED, what="refused")
        await world.stub.UnjoinCluster(requests.UnjoinClusterRequest(name="clusters/eu"))
        held = await world.until(
            lambda found: WHERE in condition(found, "Unjoined").message, what="it is held"
        )
        assert "--force leaves it there" in condition(held, "Unjoined").message
        assert await world.store.get(keys.credential("eu")) is not None
        await world.stub.UnjoinCluster(requests.UnjoinClusterRequest(name="clusters/eu", force=True))

        async def forgotten() -> bool:
            return await world.store.get(keys.credential("eu")) is None

        await world.member.until(forgotten, what="it is forgotten")
        assert "namespaces" in await world.made()


async def test_a_removal_that_was_recorded_is_finished_after_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The DELETE was answered, and the registry died before it forgot the cluster: 401 confirms it then."""
    async with federated(tmp_path, LASTING) as world:
        await world.join()
        removed = accounts.remove_account

        async def crash(*arguments: Any, **values: Any) -> None:
            await removed(*arguments, **values)
            raise RuntimeError("killed")

        monkeypatch.setattr("hanse_registry.membership_controller.remove_account", crash)
        monkeypatch.setattr("hanse_registry.controller.RETRY_SECONDS", 0.05)
        await world.stub.UnjoinCluster(requests.UnjoinClusterRequest(name="clusters/eu"))

        async def forgotten() -> bool:
            return await world.store.get(keys.credential("eu")) is None and await world.made() == []

        await world.member.until(forgotten, what="it is forgotten, and nothing is left")


async def test_a_credential_that_may_not_make_an_account_is_refused(tmp_path: Path) -> None:
    """With the rights that it lacks and the remedy; nothing is joined, and nothing made."""
    api = "rbac.authorization.k8s.io/v1"
    async with federated(tmp_path, LASTING) as world:
        reader = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]}
        subject = {"kind": "ServiceAccount", "name": "default", "namespace": "shop"}
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reader"}
        both = dump(
            {"apiVersion": api, "kind": "ClusterRole", "metadata": {"name": "reader"}, "rules": [reader]},
            {
                "apiVersion": api, "kind": "ClusterRoleBinding", "metadata": {"name": "reader"},
                "roleRef": reference, "subjects": [subject],
            },
        )  # fmt: skip
        await world.member.kubectl("apply", "-f", "-", stdin=both)
        token = (await world.member.kubectl("create", "token", "default", "-n", "shop")).out.strip()
        config = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": world.member.simulator.url,
                                                  "insecure-skip-tls-verify": True}}],
            "users": [{"name": "u", "user": {"token": token}}],
        }  # fmt: skip
        path = tmp_path / "reader.kubeconfig"
        path.write_text(dump(config))
        for dry in (True, False):
            with pytest.raises(
                FailedPreconditionError, match=r"it lacks patch namespaces, .*omit"
            ) as refused:
                await world.join(path=str(path), validate_only=dry)
            assert refused.value.reason == "RIGHTS_MISSING"
        assert await world.made() == []
        assert (await world.stub.ListClusters(requests.ListClustersRequest())).clusters == []


TIMES = st.integers(1_700_000_000, 1_900_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
SECONDS = st.floats(1, 1e8)


def account(issued: datetime, seconds: float) -> cluster_pb2.MemberAccount:
    """An account whose token lasts so long."""
    found = cluster_pb2.MemberAccount(namespace="n", service_account="hanse")
    found.issue_time.FromDatetime(issued)
    found.expire_time.FromDatetime(issued + timedelta(seconds=seconds))
    return found


@given(TIMES, SECONDS, SECONDS)
def test_a_token_is_due_long_before_its_end(issued: datetime, lasts: float, after: float) -> None:
    """Two thirds of its time are left at least, however short the member made it."""
    due = due_at(account(issued, lasts), renew_after=after) - issued
    assert due.total_seconds() <= lasts / 3 + 1e-3
    assert due.total_seconds() <= after + 1e-3
    assert due.total_seconds() >= min(after, lasts / 3) - 1e-3


@given(TIMES, SECONDS, st.text(max_size=5))
def test_what_is_said_of_a_token(issued: datetime, lasts: float, problem: str) -> None:
    """It is a problem if it cannot be renewed, and only then."""
    credential = cluster_pb2.ClusterCredential(account=account(issued, lasts))
    said = expiring(credential, problem=problem, now=issued)
    assert said is not None
    assert (said.status == condition_pb2.TRUE) == bool(problem)
    assert said.message.endswith(problem)


def test_a_credential_that_nobody_renews_is_named_before_it_ends() -> None:
    """A token of somebody else's with an end; one that says nothing of its end is no matter."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    claims = "eyJleHAiOiAxNzY4MDAwMDAwfQ"  # ends on 2026-01-09 at 23:06:40
    credential = cluster_pb2.ClusterCredential(token=f"h.{claims}.s")
    for moment, reason in (
        (now - timedelta(days=6), "CredentialCurrent"),
        (now + timedelta(days=9) - NOTICE, "CredentialEnds"),
        (now + timedelta(days=99), "CredentialEnds"),
    ):
        said = expiring(credential, problem="", now=moment)
        assert said is not None
        assert said.reason == reason
    assert expiring(cluster_pb2.ClusterCredential(token="opaque"), problem="", now=now) is None
    assert expiring(None, problem="", now=now) is None


GOOD: Object = {
    "apiVersion": "authentication.k8s.io/v1",
    "kind": "TokenRequest",
    "metadata": {"name": "hanse", "namespace": "n"},
    "status": {"token": "a.b.c", "expirationTimestamp": "2026-01-01T00:00:00Z"},
}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({}, ""),
        ({"metadata": None}, ""),
        ({"kind": "Status"}, "is a Status"),
        ({"metadata": {"name": "other"}}, "is for name 'other', not 'hanse'"),
        ({"metadata": {"name": "hanse", "namespace": "m"}}, "is for namespace 'm', not 'n'"),
        ({"status": None}, "has no token"),
        ({"status": {**GOOD["status"], "token": "a\r\nX: y"}}, "has no token"),
        ({"status": {**GOOD["status"], "token": ""}}, "has no token"),
        ({"status": {**GOOD["status"], "expirationTimestamp": "soon"}}, "does not say when the token ends"),
    ],
)
def test_only_a_token_that_was_asked_for_is_believed(change: Object, fault: str) -> None:
    """Whatever answers in a member's place."""
    assert ATokenRequest("hanse", "n").fault({**GOOD, **change}) == fault


@pytest.mark.parametrize("seconds", [0, 599, 2**32 + 1])
def test_a_lifetime_that_no_member_takes_is_refused(seconds: int) -> None:
    """At the start, with the setting and its bounds."""
    with pytest.raises(ConfigError, match="token_seconds"):
        RegistrySettings(token_seconds=seconds).validate()


async def test_rights_that_are_missing_are_named_and_move_nothing(tmp_path: Path) -> None:
    """One kind that is forbidden (403) is no refused credential: the cluster is ready, and says the verbs and
    the kind; that they are given back is said, too."""
    async with federated(tmp_path, LASTING) as world:
        await world.join()
        key = keys.ObjectKey("", "secrets", "shop", "s").sync_state("eu")
        await world.store.put(key, b"")
        await world.store.put(keys.ObjectKey("", "configmaps", "shop", "c").sync_state("eu"), b"")
        role = await world.member.client.get(ROLES, WHERE)
        all_but_secrets = ["namespaces", "nodes", "configmaps", "serviceaccounts/token"]
        less = [{"apiGroups": [""], "resources": all_but_secrets, "verbs": ["*"]}]
        await world.member.client.patch(ROLES, WHERE, {"rules": less})
        await world.stub.ProbeCluster(requests.ProbeClusterRequest(name="clusters/eu"))
        found = await world.until(
            lambda found: condition(found, "RightsMissing").status == condition_pb2.TRUE,
            what="it lacks rights",
        )
        said = condition(found, "RightsMissing").message
        assert all(
            f"{verb} secrets" in said for verb in ("get", "list", "watch", "create", "patch", "delete")
        )
        assert "configmaps" not in said
        assert "nodes" not in said
        assert found.state == cluster_pb2.READY
        assert [each.reason for each in notices(None, found) if each.warning] == ["RightsMissing"]
        await world.member.client.patch(ROLES, WHERE, {"rules": role["rules"]})
        await world.stub.ProbeCluster(requests.ProbeClusterRequest(name="clusters/eu"))
        after = await world.until(
            lambda found: condition(found, "RightsMissing").status == condition_pb2.FALSE, what="it has them"
        )
        assert [each.reason for each in notices(found, after)] == ["RightsRestored"]


@given(st.one_of(st.none(), st.lists(st.sampled_from(["get secrets", "patch jobs.batch"]), max_size=40)))
def test_what_is_said_of_rights(lacks: list[str] | None) -> None:
    """Unknown says nothing new; one that never lacked any has no condition."""
    said = rights_missing(lacks, cluster="eu", known=None)
    assert (said is not None) == bool(lacks)
    known = condition_pb2.Condition(type="RightsMissing", status=condition_pb2.TRUE, message="m")
    again = rights_missing(lacks, cluster="eu", known=known)
    assert again is not None
    assert again.status == (condition_pb2.FALSE if lacks == [] else condition_pb2.TRUE)
    assert (again == known) == (lacks is None)
