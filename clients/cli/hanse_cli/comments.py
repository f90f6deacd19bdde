"""The comments of the protos, for help texts.

Python's generated code has no comments, but its type stubs, which are shipped next to it, have them as
docstrings. They are read when help is asked for; without the stubs help has no texts and all else works.

Pure functions over files of the package.

Next: `hanse_cli.flags`.
"""

from __future__ import annotations

import ast
import functools
from importlib.resources import files
from pathlib import PurePosixPath

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor, ServiceDescriptor


def of_service(service: ServiceDescriptor) -> str:
    """Return the comment of a service."""
    return _comments(_stub_file(service.file.name, "_pb2_grpc.pyi")).get(f"{service.name}Stub", "")


def of_method(method: MethodDescriptor) -> str:
    """Return the comment of a method."""
    service = method.containing_service
    comments = _comments(_stub_file(service.file.name, "_pb2_grpc.pyi"))
    return comments.get(f"{service.name}Stub.{method.name}", "")


def of_field(field: FieldDescriptor) -> str:
    """Return the comment of a field."""
    message = field.containing_type
    if message is None:
        return ""
    return _comments(_stub_file(message.file.name, "_pb2.pyi")).get(f"{_path(message)}.{field.name}", "")


def _path(message: Descriptor) -> str:
    return message.full_name.removeprefix(f"{message.file.package}.")


def _stub_file(proto: str, ending: str) -> str:
    return str(PurePosixPath(proto.removesuffix(".proto"))) + ending


@functools.cache
def _comments(path: str) -> dict[str, str]:
    """Docstrings in a stub file by dotted path; empty if the file is not there."""
    package, _, rest = path.partition("/")
    try:
        tree = ast.parse(files(package).joinpath(rest).read_text())
    except (OSError, ModuleNotFoundError, SyntaxError):
        return {}
    found: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            _collect(node, node.name, found)
    return found


def _collect(node: ast.ClassDef, path: str, found: dict[str, str]) -> None:
    found[path] = ast.get_docstring(node) or ""
    for child, following in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(child, ast.ClassDef):
            _collect(child, f"{path}.{child.name}", found)
        elif isinstance(child, ast.FunctionDef) and not child.name.startswith("__"):
            found[f"{path}.{child.name}"] = ast.get_docstring(child) or ""
        elif isinstance(child, ast.AnnAssign) and isinstance(child.target, ast.Name):
            text = _string(following)
            if text:
                found[f"{path}.{child.target.id}"] = text


def _string(node: ast.stmt | None) -> str:
    if (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ):
        return " ".join(node.value.value.split())
    return ""
