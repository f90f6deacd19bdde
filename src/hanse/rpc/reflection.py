"""Server reflection, v1alpha and v1, so that grpcurl and its kind can list, describe and call everything.

The two versions have the same messages under two names, so one servicer answers both. grpcio-reflection has
v1alpha alone; the descriptors of v1 are made of those. The contracts of Hanse are sent with their comments,
which generated code does not have: `scripts/gen.py` writes them to `DESCRIBED`.

Concurrency: stateless; what is read from files is read once.

Next: `hanse.rpc.server`.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from importlib.resources import files
from typing import Any, Final

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha import reflection_pb2

V1ALPHA: Final = "grpc.reflection.v1alpha.ServerReflection"
V1: Final = "grpc.reflection.v1.ServerReflection"
DESCRIBED: Final = "contracts.binpb"
"""The file in ``hanse.api`` that has the contracts with their comments, a FileDescriptorSet."""

Request = reflection_pb2.ServerReflectionRequest
Response = reflection_pb2.ServerReflectionResponse


def add_reflection(server: Any, services: Iterable[str]) -> None:
    """Add both versions of reflection over the default descriptor pool, naming `services`."""
    servicer = Reflection((*services, V1ALPHA, V1))
    handlers = {
        "ServerReflectionInfo": grpc.stream_stream_rpc_method_handler(
            servicer.info,
            request_deserializer=Request.FromString,
            response_serializer=Response.SerializeToString,
        )
    }
    for name in (V1ALPHA, V1):
        server.add_registered_method_handlers(name, handlers)


class Reflection:
    """Answers what a client of either version asks about services, files, symbols and extensions."""

    def __init__(self, services: Iterable[str]) -> None:
        self._services = tuple(sorted(services))

    async def info(self, requests: AsyncIterator[Request], context: Any) -> AsyncIterator[Response]:
        """Answer each request of a stream; what is not found is an answer as well."""
        async for request in requests:
            response = self.answer(request)
            response.original_request.CopyFrom(request)
            response.valid_host = request.host
            yield response

    def answer(self, request: Request) -> Response:
        """Return the answer to one request."""
        try:
            match request.WhichOneof("message_request"):
                case "file_by_filename":
                    return _files(_find(lambda pool: pool.FindFileByName(request.file_by_filename)))
                case "file_containing_symbol":
                    symbol = request.file_containing_symbol
                    return _files(_find(lambda pool: pool.FindFileContainingSymbol(symbol)))
                case "file_containing_extension":
                    asked = request.file_containing_extension
                    return _files(_find(lambda pool: _extension(pool, asked)))
                case "all_extension_numbers_of_type":
                    return _numbers(request.all_extension_numbers_of_type)
                case "list_services":
                    listed = [reflection_pb2.ServiceResponse(name=name) for name in self._services]
                    return Response(list_services_response=reflection_pb2.ListServiceResponse(service=listed))
        except KeyError:
            return _error(grpc.StatusCode.NOT_FOUND)
        return _error(grpc.StatusCode.INVALID_ARGUMENT)


def _error(code: grpc.StatusCode) -> Response:
    number, words = code.value
    return Response(error_response=reflection_pb2.ErrorResponse(error_code=number, error_message=words))


def _find(find: Callable[[Any], Any]) -> Any:
    """Return what the default pool has, else what that of v1 has. Raises KeyError."""
    try:
        return find(descriptor_pool.Default())
    except KeyError:
        return find(v1_pool())


def _extension(pool: Any, asked: reflection_pb2.ExtensionRequest) -> FileDescriptor:
    found = pool.FindExtensionByNumber(
        pool.FindMessageTypeByName(asked.containing_type), asked.extension_number
    )
    file: FileDescriptor = found.file
    return file


def _numbers(kind: str) -> Response:
    pool: Any = descriptor_pool.Default()
    extensions = pool.FindAllExtensions(pool.FindMessageTypeByName(kind))
    numbers = sorted(extension.number for extension in extensions)
    return Response(
        all_extension_numbers_response=reflection_pb2.ExtensionNumberResponse(
            base_type_name=kind, extension_number=numbers
        )
    )


def _files(file: FileDescriptor) -> Response:
    """Return a file and all that it imports, each with its comments if they are known."""
    encoded = [described().get(each.name) or _encoded(each) for each in _with_imports(file, set())]
    return Response(
        file_descriptor_response=reflection_pb2.FileDescriptorResponse(file_descriptor_proto=encoded)
    )


def _with_imports(file: FileDescriptor, seen: set[str]) -> Iterator[FileDescriptor]:
    if file.name not in seen:
        seen.add(file.name)
        yield file
        for imported in file.dependencies:
            yield from _with_imports(imported, seen)


def _encoded(file: FileDescriptor) -> bytes:
    proto = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(proto)
    return proto.SerializeToString()


@functools.cache
def described() -> Mapping[str, bytes]:
    """Return the contracts with their comments, serialized, by file name."""
    stored = descriptor_pb2.FileDescriptorSet.FromString(files("hanse.api").joinpath(DESCRIBED).read_bytes())
    return {file.name: file.SerializeToString() for file in stored.file}


@functools.cache
def v1_pool() -> descriptor_pool.DescriptorPool:
    """Return a pool of its own with ``grpc.reflection.v1``: another package may add the official file."""
    proto = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(proto)
    proto.name = "grpc/reflection/v1/reflection.proto"
    proto.package = proto.package.replace("v1alpha", "v1")
    for message in proto.message_type:
        for field in (each for each in message.field if each.type_name):
            field.type_name = field.type_name.replace(".v1alpha.", ".v1.")
    for service in proto.service:
        for method in service.method:
            method.input_type = method.input_type.replace(".v1alpha.", ".v1.")
            method.output_type = method.output_type.replace(".v1alpha.", ".v1.")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(proto)
    return pool
