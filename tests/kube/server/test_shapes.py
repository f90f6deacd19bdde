"""Objects of any shape, as lists, Tables and watches show them: one that is odd takes nothing from others."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanse.errors import InvalidArgumentError
from hanse.federation.strategies import federation_kinds
from hanse.kube.engine.served import ServedObject
from hanse.kube.engine.unreadable import decode, fault
from hanse.kube.kinds.catalogue import Catalogue
from hanse.kube.kinds.kind import PrinterColumn
from hanse.kube.kinds.resource_info import ResourceInfo
from hanse.kube.kinds.strategy import UNREADABLE
from hanse.kube.model import jsonpath
from hanse.kube.model.selectors import FieldSelector, LabelSelector
from hanse.kube.server.negotiation import parse_accept
from hanse.kube.server.representation import Renderer
from hanse.store.keys import ObjectKey
from tests.support.shapes import anything, deep, gone_wrong

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"
INFOS = [info for info in Catalogue(federation_kinds()) if "list" in info.verbs]
POD_SPEC = {
    "containers": [{"name": "c", "image": "i"}],
    "readinessGates": [{"conditionType": "x"}],
    "nodeName": "n",
}
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
PATHS = [".a[*].b", "{.status.conditions[?(@.type=='x')].y}", "[0]"]
SELECTOR = {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "k", "operator": "Gt", "values": ["5"]}]}
VALID: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "X",
    "metadata": {
        "name": "a",
        "namespace": "n",
        "creationTimestamp": "2025-12-31T00:00:00Z",
        "ownerReferences": [{"kind": "K", "name": "o", "controller": True}],
        "labels": {"node-role.kubernetes.io/x": ""},
    },
    "spec": {
        **POD_SPEC,
        "replicas": 1,
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"spec": POD_SPEC},
        "jobTemplate": {"spec": {"template": {"spec": POD_SPEC}}},
        "ports": [{"port": 80, "nodePort": 30000, "protocol": "TCP"}],
        "type": "LoadBalancer",
        "rules": [{"host": "h"}],
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 1}}}],
        "hard": {"limits.cpu": "1"},
        "versions": [{"name": "v1"}],
        "expirationSeconds": 5,
        "parallelism": 2,
        "claimRef": {"name": "c"},
        "accessModes": ["ReadWriteOnce"],
    },
    "status": {
        "replicas": 1,
        "readyReplicas": 1,
        "phase": "Bound",
        "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [{"ready": True, "restartCount": 1, "state": {"waiting": {"reason": "w"}}}],
        "loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]},
        "startTime": "2025-12-31T00:00:00Z",
        "completionTime": "2025-12-31T00:00:01Z",
        "currentMetrics": [{"type": "Resource", "resource": {"current": {"averageValue": "1m"}}}],
        "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
        "hard": {"limits.cpu": "1"},
        "used": {"limits.cpu": "1"},
    },
    "subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}],
    "endpoints": [{"addresses": ["10.0.0.1"]}],
    "ports": [{"port": 80}],
    "subjects": [{"kind": "User", "name": "u"}],
    "roleRef": {"kind": "Role", "name": "r"},
    "involvedObject": {"kind": "Pod", "name": "p"},
    "source": {"component": "c"},
    "lastTimestamp": "2025-12-31T00:00:00Z",
    "data": {"a": "b"},
}
EVEN = {"apiVersion": "v1", "kind": "X", "metadata": {"name": "even", "namespace": "n"}}


def entry(obj: Any, name: str = "a") -> ServedObject:
    """A cached object."""
    return ServedObject(ObjectKey("", "xs", "n", name), obj=obj, intent=obj, intent_revision=1, revision=1)


def readable(obj: Any) -> bool:
    """Whether an object is one that the cache does not quarantine."""
    return isinstance(obj, dict) and not fault(ObjectKey("", "xs", "n", "a"), obj)


@pytest.mark.parametrize("accept", [TABLE, "application/json", METADATA])
@given(info=st.sampled_from(INFOS), obj=gone_wrong(VALID).filter(readable))
@settings(max_examples=400)
def test_any_object_of_any_kind_is_listed_with_the_others(accept: str, info: ResourceInfo, obj: Any) -> None:
    """Table, whole objects, metadata: the list is made, and the other object is in it as ever."""
    render = Renderer(info, parse_accept(accept), include="Object", now=NOW)
    pieces = render.pieces([entry(obj), entry(EVEN, "even")], {"resourceVersion": "1"})
    listed = orjson.loads(b"".join(pieces))
    rows = listed.get("rows") or listed.get("items")
    assert len(rows) == 2
    if accept == TABLE:
        assert {len(row["cells"]) for row in rows} == {len(listed["columnDefinitions"])}
        assert UNREADABLE not in rows[1]["cells"]
    render.entry(entry(obj))
    render.item(entry(obj))


@given(path=st.one_of(st.text(max_size=20), st.sampled_from(PATHS)), obj=anything())
def test_any_path_over_any_object_is_found_or_refused(path: str, obj: Any) -> None:
    """A path that cannot be read is a ValueError; what it does not reach is absent."""
    with contextlib.suppress(ValueError):
        jsonpath.find(path, obj)


@given(obj=gone_wrong(VALID).filter(readable), path=st.text(max_size=20))
def test_a_declared_column_shows_any_value(obj: Any, path: str) -> None:
    """Columns of a CRD with any path, of any type, over any object."""
    paths = (".spec", ".status.conditions", ".metadata.creationTimestamp", path)
    columns = tuple(PrinterColumn(f"c{n}", kind, p) for n, (kind, p) in enumerate(
        (kind, p) for kind in ("string", "integer", "date", "number", "boolean") for p in paths))  # fmt: skip
    info = ResourceInfo("g", "v1", "X", "xs", "x", True, custom=True, columns=columns)
    render = Renderer(info, parse_accept(TABLE), include="None", now=NOW)
    (row,) = orjson.loads(b"".join(render.pieces([entry(obj)], {})))["rows"]
    assert len(row["cells"]) == len(columns) + 1


@given(selector=gone_wrong(SELECTOR), labels=st.dictionaries(st.text(max_size=3), st.text(max_size=5)))
def test_any_selector_of_an_object_is_one_or_refused(selector: Any, labels: dict[str, str]) -> None:
    """LabelSelector refuses what is none with the error that it has for that."""
    with contextlib.suppress(InvalidArgumentError):
        LabelSelector.from_object(selector).matches(labels)


def test_a_label_of_thousands_of_digits_is_no_number() -> None:
    """A comparison with it is false, at no cost."""
    assert not LabelSelector.parse("k>5").matches({"k": "9" * 5000})
    with pytest.raises(InvalidArgumentError):
        LabelSelector.parse("k>" + "9" * 5000)


@given(obj=anything(), text=st.sampled_from(["metadata.name=a", "spec.nodeName!=b", "status.phase=x"]))
def test_a_field_selector_reads_any_object(obj: Any, text: str) -> None:
    """A field that is no text is compared by how it is written."""
    if isinstance(obj, dict):
        FieldSelector.parse(text).matches(obj)


@given(value=st.one_of(st.binary(max_size=20), st.one_of(anything(), gone_wrong(VALID)).map(orjson.dumps)))
def test_any_stored_value_is_an_object_or_stands_for_one(value: bytes) -> None:
    """What cannot be read is stood in for by an object that can be served, with the reason."""
    key = ObjectKey("", "xs", "n", "a")
    obj, why = decode(key, value)
    assert obj["metadata"]["name"] == "a"
    orjson.dumps(obj)
    if why:
        assert fault(key, obj) == ""
        assert obj["metadata"]["annotations"]["hanse.dev/unreadable"] == why


def test_an_object_that_cannot_be_encoded_is_served_with_the_reason() -> None:
    """A view may put together what JSON cannot hold: that object alone is stood in for."""
    made = entry({**EVEN, "status": {"count": 2**70, "deep": deep(300)}}, "even")
    shown = orjson.loads(made.encoded)
    assert (shown["kind"], shown["metadata"]["name"]) == ("X", "even")
    assert "hanse.dev/unreadable" in shown["metadata"]["annotations"]
