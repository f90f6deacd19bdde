"""Who may act as whom, and that whoever does has the rights of that user and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from hanse.errors import InvalidArgumentError
from hanse.kube.engine.hooks import AdmissionRequest
from hanse.kube.model.identity import User
from hanse.kube.model.objects import Object
from hanse.kube.server.impersonation import impersonation_of
from hanse.store import MemoryStore
from tests.kube.server.world import CONFIGMAPS, Kubectl, World, config_map
from tests.support.machine.raw import raw
from tests.support.object_client import ObjectClient

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
MAY = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


async def _call(
    client: ObjectClient, method: str, path: str, headers: dict[str, str], body: Any = None
) -> tuple[int, Object]:
    data = None if body is None else orjson.dumps(body)
    given = {"Content-Type": "application/json", **headers}
    status, _, answer = await raw(client, method, path, body=data, headers=given)
    return status, orjson.loads(answer)


@pytest.mark.parametrize(
    ("headers", "user", "asked"),
    [
        ([], None, []),
        ([("Impersonate-User", "")], None, []),
        ([("impersonate-user", "ann")], User("ann", ("system:authenticated",)), ["users ann"]),
        (
            [("Impersonate-User", "ann"), ("Impersonate-Group", "a"), ("Impersonate-Group", "b")],
            User("ann", ("a", "b", "system:authenticated")),
            ["users ann", "groups a", "groups b"],
        ),
        (
            [("Impersonate-User", "ann"), ("Impersonate-Group", "system:authenticated")],
            User("ann", ("system:authenticated",)),
            ["users ann", "groups system:authenticated"],
        ),
        (
            [("Impersonate-User", "system:anonymous")],
            User("system:anonymous", ("system:unauthenticated",)),
            ["users system:anonymous"],
        ),
        (
            [("Impersonate-User", "system:serviceaccount:shop:bot")],
            User(
                "system:serviceaccount:shop:bot",
                ("system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"),
            ),
            ["serviceaccounts shop/bot"],
        ),
        (
            [("Impersonate-User", "system:serviceaccount:shop")],
            User("system:serviceaccount:shop", ("system:authenticated",)),
            ["users system:serviceaccount:shop"],
        ),
        (
            [("Impersonate-User", "ann"), ("Impersonate-Uid", "7"), ("Impersonate-Extra-A.com%2FTeam", "x")],
            User("ann", ("system:authenticated",), "7", {"a.com/team": ("x",)}),
            ["users ann", "userextras/a.com/team x", "uids 7"],
        ),
    ],
)  # fmt: skip
def test_headers_say_who_and_what_must_be_allowed(
    headers: list[tuple[str, str]], user: User | None, asked: list[str]
) -> None:
    """The groups that Kubernetes adds are added, and each thing that is taken on is asked about."""
    found = impersonation_of(headers)
    assert (found.user if found else None) == user
    said = [
        f"{path.resource}{'/' if path.subresource else ''}{path.subresource}"
        f" {path.namespace}{'/' if path.namespace else ''}{path.name}"
        for path in (found.asked if found else ())
    ]
    assert said == asked


@pytest.mark.parametrize("header", ["Impersonate-Group", "Impersonate-Uid", "Impersonate-Extra-Scopes"])
def test_nothing_is_taken_on_without_a_user(header: str) -> None:
    """Groups, uid and extra alone are refused, and so is what is no text."""
    with pytest.raises(InvalidArgumentError, match="without impersonating a user"):
        impersonation_of([(header, "x")])
    with pytest.raises(InvalidArgumentError, match="printable"):
        impersonation_of([("Impersonate-User", "ann"), (header, "\udc80")])


async def test_an_administrator_who_acts_as_nobody_may_do_nothing(world: World) -> None:
    """The rights are those of the impersonated user: neither reads nor writes, nor paths, get through."""
    as_nobody = {"Impersonate-User": "nobody"}
    async with world.client() as admin:
        await admin.create(CONFIGMAPS, config_map("a"))
        for method, path, body in (
            ("GET", f"{CONFIG_MAPS}/a", None),
            ("POST", CONFIG_MAPS, config_map("b")),
            ("DELETE", f"{CONFIG_MAPS}/a", {}),
        ):
            status, answer = await _call(admin, method, path, as_nobody, body)
            assert (status, answer["reason"]) == (403, "Forbidden")
            assert 'User "nobody" cannot' in answer["message"]
        status, answer = await _call(admin, "GET", "/metrics", as_nobody)
        assert (status, answer["message"]) == (403, 'forbidden: User "nobody" cannot get path "/metrics"')
        assert await admin.get(CONFIGMAPS, "a", namespace="default")
        status, answer = await _call(admin, "GET", "/api", {"Impersonate-Group": "system:masters"})
        assert (status, answer["reason"]) == (400, "BadRequest")


async def test_who_may_not_impersonate_is_refused(world: World) -> None:
    """403 with Kubernetes' words, whatever is asked for then, and be it oneself."""
    async with world.client(token="low-token") as client:
        for user, resource, name, scope in (
            ("bob", "users", "bob", "at the cluster scope"),
            ("system:serviceaccount:shop:bot", "serviceaccounts", "bot", 'in the namespace "shop"'),
        ):
            message = (
                f'{resource} "{name}" is forbidden: User "eve" cannot impersonate resource "{resource}"'
                f' in API group "" {scope}'
            )
            for path in ("/api", f"{CONFIG_MAPS}/a"):
                status, answer = await _call(client, "GET", path, {"Impersonate-User": user})
                assert (status, answer["reason"], answer["message"]) == (403, "Forbidden", message)
        assert (await _call(client, "GET", "/api", {"Impersonate-User": "eve"}))[0] == 403


async def test_each_part_of_an_impersonation_is_authorized(memory: MemoryStore, tmp_path: Path) -> None:
    """The authorizer is asked about each part by itself: that user, that group, that extra, that uid."""
    allowed = ("impersonate /users/ ann", "impersonate authentication.k8s.io/userextras/team x")
    world = World(memory, tmp_path, allowed=allowed)
    async with world, world.client(token="low-token") as client:
        ann = {"Impersonate-User": "ann"}
        assert (await _call(client, "GET", "/api", ann))[0] == 200
        assert (await _call(client, "GET", "/api", {"Impersonate-User": "bob"}))[0] == 403
        status, answer = await _call(client, "GET", "/api", {**ann, "Impersonate-Group": "system:masters"})
        assert status == 403
        assert answer["message"].startswith('groups "system:masters" is forbidden: User "eve" cannot')
        assert (await _call(client, "GET", "/api", {**ann, "Impersonate-Extra-Team": "x"}))[0] == 200
        status, answer = await _call(client, "GET", "/api", {**ann, "Impersonate-Extra-Team": "y"})
        assert answer["message"] == (
            'userextras.authentication.k8s.io "y" is forbidden: User "eve" cannot impersonate resource'
            ' "userextras/team" in API group "authentication.k8s.io" at the cluster scope'
        )
        status, answer = await _call(client, "GET", "/api", {**ann, "Impersonate-Uid": "7"})
        assert answer["message"].startswith('uids.authentication.k8s.io "7" is forbidden')


class Seen:
    """Admission that notes who writes."""

    def __init__(self) -> None:
        self.users: list[User] = []

    async def admit(self, request: AdmissionRequest) -> Object:
        """Note it."""
        if request.info.plural == "configmaps":
            self.users.append(request.user)
        return request.object


async def test_everything_after_sees_the_impersonated_user(memory: MemoryStore, tmp_path: Path) -> None:
    """Admission, reviews of oneself and of one's rights speak of whom the request acts as."""
    seen = Seen()
    async with World(memory, tmp_path, admission=[seen]) as world, world.client() as admin:
        headers = {
            "Impersonate-User": "ann",
            "Impersonate-Group": "hanse:admins",
            "Impersonate-Uid": "7",
            "Impersonate-Extra-Team": "x",
        }
        assert (await _call(admin, "POST", CONFIG_MAPS, headers, config_map("a")))[0] == 201
        expected = User("ann", ("hanse:admins", "system:authenticated"), "7", {"team": ("x",)})
        assert seen.users == [expected]
        _, who = await _call(admin, "POST", WHO, headers, {})
        info = {"username": "ann", "groups": list(expected.groups), "uid": "7", "extra": {"team": ["x"]}}
        assert who["status"]["userInfo"] == info
        review = {"spec": {"resourceAttributes": {"verb": "list", "resource": "configmaps"}}}
        for asking, allowed in ((headers, True), ({"Impersonate-User": "ann"}, False)):
            _, may = await _call(admin, "POST", MAY, asking, review)
            assert may["status"]["allowed"] is allowed


@pytest.mark.kubectl
async def test_kubectl_acts_as_somebody_else(kubectl: Kubectl, world: World) -> None:
    """`--as` and `--as-group` take the administrator's rights away, and give those of the group."""
    refused = await kubectl.run("get", "configmaps", "--as=nobody")
    assert 'configmaps is forbidden: User "nobody" cannot list resource "configmaps"' in refused.err
    assert (await kubectl.run("auth", "can-i", "create", "pods", "--as=nobody")).out == "no\n"
    admin = ("--as=ann", "--as-group=hanse:admins")
    assert (await kubectl("auth", "can-i", "create", "pods", *admin)) == "yes\n"
    who = await kubectl.json("auth", "whoami", *admin)
    assert who["status"]["userInfo"]["username"] == "ann"
    assert who["status"]["userInfo"]["groups"] == ["hanse:admins", "system:authenticated"]
    assert "created" in await kubectl("create", "configmap", "a", *admin)
    bot = await kubectl.json("auth", "whoami", "--as=system:serviceaccount:shop:bot")
    assert "system:serviceaccounts:shop" in bot["status"]["userInfo"]["groups"]
    low = ("--token=low-token", f"--server={world.server.url}", "--insecure-skip-tls-verify")
    lone = await kubectl.run("get", "cm", *low, "--as=bob", "--kubeconfig=/dev/null")
    assert lone.code == 1
    assert 'User "eve" cannot impersonate resource "users" in API group "" at the cluster scope' in lone.err
