"""Server-side apply: ownership, conflicts, removal, lists - as Kubernetes documents it."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hanse.errors import ConflictError, InvalidArgumentError
from hanse.kube.merge.apply import ApplyConflictError, server_side_apply
from hanse.kube.merge.fieldsets import contains
from hanse.kube.merge.managed import decode, update_managed_fields, with_managed
from hanse.kube.merge.schema import Schema, SchemaSet
from hanse.kube.model.objects import Object
from tests.support import objects
from tests.support.objects import pod

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)


def schema(group: str, version: str, kind: str) -> Schema:
    """A built-in schema that must exist."""
    found = SchemaSet.builtin().lookup(group, version, kind)
    assert found is not None
    return found


DEPLOYMENT = schema("apps", "v1", "Deployment")
CONFIG_MAP = schema("", "v1", "ConfigMap")
SERVICE = schema("", "v1", "Service")
POD = schema("", "v1", "Pod")


def config_map(data: dict[str, Any] | None = None, **metadata: Any) -> Object:
    """A ConfigMap; `data` None omits the field."""
    return objects.config_map("c", data=data, **metadata)


def apply(
    live: Object | None, applied: Object, manager: str, node: Schema = CONFIG_MAP, **options: Any
) -> Object:
    """Apply at NOW, unless options say otherwise."""
    return server_side_apply(live, applied, manager=manager, schema=node, **{"now": NOW, **options})


def update(
    live: Object | None, new: Object, manager: str, node: Schema = CONFIG_MAP, **options: Any
) -> Object:
    """Store `new` as an update."""
    managed = update_managed_fields(live, new, manager=manager, schema=node, **{"now": NOW, **options})
    return with_managed(new, managed)


def entry(obj: Object, manager: str) -> dict[str, Any]:
    """The one managedFields entry of a manager."""
    (found,) = [e for e in obj["metadata"]["managedFields"] if e["manager"] == manager]
    return dict(found)


def test_create_owns_what_is_applied() -> None:
    """The new object has one Apply entry with exactly the applied leaves, without identity."""
    obj = apply(None, config_map({"a": "1"}, labels={"x": "y"}), "m")
    assert obj["metadata"]["managedFields"] == [
        {
            "manager": "m",
            "operation": "Apply",
            "apiVersion": "v1",
            "time": "2026-01-02T03:04:05Z",
            "fieldsType": "FieldsV1",
            "fieldsV1": {"f:data": {"f:a": {}}, "f:metadata": {"f:labels": {"f:x": {}}}},
        }
    ]


def test_applying_the_same_again_returns_the_live_object() -> None:
    """A no-op apply changes nothing, not even a time stamp."""
    obj = apply(None, config_map({"a": "1"}), "m")
    assert apply(obj, config_map({"a": "1"}), "m", now=LATER) is obj


def test_what_is_no_longer_applied_is_removed() -> None:
    """A key that only this manager had goes; the others and the name stay."""
    obj = apply(None, config_map({"a": "1", "b": "2"}, labels={"x": "y"}), "m")
    after = apply(obj, config_map({"a": "1"}), "m", now=LATER)
    assert after["data"] == {"a": "1"}
    assert "labels" not in after["metadata"]
    assert after["metadata"]["name"] == "c"
    assert entry(after, "m")["time"] == "2026-01-02T03:05:05Z"


def test_a_field_that_another_owns_too_stays() -> None:
    """Letting go of a shared field only gives up ownership."""
    obj = apply(apply(None, config_map({"a": "1", "b": "2"}), "m"), config_map({"b": "2"}), "n")
    after = apply(obj, config_map({"a": "1"}), "m")
    assert after["data"] == {"a": "1", "b": "2"}
    assert entry(after, "m")["fieldsV1"] == {"f:data": {"f:a": {}}}
    assert entry(after, "n")["fieldsV1"] == {"f:data": {"f:b": {}}}


def test_a_field_that_an_updater_owns_stays() -> None:
    """Also an Update manager's ownership keeps a field."""
    live = apply(None, config_map({"a": "1"}), "m")
    live = update(live, {**live, "data": {"a": "2"}}, "kubectl-edit")
    assert "m" not in {e["manager"] for e in live["metadata"]["managedFields"]}
    live = apply(live, config_map({"a": "2"}), "m")
    after = apply(live, config_map(), "m")
    assert after["data"] == {"a": "2"}


def test_another_value_conflicts() -> None:
    """The error names the manager and the field as Kubernetes does."""
    obj = apply(None, config_map({"a": "1", "b": "1"}), "m")
    with pytest.raises(ApplyConflictError) as caught:
        apply(obj, config_map({"a": "2", "b": "1"}), "n")
    assert str(caught.value) == 'Apply failed with 1 conflict: conflict with "m": .data.a'
    assert caught.value.causes() == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "m"', "field": ".data.a"}
    ]


def test_a_conflict_with_an_updater_names_its_version() -> None:
    """An Update owner is described with its apiVersion, without the time, as kube-apiserver does it."""
    obj = update(None, config_map({"a": "1"}), "kubectl-create")
    with pytest.raises(ApplyConflictError) as caught:
        apply(obj, config_map({"a": "2"}), "n")
    assert '"kubectl-create" using v1: .data.a' in str(caught.value)


def test_force_takes_the_field_over() -> None:
    """With force the value changes and the other manager loses that field only."""
    obj = apply(None, config_map({"a": "1", "b": "1"}), "m")
    after = apply(obj, config_map({"a": "2"}), "n", force=True)
    assert after["data"] == {"a": "2", "b": "1"}
    assert entry(after, "m")["fieldsV1"] == {"f:data": {"f:b": {}}}
    assert entry(after, "n")["fieldsV1"] == {"f:data": {"f:a": {}}}


def test_an_object_without_managers_is_owned_before_first_apply() -> None:
    """A legacy object's fields conflict, and its entry stays for what apply did not take."""
    live = config_map({"a": "1", "b": "2"})
    with pytest.raises(ApplyConflictError, match="before-first-apply"):
        apply(live, config_map({"a": "2"}), "m")
    after = apply(live, config_map({"a": "2"}), "m", force=True)
    assert contains(decode([entry(after, "before-first-apply")]).popitem()[1].fields, ("f:data", "f:b"))


def test_list_items_merge_by_key_and_order_follows_the_configuration() -> None:
    """Items of others keep their place, those of the configuration its order."""
    live = apply(None, pod({"name": "a", "image": "1"}, {"name": "b", "image": "1"}), "m", POD)
    after = apply(live, pod({"name": "c", "image": "1"}, {"name": "b", "image": "1"}), "n", POD)
    assert [c["name"] for c in after["spec"]["containers"]] == ["a", "c", "b"]
    back = apply(after, pod({"name": "b", "image": "1"}, {"name": "a", "image": "1"}), "m", POD)
    assert [c["name"] for c in back["spec"]["containers"]] == ["c", "b", "a"]


def test_a_list_item_goes_whole_with_what_was_defaulted_into_it() -> None:
    """Removing an item removes the fields that nobody owns in it."""
    live = apply(None, pod({"name": "a", "image": "1"}, {"name": "b", "image": "1"}), "m", POD)
    live = copy.deepcopy(live)
    live["spec"]["containers"][1]["imagePullPolicy"] = "Always"
    after = apply(live, pod({"name": "a", "image": "1"}), "m", POD)
    assert [c["name"] for c in after["spec"]["containers"]] == ["a"]


def test_port_keys_use_the_default_protocol() -> None:
    """A port without protocol is the TCP port, before and after defaulting; the UDP one is another."""
    live = apply(None, pod({"name": "a", "image": "1", "ports": [{"containerPort": 53}]}), "m", POD)
    live = copy.deepcopy(live)
    live["spec"]["containers"][0]["ports"][0]["protocol"] = "TCP"
    again = apply(live, pod({"name": "a", "image": "1", "ports": [{"containerPort": 53}]}), "m", POD)
    assert again is live
    both = apply(live, pod({"name": "a", "ports": [{"containerPort": 53, "protocol": "UDP"}]}), "n", POD)
    assert len(both["spec"]["containers"][0]["ports"]) == 2


def test_sets_merge_by_value() -> None:
    """Finalizers of two managers are joined, and each removes only its own."""
    live = apply(None, config_map({}, finalizers=["x/a"]), "m")
    live = apply(live, config_map({}, finalizers=["x/b"]), "n")
    assert sorted(live["metadata"]["finalizers"]) == ["x/a", "x/b"]
    after = apply(live, config_map({}), "m")
    assert after["metadata"]["finalizers"] == ["x/b"]


def test_atomic_values_have_one_owner() -> None:
    """A selector conflicts as a whole, and is replaced as a whole."""
    service: Object = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}}
    live = apply(None, {**service, "spec": {"selector": {"a": "1"}}}, "m", SERVICE)
    with pytest.raises(ApplyConflictError, match=r"\.spec\.selector"):
        apply(live, {**service, "spec": {"selector": {"b": "1"}}}, "n", SERVICE)
    after = apply(live, {**service, "spec": {"selector": {"b": "1"}}}, "n", SERVICE, force=True)
    assert after["spec"]["selector"] == {"b": "1"}
    assert [e["manager"] for e in after["metadata"]["managedFields"]] == ["n"]


def test_duplicates_and_unknown_fields_are_refused() -> None:
    """One item twice, a field that the kind lacks, or a value of another shape is an error with its path."""
    with pytest.raises(InvalidArgumentError, match=r'duplicate entries for key \[name="a"\]'):
        apply(None, pod({"name": "a"}, {"name": "a"}), "m", POD)
    with pytest.raises(InvalidArgumentError, match=r"\.spec\.nope: field not declared in schema"):
        apply(None, pod({"name": "a"}, nope=1), "m", POD)
    with pytest.raises(InvalidArgumentError, match=r"\.spec\.containers: expected list"):
        apply(None, {**pod(), "spec": {"containers": {}}}, "m", POD)
    with pytest.raises(InvalidArgumentError, match="omits all of the list's key fields"):
        apply(None, pod({"image": "a"}), "m", POD)


def test_null_removes_a_plain_value_and_owns_the_path() -> None:
    """An explicit null takes the value out and keeps the field with the manager."""
    live = update(None, pod({"name": "a", "image": "1"}, hostname="h"), "creator", POD)
    after = apply(live, pod({"name": "a"}, hostname=None), "m", POD, force=True)
    assert "hostname" not in after["spec"]
    assert "f:hostname" in entry(after, "m")["fieldsV1"]["f:spec"]


def test_what_the_server_writes_is_not_applied() -> None:
    """uid, generation and the like stay the live ones; another resourceVersion is a conflict."""
    live = apply(None, config_map({"a": "1"}), "m")
    live = {**live, "metadata": {**live["metadata"], "uid": "u", "resourceVersion": "5", "generation": 3}}
    after = apply(live, config_map({"a": "2"}, generation=9, creationTimestamp=None), "m")
    assert (after["metadata"]["uid"], after["metadata"]["generation"]) == ("u", 3)
    with pytest.raises(ConflictError, match="resourceVersion 4"):
        apply(live, config_map({"a": "2"}, resourceVersion="4"), "m")
    with pytest.raises(InvalidArgumentError, match="managedFields must be nil"):
        apply(live, config_map({"a": "2"}, managedFields=[{"manager": "x"}]), "m")


def test_status_belongs_to_the_status_subresource() -> None:
    """The main resource ignores status, the subresource all else; their entries are apart."""
    base: Object = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}}
    live = apply(None, {**base, "spec": {"replicas": 1}, "status": {"replicas": 9}}, "m", DEPLOYMENT)
    assert "status" not in live
    after = apply(
        live,
        {**base, "spec": {"replicas": 7}, "status": {"replicas": 2}},
        "m",
        DEPLOYMENT,
        subresource="status",
    )
    assert (after["spec"], after["status"]) == ({"replicas": 1}, {"replicas": 2})
    assert {e.get("subresource") for e in after["metadata"]["managedFields"]} == {None, "status"}


def test_unknown_kinds_merge_maps_and_replace_lists() -> None:
    """Without a schema, maps are granular and lists atomic."""
    base = {"apiVersion": "x/v1", "kind": "X", "metadata": {"name": "x"}}
    live = server_side_apply(
        None, {**base, "spec": {"a": {"b": 1}, "l": [1, 2]}}, manager="m", schema=None, now=NOW
    )
    after = server_side_apply(
        live, {**base, "spec": {"a": {"c": 1}, "l": [1, 2]}}, manager="n", schema=None, now=NOW
    )
    assert after["spec"] == {"a": {"b": 1, "c": 1}, "l": [1, 2]}
    with pytest.raises(ApplyConflictError, match=r"\.spec\.l"):
        server_side_apply(after, {**base, "spec": {"l": [3]}}, manager="o", schema=None, now=NOW)


NAMES = st.sampled_from(["a", "b", "c", "d"])
VALUES = st.sampled_from(["1", "2", "3"])
ENV = (
    st.lists(NAMES, unique=True, max_size=3)
    .flatmap(
        lambda names: st.tuples(
            *[st.fixed_dictionaries({"name": st.just(n), "value": VALUES}) for n in names]
        )
    )
    .map(list)
)
CONTAINER = st.fixed_dictionaries(
    {}, optional={"image": VALUES, "env": ENV, "args": st.lists(VALUES, max_size=2)}
)


@st.composite
def pods(draw: st.DrawFn) -> Object:
    """Pods with labels, finalizers, containers by name, an atomic list and a map."""
    names = draw(st.lists(NAMES, unique=True, max_size=3))
    metadata: Object = {"name": "p"}
    if draw(st.booleans()):
        metadata["labels"] = draw(st.dictionaries(NAMES, VALUES, max_size=3))
    if draw(st.booleans()):
        metadata["finalizers"] = draw(st.lists(NAMES.map("x/{}".format), unique=True, max_size=3))
    spec: Object = {"schedulerName": "s", "containers": [{"name": n, **draw(CONTAINER)} for n in names]}
    if draw(st.booleans()):
        spec["nodeSelector"] = draw(st.dictionaries(NAMES, VALUES, max_size=2))
    if draw(st.booleans()):
        spec["hostname"] = draw(VALUES)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def without(obj: Object) -> Object:
    """The object without managedFields."""
    return with_managed(obj, [])


def compact(value: Any) -> Any:
    """The value without empty lists and maps, which nobody owns."""
    if isinstance(value, dict):
        return {k: c for k, c in ((k, compact(v)) for k, v in value.items()) if c not in ({}, [])}
    return [compact(item) for item in value] if isinstance(value, list) else value


def covers(value: Any, wanted: Any) -> bool:
    """True if every leaf of a configuration is in a value (list items by name or value)."""
    if isinstance(wanted, dict):
        return isinstance(value, dict) and all(k in value and covers(value[k], v) for k, v in wanted.items())
    if isinstance(wanted, list) and wanted and isinstance(wanted[0], dict):
        by_name = {item["name"]: item for item in value}
        return all(item["name"] in by_name and covers(by_name[item["name"]], item) for item in wanted)
    return bool(value == wanted)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(pods(), pods(), pods())
def test_laws_of_apply(first: Object, second: Object, third: Object) -> None:
    """Twice is once; inputs stay; a lone manager gets what it says; two managers do not lose each other's."""
    inputs = copy.deepcopy((first, second, third))
    live = apply(None, first, "m", POD)
    assert apply(live, first, "m", POD, now=LATER) is live
    changed = apply(live, second, "m", POD)
    assert apply(changed, second, "m", POD, now=LATER) is changed
    fresh = apply(None, second, "m", POD)
    assert changed["metadata"].get("managedFields") == fresh["metadata"].get("managedFields")
    assert compact(without(changed)) == compact(without(fresh))
    other = apply(changed, third, "n", POD, force=True)
    assert covers(compact(other["spec"]), compact(third["spec"]))
    released = apply(other, third, "n", POD, force=True, now=LATER)
    assert released is other
    assert (first, second, third) == inputs


def owned_by(obj: Object, manager: str) -> list[Any]:
    """The sets of a manager's entries."""
    entries = obj["metadata"].get("managedFields", ())
    return [e["fieldsV1"] for e in entries if e["manager"] == manager]


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(pods(), pods())
def test_conflicts_are_exactly_what_force_takes(first: Object, second: Object) -> None:
    """Apply fails without force if and only if force takes a field from the other manager."""
    live = apply(None, first, "m", POD)
    forced = apply(live, second, "n", POD, force=True)
    taken = owned_by(live, "m") != owned_by(forced, "m")
    if taken:
        with pytest.raises(ApplyConflictError):
            apply(live, second, "n", POD)
    else:
        assert apply(live, second, "n", POD) == forced


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(pods(), pods())
def test_an_update_owns_what_it_changed_and_only_that(first: Object, second: Object) -> None:
    """After an update the updater owns every changed field, and applying the result needs no force."""
    live = apply(None, first, "m", POD)
    stored = update(live, second, "editor", POD)
    again = update(stored, stored, "third", POD)
    assert again == stored
    mine = apply(stored, second, "m", POD)
    assert without(mine)["spec"] == without(stored)["spec"]
