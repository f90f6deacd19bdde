"""The contracts follow the AIPs: names, behaviors, signatures and paths are there and agree."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from google.api import annotations_pb2, client_pb2, field_behavior_pb2, resource_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor, MethodDescriptor
from hanse_cli.generated import SERVICES

METHODS = [method for service in SERVICES.values() for method in service.descriptor.methods]
VERBS = ("get", "put", "post", "patch", "delete")


def extension(descriptor: Any, handle: Any) -> Any:
    """An option of a descriptor."""
    return descriptor.GetOptions().Extensions[handle]


def files() -> dict[str, FileDescriptor]:
    """All files of the contracts, by name."""
    found: dict[str, FileDescriptor] = {}
    waiting = [method.containing_service.file for method in METHODS]
    while waiting:
        file = waiting.pop()
        if file.name not in found and file.name.startswith("hanse/"):
            found[file.name] = file
            waiting += file.dependencies
    return found


MESSAGES: list[Descriptor] = [
    message for _, file in sorted(files().items()) for message in file.message_types_by_name.values()
]
RESOURCES: dict[str, Descriptor] = {
    extension(message, resource_pb2.resource).type: message
    for message in MESSAGES
    if message.GetOptions().HasExtension(resource_pb2.resource)
}


def behaviors(field: FieldDescriptor) -> set[int]:
    """What is said of a field."""
    return set(extension(field, field_behavior_pb2.field_behavior))


def within(message: Descriptor, seen: set[str]) -> Iterator[Descriptor]:
    """A message of the contracts and those that are in it."""
    if message.full_name in seen or not message.full_name.startswith("hanse."):
        return
    seen.add(message.full_name)
    yield message
    for field in message.fields:
        inner = field.message_type
        if inner is not None and not inner.GetOptions().map_entry:
            yield from within(inner, seen)


def rules(method: MethodDescriptor) -> Iterator[tuple[str, str, str]]:
    """The (verb, path, body) of a method."""
    rule = extension(method, annotations_pb2.http)
    for each in (rule, *rule.additional_bindings):
        verb = each.WhichOneof("pattern")
        yield verb, getattr(each, verb), each.body


def test_every_field_of_requests_and_resources_says_who_sets_it() -> None:
    """Each has a field_behavior, and so have those of the messages within."""
    seen: set[str] = set()
    roots = [*(method.input_type for method in METHODS), *RESOURCES.values()]
    silent = [
        field.full_name
        for root in roots
        for message in within(root, seen)
        for field in message.fields
        if not behaviors(field)
    ]
    assert silent == []
    assert "hanse.api.registry.v1.Taint" in seen


@pytest.mark.parametrize("kind", sorted(RESOURCES))
def test_every_resource_has_a_name_of_its_pattern(kind: str) -> None:
    """Its name is its identifier, and the comment of its pattern's variables is in snake_case."""
    message, said = RESOURCES[kind], extension(RESOURCES[kind], resource_pb2.resource)
    assert kind == f"hanse.dev/{message.name}"
    assert behaviors(message.fields_by_name["name"]) == {field_behavior_pb2.IDENTIFIER}
    assert len(said.pattern) == 1
    assert re.fullmatch(r"[a-zA-Z]+(/(\{[a-z_]+\}|[a-zA-Z]+))*", said.pattern[0])
    assert said.singular
    assert said.plural


def test_every_resource_has_its_times() -> None:
    """When it was made and changed last (AIP-148), where that is known."""
    lacking = {
        kind: sorted({"create_time", "update_time"} - set(message.fields_by_name))
        for kind, message in RESOURCES.items()
        if not {"create_time", "update_time"} <= set(message.fields_by_name)
    }
    assert lacking == {
        "hanse.dev/Federation": ["update_time"],
        "hanse.dev/Resource": ["create_time", "update_time"],
    }


def test_long_lists_can_be_ordered() -> None:
    """Lists of what there may be thousands of have order_by (AIP-132)."""
    unordered = {
        method.name
        for method in METHODS
        if method.name.startswith("List") and "order_by" not in method.input_type.fields_by_name
    }
    assert unordered == {"ListZones", "ListResources"}


def test_all_that_is_got_or_listed_is_a_resource() -> None:
    """What Get returns and List has pages of has a resource's annotation."""
    for method in METHODS:
        if method.name.startswith("Get"):
            assert method.output_type in RESOURCES.values(), method.full_name
        if method.name.startswith("List"):
            items = [field for field in method.output_type.fields if field.is_repeated]
            assert [field.message_type in RESOURCES.values() for field in items] == [True], method.full_name


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_signatures_name_fields_and_all_that_is_required(method: MethodDescriptor) -> None:
    """A generated client that follows the signature sends a request that is complete."""
    required = {
        field.name for field in method.input_type.fields if field_behavior_pb2.REQUIRED in behaviors(field)
    }
    signatures = list(extension(method, client_pb2.method_signature))
    if required:
        assert signatures, f"{method.name} has no signature"
    for signature in signatures:
        names = [name for name in signature.split(",") if name]
        assert set(names) <= set(method.input_type.fields_by_name)
        assert required <= set(names)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_paths_name_the_resource_that_the_field_refers_to(method: MethodDescriptor) -> None:
    """Each variable of a path is a field of the request, with the form of the resource's names."""
    found = list(rules(method))
    assert found
    for verb, path, body in found:
        assert verb in VERBS
        assert not (verb in {"get", "delete"} and body)
        for variable, form in re.findall(r"\{([a-z_.]+)=([^}]+)\}", path):
            *outer, last = variable.split(".")
            message: Any = method.input_type
            for part in outer:
                message = message.fields_by_name[part].message_type
            field = message.fields_by_name[last]
            reference = extension(field, resource_pb2.resource_reference)
            kind = reference.type or reference.child_type
            if outer:
                kind = extension(message, resource_pb2.resource).type
            said = extension(RESOURCES[kind], resource_pb2.resource).pattern[0]
            pattern = re.sub(r"\{[a-z_]+\}", "*", said)
            parent_of_it = last == "parent" and not outer and reference.child_type
            assert pattern.startswith(f"{form}/") if parent_of_it else pattern == form


def test_no_two_methods_have_one_path() -> None:
    """A proxy that speaks JSON can tell them apart."""
    taken: dict[tuple[str, str], str] = {}
    for method in METHODS:
        for verb, path, _ in rules(method):
            shape = (verb, re.sub(r"\{[a-z_.]+=([^}]+)\}", r"\1", path))
            assert shape not in taken, f"{method.name} and {taken.get(shape)}"
            taken[shape] = method.name


def test_lists_have_pages() -> None:
    """Every List has a page's size and token, and says where the next one starts."""
    for method in METHODS:
        if method.name.startswith("List"):
            assert {"page_size", "page_token"} <= set(method.input_type.fields_by_name)
            assert "next_page_token" in method.output_type.fields_by_name


def test_updates_of_resources_have_a_mask() -> None:
    """An Update takes the resource and a mask, unless the resource is an opaque manifest; and what confirms
    its impact, if that is counted."""
    for method in METHODS:
        if method.name.startswith("Update") and "manifest" not in method.input_type.fields_by_name:
            fields = set(method.input_type.fields_by_name) - {"confirm_impact"}
            assert {method.name.removeprefix("Update").lower(), "update_mask"} == fields


def test_every_package_has_a_place_in_go_and_java() -> None:
    """go_package and java_package follow the proto package."""
    for file in files().values():
        _, _, *rest = file.package.split(".")
        options = file.GetOptions()
        assert options.go_package == f"hanse.dev/api/{'/'.join(rest)};{''.join(rest)}"
        assert options.java_package == f"dev.hanse.api.{'.'.join(rest)}"
