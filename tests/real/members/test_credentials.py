"""Credentials of real members: revoked, replaced, and made and renewed by the federation itself."""

import asyncio
import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from tests.real.federation import Federation
from tests.real.realcluster import ApiError, ClusterSpec, KubeApi, RealCluster, RealClusters, until

APPS = "/apis/apps/v1/namespaces/cred/deployments"
ACCOUNTS = "/api/v1/namespaces/kube-system/serviceaccounts"
SECRETS = "/api/v1/namespaces/kube-system/secrets"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
TOLERATION = 6
ENVIRON = {
    "HANSE_SCHEDULER_TOLERATION_SECONDS": str(TOLERATION),
    "HANSE_REGISTRY_TOKEN_RENEW_SECONDS": "2",
    "HANSE_SYNCER_ORPHAN_INTERVAL": "5",
}


async def token_of_a_secret(member: KubeApi) -> str:
    """The account of the case `credential`, who may do everything, and the token in its Secret."""
    await member.create(ACCOUNTS, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "fed"}})
    await member.create(
        f"{RBAC}/clusterrolebindings",
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "fed"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "cluster-admin",
            },
            "subjects": [{"kind": "ServiceAccount", "name": "fed", "namespace": "kube-system"}],
        },
    )
    await member.create(
        SECRETS,
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/service-account-token",
            "metadata": {"name": "fed", "annotations": {"kubernetes.io/service-account.name": "fed"}},
        },
    )

    async def filled() -> str:
        found = (await member.get(f"{SECRETS}/fed")).get("data") or {}
        return base64.b64decode(found.get("token", "")).decode()

    return await until(filled, what="the Secret has a token")


def with_token(cluster: RealCluster, token: str, path: Path) -> Path:
    """A kubeconfig that has nothing but a token."""
    config = yaml.safe_load(cluster.kubeconfig_path.read_text())
    for user in config["users"]:
        user["user"] = {"token": token}
    path.write_text(yaml.safe_dump(config))
    return path


async def seen(federation: Federation, name: str) -> dict[str, Any]:
    """A cluster as `hanse clusters` shows it."""
    found = json.loads(await federation.hanse("clusters", "-o", "json"))
    return next(dict(each) for each in found if each["name"] == f"clusters/{name}")


def condition(cluster: dict[str, Any], kind: str) -> dict[str, Any]:
    """A condition of it; empty if it has none."""
    return next((each for each in cluster.get("conditions", ()) if each["type"] == kind), {})


async def in_state(federation: Federation, name: str, state: str) -> dict[str, Any]:
    """Wait until a cluster is in a state."""

    async def check() -> dict[str, Any] | None:
        found = await seen(federation, name)
        return found if found["state"] == state else None

    found = await until(check, what=f"{name} is {state}")
    assert found is not None
    return found


async def replicas(member: KubeApi) -> int:
    """How many replicas a member is to run; 0 if it has no such Deployment."""
    try:
        return int((await member.get(f"{APPS}/web"))["spec"]["replicas"])
    except ApiError as error:
        if error.status != 404:
            raise
        return 0


async def deployed(api: KubeApi, *, count: int) -> None:
    """The Deployment of the case, with a Service that has names."""
    await api.create(
        "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cred"}}
    )
    container = {"name": "c", "image": "nginx:1.27"}
    await api.create(
        APPS,
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web"},
            "spec": {
                "replicas": count,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}},
            },
        },
    )
    await api.create(
        "/api/v1/namespaces/cred/services",
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web"},
            "spec": {"type": "LoadBalancer", "selector": {"app": "web"}, "ports": [{"port": 80}]},
        },
    )


async def named(federation: Federation) -> set[str]:
    """The clusters whose addresses the global name answers."""
    records = json.loads(await federation.hanse("names", "cred/web", "-o", "json"))
    (found,) = [each for each in records if each["fqdn"].startswith("web.cred.hanse.svc.example.org")]
    return {each["cluster"] for each in found.get("endpoints", ())}


async def orphaned(federation: Federation, member: KubeApi, api: KubeApi) -> None:
    """What carries the federation's marks in a real member and nobody wants is shown, said on the Cluster,
    and removed or adopted by the commands that are shown."""
    marks = (await member.get(f"{APPS}/web"))["metadata"]["labels"]
    chosen = ("app.kubernetes.io/managed-by", "hanse.dev/federation")
    labels = {name: marks[name] for name in chosen}
    maps = "/api/v1/namespaces/cred/configmaps"
    uids: dict[str, str] = {}
    for name in ("stray", "lost"):
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}}
        uids[name] = (await member.create(maps, {**body, "data": {"a": name}}))["metadata"]["uid"]

    async def shown() -> bool:
        said = await federation.hanse("orphans")
        return all(f"configmaps/{name} -n cred --uid {uid}" in said for name, uid in uids.items())

    await until(shown, what="both are shown with the commands", seconds=120)

    async def condemned() -> bool:
        found = condition(await seen(federation, "m1"), "Orphans")
        return found.get("status") == "TRUE" and found["message"].startswith("2 objects")

    await until(condemned, what="the Cluster says so")
    where = ("-n", "cred", "--uid")
    await federation.hanse("orphans", "remove", "m1", "configmaps/stray", *where, uids["stray"])
    await federation.hanse("orphans", "adopt", "m1", "configmaps/lost", *where, uids["lost"])

    async def settled() -> bool:
        return condition(await seen(federation, "m1"), "Orphans").get("status") == "FALSE"

    await until(settled, what="nothing is left", seconds=120)
    kept = await member.get(f"{maps}/lost")
    assert kept["metadata"]["uid"] == uids["lost"]
    assert (await api.get(f"{maps}/lost"))["data"] == {"a": "lost"}
    names = {each["metadata"]["name"] for each in (await member.get(maps))["items"]}
    assert "stray" not in names


async def test_a_credential_that_was_revoked_moves_nothing(assets_dir: Path, tmp_path: Path) -> None:
    """The case `credential`: the Secret with the token is deleted in the member. It is up, so nothing moves,
    for longer than the toleration, and names stay; another credential, in place, and what waited arrives."""
    async with (
        RealClusters(assets_dir, tmp_path / "members", [ClusterSpec("m1"), ClusterSpec("m2")]) as clusters,
        Federation(tmp_path / "federation", environ=ENVIRON) as federation,
        federation.api() as api,
    ):
        first, second = clusters["m1"], clusters["m2"]
        token = await token_of_a_secret(first.api)
        await federation.join("m1", with_token(first, token, tmp_path / "m1.kubeconfig"))
        await federation.join("m2", second.kubeconfig_path)
        await deployed(api, count=4)

        async def ready() -> bool:
            status = (await api.get(f"{APPS}/web")).get("status", {})
            return status.get("readyReplicas") == 4 and await named(federation) == {"m1", "m2"}

        await until(ready, what="all replicas are ready, and both clusters have names")
        shares = [await replicas(member.api) for member in (first, second)]
        assert sum(shares) == 4
        before = await seen(federation, "m1")

        await first.api.delete(f"{SECRETS}/fed")
        refused = await in_state(federation, "m1", "CREDENTIAL_REFUSED")
        said = condition(refused, "Ready")
        assert "HTTP 401" in said["message"]
        assert "hanse update-credentials" in said["message"]
        since = datetime.fromisoformat(said["lastTransitionTime"])

        async def over() -> bool:
            await asyncio.sleep(0.2)
            return (datetime.now(UTC) - since).total_seconds() > 2 * TOLERATION

        await until(over, what="the toleration is over twice")
        await api.merge(f"{APPS}/web", {"metadata": {"annotations": {"step": "two"}}})

        async def told() -> bool:
            found = (await second.api.get(f"{APPS}/web"))["metadata"].get("annotations", {})
            return bool(found.get("step") == "two")

        await until(told, what="the other cluster goes on")
        assert [await replicas(member.api) for member in (first, second)] == shares
        assert await named(federation) == {"m1", "m2"}
        assert (await seen(federation, "m1"))["state"] == "CREDENTIAL_REFUSED"

        kubeconfig = ("--kubeconfig", str(first.kubeconfig_path))
        await federation.hanse("update-credentials", "m1", *kubeconfig)
        after = await in_state(federation, "m1", "READY")
        assert [after[each] for each in ("uid", "clusterId")] == [
            before[each] for each in ("uid", "clusterId")
        ]

        async def arrived() -> bool:
            found = (await first.api.get(f"{APPS}/web"))["metadata"].get("annotations", {})
            return bool(found.get("step") == "two")

        await until(arrived, what="what waited arrives")
        assert [await replicas(member.api) for member in (first, second)] == shares
        assert "no orphans" in await federation.hanse("orphans")
        await orphaned(federation, first.api, api)


async def test_an_account_of_the_federations_own(assets_dir: Path, tmp_path: Path) -> None:
    """It is made, its token renewed, said to be revoked when it is deleted there, made again in place, and
    removed with everything at the unjoin; a right that it lost is that kind's trouble alone."""
    async with (
        RealClusters(assets_dir, tmp_path / "members", [ClusterSpec("m1")]) as clusters,
        Federation(tmp_path / "federation", environ=ENVIRON) as federation,
        federation.api() as api,
    ):
        member = clusters["m1"].api
        credential = str(clusters["m1"].kubeconfig_path)
        await federation.hanse("join", "m1", "--cluster-kubeconfig", credential, "--service-account")
        await deployed(api, count=2)

        async def made(kind: str) -> list[str]:
            listed = (await member.get(kind))["items"]
            return [
                each["metadata"]["name"] for each in listed if each["metadata"]["name"].startswith("hanse-")
            ]

        kinds = ("/api/v1/namespaces", f"{RBAC}/clusterroles", f"{RBAC}/clusterrolebindings")
        (namespace,) = await made(kinds[0])
        assert [await made(kind) for kind in kinds] == [[namespace]] * 3

        hashes: set[str] = set()

        async def renewed() -> bool:
            found = await seen(federation, "m1")
            assert found["state"] == "READY"
            hashes.add(found["credentialHash"])
            return len(hashes) >= 3

        await until(renewed, what="the token is renewed twice")
        said = condition(await seen(federation, "m1"), "CredentialExpiring")
        assert (said["status"], said["reason"]) == ("FALSE", "TokenCurrent")
        await until(lambda: member.get(f"{APPS}/web"), what="the Deployment is there")
        uid = (await member.get(f"{APPS}/web"))["metadata"]["uid"]

        await member.delete(f"/api/v1/namespaces/{namespace}/serviceaccounts/hanse")
        refused = await in_state(federation, "m1", "CREDENTIAL_REFUSED")
        assert "was revoked there before its end" in condition(refused, "Ready")["message"]
        await federation.hanse("update-credentials", "m1", "--kubeconfig", credential, "--service-account")
        await in_state(federation, "m1", "READY")
        assert (await member.get(f"{APPS}/web"))["metadata"]["uid"] == uid

        # What is forbidden is said, and is no trouble of others.
        rules = (await member.get(f"{RBAC}/clusterroles/{namespace}"))["rules"]
        every = [
            "namespaces",
            "services",
            "configmaps",
            "nodes",
            "pods",
            "endpoints",
            "serviceaccounts/token",
        ]
        less = [
            {"apiGroups": [""], "resources": every, "verbs": ["*"]},
            {"apiGroups": ["apps", "discovery.k8s.io"], "resources": ["*"], "verbs": ["*"]},
        ]
        core = "/api/v1/namespaces/cred"
        await api.create(f"{core}/secrets", {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}})
        await until(lambda: member.get(f"{core}/secrets/s"), what="the Secret is there")
        await member.merge(f"{RBAC}/clusterroles/{namespace}", {"rules": less})
        await api.merge(f"{core}/secrets/s", {"stringData": {"a": "b"}})
        await api.create(
            f"{core}/configmaps", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
        )
        await until(lambda: member.get(f"{core}/configmaps/c"), what="the ConfigMap arrives")

        async def forbidden() -> dict[str, Any] | None:
            state = await api.get("/apis/hanse.dev/v1alpha1/namespaces/cred/syncstates/secrets.s.m1")
            return state if state.get("reason") == "Forbidden" else None

        state = await until(forbidden, what="the Secret is forbidden")
        assert state is not None
        assert "may not patch" in state["message"]

        async def lacking() -> str:
            found = condition(await seen(federation, "m1"), "RightsMissing")
            return found.get("message", "") if found.get("status") == "TRUE" else ""

        assert "patch secrets" in await until(lacking, what="the cluster says which rights are missing")
        assert (await seen(federation, "m1"))["state"] == "READY"
        await member.merge(f"{RBAC}/clusterroles/{namespace}", {"rules": rules})

        async def whole() -> bool:
            return "data" in await member.get(f"{core}/secrets/s")

        await until(whole, what="the Secret is as it should be", seconds=120)

        await federation.hanse("unjoin", "m1", "--confirm-impact", "removed=2,moved=0")

        async def gone() -> bool:
            return [await made(kind) for kind in kinds] == [[], [], []]

        await until(gone, what="nothing of the account is left")
