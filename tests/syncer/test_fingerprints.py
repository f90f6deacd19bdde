"""Drift: what of a change in a member is seen, for every built-in kind and any field of it."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hanse_syncer.decide import caveats, drift
from hanse_syncer.decide.fingerprints import caveat_of, fingerprint
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hanse.kube.kinds.strategies.kubernetes import kubernetes
from hanse.kube.merge.apply import server_side_apply
from hanse.kube.merge.compare import compare
from hanse.kube.merge.fieldsets import Fields, paths
from hanse.kube.merge.json_patch import json_patch
from hanse.kube.merge.managed import update_managed_fields, with_managed, without_managed
from hanse.kube.merge.schema import Schema, SchemaSet
from hanse.well_known import FIELD_MANAGER
from tests.support.shapes import anything

Object = dict[str, Any]
SCHEMAS = SchemaSet.builtin()
KINDS = sorted((kind.group, kind.versions[0], kind.name) for kind in kubernetes() if "delete" in kind.verbs)
THEN, LATER = datetime(2030, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, 0, 5, tzinfo=UTC)
WORDS = st.sampled_from(["a", "b", "c"])


def values(schema: Schema | None, depth: int) -> st.SearchStrategy[Any]:
    """Values of a schema, small ones; at `depth` 0 what is below is empty."""
    if schema is None or schema.shape == "any":
        return st.dictionaries(WORDS, WORDS, max_size=2)
    if schema.shape == "struct":
        return structs(schema, depth)
    if schema.shape == "map":
        below = values(schema.element, depth - 1)
        return st.dictionaries(WORDS, below, max_size=2) if depth > 0 else st.just({})
    if schema.shape == "list":
        return lists(schema, depth)
    if schema.format in ("quantity", "int-or-string"):
        return st.sampled_from(["1", "2"])
    numbers: dict[str, st.SearchStrategy[Any]] = {
        "integer": st.integers(0, 2),
        "boolean": st.booleans(),
        "number": st.integers(0, 2),
    }
    return numbers.get(schema.type, WORDS)


@st.composite
def structs(draw: st.DrawFn, schema: Schema, depth: int, needed: tuple[str, ...] = ()) -> Object:
    """An object with some of the fields, and those that are needed."""
    names = sorted(set(schema.fields) - {"apiVersion", "kind", "metadata", "status"})
    chosen = draw(st.lists(st.sampled_from(names), max_size=3)) if names and depth > 0 else []
    return {name: draw(values(schema.field(name), depth - 1)) for name in sorted({*chosen, *needed})}


@st.composite
def lists(draw: st.DrawFn, schema: Schema, depth: int) -> list[Any]:
    """A list of up to three items, with different keys where they have keys."""
    count = draw(st.integers(0, 3)) if depth > 0 else 0
    items: list[Any] = []
    for _ in range(count):
        element = schema.element
        if schema.list_type == "map" and element is not None:
            items.append(draw(structs(element, depth - 1, schema.list_keys)))
        else:
            items.append(draw(values(element, depth - 1)))
    if schema.list_type == "atomic":
        return items
    keyed = {}
    for item in items:
        key = [item.get(name) for name in schema.list_keys] if schema.list_type == "map" else item
        keyed[orjson.dumps(key, option=orjson.OPT_SORT_KEYS)] = item
    return list(keyed.values())


@st.composite
def objects(draw: st.DrawFn, group: str, version: str, kind: str) -> Object:
    """An object of a kind as somebody may write it."""
    schema = SCHEMAS.lookup(group, version, kind)
    assert schema is not None
    labels = draw(st.dictionaries(WORDS, WORDS, max_size=2))
    return {
        "apiVersion": f"{group}/{version}" if group else version,
        "kind": kind,
        "metadata": {"name": "x", "labels": {"ours": "yes", **labels}},
        **draw(structs(schema, 7)),
    }


def changed(draw: Any, value: Any, other: Any) -> Any:
    """Return `value` after another client changed something: took a field out, or wrote what `other` has."""
    if isinstance(value, dict) and value:
        name = draw(st.sampled_from(sorted(value)))
        if name in ("apiVersion", "kind", "name", "managedFields"):
            return value
        if draw(st.integers(0, 5)) == 0 and name not in ("metadata", "spec"):
            return {key: item for key, item in value.items() if key != name}
        if isinstance(other, dict) and draw(st.booleans()):
            return {**{k: v for k, v in other.items() if k != "metadata"}, **value}
        given_ = other.get(name) if isinstance(other, dict) else None
        return {**value, name: changed(draw, value[name], given_)}
    if isinstance(value, list) and value:
        place = draw(st.integers(0, len(value) - 1))
        if draw(st.integers(0, 3)) == 0:
            return value[:place] + value[place + 1 :]
        return [*value[:place], changed(draw, value[place], None), *value[place + 1 :]]
    if type(value) is bool:
        return not value
    if isinstance(value, int):
        return value + 1
    return "1000" if value in ("1", "2") else f"{value}x" if isinstance(value, str) else other or value


def touched(before: Object, after: Object, owned: Fields, schema: Schema) -> bool:
    """Return whether a write changes or removes one of the owned paths."""
    found = compare(without_managed(before), without_managed(after), schema)
    changes, removals = set(paths(found.changed)), set(paths(found.removed))
    return any(
        path in changes or any(path[:length] in removals for length in range(1, len(path) + 1))
        for path in paths(owned)
    )


def entry_of(live: Object) -> Fields:
    """Return what the object's managedFields have as ours."""
    return next(
        each["fieldsV1"] for each in live["metadata"]["managedFields"] if each["manager"] == FIELD_MANAGER
    )


@pytest.mark.parametrize("gvk", KINDS, ids=lambda gvk: f"{gvk[0] or 'core'}/{gvk[2]}")
@given(data=st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_a_change_is_seen_if_and_only_if_it_is_of_our_fields(
    gvk: tuple[str, str, str], data: st.DataObject
) -> None:
    """Whatever another client does to an object of any built-in kind."""
    schema = SCHEMAS.lookup(*gvk)
    assert schema is not None
    manifest, foreign, other = (data.draw(objects(*gvk)) for _ in range(3))
    first = server_side_apply(None, foreign, manager="somebody", schema=schema, now=THEN)
    live = server_side_apply(first, manifest, manager=FIELD_MANAGER, schema=schema, now=THEN, force=True)
    known = fingerprint(live, manifest)
    after = changed(data.draw, copy.deepcopy(live), other)
    managed = update_managed_fields(live, after, manager="kubectl-edit", schema=schema, now=LATER)
    after = with_managed(after, managed)
    expected = touched(live, after, entry_of(live), schema)
    assert (fingerprint(after, manifest) != known) == expected

    def put_right(obj: Object) -> Object:
        return server_side_apply(obj, manifest, manager=FIELD_MANAGER, schema=schema, now=LATER, force=True)

    once = put_right(after)
    assert fingerprint(put_right(once), manifest) == fingerprint(once, manifest)


POLICY: Object = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "db", "labels": {"ours": "yes"}},
    "spec": {"podSelector": {}, "ingress": [{"ports": [{"port": 5432, "protocol": "TCP"}]}]},
}
DEPLOYMENT: Object = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "w", "labels": {"ours": "yes"}},
    "spec": {
        "replicas": 3,
        "template": {
            "spec": {
                "enableServiceLinks": False,
                "containers": [{"name": "c", "image": "nginx:1.27", "resources": {"limits": {"cpu": "1"}}}],
                "volumes": [{"name": "tmp", "emptyDir": {}}],
            }
        },
    },
}


def applied(manifest: Object) -> Object:
    """Return what an API server makes of a manifest."""
    group, _, version = manifest["apiVersion"].rpartition("/")
    schema = SCHEMAS.lookup(group, version, manifest["kind"])
    return server_side_apply(None, manifest, manager=FIELD_MANAGER, schema=schema, now=THEN)


def edited(live: Object, change: Any, *, tracked: bool = True) -> Object:
    """Return the object after somebody's edit; one that is not `tracked` leaves managedFields alone."""
    after = copy.deepcopy(live)
    change(after)
    if not tracked:
        return after
    group, _, version = live["apiVersion"].rpartition("/")
    schema = SCHEMAS.lookup(group, version, live["kind"])
    return with_managed(after, update_managed_fields(live, after, manager="e", schema=schema, now=LATER))


def _pod(obj: Object) -> Object:
    spec: Object = obj["spec"]["template"]["spec"]
    return spec


SEEN: list[tuple[Object, Any]] = [
    (POLICY, lambda o: o["spec"]["ingress"][0]["ports"].append({"port": 22, "protocol": "TCP"})),
    (POLICY, lambda o: o["spec"]["podSelector"].update(matchLabels={"a": "b"})),
    (DEPLOYMENT, lambda o: _pod(o).pop("enableServiceLinks")),
    (DEPLOYMENT, lambda o: _pod(o)["containers"][0]["resources"]["limits"].update(cpu="2")),
    (DEPLOYMENT, lambda o: _pod(o)["volumes"][0].pop("emptyDir")),
    (DEPLOYMENT, lambda o: o["metadata"]["labels"].pop("ours")),
]
UNSEEN: list[tuple[Object, Any]] = [
    (DEPLOYMENT, lambda o: _pod(o)["containers"].insert(0, {"name": "proxy", "image": "p"})),
    (DEPLOYMENT, lambda o: _pod(o)["volumes"][0]["emptyDir"].update(sizeLimit="1Gi")),
    (DEPLOYMENT, lambda o: _pod(o)["containers"][0]["resources"]["limits"].update(memory="1Gi")),
    (DEPLOYMENT, lambda o: o["metadata"]["labels"].update(theirs="yes")),
    (DEPLOYMENT, lambda o: o["spec"].update(paused=True)),
]


@pytest.mark.parametrize("tracked", [True, False])
@pytest.mark.parametrize(("manifest", "change"), SEEN)
def test_what_is_ours_is_seen(manifest: Object, change: Any, *, tracked: bool) -> None:
    """Whether or not the API server tracked who changed it; an empty single value only if it did."""
    live = applied(manifest)
    after = edited(live, change, tracked=tracked)
    empty = after["spec"].get("podSelector") and not tracked
    assert (fingerprint(after, manifest) != fingerprint(live, manifest)) != bool(empty)


@pytest.mark.parametrize("tracked", [True, False])
@pytest.mark.parametrize(("manifest", "change"), UNSEEN)
def test_what_others_add_is_theirs(manifest: Object, change: Any, *, tracked: bool) -> None:
    """A sidecar, a field beside ours, a field in an empty map of ours, a label."""
    live = applied(manifest)
    assert fingerprint(edited(live, change, tracked=tracked), manifest) == fingerprint(live, manifest)


def test_an_apply_in_our_name_is_seen() -> None:
    """Even if it writes into a single value that was empty: the entry has another time."""
    live = applied(POLICY)
    theirs = {**POLICY, "spec": {**POLICY["spec"], "podSelector": {"matchLabels": {"a": "b"}}}}
    schema = SCHEMAS.lookup("networking.k8s.io", "v1", "NetworkPolicy")
    after = server_side_apply(live, theirs, manager=FIELD_MANAGER, schema=schema, now=LATER, force=True)
    assert fingerprint(after, POLICY) != fingerprint(live, POLICY)


def test_who_changes_and_puts_back_is_seen() -> None:
    """The value is as it was, but the field is not ours any more."""
    live = applied(DEPLOYMENT)
    there = edited(live, lambda o: o["spec"].update(replicas=9))
    back = edited(there, lambda o: o["spec"].update(replicas=3))
    assert back["spec"] == live["spec"]
    assert fingerprint(back, DEPLOYMENT) != fingerprint(live, DEPLOYMENT)


def test_without_managed_fields_what_the_manifest_has_is_compared() -> None:
    """It is said, an unknown ownership equals no known one, and what others add to maps is theirs."""
    live = without_managed(applied(DEPLOYMENT))
    known = fingerprint(live, DEPLOYMENT)
    caveat = caveat_of(live)
    assert caveat is not None
    assert caveat.reason == caveats.OWNERSHIP_UNKNOWN
    assert caveat.reason in caveats.REASONS
    assert caveat_of(applied(DEPLOYMENT)) is None
    assert fingerprint(applied(DEPLOYMENT), DEPLOYMENT) != known
    assert fingerprint({**live, "status": {"replicas": 3}}, DEPLOYMENT) == known
    labelled = edited(live, lambda o: o["metadata"]["labels"].update(theirs="yes"), tracked=False)
    assert fingerprint(labelled, DEPLOYMENT) == known
    swapped = edited(live, lambda o: _pod(o)["containers"][0].update(image="x"), tracked=False)
    assert fingerprint(swapped, DEPLOYMENT) != known


_ODD_ITEMS: Object = {'k:{"name":{}}': {}, "v:{}": 1}


@pytest.mark.parametrize(
    "entry",
    [
        {"fieldsV1": "x"},
        {"fieldsV1": {"f:spec": ["x"]}},
        {"fieldsV1": {"f:spec": {'k:{"a"': {}, "v:[": {}, "i:x": {}, "": {}}}},
        {
            "fieldsV1": {
                "f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":{}}': {}, "v:{}": 1}}}}
            }
        },
    ],
)
def test_fields_that_are_none_are_no_reason_to_fail(entry: Object) -> None:
    """Whatever a member says that is ours, there is an answer, and the same for the same."""
    live = applied(DEPLOYMENT)
    ours = {"manager": FIELD_MANAGER, "operation": "Apply", "apiVersion": "apps/v1", **entry}
    live["metadata"]["managedFields"] = [ours, None, "x"]
    assert fingerprint(live, DEPLOYMENT) == fingerprint(copy.deepcopy(live), DEPLOYMENT)


def test_long_lists_cost_no_more_for_each_item() -> None:
    """Items are found by their key: 5,000 variables are as many steps, not 25 million."""
    env = [{"name": f"v{number}", "value": "1"} for number in range(5000)]
    manifest = copy.deepcopy(DEPLOYMENT)
    _pod(manifest)["containers"][0]["env"] = env
    live = applied(manifest)
    after = edited(live, lambda o: _pod(o)["containers"][0]["env"][4999].update(value="2"))
    assert fingerprint(after, manifest) != fingerprint(live, manifest)


@given(live=anything(), wanted=anything())
def test_operations_lead_there(live: Any, wanted: Any) -> None:
    """What is shown as the difference makes one of the other."""
    live, wanted = orjson.loads(orjson.dumps([live, wanted]))
    before, after = {"spec": live}, {"spec": wanted, "metadata": {}}
    operations = drift.changes({**before, "metadata": {"resourceVersion": "1"}}, after)
    assert json_patch({**before, "metadata": {}}, operations) == after
    assert drift.changes(after, after) == []


def test_what_a_manifest_has_is_shown_without_what_others_have() -> None:
    """Lists whole; fields that the manifest does not have are not spoken of."""
    live = applied(DEPLOYMENT)
    assert drift.changes_to_manifest(live, DEPLOYMENT) == []
    swapped = edited(live, lambda o: _pod(o)["volumes"][0].update(hostPath={"path": "/"}))
    swapped["spec"]["paused"] = True
    assert [each["path"] for each in drift.changes_to_manifest(swapped, DEPLOYMENT)] == [
        "/spec/template/spec/volumes/0/hostPath"
    ]
