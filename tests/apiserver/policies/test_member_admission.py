"""Members are asked before an object is stored. Scheduler, syncer and members are real; kubectl shows it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import orjson
import pytest
from aiohttp import web
from hanse_apiserver.settings import ApiserverSettings

from hanse.api.scheduler.v1.scheduler_service_pb2_grpc import SchedulerServiceStub
from hanse.errors import ConfigError
from hanse.kube.model.objects import Object
from hanse.rpc.channel import RpcChannel
from hanse.security.auth import service_name
from hanse.store import MemoryStore
from tests.apiserver.policies.test_impact import serve
from tests.apiserver.world import World, config_map, namespace
from tests.support.federation.federation import Federation
from tests.support.federation.member import Member
from tests.support.waiting import until
from tests.syncer.test_service import served

POLICIES = "/apis/hanse.dev/v1alpha1/clusterplacementpolicies"
MAPS = "/api/v1/namespaces/shop/configmaps"
DENIED = 'admission webhook "policy.example.org" denied the request: no team'
ANNOTATION = "hanse.dev/member-admission"
CRD: Object = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "carts.shop.example.org"},
    "spec": {
        "group": "shop.example.org",
        "scope": "Namespaced",
        "names": {"kind": "Cart", "plural": "carts", "singular": "cart"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                },
            }
        ],
    },
}
CARTS = "/apis/shop.example.org/v1/namespaces/shop/carts"
CART: Object = {
    "apiVersion": "shop.example.org/v1",
    "kind": "Cart",
    "metadata": {"name": "c"},
    "spec": {"a": 1},
}


def refusal(code: int = 403, reason: str = "Forbidden", message: str = DENIED, **details: Any) -> Any:
    """A fault: the member refuses dry runs so."""

    async def fault(request: web.Request) -> web.StreamResponse | None:
        if "dryRun=All" not in request.path_qs:
            return None
        status = {
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
            "message": message, "details": details,
        }  # fmt: skip
        return web.json_response(status, status=code)

    return fault


class Asked:
    """A federation with the member `eu`, which says what the test wants."""

    def __init__(self, world: World, member: Member) -> None:
        self.world = world
        self.member = member

    @property
    def dry_runs(self) -> int:
        """How often the member was asked."""
        return sum("dryRun=All" in path for _, path in self.member.requests)

    async def create(self, path: str, obj: Object, **options: Any) -> tuple[int, Any, list[str]]:
        """Create an object; return the code, the answer and the warnings."""
        session = options.pop("session", self.world.admin)
        async with session.post(path, json=obj, **options) as response:
            return response.status, await response.json(), response.headers.getall("Warning", [])

    async def set_mode(self, mode: str | None) -> None:
        """Annotate the namespace."""
        answer = await self.world.call(
            "PATCH", "/api/v1/namespaces/shop", {"metadata": {"annotations": {ANNOTATION: mode}}},
            content_type="application/merge-patch+json",
        )  # fmt: skip
        assert answer.status == 200, answer

    async def policy(self, mode: str | None, name: str = "web", **spec: Any) -> None:
        """Have a policy for ConfigMaps."""
        obj = {
            "apiVersion": "hanse.dev/v1alpha1",
            "kind": "ClusterPlacementPolicy",
            "metadata": {"name": name},
            "spec": {
                "resourceSelectors": [{"apiVersion": "v1", "kind": "ConfigMap"}],
                **({"memberAdmission": mode} if mode else {}),
                **spec,
            },
        }
        answer = await self.world.call(
            "PATCH",
            f"{POLICIES}/{name}?fieldManager=test&force=true",
            obj,
            content_type="application/apply-patch+yaml",
        )
        assert answer.status in (200, 201), answer


async def run(stack: AsyncExitStack, **settings: Any) -> Asked:
    """Start everything."""
    member = await stack.enter_async_context(Member("eu"))
    store = MemoryStore()
    fed = await stack.enter_async_context(Federation(store, members=[member]))
    await fed.found()
    scheduler = await serve(stack, store)
    channel = await stack.enter_async_context(RpcChannel(scheduler.address, tls=None, timeout=10))
    syncer = await stack.enter_async_context(served(fed))
    world = await stack.enter_async_context(
        World(store, scheduler=SchedulerServiceStub(channel), syncer=syncer, **settings)
    )
    await world.create("/api/v1/namespaces", namespace())
    await member.create("core/namespaces/_/shop", namespace())
    return Asked(world, member)


@pytest.fixture
async def asked() -> AsyncIterator[Asked]:
    """The usual settings, and a member that refuses whatever it is asked about."""
    async with AsyncExitStack() as stack:
        found = await run(stack)
        found.member.fault = refusal()
        yield found


async def test_what_is_checked_here_is_not_asked_about(asked: Asked) -> None:
    """By default a ConfigMap is stored without a word, and no member hears of it."""
    code, _, warnings = await asked.create(MAPS, config_map("c"))
    assert (code, warnings, asked.dry_runs) == (201, [], 0)


async def test_a_custom_resource_is_stored_with_a_warning(asked: Asked) -> None:
    """The words are the member's, with its name; the object is what the author wrote all the same."""
    await asked.world.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", CRD)

    async def established() -> bool:
        return (await asked.world.call("GET", CARTS)).status == 200

    await until(established)
    for member_crd in [CRD]:
        await asked.member.create(
            "apiextensions.k8s.io/customresourcedefinitions/_/carts.shop.example.org", member_crd
        )
    # What the member serves is not known to the federation yet: it is asked when somebody has looked.
    await asked.world.store.delete("catalogues/eu")
    code, _, warnings = await asked.create(CARTS, CART)
    assert code == 201
    escaped = DENIED.replace('"', '\\"')
    assert warnings == [f'299 - "cluster eu would refuse this object: {escaped}"']


async def test_the_namespace_says_what_becomes_of_a_refusal(asked: Asked) -> None:
    """Refuse, Warn and Off; what is there already can be changed again when it is Off."""
    await asked.set_mode("Refuse")
    code, body, _ = await asked.create(MAPS, config_map("c"))
    assert (code, body["reason"]) == (403, "Forbidden")
    assert body["message"] == f"cluster eu refuses it: {DENIED}"
    assert (await asked.world.call("GET", f"{MAPS}/c")).status == 404
    await asked.set_mode("Warn")
    code, _, warnings = await asked.create(MAPS, config_map("c"))
    assert (code, len(warnings)) == (201, 1)
    await asked.set_mode("Refuse")
    for content_type in ("merge-patch+json", "strategic-merge-patch+json", "apply-patch+yaml"):
        applied = config_map("c") | {"data": {"x": content_type}}
        answer = await asked.world.call(
            "PATCH", f"{MAPS}/c?fieldManager=t&force=true" if "apply" in content_type else f"{MAPS}/c",
            applied, content_type=f"application/{content_type}",
        )  # fmt: skip
        assert answer.status == 403, answer
    await asked.set_mode("Off")
    before = asked.dry_runs
    answer = await asked.world.call(
        "PATCH", f"{MAPS}/c", {"data": {"x": "1"}}, content_type="application/merge-patch+json"
    )
    assert (answer.status, asked.dry_runs) == (200, before)


async def test_a_policy_outweighs_its_namespace(asked: Asked) -> None:
    """The one that decides where the object goes; and one that says nothing leaves it to the namespace."""
    await asked.policy("Refuse")
    assert (await asked.create(MAPS, config_map("c")))[0] == 403
    await asked.policy(None)
    assert (await asked.create(MAPS, config_map("c"), params={"dryRun": "All"}))[0] == 201
    await asked.set_mode("Refuse")
    assert (await asked.create(MAPS, config_map("c")))[0] == 403
    await asked.policy("Off")
    code, _, warnings = await asked.create(MAPS, config_map("c"))
    assert (code, warnings) == (201, [])


async def test_only_the_clusters_that_the_scheduler_chooses_are_asked(asked: Asked) -> None:
    """A policy that has the object nowhere asks nobody; one that overrides it has the override tried."""
    await asked.policy("Refuse", clusterNames=["us"])
    assert (await asked.create(MAPS, config_map("c")))[0] == 201
    assert asked.dry_runs == 0


async def test_a_dry_run_is_tried_as_well(asked: Asked) -> None:
    """`kubectl apply --dry-run=server` says what an apply would say, and so does `kubectl create`."""
    manifest = orjson.dumps({**config_map("c"), "metadata": {"name": "c", "namespace": "shop"}}).decode()
    await asked.set_mode("Warn")
    ran = await asked.world.kubectl("apply", "--dry-run=server", "-f", "-", stdin=manifest)
    assert f"Warning: cluster eu would refuse this object: {DENIED}" in ran.err
    await asked.set_mode("Refuse")
    ran = await asked.world.kubectl("apply", "--dry-run=server", "-f", "-", stdin=manifest, check=False)
    assert ran.code == 1
    assert f'(Forbidden): error when creating "STDIN": cluster eu refuses it: {DENIED}' in ran.err


async def test_kubectl_shows_what_is_invalid_and_where(asked: Asked) -> None:
    """422: kubectl shows the causes, so they have the cluster's name; without causes the words are one."""
    manifest = orjson.dumps({**config_map("c"), "metadata": {"name": "c", "namespace": "shop"}}).decode()
    await asked.set_mode("Refuse")
    cause = {"reason": "FieldValueInvalid", "field": "data.x", "message": "must be blue"}
    for causes, words in (([cause], "data.x: cluster eu: must be blue"), ([], "cluster eu: nothing fits")):
        asked.member.fault = refusal(422, "Invalid", "nothing fits", causes=causes)
        ran = await asked.world.kubectl("create", "-f", "-", stdin=manifest, check=False)
        assert ran.code == 1
        assert 'The ConfigMap "c" is invalid' in ran.err
        assert words in ran.err, ran.err


@pytest.mark.parametrize(
    ("said", "code"),
    [((400, "BadRequest"), 400), ((413, "RequestEntityTooLarge"), 413), ((404, "NotFound"), 403)],
)
async def test_the_status_is_the_members(asked: Asked, said: tuple[int, str], code: int) -> None:
    """As far as it can mean nothing else: 404 of a webhook would be taken for the federation's own."""
    await asked.set_mode("Refuse")
    asked.member.fault = refusal(*said)
    assert (await asked.create(MAPS, config_map("c")))[0] == code


async def test_who_cannot_be_asked_refuses_nothing(asked: Asked) -> None:
    """A member that is down, refuses the credential or talks nonsense; a scheduler that is away."""
    await asked.set_mode("Refuse")

    async def nonsense(request: web.Request) -> web.StreamResponse | None:
        return web.Response(text="<html>welcome</html>") if "dryRun" in request.path_qs else None

    faults = (
        nonsense,
        refusal(401, "Unauthorized", "Unauthorized"),
        refusal(403, "Forbidden", 'configmaps is forbidden: User "hanse" cannot patch resource "configmaps"'),
        refusal(404, "NotFound", 'namespaces "shop" not found', name="shop", kind="namespaces"),
        refusal(500, "InternalError", 'failed calling webhook "a.b": timeout'),
    )
    for number, fault in enumerate(faults):
        asked.member.fault = fault
        code, body, warnings = await asked.create(MAPS, config_map(f"c{number}"))
        assert (code, warnings) == (201, []), body
    await asked.member.stop()
    assert (await asked.create(MAPS, config_map("down")))[::2] == (201, [])


async def test_services_and_status_are_not_asked_about(asked: Asked) -> None:
    """What the federation writes itself is not a user's; neither is a status, nor what changes nothing."""
    await asked.set_mode("Refuse")
    session = asked.world.session(service_name("registry"), "hanse:services", "system:masters")
    code, body, _ = await asked.create(MAPS, config_map("c"), session=session)
    assert code == 201, body
    found = await asked.world.get(f"{MAPS}/c")
    assert (await asked.world.call("PUT", f"{MAPS}/c", found)).status == 200
    assert asked.dry_runs == 0


async def test_a_mode_that_there_is_not_is_refused(asked: Asked) -> None:
    """With what there is. What an older release let in can be changed otherwise, and counts for nothing."""
    bad = namespace("other")
    bad["metadata"]["annotations"] = {ANNOTATION: "refuse"}
    answer = await asked.world.call("POST", "/api/v1/namespaces", bad)
    assert answer.status == 422
    assert f'metadata.annotations[{ANNOTATION}]: Unsupported value: "refuse"' in answer.body["message"]
    assert 'supported values: "Off", "Warn", "Refuse"' in answer.body["message"]


async def test_modes_are_known_from_the_start() -> None:
    """An apiserver that starts later knows the policies that are stored; the setting is the last word."""
    async with AsyncExitStack() as stack:
        found = await run(stack, member_admission="Refuse")
        found.member.fault = refusal()
        assert (await found.create(MAPS, config_map("c")))[0] == 403
        await found.policy("Warn")
        settings = found.world.settings
        second = await stack.enter_async_context(
            World(found.world.store, member_admission="Refuse", member_admission_timeout=5)
        )
        assert settings.member_admission == second.settings.member_admission
        (admission,) = second.apiserver.engine.resources._context.preparation._validating
        assert admission._policies.may_decide("shop")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"member_admission": "refuse"}, "member_admission is refuse: give Off, Warn, Refuse, or nothing"),
        ({"member_admission_timeout": 0.0}, "member_admission_timeout is 0: give more than 0 seconds"),
        ({"member_admission_timeout": 99.0}, "at most 30"),
    ],
)
def test_settings_that_make_no_sense_are_named(setting: dict[str, Any], said: str) -> None:
    """With the remedy."""
    with pytest.raises(ConfigError, match=said):
        ApiserverSettings(**setting).validate()
