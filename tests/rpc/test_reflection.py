"""Server reflection: both versions answer, describe themselves, and have the contracts' comments."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection_pb2
from hanse_cli.generated import SERVICES

from hanse.rpc.reflection import V1, V1ALPHA, Reflection, Request, Response, described

NAMES = tuple(service.descriptor.full_name for service in SERVICES.values())
SERVED = Reflection((*NAMES, V1ALPHA, V1))


def files(response: Response) -> dict[str, descriptor_pb2.FileDescriptorProto]:
    """The files of an answer by name."""
    found = [
        descriptor_pb2.FileDescriptorProto.FromString(each)
        for each in response.file_descriptor_response.file_descriptor_proto
    ]
    return {file.name: file for file in found}


@pytest.mark.parametrize("symbol", [*NAMES, V1ALPHA, V1, "grpc.reflection.v1.ServerReflectionRequest"])
def test_a_client_can_build_what_it_is_told(symbol: str) -> None:
    """The files of a symbol are enough for a pool of its own, in which the symbol is found."""
    pool = DescriptorPool()
    waiting = files(SERVED.answer(Request(file_containing_symbol=symbol)))
    while waiting:
        ready = [file for file in waiting.values() if not set(file.dependency) & set(waiting)]
        assert ready, f"a file that is imported is missing: {sorted(waiting)}"
        for file in ready:
            pool.Add(file)
            del waiting[file.name]
    assert pool.FindFileContainingSymbol(symbol)


def test_both_versions_are_listed() -> None:
    """With the services, sorted."""
    listed = SERVED.answer(Request(list_services="")).list_services_response.service
    assert [each.name for each in listed] == sorted([*NAMES, V1ALPHA, V1])


def test_every_method_is_described() -> None:
    """A client that asks gets the comment of each method and of each field of its request."""
    for service in SERVICES.values():
        file = service.descriptor.file.name
        said = files(SERVED.answer(Request(file_by_filename=file)))[file].source_code_info.location
        comments = {tuple(each.path): each.leading_comments.strip() for each in said}
        proto = descriptor_pb2.FileDescriptorProto.FromString(described()[file])
        for number, each in enumerate(proto.service):
            for method in range(len(each.method)):
                assert comments[(6, number, 2, method)], each.method[method].name
        for number, message in enumerate(proto.message_type):
            for field in range(len(message.field)):
                assert comments[(4, number, 2, field)], message.field[field].name


def shape(file: descriptor_pb2.FileDescriptorProto) -> set[tuple[object, ...]]:
    """The methods and fields of a file."""
    fields = {(m.name, f.name, f.number, f.type, f.type_name) for m in file.message_type for f in m.field}
    methods = {(s.name, m.name, m.input_type, m.output_type) for s in file.service for m in s.method}
    return {*fields, *methods}


def test_the_comments_are_of_the_contracts_that_run() -> None:
    """What is described is what the generated code has, but for the comments."""
    for service in SERVICES.values():
        runs = descriptor_pb2.FileDescriptorProto()
        service.descriptor.file.CopyToProto(runs)
        told = descriptor_pb2.FileDescriptorProto.FromString(described()[runs.name])
        assert shape(runs) == shape(told) != set()


def test_extensions_are_found_by_their_number() -> None:
    """Those of google.api are among those of method options, and each says its file."""
    kind = "google.protobuf.MethodOptions"
    numbers = SERVED.answer(Request(all_extension_numbers_of_type=kind)).all_extension_numbers_response
    assert {72295728, 1051} <= set(numbers.extension_number)
    asked = reflection_pb2.ExtensionRequest(containing_type=kind, extension_number=72295728)
    assert "google/api/annotations.proto" in files(SERVED.answer(Request(file_containing_extension=asked)))


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (Request(file_containing_symbol="no.such.Symbol"), 5),
        (Request(file_by_filename="no/such.proto"), 5),
        (Request(all_extension_numbers_of_type="no.Such"), 5),
        (Request(), 3),
    ],
)
async def test_what_is_not_there_is_an_answer(request_: Request, code: int) -> None:
    """NOT_FOUND or INVALID_ARGUMENT in the answer, with the request; the stream goes on."""

    async def asked() -> AsyncIterator[Request]:
        yield request_
        yield Request(list_services="", host="h")

    wrong, listed = [response async for response in SERVED.info(asked(), None)]
    assert (wrong.error_response.error_code, wrong.original_request) == (code, request_)
    assert (len(listed.list_services_response.service), listed.valid_host) == (len(NAMES) + 2, "h")
