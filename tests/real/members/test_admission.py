"""Real members say what they would refuse before the federation stores it, in their own words."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import orjson

from tests.real.federation import Federation
from tests.real.realcluster import ClusterSpec, RealClusters, until
from tests.support import objects
from tests.support.machine.programs import Ran, run_program

POLICIES = "/apis/admissionregistration.k8s.io/v1"
PLURALS = {
    "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
}
MANIFEST = orjson.dumps(objects.config_map("m", namespace="shop", data={"size": "9"})).decode()
DENIED = "ValidatingAdmissionPolicy 'few' with binding 'few' denied request: no size above 5"
CRD: dict[str, Any] = objects.build(
    "apiextensions.k8s.io/v1",
    "CustomResourceDefinition",
    name="carts.shop.example.org",
    spec={
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
)
CART = objects.build("shop.example.org/v1", "Cart", name="c", namespace="shop", spec={"size": 9})


def policy(resource: str, group: str, version: str, expression: str) -> list[dict[str, Any]]:
    """A ValidatingAdmissionPolicy that refuses a size above 5 of new and changed objects, and its binding."""
    rule = {
        "apiGroups": [group],
        "apiVersions": [version],
        "operations": ["CREATE", "UPDATE"],
        "resources": [resource],
    }
    spec = {
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": expression, "message": "no size above 5"}],
    }
    bound = {"policyName": "few", "validationActions": ["Deny"]}
    api = "admissionregistration.k8s.io/v1"
    return [
        objects.build(api, "ValidatingAdmissionPolicy", name="few", spec=spec),
        objects.build(api, "ValidatingAdmissionPolicyBinding", name="few", spec=bound),
    ]


async def test_a_policy_of_a_member_is_heard_before_and_after(assets_dir: Path, tmp_path: Path) -> None:
    """Off says nothing and `describe` has an Event; Warn warns, Refuse refuses, for applies, dry runs and
    updates; a member that is down refuses nothing. What is refused there all the same is in the status."""
    async with (
        RealClusters(assets_dir, tmp_path / "members", [ClusterSpec("eu")]) as clusters,
        Federation(tmp_path / "federation") as federation,
    ):
        member = clusters["eu"].api
        await federation.join("eu", clusters["eu"].kubeconfig_path, "tier=gold")
        environment = {
            **os.environ,
            "KUBECONFIG": str(federation.data_dir / "kubeconfig"),
            "HOME": str(tmp_path),
        }

        async def kubectl(*words: str, stdin: str = "") -> Ran:
            return await run_program("kubectl", *words, environment=environment, stdin=stdin)

        async def mode(said: str) -> None:
            ran = await kubectl("annotate", "ns", "shop", "--overwrite", f"hanse.dev/member-admission={said}")
            assert ran.code == 0, ran

        assert (await kubectl("create", "namespace", "shop")).code == 0
        small = MANIFEST.replace('"9"', '"1"')
        assert (await kubectl("apply", "-f", "-", stdin=small)).code == 0
        await until(lambda: member.get("/api/v1/namespaces/shop/configmaps/m"), what="it arrives")
        for obj in policy("configmaps", "", "v1", "!has(object.data.size) || int(object.data.size) <= 5"):
            plural = PLURALS[obj["kind"]]
            await member.create(f"{POLICIES}/{plural}", obj)
        await mode("Refuse")

        async def refused() -> bool:
            ran = await kubectl("apply", "--dry-run=server", "-f", "-", stdin=MANIFEST)
            return ran.code == 1 and DENIED in ran.err and "cluster eu" in ran.err

        await until(refused, what="the member's policy is in force")
        ran = await kubectl("apply", "-f", "-", stdin=MANIFEST)
        assert (ran.code, DENIED in ran.err) == (1, True), ran
        ran = await kubectl("create", "-f", "-", stdin=MANIFEST.replace('"m"', '"new"'))
        assert (ran.code, DENIED in ran.err) == (1, True), ran
        await mode("Warn")
        ran = await kubectl("apply", "-f", "-", stdin=MANIFEST)
        assert ran.code == 0
        assert "Warning: cluster eu would refuse this object: " in ran.err
        assert DENIED in ran.err

        async def described() -> bool:
            shown = (await kubectl("describe", "configmap", "m", "-n", "shop")).out
            return "no size above 5" in shown and "eu" in shown

        await until(described, what="describe says who refused it")
        await clusters["eu"].stop(crash=True)
        await mode("Refuse")
        ran = await kubectl("apply", "-f", "-", stdin=MANIFEST.replace('"9"', '"8"'))
        assert (ran.code, "cluster eu" in ran.err) == (0, False), ran


async def test_a_custom_resource_is_warned_of_by_default(assets_dir: Path, tmp_path: Path) -> None:
    """Nobody has set anything: what the member's policy refuses is a warning, and the cart is stored."""
    async with (
        RealClusters(assets_dir, tmp_path / "members", [ClusterSpec("eu")]) as clusters,
        Federation(tmp_path / "federation") as federation,
    ):
        member = clusters["eu"].api
        await federation.join("eu", clusters["eu"].kubeconfig_path, "tier=gold")
        environment = {
            **os.environ,
            "KUBECONFIG": str(federation.data_dir / "kubeconfig"),
            "HOME": str(tmp_path),
        }

        async def kubectl(*words: str, stdin: str = "") -> Ran:
            return await run_program("kubectl", *words, environment=environment, stdin=stdin)

        crd, cart = orjson.dumps(CRD).decode(), orjson.dumps(CART).decode()
        assert (await kubectl("create", "namespace", "shop")).code == 0
        assert (await kubectl("apply", "-f", "-", stdin=crd)).code == 0
        assert (
            await kubectl("wait", "--for=condition=Established", f"crd/{CRD['metadata']['name']}")
        ).code == 0
        small = cart.replace(":9", ":1")

        async def stored() -> bool:
            return (await kubectl("apply", "-f", "-", stdin=small)).code == 0

        await until(stored, what="carts are served")
        await until(
            lambda: member.get("/apis/shop.example.org/v1/namespaces/shop/carts/c"), what="the cart arrives"
        )
        for obj in policy("carts", "shop.example.org", "v1", "object.spec.size <= 5"):
            plural = PLURALS[obj["kind"]]
            await member.create(f"{POLICIES}/{plural}", obj)

        async def warned() -> bool:
            ran = await kubectl("apply", "--dry-run=server", "-f", "-", stdin=cart)
            return ran.code == 0 and DENIED in ran.err

        await until(warned, what="the member's policy is in force")
        ran = await kubectl("apply", "-f", "-", stdin=cart)
        assert ran.code == 0
        assert "Warning: cluster eu would refuse this object: " in ran.err
