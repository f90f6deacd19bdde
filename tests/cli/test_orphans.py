"""`hanse orphans` lists what nobody wants, with commands that work as they are printed."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from hanse.api.federation.v1.federation_service_pb2 import CreateObjectRequest
from hanse.api.syncer.v1.orphan_pb2 import NO_SUCH_OBJECT, NOT_PLACED_THERE, Orphan, OrphanReason
from hanse.api.syncer.v1.syncer_service_pb2 import DeleteOrphanRequest, ExportOrphanRequest
from hanse.api.type.v1.object_reference_pb2 import ObjectReference
from tests.cli.conftest import Hanse, World

SELECTOR = "federation.alpha.kubernetes.io/cluster-selector"


def orphan(
    resource: str,
    name: str,
    *,
    group: str = "",
    namespace: str = "shop",
    reason: OrphanReason.ValueType = NO_SUCH_OBJECT,
) -> Orphan:
    """An orphan in eu."""
    path = f"{group or 'core'}/{resource}/{namespace or '_'}/{name}"
    reference = ObjectReference(group=group, resource=resource, namespace=namespace, name=name)
    return Orphan(
        name=f"orphans/{path}/eu",
        object=reference,
        cluster="eu",
        member_uid="u1",
        reason=reason,
        message="why",
    )


def commands(out: str, verb: str) -> list[list[str]]:
    """The commands that are printed, as a shell would take them apart."""
    lines = [line.strip() for line in out.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith(f"hanse orphans {verb} ")]


def test_orphans_are_listed_with_their_commands(world: World, hanse: Hanse) -> None:
    """What holds others is removed last and adopted first; what is placed elsewhere is not adopted."""
    world.orphans = [
        orphan("namespaces", "shop", namespace=""),
        orphan("deployments", "web", group="apps"),
        orphan("configmaps", "conf", reason=NOT_PLACED_THERE),
    ]
    out = hanse("orphans", "eu").out
    assert out.splitlines()[0].split() == ["CLUSTER", "OBJECT", "NAMESPACE", "SINCE", "WHY"]
    assert out.splitlines()[2].split() == ["eu", "deployments.apps/web", "shop", "why"]
    assert [words[4] for words in commands(out, "remove")][-1] == "namespaces/shop"
    assert [words[4] for words in commands(out, "adopt")] == ["namespaces/shop", "deployments.apps/web"]
    assert "configmaps/conf -n shop: the federation has it; let its placement select eu" in out
    assert out.rstrip().endswith("7 more are listed when these are done")
    assert hanse("orphans").out == out
    assert hanse("orphans", "us").out == "no orphans\n"
    assert json.loads(hanse("orphans", "-o", "json").out)[0]["memberUid"] == "u1"


def test_printed_remove_names_what_was_seen(world: World, hanse: Hanse) -> None:
    """The command that is printed reaches the syncer with name and uid; the uid is the listed one without."""
    world.orphans = [orphan("deployments", "web", group="apps")]
    ((_, *words),) = commands(hanse("orphans").out, "remove")
    result = hanse(*words)
    assert (result.status, result.out) == (0, "deployments.apps/web removed from eu\n")
    wanted = DeleteOrphanRequest(name="orphans/apps/deployments/shop/web/eu", member_uid="u1")
    assert world.last(DeleteOrphanRequest) == wanted
    world.requests.clear()
    hanse("orphans", "remove", "eu", "deployments.apps/web", "-n", "shop")
    assert world.last(DeleteOrphanRequest) == wanted
    missing = hanse("orphans", "remove", "eu", "configmaps/x", "-n", "shop")
    assert missing.status == 4
    assert "is not listed" in missing.err


def test_printed_adopt_stores_it_where_it_is(world: World, hanse: Hanse) -> None:
    """The federation gets the object, placed in that cluster alone, and its namespace if it has none."""
    world.orphans = [orphan("configmaps", "conf")]
    world.exported = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "conf", "namespace": "shop"},
    }
    world.creatable = {"conf", "shop"}
    ((_, *words),) = commands(hanse("orphans").out, "adopt")
    result = hanse(*words)
    assert result.status == 0
    assert "namespaces/shop created in the federation" in result.out
    exported = world.last(ExportOrphanRequest)
    assert (exported.name, exported.member_uid) == ("orphans/core/configmaps/shop/conf/eu", "u1")
    created: list[dict[str, Any]] = [
        json.loads(each.manifest) for each in world.requests if isinstance(each, CreateObjectRequest)
    ]
    assert [each["kind"] for each in created] == ["Namespace", "ConfigMap"]
    selector = json.loads(created[1]["metadata"]["annotations"][SELECTOR])
    assert selector == [{"key": "hanse.dev/cluster", "operator": "In", "values": ["eu"]}]
    world.objects["objects/core/namespaces/_/shop"] = created[0]
    world.requests.clear()
    hanse(*words, "--everywhere")
    assert "annotations" not in json.loads(world.last(CreateObjectRequest).manifest)["metadata"]
    world.creatable.clear()
    taken = hanse(*words)
    assert taken.status == 5
    assert "let its placement select eu" in taken.err


@pytest.mark.parametrize("what", ["web", "/web", "deployments/", "a/b/c"])
def test_malformed_name_of_an_orphan_is_refused(world: World, hanse: Hanse, what: str) -> None:
    """With the form that it must have."""
    result = hanse("orphans", "remove", "eu", what)
    assert result.status == 2
    assert "RESOURCE[.GROUP]/NAME" in result.err
