"""Messages made of a table, and what Kubernetes' protobuf is read into."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.errors import InvalidArgumentError
from hanse.federation.strategies import federation_kinds
from hanse.kube.kinds.catalogue import Catalogue
from hanse.kube.wire import openapi
from hanse.kube.wire.messages import KEY, VALUE, MessageField, MessagePool, field_name, fields_of, get
from hanse.kube.wire.openapi_protobuf import encode_document
from hanse.kube.wire.protobuf import MAGIC, decode_object

SCALARS = {
    "bool": st.booleans(),
    "bytes": st.binary(max_size=9),
    "double": st.floats(allow_nan=False),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "string": st.binary(max_size=9),
    "uint64": st.integers(0, 2**64 - 1),
}
ENVELOPE = MessagePool(
    "envelope",
    {
        "TypeMeta": [MessageField(1, "string"), MessageField(2, "string")],
        "Unknown": [MessageField(1, "TypeMeta"), MessageField(2, "bytes")],
        "ObjectMeta": [
            MessageField(1, "string"),
            MessageField(11, "string", map=True),
            MessageField(7, "int64"),
        ],
        "ConfigMap": [MessageField(1, "ObjectMeta"), MessageField(2, "string", map=True)],
        "Odd": [MessageField(1, "int64")],
    },
)


@given(st.data())
def test_what_is_set_is_read_again(data: st.DataObject) -> None:
    """Scalars, repeated ones and maps of every type, by number; what is not set is not there."""
    kinds = data.draw(st.lists(st.sampled_from(sorted(SCALARS)), max_size=6))
    table = [
        MessageField(number, kind, repeated=number % 3 == 1, map=number % 3 == 2)
        for number, kind in enumerate(kinds, start=1)
    ]
    pool = MessagePool("drawn", {"M": table})
    message, expected = pool.new("M"), dict[int, object]()
    for field in table:
        if not data.draw(st.booleans()):
            continue
        values = data.draw(st.lists(SCALARS[field.type], min_size=1, max_size=3))
        if field.map:
            for value in values:
                entry = get(message, field.number).add()
                setattr(entry, field_name(KEY), b"k")
                setattr(entry, field_name(VALUE), value)
        elif field.repeated:
            get(message, field.number).extend(values)
        else:
            values = values[:1]
            setattr(message, field_name(field.number), values[0])
        expected[field.number] = values
    again = pool.new("M")
    again.ParseFromString(message.SerializeToString())
    found = {}
    for number, value in fields_of(again):
        field = table[number - 1]
        if field.map:
            found[number] = [get(entry, VALUE) for entry in value]
        else:
            found[number] = list(value) if field.repeated else [value]
    assert found == expected


def body(kind: str, message: str, **fields: object) -> bytes:
    """Return a body as kubectl sends one, of an object of v1."""
    unknown, inner = ENVELOPE.new("Unknown"), ENVELOPE.new(message)
    setattr(get(unknown, 1), field_name(1), b"v1")
    setattr(get(unknown, 1), field_name(2), kind.encode())
    for name, value in fields.items():
        setattr(inner, name, value)
    if message == "ConfigMap":
        setattr(get(inner, 1), field_name(1), b"web")
        entry = get(inner, 2).add()
        setattr(entry, field_name(KEY), b"a")
        setattr(entry, field_name(VALUE), b"1")
    setattr(unknown, field_name(2), inner.SerializeToString())
    return MAGIC + unknown.SerializeToString()


def test_an_object_in_protobuf_is_the_same_as_in_json() -> None:
    """With the names that JSON has."""
    assert decode_object(body("ConfigMap", "ConfigMap")) == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "web"},
        "data": {"a": "1"},
    }


def test_another_wire_type_is_an_error() -> None:
    """A number where a message must be is not taken for an empty one."""
    with pytest.raises(InvalidArgumentError, match="wire type"):
        decode_object(body("ConfigMap", "Odd", f1=7))


@pytest.mark.parametrize("cut", [1, 5, 12, 20])
def test_a_cut_body_is_an_error(cut: int) -> None:
    """And not half an object."""
    with pytest.raises(InvalidArgumentError):
        decode_object(body("ConfigMap", "ConfigMap")[:-cut])


def test_the_openapi_document_has_every_definition_and_path() -> None:
    """kubectl finds in it what the JSON document has."""
    document = openapi.v2(Catalogue(federation_kinds()))
    encoded = encode_document(document)
    for name in ("io.k8s.api.apps.v1.Deployment", "/apis/apps/v1/namespaces/{namespace}/deployments"):
        assert name.encode() in encoded
    assert all(name.encode() in encoded for name in document["definitions"])
    assert all(name.encode() in encoded for name in document["paths"])
