"""Tokens of ServiceAccounts that end, and RBAC: what a simulated cluster lets its users do."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hanse_simulator.access.rules import allows, is_subject
from hypothesis import given
from hypothesis import strategies as st

from hanse.kube.client.access import ClusterAccess
from hanse.kube.client.client import KubeClient
from hanse.kube.client.requests import GroupVersionResource, get_object
from hanse.kube.model.identity import Attributes, User
from hanse.kube.model.objects import Object
from hanse.security.lifetimes import end_of_token
from tests.simulator.cluster import CONFIG_MAPS, NAMESPACES, Cluster, dump, running

ACCOUNTS = GroupVersionResource("v1", "serviceaccounts")
SECRETS = GroupVersionResource("v1", "secrets")


def account(name: str = "robot") -> Object:
    """A ServiceAccount."""
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}


def bound(role: str, *, name: str = "robot", **rule: Any) -> str:
    """A ClusterRole with a rule, bound to a ServiceAccount, for kubectl."""
    api = "rbac.authorization.k8s.io/v1"
    subject = {"kind": "ServiceAccount", "name": name, "namespace": "shop"}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
    binding = {
        "apiVersion": api, "kind": "ClusterRoleBinding", "metadata": {"name": f"{name}-{role}"},
        "roleRef": reference, "subjects": [subject],
    }  # fmt: skip
    if not rule:
        return dump(binding)
    return dump(
        {"apiVersion": api, "kind": "ClusterRole", "metadata": {"name": role}, "rules": [rule]}, binding
    )


@asynccontextmanager
async def bearer(cluster: Cluster, token: str) -> AsyncIterator[KubeClient]:
    """A client that has nothing but a token."""
    simulator = cluster.simulator
    access = ClusterAccess(simulator.url, ca_pem=simulator.certificates.ca_pem.encode(), token=token)
    async with KubeClient(access) as client:
        yield client


async def reads(cluster: Cluster, token: str, *, name: str = "default") -> int:
    """The HTTP status of a read of a namespace by a token."""
    async with bearer(cluster, token) as client:
        return (await client.ask(get_object(NAMESPACES, name))).status


async def token_of(cluster: Cluster, *words: str) -> str:
    """A token by TokenRequest, as kubectl asks for one."""
    return (await cluster.kubectl("create", "token", "robot", "-n", "shop", *words)).out.strip()


async def test_a_token_is_its_account_and_nobody_else(cluster: Cluster) -> None:
    """It says who it is, how long it lasts, and may do nothing without a right."""
    await cluster.create(ACCOUNTS, account())
    token = await token_of(cluster, "--duration=20m")
    end = end_of_token(token)
    assert end is not None
    left = end - cluster.simulator.engine.clock().timestamp()
    assert 1190 <= left <= 1200
    assert await reads(cluster, token) == 403
    await cluster.kubectl("apply", "-f", "-", stdin=bound("cluster-admin"))
    assert await reads(cluster, token) == 200
    for wrong in (token[:-4] + "AAAA", "a.b.c", "nonsense"):
        assert await reads(cluster, wrong) == 401


async def test_a_token_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its time, which the cluster may have made shorter than what was asked for."""
    async with running(tmp_path, token_max_seconds=600) as cluster:
        await cluster.create(ACCOUNTS, account())
        await cluster.kubectl("apply", "-f", "-", stdin=bound("cluster-admin"))
        token = await token_of(cluster, "--duration=48h")
        assert await reads(cluster, token) == 200
        engine, clock = cluster.simulator.engine, cluster.simulator.engine.clock
        monkeypatch.setattr(engine, "clock", lambda: clock() + timedelta(seconds=599))
        assert await reads(cluster, token) == 200
        monkeypatch.setattr(engine, "clock", lambda: clock() + timedelta(seconds=601))
        assert await reads(cluster, token) == 401


async def test_a_token_ends_with_its_account(cluster: Cluster) -> None:
    """Also if one of the same name is made afterwards; other accounts keep theirs."""
    await cluster.create(ACCOUNTS, account())
    await cluster.kubectl("apply", "-f", "-", stdin=bound("cluster-admin"))
    token = await token_of(cluster)
    await cluster.client.delete(ACCOUNTS, "robot", namespace="shop")
    assert await reads(cluster, token) == 401
    await cluster.create(ACCOUNTS, account())
    assert await reads(cluster, token) == 401
    assert await reads(cluster, await token_of(cluster)) == 200


async def test_too_short_a_token_is_refused(cluster: Cluster) -> None:
    """As kube-apiserver does; so is a token of an account that there is not."""
    await cluster.create(ACCOUNTS, account())
    ran = await cluster.kubectl("create", "token", "robot", "-n", "shop", "--duration=1m", check=False)
    assert "may not specify a duration of less than 10 minutes" in ran.err
    ran = await cluster.kubectl("create", "token", "nobody", "-n", "shop", check=False)
    assert 'serviceaccounts "nobody" not found' in ran.err


async def test_a_secret_has_a_token_until_it_is_deleted(cluster: Cluster) -> None:
    """One that names an account gets a token that lasts; one that names none goes."""
    await cluster.create(ACCOUNTS, account())
    await cluster.kubectl("apply", "-f", "-", stdin=bound("cluster-admin"))
    for name, owner in (("robot", "robot"), ("stray", "nobody")):
        annotations = {"kubernetes.io/service-account.name": owner}
        await cluster.create(
            SECRETS,
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "type": "kubernetes.io/service-account-token",
                "metadata": {"name": name, "annotations": annotations},
            },
        )

    async def filled() -> Object | None:
        found = await cluster.all(SECRETS)
        return found[0] if len(found) == 1 and found[0].get("data") else None

    secret = await cluster.until(filled, what="one has a token, the other is gone")
    token = base64.b64decode(secret["data"]["token"]).decode()
    assert end_of_token(token) is None
    assert await reads(cluster, token) == 200
    await cluster.client.delete(SECRETS, "robot", namespace="shop")
    assert await reads(cluster, token) == 401


async def test_roles_say_what_is_allowed(cluster: Cluster) -> None:
    """One kind, in all namespaces or in one; everything else is forbidden, in Kubernetes' words."""
    await cluster.create(ACCOUNTS, account())
    rule: Object = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}
    await cluster.kubectl("apply", "-f", "-", stdin=bound("reader", **rule))
    token = await token_of(cluster)
    who = "system:serviceaccount:shop:robot"
    async with bearer(cluster, token) as client:
        found = await client.ask(get_object(CONFIG_MAPS, "kube-root-ca.crt", namespace="shop"))
        assert found.status == 200
        refused = await client.ask(get_object(SECRETS, "x", namespace="shop"))
    assert refused.status == 403
    assert refused.message == (
        f'secrets "x" is forbidden: User "{who}" cannot get resource "secrets" in API group "" '
        'in the namespace "shop"'
    )
    for words, answer in (
        (("list", "configmaps", "-A"), "yes"),
        (("delete", "configmaps"), "no"),
        (("get", "secrets"), "no"),
        (("create", "serviceaccounts/token"), "no"),
    ):
        ran = await cluster.kubectl("auth", "can-i", *words, "--as", who, check=False)
        assert ran.out.strip().endswith(answer), words


WORDS = st.sampled_from(["get", "list", "create", "", "apps", "pods", "secrets", "log", "token", "a", "b"])
RULES = st.fixed_dictionaries(
    {name: st.lists(WORDS, max_size=3) for name in ("verbs", "apiGroups", "resources")},
    optional={"resourceNames": st.lists(WORDS, max_size=2)},
)
WISHES = st.builds(
    Attributes,
    user=st.just(User("u")),
    verb=WORDS,
    group=WORDS,
    resource=WORDS,
    subresource=WORDS,
    name=WORDS,
)


@given(RULES, WISHES)
def test_a_rule_allows_what_it_names_and_no_more(rule: Object, wish: Attributes) -> None:
    """Each of verb, group, resource with its subresource and name must be named; `*` names all."""
    whole = f"{wish.resource}/{wish.subresource}" if wish.subresource else wish.resource
    named = (
        wish.verb in rule["verbs"] and wish.group in rule["apiGroups"] and whole in rule["resources"]
        and (not rule.get("resourceNames") or wish.name in rule["resourceNames"])
    )  # fmt: skip
    assert allows(rule, wish) == named
    anything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
    assert allows(anything, wish)
    assert allows({**anything, "verbs": [wish.verb]}, wish)


@pytest.mark.parametrize("rule", [None, [], "x", {}, {"verbs": "get"}, {"verbs": ["get"], "resources": 3}])
def test_what_is_no_rule_allows_nothing(rule: Any) -> None:
    """Whatever a role has in place of rules."""
    assert not allows(rule, Attributes(User("u"), "get", resource="pods"))
    assert not is_subject(rule, User("u"))


def test_paths_that_are_no_resource() -> None:
    """By their whole text, or by how they begin."""
    rule = {"verbs": ["get"], "nonResourceURLs": ["/metrics", "/debug/*"]}
    for path, allowed in (("/metrics", True), ("/metrics/a", False), ("/debug/x", True), ("/", False)):
        assert allows(rule, Attributes(User("u"), "get", path=path)) == allowed
    assert not allows(rule, Attributes(User("u"), "get", resource="metrics"))
