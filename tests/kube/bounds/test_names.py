"""Names that would collide in the store, and CRDs that would, are refused; so are selectors without bound."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.errors import InvalidArgumentError
from hanse.federation.policies.validation import MAX_RULES, override_policy_errors, placement_policy_errors
from hanse.federation.strategies import federation_kinds
from hanse.kube.kinds.catalogue import Catalogue
from hanse.kube.kinds.fields.crds import (
    MAX_INSTRUCTIONS,
    MAX_PATTERNS,
    MAX_VERSIONS,
    crd_errors,
    reserved_group_error,
)
from hanse.kube.kinds.fields.rules import MAX_LABELS, label_errors
from hanse.kube.model.objects import Object
from hanse.kube.model.selectors import MAX_TERMS, FieldSelector, LabelSelector
from hanse.store import keys
from hanse.store.keys import MAX_SEGMENT, ObjectKey


def crd(group: str = "example.com", **version: Any) -> Object:
    """A CRD of Widgets in a group."""
    first = {"name": "v1", "served": True, "storage": True, **version}
    names = {"plural": "widgets", "kind": "Widget"}
    spec = {"group": group, "scope": "Namespaced", "names": names, "versions": [first]}
    return {"kind": "CustomResourceDefinition", "metadata": {"name": f"widgets.{group}"}, "spec": spec}


def problems(obj: Object) -> str:
    """What is wrong with a CRD, in one text."""
    return "\n".join(map(str, crd_errors(obj)))


def with_schema(**spec: Any) -> Object:
    """A CRD whose objects have a `spec` of this schema."""
    return crd(schema={"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}})


def test_a_group_needs_a_dot_and_must_not_be_built_in() -> None:
    """No CRD can define a kind among Kubernetes' own, Hanse's, or those of `core`."""
    assert problems(crd()) == ""
    for group in ("core", "apps", "batch", "federation", "", "_", "widgets"):
        assert "spec.group" in problems(crd(group))
    reserved = Catalogue(federation_kinds()).reserved_groups
    assert {"hanse.dev", "networking.k8s.io", "apiextensions.k8s.io", "", "apps"} <= reserved
    for group in reserved:
        error = reserved_group_error(group, reserved)
        assert error is not None
        assert error.field == "spec.group"
    assert reserved_group_error("example.com", reserved) is None
    assert reserved_group_error(["apps"], reserved) is None


@pytest.mark.parametrize("name", ["v²", "V1", "", "1v", "v1/2", "v" * 64, "v\n1", None, 7])
def test_a_version_needs_a_name_that_can_be_served(name: Any) -> None:
    """A version that no number can be read of is refused before it is stored."""
    assert "spec.versions[0].name" in problems(crd(name=name))


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"type": "string", "pattern": "(?=x)"}, "RE2"),
        ({"type": "string", "pattern": "x{1000}" * 20}, "instructions"),
        ({"$ref": "#/definitions/x"}, "$ref"),
        ({"type": "object", "patternProperties": {"^a": {}}}, "patternProperties"),
        ({"type": "array", "items": [{"type": "string"}]}, "must be a schema"),
        ({"type": "nonsense"}, "Unsupported value"),
        ({"type": "array", "x-kubernetes-list-type": "map", "items": {"type": "object"}}, "list-map-keys"),
        ({"anyOf": [{"pattern": "a"}] * (MAX_PATTERNS + 1)}, str(MAX_PATTERNS)),
        ({"anyOf": [{"pattern": "x{990}" * 9 + str(i)} for i in range(30)]}, str(MAX_INSTRUCTIONS)),
        ({"not": {"anyOf": [{"pattern": "("}]}}, "RE2"),
        ({"additionalProperties": {"pattern": "("}}, "RE2"),
    ],
)
def test_a_schema_must_be_one_that_can_be_used(spec: dict[str, Any], says: str) -> None:
    """What would fail or cost too much when an object is checked is refused with the CRD."""
    assert says in problems(with_schema(**spec))


def column(**said: str) -> dict[str, Any]:
    """A version with one printer column."""
    return {"additionalPrinterColumns": [{"name": "a", "type": "string", "jsonPath": ".a", **said}]}


@pytest.mark.parametrize(
    ("version", "where"),
    [
        (column(jsonPath="["), "jsonPath"),
        (column(type="x"), "type"),
        (column(jsonPath=".a" * 1000), "jsonPath"),
        (column(jsonPath=f"[{'9' * 5000}]"), "jsonPath"),
        ({"subresources": {"scale": {}}}, "specReplicasPath"),
        (
            {"subresources": {"scale": {"specReplicasPath": ".", "statusReplicasPath": ".status.r"}}},
            "specReplicasPath",
        ),
        ({"selectableFields": [{"jsonPath": ".spec..a"}]}, "selectableFields"),
    ],
)
def test_paths_of_a_version_must_be_readable(version: dict[str, Any], where: str) -> None:
    """Columns, scale and selectable fields are checked before anything is served by them."""
    assert where in problems(crd(**version))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "v1", "²", "(", "."]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["spec", "group", "names", "versions", "name", "schema", "openAPIV3Schema", "properties",
             "pattern", "subresources", "scale", "items", "anyOf", "type",
             "additionalPrinterColumns", "jsonPath"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=20,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["spec", "metadata"]), JSON))
def test_whatever_is_stored_as_a_crd_is_only_wrong(obj: Object) -> None:
    """Nothing that an older release may have stored breaks the check at load."""
    assert problems(obj)


def test_no_two_objects_have_one_key() -> None:
    """The names that stand for the core group and for cluster scope are nobody's own."""
    for group, namespace in (("core", "a"), ("", "_"), ("core", "_")):
        with pytest.raises(InvalidArgumentError, match="reserved"):
            ObjectKey(group, "widgets", namespace, "a").key()
    with pytest.raises(InvalidArgumentError, match="reserved"):
        keys.resource_prefix(group="core", resource="widgets")
    with pytest.raises(InvalidArgumentError, match="reserved"):
        keys.resource_prefix(resource="widgets", namespace="_")


@pytest.mark.parametrize("name", ["a/b", "a\0b", "a\nb", "\x7f", "\ud800", "", "x" * (MAX_SEGMENT + 1)])
def test_a_segment_is_short_text_of_one_line(name: str) -> None:
    """Names with slashes, control characters or no end are refused, with the bound."""
    with pytest.raises(InvalidArgumentError, match=str(MAX_SEGMENT)) as caught:
        ObjectKey("", "configmaps", "a", name).key()
    assert len(str(caught.value)) < 250


def test_selectors_have_a_bound_on_their_terms() -> None:
    """Thousands of requirements or values are refused, as text and as object."""
    values = [f"v{i}" for i in range(MAX_TERMS + 1)]
    with pytest.raises(InvalidArgumentError, match=str(MAX_TERMS)):
        LabelSelector.parse(",".join(f"a{i}=b" for i in range(MAX_TERMS)))
    with pytest.raises(InvalidArgumentError, match=str(MAX_TERMS)):
        LabelSelector.from_object({"matchExpressions": [{"key": "a", "operator": "In", "values": values}]})
    with pytest.raises(InvalidArgumentError, match=str(MAX_TERMS)):
        LabelSelector.from_object({"matchLabels": dict.fromkeys(values, "x")})
    with pytest.raises(InvalidArgumentError, match=str(MAX_TERMS)):
        FieldSelector.parse(",".join(["metadata.name=x"] * (MAX_TERMS + 1)))
    for parse in (LabelSelector.parse, FieldSelector.parse):
        with pytest.raises(InvalidArgumentError) as caught:
            parse("(" * 200_000)
        assert len(str(caught.value)) < 500
    assert LabelSelector.parse(f"a in ({','.join(values[:400])})").matches({"a": "v7"})


@pytest.mark.parametrize("bound", ["²", "9" * 400, "9" * 5000, "+-1", "1.5"])
def test_integers_of_selectors_are_bounded(bound: str) -> None:
    """Gt and Lt take an integer of at most 19 digits."""
    with pytest.raises(InvalidArgumentError):
        LabelSelector.parse(f"a > {bound}")
    assert not LabelSelector.parse("a > 1").matches({"a": bound})


def test_labels_have_a_bound() -> None:
    """A hundred thousand labels are one error, not a hundred thousand."""
    found = list(label_errors({f"-{i}": "-" for i in range(100_000)}, "metadata.labels"))
    assert len(found) == 1
    assert str(MAX_LABELS) in str(found[0])


def test_policies_have_bounds() -> None:
    """Rules, operations and terms are counted when a policy is written."""
    copy = {"op": "copy", "from": "/data", "path": "/data/x"}
    many = {"spec": {"rules": [{"jsonPatch": [copy]}] * (MAX_RULES + 1)}}
    assert str(MAX_RULES) in "".join(map(str, override_policy_errors(many)))
    long = {"spec": {"rules": [{"jsonPatch": [copy] * 6_000}] * 2}}
    assert "10000" in "".join(map(str, override_policy_errors(long)))
    wrong = {"spec": {"rules": [{"jsonPatch": [{"op": "add", "path": "x", "value": 1}]}]}}
    assert "JSON pointer" in "".join(map(str, override_policy_errors(wrong)))
    labels = {f"l{i}": "x" for i in range(MAX_TERMS + 1)}
    selectors = {"spec": {"resourceSelectors": [{"labelSelector": {"matchLabels": labels}}]}}
    assert str(MAX_TERMS) in "".join(map(str, placement_policy_errors(selectors)))
    assert not list(override_policy_errors({"spec": {"rules": [{"jsonPatch": [copy]}]}}))
    assert orjson.dumps(long)


def test_versions_are_bounded() -> None:
    """A CRD of a thousand versions is one error."""
    obj = crd()
    obj["spec"]["versions"] = [{"name": f"v{i}", "storage": i == 0} for i in range(1000)]
    assert str(MAX_VERSIONS) in problems(obj)
