"""Writes the reference into build/docs: the Python client, the contracts, and the settings of each service.

Run it as ``make docs``, or with another folder as its argument. All of it comes from the sources: docstrings
of ``hanse_client`` (by pdoc), comments of ``protos/``, and docstrings of the fields of settings. What has no
text is an error, so that the reference is whole.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "build" / "docs"
CONTRACTS = ROOT / "src" / "hanse" / "api" / "contracts.binpb"

# Numbers of fields in descriptor.proto, of which the paths of comments are made.
_MESSAGES, _ENUMS, _SERVICES = 4, 5, 6
_FIELDS, _NESTED, _NESTED_ENUMS, _VALUES, _METHODS = 2, 3, 4, 2, 2

Place = tuple[int, ...]


class Contract:
    """One proto file as Markdown."""

    def __init__(self, file: FileDescriptorProto) -> None:
        self._file = file
        self._comments: dict[Place, str] = {
            tuple(place.path): " ".join(place.leading_comments.split())
            for place in file.source_code_info.location
            if place.leading_comments
        }
        self.undescribed: list[str] = []

    def lines(self) -> Iterator[str]:
        """Yield the file's services, messages and enums."""
        for at, service in enumerate(self._file.service):
            yield from self._service(service, (_SERVICES, at))
        for at, message in enumerate(self._file.message_type):
            yield from self._message(message, (_MESSAGES, at), "")
        for at, enum in enumerate(self._file.enum_type):
            yield from self._enum(enum, (_ENUMS, at), "")

    def _text(self, place: Place, name: str) -> str:
        text = self._comments.get(place, "")
        if not text:
            self.undescribed.append(f"{self._file.name}: {name}")
        return text

    def _service(self, service: ServiceDescriptorProto, place: Place) -> Iterator[str]:
        yield from (f"## {service.name}", "", self._text(place, service.name), "")
        for at, method in enumerate(service.method):
            name = f"{service.name}.{method.name}"
            answer = f"{'stream of ' if method.server_streaming else ''}`{_short(method.output_type)}`"
            yield from (f"### {name}", "", f"`{_short(method.input_type)}` → {answer}", "")
            yield from (self._text((*place, _METHODS, at), name), "")

    def _message(self, message: DescriptorProto, place: Place, outer: str) -> Iterator[str]:
        if message.options.map_entry:
            return
        name = f"{outer}{message.name}"
        yield from (f"### {name}", "", self._text(place, name), "")
        if message.field:
            yield from ("| field | type | |", "|---|---|---|")
            entries = {entry.name: entry for entry in message.nested_type if entry.options.map_entry}
            for at, field in enumerate(message.field):
                text = self._text((*place, _FIELDS, at), f"{name}.{field.name}").replace("|", "\\|")
                yield f"| `{field.name}` | {_type(field, entries)} | {text} |"
            yield ""
        for at, inner in enumerate(message.nested_type):
            yield from self._message(inner, (*place, _NESTED, at), f"{name}.")
        for at, enum in enumerate(message.enum_type):
            yield from self._enum(enum, (*place, _NESTED_ENUMS, at), f"{name}.")

    def _enum(self, enum: EnumDescriptorProto, place: Place, outer: str) -> Iterator[str]:
        name = f"{outer}{enum.name}"
        yield from (f"### {name}", "", self._text(place, name), "", "| value | |", "|---|---|")
        for at, value in enumerate(enum.value):
            text = self._text((*place, _VALUES, at), f"{name}.{value.name}").replace("|", "\\|")
            yield f"| `{value.name}` | {text} |"
        yield ""


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _type(field: FieldDescriptorProto, entries: dict[str, DescriptorProto]) -> str:
    entry = entries.get(_short(field.type_name))
    if entry is not None:
        return f"map of {_type(entry.field[0], {})} to {_type(entry.field[1], {})}"
    plain = (
        _short(field.type_name) or FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    )
    repeated = field.label == FieldDescriptorProto.LABEL_REPEATED
    return f"{'repeated ' if repeated else ''}{plain}"


def contracts() -> tuple[dict[str, str], list[str]]:
    """Return the pages of the contracts by file name, and the names of what no comment describes."""
    described = FileDescriptorSet.FromString(CONTRACTS.read_bytes())
    pages: dict[str, list[str]] = {}
    undescribed: list[str] = []
    for file in sorted(described.file, key=lambda file: (file.package, not file.service, file.name)):
        if file.package.startswith("hanse.api."):
            contract = Contract(file)
            pages.setdefault(file.package, [f"# {file.package}", ""]).extend(contract.lines())
            undescribed += contract.undescribed
    return {f"{package}.md": "\n".join(lines) for package, lines in pages.items()}, undescribed


def client(target: Path) -> None:
    """Write the reference of ``hanse_client`` as HTML."""
    import pdoc

    pdoc.render.configure(docformat="markdown", show_source=False, footer_text="Hanse")
    pdoc.pdoc("hanse_client", output_directory=target)


def settings() -> str:
    """Return the page of the settings."""
    sys.path.insert(0, str(ROOT))
    from tests.docs.tables import settings_tables

    return f"# Settings\n\n{settings_tables()}"


def index(pages: Sequence[str]) -> str:
    """Return the page that links to all others."""
    links = [f"- [{page.removesuffix('.md')}]({page})" for page in pages]
    lines = ["# Reference", "", "- [Python client](client/hanse_client.html)", "- [Settings](settings.md)"]
    return "\n".join([*lines, "", "Contracts:", "", *links, ""])


def main(target: Path = TARGET) -> None:
    """Write everything into `target`."""
    target.mkdir(parents=True, exist_ok=True)
    pages, undescribed = contracts()
    if undescribed:
        raise SystemExit("no comment describes " + ", ".join(undescribed))
    for name, text in {**pages, "settings.md": settings(), "README.md": index(sorted(pages))}.items():
        (target / name).write_text(text)
    client(target / "client")
    print(f"{target.name}: {len(pages)} packages of contracts, the settings, the Python client")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
