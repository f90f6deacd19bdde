"""Updates keep `managedFields` true: who last set what."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hanse.errors import InvalidArgumentError
from hanse.kube.merge.managed import (
    ANCIENT,
    MAX_UPDATERS,
    decode,
    encode,
    update_managed_fields,
    with_managed,
)
from hanse.kube.merge.schema import Schema, SchemaSet
from hanse.kube.model.objects import Object
from tests.support import objects

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def schema(group: str, version: str, kind: str) -> Schema:
    """A built-in schema that must exist."""
    found = SchemaSet.builtin().lookup(group, version, kind)
    assert found is not None
    return found


CONFIG_MAP = schema("", "v1", "ConfigMap")
DEPLOYMENT = schema("apps", "v1", "Deployment")


def config_map(**data: str) -> Object:
    """A ConfigMap with data."""
    return objects.config_map("c", data=data)


def store(
    live: Object | None, new: Object, manager: str, node: Schema = CONFIG_MAP, **options: Any
) -> Object:
    """Store an update at NOW unless told otherwise."""
    managed = update_managed_fields(live, new, manager=manager, schema=node, **{"now": NOW, **options})
    return with_managed(new, managed)


def owners(obj: Object) -> dict[str, Any]:
    """fieldsV1 by manager."""
    return {e["manager"]: e["fieldsV1"] for e in obj["metadata"].get("managedFields", ())}


def test_a_create_owns_all_of_it_in_kubernetes_form() -> None:
    """Containers are members too ('.'), structs that always exist are not, identity is left out."""
    deployment: Object = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d", "labels": {"a": "b"}},
        "spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": "x", "resources": {}}]}}},
    }
    managed = update_managed_fields(None, deployment, manager="kubectl", schema=DEPLOYMENT, now=NOW)
    assert managed[0]["operation"] == "Update"
    assert managed[0]["fieldsV1"]["f:metadata"] == {"f:labels": {".": {}, "f:a": {}}}
    spec = managed[0]["fieldsV1"]["f:spec"]
    assert "." not in spec
    assert spec["f:replicas"] == {}
    containers = spec["f:template"]["f:spec"]["f:containers"]
    assert containers == {'k:{"name":"x"}': {".": {}, "f:name": {}, "f:resources": {}}}


def test_a_change_moves_ownership() -> None:
    """The changed key goes to the new manager, the others stay."""
    live = store(None, config_map(a="1", b="1"), "m")
    after = store(live, {**live, "data": {"a": "1", "b": "2"}}, "n")
    assert owners(after) == {"m": {"f:data": {".": {}, "f:a": {}}}, "n": {"f:data": {"f:b": {}}}}


def test_a_removed_field_belongs_to_nobody() -> None:
    """Removal takes the field from every manager, and a manager without fields goes."""
    live = store(None, config_map(a="1"), "m")
    live = store(live, {**live, "data": {"a": "1", "b": "2"}}, "n")
    after = store(live, {**live, "data": {"a": "1"}}, "o")
    assert owners(after) == {"m": {"f:data": {".": {}, "f:a": {}}}}


def test_no_change_keeps_entries_and_time() -> None:
    """An update that changes nothing returns the stored list, also when the request leaves it out."""
    live = store(None, config_map(a="1"), "m")
    later = NOW + timedelta(hours=1)
    assert store(live, config_map(a="1"), "n", now=later) == live
    assert store(live, live, "m", now=later) == live


def test_time_moves_with_a_changed_value() -> None:
    """The manager's time is that of its last change; another's loss does not move it."""
    live = store(None, config_map(a="1", b="1"), "m")
    after = store(live, {**live, "data": {"a": "2", "b": "1"}}, "n", now=NOW + timedelta(seconds=1))
    times = {e["manager"]: e["time"] for e in after["metadata"]["managedFields"]}
    assert times == {"m": "2026-01-02T03:04:05Z", "n": "2026-01-02T03:04:06Z"}


def test_an_untracked_object_stays_untracked() -> None:
    """Kubernetes starts tracking at creation or the first apply only."""
    assert (
        update_managed_fields(config_map(a="1"), config_map(a="2"), manager="m", schema=CONFIG_MAP, now=NOW)
        == []
    )


def test_a_client_may_reset_or_rewrite_managed_fields() -> None:
    """One empty entry resets; valid entries replace; broken ones are ignored; subresources have no say."""
    live = store(None, config_map(a="1"), "m")
    reset = {**live, "metadata": {**live["metadata"], "managedFields": [{}]}}
    assert update_managed_fields(live, reset, manager="n", schema=CONFIG_MAP, now=NOW) == []
    renamed = [{**live["metadata"]["managedFields"][0], "manager": "x"}]
    rewritten = {**live, "metadata": {**live["metadata"], "managedFields": renamed}}
    assert update_managed_fields(live, rewritten, manager="n", schema=CONFIG_MAP, now=NOW) == renamed
    broken = {**live, "metadata": {**live["metadata"], "managedFields": [{"operation": "Zap"}]}}
    kept = live["metadata"]["managedFields"]
    assert update_managed_fields(live, broken, manager="n", schema=CONFIG_MAP, now=NOW) == kept
    assert (
        update_managed_fields(live, rewritten, manager="n", schema=CONFIG_MAP, now=NOW, subresource="status")
        == kept
    )


def test_the_status_subresource_has_its_own_entry() -> None:
    """A controller's status write is recorded under the subresource."""
    base: Object = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}}
    live = store(None, {**base, "spec": {"replicas": 1}}, "m", DEPLOYMENT)
    after = store(live, {**live, "status": {"replicas": 1}}, "m", DEPLOYMENT, subresource="status")
    found = {e.get("subresource", ""): e["fieldsV1"] for e in after["metadata"]["managedFields"]}
    assert found == {"": {"f:spec": {"f:replicas": {}}}, "status": {"f:status": {"f:replicas": {}}}}


def test_the_main_resource_does_not_own_status() -> None:
    """A write of the main resource that carries status, and one of status that carries spec, own neither."""
    both: Object = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d"},
        "spec": {"replicas": 1},
        "status": {"replicas": 1},
    }
    main = update_managed_fields(None, both, manager="m", schema=DEPLOYMENT, now=NOW)
    assert [e["fieldsV1"] for e in main] == [{"f:spec": {"f:replicas": {}}}]
    status = update_managed_fields(None, both, manager="m", schema=DEPLOYMENT, now=NOW, subresource="status")
    assert [e["fieldsV1"] for e in status] == [{"f:status": {"f:replicas": {}}}]


def test_many_updaters_are_folded() -> None:
    """With more than MAX_UPDATERS the oldest become one entry, and no path is lost."""
    live = store(None, config_map(k0="1"), "m0")
    for number in range(1, 15):
        data = {**live["data"], f"k{number}": "1"}
        live = store(live, {**live, "data": data}, f"m{number:02}", now=NOW + timedelta(seconds=number))
    entries = live["metadata"]["managedFields"]
    assert len(entries) == MAX_UPDATERS
    assert ANCIENT in {e["manager"] for e in entries}
    owned = {key for e in entries for key in e["fieldsV1"]["f:data"]} - {"."}
    assert owned == {f"f:k{number}" for number in range(15)}


def test_entries_round_trip_and_broken_ones_are_refused() -> None:
    """Decoding and encoding keeps the list; an entry without operation is an error."""
    live = store(None, config_map(a="1"), "m")
    managed = live["metadata"]["managedFields"]
    assert encode(decode(managed)) == managed
    with pytest.raises(InvalidArgumentError):
        decode([{"manager": "m"}])
