"""What the server owns of an object is the server's, whatever a client writes of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from hanse.errors import InvalidArgumentError
from hanse.kube.engine import lifecycle
from hanse.kube.engine.engine import KubeEngine
from hanse.kube.engine.options import WriteOptions
from hanse.kube.kinds.catalogue import Catalogue
from hanse.kube.kinds.kubernetes import core, networking, scheduling, security
from hanse.kube.kinds.resource_info import ResourceInfo
from hanse.kube.kinds.strategies.kubernetes import kubernetes
from hanse.kube.model.identity import User
from hanse.kube.model.objects import Object
from hanse.store import MemoryStore

CATALOGUE = Catalogue(kubernetes())
STORED = [info for info in CATALOGUE if not info.virtual and "create" in info.verbs]
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
EVE = User("eve", ("dev", "system:authenticated"), uid="7", extra={"scopes": ("a", "b")})
CLAIMED = {
    "uid": "11111111-1111-1111-1111-111111111111",
    "resourceVersion": "5",
    "generation": 7,
    "selfLink": "/x",
    "creationTimestamp": "2020-01-01T00:00:00Z",
    "deletionTimestamp": "2020-01-01T00:00:00Z",
    "deletionGracePeriodSeconds": 5,
}
STATUS = {"phase": "Failed", "conditions": [{"type": "Approved", "status": "True"}]}


def created(info: ResourceInfo, **fields: Any) -> Object:
    """Return what is made of a new object that claims all that is the server's."""
    obj = {"metadata": {"name": "a", **CLAIMED}, "status": STATUS, **fields}
    return lifecycle.for_create(info, obj, namespace="", name="a", now=NOW, user=EVE)


@pytest.mark.parametrize("info", STORED, ids=lambda info: f"{info.plural}.{info.group}")
def test_no_kind_takes_metadata_or_status_from_its_author(info: ResourceInfo) -> None:
    """Identity, times, generation and state are made here; a Node alone says its own state."""
    made = created(info)
    metadata = made["metadata"]
    assert metadata["uid"] != CLAIMED["uid"]
    assert (metadata["generation"], metadata["creationTimestamp"]) == (1, "2026-01-02T03:04:05Z")
    assert (
        not {"selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion"}
        & metadata.keys()
    )
    if "status" in info.subresources:
        kept = made.get("status") == STATUS
        assert kept == (info.storage_key == core.NODE.group_plural)


REQUEST = CATALOGUE.require_kind(security.CERTIFICATE_SIGNING_REQUEST)
SPEC = {
    "request": "YQ==",
    "username": "root",
    "uid": "0",
    "groups": ["system:masters"],
    "extra": {"x": ["y"]},
}


def test_a_signing_request_is_of_who_makes_it() -> None:
    """Its name, groups and the rest are what a signer believes."""
    said = {"username": "eve", "uid": "7", "groups": list(EVE.groups), "extra": {"scopes": ["a", "b"]}}
    assert created(REQUEST, spec=SPEC)["spec"] == {"request": "YQ==", **said}
    nobody = lifecycle.for_create(
        REQUEST, {"metadata": {}, "spec": SPEC}, namespace="", name="a", now=NOW, user=User("mallory")
    )
    assert nobody["spec"] == {"request": "YQ==", "username": "mallory"}


def condition(type_: str, **fields: str) -> dict[str, str]:
    """Return a condition of a request."""
    return {"type": type_, "status": "True", **fields}


def written(old: dict[str, Any], new: dict[str, Any], subresource: str) -> tuple[dict[str, Any], list[str]]:
    """Return the status that a write of a subresource stores, and what is refused of it."""
    current = {**created(REQUEST, spec=SPEC), "status": old}
    update = {**current, "status": new}
    result = lifecycle.for_update(REQUEST, update, current, subresource=subresource, now=NOW)
    problems = REQUEST.strategy.subresource_rules(current, result, subresource)
    return result["status"], [str(each.message or each) for each in problems]


TIMES = {"lastUpdateTime": "2026-01-02T03:04:05Z", "lastTransitionTime": "2026-01-02T03:04:05Z"}


def test_only_an_approval_approves() -> None:
    """And it brings no certificate; a status brings one, and neither adds, changes nor removes a decision."""
    approved = condition("Approved", **TIMES)
    status, refused = written({}, {"certificate": "YQ==", "conditions": [condition("Approved")]}, "approval")
    assert (status, refused) == ({"conditions": [approved]}, [])
    _, refused = written({}, {"conditions": [condition("Approved")]}, "status")
    assert 'may not add a condition of type "Approved"' in refused[0]
    changed = {"certificate": "YQ==", "conditions": [condition("Approved", message="mine")]}
    status, refused = written({"conditions": [approved]}, changed, "status")
    assert (status, refused) == ({"certificate": "YQ==", "conditions": [approved]}, [])
    for subresource in ("status", "approval"):
        _, refused = written({"conditions": [approved]}, {}, subresource)
        assert 'may not remove a condition of type "Approved"' in refused[0]


@pytest.mark.parametrize("field", ["deletionTimestamp", "deletionGracePeriodSeconds"])
def test_no_update_deletes(field: str) -> None:
    """What only a delete sets is refused in an update that sets or changes it, and may be left out."""
    current = created(REQUEST, spec=SPEC)
    marked = {**current, "metadata": {**current["metadata"], field: CLAIMED[field]}}
    with pytest.raises(InvalidArgumentError, match=f"metadata.{field}: .*field is immutable"):
        lifecycle.for_update(REQUEST, marked, current, subresource="", now=NOW)
    assert lifecycle.for_update(REQUEST, current, marked, subresource="", now=NOW) == marked


@pytest.mark.parametrize(
    ("kind", "needs"),
    [
        (scheduling.LEASE, True),
        (networking.ENDPOINT_SLICE, False),
        (core.CONFIG_MAP, False),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
async def test_some_kinds_are_updated_by_version_only(kind: Any, needs: bool) -> None:
    """Leases and the like are what clients hold against each other; kube-apiserver's strategies say which."""
    store = MemoryStore()
    async with KubeEngine(store, catalogue=Catalogue(kubernetes())) as engine:
        info = engine.catalogue.require_kind(kind)
        fields = {"addressType": "IPv4", "endpoints": []} if kind is networking.ENDPOINT_SLICE else {}
        obj = {"apiVersion": info.api_version, "kind": info.kind, "metadata": {"name": "a"}, **fields}
        made = await engine.resources.create(info, obj, namespace="default", options=WriteOptions(user=EVE))
        for version in ("", "0"):
            unversioned = {**obj, "metadata": {"name": "a", "resourceVersion": version}}
            if needs:
                with pytest.raises(
                    InvalidArgumentError, match="Invalid value: 0: must be specified for an update"
                ):
                    await engine.resources.update(info, unversioned, namespace="default")
            else:
                await engine.resources.update(info, unversioned, namespace="default")
        if needs:
            await engine.resources.update(info, made, namespace="default")
    await store.close()
