"""Who may do what over REST."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from hanse_apiserver import app

from hanse.process.settings import TlsFiles
from hanse.security.pki import CertificateAuthority
from tests.apiserver.world import World, config_map, namespace

CONFIG_MAPS = "/api/v1/namespaces/shop/configmaps"


async def test_anonymous_gets_nothing_but_health(world: World) -> None:
    """Without a certificate or a token every request but health is 401."""
    nobody = world.session("")
    for path in ("/api", "/apis", "/version", CONFIG_MAPS, "/apis/hanse.dev/v1alpha1/clusters"):
        assert (await world.call("GET", path, session=nobody)).status == 401, path
    for path in ("/healthz", "/livez", "/readyz", "/readyz/etcd"):
        assert (await world.call("GET", path, session=nobody)).status == 200, path


async def test_a_stranger_may_only_ask_about_itself(world: World) -> None:
    """An authenticated user outside of all groups is told who it is and what it may do: nothing, not even see
    what is served."""
    stranger = world.session("somebody", "people")
    for path in ("/api", "/apis", "/apis/apps/v1", "/openapi/v2", "/openapi/v3", "/version", CONFIG_MAPS):
        assert (await world.call("GET", path, session=stranger)).status == 403, path
    for path in ("/healthz", "/livez", "/readyz"):
        assert (await world.call("GET", path, session=stranger)).status == 200, path
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    answer = await world.call(
        "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", asked, session=stranger
    )
    assert answer.status == 201, answer
    assert answer.body["status"]["userInfo"]["username"] == "somebody"
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": "list", "resource": "configmaps", "namespace": "shop"}},
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    answer = await world.call("POST", path, review, session=stranger)
    assert answer.status == 201, answer
    assert answer.body["status"]["allowed"] is False
    answer = await world.call("POST", path, review)
    assert answer.body["status"]["allowed"] is True


async def test_what_a_stranger_may_ask_is_short(world: World) -> None:
    """Whoever has a certificate may send a review, so nothing large is read of one."""
    stranger = world.session("somebody")
    for kind, group in (("SelfSubjectReview", "authentication"), ("SelfSubjectRulesReview", "authorization")):
        review = {"apiVersion": f"{group}.k8s.io/v1", "kind": kind, "spec": {"namespace": "x" * 70_000}}
        path = f"/apis/{group}.k8s.io/v1/{kind.lower()}s"
        answer = await world.call("POST", path, review, session=stranger)
        assert answer.status == 413, answer
        review["spec"] = {"namespace": "x" * 60_000}
        assert (await world.call("POST", path, review, session=stranger)).status == 201


async def test_a_kind_of_a_custom_group_gives_no_right_by_its_name(world: World) -> None:
    """What everybody may ask, and what services may report, is of Kubernetes' own groups alone."""
    callers = {
        "selfsubjectreviews": world.session("somebody"),
        "events": world.session("hanse:service:scheduler", "hanse:services"),
    }
    for plural, session in callers.items():
        kind = {"plural": plural, "singular": plural[:-1], "kind": "Odd", "listKind": "OddList"}
        schema = {"openAPIV3Schema": {"type": "object"}}
        crd = {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{plural}.example.org"},
            "spec": {
                "group": "example.org",
                "scope": "Cluster",
                "names": kind,
                "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
            },
        }
        await world.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd)
        path = f"/apis/example.org/v1/{plural}"
        obj = {"apiVersion": "example.org/v1", "kind": "Odd", "metadata": {"name": "x"}}
        answer = await world.call("POST", path, obj, session=session)
        assert answer.status == 403, answer


async def test_strangers_who_send_half_a_body_take_no_seat_of_users() -> None:
    """However many they are: they have few seats, which are theirs."""
    async with World(max_requests=4, max_requests_per_user=2) as world:
        hold = asyncio.Event()
        asked = asyncio.Semaphore(0)

        async def half() -> AsyncIterator[bytes]:
            yield b'{"kind"'
            asked.release()
            await hold.wait()

        async def review(name: str) -> None:
            path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
            headers = {"Content-Type": "application/json"}
            url = f"https://{world.apiserver.https}{path}"
            with contextlib.suppress(aiohttp.ClientError):
                await world.session(name).post(url, data=half(), headers=headers)

        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            names = [f"stranger-{number}" for number in range(6)]
            held = [tasks.create_task(review(name)) for name in names for _ in range(2)]
            for _ in held:
                await asked.acquire()
            for _ in range(4):
                async with asyncio.timeout(10):
                    assert (await world.call("GET", "/api/v1/configmaps")).status == 200
            for each in held:
                each.cancel()


async def test_each_service_may_do_over_rest_what_it_needs(world: World) -> None:
    """The syncer reads all but Secrets, the registry Clusters, the scheduler reports, dns does nothing."""
    await world.create(CONFIG_MAPS, config_map("c"))
    clusters, events = "/apis/hanse.dev/v1alpha1/clusters", "/api/v1/namespaces/shop/events"
    expected = {
        "syncer": {CONFIG_MAPS: 200, clusters: 200, "/api/v1/secrets": 403, events: 201},
        "registry": {CONFIG_MAPS: 403, clusters: 200, "/api/v1/secrets": 403, events: 201},
        "scheduler": {CONFIG_MAPS: 403, clusters: 403, "/api/v1/secrets": 403, events: 201},
        "dns": {CONFIG_MAPS: 403, clusters: 403, "/api/v1/secrets": 403, events: 403},
    }
    for service, answers in expected.items():
        session = world.session(f"hanse:service:{service}", "hanse:services")
        event = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": service, "namespace": "shop"}}
        event |= {"involvedObject": {"kind": "ConfigMap", "namespace": "shop", "name": "c"}, "reason": "R"}
        for path, status in answers.items():
            creates = path == events
            answer = await world.call(
                "POST" if creates else "GET", path, event if creates else None, session=session
            )
            assert answer.status == status, (service, path, answer)


async def test_viewers_read_everything_but_secrets(world: World) -> None:
    """The viewer groups get, list and watch, and neither write nor see Secrets."""
    await world.create(CONFIG_MAPS, config_map("c"))
    viewer = world.session("eve", "hanse:viewers")
    assert (await world.call("GET", f"{CONFIG_MAPS}/c", session=viewer)).status == 200
    assert (await world.call("GET", "/api/v1/namespaces/shop/secrets", session=viewer)).status == 403
    assert (await world.call("DELETE", f"{CONFIG_MAPS}/c", session=viewer)).status == 403


async def test_bearer_tokens(tmp_path: Path) -> None:
    """A token of the token file is its user; an unknown one is refused; a new one counts at once."""
    tokens = tmp_path / "tokens.csv"
    tokens.write_text('secret,bob,1,"system:masters"\n')
    async with World(token_file=str(tokens)) as world:
        await world.create("/api/v1/namespaces", namespace())
        nobody = world.session("")
        good = {"Authorization": "Bearer secret"}
        bad = {"Authorization": "Bearer other"}
        assert (await world.call("GET", CONFIG_MAPS, headers=good, session=nobody)).status == 200
        assert (await world.call("GET", CONFIG_MAPS, headers=bad, session=nobody)).status == 401
        tokens.write_text('secret,bob,1,"system:masters"\nother,ann,2,"system:masters"\n')
        assert (await world.call("GET", CONFIG_MAPS, headers=bad, session=nobody)).status == 200


async def test_a_token_that_is_gone_or_changed_ends_its_watches(tmp_path: Path) -> None:
    """Whoever watched as an administrator watches no longer when it is one no more."""
    tokens = tmp_path / "tokens.csv"
    both = 'first,bob,1,"system:masters"\nsecond,ann,2,"system:masters"\n'
    for after in ('second,ann,2,"system:masters"\n', f'{both}first,bob,1,"hanse:viewers"\n'):
        tokens.write_text(both)
        async with World(token_file=str(tokens)) as world:
            nobody, path = world.session(""), "/api/v1/secrets"
            first, second = ({"Authorization": f"Bearer {each}"} for each in ("first", "second"))
            query = {"watch": "true", "resourceVersion": "0"}
            async with (
                nobody.get(path, params=query, headers=first) as cut,
                nobody.get(path, params=query, headers=second) as kept,
            ):
                tokens.write_text(after)
                with pytest.raises(aiohttp.ClientError):
                    await asyncio.wait_for(cut.content.read(), 10)
                await world.create("/api/v1/namespaces", namespace())
                secret = {
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": {"name": "s", "namespace": "shop"},
                }
                await world.create("/api/v1/namespaces/shop/secrets", secret)
                assert b"ADDED" in await asyncio.wait_for(kept.content.readline(), 10)


async def test_only_administrators_impersonate(world: World) -> None:
    """Administrators act as anybody, with that one's rights; viewers, services and strangers as nobody."""
    await world.create(CONFIG_MAPS, config_map("c"))
    nobody = {"Impersonate-User": "nobody"}
    viewer = {"Impersonate-User": "eve", "Impersonate-Group": "hanse:viewers"}
    assert (await world.call("GET", f"{CONFIG_MAPS}/c", headers=nobody)).status == 403
    assert (await world.call("GET", f"{CONFIG_MAPS}/c", headers=viewer)).status == 200
    assert (await world.call("DELETE", f"{CONFIG_MAPS}/c", headers=viewer)).status == 403
    for name, group in (("eve", "hanse:viewers"), ("hanse:service:registry", "hanse:services"), ("x", "y")):
        session = world.session(name, group)
        for headers in ({"Impersonate-User": "hanse-admin"}, {**viewer, "Impersonate-Group": "hanse:admins"}):
            answer = await world.call("GET", f"{CONFIG_MAPS}/c", headers=headers, session=session)
            assert (answer.status, answer.body["reason"]) == (403, "Forbidden")
            assert f'User "{name}" cannot impersonate resource "users"' in answer.body["message"]


async def test_a_revoked_certificate_is_refused_and_its_watches_end(tmp_path: Path) -> None:
    """Over REST too it counts no more at once, and what it has open is cut off."""
    denied = tmp_path / "denied"
    denied.write_text("")
    async with World(deny_list_file=str(denied)) as world:
        viewer = world.session("eve", "hanse:viewers")
        path = "/api/v1/configmaps"
        assert (await world.call("GET", path, session=viewer)).status == 200
        async with viewer.get(path, params={"watch": "true", "resourceVersion": "0"}) as watch:
            denied.write_text("name:eve\n")
            with pytest.raises(aiohttp.ClientError):
                await asyncio.wait_for(watch.content.read(), 10)
        answer = await world.call("GET", path, session=viewer)
        assert answer.status == 401, answer
        assert "revoked" in answer.body["message"]
        assert (await world.call("GET", path)).status == 200


@pytest.mark.parametrize("damaged", ["crt", "key"])
async def test_rest_serves_on_while_a_file_of_its_certificate_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: str
) -> None:
    """With the last one that was good."""
    monkeypatch.setattr(app, "RELOAD_SECONDS", 0.01)
    async with World() as world:
        address = world.apiserver.https.rpartition(":")

        def shown() -> str:
            return ssl.get_server_certificate((address[0], int(address[2])))

        before = await asyncio.to_thread(shown)
        looks, stamp = 0, TlsFiles.stamp

        def counted(files: TlsFiles) -> tuple[int, ...]:
            nonlocal looks
            looks += 1
            return stamp(files)

        other = world.authority.issue_local("hanse:service:apiserver")
        content = other.cert_pem if damaged == "crt" else b""
        (world.directory / f"hanse-service-apiserver.{damaged}").write_bytes(content)
        monkeypatch.setattr(TlsFiles, "stamp", counted)
        async with asyncio.timeout(20):
            while looks < 20:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert await asyncio.to_thread(shown) == before


async def test_an_authority_that_is_gone_lets_nobody_in_over_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by a new connection nor by one that is open; clients of the new one are served all the time."""
    monkeypatch.setattr(app, "RELOAD_SECONDS", 0.05)
    async with World() as world:
        pairs = world.authority.pair, CertificateAuthority.create().pair
        both = b"".join(each.cert_pem for each in pairs)
        old, following = (CertificateAuthority(each, trusted=both) for each in pairs)
        ca, path = world.directory / "ca.crt", "/api/v1/configmaps"
        ca.write_bytes(both)
        world.authority = old
        before = world.session("ann", "system:masters")
        world.authority = following
        after = world.session("bob", "system:masters")
        server = following.issue_local("hanse:service:apiserver", organizations=("hanse:services",))
        server.write(world.directory, "hanse-service-apiserver")

        async def served(session: aiohttp.ClientSession) -> bool:
            try:
                return (await world.call("GET", path, session=session)).status == 200
            except aiohttp.ClientError:
                return False

        async with asyncio.timeout(20):
            while not await served(after):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert await served(before)
        async with before.get(path, params={"watch": "true", "resourceVersion": "0"}) as watch:
            ca.write_bytes(following.pair.cert_pem)
            with pytest.raises(aiohttp.ClientError):
                await asyncio.wait_for(watch.content.read(), 10)
        assert not await served(before)
        world.authority = CertificateAuthority(old.pair, trusted=following.pair.cert_pem)
        again = world.session("cho", "system:masters")
        async with asyncio.timeout(20):
            while await served(again):  # noqa: ASYNC110 - until TLS has taken it up
                await asyncio.sleep(0.05)
        assert await served(after)


async def test_rest_serves_a_renewed_certificate_without_a_restart(tmp_path: Path) -> None:
    """New connections get the certificate that is in the files now."""
    async with World() as world:
        address = world.apiserver.https.rpartition(":")

        def shown() -> str:
            return ssl.get_server_certificate((address[0], int(address[2])))

        before = await asyncio.to_thread(shown)
        pair = world.authority.issue_local("hanse:service:apiserver", organizations=("hanse:services",))
        pair.write(world.directory, "hanse-service-apiserver")
        async with asyncio.timeout(20):
            while await asyncio.to_thread(shown) == before:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        assert pair.cert_pem.decode().strip() == (await asyncio.to_thread(shown)).strip()
        assert (await world.call("GET", "/api/v1/configmaps")).status == 200
