"""The compact schema is current, complete and knows list semantics."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from hanse.kube.merge.schema import SchemaSet

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(name="builder", scope="module")
def _builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_schema", ROOT / "scripts" / "build_schema.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_shipped_files_are_what_the_script_makes(builder: ModuleType) -> None:
    """Regenerating gives the same content twice, and that is what ships."""
    contents = builder.build(builder.newest())
    assert contents == builder.build(builder.newest())
    for name, content in zip((builder.STRUCTURE, builder.DESCRIPTIONS), contents, strict=True):
        assert gzip.decompress((builder.DATA / name).read_bytes()) == content


def test_list_semantics_are_known() -> None:
    """Keys, merge keys and key defaults of container ports are those of Kubernetes."""
    deployment = SchemaSet.builtin().lookup("apps", "v1", "Deployment")
    assert deployment is not None
    ports = deployment.at("spec.template.spec.containers.[].ports")
    assert ports is not None
    assert (ports.list_type, ports.list_keys) == ("map", ("containerPort", "protocol"))
    assert ports.merge_key == "containerPort"
    assert ports.keys_defaults() == {"protocol": "TCP"}


@pytest.mark.parametrize(
    ("kind", "path", "atomic"),
    [
        (("", "v1", "Service"), "spec.selector", True),
        (("apps", "v1", "Deployment"), "spec.selector", True),
        (("apps", "v1", "Deployment"), "spec.template", False),
        (("", "v1", "Pod"), "spec.tolerations", True),
        (("", "v1", "Pod"), "spec.nodeSelector", True),
        (("", "v1", "ConfigMap"), "data", False),
        (("", "v1", "Pod"), "metadata.labels", False),
        (("", "v1", "Pod"), "metadata.finalizers", False),
    ],
)
def test_atomicity_is_known(kind: tuple[str, str, str], path: str, atomic: bool) -> None:
    """Selectors and plain lists have one owner; labels and data have one per key."""
    schema = SchemaSet.builtin().lookup(*kind)
    assert schema is not None
    node = schema.at(path)
    assert node is not None
    assert node.atomic is atomic


def test_every_kind_resolves() -> None:
    """All kinds, and all their fields to some depth, resolve without a missing reference."""
    schemas = SchemaSet.builtin()
    assert len(schemas.kinds()) > 100
    for name in schemas.definition_names():
        node = schemas.named(name)
        for field in node.fields:
            child = node.field(field)
            assert child is not None
            assert child.shape == "scalar" or child.element is not None or child.shape == "struct"


def test_openapi_is_served_with_descriptions() -> None:
    """A definition has its description and references with the asked prefix; its closure is complete."""
    schemas = SchemaSet.builtin()
    name = schemas.definition_name("", "v1", "ConfigMap")
    assert name is not None
    definition = schemas.definition(name, ref_prefix="#/components/schemas/")
    assert "configuration" in definition["description"]
    assert definition["properties"]["data"]["description"]
    assert definition["properties"]["metadata"]["$ref"].startswith("#/components/schemas/io.k8s.")
    assert any(found.endswith("ObjectMeta") for found in schemas.closure([name]))


def test_a_custom_kind_is_added_to_a_new_set() -> None:
    """A custom kind is found with standard metadata; other versions and other sets are not affected."""
    spec = {"type": "object", "properties": {"size": {"type": "integer"}}}
    builtin = SchemaSet.builtin()
    extended = builtin.with_kind(
        group="example.org",
        version="v1",
        kind="Widget",
        openapi_v3_schema={"type": "object", "properties": {"spec": spec}},
    )
    widget = extended.lookup("example.org", "v1", "Widget")
    assert widget is not None
    assert not widget.builtin
    size = widget.at("spec.size")
    assert size is not None
    assert size.type == "integer"
    assert widget.at("metadata.labels") is not None
    assert extended.lookup("example.org", "v0", "Widget") is None
    assert builtin.lookup("example.org", "v1", "Widget") is None
    assert extended.without("example.org", "Widget").lookup("example.org", "v1", "Widget") is None
